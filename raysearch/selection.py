"""What a study may claim: honest, nested, selected and oracle scores, and paired comparisons.

From two matrices, validation scores V [C, K] and test scores T [C, K] of C settings on K folds.
Pure numpy and scipy.special (scipy.stats takes a second to import); it knows no ledger, nothing of
a fold but its groups, and no third-party system.

Ties: of settings whose means agree within 1e-12 the first row, that is the earliest trial, is
chosen. The tolerance keeps the order in which a sum is taken from deciding between equals.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtr, stdtrit

__all__ = [
    "Difference",
    "Estimate",
    "Estimates",
    "FoldGroups",
    "Judge",
    "Score",
    "by_mean",
    "compare",
    "compare_over_draws",
    "estimates",
    "estimates_over_draws",
    "gain",
    "holm",
    "honest_choice",
    "interval",
    "judged",
    "nothing",
    "of_all",
    "over_groups",
    "pareto",
    "sentence",
    "worst_mean",
]

LEVEL = 0.95
_TIE = 1e-12
_WORDS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")

Matrix = NDArray[np.float64]

Judge = Callable[[Sequence[int]], ArrayLike]
"""folds -> the validation score [C] that every setting has over these folds together"""


class Groups(Protocol):
    """What the choice must know of a fold; `raysearch.folds.Fold` fits."""

    @property
    def name(self) -> str: ...
    @property
    def test_groups(self) -> frozenset[str]: ...
    @property
    def val_groups(self) -> frozenset[str]: ...


class Scored(Protocol):
    """A finished fold, as far as an objective reads it (`raysearch.ledger.FoldRow`)."""

    @property
    def scores(self) -> Mapping[str, float]: ...
    @property
    def val_confusion(self) -> Sequence[Sequence[int]]: ...


@dataclass(frozen=True)
class Score:
    """The objective: what a setting's validation folds are worth together.

    `ua` and `wa` are means over folds. `pooled_ua` is the mean over classes of the recall in all
    folds' clips together; it is better where folds lack classes, as a class that a fold has one
    clip of then counts as one clip. `worst_ua` is the mean UA of the worst quarter of the folds,
    ceil(K / 4) of them: what the speakers that are served worst may expect.
    """

    name: str

    @property
    def metric(self) -> str:
        """The score of one fold that goes with it: "ua" or "wa"."""
        return self.name.removeprefix("pooled_").removeprefix("worst_")

    def of(self, folds: Iterable[Scored]) -> float:
        """The score of one or more folds, in [0, 1]."""
        folds = list(folds)
        if self.name != "pooled_ua":
            each = np.array([fold.scores[f"val_{self.metric}"] for fold in folds])
            return float(worst_mean(each) if self.name == "worst_ua" else each.mean())
        counts = np.sum([np.asarray(fold.val_confusion) for fold in folds], axis=0)
        there = counts.sum(axis=1) > 0
        return float((np.diag(counts)[there] / counts.sum(axis=1)[there]).mean())


def of_all(folds: Iterable[Scored], names: Iterable[str]) -> dict[str, float]:
    """Several objectives of the same folds: name -> score in [0, 1]."""
    folds = list(folds)
    return {name: Score(name).of(folds) for name in names}


def worst_mean(scores: ArrayLike) -> Matrix:
    """Mean of the lowest quarter along the last axis, of ceil(K / 4) of K scores."""
    x = np.asarray(scores, dtype=np.float64)
    mean: Matrix = np.sort(x, axis=-1)[..., : -(-x.shape[-1] // 4)].mean(axis=-1)
    return mean


@dataclass(frozen=True)
class FoldGroups:
    """The groups (speakers, sessions or corpora) that a fold tests and validates."""

    test_groups: frozenset[str]
    val_groups: frozenset[str]
    name: str = ""


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
    """The four estimates of a study, each by metric ("ua", "wa"), as fractions.

    `optimism` is oracle - honest. It is what choosing on test scores would have added to the
    claim, and may be negative: the honest procedure can choose differently for every fold.
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
    """by metric, the row with the best mean test score of that metric"""
    judges: tuple[tuple[int, ...], ...]
    """for each fold, the folds whose validation scores made the honest choice"""
    notes: tuple[str, ...] = ()
    imputed: float = 0.0
    """share of the cells that were drawn, not measured"""


# -- the estimates -------------------------------------------------------------------------------


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
    - oracle:   for each metric m, max_c T̄_m[c]: each has its own best setting.

    Args:
        V: validation scores of the objective [C, K]. Every choice but the oracle's is made by it,
            for every metric.
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
    chosen = _choose(judge or by_mean(v), folds, selectable)
    oracle_rows = {name: _first_best(x.mean(axis=1)) for name, x in t.items()}
    each = [_scored(x, chosen, oracle_rows[name], folds) for name, x in t.items()]
    return _told(dict(zip(t, each, strict=True)), chosen, oracle_rows, folds, imputed=0.0)


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

    Choices are made once, by `judge`, as who runs a race makes them: by what is known, not by
    what a draw made up. (Choosing anew in each draw would pick the draw's luck with it.) Their
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
        imputed: share of cells drawn, in [0, 1]; kept for the reader.
        settings: as for `estimates`.
        selectable: as for `estimates`: the rows whose cells were all measured.
    """
    if not 0 <= imputed <= 1:
        raise ValueError(f"0 <= imputed <= 1 must hold, but got {imputed!r}")
    tables = []
    for draw in draws:
        first = next(iter(draw.values()), np.empty((0, 0)))
        tables.append(_tables(first, draw, folds, settings)[1])
    if not tables:
        raise ValueError("at least one draw is needed, but got none")
    chosen = _choose(judge, folds, selectable)
    metrics = list(tables[0])
    mean = {m: np.mean([t[m].mean(axis=1) for t in tables], axis=0) for m in metrics}
    oracle_rows = {m: _first_best(mean[m]) for m in metrics}
    pooled = {}
    for m in metrics:
        each = [_scored(t[m], chosen, oracle_rows[m], folds) for t in tables]
        pooled[m] = {kind: _pool([one[kind] for one in each], folds) for kind in each[0]}
    return _told(pooled, chosen, oracle_rows, folds, imputed=imputed)


@dataclass(frozen=True)
class _Chosen:
    honest: tuple[int, ...]
    nested: tuple[int, ...]
    best: int
    judges: tuple[tuple[int, ...], ...]


def _choose(judge: Judge, folds: Sequence[Groups], selectable: Sequence[int] | None) -> _Chosen:
    judges = tuple(_judges(f, folds) for f in range(len(folds)))
    scores = judged(folds, judge)
    alone = np.array([np.asarray(judge([f]), dtype=np.float64) for f in range(len(folds))])
    whole = np.asarray(judge(range(len(folds))), dtype=np.float64)
    return _Chosen(
        honest=honest_choice(scores),
        nested=honest_choice(alone),
        best=honest_choice(whole[None], selectable)[0],
        judges=judges,
    )


def _scored(
    x: Matrix, chosen: _Chosen, oracle: int, folds: Sequence[Groups]
) -> dict[str, Estimate]:
    columns = np.arange(x.shape[1])
    return {
        "honest": _estimate(x[list(chosen.honest), columns], folds),
        "nested": _estimate(x[list(chosen.nested), columns], folds),
        "selected": _estimate(x[chosen.best], folds),
        "oracle": _estimate(x[oracle], folds),
    }


def _told(
    found: Mapping[str, Mapping[str, Estimate]],
    chosen: _Chosen,
    oracle_rows: dict[str, int],
    folds: Sequence[Groups],
    *,
    imputed: float,
) -> Estimates:
    """`found`: metric -> kind of estimate -> the estimate."""
    by_kind = {kind: {m: found[m][kind] for m in found} for kind in next(iter(found.values()), {})}
    return Estimates(
        **by_kind,
        optimism={m: found[m]["oracle"].mean - found[m]["honest"].mean for m in found},
        best=chosen.best,
        honest_choices=chosen.honest,
        nested_choices=chosen.nested,
        oracle_rows=oracle_rows,
        judges=chosen.judges,
        notes=_notes(folds, chosen.judges),
        imputed=imputed,
    )


def by_mean(V: ArrayLike) -> Judge:
    """The judge of a full table [C, K] that goes by means."""
    v = np.asarray(V, dtype=np.float64)
    return lambda over: v[:, list(over)].mean(axis=1)


def judged(folds: Sequence[Groups], judge: Judge) -> Matrix:
    """The validation scores [K, C] by which the honest choice of each fold is made.

    Row f holds every setting's score over the folds that neither test nor validate on the groups
    that fold f tests; over fold f itself where there is none.

    Args:
        folds: K folds.
        judge: as for `estimates`.
    """
    over = [list(_judges(f, folds)) or [f] for f in range(len(folds))]
    return np.array([judge(g) for g in over], dtype=np.float64)


def honest_choice(scores: ArrayLike, rows: Sequence[int] | None = None) -> tuple[int, ...]:
    """The best row for each fold, of some of the rows.

    Args:
        scores: [K, C], from `judged`.
        rows: the rows to choose among, at least one; default all.
    """
    x = np.asarray(scores, dtype=np.float64)
    among = np.arange(x.shape[1]) if rows is None else np.array(sorted(rows), dtype=np.int64)
    if not len(among):
        raise ValueError("there must be a row to choose, but rows is empty")
    return tuple(int(among[_first_best(one[among])]) for one in x)


def pareto(scores: ArrayLike) -> tuple[int, ...]:
    """The rows of [C, m] scores that no other row beats, in their order.

    One row beats another that is at least as good in all m scores and better in one. Rows that are
    equal in all do not beat each other.
    """
    x = np.asarray(scores, dtype=np.float64)
    kept = []
    for c, row in enumerate(x):
        no_worse, better = (x >= row - _TIE).all(axis=1), (x > row + _TIE).any(axis=1)
        if not (no_worse & better).any():
            kept.append(c)
    return tuple(kept)


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


def _judges(f: int, folds: Sequence[Groups]) -> tuple[int, ...]:
    held = folds[f].test_groups
    return tuple(
        g
        for g, other in enumerate(folds)
        if held.isdisjoint(other.test_groups) and held.isdisjoint(other.val_groups)
    )


def _first_best(x: Matrix) -> int:
    return int(np.argmax(x >= x.max() - _TIE))


def over_groups(x: ArrayLike, folds: Sequence[Groups]) -> Matrix:
    """Scores of folds [..., K] as scores of the B groups that these test [..., B], of equal mean.

    Folds that test the same group are not independent: their clips are the same, scored on one
    rater's labels or another's. A t interval over the returned values is the one that is robust to
    this (by the variance of the groups' residual sums, B/(B-1)·Σ_b(Σ_{f∈b}(x_f - m))²/K²). Where
    each group is tested by as many folds, a group's value is their mean; where each is tested by
    one, nothing changes.

    Args:
        x: scores, the last axis in the order of the folds.
        folds: K folds.
    """
    values = np.asarray(x, dtype=np.float64)
    groups = [fold.test_groups for fold in folds]
    names = list(dict.fromkeys(groups))
    if len(names) == len(folds):
        return values
    member = np.array([[group == name for name in names] for group in groups], dtype=np.float64)
    share = len(names) / len(folds)
    mean = values.mean(axis=-1, keepdims=True)
    out: Matrix = share * (values @ member) + mean * (1 - share * member.sum(axis=0))
    return out


def _estimate(values: Matrix, folds: Sequence[Groups]) -> Estimate:
    mean, low, high, sd = interval(over_groups(values, folds))
    return Estimate(mean, low, high, sd, tuple(float(x) for x in values))


def interval(values: Matrix) -> tuple[float, float | None, float | None, float | None]:
    """Mean, t interval and standard deviation (n - 1) of values [n]; None where n = 1."""
    n, mean = len(values), float(values.mean())
    if n < 2:
        return mean, None, None, None
    sd = float(values.std(ddof=1))
    half = float(stdtrit(n - 1, 0.5 + LEVEL / 2)) * sd / n**0.5
    return mean, mean - half, mean + half, sd


def _pool(each: Sequence[Estimate], folds: Sequence[Groups]) -> Estimate:
    means = np.array([e.mean for e in each])
    mean = float(means.mean())
    values = tuple(float(x) for x in np.mean([e.values for e in each], axis=0))
    if each[0].sd is None:
        return Estimate(mean, None, None, None, values)
    var = float(np.mean([(e.sd or 0.0) ** 2 for e in each]))
    total, df = _pooled_variance(means, var, len({fold.test_groups for fold in folds}))
    half = float(stdtrit(df, 0.5 + LEVEL / 2)) * total**0.5
    return Estimate(mean, mean - half, mean + half, var**0.5, values)


def _pooled_variance(means: Matrix, var: float, k: int) -> tuple[float, float]:
    """Variance of the mean over M draws, and its degrees of freedom (Barnard and Rubin, 1999).

    Args:
        means: [M] the mean of each draw.
        var: variance over folds, averaged over draws.
        k: number of folds, at least 2.
    """
    m = len(means)
    # draws that agree must not count as a little uncertainty: it would cost degrees of freedom
    agree = m == 1 or np.ptp(means) <= _TIE
    between = 0.0 if agree else (1 + 1 / m) * float(means.var(ddof=1))
    total = var / k + between
    df = float(k - 1)
    if between > 0:
        share = between / total
        observed = (df + 1) / (df + 3) * df * (1 - share)
        df = 1 / (share**2 / (m - 1) + (1 / observed if observed > 0 else np.inf))
    return total, max(df, 1.0)


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
    if alone:
        few = f"{'fold' if len(alone) == 1 else 'the folds'} {', '.join(alone)}"
        where = "every fold" if len(alone) == len(folds) else few
        notes.append(
            f"In {where}, all other folds have tested or validated on the held-out group, so the "
            "honest choice there is the nested one, made by the fold's own validation score."
        )
    return tuple(notes)


def _fold(fold: Groups, f: int) -> str:
    return fold.name or f"number {f}"


# -- paired comparisons --------------------------------------------------------------------------


@dataclass(frozen=True)
class Difference:
    """A paired difference over folds, a - b, in fractions."""

    mean: float
    low: float | None
    high: float | None
    sd: float | None
    n: int
    p_t: float | None
    """two-sided paired t test; None where n = 1"""
    p_wilcoxon: float | None
    """two-sided exact Wilcoxon signed-rank test, zeros left out; None where n = 1, and where
    scores were drawn, as ranks have no such pooling"""


def compare(a: ArrayLike, b: ArrayLike) -> Difference:
    """Two settings on the same folds.

    The interval is t on the n differences: a percentile bootstrap over ten speakers or fewer
    covers only 85 to 87 %.

    Args:
        a, b: scores [n] on the same folds in the same order.

    Raises:
        ValueError: lengths that differ, no fold, or a score that is not finite.
    """
    d = _paired(a, b)
    mean, low, high, sd = interval(d)
    if sd is None:
        return Difference(mean, None, None, None, 1, None, None)
    if sd <= _TIE:
        p_t = 1.0 if mean == 0 else 0.0
    else:
        p_t = float(2 * stdtr(len(d) - 1, -abs(mean) / (sd / len(d) ** 0.5)))
    return Difference(mean, low, high, sd, len(d), p_t, _signed_rank(d))


def compare_over_draws(draws: Iterable[tuple[ArrayLike, ArrayLike]]) -> Difference:
    """Two settings on the same folds, some of their scores drawn.

    Points are means over the draws; interval and test have the variance and the degrees of freedom
    of `estimates_over_draws`. Where the draws agree, it is `compare`.

    Args:
        draws: at least one (a [n], b [n]).
    """
    pairs = list(draws)
    if not pairs:
        raise ValueError("at least one draw is needed, but got none")
    each = np.array([_paired(a, b) for a, b in pairs])
    if (np.ptp(each, axis=0) <= _TIE).all():
        return compare(*pairs[0])
    means, n = each.mean(axis=1), each.shape[1]
    mean = float(means.mean())
    if n < 2:
        return Difference(mean, None, None, None, 1, None, None)
    var = float(each.var(axis=1, ddof=1).mean())
    total, df = _pooled_variance(means, var, n)
    half = float(stdtrit(df, 0.5 + LEVEL / 2)) * total**0.5
    p_t = float(2 * stdtr(df, -abs(mean) / total**0.5))
    return Difference(mean, mean - half, mean + half, var**0.5, n, p_t, None)


def _paired(a: ArrayLike, b: ArrayLike) -> Matrix:
    """The differences [n] of two settings on the same folds."""
    x, y = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if x.ndim != 1 or x.shape != y.shape or not len(x):
        raise ValueError(
            f"a and b must have one shape [n], n >= 1, but got {x.shape} and {y.shape}"
        )
    d = x - y
    if not np.isfinite(d).all():
        bad = int(np.argmin(np.isfinite(d)))
        raise ValueError(f"every score must be finite, but the pair at position {bad} is not")
    # Equal scores reached by different sums must count as equal, not as a tiny difference.
    d = np.where(np.abs(d) <= _TIE, 0.0, d)
    return d


def gain(found: Estimates, T: Mapping[str, ArrayLike], baseline: int) -> dict[str, Difference]:
    """The gain of the honest procedure over a named setting: d_f = T[c_f, f] - T[baseline, f].

    Args:
        found: what `estimates` gave for these tables.
        T: by metric, test scores [C, K].
        baseline: row of the baseline.
    """
    return {
        name: compare(found.honest[name].values, np.asarray(x, dtype=np.float64)[baseline])
        for name, x in T.items()
    }


def holm(p: Sequence[float]) -> tuple[float, ...]:
    """Holm's (1979) adjusted p values for a family of tests, in the order given, each in [0, 1]."""
    adjusted = [0.0] * len(p)
    highest = 0.0
    for rank, i in enumerate(sorted(range(len(p)), key=lambda i: p[i])):
        highest = max(highest, min(1.0, (len(p) - rank) * p[i]))
        adjusted[i] = highest
    return tuple(adjusted)


def sentence(
    difference: Difference,
    a: str,
    b: str,
    *,
    p: float | None = None,
    unit: str = "speakers",
    level: float = 0.05,
) -> str:
    """What a paired difference shows, in one sentence.

    Args:
        difference: a - b, from `compare`.
        a, b: what was compared.
        p: the adjusted p value where the test is one of a family (default: the paired t test's).
        unit: what a fold holds out, in the plural ("speakers", "sessions", "corpora", "folds").
        level: a difference is called one where p < level.
    """
    d = difference
    if d.low is None or d.high is None or d.p_t is None:
        return f"{a} and {b}: one fold cannot show a difference."
    interval = f"95 % interval {_points(d.low)} to {_points(d.high)}"
    judged = d.p_t if p is None else p
    corrected = "" if p is None else " after Holm's correction"
    shown = f"p = {judged:.3f}" if judged >= 0.001 else "p < 0.001"
    if judged < level:
        verb = "higher" if d.mean > 0 else "lower"
        return (
            f"{a} scores {abs(100 * d.mean):.1f} points {verb} than {b} "
            f"({interval}; {shown}{corrected})."
        )
    return (
        f"{a} and {b}: no difference that {_count(d.n)} {unit} can show "
        f"({_points(d.mean)} points, {interval}; {shown}{corrected})."
    )


def nothing(a: str, others: Sequence[str], n: int, *, unit: str = "speakers") -> str:
    """One sentence where none of several settings differs from `a` by what `n` folds can show."""
    return f"{a} and each of {', '.join(others)}: no difference that {_count(n)} {unit} can show."


def _signed_rank(d: Matrix) -> float:
    """Two-sided exact p by the distribution of the rank sum over all sign patterns, ties included.

    scipy falls back to the normal approximation where ranks tie, which is poor at ten speakers.
    """
    x = d[d != 0]
    if not len(x):
        return 1.0
    # Twice the mid-ranks are whole numbers, so the distribution is a convolution of two-point
    # masses. Rounding makes ties of differences that are equal but for the last digits.
    _, place, counts = np.unique(np.round(np.abs(x), 12), return_inverse=True, return_counts=True)
    ranks: NDArray[Any] = (2 * np.cumsum(counts) - counts + 1)[place]
    chance = np.zeros(int(ranks.sum()) + 1)
    chance[0] = 1.0
    for rank in ranks:
        moved = np.zeros_like(chance)
        moved[rank:] = chance[: len(chance) - rank]
        chance = (chance + moved) / 2
    positive = int(ranks[x > 0].sum())
    tail = min(chance[: positive + 1].sum(), chance[positive:].sum())
    return float(min(1.0, 2 * tail))


def _points(x: float) -> str:
    # + 0.0: a difference that rounds to nothing has no minus
    return f"{round(100 * x, 1) + 0.0:+.1f}".replace("-", "−")


def _count(n: int) -> str:
    return _WORDS[n] if n < len(_WORDS) else str(n)
