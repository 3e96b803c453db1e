"""The joint imputation: observed cells stay, draws are right on data whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from raysearch.selection import imputing
from raysearch.selection.imputing import impute

NAN = float("nan")


def correlated(r: float) -> np.ndarray:
    return (1 - r) * np.eye(3) + r


def made_up(rng: np.random.Generator, c: int, k: int) -> np.ndarray:
    """[C, K, 3]: V and two test scores, settings correlated at 0.6, residuals at 0.4."""
    q = rng.normal(size=(c, 3)) @ np.linalg.cholesky(correlated(0.6)).T * 0.025
    e = rng.normal(size=(c, k, 3)) @ np.linalg.cholesky(correlated(0.4)).T * 0.06
    return 0.6 + rng.normal(0, 0.085, (1, k, 3)) + q[:, None] + e


def raced(y: np.ndarray, first: int = 3, share: float = 0.6) -> np.ndarray:
    """Rows that look bad on the first folds of V are cut there: depends on what was seen only."""
    start = y[:, :first, 0].mean(axis=1)
    cut = np.where(start < np.quantile(start, share), first, y.shape[1])
    return np.where((np.arange(y.shape[1]) < cut[:, None])[..., None], y, NAN)


def split(y: np.ndarray) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    return y[..., 0], {"ua": y[..., 1], "wa": y[..., 2]}


def test_observed_cells_stay_and_the_rest_is_filled() -> None:
    seen = raced(made_up(np.random.default_rng(0), 12, 10))
    v, t = split(seen)
    kept = seen.copy()
    found = impute(v, t, draws=5, seed=1)
    np.testing.assert_array_equal(seen, kept)
    assert found.imputed == pytest.approx(np.isnan(v).mean())
    assert len(found.draws) == 5
    there = np.isfinite(v)
    for drawn, tests in found.draws:
        assert list(tests) == ["ua", "wa"]
        for full, before in ((drawn, v), (tests["ua"], t["ua"]), (tests["wa"], t["wa"])):
            assert np.isfinite(full).all()
            np.testing.assert_array_equal(full[there], before[there])
    assert not np.array_equal(found.draws[0][0], found.draws[1][0])


def test_same_seed_same_draws() -> None:
    v, t = split(raced(made_up(np.random.default_rng(1), 8, 6)))
    one, two, other = (impute(v, t, draws=3, seed=s) for s in (4, 4, 5))
    for (a, ta), (b, tb) in zip(one.draws, two.draws, strict=True):
        np.testing.assert_array_equal(a, b)
        np.testing.assert_array_equal(ta["wa"], tb["wa"])
    assert not np.array_equal(one.draws[0][0], other.draws[0][0])


def test_nothing_missing() -> None:
    v, t = split(made_up(np.random.default_rng(2), 4, 5))
    found = impute(v, t, draws=2)
    assert found.imputed == 0.0
    np.testing.assert_array_equal(found.draws[1][1]["ua"], t["ua"])


def test_constant_scores() -> None:
    v = np.full((4, 6), 0.5)
    v[2:, 3:] = NAN
    found = impute(v, {"ua": v, "wa": v}, draws=4)
    assert all(np.isfinite(full).all() for full, _ in found.draws)


@pytest.mark.parametrize(
    # with few settings their spread is known badly, and cut rows are shrunk to the mean too far
    ("c", "repeats", "bound"),
    [(160, 8, 0.004), (40, 10, 0.012)],
)
def test_unbiased_and_covering(c: int, repeats: int, bound: float) -> None:
    """Means of cut rows: no bias to speak of; 90 % intervals cover 90 %, give or take."""
    quantile = stats.t.ppf(0.95, 29)
    off, covered = [], []
    for seed in range(repeats):
        y = made_up(np.random.default_rng(500 + seed), c, 10)
        v, t = split(raced(y))
        found = impute(v, t, draws=30, seed=seed)
        rows = np.isnan(v).any(axis=1)
        drawn = np.array([[full, *tests.values()] for full, tests in found.draws])
        means = drawn[:, :, rows].mean(axis=3)  # [draws, 3, rows]
        truth = y[rows].mean(axis=1).T
        error = means.mean(axis=0) - truth
        off.append(error.mean(axis=1))
        covered.append(np.abs(error) < quantile * means.std(axis=0, ddof=1) * np.sqrt(1 + 1 / 30))
    assert np.abs(np.mean(off, axis=0)).max() < bound
    assert 0.84 < np.mean(covered) < 0.95


def test_validation_scores_inform_test_scores() -> None:
    """Settings told apart by V alone differ in their imputed T, as far as the two go together."""
    rng = np.random.default_rng(3)
    q = rng.normal(0, 0.08, 40)
    y = 0.6 + q[:, None, None] + rng.normal(0, 0.02, (40, 10, 3))
    v, t = split(raced(y, share=0.5))
    found = impute(v, t, draws=20)
    rows = np.isnan(v).any(axis=1)
    ua = np.mean([tests["ua"][rows, 3:].mean(axis=1) for _, tests in found.draws], axis=0)
    assert np.corrcoef(ua, q[rows])[0, 1] > 0.9


def test_inverse_wishart_has_its_mean() -> None:
    rng = np.random.default_rng(0)
    scale = np.array([[2.0, 0.6], [0.6, 1.0]])
    mean = np.mean([imputing._inverse_wishart(rng, 12, scale) for _ in range(6000)], axis=0)
    np.testing.assert_allclose(mean, scale / (12 - 2 - 1), rtol=0.05)


def test_what_cannot_be_imputed() -> None:
    v, t = split(raced(made_up(np.random.default_rng(0), 5, 6)))
    other = t["ua"].copy()
    other[0, 0] = NAN
    with pytest.raises(ValueError, match="missing cells of V"):
        impute(v, {"ua": other})
    with pytest.raises(ValueError, match="at least one finite cell"):
        impute(np.vstack([v, np.full(6, NAN)]), {})
    with pytest.raises(ValueError, match="draws >= 1"):
        impute(v, t, draws=0)


@pytest.mark.parametrize("seed", range(3))
def test_scores_that_are_copies_of_each_other(seed: int) -> None:
    """A degenerate study must still be reported: V, UA and WA the same numbers."""
    rng = np.random.default_rng(seed)
    v = rng.random((300, 10)) * 0.1 + 0.5
    v[20:, 5:] = NAN
    found = impute(v, {"ua": v, "wa": v}, draws=2, seed=seed)
    assert all(np.isfinite(full).all() for full, _ in found.draws)
    zeros = np.round(v)
    found = impute(zeros, {"ua": zeros, "wa": zeros}, draws=2, seed=seed)
    assert all(np.isfinite(full).all() for full, _ in found.draws)
