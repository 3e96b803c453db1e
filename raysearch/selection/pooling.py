"""UA of all clips together: the headline where held-out groups lack classes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import stdtrit

from raysearch.selection.estimating import Estimate
from raysearch.selection.intervals import LEVEL, Groups, Matrix

SHARE = 0.5
"""of the folds; where as many lack classes, the mean of their UA is no UA of all classes"""


def lacking(confusions: ArrayLike) -> tuple[int, int]:
    """How many of K folds lack classes, and how many of these have one class alone.

    Args:
        confusions: [K, k, k] counts, rows true.
    """
    classes = (np.asarray(confusions, dtype=np.float64).sum(axis=2) > 0).sum(axis=1)
    k = np.shape(confusions)[1]
    return int((classes < k).sum()), int(((classes == 1) & (k > 1)).sum())


def pooled_ua(confusions: ArrayLike, folds: Sequence[Groups]) -> Estimate:
    """The mean over classes of the recall in all folds' clips together.

    Its interval is t on the pseudo-values of the jackknife over held-out groups (Tukey, 1958): the
    score without a group, n * score - (n - 1) * score without it. None where there is one group, or
    where a class is by one group alone.

    Args:
        confusions: [K, k, k] counts, rows true; at least one count.
        folds: K folds.
    """
    counts = np.asarray(confusions, dtype=np.float64)
    names = list(dict.fromkeys(fold.test_groups for fold in folds))
    groups = np.stack(
        [counts[[fold.test_groups == name for fold in folds]].sum(axis=0) for name in names]
    )
    whole, n = groups.sum(axis=0), len(names)
    mean = float(_ua(whole[None])[0])
    without = whole - groups
    there = whole.sum(axis=1) > 0
    if n < 2 or not (without.sum(axis=2)[:, there] > 0).all():
        return Estimate(mean, None, None, None)
    sd = float((n * mean - (n - 1) * _ua(without)).std(ddof=1))
    half = float(stdtrit(n - 1, 0.5 + LEVEL / 2)) * sd / n**0.5
    return Estimate(mean, mean - half, mean + half, sd)


def _ua(counts: Matrix) -> Matrix:
    """The mean recall of the classes that occur in counts [n, k, k]."""
    totals, hits = counts.sum(axis=2), np.diagonal(counts, axis1=1, axis2=2)
    there = totals > 0
    recalls = np.divide(hits, totals, out=np.zeros_like(totals), where=there)
    mean: Matrix = recalls.sum(axis=1) / there.sum(axis=1)
    return mean
