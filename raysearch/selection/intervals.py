"""Scores of several folds taken together: means over held-out groups, t intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

LEVEL = 0.95
"""of every interval"""
TIE = 1e-12
"""means that differ by no more are equal: the order of a sum decides nothing"""

Matrix = NDArray[np.float64]


class Groups(Protocol):
    """What the choice must know of a fold; `raysearch.stages.folds.Fold` fits."""

    @property
    def name(self) -> str: ...
    @property
    def test_groups(self) -> frozenset[str]: ...
    @property
    def val_groups(self) -> frozenset[str]: ...


@dataclass(frozen=True)
class FoldGroups:
    """The groups (speakers, sessions or corpora) that a fold tests and validates."""

    test_groups: frozenset[str]
    val_groups: frozenset[str]
    name: str = ""


def worst_mean(scores: ArrayLike) -> Matrix:
    """Mean of the lowest quarter along the last axis: of ceil(K / 4) of K scores [..., K]."""
    x = np.asarray(scores, dtype=np.float64)
    mean: Matrix = np.sort(x, axis=-1)[..., : -(-x.shape[-1] // 4)].mean(axis=-1)
    return mean


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


def t_quantile(df: float) -> float:
    """Half the width of a 95 % t interval, in standard errors."""
    from scipy.special import stdtrit  # 0.1 s, which a trial's coordinator does not need

    return float(stdtrit(df, 0.5 + LEVEL / 2))


def t_below(df: float, t: float) -> float:
    """The share of Student's t distribution that lies below t."""
    from scipy.special import stdtr

    return float(stdtr(df, t))


def interval(values: Matrix) -> tuple[float, float | None, float | None, float | None]:
    """Mean, t interval (low, high) and standard deviation (n - 1) of values [n]; None if n = 1."""
    n, mean = len(values), float(values.mean())
    if n < 2:
        return mean, None, None, None
    sd = float(values.std(ddof=1))
    half = t_quantile(n - 1) * sd / n**0.5
    return mean, mean - half, mean + half, sd


def pooled_variance(means: Matrix, var: float, k: int) -> tuple[float, float]:
    """Variance of the mean over M draws, and its degrees of freedom.

    Barnard and Rubin, Small-sample degrees of freedom with multiple imputation, Biometrika 1999.

    Args:
        means: [M] the mean of each draw.
        var: variance over folds, averaged over draws.
        k: number of folds, at least 2.
    """
    m = len(means)
    # draws that agree must not count as a little uncertainty: it would cost degrees of freedom
    agree = m == 1 or np.ptp(means) <= TIE
    between = 0.0 if agree else (1 + 1 / m) * float(means.var(ddof=1))
    total = var / k + between
    df = float(k - 1)
    if between > 0:
        share = between / total
        observed = (df + 1) / (df + 3) * df * (1 - share)
        df = 1 / (share**2 / (m - 1) + (1 / observed if observed > 0 else np.inf))
    return total, max(df, 1.0)
