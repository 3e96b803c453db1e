"""The command `watch`: follow a study that runs in another terminal, by its ledger and its lease.

`Progress` shows it in the table and the lines that the study's own driver shows.
"""

from __future__ import annotations

import math
import shlex
import sqlite3
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from raysearch.cli.commands import COMMANDS
from raysearch.cli.words import read_words
from raysearch.errors import BadInput
from raysearch.report.scoring import score
from raysearch.report.sentences import figure
from raysearch.selection import metric_of
from raysearch.study.folder import StudyFolder, study_folder
from raysearch.study.ledger import RUNNING
from raysearch.study.record import Record
from raysearch.study.status import DONE, FAILURE, RUNS, Status, status_of
from raysearch.study.terminal import console as terminal
from raysearch.study.wording import duration
from raysearch.tuning.progress import Progress

CODES = {DONE: 0, FAILURE: 1}
"""exit code by the study's end; of any other end, killed or interrupted, it is 3"""

_LOOK = 1.0
"""seconds between two looks"""
_ESTIMATE = 10.0
"""seconds between two estimates: after a race they take up to a second"""


def watch(words: Sequence[str]) -> int:
    """Follow a study of a home, the latest one where none is named, until nobody runs it."""
    values = read_words(words, COMMANDS["watch"].keys)
    every = values["every"]
    if isinstance(every, bool) or not isinstance(every, int | float) or not 0 < every < math.inf:
        raise BadInput(f"every must be a number of seconds above 0, but got {every!r}")
    return follow(study_folder(Path(values["home"]), values["study"]), every=every)


def follow(folder: StudyFolder, *, every: float = 10.0) -> int:
    """Follow a study until nobody runs it any more; on a terminal as a live table.

    Args:
        folder: the study's folder.
        every: seconds between two lines, where the output is no terminal.

    Returns: the exit code: 0 the study is done, 1 it failed, 3 it was interrupted or killed, 130
        Ctrl-C ended the watching.
    """
    try:
        now = _last_standing(folder, every)
    except KeyboardInterrupt:
        print("raysearch: no longer watching; the study itself goes on", file=sys.stderr)
        return 130
    print(now)
    honest = _honest(folder)
    if honest:
        print(f"honest estimate {honest}")
        where = shlex.quote(str(folder.home))
        print(f"its tables: python -m raysearch report study={folder.name} home={where}")
    return CODES.get(now.state, 3)


def _last_standing(folder: StudyFolder, every: float) -> Status:
    """How the study stands once nobody runs it any more."""
    now = status_of(folder)
    if now.state != RUNS:
        return now
    console = terminal()
    view = _View(folder)
    with Progress(console=console, every=every, foot=view.foot, left=view.left) as progress:
        view.begin(now, progress)
        while now.state == RUNS:
            time.sleep(_LOOK)
            now = status_of(folder)
            view.look(now, progress)
    return now


class _View:
    """What the progress has shown of a study, so that each look adds only what is new."""

    def __init__(self, folder: StudyFolder) -> None:
        self._folder = folder
        self._now: Status | None = None
        self._folds: dict[int, set[str]] = {}
        """number of each running trial -> its folds on the screen; folds end in any order"""
        self._finished: set[int] = set()
        """numbers of the trials that are at their end, whatever it was"""
        self._honest = ""
        self._last_estimate = float("-inf")
        self._trials_in_estimate = 0

    def begin(self, now: Status, progress: Progress) -> None:
        """Show what there was before the first look."""
        record = Record.read(self._folder)
        rows = record.fold_rows
        progress.start(
            max(now.planned, len(now.trials)),
            len(record.folds),
            rows,
            now.trials,
            objective=record.objectives[0].metric,
        )
        self._finished = {trial.number for trial in now.ended}
        for trial in now.trials:
            if trial.state == RUNNING:
                progress.trial_started(trial.number, trial.params)
                self._folds[trial.number] = {r.fold for r in rows if r.trial == trial.number}
        self._now = now
        progress.note(f"held by {now.holder}")
        self._estimate(progress)

    def look(self, now: Status, progress: Progress) -> None:
        """Show what is new since the last look."""
        if self._now is not None and now.outer_done > self._now.outer_done:
            progress.note(f"outer searches: {now.outer_done} of {len(now.outer)}")
        self._now = now
        with self._folder.ledger() as ledger:
            for trial in now.trials:
                if trial.number in self._finished:
                    continue
                if trial.number not in self._folds:
                    progress.trial_started(trial.number, trial.params)
                on_screen = self._folds.setdefault(trial.number, set())
                rows = ledger.folds(trial.number)
                for row in rows:
                    if row.fold not in on_screen:
                        ran = sum(use.ours for use in row.stages)
                        progress.fold_done(row, ran, len(row.stages) - ran)
                on_screen |= {row.fold for row in rows}
                if trial.state != RUNNING:
                    progress.trial_done(trial, rows)
                    self._finished.add(trial.number)
                    del self._folds[trial.number]
        self._estimate(progress)

    def foot(self) -> list[str]:
        """The lines below the live table: the estimate so far, and who holds the study."""
        lines = [f"honest so far {self._honest}"] if self._honest else []
        if self._now is not None and self._now.outer:
            lines.append(f"outer searches {self._now.outer_done} of {len(self._now.outer)}")
        if self._now is not None and self._now.holder is not None:
            holder = self._now.holder
            lines.append(f"held by {holder}, heartbeat {duration(holder.age)} ago")
        return lines

    def left(self) -> float | None:
        """Seconds to go by the pace of whole trials, until the first fold ends on the screen."""
        return None if self._now is None else self._now.seconds_left

    def _estimate(self, progress: Progress) -> None:
        soon = time.monotonic() - self._last_estimate < _ESTIMATE
        if soon or len(self._finished) == self._trials_in_estimate:
            return
        self._last_estimate, self._trials_in_estimate = time.monotonic(), len(self._finished)
        before, self._honest = self._honest, _honest(self._folder)
        if self._honest and self._honest != before and not progress.live:
            progress.note(f"honest so far {self._honest}")


def _honest(folder: StudyFolder) -> str:
    """The honest estimate over what has ended, in words; '' before there is one."""
    try:
        scores = score(Record.read(folder))
    except (ValueError, sqlite3.Error):
        return ""  # a trial that ended between two reads; the next look has it whole
    if scores is None:
        return ""
    m = scores.metric
    return f"{metric_of(m).heading} {figure(m, scores.estimates.honest[m])}"
