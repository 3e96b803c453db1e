"""UA of all clips pooled, and its interval, where held-out groups lack classes."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from raysearch.selection import lacking, pooled_gap, pooled_ua
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


def test_the_gap_of_two_kinds_of_speakers_is_welchs() -> None:
    """Kinds that no speaker shares: each jackknifed over its own speakers, then as in Welch's t."""
    rng = np.random.default_rng(4)
    counts = rng.integers(1, 9, (7, 2, 2)).astype(float)
    kind = np.array([1, 0, 1, 1, 0, 0, 0])
    a, b = (np.where((kind == k)[:, None, None], counts, 0) for k in (0, 1))
    estimate = pooled_gap(a, b, speakers(7))

    def pseudo(tables: np.ndarray) -> np.ndarray:
        def ua(x: np.ndarray) -> float:
            return float(np.mean(np.diag(x.sum(axis=0)) / x.sum(axis=(0, 2))))

        n = len(tables)
        return np.array([n * ua(tables) - (n - 1) * ua(np.delete(tables, i, 0)) for i in range(n)])

    first, second = pseudo(counts[kind == 0]), pseudo(counts[kind == 1])
    interval = stats.ttest_ind(first, second, equal_var=False).confidence_interval()
    shift = estimate.mean - (first.mean() - second.mean())  # the jackknife's bias
    assert (estimate.low, estimate.high) == pytest.approx(
        (interval.low + shift, interval.high + shift)
    )


def test_the_gap_of_two_kinds_in_every_session_is_paired() -> None:
    rng = np.random.default_rng(5)
    a, b = rng.integers(1, 9, (2, 5, 3, 3)).astype(float)
    estimate = pooled_gap(a, b, speakers(5))

    def gap(kept: list[int]) -> float:
        each = [x[kept].sum(axis=0) for x in (a, b)]
        one, two = (np.mean(np.diag(x) / x.sum(axis=1)) for x in each)
        return float(one - two)

    whole = gap([0, 1, 2, 3, 4])
    values = [5 * whole - 4 * gap([j for j in range(5) if j != i]) for i in range(5)]
    half = stats.t.ppf(0.975, 4) * np.std(values, ddof=1) / 5**0.5
    assert (estimate.mean, estimate.low) == pytest.approx((whole, whole - half))


def test_a_kind_of_one_speaker_has_a_gap_without_an_interval() -> None:
    counts = np.array([[[3, 1], [0, 2]], [[2, 2], [1, 1]], [[1, 1], [1, 1]]], dtype=float)
    mask = np.array([True, False, False])[:, None, None]
    estimate = pooled_gap(counts * mask, counts * ~mask, speakers(3))
    assert estimate.mean == pytest.approx((3 / 4 + 1) / 2 - (3 / 6 + 2 / 4) / 2)
    assert estimate.low is None
