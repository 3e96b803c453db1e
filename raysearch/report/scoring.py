"""From a study's folds to its tables of scores and its estimates.

Rows are the complete trials and, after a race, those stopped with a fold behind them; what a
stopped trial did not run is drawn from a joint model of validation and test scores, so that the
estimates speak of all settings, not only of those that looked well early. Failed trials are
left out: why they failed is not a matter of their scores.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
from numpy.typing import NDArray

from raysearch.report.document import Race
from raysearch.search.racing import expected
from raysearch.selection import (
    SCORED,
    SHARE,
    Estimate,
    Estimates,
    Judge,
    Matrix,
    Score,
    by_mean,
    estimates,
    estimates_over_draws,
    group_names,
    impute,
    lacking,
    pooled_ua,
    with_outer,
    worst_mean,
)
from raysearch.study.ledger import COMPLETE, PRUNED, FoldRow, TrialRow
from raysearch.study.record import Record

_USUAL = ("ua", "wa")
"""metrics that tables show where the objective is one of them"""
DRAWS = 100
"""completed tables. The honest figure moves by about 0.15 points from seed to seed with 30, by 0.1
with 100; for 1000 trials on 10 folds they take half a second"""

Draw = tuple[Matrix, Mapping[str, Matrix]]
"""(V, T by metric), neither with a hole"""


@dataclass(frozen=True)
class Scores:
    """The rows that take part, by number, their tables, and what follows from them."""

    trials: tuple[TrialRow, ...]
    complete: tuple[int, ...]
    """the rows whose trials ran all folds"""
    test: Mapping[str, Matrix]
    """metric -> [C, K], NaN where not run"""
    draws: tuple[Draw, ...]
    """one, the tables themselves, where no row was cut short"""
    judge: Judge
    """by which settings are chosen for folds: folds -> [C] validation scores, expected ones where
    a row was cut short"""
    validation: Mapping[str, NDArray[np.float64]]
    """objective -> [C] validation score over all folds, NaN for rows that were cut short"""
    estimates: Estimates
    at_least: Mapping[str, float]
    """metric -> the best mean test score of a complete row"""
    metric: str
    """the (first) objective's"""
    shown: tuple[str, ...]
    """the metrics that most tables show, at most two, `metric` among them"""

    @property
    def cut(self) -> bool:
        """Whether a row was cut short, so that cells were drawn."""
        return len(self.complete) < len(self.trials)

    @property
    def stopped(self) -> int:
        """How many rows were cut short."""
        return len(self.trials) - len(self.complete)

    @property
    def best(self) -> TrialRow:
        """The selected trial."""
        return self.trials[self.estimates.best]

    @property
    def baseline(self) -> int | None:
        """The first complete row that was enqueued, which others are held against; None: none."""
        enqueued = (c for c in self.complete if self.trials[c].origin == "enqueued")
        return next(enqueued, None)

    def choices(self) -> dict[str, tuple[int, ...]]:
        """By name, the row of each fold: the honest choices, the selected one, the baseline."""
        k = len(self.estimates.judges)
        choices = {
            "honest": self.estimates.honest_choices,
            "selected": (self.estimates.best,) * k,
        }
        return choices if self.baseline is None else {**choices, "baseline": (self.baseline,) * k}

    @property
    def order(self) -> list[int]:
        """The complete rows, best first by the first objective, as `estimates` chooses."""
        name, values = next(iter(self.validation.items()))
        return [
            self.complete[i] for i in best_first(Score(name).merit(values[list(self.complete)]))
        ]


def folds_of(trials: Sequence[TrialRow], choices: Sequence[int], record: Record) -> list[FoldRow]:
    """The folds [K] of a choice of rows, one a fold; [] where one of them was not run."""
    rows = [
        record.cells.get((trials[c].number, fold.name))
        for c, fold in zip(choices, record.folds, strict=True)
    ]
    whole = [row for row in rows if row is not None]
    return whole if len(whole) == len(rows) else []


def best_first(scores: Matrix) -> NDArray[np.intp]:
    """Positions of scores [C], the highest first; of equals the earlier one first."""
    # the tolerance of `selection`: the order of a sum must not decide between equals
    return np.lexsort((np.arange(len(scores)), -np.round(scores, 12)))


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
    first = record.objectives[0]
    validation = {x.metric: _table(record, trials, f"val_{x.metric}") for x in record.objectives}
    test = {m: _table(record, trials, f"test_{m}") for m in _metrics(record, trials, first.metric)}
    shown = _shown(first.metric, tuple(test))
    V = first.merit(validation[first.metric])
    complete = [trials[c] for c in full]
    judge = _judge(first, V[full], record, complete)
    groups = [fold.groups for fold in record.folds]
    names = [f"trial {trial.number}" for trial in trials]
    # of the complete rows alone: it refuses holes by name, and finds the setting to hand over
    whole = estimates(
        V[full],
        {m: x[full] for m, x in test.items()},
        groups,
        settings=[names[c] for c in full],
        judge=judge,
    )
    at_least = {m: e.mean for m, e in whole.oracle.items()}
    draws: tuple[Draw, ...] = ((V, test),)
    if len(full) < len(trials):
        draws, imputed = _draws(V, test, shown, record.seed)
        judge = _expecting(first, V)
        whole = estimates_over_draws(
            [t for _, t in draws],
            groups,
            judge=judge,
            imputed=imputed,
            settings=names,
            selectable=[full[whole.best]],
        )
    whole = replace(whole, pooled=_pooled(record, trials, whole.honest_choices))
    whole = _with_outer(whole, record, tuple(test))
    standing = {}
    for objective in record.objectives:
        values = objective.merit(validation[objective.metric][full])
        merits = np.asarray(_judge(objective, values, record, complete)(range(len(groups))))
        standing[objective.name] = np.full(len(trials), np.nan)
        standing[objective.name][full] = objective.merit(merits)
    return Scores(
        trials, tuple(full), test, draws, judge, standing, whole, at_least, first.metric, shown
    )


def _with_outer(whole: Estimates, record: Record, metrics: Sequence[str]) -> Estimates:
    """The estimates with that of the outer searches, once all of them are done."""
    rows = [search.row for search in record.outer if search.done and search.row is not None]
    if not rows or len(rows) < len(record.folds):
        return whole
    each = {m: np.array([row.scores[f"test_{m}"] for row in rows]) for m in metrics}
    return with_outer(whole, each, [fold.groups for fold in record.folds])


def _metrics(record: Record, trials: Sequence[TrialRow], first: str) -> list[str]:
    """The metrics that every finished fold has; ledgers that are older than a metric lack it.

    The objective's is among them: that it is missing is told where estimates are made.
    """
    rows = [row for trial in trials for row in record.rows_of(trial.number)]
    return [m for m in SCORED if m == first or all(f"test_{m}" in row.scores for row in rows)]


def _shown(first: str, metrics: tuple[str, ...]) -> tuple[str, ...]:
    """The objective's metric and another; UA and WA, in this order, where it is one of them."""
    if first in _USUAL and set(_USUAL) <= set(metrics):
        return _USUAL
    return (first, *[m for m in (*_USUAL, *metrics) if m in metrics and m != first][:1])


def _draws(
    V: Matrix, test: Mapping[str, Matrix], shown: Sequence[str], seed: int
) -> tuple[tuple[Draw, ...], float]:
    """Completed tables, and the share of their cells that were drawn.

    What tables show is drawn jointly, and the other metrics of the same draw beside it.
    """
    completed = impute(V, {m: test[m] for m in shown}, draws=DRAWS, seed=seed)
    rest = {m: x for m, x in test.items() if m not in shown}
    if not rest:
        return completed.draws, completed.imputed
    others = impute(V, rest, draws=DRAWS, seed=seed).draws
    pairs = zip(completed.draws, others, strict=True)
    return tuple((v, {**t, **more}) for (v, t), (_, more) in pairs), completed.imputed


def _pooled(record: Record, trials: Sequence[TrialRow], choices: Sequence[int]) -> Estimate | None:
    """The pooled UA of the honest choices, where at least half of the folds lack classes.

    None where they have them, where a choice was not measured on its fold, and where the objective
    is not made of UA.
    """
    if record.objectives[0].metric not in _USUAL:
        return None
    rows = folds_of(trials, choices, record)
    confusions = [row.confusion for row in rows]
    if not rows or not all(confusions):
        return None
    few, _ = lacking(confusions)
    return pooled_ua(confusions, record.folds) if few >= SHARE * len(rows) else None


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
        imputed=0.0 if scores is None else scores.estimates.imputed,
        draws=len(scores.draws) if scores is not None and scores.cut else 0,
    )


def _table(record: Record, trials: Sequence[TrialRow], name: str) -> Matrix:
    """One score of every trial on every fold [C, K], NaN where not run."""
    table = np.full((len(trials), len(record.folds)), np.nan)
    for c, trial in enumerate(trials):
        for f, fold in enumerate(record.folds):
            row = record.cells.get((trial.number, fold.name))
            if row is not None:
                table[c, f] = row.scores.get(name, np.nan)
    return table


def _judge(score: Score, merit: Matrix, record: Record, trials: Sequence[TrialRow]) -> Judge:
    """`Score.of`, turned so that more is better, for all complete trials [C] at once.

    Args:
        score: the objective.
        merit: [C, K] its metric in each fold, more of which is better.
        record: of the study.
        trials: C of them.
    """
    if score.over == "mean":
        return by_mean(merit)
    if score.over == "worst":
        return lambda over: worst_mean(merit[:, list(over)])

    @cache
    def counts() -> Matrix:  # holes are refused by name before anybody judges
        names = group_names(record.fold_rows)
        return np.stack([score.counts(record.rows_of(t.number), names) for t in trials])

    return lambda over: score.merit(score.together(counts()[:, list(over)]))


def _expecting(score: Score, v: Matrix) -> Judge:
    """The same for a table with holes, expected from what was measured in the folds in question.

    Of a setting that was measured in none of them nothing is known, so it cannot be chosen: a model
    would give it the mean of all settings, which may tie with the best. Clips that were not scored
    cannot be pooled, so the mean stands in where an objective pools them.
    """
    expect = _expected_worst if score.over == "worst" else expected

    @cache
    def judge(over: tuple[int, ...]) -> Matrix:
        part = v[:, list(over)]
        some = np.isfinite(part).any(axis=1)
        means = np.full(len(v), -np.inf)
        means[some] = expect(part[some])
        return means

    return lambda over: judge(tuple(over))


def _expected_worst(part: Matrix) -> Matrix:
    """The mean over the worst quarter of the folds that is expected of each row [C, K]."""
    draws = impute(part, {}, draws=DRAWS).draws
    mean: Matrix = np.mean([worst_mean(table) for table, _ in draws], axis=0)
    return mean
