"""From a study's folds to its tables of scores and its estimates.

Rows are the complete trials and, after a race, those stopped with a fold behind them; what a
stopped trial did not run is drawn from a joint model of validation and test scores
(`impute`), so that the estimates speak of all settings and not of those alone that looked
well early. Failed trials are left out: why they failed is not a matter of their scores.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from raysearch.report.document import Race
from raysearch.search.racing import expected
from raysearch.selection import (
    Estimates,
    Judge,
    Matrix,
    Score,
    by_mean,
    estimates,
    estimates_over_draws,
    impute,
    worst_mean,
)
from raysearch.study.ledger import COMPLETE, PRUNED, TrialRow
from raysearch.study.record import Record

METRICS = ("ua", "wa")
DRAWS = 100
"""completed tables. The honest figure moves by about 0.15 points from seed to seed with 30, by 0.1
with 100; for 1000 trials on 10 folds they take half a second"""


@dataclass(frozen=True)
class Scores:
    """The rows that take part, by number, their tables, and what follows from them."""

    trials: tuple[TrialRow, ...]
    complete: tuple[int, ...]
    """the rows whose trials ran all folds"""
    test: Mapping[str, Matrix]
    """metric -> [C, K], NaN where not run"""
    draws: tuple[tuple[Matrix, Mapping[str, Matrix]], ...]
    """(V, T) without a hole; one, the tables themselves, where no row was cut short"""
    judge: Judge
    """by which settings are chosen for folds: folds -> [C] validation scores, expected ones where
    a row was cut short"""
    standing: Mapping[str, NDArray[np.float64]]
    """objective -> [C] validation score over all folds, NaN for rows that were cut short"""
    found: Estimates
    at_least: Mapping[str, float]
    """metric -> the best mean test score of a complete row"""
    metric: str
    """the (first) objective's: "ua" or "wa" """

    @property
    def cut(self) -> bool:
        """Whether a row was cut short, so that cells were drawn."""
        return len(self.complete) < len(self.trials)

    @property
    def stopped(self) -> int:
        """How many rows were cut short."""
        return len(self.trials) - len(self.complete)

    @property
    def order(self) -> list[int]:
        """The complete rows, best first by the first objective, as `estimates` chooses."""
        mean = next(iter(self.standing.values()))[list(self.complete)]
        # the tolerance of `selection`: the order of a sum must not decide between equals
        return [self.complete[i] for i in np.lexsort((np.arange(len(mean)), -np.round(mean, 12)))]


def score(record: Record) -> Scores | None:
    """The tables and the estimates; None while no trial is complete.

    Raises:
        ValueError: a trial said to be complete lacks a fold, or a score is not finite.
    """
    trials = tuple(
        trial
        for trial in record.trials
        if trial.state == COMPLETE or (trial.state == PRUNED and record.rows_of(trial.number))
    )
    full = [c for c, trial in enumerate(trials) if trial.state == COMPLETE]
    if not full:
        return None
    objectives = record.objectives
    first = objectives[0]
    validation = {m: _table(record, trials, f"val_{m}") for m in METRICS}
    test = {m: _table(record, trials, f"test_{m}") for m in METRICS}
    V = validation[first.metric]
    groups = [fold.groups for fold in record.folds]
    names = [f"trial {trial.number}" for trial in trials]

    confusions = _confusions(record, [trials[c] for c in full], objectives)
    complete = _judge(first, V[full], confusions)
    # of the complete rows alone: it refuses holes by name, and finds the setting to hand over
    found = estimates(
        V[full],
        {m: x[full] for m, x in test.items()},
        groups,
        settings=[names[c] for c in full],
        judge=complete,
    )
    at_least = {m: e.mean for m, e in found.oracle.items()}
    draws: tuple[tuple[Matrix, Mapping[str, Matrix]], ...] = ((V, test),)
    judge = complete
    if len(full) < len(trials):
        completed = impute(V, test, draws=DRAWS, seed=record.seed)
        draws = completed.draws
        judge = _expecting(first, V)
        found = estimates_over_draws(
            [t for _, t in draws],
            groups,
            judge=judge,
            imputed=completed.imputed,
            settings=names,
            selectable=[full[found.best]],
        )
    everything = range(len(groups))
    standing = {}
    for objective in objectives:
        values = np.full(len(trials), np.nan)
        mine = validation[objective.metric][full]
        values[full] = _judge(objective, mine, confusions)(everything)
        standing[objective.name] = values
    return Scores(
        trials=trials,
        complete=tuple(full),
        test=test,
        draws=draws,
        judge=judge,
        standing=standing,
        found=found,
        at_least=at_least,
        metric=first.metric,
    )


def race(record: Record, scores: Scores | None) -> Race | None:
    """What stopping trials early saved; None where none was stopped."""
    stopped = [trial for trial in record.trials if trial.state == PRUNED]
    if not stopped:
        return None
    took_part = [t for t in record.trials if t.state in (COMPLETE, PRUNED)]
    return Race(
        stopped=len(stopped),
        unknown=sum(not record.rows_of(trial.number) for trial in stopped),
        inside=sum(trial.reason.startswith(("asha:", "median:")) for trial in stopped),
        ran=sum(len(record.rows_of(trial.number)) for trial in took_part),
        full=len(took_part) * len(record.folds),
        imputed=0.0 if scores is None else scores.found.imputed,
        draws=len(scores.draws) if scores is not None and scores.cut else 0,
    )


def _table(record: Record, trials: Sequence[TrialRow], name: str) -> Matrix:
    table = np.full((len(trials), len(record.folds)), np.nan)
    for c, trial in enumerate(trials):
        for f, fold in enumerate(record.folds):
            row = record.cells.get((trial.number, fold.name))
            if row is not None:
                table[c, f] = row.scores.get(name, np.nan)
    return table


def _confusions(
    record: Record, trials: Sequence[TrialRow], objectives: Sequence[Score]
) -> NDArray[np.float64] | None:
    """Validation counts [C, K, k, k] of complete trials, where an objective pools clips."""
    if not any(objective.name == "pooled_ua" for objective in objectives):
        return None
    rows = [
        (c, f, record.cells.get((t.number, x.name)))
        for c, t in enumerate(trials)
        for f, x in enumerate(record.folds)
    ]
    there = [(c, f, row.val_confusion) for c, f, row in rows if row is not None]
    k = max((len(counts) for _, _, counts in there), default=0)
    # a hole is refused by its name when the estimates are made
    table = np.zeros((len(trials), len(record.folds), k, k))
    for c, f, counts in there:
        table[c, f] = counts
    return table


def _judge(score: Score, v: Matrix, confusions: NDArray[np.float64] | None) -> Judge:
    """`Score.of` for all rows of a full table [C, K] at once."""

    def worst(over: Sequence[int]) -> Matrix:
        return worst_mean(v[:, list(over)])

    def pooled(over: Sequence[int]) -> Matrix:
        assert confusions is not None
        counts = confusions[:, list(over)].sum(axis=1)
        totals, hits = counts.sum(axis=2), np.diagonal(counts, axis1=1, axis2=2)
        there = totals > 0
        recalls = np.divide(hits, totals, out=np.zeros(totals.shape), where=there)
        out: Matrix = recalls.sum(axis=1) / there.sum(axis=1)
        return out

    if score.name == "worst_ua":
        return worst
    return pooled if score.name == "pooled_ua" else by_mean(v)


def _expecting(score: Score, v: Matrix) -> Judge:
    """The same for a table with holes, expected from what was measured in the folds asked for.

    Clips that were not scored cannot be pooled, so the mean stands in for `pooled_ua`.
    """

    @cache
    def worst(over: tuple[int, ...]) -> Matrix:
        part = v[:, list(over)]
        there = np.isfinite(part).any(axis=1)
        found = np.full(len(v), -np.inf)  # nothing is known of it there: not to be chosen
        drawn = impute(part[there], {}, draws=DRAWS).draws
        found[there] = np.mean([worst_mean(one) for one, _ in drawn], axis=0)
        return found

    if score.name == "worst_ua":
        return lambda over: worst(tuple(over))
    return lambda over: expected(v[:, list(over)])
