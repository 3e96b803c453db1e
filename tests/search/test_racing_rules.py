"""The racing rules on tables: limiting cases, the model against an independent one, behaviour."""

from __future__ import annotations

import time
from typing import get_args, get_type_hints

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from raysearch.search import racing
from raysearch.search.racing import RULES, Rule, expected
from raysearch.study import Study
from tests.contracts.racing_rules import RacingRuleContract, cut_table, full_table

NAN = float("nan")


class TestMixed(RacingRuleContract):
    @pytest.fixture
    def rule(self) -> Rule:
        return RULES["mixed"]


class TestWilcoxon(RacingRuleContract):
    @pytest.fixture
    def rule(self) -> Rule:
        return RULES["wilcoxon"]


def test_every_rule_is_known_by_its_word_and_tested() -> None:
    words = get_args(get_type_hints(Study)["racing"])
    assert {"off", *RULES} == set(words)
    assert set(RULES) == {"mixed", "wilcoxon"}, "each has a class above"


def test_mixed_stops_a_hopeless_setting_after_one_fold() -> None:
    table = full_table(6, 30, 10)
    table[29, 0] = table[:29, 0].min() - 0.2
    table[29, 1:] = NAN
    assert RULES["mixed"](table, 29, trials=30).stop


def test_mixed_is_stricter_with_a_larger_budget() -> None:
    stopped = {
        trials: sum(
            RULES["mixed"](cut_table(s, 20, 10), r, trials=trials).stop
            for s in range(5)
            for r in range(20)
        )
        for trials in (10, 1000)
    }
    assert stopped[10] > stopped[1000] > 0


def test_speakers_do_not_decide() -> None:
    """A setting that has only met hard speakers is not worse for it."""
    speakers = np.linspace(0.4, 0.9, 10)
    rng = np.random.default_rng(0)
    table = speakers + rng.normal(0, 0.02, (8, 10))
    table[7] = np.where(np.arange(10) < 4, speakers + 0.03, NAN)
    verdict = RULES["mixed"](table, 7, trials=20)
    assert not verdict.stop
    assert verdict.mean == pytest.approx(0.68, abs=0.02)


def test_wilcoxon_waits_for_the_fourth_fold() -> None:
    table = np.vstack([np.linspace(0.7, 0.8, 10), np.linspace(0.2, 0.25, 10)])
    for n in range(1, 10):
        seen = table.copy()
        seen[1, n:] = NAN
        assert RULES["wilcoxon"](seen, 1, trials=20).stop == (n >= 4)


# -- the model against a direct one: the whole covariance matrix of the cells -------------------


def direct(table: np.ndarray, ratio: float) -> tuple[np.ndarray, np.ndarray, float]:
    """Means and covariance (over sigma^2) of all full means, and the log evidence up to a constant.

    b_f ~ N(mu, 4 sigma^2), mu all but flat, everything by one big multivariate normal.
    """
    c, k = table.shape
    row, fold = np.repeat(np.arange(c), k), np.tile(np.arange(k), c)
    flat = 1e4
    cov = flat + 4.0 * (fold[:, None] == fold) + ratio * (row[:, None] == row) + 1.0 * np.eye(c * k)
    y = table.ravel()
    seen = np.isfinite(y)
    kernel = np.linalg.inv(cov[np.ix_(seen, seen)])
    weights = cov[:, seen] @ kernel
    centre = float(y[seen].mean())
    mean = np.where(seen, y, centre + weights @ (y[seen] - centre))
    left = cov - weights @ cov[seen]
    average = np.kron(np.eye(c), np.full((1, k), 1.0 / k))
    quadratic = float((y[seen] - centre) @ kernel @ (y[seen] - centre))
    dof = 4.0 + seen.sum() - 1.0
    scale = (4.0 * 0.06**2 + quadratic) / dof
    evidence = -0.5 * (np.linalg.slogdet(cov[np.ix_(seen, seen)])[1] + dof * np.log(scale))
    return average @ mean, scale * average @ left @ average.T, float(evidence)


@pytest.mark.parametrize(("c", "k"), [(2, 6), (9, 10), (5, 7)])
def test_model_equals_the_direct_computation(c: int, k: int) -> None:
    table = cut_table(c, c, k)
    table[1, 0], table[1, -1] = NAN, 0.5  # masks need not be prefixes
    model = racing._posterior(table)
    prior = (np.log(racing._RATIOS / (0.02 / 0.06) ** 2) / 1.5) ** 2
    evidence = []
    for g, ratio in enumerate(racing._RATIOS):
        mean, cov, value = direct(table, ratio)
        evidence.append(value - 0.5 * prior[g])
        np.testing.assert_allclose(model.full[g], mean, atol=1e-5)
        one = racing._Posterior(
            np.ones(1),
            model.scale[[g]],
            model.shrink[[g]],
            model.covariance[[g]],
            model.mask,
            model.full[[g]],
        )
        s = np.sqrt(cov[1, 1] + cov[0, 0] - 2 * cov[0, 1])
        z = (mean[0] - mean[1]) / s
        expected = s * (stats.norm.pdf(z) - z * stats.norm.sf(z))
        assert one.gain(1, 0) == pytest.approx(expected, rel=1e-3, abs=1e-8)
    weight = np.exp(np.array(evidence) - max(evidence))
    np.testing.assert_allclose(model.weight, weight / weight.sum(), atol=1e-4)


def test_model_finds_the_variances() -> None:
    model = racing._posterior(full_table(8, 200, 10, spread=0.03, residual=0.05))
    sigma2 = float(model.weight @ model.scale)
    tau2 = float(model.weight @ (model.scale * racing._RATIOS))
    assert np.sqrt(sigma2) == pytest.approx(0.05, rel=0.05)
    assert np.sqrt(tau2) == pytest.approx(0.03, rel=0.25)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 12), st.integers(2, 8), st.floats(-0.3, 0.3))
def test_shifts_and_order_do_not_matter(seed: int, c: int, k: int, shift: float) -> None:
    """Moving a whole fold moves predictions, not decisions; nor does the order of folds."""
    table = cut_table(seed, c, k)
    row = c - 1
    base = RULES["mixed"](table, row, trials=20)
    moved = RULES["mixed"](table + shift, row, trials=20)
    assert moved.mean == pytest.approx(base.mean + shift, abs=1e-9)
    turned = RULES["mixed"](table[:, ::-1], row, trials=20)
    assert turned.mean == pytest.approx(base.mean, abs=1e-9)
    assert base.stop == moved.stop == turned.stop


def test_a_race_saves_and_chooses_well() -> None:
    """Settings arrive one after the other, four at once, 12 races: half is saved, little lost."""
    decide = RULES["mixed"]
    saved, lost = [], []
    for seed in range(12):
        full = full_table(100 + seed, 30, 10, spread=0.02)
        table, done = np.full_like(full, NAN), np.zeros(30, dtype=int)
        alive, running, started = np.ones(30, dtype=bool), [], 0
        while running or started < 30:
            while len(running) < 4 and started < 30:
                running.append(started)
                started += 1
            for c in list(running):
                table[c, done[c]] = full[c, done[c]]
                done[c] += 1
                verdict = decide(table[:started], c, trials=30, alive=alive[:started])
                if verdict.stop:
                    alive[c] = False
                if verdict.stop or done[c] == 10:
                    running.remove(c)
        means = full.mean(axis=1)
        saved.append(1 - done.sum() / full.size)
        lost.append(means.max() - means[done == 10].max())
    assert np.mean(saved) > 0.4
    assert np.mean(np.array(lost) <= 0.005) >= 0.75


@pytest.mark.parametrize(("c", "k"), [(100, 24), (1000, 10)])
def test_a_decision_is_quick(c: int, k: int) -> None:
    """1 to 2 ms on a free core; the bound leaves room for a busy machine."""
    table = cut_table(9, c, k)
    table[5, 1:] = NAN
    decide = RULES["mixed"]
    took = []
    for _ in range(12):
        began = time.perf_counter()
        decide(table, 5, trials=c)
        took.append(time.perf_counter() - began)
    assert min(took) < 0.01


def test_what_is_expected_of_a_row_is_its_mean_where_it_is_complete() -> None:
    rng = np.random.default_rng(2)
    table = rng.normal(0.6, 0.08, (1, 6)) + rng.normal(0, 0.03, (5, 6))
    table[3, 2:] = np.nan
    table[4] = np.nan
    found = expected(table)
    assert found[:3] == pytest.approx(table[:3].mean(axis=1))
    # a row of which two folds are known lies between its own lead on them and no lead at all
    lead = float((table[3, :2] - table[:3, :2].mean(axis=0)).mean())
    all_of_them = float(table[:3].mean())
    assert min(0.0, lead) < found[3] - all_of_them < max(0.0, lead)
    assert found[4] == pytest.approx(all_of_them, abs=0.01)
    assert np.isnan(expected(np.full((2, 3), np.nan))).all()
