"""Attributes as numbers: metrics and losses against other code, strategies, the stage."""

from __future__ import annotations

import audmetric
import numpy as np
import pytest
import torch
from sklearn.metrics import mean_absolute_error, root_mean_squared_error

from trainables.attribute_targets import (
    sampled,
    shrunk,
    spread_weights,
    spreads_of,
)
from trainables.attributes import METHOD, canonical, predictor
from trainables.labels import means_of
from trainables.losses import concordance, squared_error
from trainables.metrics import ccc_of, each_ccc, each_mae, each_rmse, mae_of, rmse_of, sums
from trainables.stage import NetworkState, Part, StageInputs, weights_of

RNG = np.random.default_rng(1)
TRUTH = 3 + RNG.standard_normal((50, 2))
GUESS = 0.5 * TRUTH + 1 + 0.3 * RNG.standard_normal((50, 2))
NAN = float("nan")
RATINGS = np.array([[[1.0], [3.0], [NAN]], [[2.0], [2.0], [5.0]], [[4.0], [NAN], [NAN]]], "f4")


def test_metrics_are_those_of_audmetric_and_sklearn() -> None:
    table = sums(GUESS, TRUTH)
    for a in (0, 1):
        expected = audmetric.concordance_cc(TRUTH[:, a], GUESS[:, a])
        assert each_ccc(table)[a] == pytest.approx(expected)
        assert each_rmse(table)[a] == pytest.approx(
            root_mean_squared_error(TRUTH[:, a], GUESS[:, a])
        )
        assert each_mae(table)[a] == pytest.approx(mean_absolute_error(TRUTH[:, a], GUESS[:, a]))
    assert ccc_of(table) == pytest.approx(each_ccc(table).mean())
    assert rmse_of(table) == pytest.approx(each_rmse(table).mean())
    assert mae_of(table) == pytest.approx(each_mae(table).mean())


def test_sums_of_parts_add_up_and_rows_without_ratings_do_not_count() -> None:
    whole = sums(GUESS[:20], TRUTH[:20]) + sums(GUESS[20:], TRUTH[20:])
    assert whole == pytest.approx(sums(GUESS, TRUTH))
    holes = TRUTH.copy()
    holes[3, 1] = np.nan
    assert sums(GUESS, holes) == pytest.approx(
        sums(np.delete(GUESS, 3, axis=0), np.delete(TRUTH, 3, axis=0))
    )


@pytest.mark.parametrize("value", [0.0, 2.7, 3.1, 1e6])
def test_a_constant_prediction_has_no_concordance(value: float) -> None:
    truth = TRUTH[:, :1]
    assert ccc_of(sums(np.full_like(truth, value), truth)) == 0.0
    same = np.full((5, 1), value)
    assert ccc_of(sums(same, same)) == 0.0
    assert ccc_of(sums(truth, truth)) == pytest.approx(1.0)


def test_losses_are_the_metrics_of_a_batch() -> None:
    guess, truth = torch.tensor(GUESS), torch.tensor(TRUTH)
    table = sums(GUESS, TRUTH)
    assert float(concordance(guess, truth)) == pytest.approx(1 - float(ccc_of(table)), abs=1e-6)
    expected = np.mean((GUESS - TRUTH) ** 2)
    assert float(squared_error(guess, truth)) == pytest.approx(expected)
    assert float(concordance(torch.ones_like(truth), truth)) == pytest.approx(1.0)
    # a row of weight two is as two rows
    weight = torch.ones(50, dtype=torch.float64)
    weight[:7] = 2
    twice = [torch.cat([x, x[:7]]) for x in (guess, truth)]
    assert float(concordance(guess, truth, weight)) == pytest.approx(float(concordance(*twice)))


def test_means_and_spreads_of_raters() -> None:
    assert means_of(RATINGS)[:, 0].tolist() == [2.0, 3.0, 4.0]
    assert spreads_of(RATINGS)[:2, 0] == pytest.approx([2**0.5, 3**0.5])
    assert np.isnan(spreads_of(RATINGS)[2, 0])


def test_strategies() -> None:
    means = means_of(RATINGS)
    assert shrunk(means, 0.5)[:, 0].tolist() == [2.5, 3.0, 3.5]
    drawn = np.stack([sampled(RATINGS, np.random.default_rng(s))[:, 0] for s in range(200)])
    assert set(drawn[:, 0]) == {1.0, 3.0}
    assert set(drawn[:, 2]) == {4.0}
    assert np.mean(drawn[:, 1] == 5.0) == pytest.approx(1 / 3, abs=0.1)
    weights = spread_weights(RATINGS, 1.0)
    # spreads squared 2, 3, and their mean where there is one rating alone
    raw = np.array([1 / (1 + 2 / 2.5), 1 / (1 + 3 / 2.5), 1 / 2])
    assert weights == pytest.approx(raw / raw.mean())
    assert spread_weights(RATINGS, 0.0).tolist() == [1.0, 1.0, 1.0]


def test_settings_that_train_the_same_are_one() -> None:
    plain = canonical(METHOD.resolve({}))
    same = [
        {"strategy": "shrunk", "shrinkage": 0.0},
        {"strategy": "spread_weighted", "spread_power": 0.0},
        {"loss": "mixture", "ccc_weight": 1.0},
        {"shrinkage": 0.4},
    ]
    assert all(canonical(METHOD.resolve(setting)) == plain for setting in same)
    assert canonical(METHOD.resolve({"strategy": "sampled"})) != plain


def _part(n: int, labelled: bool = True) -> Part:
    rng = np.random.default_rng(n)
    x = rng.standard_normal((n, 4)).astype("f4")
    ratings = 3 + x[:, None, :1] + 0.2 * rng.standard_normal((n, 3, 1)).astype("f4")
    return Part(
        ids=np.array([f"c{i}" for i in range(n)]),
        x=x,
        speaker=np.zeros(n, np.int64),
        corpus=np.zeros(n, np.int64),
        y=np.zeros(n, np.int64) if labelled else None,
        annotations=ratings.astype("f4") if labelled else None,
    )


@pytest.mark.parametrize("strategy", ["mean", "sampled", "spread_weighted"])
def test_the_stage_learns_and_its_model_predicts_what_it_did(strategy: str) -> None:
    nothing = _part(3).take(np.zeros(0, np.int64))
    test = _part(20, labelled=False)
    inputs = StageInputs(
        classes=("valence",),
        train=_part(80),
        validation=_part(21),
        test=test,
        unlabelled=nothing,
        undecided=nothing,
        parents={},
        seed=3,
        keep_weights=True,
    )
    setting = {"strategy": strategy, "width": 0.05, "epochs": 20, "lr": 5e-3, "loss": "mixture"}
    (node,) = METHOD.graph(METHOD.resolve(setting))
    artifact = node.run(inputs, **node.params)
    assert artifact.info["best_validation_ccc"] > 0.5
    assert artifact.arrays["test"].shape == (20, 1)
    assert METHOD.export is not None
    state = NetworkState(node.params, weights_of(artifact.arrays), artifact.info, ("valence",))
    assert predictor(state)(test) == pytest.approx(artifact.arrays["test"], abs=1e-4)
    again = node.run(inputs, **node.params)
    assert np.array_equal(again.arrays["test"], artifact.arrays["test"])
    mixed = {"augment_mixup": 0.4, "augment_gaussian": 0.1}
    (node,) = METHOD.graph(METHOD.resolve(setting | mixed))
    other = node.run(inputs, **node.params)
    assert not np.array_equal(other.arrays["test"], artifact.arrays["test"])
    assert other.info["mean"] == artifact.info["mean"]
