"""Paired comparisons against scipy and against enumeration."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from raysearch.selection import compare, holm, sentence


@pytest.mark.parametrize("n", [2, 5, 10, 24])
def test_without_ties_both_tests_are_scipys(n: int) -> None:
    rng = np.random.default_rng(n)
    a, b = rng.random(n), rng.random(n)
    found = compare(a, b)
    assert found.p_t == pytest.approx(stats.ttest_rel(a, b).pvalue)
    assert found.p_wilcoxon == pytest.approx(stats.wilcoxon(a, b, method="exact").pvalue)
    low, high = stats.ttest_rel(a, b).confidence_interval(0.95)
    assert (found.low, found.high) == (pytest.approx(low), pytest.approx(high))


@given(st.lists(st.integers(-3, 3), min_size=2, max_size=9))
@settings(max_examples=80, deadline=None)
def test_with_ties_the_rank_test_is_the_enumeration(steps: list[int]) -> None:
    d = np.array(steps) / 20
    x = d[d != 0]
    ranks = stats.rankdata(np.round(np.abs(x), 12))
    seen = float(ranks[x > 0].sum())
    sums = [
        sum(r for r, up in zip(ranks, ups, strict=True) if up)
        for ups in itertools.product([False, True], repeat=len(x))
    ]
    tail = min(sum(s <= seen for s in sums), sum(s >= seen for s in sums)) / len(sums)
    assert compare(0.5 + d, np.full(len(d), 0.5)).p_wilcoxon == pytest.approx(min(1.0, 2 * tail))


def test_equal_settings_do_not_differ() -> None:
    found = compare([0.1 + 0.2, 0.5], [0.3, 0.5])
    assert (found.mean, found.p_t, found.p_wilcoxon) == (0.0, 1.0, 1.0)


def test_a_constant_gain_is_certain_to_t_but_not_to_ranks() -> None:
    found = compare([0.6, 0.7, 0.8], [0.5, 0.6, 0.7])
    assert found.p_t == 0.0
    assert found.p_wilcoxon == 0.25


def test_one_fold_shows_nothing() -> None:
    found = compare([0.6], [0.5])
    assert found.p_t is None
    assert sentence(found, "lr", "hard") == "lr and hard: one fold cannot show a difference."


@pytest.mark.parametrize(
    ("a", "b", "said"),
    [([1, 2], [1], "one shape"), ([], [], "n >= 1"), ([1, np.nan], [1, 1], "position 1")],
)
def test_bad_pairs(a: list[float], b: list[float], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        compare(a, b)


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx((0.03, 0.06, 0.06, 0.02))
    assert holm([]) == ()
    assert holm([0.9, 0.9]) == (1.0, 1.0)


@given(st.lists(st.floats(0, 1), max_size=8))
@settings(max_examples=50, deadline=None)
def test_holm_never_helps_and_keeps_the_order(p: list[float]) -> None:
    adjusted = holm(p)
    assert all(x <= y <= 1 for x, y in zip(p, adjusted, strict=True))
    order = np.argsort(p, kind="stable")
    assert (np.diff(np.array(adjusted)[order]) >= 0).all()


def test_sentences() -> None:
    b = np.linspace(0.5, 0.8, 10)
    noise = np.tile([0.05, -0.05], 5)
    assert sentence(compare(b + 0.01 + noise, b), "lr", "hard").startswith(
        "lr and hard: no difference that ten speakers can show (+1.0 points, 95 % interval −2.8"
    )
    up = sentence(compare(b + 0.05 + noise / 10, b), "lr", "hard", p=0.03, unit="sessions")
    assert up.startswith("lr scores 5.0 points higher than hard (95 % interval +4.6 to +5.4;")
    assert up.endswith("p = 0.030 after Holm's correction).")
    assert "4.0 points lower" in sentence(compare(b - 0.04 + noise / 10, b), "lr", "hard")
