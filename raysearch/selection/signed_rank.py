"""The exact signed-rank test, where differences tie as scores of small test parts do."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from raysearch.selection.intervals import Matrix


def signed_rank(d: Matrix) -> tuple[float, float]:
    """One-sided p values: that differences [n] are so low, and that they are so high, by chance.

    Exact, by the distribution of the rank sum over all sign patterns, ties included. Zeros are left
    out; without anything else both are 1. scipy counts patterns one by one where ranks tie (0.2 s a
    test at 13 differences), and beyond that takes the normal approximation.
    """
    x = d[d != 0]
    if not len(x):
        return 1.0, 1.0
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
    return float(chance[: positive + 1].sum()), float(chance[positive:].sum())
