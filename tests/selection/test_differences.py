"""Paired comparisons against scipy and against enumeration."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from raysearch.selection import FoldGroups, compare, compare_over_draws, holm, signed_rank
from tests.support.study_folders import speakers


def raters(sessions: int, count: int) -> list[FoldGroups]:
    """The folds of so many raters in each session, session by session."""
    return [fold for fold in speakers(sessions) for _ in range(count)]


@pytest.mark.parametrize("n", [2, 5, 10, 24])
def test_without_ties_both_tests_are_scipys(n: int) -> None:
    rng = np.random.default_rng(n)
    a, b = rng.random(n), rng.random(n)
    difference = compare(a, b, speakers(n))
    assert difference.p == pytest.approx(stats.ttest_rel(a, b).pvalue)
    low, high = stats.ttest_rel(a, b).confidence_interval(0.95)
    assert (difference.low, difference.high) == (pytest.approx(low), pytest.approx(high))
    for p, side in zip(signed_rank(a - b), ("less", "greater"), strict=True):
        assert p == pytest.approx(stats.wilcoxon(a, b, method="exact", alternative=side).pvalue)


@given(st.lists(st.integers(-3, 3), min_size=2, max_size=9))
@settings(max_examples=80, deadline=None)
def test_with_ties_the_rank_test_is_the_enumeration(steps: list[int]) -> None:
    d = np.array(steps) / 20
    x = d[d != 0]
    ranks = stats.rankdata(np.round(np.abs(x), 12))
    observed = float(ranks[x > 0].sum())
    sums = np.array(
        [
            sum(r for r, up in zip(ranks, ups, strict=True) if up)
            for ups in itertools.product([False, True], repeat=len(x))
        ]
    )
    assert signed_rank(d) == pytest.approx(((sums <= observed).mean(), (sums >= observed).mean()))


def test_equal_settings_do_not_differ() -> None:
    difference = compare([0.1 + 0.2, 0.5], [0.3, 0.5], speakers(2))
    assert (difference.mean, difference.p) == (0.0, 1.0)
    assert signed_rank(np.zeros(3)) == (1.0, 1.0)


@pytest.mark.parametrize("n", [2, 3, 10])
def test_a_constant_gain_has_no_spread_to_test_it_by(n: int) -> None:
    b = np.linspace(0.5, 0.8, n)
    difference = compare(b + 0.1, b, speakers(n))
    assert difference.mean == pytest.approx(0.1)
    assert (difference.low, difference.high, difference.p, difference.n) == (None, None, None, n)
    over = compare_over_draws([(b + 0.1, b)] * 3, speakers(n))
    assert (over.low, over.high, over.p) == (None, None, None)
    assert signed_rank(np.full(3, 0.1)) == (1.0, 0.125)


def test_coarse_scores_of_equal_settings_differ_as_often_as_they_claim() -> None:
    """Two speakers of ten clips each: equal differences are common, and were p = 0."""
    rng = np.random.default_rng(5)
    a, b = rng.binomial(10, 0.6, (2, 1000, 2)) / 10
    p = [compare(x, y, speakers(2)).p for x, y in zip(a, b, strict=True)]
    same = (np.abs(np.ptp(a - b, axis=1)) < 1e-9) & (np.abs(a - b).max(axis=1) > 1e-9)
    assert same.mean() > 0.08
    assert [x is None for x in p] == same.tolist()
    assert np.mean([x is not None and x < 0.05 for x in p]) < 0.05


def test_folds_of_one_group_are_one_observation() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.random((2, 5, 4))  # five sessions, four raters each
    difference = compare(a.ravel(), b.ravel(), raters(5, 4))
    want = stats.ttest_rel(a.mean(axis=1), b.mean(axis=1))
    assert (difference.n, difference.p) == (5, pytest.approx(want.pvalue))
    low, high = want.confidence_interval(0.95)
    assert (difference.low, difference.high) == (pytest.approx(low), pytest.approx(high))


def test_null_studies_of_several_raters_differ_as_often_as_they_claim() -> None:
    rng = np.random.default_rng(12)
    shape = (1000, 5, 4)  # the raters of a session share its luck
    d = rng.normal(0, 0.03, (1000, 5, 1)) + rng.normal(0, 0.02, shape)
    groups = raters(5, 4)
    zero = np.zeros(20)
    p = np.array([compare(one.ravel(), zero, groups).p for one in d])
    assert 0.03 < (p < 0.05).mean() < 0.07
    naive = stats.ttest_1samp(d.reshape(1000, 20), 0, axis=1).pvalue
    assert (naive < 0.05).mean() > 0.2


def test_one_fold_shows_nothing() -> None:
    assert compare([0.6], [0.5], speakers(1)).p is None


@pytest.mark.parametrize(
    ("a", "b", "words"),
    [([1, 2], [1], "one shape"), ([], [], "n >= 1"), ([1, np.nan], [1, 1], "position 1")],
)
def test_bad_pairs(a: list[float], b: list[float], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        compare(a, b, speakers(len(a)))


def test_every_score_has_its_fold() -> None:
    with pytest.raises(ValueError, match="a fold for each score"):
        compare([0.5, 0.6], [0.5, 0.7], speakers(3))


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx((0.03, 0.06, 0.06, 0.02))
    assert holm([]) == ()
    assert holm([0.9, 0.9]) == (1.0, 1.0)


@given(st.lists(st.floats(0, 1), max_size=8))
@settings(max_examples=50, deadline=None)
def test_holm_never_helps_and_keeps_the_order(p: list[float]) -> None:
    corrected = holm(p)
    assert all(x <= y <= 1 for x, y in zip(p, corrected, strict=True))
    order = np.argsort(p, kind="stable")
    assert (np.diff(np.array(corrected)[order]) >= 0).all()
