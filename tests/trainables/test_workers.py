"""Two Ray Train workers (gloo, CPU) give the losses of one."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from trainables import losses
from trainables.loop import Fitted, NonFinite, Refresh, fit
from trainables.networks import MLP

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


def train(workers: int, **changes: Any) -> Fitted:
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
        "workers": workers,
    }
    return fit(**(settings | changes))


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
