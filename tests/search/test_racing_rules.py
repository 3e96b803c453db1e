"""The racing rules on tables: limiting cases, the model against an independent one, behaviour."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from raysearch.errors import BadInput
from raysearch.search import racing
from raysearch.search.racing import expected, rule, rules

NAN = float("nan")


def made_up(
    seed: int, c: int = 40, k: int = 10, spread: float = 0.015, residual: float = 0.06
) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (
        0.65
        + rng.normal(0, 0.085, k)
        + rng.normal(0, spread, (c, 1))
        + rng.normal(0, residual, (c, k))
    )


def raced(seed: int, c: int, k: int) -> np.ndarray:
    """A table in the middle of a race: row 0 complete, the others cut anywhere."""
    table = made_up(seed, c, k)
    cut = np.random.default_rng(seed).integers(1, k + 1, c)
    cut[0] = k
    table[np.arange(k) >= cut[:, None]] = NAN
    return table


@pytest.mark.parametrize("name", rules())
class TestEveryRule:
    def test_lone_first_trial_is_never_stopped(self, name: str) -> None:
        table = made_up(0, 1)
        for n in range(1, 11):
            seen = np.where(np.arange(10) < n, table, NAN)
            assert not rule(name)(seen, 0, trials=20).stop

    def test_first_trial_is_never_stopped_by_its_neighbours(self, name: str) -> None:
        table = np.vstack([np.full(10, 0.2), np.full((3, 10), 0.9)]) + made_up(1, 4) / 100
        table[:, 8:] = NAN
        assert not rule(name)(table, 0, trials=20).stop

    def test_nothing_run(self, name: str) -> None:
        verdict = rule(name)(np.full((2, 5), NAN), 1, trials=20)
        assert not verdict.stop
        assert np.isnan(verdict.predicted)

    def test_complete_row_goes_through_with_its_own_mean(self, name: str) -> None:
        table = made_up(2)
        verdict = rule(name)(table, 7, trials=40)
        assert not verdict.stop
        assert verdict.predicted == pytest.approx(table[7].mean(), abs=1e-12)

    def test_one_fold(self, name: str) -> None:
        table = np.array([[0.9], [0.1]])
        assert not rule(name)(table, 1, trials=2).stop

    def test_constant_scores(self, name: str) -> None:
        table = np.full((6, 10), 0.5)
        table[5, 5:] = NAN
        verdict = rule(name)(table, 5, trials=20)
        assert verdict.predicted == pytest.approx(0.5)
        assert verdict.reason

    def test_leader_is_never_stopped(self, name: str) -> None:
        for seed in range(20):
            table = raced(seed, 20, 10)
            table[5] = np.where(np.arange(10) < 6, np.nanmax(table) + 0.05, NAN)
            assert not rule(name)(table, 5, trials=20).stop

    def test_a_row_that_cannot_win_any_more_is_nobodys_rival(self, name: str) -> None:
        table = np.vstack([np.full((2, 10), 0.5), np.full((1, 10), 0.9)]) + made_up(3, 3) / 20
        table[1, 6:] = NAN
        table[2, 8:] = NAN
        alive = np.array([False, True, False])
        assert not rule(name)(table, 1, trials=20, alive=alive).stop

    def test_the_table_is_not_changed_and_the_answer_repeats(self, name: str) -> None:
        table = raced(4, 12, 10)
        kept = table.copy()
        first = rule(name)(table, 3, trials=20)
        assert first == rule(name)(table, 3, trials=20)
        np.testing.assert_array_equal(table, kept)

    def test_row_out_of_range(self, name: str) -> None:
        with pytest.raises(ValueError, match="row must be one of"):
            rule(name)(np.zeros((2, 3)), 2, trials=2)


def test_off_never_stops() -> None:
    table = np.vstack([np.full((5, 10), 0.9), np.full((1, 10), 0.1)])
    table[5, 8:] = NAN
    assert not rule("off")(table, 5, trials=20).stop


@pytest.mark.parametrize("name", ["mixed", "wilcoxon"])
def test_a_hopeless_setting_is_stopped(name: str) -> None:
    table = made_up(5, 12, 24)
    table[11] -= 0.2
    table[11, 6:] = NAN
    verdict = rule(name)(table, 11, trials=40)
    assert verdict.stop
    assert verdict.predicted < 0.6


def test_mixed_stops_a_hopeless_setting_after_one_fold() -> None:
    table = made_up(6, 30, 10)
    table[29, 0] = table[:29, 0].min() - 0.2
    table[29, 1:] = NAN
    assert rule("mixed")(table, 29, trials=30).stop
    assert not rule("mixed", least=2)(table, 29, trials=30).stop


def test_mixed_is_stricter_with_a_larger_budget() -> None:
    stopped = {
        trials: sum(
            rule("mixed")(raced(s, 20, 10), r, trials=trials).stop
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
    verdict = rule("mixed")(table, 7, trials=20)
    assert not verdict.stop
    assert verdict.predicted == pytest.approx(0.68, abs=0.02)


def test_wilcoxon_waits_for_the_fourth_fold() -> None:
    table = np.vstack([np.linspace(0.7, 0.8, 10), np.linspace(0.2, 0.25, 10)])
    for n in range(1, 10):
        seen = table.copy()
        seen[1, n:] = NAN
        assert rule("wilcoxon")(seen, 1, trials=20).stop == (n >= 4)


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
    table = raced(c, c, k)
    table[1, 0], table[1, -1] = NAN, 0.5  # masks need not be prefixes
    model = racing._posterior(table, 0.06, 0.02)
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
    model = racing._posterior(made_up(8, 200, 10, spread=0.03, residual=0.05), 0.06, 0.02)
    sigma2 = float(model.weight @ model.scale)
    tau2 = float(model.weight @ (model.scale * racing._RATIOS))
    assert np.sqrt(sigma2) == pytest.approx(0.05, rel=0.05)
    assert np.sqrt(tau2) == pytest.approx(0.03, rel=0.25)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 12), st.integers(2, 8), st.floats(-0.3, 0.3))
def test_shifts_and_order_do_not_matter(seed: int, c: int, k: int, shift: float) -> None:
    """Moving a whole fold moves predictions, not decisions; nor does the order of folds."""
    table = raced(seed, c, k)
    row = c - 1
    base = rule("mixed")(table, row, trials=20)
    moved = rule("mixed")(table + shift, row, trials=20)
    assert moved.predicted == pytest.approx(base.predicted + shift, abs=1e-9)
    turned = rule("mixed")(table[:, ::-1], row, trials=20)
    assert turned.predicted == pytest.approx(base.predicted, abs=1e-9)
    assert base.stop == moved.stop == turned.stop


def test_a_race_saves_and_chooses_well() -> None:
    """Settings arrive one after the other, four at once, 12 races: half is saved, little lost."""
    decide = rule("mixed")
    saved, lost = [], []
    for seed in range(12):
        full = made_up(100 + seed, 30, 10, spread=0.02)
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
    table = raced(9, c, k)
    table[5, 1:] = NAN
    decide = rule("mixed")
    took = []
    for _ in range(12):
        began = time.perf_counter()
        decide(table, 5, trials=c)
        took.append(time.perf_counter() - began)
    assert min(took) < 0.01


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("mixd", {}, "did you mean 'mixed'"),
        ("asha", {}, "mixed, wilcoxon, off"),
        ("mixed", {"gian": 0.1}, "did you mean 'gain'"),
        ("mixed", {"gain": 0.0}, "gain=0.0 must be above 0"),
        ("mixed", {"least": 1.5}, "least=1.5"),
        ("wilcoxon", {"p": 1.0}, "between 0 and 1"),
        ("off", {"gain": 1.0}, "takes none"),
    ],
)
def test_bad_input(name: str, options: dict[str, float], words: str) -> None:
    with pytest.raises(BadInput, match=words):
        rule(name, **options)


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
