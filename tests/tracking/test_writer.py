"""The writer's thread, with sinks made up for the purpose."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from raysearch.tracking.projection import Ending
from raysearch.tracking.writer import Pace, Update, brief

FAST = Pace(pause=0.02, longest=0.2, leaving=0.1)


class Fake:
    """Keeps its updates; raises while `away` says so."""

    def __init__(self, name: str, away: str = "") -> None:
        self.name, self.away = name, away
        self.refused: list[str] = []
        self.updates: list[Update] = []
        self.losses = self.tries = 0
        self.gate = threading.Event()
        """a write waits until it is set"""
        self.gate.set()

    def write(self, update: Update) -> None:
        self.tries += 1
        self.gate.wait()
        if self.away:
            raise OSError(self.away)
        self.updates.append(update)

    def forget(self) -> None:
        self.losses += 1

    def count(self) -> int:
        return len(self.updates)


def test_a_sink_that_is_away_holds_up_no_other_and_is_brought_up_to_date(
    make_study: Callable[..., Any], tmp_path: Path, wait_until: Callable[..., None]
) -> None:
    study = make_study(home=tmp_path)
    study.whole(0)
    there, away = Fake("there"), Fake("away", "Connection refused by postgresql://me:pw@h/d")
    writer = study.writer(away, there, pace=FAST)
    writer.start()
    wait_until(lambda: len(there.updates) == 1 and away.tries >= 2)
    assert there.updates[0].numbers is None, "everything is compared at the start"
    assert writer.away == {"away": "connection refused"}
    study.begin(1)
    writer.changed(1)
    wait_until(lambda: len(there.updates) == 2)
    assert there.updates[1].numbers == {1}
    assert [trial.number for trial in there.updates[1].trials] == [1]
    away.away = ""
    wait_until(lambda: bool(away.updates))
    assert away.updates[0].numbers is None, "nothing is taken for sure"
    assert away.losses >= 2
    writer.end(Ending("KILLED", "enough"))
    assert writer.close(10) == []
    assert writer.away == {}
    for last in (there.updates[-1], away.updates[-1]):
        assert (last.ending.status, last.ending.interruption) == ("KILLED", "enough")
        assert last.numbers is None


def test_what_happens_while_a_slow_sink_writes_reaches_the_next_one(
    make_study: Callable[..., Any], tmp_path: Path, wait_until: Callable[..., None]
) -> None:
    study = make_study(home=tmp_path)
    study.whole(0)
    slow, other = Fake("slow"), Fake("other")
    slow.gate.clear()
    writer = study.writer(slow, other, pace=FAST)
    writer.start()
    wait_until(lambda: slow.tries == 1)
    study.whole(1)
    writer.changed(1)
    writer.end(Ending("KILLED", "enough"))
    slow.gate.set()
    assert writer.close(10) == []
    for last in (slow.updates[-1], other.updates[-1]):
        assert last.ending.status == "KILLED"
        assert [trial.number for trial in last.trials] == [0, 1]


def test_what_was_not_taken_in_time_is_said_once_a_sink(
    make_study: Callable[..., Any], tmp_path: Path
) -> None:
    study = make_study(home=tmp_path)
    there, away = Fake("there"), Fake("Optuna's storage at x", "no room")
    there.refused = ["it refused one run."]
    writer = study.writer(there, away, pace=FAST)
    writer.start()
    writer.end(Ending("FINISHED"))
    start = time.monotonic()
    first, second = writer.close(0.5)
    assert time.monotonic() - start < 5
    assert first == "it refused one run."
    assert second.startswith("Optuna's storage at x did not take everything within 0 s (no room)")
    tries = away.tries
    away.away = ""
    assert writer.close(10) == ["it refused one run."], "it is not over until the thread has ended"
    assert away.tries > tries


def test_a_hint_costs_the_search_nothing(make_study: Callable[..., Any], tmp_path: Path) -> None:
    study = make_study(home=tmp_path)
    study.begin(0)
    writer = study.writer(Fake("there"), pace=FAST)
    writer.start()
    times = []
    for _ in range(1000):
        start = time.perf_counter()
        writer.changed(0)
        times.append(time.perf_counter() - start)
    assert sorted(times)[len(times) // 2] < 1e-3
    assert writer.close(60) == []


def test_a_writer_that_was_never_started_closes_at_once(
    make_study: Callable[..., Any], tmp_path: Path
) -> None:
    sink = Fake("there")
    assert make_study(home=tmp_path).writer(sink).close(1) == []
    assert sink.tries == 0


def test_an_error_is_a_few_words() -> None:
    assert brief(OSError("[Errno 111] Connection refused")) == "connection refused"
    assert brief(OSError("too many 503 error responses")) == "it answers with error 503"
    assert brief(OSError("a\n  b postgresql://u:pw@h/d")) == "a b postgresql://…@h/d"


def test_the_end_waits_longer_for_a_sink_that_answers_than_for_one_that_is_away(
    make_study: Callable[..., Any], tmp_path: Path, wait_until: Callable[..., None]
) -> None:
    slow, away = Fake("slow"), Fake("away", "Connection refused")
    slow.gate.clear()
    writer = make_study(home=tmp_path).writer(slow, pace=FAST)
    writer.start()
    wait_until(lambda: slow.tries == 1)
    threading.Timer(0.5, slow.gate.set).start()
    assert writer.close(0.05, answering=30.0) == []
    writer = make_study(home=tmp_path).writer(away, pace=FAST)
    writer.start()
    wait_until(lambda: away.tries > 0 and bool(writer.away))
    begun = time.monotonic()
    (sentence,) = writer.close(0.2, answering=30.0)
    assert "did not take everything within 0 s (connection refused)" in sentence
    assert time.monotonic() - begun < 10
