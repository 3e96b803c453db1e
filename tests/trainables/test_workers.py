"""Two Ray Train workers (gloo, CPU) give the losses of one."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from trainables import losses, waves
from trainables.augmentation import Augmentation
from trainables.loop import Training, fit
from trainables.networks import MLP
from trainables.networks.encoders import SSL, load
from trainables.networks.spatial_temporal import SpatialTemporal
from trainables.optimisation import Fit
from trainables.passes import NonFinite
from trainables.stage import Sequences
from trainables.training import Refresh

ray = pytest.importorskip("ray")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.filterwarnings("ignore"),
]

K, D, N = 3, 10, 61
TOLERANCE = 1e-5


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


def data(seed: int, n: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    y = np.arange(n) % K
    x = (rng.normal(size=(n, D)) + np.eye(D)[y]).astype(np.float32)
    return {"x": x, "y": y, "weight": np.ones(n, np.float32)}


def build() -> MLP:
    return MLP(D, K, width=1 / 32, dropout=0.0, decoder_layers=3, proxies=True)


def forward(module: MLP, rows: Mapping[str, Tensor]) -> dict[str, Tensor]:
    out = module(rows["x"], reconstruct=True)
    error = losses.reconstruction_error(rows["x"], out.reconstruction)
    return {"logits": out.logits, "embedding": out.embedding, "error": error}


def infer(module: MLP, rows: Mapping[str, Tensor]) -> Tensor:
    return module(rows["x"]).logits


def loss(
    module: MLP,
    outputs: Mapping[str, Tensor],
    rows: Mapping[str, Tensor],
    side_outputs: Mapping[str, Tensor],
    side_rows: Mapping[str, Tensor],
) -> dict[str, Tensor]:
    """Every kind of term: by row, batch-global, and one that reads a parameter itself."""
    target = torch.nn.functional.one_hot(rows["y"], K).float()
    return {
        "ce": losses.cross_entropy(outputs["logits"], target, rows["weight"]),
        "rd": losses.relative_difficulty(outputs["logits"], target),
        "ae": torch.cat([outputs["error"], side_outputs["error"]]).mean(),
        "pel": 1e-2 * losses.pseudo_label(side_outputs["logits"]),
        "pairs": 0.1 * losses.contrastive(outputs["embedding"], rows["y"]),
        "anchors": 0.1 * losses.proxy_anchor(outputs["embedding"], module.proxies, rows["y"]),
    }


def score(probabilities: np.ndarray, *, y: np.ndarray) -> dict[str, float]:
    own = probabilities[np.arange(len(y)), y]
    return {"validation_ua": float(np.log(own).mean())}


def refresh(probabilities: np.ndarray) -> Refresh:
    return Refresh({"weight": 2 * probabilities.max(1)}, {"weights": float(probabilities.max())})


def train(workers: int, **changes: Any) -> Fit:
    validation = data(1, 31)
    settings: dict[str, Any] = {
        "build": build,
        "forward": forward,
        "infer": infer,
        "loss": loss,
        "score": functools.partial(score, y=validation["y"]),
        "train": data(0, N),
        "validation": {"x": validation["x"]},
        "predict": {"test": {"x": data(2, 21)["x"]}, "one": {"x": data(2, 1)["x"]}},
        "side": {"x": data(3, 19)["x"]},
        "side_batch": 7,
        "refresh": refresh,
        "batch": 15,  # 61 = 15 + 15 + 15 + 16: odd shares, and a merged tail
        "lr": 1e-3,
        "lr_scale": {"proxies": 100.0},
        "epochs": 4,
        "seed": 7,
        "augment": Augmentation(gaussian=0.2, mixup=0.4),
        "workers": workers,
    }
    return fit(Training(**(settings | changes)))


def test_two_workers_give_the_losses_of_one(cluster: None) -> None:
    one, two = train(1), train(2)
    assert one.curves.keys() == two.curves.keys()
    for name, values in one.curves.items():
        np.testing.assert_allclose(two.curves[name], values, rtol=TOLERANCE, err_msg=name)
    assert one.best_epoch == two.best_epoch
    for name, values in one.probabilities.items():
        np.testing.assert_allclose(two.probabilities[name], values, rtol=1e-4, atol=1e-6)


def test_a_worker_that_diverges_is_named(cluster: None) -> None:
    columns = data(0, N)
    columns["x"][3, 2] = np.nan
    with pytest.raises(NonFinite, match="epoch 1"):
        train(2, train=columns)


def clips(seed: int, n: int) -> dict[str, Any]:
    """Waves of 0.1 to 0.4 s with their frames."""
    rng = np.random.default_rng(seed)
    hops = rng.integers(10, 40, n)
    starts = np.concatenate([[0], np.cumsum(hops)]).astype(np.int64)
    frames = rng.normal(size=(starts[-1], 8)) + np.repeat(np.eye(8)[np.arange(n) % K], hops, axis=0)
    return {
        "wave": Sequences(rng.normal(size=starts[-1] * 160).astype(np.float32), starts * 160),
        "logmel40": Sequences(frames.astype(np.float32), starts),
        "target": np.eye(K, dtype=np.float32)[np.arange(n) % K],
    }


def whole(layerdrop: float) -> SpatialTemporal:
    # Without dropout, whose masks differ by worker.
    model = load("tiny", layerdrop=layerdrop)
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    model.config.attention_dropout = 0.0
    for layer in model.encoder.layers:
        layer.attention.dropout = 0.0
    return SpatialTemporal(K, encoder=SSL(model), bins=8, width=0.25)


def fused_loss(
    module: SpatialTemporal, outputs: Any, rows: Any, side_outputs: Any, side_rows: Any
) -> dict[str, Tensor]:
    """A row's own term, and one that compares the rows of the whole batch."""
    return {
        "ce": losses.cross_entropy(outputs["logits"], rows["target"]),
        "rd": losses.relative_difficulty(outputs["logits"], rows["target"]),
    }


def tune(workers: int, layerdrop: float = 0.0, **changes: Any) -> Fit:
    others = clips(1, 11)
    settings: dict[str, Any] = {
        "build": functools.partial(whole, layerdrop),
        "forward": lambda module, rows: {"logits": module(rows)},
        "infer": lambda module, rows: module(rows),
        "loss": fused_loss,
        "score": functools.partial(score, y=others["target"].argmax(1)),
        "train": clips(0, 21),
        "validation": {name: others[name] for name in ("wave", "logmel40")},
        "predict": {"test": {name: clips(2, 7)[name] for name in ("wave", "logmel40")}},
        "collate": functools.partial(waves.collate, floor=0.1),
        "batch": 5,  # 21 = 5 + 5 + 5 + 6: odd shares
        "bucket": 2,
        "lr": 1e-3,
        "epochs": 2,
        "seed": 7,
        "workers": workers,
    }
    return fit(Training(**(settings | changes)))


def test_two_workers_fine_tune_as_one_does(cluster: None, tmp_path: Path) -> None:
    """Equal batches by length, each worker its share; then on from a checkpoint."""
    augment = Augmentation(noise="any", gain=6, speed=0.1, time_masks=1, freq_masks=1, mixup=0.4)
    more: dict[str, Any] = {"accumulate": 2, "clip_norm": 1.0, "augment": augment}
    one = tune(1, **more)
    two = tune(2, **more, epochs=1, scratch=tmp_path, checkpoint_every=1)
    assert two.epochs == 1
    two = tune(2, **more, scratch=tmp_path, checkpoint_every=1)
    for name, values in one.curves.items():
        np.testing.assert_allclose(two.curves[name], values, rtol=1e-4, err_msg=name)
    assert one.best_epoch == two.best_epoch
    test, want = two.probabilities["test"], one.probabilities["test"]
    np.testing.assert_allclose(test, want, rtol=1e-3, atol=1e-5)


@pytest.mark.long
def test_workers_may_leave_out_unlike_layers(cluster: None) -> None:
    """Layerdrop under workers: gradients are averaged over those that have one."""
    result = tune(2, layerdrop=0.5)
    assert np.isfinite(result.curves["loss"]).all()
    assert result.curves["loss"][1] < result.curves["loss"][0]
