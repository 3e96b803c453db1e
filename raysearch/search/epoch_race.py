"""Stopping inside a fold: trials are compared on the same fold, at the same epoch.

Scores differ by 7 to 10 points between speakers, so every fold (and each of its seeds) is a race
of its own. The rules decide as Ray Tune's schedulers of these names do:

- `asha`    (Li et al. 2020, A System for Massively Parallel Hyperparameter Tuning, algorithm 2; the
            variant that stops and never pauses): at epochs grace, grace * eta, ... a trial goes on
            where its best score is at least the (1 - 1/eta) quantile of those who were there before
- `median`  (Golovin et al. 2017, Google Vizier, section 3.2.2): from epoch `grace` on a trial goes
            on where its best score is at least the median of the others' running means

A training that has ended stays in the comparison at later epochs, with its best score.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from raysearch.stages.executor import Watch
from raysearch.stages.store import Damaged, Store
from raysearch.study.ledger import Ledger
from trainables.stage import curve_of

_OTHERS = 3
"""how many others `median` needs"""


@dataclass(frozen=True)
class Stopping:
    """How trials are stopped inside a fold."""

    rule: Literal["asha", "median"]
    grace: int
    """epochs that every training gets"""
    eta: float
    """asha: a trial goes on past epochs grace, grace * eta, ... among the best 1/eta alone"""
    folds: frozenset[int]
    """the folds in which trials may be stopped, by index"""

    def watch(self, fold: int) -> Watch | None:
        """Which epochs of a fold are looked at; None where none is."""
        if fold not in self.folds:
            return None
        return Watch(self.grace, self.eta if self.rule == "asha" else None)

    def rung(self, epoch: int) -> int:
        """asha: the last epoch up to `epoch` at which trials are compared; 0 where none is."""
        rung = 0
        for power in itertools.count():
            due = self.grace * self.eta**power
            if due > epoch:
                return rung
            rung = math.ceil(due)
        raise AssertionError("unreachable")


@dataclass(frozen=True)
class Curve:
    """Validation scores by epoch of one training of a trial."""

    trial: int
    fold: int
    repeat: int
    """which of the fold's seeds"""
    scores: tuple[float, ...]
    whole: bool
    """whether it trained to its end"""


@dataclass(frozen=True)
class StopReason:
    """Why a trial is stopped inside a fold."""

    reason: str
    ahead: Mapping[int, float]
    """other trial -> this one's best score so far minus the other's at the same epoch"""
    curve: Curve

    def forecast(self, scores: NDArray[np.float64]) -> float:
        """The score that the unfinished fold would have had, NaN where nobody finished it.

        The mean of the scores of those who did, each plus how far this trial was ahead of it.

        Args:
            scores: [C] of all trials on this fold, NaN where not run.
        """
        ends = [scores[other] + by for other, by in self.ahead.items()]
        ends = [end for end in ends if math.isfinite(end)]
        return min(max(float(np.mean(ends)), 0.0), 1.0) if ends else math.nan


@dataclass
class _Training:
    """One training so far."""

    epochs: list[tuple[int, float]] = field(default_factory=list)
    """(epoch, score), epochs ascending"""
    whole: bool = False
    """whether it trained to its end"""

    @property
    def last(self) -> int:
        return self.epochs[-1][0] if self.epochs else 0

    @property
    def scores(self) -> tuple[float, ...]:
        return tuple(score for _, score in self.epochs)

    def counts(self, epoch: int) -> bool:
        """Whether others are compared with it at an epoch."""
        if not self.epochs or self.epochs[0][0] > epoch:
            return False
        return self.whole or self.last >= epoch

    def best(self, epoch: int) -> float:
        """The best score up to an epoch."""
        return max(score for at, score in self.epochs if at <= epoch)

    def mean(self, first: int, epoch: int) -> float:
        """The mean score from epoch `first` to `epoch`; the best where it ended before `first`."""
        scores = [score for at, score in self.epochs if first <= at <= epoch]
        return float(np.mean(scores)) if scores else self.best(epoch)


class EpochRace:
    """Compares the trainings of all trials, fold by fold and seed by seed.

    Args:
        stopping: the rule.
        folds: their names, by index.
        past: trainings that are over.
    """

    def __init__(
        self, stopping: Stopping, folds: Sequence[str], past: Sequence[Curve] = ()
    ) -> None:
        self._stopping = stopping
        self._folds = folds
        self._trials: dict[tuple[int, int], dict[int, _Training]] = {}
        for curve in past:
            self.add(curve)

    def add(self, curve: Curve) -> None:
        """Take a training that is over: it is compared with, and not judged."""
        own = self._of(curve.fold, curve.repeat).setdefault(curve.trial, _Training())
        own.epochs += list(enumerate(curve.scores, start=1))[own.last :]
        own.whole = own.whole or curve.whole

    def judge(
        self, trial: int, fold: int, repeat: int, epochs: Sequence[tuple[int, float]]
    ) -> StopReason | None:
        """Take further epochs of a training in flight.

        Returns:
            Why it shall be stopped; None where it goes on.
        """
        trials = self._of(fold, repeat)
        own = trials.setdefault(trial, _Training())
        others = {number: one for number, one in trials.items() if number != trial}
        for epoch, score in epochs:
            before = own.last
            if epoch <= before:
                continue  # once more, after its coordinator was lost
            own.epochs.append((epoch, score))
            if self._loses(own, before, list(others.values())):
                curve = Curve(trial, fold, repeat, own.scores, whole=False)
                return self._stop_reason(curve, epoch, others)
        return None

    def _of(self, fold: int, repeat: int) -> dict[int, _Training]:
        return self._trials.setdefault((fold, repeat), {})

    def _loses(self, own: _Training, before: int, others: Sequence[_Training]) -> bool:
        epoch = own.last
        if self._stopping.rule == "asha":
            rung = self._stopping.rung(epoch)
            if rung <= before:
                return False
            bests = [one.best(rung) for one in others if one.counts(rung)]
            percent = (1 - 1 / self._stopping.eta) * 100
            return bool(bests) and own.best(epoch) < float(np.percentile(bests, percent))
        grace = self._stopping.grace
        means = [one.mean(grace, epoch) for one in others if one.counts(epoch)]
        return (
            epoch >= grace and len(means) >= _OTHERS and own.best(epoch) < float(np.median(means))
        )

    def _stop_reason(self, curve: Curve, epoch: int, others: Mapping[int, _Training]) -> StopReason:
        best = max(curve.scores)
        ahead = {n: best - one.best(epoch) for n, one in others.items() if one.counts(epoch)}
        return StopReason(
            f"{self._stopping.rule}: fold {self._folds[curve.fold]} at epoch {epoch}: "
            f"{100 * best:.1f} % validation UA at best, stopped against {len(ahead)} "
            f"other{'s' if len(ahead) != 1 else ''}",
            ahead,
            curve,
        )


def past_curves(stopping: Stopping, ledger: Ledger, store: Store, seeds: int) -> list[Curve]:
    """The curves of a study's trainings that are over.

    Those that ended are in the store, those that were stopped in the ledger: without the latter
    a study that goes on would compare with survivors alone.

    Args:
        stopping: whose folds are looked at.
        ledger, store: the study's.
        seeds: trainings a fold.
    """
    curves = [
        Curve(trial.number, facts["fold"], facts["repeat"], tuple(facts["scores"]), whole=False)
        for trial in ledger.trials()
        if (facts := trial.extra.get("stopped")) is not None
    ]
    for row in ledger.folds():
        if row.index not in stopping.folds:
            continue
        each = len(row.stages) // seeds
        for repeat in range(seeds):
            scores = _scores(store, row.stages[(repeat + 1) * each - 1].key)
            curves.append(Curve(row.trial, row.index, repeat, scores, whole=True))
    return curves


def _scores(store: Store, key: str) -> tuple[float, ...]:
    """The curve of a scored stage; empty where its artifact is gone."""
    try:
        entry = store.get(key)
    except Damaged:
        return ()
    return () if entry is None else curve_of(entry[0].info)
