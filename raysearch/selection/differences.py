"""Paired comparisons over folds, and what may be said of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import stdtr, stdtrit

from raysearch.selection.estimating import Estimates
from raysearch.selection.intervals import LEVEL, TIE, Matrix, interval, pooled_variance
from raysearch.selection.signed_rank import signed_rank

_WORDS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")


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
    if sd <= TIE:
        p_t = 1.0 if mean == 0 else 0.0
    else:
        p_t = float(2 * stdtr(len(d) - 1, -abs(mean) / (sd / len(d) ** 0.5)))
    return Difference(mean, low, high, sd, len(d), p_t, min(1.0, 2 * min(signed_rank(d))))


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
    if (np.ptp(each, axis=0) <= TIE).all():
        return compare(*pairs[0])
    means, n = each.mean(axis=1), each.shape[1]
    mean = float(means.mean())
    if n < 2:
        return Difference(mean, None, None, None, 1, None, None)
    var = float(each.var(axis=1, ddof=1).mean())
    total, df = pooled_variance(means, var, n)
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
    d = np.where(np.abs(d) <= TIE, 0.0, d)
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


def _points(x: float) -> str:
    # + 0.0: a difference that rounds to nothing has no minus
    return f"{round(100 * x, 1) + 0.0:+.1f}".replace("-", "−")


def _count(n: int) -> str:
    return _WORDS[n] if n < len(_WORDS) else str(n)
