"""The training loop in one process: what it keeps, when it stops, and that it repeats itself."""

from __future__ import annotations

import doctest
import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from tests.contracts.method_contract import Interruption
from trainables import losses, metrics, optimisation, rows
from trainables.fitting import steps_of
from trainables.loop import Training, fit
from trainables.networks import MLP
from trainables.optimisation import Fit
from trainables.passes import NonFinite, predictor
from trainables.rows import batches
from trainables.stage import Cuda
from trainables.training import Refresh

K, D, N = 3, 10, 61


def data(seed: int = 0, n: int = N) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    y = np.arange(n) % K
    x = (rng.normal(size=(n, D)) + 1.2 * np.eye(D)[y]).astype(np.float32)
    return {"x": x, "y": y, "weight": np.ones(n, np.float32)}


def build(dropout: float = 0.2, decoder: int = 0) -> MLP:
    return MLP(D, K, width=1 / 16, dropout=dropout, decoder_layers=decoder)


def forward(module: MLP, rows: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {"logits": module(rows["x"]).logits}


def infer(module: MLP, rows: Mapping[str, Tensor]) -> Tensor:
    return module(rows["x"]).logits


def loss(
    module: MLP,
    outputs: Mapping[str, Tensor],
    rows: Mapping[str, Tensor],
    side_outputs: Mapping[str, Tensor],
    side_rows: Mapping[str, Tensor],
) -> dict[str, Tensor]:
    target = torch.nn.functional.one_hot(rows["y"], K).float()
    terms = {
        "ce": losses.cross_entropy(outputs["logits"], target, rows["weight"]),
        "rd": 0.1 * losses.relative_difficulty(outputs["logits"], target),
    }
    if side_outputs:
        terms["pel"] = 1e-3 * losses.pseudo_label(side_outputs["logits"])
    return terms


def score(probabilities: np.ndarray, *, y: np.ndarray) -> dict[str, float]:
    return {"validation_ua": metrics.unweighted_accuracy(y, probabilities.argmax(1), K)}


def train(**changes: Any) -> Fit:
    validation = data(1, 30)
    settings: dict[str, Any] = {
        "build": build,
        "forward": forward,
        "infer": infer,
        "loss": loss,
        "score": functools.partial(score, y=validation["y"]),
        "train": data(),
        "validation": {"x": validation["x"]},
        "predict": {"validation": {"x": validation["x"]}, "test": {"x": data(2, 20)["x"]}},
        "batch": 16,
        "lr": 5e-3,
        "epochs": 12,
        "patience": 12,
        "seed": 7,
    }
    return fit(Training(**(settings | changes)))


def assert_same(a: Fit, b: Fit) -> None:
    assert a.curves == b.curves
    assert (a.best_epoch, a.best_score, a.epochs) == (b.best_epoch, b.best_score, b.epochs)
    for name, values in a.probabilities.items():
        np.testing.assert_array_equal(values, b.probabilities[name])


def test_it_learns_and_predicts_with_the_best_epoch() -> None:
    result = train()
    validation = data(1, 30)
    assert result.curves["loss"][-1] < result.curves["loss"][0]
    assert result.best_score > 0.6
    best = result.curves["validation_ua"][result.best_epoch - 1]
    assert best == max(result.curves["validation_ua"]) == result.best_score
    # the first of equals is kept
    assert result.curves["validation_ua"].index(best) == result.best_epoch - 1
    again = score(result.probabilities["validation"], y=validation["y"])
    assert again["validation_ua"] == result.best_score
    np.testing.assert_allclose(result.probabilities["test"].sum(1), 1.0, rtol=1e-5)
    names = {"loss", "loss_ce", "loss_rd", "lr", "validation_ua"}
    assert set(result.curves) == names
    assert {len(values) for values in result.curves.values()} == {result.epochs}


def test_one_seed_gives_one_result_and_leaves_no_trace() -> None:
    torch.manual_seed(1)
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    first = train()
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.get_num_threads() == threads
    torch.manual_seed(99)
    assert_same(first, train())
    assert train(seed=8).curves != first.curves
    assert train(lr=1e-3).curves != first.curves


def test_read_only_arrays_are_fine() -> None:
    """Ray hands out read-only views."""
    columns = data()
    for column in columns.values():
        column.setflags(write=False)
    assert_same(train(), train(train=columns))


@pytest.mark.parametrize(
    ("steps", "epochs"), [(0, 5), (16, 5), (17, 6), (41, 12)], ids=["none", "less", "more", "most"]
)
def test_patience_is_so_many_steps_at_least(steps: int, epochs: int) -> None:
    """61 rows in batches of 16 are four steps an epoch: 17 steps are five epochs."""
    same = train(
        score=lambda p: {"validation_ua": 0.5}, patience=4, patience_steps=steps, epochs=12
    )
    assert same.epochs == epochs


@given(st.integers(1, 400), st.integers(2, 70))
def test_steps_of_an_epoch_are_its_batches(rows: int, batch: int) -> None:
    assert steps_of(rows, batch) == len(batches(rows, batch))


def test_it_stops_when_patience_ends() -> None:
    result = train(score=lambda p: {"validation_ua": 0.5}, patience=4, epochs=50)
    assert (result.best_epoch, result.epochs) == (1, 5)


def test_plateau_cuts_the_step_size() -> None:
    result = train(
        score=lambda p: {"validation_ua": 0.5},
        plateau_patience=2,
        plateau_factor=0.1,
        epochs=6,
    )
    assert result.curves["lr"] == pytest.approx([5e-3] * 4 + [5e-4] * 2)


def test_named_epochs_cut_the_step_size_without_validation() -> None:
    result = train(validation={}, plateau_factor=0.1, cuts=(2, 4, 4), epochs=6)
    assert result.curves["lr"] == pytest.approx([5e-3] * 2 + [5e-4] * 2 + [5e-6] * 2)
    both = train(validation={}, plateau_factor=0.1, cuts=[1], decay=0.5, decay_every=2, epochs=4)
    assert both.curves["lr"] == pytest.approx([5e-3, 5e-4, 2.5e-4, 2.5e-4])


def test_refresh_replaces_columns_from_the_next_epoch() -> None:
    seen: list[tuple[int, ...]] = []

    def refresh(probabilities: np.ndarray) -> Refresh:
        seen.append(probabilities.shape)
        return Refresh({"weight": np.zeros(N, np.float32)}, {"corpus_weight_0": 0.0})

    result = train(refresh=refresh, epochs=3)
    assert seen == [(N, K)] * 3
    assert result.curves["loss_ce"][0] > 0
    assert result.curves["loss_ce"][1:] == [0.0, 0.0]
    assert result.curves["corpus_weight_0"] == [0.0] * 3


def test_side_stream_joins_every_step() -> None:
    result = train(side={"x": data(3, 11)["x"]}, side_batch=8)
    assert min(result.curves["loss_pel"]) > 0
    assert_same(result, train(side={"x": data(3, 11)["x"]}, side_batch=8))


@pytest.mark.parametrize(
    ("rows", "size", "lengths"),
    [(9, 4, [4, 5]), (10, 4, [4, 4, 2]), (8, 4, [4, 4]), (1, 4, [1]), (5, 4, [5]), (3, 64, [3])],
)
def test_tails_of_one_row_join_the_batch_before(rows: int, size: int, lengths: list[int]) -> None:
    bounds = batches(rows, size)
    assert [b - a for a, b in bounds] == lengths
    assert [a for a, _ in bounds][1:] == [b for _, b in bounds][:-1]


def test_non_finite_loss_names_epoch_and_terms() -> None:
    columns = data()
    columns["x"][3, 2] = np.nan
    with pytest.raises(NonFinite, match=r"epoch 1: ce = nan, rd = nan"):
        train(train=columns)
    with pytest.raises(NonFinite, match=r"validation part .* epoch 1"):
        train(validation={"x": np.full((30, D), np.inf, np.float32)})
    with pytest.raises(NonFinite, match="validation_ua is nan"):
        train(score=lambda p: {"validation_ua": float("nan")})


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"batch": 0}, "batch"),
        ({"epochs": 0}, "epochs"),
        ({"lr": 0.0}, "lr"),
        ({"train": {"x": np.zeros((0, D)), "y": np.zeros(0)}}, "train"),
        ({"train": {"x": np.zeros((3, D)), "y": np.zeros(2)}}, "train"),
        ({"side_batch": 4}, "side"),
        ({"lr_scale": {"nobody": 2.0}}, "nobody"),
    ],
)
def test_impossible_arguments(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        train(**changes)


def test_interrupted_equals_uninterrupted(tmp_path: Path) -> None:
    """Model, optimiser, plateau, shuffling, dropout, side stream, corpus weights: all go on."""
    validation = data(1, 30)["y"]

    def refresh(probabilities: np.ndarray) -> Refresh:
        return Refresh({"weight": 2 * probabilities.max(1)}, {"corpus_weight_0": 1.0})

    settings: dict[str, Any] = {
        "refresh": refresh,
        "side": {"x": data(3, 11)["x"]},
        "side_batch": 8,
        "checkpoint_every": 2,
        "keep_weights": True,
        "plateau_patience": 1,
        "plateau_factor": 0.5,
    }
    whole = train(scratch=tmp_path / "a", **settings)
    calls = 0

    def dies(probabilities: np.ndarray) -> dict[str, float]:
        nonlocal calls
        calls += 1
        if calls == 8:
            raise Interruption
        return score(probabilities, y=validation)

    with pytest.raises(Interruption):
        train(scratch=tmp_path / "b", score=dies, **settings)
    assert [p.name for p in (tmp_path / "b").iterdir()] == [optimisation.STATE]
    second = train(scratch=tmp_path / "b", score=dies, **settings)
    assert calls == 8 + whole.epochs - 6  # it went on after the sixth epoch
    assert_same(whole, second)
    assert whole.weights is not None
    assert second.weights is not None
    for name, value in whole.weights.items():
        assert torch.equal(value, second.weights[name])


def test_epochs_are_told_and_change_nothing() -> None:
    told: list[tuple[int, float]] = []
    heard = train(patience=3, on_epoch=lambda epoch, value: told.append((epoch, value)))
    assert told == list(enumerate(heard.curves["validation_ua"], start=1))
    assert_same(heard, train(patience=3))


def test_a_resumed_training_tells_the_epochs_before_it_once_more(tmp_path: Path) -> None:
    validation = data(1, 30)["y"]
    calls = 0

    def dies(probabilities: np.ndarray) -> dict[str, float]:
        nonlocal calls
        calls += 1
        if calls == 6:
            raise Interruption
        return score(probabilities, y=validation)

    first: list[int] = []
    second: list[tuple[int, float]] = []
    with pytest.raises(Interruption):
        train(
            scratch=tmp_path,
            checkpoint_every=2,
            score=dies,
            on_epoch=lambda epoch, value: first.append(epoch),
        )
    assert first == [1, 2, 3, 4, 5]
    again = train(
        scratch=tmp_path,
        checkpoint_every=2,
        score=dies,
        on_epoch=lambda epoch, value: second.append((epoch, value)),
    )
    assert calls == 6 + again.epochs - 4  # it went on after the fourth epoch
    assert second == list(enumerate(again.curves["validation_ua"], start=1))


def test_checkpoints_wait_for_their_time(tmp_path: Path) -> None:
    train(scratch=tmp_path / "s", checkpoint_every=1, checkpoint_seconds=1000.0, epochs=3)
    assert not (tmp_path / "s").exists()


def test_examples_in_docstrings_hold() -> None:
    for module in (rows, metrics):
        actual = doctest.testmod(module)
        assert (actual.failed, actual.attempted > 0) == (0, True), module


@pytest.mark.gpu
def test_it_trains_on_a_gpu() -> None:
    exact = Cuda(deterministic=True, benchmark=False, tf32=False)
    first = train(device="cuda", cuda=exact)
    assert first.best_score > 0.6
    assert_same(first, train(device="cuda", cuda=exact))
    assert train(device="cuda").best_score > 0.6


def test_cuda_without_a_card_is_refused() -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a card here")
    with pytest.raises(ValueError, match="cuda"):
        train(device="cuda")


def test_the_step_size_decays_by_epochs_whatever_the_score(tmp_path: Path) -> None:
    steps = {"epochs": 6, "decay": 0.5, "decay_every": 2, "lr": 4e-3}
    result = train(**steps)
    np.testing.assert_allclose(result.curves["lr"], [4e-3, 4e-3, 2e-3, 2e-3, 1e-3, 1e-3])
    assert train(epochs=6, lr=4e-3).curves["lr"] == [4e-3] * 6
    part = {"scratch": tmp_path, "checkpoint_every": 1}
    train(**(steps | {"epochs": 3}), **part)
    assert_same(train(**steps, **part), result)
    for name, value in (("decay", 0.0), ("decay", 1.5), ("decay_every", 0)):
        with pytest.raises(ValueError, match=name):
            train(**{name: value})


def test_adams_eps_is_a_setting() -> None:
    assert train(epochs=2, adam_eps=1e-2).curves["loss"] != train(epochs=2).curves["loss"]
    assert_same(train(epochs=2, adam_eps=1e-8), train(epochs=2))


def test_adamax_is_torchs_own() -> None:
    """Two steps on all rows: the same weights as torch.optim.Adamax makes by hand."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(12, 3)).astype(np.float32)
    y = (np.arange(12) % 2).astype(np.int64)

    def loss(module: Any, outputs: Any, rows: Any, *others: Any) -> dict[str, torch.Tensor]:
        return {"ce": torch.nn.functional.cross_entropy(outputs["logits"], rows["y"])}

    def run(optimiser: Any) -> dict[str, torch.Tensor]:
        rising = iter((0.1, 0.2))
        fitted = fit(
            Training(
                build=lambda: torch.nn.Linear(3, 2),
                forward=lambda module, rows: {"logits": module(rows["x"])},
                infer=lambda module, rows: module(rows["x"]),
                loss=loss,
                score=lambda p: {"validation_ua": next(rising)},  # the last epoch is the best one
                train={"x": x, "y": y},
                validation={"x": x},
                predict={},
                batch=12,
                lr=0.1,
                epochs=2,
                seed=3,
                keep_weights=True,
                optimiser=optimiser,
            )
        )
        assert fitted.weights is not None
        return fitted.weights

    with torch.random.fork_rng():
        torch.manual_seed(3)
        module = torch.nn.Linear(3, 2)
    by_hand = torch.optim.Adamax(module.parameters(), lr=0.1)
    for _ in range(2):
        by_hand.zero_grad()
        logits = module(torch.from_numpy(x))
        torch.nn.functional.cross_entropy(logits, torch.from_numpy(y)).backward()
        by_hand.step()
    actual = run("adamax")
    torch.testing.assert_close(actual["weight"], module.weight.data, rtol=1e-5, atol=1e-6)
    assert not torch.allclose(run("adam")["weight"], actual["weight"])
    with pytest.raises(ValueError, match="adam or adamax, but got 'sgd'"):
        run("sgd")


# Without validation, and in use


def test_without_validation_it_is_the_same_training_up_to_its_end() -> None:
    best = train()
    assert 1 < best.best_epoch < best.epochs, "the case must tell the last epoch from the best"
    tests = {"test": {"x": data(2, 20)["x"]}}

    def untold(*_: Any) -> Any:
        raise AssertionError("there is nothing to score or to tell")

    blind = train(
        validation={}, epochs=best.best_epoch, patience=1, predict=tests, score=untold,
        on_epoch=untold,
    )  # fmt: skip
    np.testing.assert_array_equal(blind.probabilities["test"], best.probabilities["test"])
    assert (blind.best_epoch, blind.epochs, blind.best_score) == (best.best_epoch,) * 2 + (None,)
    assert blind.curves["loss"] == best.curves["loss"][: best.best_epoch]
    # what decays by epochs alone decays as in a study
    steps = {"decay": 0.5, "decay_every": 2, "lr": 4e-3}
    result = train(validation={}, predict=tests, epochs=5, **steps)
    np.testing.assert_allclose(result.curves["lr"], [4e-3, 4e-3, 2e-3, 2e-3, 1e-3])


def test_without_validation_it_goes_on_from_a_checkpoint(tmp_path: Path) -> None:
    whole = train(validation={}, predict={"test": {"x": data(2, 20)["x"]}}, epochs=6)
    train(validation={}, predict={}, epochs=3, scratch=tmp_path, checkpoint_every=1)
    rest = train(
        validation={}, predict={"test": {"x": data(2, 20)["x"]}}, epochs=6, scratch=tmp_path,
        checkpoint_every=1,
    )  # fmt: skip
    np.testing.assert_array_equal(rest.probabilities["test"], whole.probabilities["test"])


def test_kept_weights_predict_what_the_training_predicted() -> None:
    fitted = train(keep_weights=True)
    assert fitted.weights is not None
    state = torch.get_rng_state()
    predict = predictor(
        build=build, weights={n: w.numpy() for n, w in fitted.weights.items()}, infer=infer
    )
    assert torch.equal(torch.get_rng_state(), state)
    result = predict({"x": data(2, 20)["x"]})
    np.testing.assert_allclose(result, fitted.probabilities["test"], atol=1e-6)
    with pytest.raises(ValueError, match="length above 0"):
        predict({"x": data(2, 20)["x"][:0]})
    with pytest.raises(NonFinite, match="1 of 20 predictions"):
        predict({"x": np.where(np.arange(20)[:, None] == 4, np.nan, data(2, 20)["x"])})


def test_what_a_worker_raised_is_told_through_all_that_ray_train_wraps_it_in() -> None:
    from ray.exceptions import ActorDiedError, RayTaskError
    from ray.train import ControllerError, WorkerGroupError
    from ray.train.v2._internal.exceptions import UserExceptionWithTraceback

    from trainables.loop import cause_of

    memory, lost = MemoryError("it needed more"), ActorDiedError()
    wrapped = RayTaskError("run", "a trace", memory)
    each = UserExceptionWithTraceback(wrapped, "a trace")
    assert cause_of(WorkerGroupError("two failed", {0: lost, 1: each})) is memory
    assert cause_of(WorkerGroupError("one was lost", {0: lost})) is lost
    assert cause_of(ControllerError(each)) is memory
