"""The training loop on rows of different lengths: batches, precision, accumulation, checkpoints."""

from __future__ import annotations

import functools
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.contracts.method_contract import Interruption
from trainables import losses, metrics, optimisation, waves
from trainables.loop import Training, fit
from trainables.optimisation import Fit
from trainables.rows import by_length
from trainables.stage import Sequences

pytestmark = pytest.mark.usefixtures("one_thread")

K, D, N = 3, 6, 45


def data(seed: int = 0, n: int = N) -> dict[str, Any]:
    """Rows of 3 to 40 frames whose mean tells the class."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(3, 40, n)
    y = np.arange(n) % K
    frames = rng.normal(size=(lengths.sum(), D)) + np.repeat(np.eye(D)[y], lengths, axis=0)
    starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    target = np.eye(K, dtype=np.float32)[y]
    return {"frames": Sequences(frames.astype(np.float32), starts), "target": target}


class FrameNet(nn.Module):
    """The mean over a row's own frames, and two layers."""

    def __init__(self, dropout: float = 0.2) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(D, 16), nn.ReLU(), nn.Dropout(dropout))
        self.head = nn.Linear(16, K)

    def forward(self, rows: Mapping[str, Tensor]) -> Tensor:
        here = torch.arange(rows["mel"].shape[1]) < rows["mel_length"].cpu()[:, None]
        here = here.to(rows["mel"].device)[..., None]
        mean = (rows["mel"] * here).sum(dim=1) / rows["mel_length"][:, None]
        return self.head(self.body(mean))


def forward(module: FrameNet, rows: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {"logits": module(rows)}


def infer(module: FrameNet, rows: Mapping[str, Tensor]) -> Tensor:
    return module(rows)


def loss(
    module: FrameNet,
    outputs: Mapping[str, Tensor],
    rows: Mapping[str, Tensor],
    side_outputs: Mapping[str, Tensor],
    side_rows: Mapping[str, Tensor],
) -> dict[str, Tensor]:
    assert set(rows) == {"target"}  # ragged columns travel to the network alone
    assert outputs["logits"].dtype == torch.float32
    return {"ce": losses.cross_entropy(outputs["logits"], rows["target"])}


def score(probabilities: np.ndarray, *, y: np.ndarray) -> dict[str, float]:
    return {"validation_ua": metrics.unweighted_accuracy(y, probabilities.argmax(1), K)}


def train(**changes: Any) -> Fit:
    others = data(1, 20)
    settings: dict[str, Any] = {
        "build": FrameNet,
        "forward": forward,
        "infer": infer,
        "loss": loss,
        "score": functools.partial(score, y=others["target"].argmax(1)),
        "train": data(),
        "validation": {"frames": others["frames"]},
        "predict": {"validation": {"frames": others["frames"]}},
        "batch": 8,
        "lr": 1e-2,
        "epochs": 6,
        "patience": 6,
        "seed": 7,
        "collate": functools.partial(waves.collate, floor=0.01),
        "keep_weights": True,
    }
    return fit(Training(**(settings | changes)))


def assert_same(a: Fit, b: Fit) -> None:
    assert a.curves == b.curves
    assert (a.best_epoch, a.epochs) == (b.best_epoch, b.epochs)
    for name, values in a.probabilities.items():
        np.testing.assert_array_equal(values, b.probabilities[name])


def test_it_learns_repeats_itself_and_keeps_the_order_of_rows() -> None:
    result = train()
    assert result.best_score > 0.7
    assert result.curves["loss"][-1] < result.curves["loss"][0]
    assert_same(result, train())
    assert train(seed=8).curves != result.curves
    module = FrameNet()
    assert result.weights is not None
    module.load_state_dict(result.weights)
    module.eval()
    others = data(1, 20)["frames"]
    for row in range(20):  # one at a time, in the order of the columns
        frames = torch.tensor(others[row])[None]
        alone = module({"mel": frames, "mel_length": torch.tensor([frames.shape[1]])})
        got = result.probabilities["validation"][row]
        np.testing.assert_allclose(got, torch.softmax(alone, 1)[0].detach(), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("bucket", [0, 1, 3, 100])
@pytest.mark.parametrize("rows", [1, 9, 40, 41])
def test_batches_hold_every_row_once_and_repeat_with_the_seed(rows: int, bucket: int) -> None:
    lengths = np.random.default_rng(0).integers(1, 1000, rows)
    result = by_length(lengths, 8, bucket, torch.Generator().manual_seed(1))
    again = by_length(lengths, 8, bucket, torch.Generator().manual_seed(1))
    assert sorted(torch.cat(result).tolist()) == list(range(rows))
    assert [b.tolist() for b in result] == [b.tolist() for b in again]
    assert all(2 <= len(b) <= 9 for b in result) or rows == 1


def test_sorting_saves_padding_and_the_order_changes_by_epoch() -> None:
    lengths = np.random.default_rng(0).integers(10, 1000, 400)

    def padding(batches: list[Tensor]) -> float:
        longer = sum(len(b) * lengths[b.numpy()].max() for b in batches)
        return 1 - lengths.sum() / longer

    generator = torch.Generator().manual_seed(1)
    first = by_length(lengths, 16, 16, generator)
    assert padding(first) < 0.1 < 0.4 < padding(by_length(lengths, 16, 0, generator))
    second = by_length(lengths, 16, 16, generator)
    assert {frozenset(b.tolist()) for b in first} != {frozenset(b.tolist()) for b in second}
    longest = [int(lengths[b.numpy()].max()) for b in first]
    assert longest != sorted(longest)


def test_parts_of_a_batch_give_the_step_of_the_whole() -> None:
    whole = train(build=functools.partial(FrameNet, 0.0))
    parts = train(build=functools.partial(FrameNet, 0.0), accumulate=3)
    np.testing.assert_allclose(parts.curves["loss"], whole.curves["loss"], rtol=1e-5)
    assert whole.weights is not None
    assert parts.weights is not None
    for name, value in whole.weights.items():
        torch.testing.assert_close(parts.weights[name], value, rtol=1e-4, atol=1e-5)


def test_accumulation_and_clipping_serve_arrays_too() -> None:
    """Adam's first step has the size lr whatever the gradient's: clipping shows in what follows."""
    others = data(1, 20)
    mean = np.array([r.mean(0) for r in (others["frames"][i] for i in range(20))])
    columns = {"mel": mean[:, None].astype(np.float32), "mel_length": np.ones(20, np.int64)}
    settings: dict[str, Any] = {
        "collate": None,
        "train": columns | {"target": others["target"]},
        "validation": columns,
        "predict": {"validation": columns},
        "build": functools.partial(FrameNet, 0.0),
        "loss": lambda m, o, r, so, sr: {"ce": losses.cross_entropy(o["logits"], r["target"])},
    }
    whole, parts = train(**settings), train(accumulate=4, **settings)
    np.testing.assert_allclose(parts.curves["loss"], whole.curves["loss"], rtol=1e-5)
    loose, tight = train(clip_norm=1e6, **settings), train(clip_norm=1e-8, **settings)
    assert loose.curves == whole.curves
    assert tight.curves["loss"][-1] > whole.curves["loss"][-1]


def test_bf16_runs_near_fp32() -> None:
    full, half = train(), train(precision="bf16")
    assert full.curves["loss"] != half.curves["loss"]
    np.testing.assert_allclose(half.curves["loss"], full.curves["loss"], rtol=0.05)
    assert half.weights is not None
    assert {value.dtype for value in half.weights.values()} == {torch.float32}


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"collate": None}, "ragged"),
        ({"precision": "fp16"}, "fp16"),
        ({"precision": "half"}, "precision"),
        ({"accumulate": 0}, "accumulate"),
        ({"clip_norm": -1.0}, "clip_norm"),
        ({"side": {"x": np.zeros((4, 2))}, "side_batch": 2}, "side"),
        ({"lr_scale": {"nobody.": 2.0}}, "nobody"),
    ],
)
def test_impossible_arguments(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        train(**changes)


def test_a_modules_parameters_have_their_own_step_size() -> None:
    result = train(lr_scale={"body.": 0.0})
    torch.manual_seed(7)
    start = FrameNet().state_dict()
    assert result.weights is not None
    for name, value in result.weights.items():
        assert torch.equal(value, start[name]) == name.startswith("body."), name


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_interrupted_equals_uninterrupted(tmp_path: Path, precision: str) -> None:
    settings: dict[str, Any] = {"checkpoint_every": 1, "accumulate": 2, "clip_norm": 0.5}
    settings["precision"] = precision
    whole = train(**settings)
    seen: list[int] = []

    def dies(epoch: int, value: float) -> None:
        seen.append(epoch)
        if epoch == 4 and len(seen) == 4:
            raise Interruption

    with pytest.raises(Interruption):
        train(scratch=tmp_path, on_epoch=dies, **settings)
    second = train(scratch=tmp_path, on_epoch=dies, **settings)
    # It told the three epochs of the checkpoint once more, and went on with the fourth.
    assert seen == [1, 2, 3, 4, 1, 2, 3, 4, 5, 6]
    assert_same(whole, second)


def test_a_failing_collate_is_the_trainings_failure() -> None:
    def broken(rows: Mapping[str, Any]) -> dict[str, Tensor]:
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="disk is gone"):
        train(collate=broken)


def test_rows_are_read_ahead_while_the_network_works() -> None:
    """A collate of 10 ms hides behind a step of 20 ms: the loader is not the bottleneck."""
    plain = functools.partial(waves.collate, floor=0.01)

    def slow(rows: Mapping[str, Any]) -> dict[str, Tensor]:
        time.sleep(0.010)
        return plain(rows)

    def heavy(module: FrameNet, rows: Mapping[str, Tensor]) -> dict[str, Tensor]:
        time.sleep(0.020)
        return forward(module, rows)

    result = train(collate=slow, forward=heavy, epochs=3)
    assert result.busy > 0.75  # but for each epoch's first batch, of six
    slow = train(collate=slow, epochs=3)
    assert slow.busy < 0.6


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_it_trains_on_a_gpu(precision: str, tmp_path: Path) -> None:
    settings: dict[str, Any] = {"device": "cuda", "precision": precision, "clip_norm": 1.0}
    result = train(epochs=8, patience=8, **settings)
    assert result.best_score > 0.7
    train(epochs=4, checkpoint_every=1, scratch=tmp_path, **settings)
    second = train(epochs=8, patience=8, checkpoint_every=1, scratch=tmp_path, **settings)
    np.testing.assert_allclose(second.curves["loss"], result.curves["loss"], rtol=1e-3)


def test_the_state_file_is_written_whole(tmp_path: Path) -> None:
    train(scratch=tmp_path, checkpoint_every=1)
    assert [p.name for p in tmp_path.iterdir()] == [optimisation.STATE]
