"""Intervals over test speakers, where folds are too few, or no groups of their own."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from raysearch.selection.intervals import LEVEL, Matrix

DRAWS = 2000
"""bootstrap samples"""


def over_speakers(
    counts: Sequence[NDArray[np.float64]], score: Callable[[Matrix], Matrix]
) -> tuple[float, float, float] | None:
    """Cluster bootstrap of the mean over test parts of a score of their clips.

    Speakers of each part are drawn with replacement, with all of their clips (Field and Welsh,
    Bootstrapping clustered data, JRSS B 2007, the cluster bootstrap); the interval is the
    percentiles'. The draws are the same every time.

    Args:
        counts: by test part, [S, k, k] of each of its speakers, rows true, columns predicted.
        score: counts [..., k, k] -> [...]; NaN where a draw has no clip that counts.

    Returns:
        Low and high bound, and the standard deviation of the draws; None where a part has fewer
        than two speakers.
    """
    if not counts or min(len(part) for part in counts) < 2:
        return None
    rng = np.random.default_rng(0)
    draws = np.zeros(DRAWS)
    for part in counts:
        times = rng.multinomial(len(part), np.full(len(part), 1 / len(part)), size=DRAWS)
        draws += score(np.tensordot(times.astype(np.float64), part, axes=1))
    draws = draws[np.isfinite(draws)] / len(counts)
    if not len(draws):
        return None
    low, high = np.quantile(draws, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high), float(draws.std(ddof=1))
