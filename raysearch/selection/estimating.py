"""Honest, nested, selected and oracle scores of a study."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import ArrayLike

from raysearch.selection.choices import (
    Judge,
    by_mean,
    choice_scores,
    first_best,
    honest_choice,
    judges_of,
)
from raysearch.selection.intervals import (
    Groups,
    Matrix,
    interval,
    over_groups,
    pooled_variance,
    t_quantile,
)
from raysearch.selection.scores import metric_of

KINDS = ("honest", "nested", "selected", "oracle")


@dataclass(frozen=True)
class Estimate:
    """A mean test score over folds.

    The interval is mean ± t(K-1)·sd/√K. It is not cut at 0 or 1, and None where K = 1. Where
    several folds test the same group (one for each target rater), K and sd are of the groups: see
    `over_groups`.
    """

    mean: float
    low: float | None
    high: float | None
    sd: float | None
    """standard deviation over folds, or groups (n - 1); None where K = 1"""
    values: tuple[float, ...] = ()
    """the score of each fold, in fold order"""


@dataclass(frozen=True)
class Estimates:
    """The four estimates of a study (`KINDS`), each by metric ("ua", "wa"), as fractions.

    `optimism` is oracle - honest (honest - oracle where less is better). It is what choosing on
    test scores would have added to the claim, and may be negative: the honest procedure can choose
    differently for every fold.
    """

    honest: dict[str, Estimate]
    nested: dict[str, Estimate]
    selected: dict[str, Estimate]
    oracle: dict[str, Estimate]
    optimism: dict[str, float]
    best: int
    """row of c*, the setting with the best mean validation score"""
    honest_choices: tuple[int, ...]
    """row chosen for each fold by folds in which its test groups had no part"""
    nested_choices: tuple[int, ...]
    """row chosen for each fold by its own validation score"""
    oracle_rows: dict[str, int]
    """by metric, the row with the best mean test score of it"""
    judges: tuple[tuple[int, ...], ...]
    """for each fold, the folds whose validation scores made the honest choice"""
    notes: tuple[str, ...] = ()
    imputed: float = 0.0
    """share of the cells that were drawn, not measured"""
    pooled: Estimate | None = None
    """UA of the honest choices over all clips together, where it is the headline: see `pooling`"""
    outer: dict[str, Estimate] = field(default_factory=dict)
    """of settings that a search of its own chose for each held-out group, which it has never heard;
    {} where there are no such searches"""

    @property
    def kinds(self) -> tuple[str, ...]:
        """`KINDS`, and "outer" beside honest where there is such an estimate."""
        return (KINDS[0], "outer", *KINDS[1:]) if self.outer else KINDS

    @property
    def unjudged(self) -> int:
        """Folds that no other fold can judge: the honest choice there is the nested one."""
        return sum(not judges for judges in self.judges)

    def of(self, kind: str) -> dict[str, Estimate]:
        """One of `kinds` by its name: metric -> estimate."""
        by_metric: dict[str, Estimate] = getattr(self, kind)
        return by_metric


def estimates(
    V: ArrayLike,
    T: Mapping[str, ArrayLike],
    folds: Sequence[Groups],
    *,
    settings: Sequence[str] | None = None,
    judge: Judge | None = None,
    selectable: Sequence[int] | None = None,
) -> Estimates:
    """The four estimates of full score tables.

    - honest:   for each fold f, c_f = argmax_c mean of V[c,g] over the folds g with
      (test(g) ∪ val(g)) ∩ test(f) = ∅; the estimate is mean_f T[c_f, f]. Where no fold g is left,
      c_f is the nested choice, and a note says so.
    - nested:   mean_f T[argmax_c V[c,f], f].
    - selected: T̄[c*] with c* = argmax_c V̄[c].
    - oracle:   for each metric m, max_c T̄_m[c] (min where less is better): each has its
      own best setting.

    Args:
        V: validation scores of the objective [C, K], more of which is better. Every choice but the
            oracle's is made by it, for every metric.
        T: by metric, test scores [C, K].
        folds: K folds, in the order of the columns.
        settings: names of the rows, for messages (default: "row 0", ...).
        judge: the validation score [C] of every setting over some folds together; default their
            mean of V.
        selectable: the rows that `selected` may choose among, at least one; default all. A study
            hands over a setting that ran to its end. The other estimates choose among all rows.

    Raises:
        ValueError: shapes that do not fit, no row, no fold, a fold that tests no group, or a
            score that is not finite (the first such cell is named).
    """
    v, t = _tables(V, T, folds, settings)
    choices = _choose(judge or by_mean(v), folds, selectable)
    oracle_rows = {m: first_best(metric_of(m).sign * x.mean(axis=1)) for m, x in t.items()}
    each = [_kinds(x, choices, oracle_rows[name], folds) for name, x in t.items()]
    return _estimates(dict(zip(t, each, strict=True)), choices, oracle_rows, folds, imputed=0.0)


def estimates_over_draws(
    draws: Iterable[Mapping[str, ArrayLike]],
    folds: Sequence[Groups],
    *,
    judge: Judge,
    imputed: float,
    settings: Sequence[str] | None = None,
    selectable: Sequence[int] | None = None,
) -> Estimates:
    """The estimates where some cells were not measured, over draws of the test scores.

    Choices are made once, by `judge`: by what was measured, as in a race, not by what a draw
    made up. (Choosing anew in each draw would pick the draw's luck with it.) Their
    scores are measured where there is a measurement, and drawn elsewhere. Points are means over
    the M draws. Intervals add the variance between draws to that over folds, W + (1 + 1/M)·B, with
    the degrees of freedom of Barnard and Rubin (1999) for K - 1 complete-data degrees. The
    oracle's row is the one with the best mean over all draws: of settings that nobody ran to
    their end it may have missed a better one.

    Args:
        draws: at least one {metric: T [C, K]}, without a hole.
        folds: as for `estimates`.
        judge: folds -> the validation score [C] that is expected of each setting over them, from
            the validation scores of these folds alone.
        imputed: share of cells drawn, in [0, 1]; for the reader.
        settings: as for `estimates`.
        selectable: as for `estimates`: the rows whose cells were all measured.

    Raises:
        ValueError: no draw, a share outside [0, 1], or tables that `estimates` refuses.
    """
    if not 0 <= imputed <= 1:
        raise ValueError(f"0 <= imputed <= 1 must hold, but got {imputed!r}")
    tables = []
    for draw in draws:
        first = next(iter(draw.values()), np.empty((0, 0)))
        tables.append(_tables(first, draw, folds, settings)[1])
    if not tables:
        raise ValueError("at least one draw is needed, but got none")
    choices = _choose(judge, folds, selectable)
    metrics = list(tables[0])
    mean = {m: np.mean([t[m].mean(axis=1) for t in tables], axis=0) for m in metrics}
    oracle_rows = {m: first_best(metric_of(m).sign * mean[m]) for m in metrics}
    by_metric = {}
    for m in metrics:
        each = [_kinds(t[m], choices, oracle_rows[m], folds) for t in tables]
        by_metric[m] = {kind: _pool([one[kind] for one in each], folds) for kind in each[0]}
    return _estimates(by_metric, choices, oracle_rows, folds, imputed=imputed)


def with_outer(whole: Estimates, T: Mapping[str, ArrayLike], folds: Sequence[Groups]) -> Estimates:
    """The estimates, with that of a search of its own for each held-out group.

    Args:
        whole: of the study.
        T: by metric, [K] test scores of the setting that was chosen for each fold by a search
            which has never heard the groups that the fold tests.
        folds: K folds.

    Raises:
        ValueError: a score that is not finite, or not one for each fold.
    """
    each = {name: np.asarray(x, dtype=np.float64)[None] for name, x in T.items()}
    first = next(iter(each.values()), np.empty((0, 0)))
    _, t = _tables(first, each, folds, ["the outer searches' choice"])
    return replace(whole, outer={m: _estimate(x[0], folds) for m, x in t.items()})


@dataclass(frozen=True)
class _Choices:
    honest: tuple[int, ...]
    nested: tuple[int, ...]
    best: int
    judges: tuple[tuple[int, ...], ...]


def _choose(judge: Judge, folds: Sequence[Groups], selectable: Sequence[int] | None) -> _Choices:
    judges = tuple(judges_of(f, folds) for f in range(len(folds)))
    scores = choice_scores(folds, judge)
    alone = np.array([np.asarray(judge([f]), dtype=np.float64) for f in range(len(folds))])
    whole = np.asarray(judge(range(len(folds))), dtype=np.float64)
    return _Choices(
        honest=honest_choice(scores),
        nested=honest_choice(alone),
        best=honest_choice(whole[None], selectable)[0],
        judges=judges,
    )


def _kinds(
    x: Matrix, choices: _Choices, oracle: int, folds: Sequence[Groups]
) -> dict[str, Estimate]:
    columns = np.arange(x.shape[1])
    return {
        "honest": _estimate(x[list(choices.honest), columns], folds),
        "nested": _estimate(x[list(choices.nested), columns], folds),
        "selected": _estimate(x[choices.best], folds),
        "oracle": _estimate(x[oracle], folds),
    }


def _estimates(
    by_metric: Mapping[str, Mapping[str, Estimate]],
    choices: _Choices,
    oracle_rows: dict[str, int],
    folds: Sequence[Groups],
    *,
    imputed: float,
) -> Estimates:
    """`by_metric`: metric -> kind of estimate -> the estimate."""
    by_kind = {kind: {m: by_metric[m][kind] for m in by_metric} for kind in KINDS}
    return Estimates(
        honest=by_kind["honest"],
        nested=by_kind["nested"],
        selected=by_kind["selected"],
        oracle=by_kind["oracle"],
        optimism={
            m: metric_of(m).sign * (each["oracle"].mean - each["honest"].mean)
            for m, each in by_metric.items()
        },
        best=choices.best,
        honest_choices=choices.honest,
        nested_choices=choices.nested,
        oracle_rows=oracle_rows,
        judges=choices.judges,
        notes=_notes(folds, choices.judges),
        imputed=imputed,
    )


def _tables(
    V: ArrayLike,
    T: Mapping[str, ArrayLike],
    folds: Sequence[Groups],
    settings: Sequence[str] | None,
) -> tuple[Matrix, dict[str, Matrix]]:
    v = np.asarray(V, dtype=np.float64)
    t = {name: np.asarray(x, dtype=np.float64) for name, x in T.items()}
    if v.ndim != 2 or 0 in v.shape:
        raise ValueError(f"V must be [settings, folds], neither empty, but got shape {v.shape}")
    if not t:
        raise ValueError("T must hold at least one metric, but got none")
    if len(folds) != v.shape[1]:
        raise ValueError(f"V has {v.shape[1]} folds, but {len(folds)} folds are described")
    if settings is not None and len(settings) != v.shape[0]:
        raise ValueError(f"V has {v.shape[0]} settings, but {len(settings)} are named")
    for f, fold in enumerate(folds):
        if not fold.test_groups:
            raise ValueError(
                f"every fold must test at least one group, but fold {_fold(fold, f)} tests none"
            )
    for name, x in (("validation", v), *((f"test {m}", x) for m, x in t.items())):
        if x.shape != v.shape:
            raise ValueError(f"T[{name[5:]!r}] must have V's shape {v.shape}, but got {x.shape}")
        bad = np.argwhere(~np.isfinite(x))
        if len(bad):
            c, f = (int(i) for i in bad[0])
            row = settings[c] if settings is not None else f"row {c}"
            raise ValueError(
                f"every score must be finite, but the {name} score of {row} on fold "
                f"{_fold(folds[f], f)} is {x[c, f]} ({len(bad)} such cells)"
            )
    return v, t


def _estimate(values: Matrix, folds: Sequence[Groups]) -> Estimate:
    mean, low, high, sd = interval(over_groups(values, folds))
    return Estimate(mean, low, high, sd, tuple(float(x) for x in values))


def _pool(each: Sequence[Estimate], folds: Sequence[Groups]) -> Estimate:
    means = np.array([e.mean for e in each])
    mean = float(means.mean())
    values = tuple(float(x) for x in np.mean([e.values for e in each], axis=0))
    if each[0].sd is None:
        return Estimate(mean, None, None, None, values)
    var = float(np.mean([(e.sd or 0.0) ** 2 for e in each]))
    total, df = pooled_variance(means, var, len({fold.test_groups for fold in folds}))
    half = t_quantile(df) * total**0.5
    return Estimate(mean, mean - half, mean + half, var**0.5, values)


def _notes(folds: Sequence[Groups], judges: Sequence[tuple[int, ...]]) -> tuple[str, ...]:
    notes: list[str] = []
    if len(folds) == 1:
        notes.append("There is one fold only, so no score has an interval.")
    if any(not fold.test_groups.isdisjoint(fold.val_groups) for fold in folds):
        notes.append(
            "Test groups also occur in their own fold's validation part: no estimate here speaks "
            "of groups the models never heard."
        )
    alone = [_fold(folds[f], f) for f, g in enumerate(judges) if not g]
    if alone and len(folds) > 1:
        few = f"{'fold' if len(alone) == 1 else 'the folds'} {', '.join(alone)}"
        where = "every fold" if len(alone) == len(folds) else few
        notes.append(
            f"In {where}, all other folds have tested or validated on the held-out group, so the "
            "honest choice there is the nested one, made by the fold's own validation score."
        )
    return tuple(notes)


def _fold(fold: Groups, f: int) -> str:
    return fold.name or f"number {f}"
