"""The writer's thread, with sinks made up for the purpose."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from raysearch.tracking import writer as module
from raysearch.tracking.writer import Work, Writer, brief


class Fake:
    """Keeps what it is told; raises while `away` says so."""

    def __init__(self, name: str, away: str = "") -> None:
        self.name, self.away = name, away
        self.lost: list[str] = []
        self.told: list[Work] = []
        self.forgot = self.tries = 0

    def write(self, work: Work) -> None:
        self.tries += 1
        if self.away:
            raise OSError(self.away)
        self.told.append(work)

    def forget(self) -> None:
        self.forgot += 1


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAUSE", 0.02)
    monkeypatch.setattr(module, "LONGEST_WAIT", 0.2)
    monkeypatch.setattr(module, "_LAST_WAIT", 0.1)


def test_a_sink_that_is_away_holds_up_no_other_and_is_brought_up_to_date(
    make_study: Callable[..., Any], tmp_path: Path, wait_until: Callable[..., None]
) -> None:
    study = make_study(home=tmp_path)
    study.whole(0)
    there, away = Fake("there"), Fake("away", "Connection refused by postgresql://me:pw@h/d")
    made = Writer(study.path, [away, there])
    made.start()
    wait_until(lambda: len(there.told) == 1 and away.tries >= 2)
    assert there.told[0].numbers is None, "everything is compared at the start"
    assert made.trouble == "connection refused"
    study.begin(1)
    made.changed(1)
    wait_until(lambda: len(there.told) == 2)
    assert there.told[1].numbers == {1}
    assert [trial.number for trial in there.told[1].changed] == [1]
    away.away = ""
    wait_until(lambda: bool(away.told))
    assert (away.told[0].numbers, away.told[0].study) == (None, True), "nothing is taken for sure"
    assert away.forgot >= 2
    made.end("KILLED", "enough", None)
    assert made.close(10) == []
    assert made.trouble == ""
    for sink in (there, away):
        last = sink.told[-1]
        assert (last.status, last.stopped, last.numbers) == ("KILLED", "enough", None)


def test_what_was_not_taken_in_time_is_said_once_a_sink(
    make_study: Callable[..., Any], tmp_path: Path
) -> None:
    study = make_study(home=tmp_path)
    there, away = Fake("there"), Fake("Optuna's storage at x", "no room")
    there.lost = ["it refused one run."]
    made = Writer(study.path, [there, away])
    made.start()
    made.end("FINISHED", "", None)
    began = time.monotonic()
    first, second = made.close(0.5)
    assert time.monotonic() - began < 5
    assert first == "it refused one run."
    assert second.startswith("Optuna's storage at x did not take everything within 0 s (no room)")
    tries = away.tries
    away.away = ""
    assert made.close(10) == ["it refused one run."], "it is not over until the thread has ended"
    assert away.tries > tries


def test_an_error_is_one_line_without_passwords() -> None:
    assert brief(OSError("a\n  b postgresql://u:pw@h/d")) == "a b postgresql://…@h/d"
    assert brief(OSError()) == "OSError"
    assert len(brief(OSError("x" * 500))) == 158
