"""The driver: which trial comes next, what a finished fold means, and the ledger's only writer.

It knows neither Ray nor Tune: `search` asks it for trials and hands it folds. All that it decides
follows from the ledger and the sampler, so a killed driver's successor goes on where it stopped.
"""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

from raysearch.search.racing import Rule, expected
from raysearch.search.sampler import Sampler
from raysearch.selection import Score
from raysearch.study.ledger import COMPLETE, FAILED, PRUNED, RUNNING, FoldRow, Ledger, TrialRow


@dataclass(frozen=True)
class Next:
    """A trial to run: the folds that its setting still lacks."""

    number: int
    params: Mapping[str, Any]
    todo: tuple[int, ...]
    """fold indices, in the order that all trials of the study share"""


class Listener(Protocol):
    """Told what happened, after the ledger has it. Must return at once and never raise."""

    def trial_started(self, number: int, params: Mapping[str, Any]) -> None: ...
    def fold_done(self, row: FoldRow, ran: int, reused: int) -> None: ...
    def trial_done(self, trial: TrialRow, folds: Sequence[FoldRow]) -> None: ...


class Driver:
    """Trials in, folds back.

    Args:
        ledger: open for writing.
        sampler: asked for settings; rebuilt here from the ledger.
        order: fold indices in the order in which every trial runs them.
        scores: the objectives, of a setting's folds; the first is what trials are raced by.
        trials: how many trials the study shall have in all, finished ones counted, as far as there
            are settings for them.
        rule: the racing rule.
        batch: settings asked at once and told in order, or None to tell each as it ends.
        listeners: progress and tracking.
    """

    def __init__(
        self,
        *,
        ledger: Ledger,
        sampler: Sampler,
        order: Sequence[int],
        scores: Sequence[Score],
        trials: int,
        rule: Rule | None = None,
        batch: int | None = None,
        listeners: Sequence[Listener] = (),
    ) -> None:
        self._ledger = ledger
        self._sampler = sampler
        self._order = tuple(order)
        self._scores = tuple(scores)
        self._rule = rule
        self._batch = batch
        self._listeners = tuple(listeners)
        self._known: dict[int, TrialRow] = {row.number: row for row in ledger.trials()}
        self._folds: dict[int, dict[int, FoldRow]] = {
            number: {} for number, row in self._known.items() if row.state == RUNNING
        }
        """of running trials; what an ended one scored is in the table of the race"""
        self._column = {index: place for place, index in enumerate(self._order)}
        self._cells = np.full((64, len(self._order)), np.nan)
        self._alive = np.zeros(64, dtype=np.bool_)
        for trial in self._known.values():
            self._stand(trial)
        for row in ledger.folds():
            self._keep(row)
        self._again = [n for n, row in self._known.items() if row.state == RUNNING]
        self._untold: list[int] = []
        self.fatal: Exception | None = None
        """what made it impossible to go on; the search ends and raises it"""
        self.planned = sampler.planned(trials)
        """how many trials the study shall have in all; the ledger's fact of that name"""
        ledger.set_fact("planned", self.planned)
        self._rebuild()
        # a driver killed between a trial's last fold and its end
        self._again = [number for number in self._again if not self.settle(number)]

    # -- which trial comes next ----------------------------------------------------------------
    @property
    def outstanding(self) -> int:
        """How many trials are still to be run, at most."""
        return max(0, self.planned - len(self._known)) + len(self._again)

    def next(self) -> Next | None:
        """The next trial; None while a batch has to be waited for, or where `done`."""
        if self._again:
            number = self._again.pop(0)
            return self._start(self._known[number])
        number = len(self._known)
        if self.done or number >= self.planned:
            return None
        if self._batch is not None and number % self._batch == 0 and self._running():
            return None
        proposal = self._sampler.ask(number)
        try:
            if proposal is None:  # the space has no further setting
                self.planned = number
                self._ledger.set_fact("planned", number)
                return None
            params, origin = proposal
            self._ledger.add_trial(number, params, origin)
        except sqlite3.Error as error:
            self.fatal = error
            return None
        row = TrialRow(number, params, RUNNING, origin=origin)
        self._known[number] = row
        self._folds[number] = {}
        self._stand(row)
        return self._start(row)

    @property
    def done(self) -> bool:
        """Whether no further trial will be asked for."""
        if self.fatal is not None:
            return True
        return not self._again and len(self._known) >= self.planned

    def _start(self, row: TrialRow) -> Next:
        for listener in self._listeners:
            listener.trial_started(row.number, row.params)
        have = self._folds[row.number]
        return Next(
            row.number, row.params, tuple(index for index in self._order if index not in have)
        )

    def _running(self) -> bool:
        return any(row.state == RUNNING for row in self._known.values())

    # -- what came back ------------------------------------------------------------------------
    def record(self, number: int, rows: Sequence[tuple[FoldRow, int, int]]) -> bool:
        """Record finished folds of a trial; True where the trial shall stop.

        Args:
            number: the trial.
            rows: each fold with the stages computed for it now, and those that were there.
        """
        try:
            self._ledger.record_folds([row for row, _, _ in rows])
            for row, ran, reused in rows:
                self._keep(row)
                for listener in self._listeners:
                    listener.fold_done(row, ran, reused)
            return self.settle(number)
        except Exception as error:  # a full disk, say: nothing may be lost silently
            self.fatal = error
            return True

    def settle(self, number: int) -> bool:
        """End the trial if its folds are all there, or if it has lost the race."""
        have = self._folds.get(number)
        if have is None:  # it has ended
            return True
        if len(have) == len(self._order):
            values = {score.name: score.of(have.values()) for score in self._scores}
            self._end(number, COMPLETE, values[self._scores[0].name], "", values)
            return True
        if self._rule is None or not have:
            return False
        count = len(self._known)
        verdict = self._rule(
            self._cells[:count], number, trials=self.planned, alive=self._alive[:count]
        )
        if verdict.stop:
            self._end(number, PRUNED, verdict.mean, verdict.reason)
        return verdict.stop

    def prune(
        self, number: int, reason: str, fold: int, ahead: Mapping[int, float], facts: Any = None
    ) -> None:
        """End a trial that was stopped inside a fold.

        Optuna is told the setting's predicted mean over all folds. The fold it did not finish
        counts in it as what the others that finished it made of their scores at the same epoch:
        the mean of theirs, each plus how far this one was ahead of it. Where none has finished
        it, the setting's own finished folds predict alone, and without any there is no value:
        it ranks below every pruned trial that has one.

        Args:
            number: the trial.
            reason: one plain sentence, for the ledger.
            fold: index of the fold in which it was stopped.
            ahead: other trial -> score of this one minus the other's, at the epoch of the stop.
            facts: kept as the ledger's `extra["stopped"]`; JSON must be able to hold it.
        """
        if number not in self._folds:  # it has ended in the same breath
            return
        try:
            table = self._cells[: len(self._known)].copy()
            place = self._order.index(fold)
            ends = [
                table[other, place] + by
                for other, by in ahead.items()
                if math.isfinite(table[other, place])
            ]
            if ends:
                table[number, place] = min(max(float(np.mean(ends)), 0.0), 1.0)
            value: float | None = None
            if np.isfinite(table[number]).any():
                value = float(expected(table)[number])
            self._end(number, PRUNED, value, reason, extra={"stopped": facts})
        except Exception as error:
            self.fatal = error

    def fail(self, number: int, reason: str, trace: str = "") -> None:
        """A trial that cannot be finished is a failed trial with its reason.

        `trace`, the last lines of a traceback, is kept as the ledger's `extra["trace"]`.
        """
        if number not in self._folds:  # it has lost the race in the same breath
            return
        try:
            self._end(number, FAILED, None, reason, extra={"trace": trace} if trace else None)
        except Exception as error:
            self.fatal = error

    def _end(
        self,
        number: int,
        state: str,
        value: float | None,
        reason: str,
        values: Mapping[str, float] | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        bad = [
            x for x in (value, *(values or {}).values()) if x is not None and not math.isfinite(x)
        ]
        if bad:
            state, reason, value, values = FAILED, f"its objective is {bad[0]}", None, None
        extra = dict(extra or {})
        if values is not None and len(values) > 1:
            extra["values"] = dict(values)
        self._ledger.finish_trial(number, state, value, reason, extra)
        row = replace(self._known[number], state=state, value=value, reason=reason, extra=extra)
        self._known[number] = row
        self._stand(row)
        self._untold.append(number)
        self._tell()
        ended = self._folds.pop(number)
        folds = [ended[i] for i in sorted(ended)]
        for listener in self._listeners:
            listener.trial_done(row, folds)

    # -- the sampler ---------------------------------------------------------------------------
    def _rebuild(self) -> None:
        """Give the sampler the history that an uninterrupted driver would have given it."""
        rows = [self._known[number] for number in sorted(self._known)]
        if self._batch is not None and rows:
            start = self._batch_start(len(rows))
            self._untold = [r.number for r in rows if r.number >= start and r.state != RUNNING]
            rows = [
                row if row.number < start else replace(row, state=RUNNING, value=None)
                for row in rows
            ]
        self._sampler.rebuild(rows)
        self._tell()

    def _batch_start(self, count: int) -> int:
        """The first number of the batch that is not wholly told."""
        assert self._batch is not None
        start = (count // self._batch) * self._batch
        unfinished = [n for n, row in self._known.items() if row.state == RUNNING]
        if unfinished:
            start = min(start, (min(unfinished) // self._batch) * self._batch)
        return start

    def _tell(self) -> None:
        if self._batch is not None:
            first = min(self._untold, default=0) // self._batch * self._batch
            batch = range(first, min(first + self._batch, self.planned))
            finished = all(n in self._known and self._known[n].state != RUNNING for n in batch)
            if not self._untold or not finished:
                return
        for number in sorted(self._untold):
            row = self._known[number]
            self._sampler.tell(number, row.state, row.value, values=row.extra.get("values"))
        self._untold = []

    # -- the race ------------------------------------------------------------------------------
    # `_cells` [C, K] holds the validation scores of every trial so far, NaN where not run, folds in
    # race order; `_alive` [C] which trials can still be the study's choice. Trials are numbered
    # from 0 without gaps, so a number is a row. Both are kept from fold to fold: building them anew
    # would cost a study of 1000 trials ten times as much as the rule. Failed trials keep their row:
    # what they did finish still tells how hard its speakers are.
    def _stand(self, trial: TrialRow) -> None:
        """Keep whether a trial is still in the race."""
        while trial.number >= len(self._alive):
            grown = len(self._alive)
            self._cells = np.vstack([self._cells, np.full_like(self._cells, np.nan)])
            self._alive = np.concatenate([self._alive, np.zeros(grown, dtype=np.bool_)])
        self._alive[trial.number] = trial.state in (COMPLETE, RUNNING)

    def _keep(self, row: FoldRow) -> None:
        """Keep a finished fold."""
        self._cells[row.trial, self._column[row.index]] = self._scores[0].of([row])
        if row.trial in self._folds:  # of ended trials the scores are enough
            self._folds[row.trial][row.index] = row
