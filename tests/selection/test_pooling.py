"""UA of all clips pooled, and its interval, where held-out groups lack classes."""

from __future__ import annotations

import numpy as np
import pytest

from raysearch.selection import lacking, pooled_ua
from tests.support.study_folders import speakers

FOLDS = [[[3, 1], [0, 0]], [[0, 0], [2, 2]], [[1, 0], [1, 1]]]
"""two speakers of one class, and one of both"""


def test_recalls_are_of_all_clips_together() -> None:
    estimate = pooled_ua(FOLDS, speakers(3))
    assert estimate.mean == pytest.approx((4 / 5 + 3 / 6) / 2)
    assert lacking(FOLDS) == (2, 1 + 1)
    assert lacking([[[1, 0, 0], [0, 1, 0], [0, 0, 0]], np.eye(3).tolist()]) == (1, 0)


def test_the_interval_is_the_jackknifes_over_groups() -> None:
    """Against pseudo-values made one by one; folds of one group are left out together."""
    counts = np.array([*FOLDS, FOLDS[0]])
    folds = speakers(3)
    estimate = pooled_ua(counts, [*folds, folds[0]])

    def ua(kept: list[int]) -> float:
        table = counts[kept].sum(axis=0)
        return float(np.mean([table[0, 0] / table[0].sum(), table[1, 1] / table[1].sum()]))

    whole = ua([0, 1, 2, 3])
    pseudo = [3 * whole - 2 * ua(kept) for kept in ([1, 2], [0, 2, 3], [0, 1, 3])]
    half = 4.302652729911275 * np.std(pseudo, ddof=1) / 3**0.5  # t(2) at 97.5 %
    assert (estimate.low, estimate.high) == pytest.approx((whole - half, whole + half))


def test_there_is_no_interval_where_a_class_is_by_one_group_alone() -> None:
    estimate = pooled_ua(FOLDS[:2], speakers(2))
    assert (estimate.mean, estimate.low, estimate.high) == (pytest.approx(0.625), None, None)
    assert pooled_ua(FOLDS[2:], speakers(1)).low is None


def test_the_interval_covers_where_most_speakers_have_one_class() -> None:
    """29 speakers of 14 clips, 26 of one class, whose recalls differ by 15 points."""
    rng = np.random.default_rng(9)
    truth, hits, runs = np.array([0.3, 0.4, 0.5, 0.6]), 0, 400
    folds = speakers(29)
    for _ in range(runs):
        counts = np.zeros((29, 4, 4))
        for speaker in range(29):
            classes = [speaker % 4] if speaker < 26 else [0, 1, 2, 3]
            for c in classes:
                clips = 14 // len(classes)
                right = rng.binomial(clips, np.clip(truth[c] + rng.normal(0, 0.15), 0, 1))
                counts[speaker, c, c] += right
                counts[speaker, c, (c + 1) % 4] += clips - right
        estimate = pooled_ua(counts, folds)
        assert estimate.low is not None
        assert estimate.high is not None
        hits += estimate.low <= truth.mean() <= estimate.high
    assert 0.91 < hits / runs < 0.99
