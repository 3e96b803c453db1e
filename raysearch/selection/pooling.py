"""Scores of all clips together, and their intervals by the jackknife over held-out groups.

UA of all clips is the headline where held-out groups lack classes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike

from raysearch.selection.estimating import Estimate
from raysearch.selection.intervals import Groups, Matrix, t_quantile
from raysearch.selection.measures import ua_of
from trainables.metrics import ccc_of

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

    Args:
        confusions: [K, k, k] counts, rows true; at least one count.
        folds: K folds.
    """
    return _jackknife(ua_of, _by_group(confusions, folds))


def pooled_ccc(sums: ArrayLike, folds: Sequence[Groups]) -> Estimate:
    """The CCC of all folds' clips together, mean over attributes.

    Args:
        sums: [K, A, 7] of `trainables.metrics.sums`.
        folds: K folds.
    """
    return _jackknife(ccc_of, _by_group(sums, folds))


def pooled_gap(a: ArrayLike, b: ArrayLike, folds: Sequence[Groups]) -> Estimate:
    """How much the UA of all clips of one kind is above that of another kind.

    Where no held-out group has clips of both, as where speakers are held out and the kinds are of
    speakers, the two are independent: the variances of their jackknifes are added, with the degrees
    of freedom of Welch (Biometrika, 1947). Else groups are left out for both at once.

    Args:
        a, b: [K, k, k] counts of the clips of each kind, rows true; at least one count each.
        folds: K folds.

    Returns:
        Its `sd` is None.
    """
    both = np.stack([_by_group(a, folds), _by_group(b, folds)], axis=1)
    there = both.sum(axis=(2, 3)) > 0
    if there.all(axis=1).any():
        return _jackknife(lambda x: ua_of(x[..., 0, :, :]) - ua_of(x[..., 1, :, :]), both)
    each = [_jackknife(ua_of, both[there[:, kind], kind]) for kind in (0, 1)]
    mean = each[0].mean - each[1].mean
    if each[0].sd is None or each[1].sd is None:
        return Estimate(mean, None, None, None)
    n = there.sum(axis=0)
    parts = np.array([each[0].sd, each[1].sd]) ** 2 / n
    if not parts.sum():
        return Estimate(mean, None, None, None)
    df = float(parts.sum() ** 2 / (parts**2 / (n - 1)).sum())
    half = t_quantile(df) * float(parts.sum()) ** 0.5
    return Estimate(mean, mean - half, mean + half, None)


def _by_group(counts: ArrayLike, folds: Sequence[Groups]) -> Matrix:
    """Counts [K, ...] of folds as those of the B groups that they hold out [B, ...]."""
    x = np.asarray(counts, dtype=np.float64)
    names = list(dict.fromkeys(fold.test_groups for fold in folds))
    return np.stack([x[[fold.test_groups == name for fold in folds]].sum(axis=0) for name in names])


def _jackknife(score: Callable[[Matrix], Matrix], groups: Matrix) -> Estimate:
    """A score of summed counts, with a t interval on the jackknife's pseudo-values.

    These are (Tukey, 1958) the score without a group, n * score - (n - 1) * score without it. There
    is no interval where there is one group, or where a class is by one group alone.

    Args:
        score: of counts [..., k, k].
        groups: [B, ..., k, k] counts of B held-out groups.
    """
    whole, n = groups.sum(axis=0), len(groups)
    mean = float(score(whole))
    without = whole - groups
    there = whole.sum(axis=-1) > 0
    if n < 2 or not (without.sum(axis=-1)[:, there] > 0).all():
        return Estimate(mean, None, None, None)
    sd = float((n * mean - (n - 1) * score(without)).std(ddof=1))
    half = t_quantile(n - 1) * sd / n**0.5
    return Estimate(mean, mean - half, mean + half, sd)
