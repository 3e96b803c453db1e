"""What a person sees: plain lines, the live table, and a terminal that is restored."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from raysearch.study.ledger import COMPLETE, FAILED, PRUNED, FoldRow, TrialRow
from raysearch.tuning.progress import Progress

ROOT = Path(__file__).resolve().parents[2]


class Clock:
    """Seconds that pass when told to."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def fold(trial: int, index: int, ua: float = 0.7) -> FoldRow:
    return FoldRow(trial, f"s{index}", index, {"val_ua": ua, "val_wa": 1 - ua}, [], 1.0, ())


def complete(number: int, value: float = 0.7) -> TrialRow:
    return TrialRow(number, {"gamma": 0.5, "batch": 64}, COMPLETE, value=value)


@pytest.fixture
def plain() -> tuple[Progress, io.StringIO, Clock]:
    file, clock = io.StringIO(), Clock()
    console = Console(file=file, force_terminal=False, width=80, highlight=False)
    return Progress(console=console, clock=clock), file, clock


def test_plain_lines(plain: tuple[Progress, io.StringIO, Clock]) -> None:
    progress, file, clock = plain
    with progress:
        progress.start(3, 2)
        for number, value in ((0, 0.70), (1, 0.75)):
            progress.trial_started(number, {"gamma": 0.5, "batch": 64})
            for index in range(2):
                clock.now += 1
                progress.fold_done(fold(number, index, value), ran=1, reused=1)
            progress.trial_done(complete(number, value), [])
        progress.trial_done(TrialRow(2, {"gamma": 1}, FAILED, "nan \x1b[31m\r\n[bold]here"), [])
        progress.finish()
    lines = file.getvalue().splitlines()
    assert lines[0] == "00:00  searching: 3 trials × 2 folds"
    assert lines[1].startswith(
        "00:02  trial 0 (1 of 3): validation UA 70.0 %  best so far  batch=64"
    )
    assert "about 2 s left" in lines[2]
    assert lines[3] == "00:04  trial 2 failed: nan [bold]here  [gamma=1]"
    assert lines[4] == "00:04  3 of 3 trials, 1 failed, 4 folds computed, 4.0 s in all"
    assert len(lines) == 5
    assert not re.search(r"[\x00-\x09\x0b-\x1f]", file.getvalue())


def test_phases_are_throttled_but_begin_and_end_are_told(
    plain: tuple[Progress, io.StringIO, Clock],
) -> None:
    progress, file, clock = plain
    for n in range(0, 241, 10):
        clock.now += 0.1
        progress.stage(f"features is10 {n}/240")
    progress.stage("features is10 240/240")
    progress.stage("starting Ray")
    assert [line[7:] for line in file.getvalue().splitlines()] == [
        "features is10 0/240",
        "features is10 240/240",
        "starting Ray",
    ]


def test_a_long_trial_is_heard_of_now_and_then(plain: tuple[Progress, io.StringIO, Clock]) -> None:
    progress, file, clock = plain
    progress.start(1, 100)
    progress.trial_started(0, {})
    for index in range(100):
        clock.now += 0.5
        progress.fold_done(fold(0, index), ran=1, reused=0)
    assert 4 <= len(file.getvalue().splitlines()) <= 7


def test_stored_folds_do_not_make_the_rest_look_fast(
    plain: tuple[Progress, io.StringIO, Clock],
) -> None:
    progress, _, clock = plain
    progress.start(20, 10)
    for number in range(2):
        progress.trial_started(number, {})
        for index in range(10):
            clock.now += 0.001 if number == 0 else 2.0
            progress.fold_done(fold(number, index), ran=number, reused=1)
        progress.trial_done(complete(number), [])
    # 180 folds at 2 s each, though 20 folds took 20 s
    assert progress._left() == pytest.approx(360, rel=0.01)


def test_trials_stopped_early_shorten_the_time_left(
    plain: tuple[Progress, io.StringIO, Clock],
) -> None:
    progress, file, clock = plain
    progress.start(11, 10)
    progress.trial_started(0, {})
    for index in range(4):
        clock.now += 1
        progress.fold_done(fold(0, index), ran=1, reused=0)
    progress.trial_done(TrialRow(0, {}, PRUNED, "lost", value=0.6), [])
    assert progress._left() == pytest.approx(40)
    assert "trial 0 stopped after 4 of 10 folds" in file.getvalue()


def test_a_resumed_study_knows_its_past(plain: tuple[Progress, io.StringIO, Clock]) -> None:
    progress, file, _ = plain
    stored = [fold(0, i, 0.8) for i in range(2)] + [fold(1, 0, 0.6)]
    trials = [complete(0, 0.8), TrialRow(1, {"gamma": 2}, "running"), TrialRow(2, {}, FAILED)]
    progress.start(5, 2, stored, trials)
    progress.trial_started(1, {"gamma": 2})
    progress.fold_done(fold(1, 1, 0.9), ran=1, reused=0)
    progress.trial_done(TrialRow(1, {"gamma": 2}, COMPLETE, value=0.75), [])
    assert "(2 already done)" in file.getvalue()
    assert "trial 1 (3 of 5): validation UA 75.0 %  gamma=2" in file.getvalue()  # not the best


def test_quiet_says_nothing() -> None:
    file = io.StringIO()
    with Progress(quiet=True, console=Console(file=file, force_terminal=True)) as progress:
        progress.stage("speaking")
        progress.start(1, 1)
        progress.note("hello")
        progress.trial_started(0, {})
        progress.fold_done(fold(0, 0), 1, 0)
        progress.trial_done(complete(0), [])
        progress.finish()
    assert file.getvalue() == ""


@pytest.mark.parametrize("width", [40, 80, 120])
def test_the_live_table(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    file, clock = io.StringIO(), Clock()
    console = Console(file=file, force_terminal=True, width=width, height=14)
    progress = Progress(console=console, clock=clock)
    with progress:
        progress.start(30, 6)
        progress.trial_started(0, {"gamma": 0.5})
        for index in range(6):
            clock.now += 1
            progress.fold_done(fold(0, index, 0.81), ran=1, reused=0)
        progress.trial_done(complete(0, 0.81), [])
        for number in range(1, 10):
            progress.trial_started(number, {"gamma": number})
        progress.fold_done(fold(1, 0, 0.5), ran=1, reused=0)
        picture = _seen(progress, width)
        progress.finish()
    lines = picture.splitlines()
    assert len(lines) < 14
    assert max(map(len, lines)) <= width
    assert "1/30 trials" in picture
    assert "best so far UA 81.0 %" in picture
    assert "… and 4 more" in picture
    assert re.search(r"1 +━+ 1/6 +50\.0 +gamma=1", picture)
    assert file.getvalue().endswith("in all\x1b[0m\n") or "in all" in file.getvalue()


def _seen(progress: Progress, width: int) -> str:
    file = io.StringIO()
    Console(file=file, width=width, height=14, force_terminal=False).print(progress._picture())
    return file.getvalue()


_CHILD = """
import sys, time
from raysearch.study.ledger import FoldRow
from raysearch.tuning.progress import Progress
with Progress() as progress:
    progress.stage("features is10 3/9")
    time.sleep(0.4)
    progress.start(4, 3)
    progress.trial_started(0, {"gamma": 0.5})
    progress.fold_done(FoldRow(0, "s0", 0, {"val_ua": 0.625}, [], 1.0, ()), 1, 0)
    time.sleep(0.4)
    raise RuntimeError("boom")
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
def test_a_real_terminal_is_restored_after_an_exception() -> None:
    import pty

    parent, child = pty.openpty()
    environment = dict(os.environ, TERM="xterm-256color", COLUMNS="80", LINES="24")
    process = subprocess.Popen(
        [sys.executable, "-c", _CHILD],
        cwd=ROOT,
        stderr=child,
        stdout=subprocess.PIPE,
        env=environment,
    )
    os.close(child)
    seen = b""
    try:
        while chunk := os.read(parent, 65536):
            seen += chunk
    except OSError:  # Linux says so when the other side is closed
        pass
    os.close(parent)
    out, _ = process.communicate(timeout=30)
    text = seen.decode()
    assert out == b""  # stdout is for results alone
    assert "features is10 3/9" in text
    assert "62.5" in text
    assert "RuntimeError: boom" in text
    assert text.rindex("\x1b[?25h") > text.rindex("\x1b[?25l")  # the cursor is shown again


def test_calls_from_many_threads(plain: tuple[Progress, io.StringIO, Clock]) -> None:
    from concurrent.futures import ThreadPoolExecutor

    progress, file, _ = plain
    progress.start(200, 2)

    def one(number: int) -> None:
        progress.trial_started(number, {})
        calls: list[Callable[[], None]] = [
            lambda i=i: progress.fold_done(fold(number, i), 1, 0) for i in range(2)
        ]  # type: ignore[misc]
        for call in calls:
            call()
        progress.trial_done(complete(number), [])

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(one, range(200)))
    progress.finish()
    assert "200 of 200 trials, 400 folds computed" in file.getvalue()
