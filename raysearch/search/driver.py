"""The driver: which trial comes next, what a finished fold means, and the ledger's only writer.

It knows neither Ray nor Tune: `tune` asks it for trials and hands it folds. All that it decides
follows from the ledger and the sampler, so a killed driver's successor goes on where it stopped.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from raysearch.search.epoch_race import StopReason
from raysearch.search.racing import Rule, expected
from raysearch.search.sampler import Sampler
from raysearch.selection import Score
from raysearch.study.ledger import COMPLETE, FAILED, PRUNED, RUNNING, FoldRow, Ledger, TrialRow
from raysearch.study.space import Scalar


@dataclass(frozen=True)
class Assignment:
    """A trial to run: the folds that its setting still lacks."""

    number: int
    params: Mapping[str, Scalar]
    folds: tuple[int, ...]
    """indices, in the order that all trials of the study share"""


class Listener(Protocol):
    """Learns what happened, after the ledger has it. Must return at once and never raise."""

    def trial_started(self, number: int, params: Mapping[str, object]) -> None: ...
    def fold_done(self, row: FoldRow, ran: int, reused: int) -> None: ...
    def trial_done(self, trial: TrialRow, folds: Sequence[FoldRow]) -> None: ...


class _Table:
    """The table that trials are raced by, kept from fold to fold.

    Building it anew would cost a study of 1000 trials ten times as much as the rule. Trials are
    numbered from 0 without gaps, so a number is a row. Failed trials keep their row: what they did
    finish still says how hard its speakers are.

    Args:
        order: fold indices; a fold's place in it is its column.
    """

    def __init__(self, order: Sequence[int]) -> None:
        self._column = {index: place for place, index in enumerate(order)}
        self._cells = np.full((64, len(order)), np.nan)
        self._alive = np.zeros(64, dtype=np.bool_)

    def set_state(self, trial: TrialRow) -> None:
        """Note whether a trial can still be the study's choice."""
        while trial.number >= len(self._alive):
            more = len(self._alive)
            self._cells = np.vstack([self._cells, np.full_like(self._cells, np.nan)])
            self._alive = np.concatenate([self._alive, np.zeros(more, dtype=np.bool_)])
        self._alive[trial.number] = trial.state in (COMPLETE, RUNNING)

    def set_score(self, trial: int, fold: int, score: float) -> None:
        self._cells[trial, self._column[fold]] = score

    def cells(self, trials: int) -> NDArray[np.float64]:
        """[trials, K] validation scores, NaN where not run, folds in race order."""
        return self._cells[:trials]

    def alive(self, trials: int) -> NDArray[np.bool_]:
        """[trials] which of them can still be the study's choice."""
        return self._alive[:trials]

    def forecast(self, stop: StopReason, trials: int) -> float | None:
        """The mean over all folds that a trial stopped inside a fold would have had.

        The fold that it did not finish counts as `StopReason.forecast` has it. None where nothing
        is known.
        """
        cells = self.cells(trials).copy()
        trial, column = stop.curve.trial, self._column[stop.curve.fold]
        cells[trial, column] = stop.forecast(cells[:, column])
        return float(expected(cells)[trial]) if np.isfinite(cells[trial]).any() else None


def _reopen_transient(ledger: Ledger) -> None:
    """Run on what failed in an earlier session for memory, time, a lost node or a store."""
    for trial in ledger.trials():
        if trial.transient:
            ledger.reopen_trial(trial.number)


def _columns_by_group(groups: Sequence[Hashable]) -> list[list[int]]:
    """The positions of each group, groups in their order."""
    return [
        [place for place, other in enumerate(groups) if other == group]
        for group in dict.fromkeys(groups)
    ]


class Driver:
    """Trials in, folds back.

    Args:
        ledger: open for writing.
        sampler: asked for settings; rebuilt here from the ledger.
        order: fold indices in the order in which every trial runs them.
        scores: the objectives, of a setting's folds; the first is what trials are raced by.
        trials: how many trials the study shall have in all, finished ones counted, as far as there
            are settings for them.
        rule: the racing rule; None where trials are not raced.
        groups: what each fold of `order` holds out; a race compares trials over these, each once
            all its folds are done. Default: every fold has a group of its own.
        batch: how many settings are proposed at once, and learnt from in their order; None to
            learn from each as it ends.
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
        groups: Sequence[Hashable] | None = None,
        batch: int | None = None,
        listeners: Sequence[Listener] = (),
    ) -> None:
        self._ledger = ledger
        self._sampler = sampler
        self._order = tuple(order)
        self._scores = tuple(scores)
        self._rule = rule
        self._groups = _columns_by_group(self._order if groups is None else groups)
        self._batch = batch
        self._listeners = tuple(listeners)
        _reopen_transient(ledger)
        self._trials: dict[int, TrialRow] = {row.number: row for row in ledger.trials()}
        self._folds: dict[int, dict[int, FoldRow]] = {
            number: {} for number, row in self._trials.items() if row.state == RUNNING
        }
        """of running trials; what an ended one scored is in the table"""
        self._table = _Table(self._order)
        self._unfinished = list(self._folds)
        """trials that a killed driver left, or that failed for a reason that may have passed"""
        self._news: list[int] = []
        """trials that have ended, and that the sampler has not learnt from yet"""
        self.fatal: Exception | None = None
        """what made it impossible to go on; the search ends and raises it"""
        self.planned = sampler.planned(trials)
        """how many trials the study shall have in all; the ledger's fact of that name"""
        ledger.set_fact("planned", self.planned)
        self._resume(ledger.folds())

    def _resume(self, folds: Sequence[FoldRow]) -> None:
        """Go on from the ledger as an uninterrupted driver would."""
        for trial in self._trials.values():
            self._table.set_state(trial)
        for row in folds:
            self._add(row)
        self._rebuild_sampler()
        # a driver killed between a trial's last fold and its end
        self._unfinished = [number for number in self._unfinished if not self.settle(number)]

    @contextmanager
    def _fatal_errors(self) -> Iterator[None]:
        """What goes wrong here ends the search: a full disk, say. Nothing may be lost silently."""
        try:
            yield
        except Exception as error:
            self.fatal = error

    # -- which trial comes next ----------------------------------------------------------------
    @property
    def outstanding(self) -> int:
        """How many trials are still to be run, at most."""
        return max(0, self.planned - len(self._trials)) + len(self._unfinished)

    @property
    def done(self) -> bool:
        """Whether no further trial will be proposed."""
        if self.fatal is not None:
            return True
        return not self._unfinished and len(self._trials) >= self.planned

    def next(self) -> Assignment | None:
        """The next trial; None while a batch has to be waited for, or where `done`."""
        if self._unfinished:
            return self._start(self._trials[self._unfinished.pop(0)])
        number = len(self._trials)
        if self.done or (self._batch and number % self._batch == 0 and self._running()):
            return None
        proposal = self._sampler.ask(number)
        with self._fatal_errors():
            if proposal is None:  # the space has no further setting
                self.planned = number
                self._ledger.set_fact("planned", number)
            else:
                self._ledger.add_trial(number, *proposal)
        if proposal is None or self.fatal is not None:
            return None
        params, origin = proposal
        row = TrialRow(number, params, RUNNING, origin=origin)
        self._trials[number] = row
        self._folds[number] = {}
        self._table.set_state(row)
        return self._start(row)

    def _start(self, row: TrialRow) -> Assignment:
        for listener in self._listeners:
            listener.trial_started(row.number, row.params)
        have = self._folds[row.number]
        folds = tuple(index for index in self._order if index not in have)
        return Assignment(row.number, row.params, folds)

    def _running(self) -> bool:
        return any(row.state == RUNNING for row in self._trials.values())

    # -- what came back ------------------------------------------------------------------------
    def record(self, number: int, rows: Sequence[tuple[FoldRow, int, int]]) -> bool:
        """Record finished folds of a trial; True where the trial shall stop.

        Args:
            number: the trial.
            rows: each fold, how many stages were computed for it, and how many were in the store.
        """
        have = self._folds.get(number, {})
        # a trial whose coordinator was lost begins anew, and its folds come once more
        rows = [each for each in rows if each[0].index not in have]
        with self._fatal_errors():
            self._ledger.record_folds([row for row, _, _ in rows])
            for row, ran, reused in rows:
                self._add(row)
                for listener in self._listeners:
                    listener.fold_done(row, ran, reused)
            return self.settle(number)
        return True

    def _add(self, row: FoldRow) -> None:
        self._table.set_score(row.trial, row.index, self._scores[0].of([row]))
        if row.trial in self._folds:  # of ended trials the scores are enough
            self._folds[row.trial][row.index] = row

    def settle(self, number: int) -> bool:
        """End the trial if its folds are all there, or if it has lost the race."""
        folds = self._folds.get(number)
        if folds is None:  # it has ended
            return True
        if len(folds) == len(self._order):
            values = {score.name: score.of(folds.values()) for score in self._scores}
            self._end(number, COMPLETE, values[self._scores[0].name], "", values)
            return True
        if self._rule is None or not folds:
            return False
        cells, alive, row = self._rivals(number)
        verdict = self._rule(cells, row, trials=self.planned, alive=alive)
        if verdict.stop:
            self._end(number, PRUNED, verdict.mean, verdict.reason)
        return verdict.stop

    def _rivals(self, number: int) -> tuple[NDArray[np.float64], NDArray[np.bool_], int]:
        """The table that a trial is judged by, which of its rows are alive, and the trial's row.

        In batches the table holds the earlier batches, which have ended, and the trial itself: what
        the rest of its batch has scored so far depends on the order of arrival.
        """
        count = len(self._trials)
        cells, alive = self._table.cells(count), self._table.alive(count)
        if len(self._groups) < len(self._order):
            # a mean with a hole is a hole: folds of one group are no observations of their own
            cells = np.stack([cells[:, of].mean(axis=1) for of in self._groups], axis=1)
        if self._batch is None:
            return cells, alive, number
        rows = [*range(number // self._batch * self._batch), number]
        return cells[rows], alive[rows], len(rows) - 1

    def prune(self, stop: StopReason) -> None:
        """End a trial that was stopped inside a fold.

        Optuna learns the setting's predicted mean over all folds. A trial without one ranks below
        every pruned trial that has one.
        """
        number = stop.curve.trial
        if number not in self._folds:  # it has ended in the same breath
            return
        with self._fatal_errors():
            value = self._table.forecast(stop, len(self._trials))
            facts = {"stopped": asdict(stop.curve)}
            self._end(number, PRUNED, value, stop.reason, extra=facts)

    def fail(self, number: int, reason: str, trace: str = "", *, transient: bool = False) -> None:
        """A trial that cannot be finished is a failed trial with its reason.

        Args:
            number: of the trial.
            reason: in one line.
            trace: the last lines of a traceback.
            transient: the reason is not the setting's and may have passed when the same command
                runs again, so the trial is run on then.
        """
        if number not in self._folds:  # it has lost the race in the same breath
            return
        with self._fatal_errors():
            facts = {"trace": trace, "transient": transient}
            extra = {name: fact for name, fact in facts.items() if fact}
            self._end(number, FAILED, None, reason, extra=extra)

    def _end(
        self,
        number: int,
        state: str,
        value: float | None,
        reason: str,
        values: Mapping[str, float] | None = None,
        extra: Mapping[str, object] | None = None,
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
        row = replace(self._trials[number], state=state, value=value, reason=reason, extra=extra)
        self._trials[number] = row
        self._table.set_state(row)
        self._news.append(number)
        self._tell_sampler()
        folds = self._folds.pop(number)
        for listener in self._listeners:
            listener.trial_done(row, [folds[i] for i in sorted(folds)])

    # -- the sampler ---------------------------------------------------------------------------
    def _rebuild_sampler(self) -> None:
        """Give the sampler the history that an uninterrupted driver would have given it."""
        rows = [self._trials[number] for number in sorted(self._trials)]
        if self._batch is not None and rows:
            start = self._first_of_batch(self._batch)
            self._news = [r.number for r in rows if r.number >= start and r.state != RUNNING]
            rows = [
                row if row.number < start else replace(row, state=RUNNING, value=None)
                for row in rows
            ]
        self._sampler.rebuild(rows)
        self._tell_sampler()

    def _first_of_batch(self, batch: int) -> int:
        """The first trial of the first batch that the sampler has not learnt from."""
        running = [n for n, row in self._trials.items() if row.state == RUNNING]
        return min([len(self._trials), *running]) // batch * batch

    def _tell_sampler(self) -> None:
        """Tell the sampler of the trials that have ended; of a batch, once all of it has."""
        if not self._news:
            return
        if self._batch is not None:
            first = min(self._news) // self._batch * self._batch
            batch = range(first, min(first + self._batch, self.planned))
            if any(n not in self._trials or self._trials[n].state == RUNNING for n in batch):
                return
        for number in sorted(self._news):
            row = self._trials[number]
            self._sampler.tell(number, row.state, row.value, values=row.extra.get("values"))
        self._news = []
