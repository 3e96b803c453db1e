"""Choices within some rows, objectives, fronts and pooled comparisons, against plain loops."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats

from raysearch.selection import (
    FoldGroups,
    Score,
    by_mean,
    choice_scores,
    compare,
    compare_over_draws,
    estimates,
    estimates_over_draws,
    honest_choice,
    pareto,
    worst_mean,
)
from raysearch.study.ledger import FoldRow

coarse = st.integers(0, 20).map(lambda n: n / 20)


def ring(k: int) -> list[FoldGroups]:
    return [
        FoldGroups(frozenset({f"s{f}"}), frozenset({f"s{(f + 1) % k}"}), f"s{f}") for f in range(k)
    ]


def tables(c: st.SearchStrategy[int], k: st.SearchStrategy[int]) -> st.SearchStrategy[np.ndarray]:
    return st.tuples(c, k).flatmap(lambda shape: hnp.arrays(float, shape, elements=coarse))


@given(tables(st.integers(1, 6), st.integers(1, 7)), st.data())
@settings(max_examples=100, deadline=None)
def test_the_honest_choice_among_some_rows(v: np.ndarray, data: st.DataObject) -> None:
    """As if the other rows had never been there."""
    c, k = v.shape
    rows = sorted(data.draw(st.sets(st.integers(0, c - 1), min_size=1)))
    actual = honest_choice(choice_scores(ring(k), by_mean(v)), rows)
    alone = estimates(v[rows], {"ua": v[rows]}, ring(k)).honest_choices
    assert actual == tuple(rows[i] for i in alone)


def test_no_row_to_choose() -> None:
    with pytest.raises(ValueError, match="rows is empty"):
        honest_choice(np.ones((2, 3)), [])


def test_a_judge_decides_the_honest_choice() -> None:
    v = np.array([[0.9, 0.9, 0.9, 0.9, 0.0, 0.9, 0.9, 0.9], [0.7] * 8])
    worst = choice_scores(ring(8), lambda over: worst_mean(v[:, list(over)]))
    # only the choices for fold 4 and for fold 5, whose speaker fold 4 validates with, leave it out
    assert honest_choice(worst) == (1, 1, 1, 1, 0, 0, 1, 1)
    assert honest_choice(choice_scores(ring(8), by_mean(v))) == (0,) * 8


@given(tables(st.integers(1, 12), st.integers(1, 3)))
@settings(max_examples=150, deadline=None)
def test_the_front_is_what_nothing_beats(x: np.ndarray) -> None:
    def beats(a: list[float], b: list[float]) -> bool:
        return all(p >= q for p, q in zip(a, b, strict=True)) and a != b

    rows = x.tolist()
    expected = [c for c, row in enumerate(rows) if not any(beats(other, row) for other in rows)]
    assert list(pareto(x)) == expected
    assert expected


@given(st.lists(coarse, min_size=1, max_size=25))
def test_the_worst_quarter(scores: list[float]) -> None:
    n = math.ceil(len(scores) / 4)
    assert worst_mean(scores) == pytest.approx(math.fsum(sorted(scores)[:n]) / n)


def fold(ua: float, wa: float) -> FoldRow:
    return FoldRow(0, "f", 0, {"val_ua": ua, "val_wa": wa}, [], 0.0, (), [[3, 1], [0, 4]])


def test_objectives_of_folds() -> None:
    folds = [fold(0.5, 0.6), fold(0.3, 0.9), fold(0.8, 0.7), fold(0.4, 0.1), fold(0.9, 0.2)]
    assert Score("worst_ua").of(folds) == pytest.approx(0.35)
    assert Score("worst_ua").of(folds[:1]) == 0.5
    names = ["ua", "wa", "pooled_ua", "worst_ua"]
    actual = {name: Score(name).of(iter(folds)) for name in names}
    assert actual["ua"] == pytest.approx(0.58)
    assert actual["wa"] == pytest.approx(0.5)
    assert actual["pooled_ua"] == pytest.approx(0.875)
    assert [Score(n).metric for n in actual] == ["ua", "wa", "ua", "ua"]


def test_selected_keeps_to_the_rows_it_may_hand_over() -> None:
    rng = np.random.default_rng(0)
    v, t = rng.random((5, 6)), rng.random((5, 6))
    free = estimates(v, {"ua": t}, ring(6))
    others = [c for c in range(5) if c != free.best]
    bound = estimates(v, {"ua": t}, ring(6), selectable=others)
    assert bound.best == max(others, key=lambda c: v[c].mean())
    assert bound.selected["ua"].values == tuple(t[bound.best])
    assert (bound.honest, bound.nested, bound.oracle) == (free.honest, free.nested, free.oracle)
    pooled = estimates_over_draws(
        [{"ua": t}] * 2,
        ring(6),
        imputed=0.1,
        selectable=others,
        judge=lambda over: v[:, list(over)].min(axis=1),
    )
    assert pooled.best == max(others, key=lambda c: v[c].min())


def by_the_book(d: np.ndarray) -> tuple[float, float, float, float]:
    """Mean, interval and p of [M, n] differences: Rubin's rules, Barnard and Rubin's df."""
    m, n = d.shape
    within = np.mean([stats.sem(row) ** 2 for row in d])
    between = np.var([row.mean() for row in d], ddof=1)
    total = within + (1 + 1 / m) * between
    gamma = (1 + 1 / m) * between / total
    complete = n - 1
    observed = (1 - gamma) * complete * (complete + 1) / (complete + 3)
    df = 1 / (gamma**2 / (m - 1) + 1 / observed)
    mean, half = d.mean(), stats.t.ppf(0.975, df) * total**0.5
    return mean, mean - half, mean + half, 2 * stats.t.sf(abs(mean) / total**0.5, df)


@pytest.mark.parametrize("n", [5, 10, 24])
def test_differences_are_pooled_over_draws(n: int) -> None:
    rng = np.random.default_rng(n)
    a, b = rng.random((20, n)) * 0.1 + 0.6, np.tile(rng.random(n), (20, 1))
    actual = compare_over_draws(zip(a, b, strict=True), ring(n))
    expected = by_the_book(a - b)
    assert (actual.mean, actual.low, actual.high, actual.p) == pytest.approx(expected)
    assert actual.n == n
    reverse = compare_over_draws(zip(b, a, strict=True), ring(n))
    assert (reverse.mean, reverse.p) == pytest.approx((-actual.mean, actual.p))


def test_draws_that_agree_are_a_plain_comparison() -> None:
    rng = np.random.default_rng(1)
    a, b = rng.random(8), rng.random(8)
    assert compare_over_draws([(a, b)] * 5, ring(8)) == compare(a, b, ring(8))
    assert compare_over_draws([([0.5], [0.4]), ([0.7], [0.4])], ring(1)).p is None
    with pytest.raises(ValueError, match="at least one draw"):
        compare_over_draws([], [])
    with pytest.raises(ValueError, match="position 1"):
        compare_over_draws([(a[:2], b[:2]), ([0.1, np.nan], [0.1, 0.1])], ring(2))
