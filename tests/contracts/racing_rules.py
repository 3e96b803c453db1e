"""What every racing rule keeps to. Inherit `RacingRuleContract` and give it a fixture `rule`."""

from __future__ import annotations

import numpy as np
import pytest

from raysearch.search.racing import Rule

NAN = float("nan")


def full_table(
    seed: int, c: int = 40, k: int = 10, spread: float = 0.015, residual: float = 0.06
) -> np.ndarray:
    """[c, k] scores with the variances of speech emotion studies."""
    rng = np.random.default_rng(seed)
    return (
        0.65
        + rng.normal(0, 0.085, k)
        + rng.normal(0, spread, (c, 1))
        + rng.normal(0, residual, (c, k))
    )


def cut_table(seed: int, c: int, k: int) -> np.ndarray:
    """A table in the middle of a race: row 0 complete, the others cut anywhere."""
    table = full_table(seed, c, k)
    cut = np.random.default_rng(seed).integers(1, k + 1, c)
    cut[0] = k
    table[np.arange(k) >= cut[:, None]] = NAN
    return table


class RacingRuleContract:
    """A subclass has a fixture `rule`, and so these tests."""

    @pytest.mark.parametrize("n", range(1, 11))
    def test_a_lone_first_trial_is_never_stopped(self, rule: Rule, n: int) -> None:
        table = np.where(np.arange(10) < n, full_table(0, 1), NAN)
        assert not rule(table, 0, trials=20).stop

    def test_the_first_trial_is_never_stopped_by_its_neighbours(self, rule: Rule) -> None:
        table = np.vstack([np.full(10, 0.2), np.full((3, 10), 0.9)]) + full_table(1, 4) / 100
        table[:, 8:] = NAN
        assert not rule(table, 0, trials=20).stop

    def test_where_nothing_was_run_nothing_is_known(self, rule: Rule) -> None:
        verdict = rule(np.full((2, 5), NAN), 1, trials=20)
        assert not verdict.stop
        assert np.isnan(verdict.mean)

    def test_a_complete_row_goes_through_with_its_own_mean(self, rule: Rule) -> None:
        table = full_table(2)
        verdict = rule(table, 7, trials=40)
        assert not verdict.stop
        assert verdict.mean == pytest.approx(table[7].mean(), abs=1e-12)

    def test_a_protocol_of_one_fold(self, rule: Rule) -> None:
        table = np.array([[0.9], [0.1]])
        assert not rule(table, 1, trials=2).stop

    def test_constant_scores(self, rule: Rule) -> None:
        table = np.full((6, 10), 0.5)
        table[5, 5:] = NAN
        verdict = rule(table, 5, trials=20)
        assert verdict.mean == pytest.approx(0.5)
        assert verdict.reason

    @pytest.mark.parametrize("seed", range(20))
    def test_a_setting_that_leads_is_never_stopped(self, rule: Rule, seed: int) -> None:
        table = cut_table(seed, 20, 10)
        table[5] = np.where(np.arange(10) < 6, np.nanmax(table) + 0.05, NAN)
        assert not rule(table, 5, trials=20).stop

    def test_a_row_that_cannot_win_any_more_is_nobodys_rival(self, rule: Rule) -> None:
        table = np.vstack([np.full((2, 10), 0.5), np.full((1, 10), 0.9)]) + full_table(3, 3) / 20
        table[1, 6:] = NAN
        table[2, 8:] = NAN
        alive = np.array([False, True, False])
        assert not rule(table, 1, trials=20, alive=alive).stop

    def test_the_table_is_not_changed_and_the_answer_repeats(self, rule: Rule) -> None:
        table = cut_table(4, 12, 10)
        before = table.copy()
        first = rule(table, 3, trials=20)
        assert first == rule(table, 3, trials=20)
        np.testing.assert_array_equal(table, before)

    def test_a_row_that_the_table_does_not_have(self, rule: Rule) -> None:
        with pytest.raises(ValueError, match="row must be one of"):
            rule(np.zeros((2, 3)), 2, trials=2)

    def test_a_hopeless_setting_is_stopped(self, rule: Rule) -> None:
        table = full_table(5, 12, 24)
        table[11] -= 0.2
        table[11, 6:] = NAN
        verdict = rule(table, 11, trials=40)
        assert verdict.stop
        assert verdict.mean < 0.6
