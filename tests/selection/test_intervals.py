"""Folds that test the same group: intervals are over groups."""

from __future__ import annotations

import numpy as np
import pytest

from raysearch.selection import FoldGroups, estimates, interval, over_groups


def folds(groups: str) -> list[FoldGroups]:
    circle = {name: chr(ord("a") + (ord(name) - ord("a") + 1) % 6) for name in set(groups)}
    return [
        FoldGroups(frozenset(name), frozenset(circle[name]), f"{name}{i}")
        for i, name in enumerate(groups)
    ]


def test_a_fold_a_group_changes_nothing() -> None:
    x = np.random.default_rng(0).random((3, 5))
    assert over_groups(x, folds("abcde")) is not None
    np.testing.assert_array_equal(over_groups(x, folds("abcde")), x)


def test_equally_many_folds_a_group_give_their_means() -> None:
    x = np.random.default_rng(0).random((2, 6))
    actual = over_groups(x, folds("abcabc"))
    np.testing.assert_allclose(actual, (x[:, :3] + x[:, 3:]) / 2)


def test_unlike_groups_keep_the_mean_and_the_cluster_robust_variance() -> None:
    x = np.random.default_rng(1).random(7)
    groups = "aaabbcd"
    actual = over_groups(x, folds(groups))
    mean, low, high, sd = interval(actual)
    assert mean == pytest.approx(x.mean())
    sums = np.array(
        [sum(v - x.mean() for v, g in zip(x, groups, strict=True) if g == n) for n in "abcd"]
    )
    variance = 4 / 3 * (sums**2).sum() / 7**2
    assert sd is not None
    assert sd**2 / 4 == pytest.approx(variance)
    assert low is not None
    assert high is not None
    assert (high - low) / 2 == pytest.approx(3.182446 * variance**0.5, rel=1e-5)  # t(3)


def test_the_same_scores_under_four_raters_are_no_more_evidence() -> None:
    rng = np.random.default_rng(2)
    one = rng.random((3, 5))
    four = np.tile(one, 4)
    alone = estimates(one, {"ua": one}, folds("abcde"))
    often = estimates(four, {"ua": four}, folds("abcde" * 4))
    for kind in ("honest", "nested", "selected", "oracle"):
        a, b = getattr(alone, kind)["ua"], getattr(often, kind)["ua"]
        assert (b.mean, b.low, b.high, b.sd) == pytest.approx((a.mean, a.low, a.high, a.sd))
        assert len(b.values) == 20
