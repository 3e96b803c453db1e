"""Trainings on a card: `pytest -m gpu -n0 -rP` on a machine with one prints steps a second.

The loop asks nothing of the card inside a step; a search's settings, precisions, convolutions on
segments and stages that share a card run as on a CPU.
"""

from __future__ import annotations

import functools
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from trainables import mlp_training, optimisation, segment_training
from trainables.losses import target_loss
from trainables.metrics import validation_scores
from trainables.training import Training

pytestmark = pytest.mark.gpu
PRECISIONS = ("fp32", "bf16", "fp16")
K = 7


def job(
    columns: dict[str, np.ndarray], infer: Any, build: Callable[[], Any], **more: Any
) -> Training:
    """A training on rows of random numbers with a class each."""
    rng = np.random.default_rng(0)
    rows = len(next(iter(columns.values())))
    y = rng.integers(K, size=rows)
    settings: dict[str, Any] = {
        "build": build,
        "infer": infer,
        "loss": functools.partial(target_loss, weights=np.ones(K, np.float32)),
        "score": functools.partial(validation_scores, y=y[:64], k=K),
        "train": {**columns, "target": np.eye(K, dtype=np.float32)[y]},
        "validation": {name: column[:64] for name, column in columns.items()},
        "predict": {},
        "device": "cuda",
        "batch": 64,
        "epochs": 3,
        "patience": 99,
    }
    return Training(**(settings | more))


def vectors(width: float = 1.0, **more: Any) -> Training:
    """RDLR's network at EmoDB's size, with a signal in the features."""
    own = {"dropout": 0.5, "width": width, "decoder_layers": 0, "metric": "none"}
    x = np.random.default_rng(1).normal(size=(448, 1582)).astype(np.float32)
    build = functools.partial(mlp_training._network, 1582, K, own)
    return job({"x": x}, mlp_training._infer, build, **more)


def segments(backbone: str, rows: int = 2048, **more: Any) -> Training:
    """Segments of 64 bands and 32 frames."""
    own = {"backbone": backbone, "bn_momentum": 0.1, "bn_eps": 1e-3, "width": 1.0, "dropout": 0.2}
    x = np.random.default_rng(2).normal(size=(rows, 1, 64, 32)).astype(np.float32)
    build = functools.partial(
        segment_training.build, classes=K, bands=64, own={**own, "segment": 32}
    )
    return job({"segment": x}, segment_training.infer, build, **({"batch": 128} | more))


def told(name: str, training: Training) -> optimisation.Fit:
    """Train, and print steps a second; the first epoch loads the kernels and is not counted."""
    optimisation.train_epochs(training)
    began = time.perf_counter()
    result = optimisation.train_epochs(training)
    seconds = time.perf_counter() - began
    rows = len(training.train["target"])
    steps = result.epochs * -(-rows // training.step)
    card = torch.cuda.get_device_name()
    print(f"{name} on {card}: {steps / seconds:.0f} steps a second, batch {training.step}")
    return result


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("batch", [32, 64, 448])
def test_rdlrs_network(precision: Any, batch: int) -> None:
    result = told(f"RDLR {precision}", vectors(precision=precision, batch=batch, epochs=20))
    here = optimisation.train_epochs(vectors(batch=batch, epochs=1, device="cpu"))
    np.testing.assert_allclose(result.curves["loss"][0], here.curves["loss"][0], rtol=0.1)
    assert result.curves["loss"][-1] < result.curves["loss"][0]


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("backbone", ["compact", "mobilenet_v2", "efficientnet_b0"])
def test_segments(backbone: str, precision: Any) -> None:
    result = told(f"{backbone} {precision}", segments(backbone, precision=precision))
    assert np.isfinite(result.curves["loss"]).all()


def test_the_same_twice() -> None:
    first, second = (optimisation.train_epochs(vectors(epochs=5)) for _ in range(2))
    assert first.curves == second.curves


@contextmanager
def nothing_asked_of_the_card(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Fail where a step waits for the card; between epochs it may."""
    for name in ("_backward", "_update"):
        plain = getattr(optimisation._Run, name)

        def guarded(*args: Any, _plain: Any = plain, **kwargs: Any) -> Any:
            torch.cuda.set_sync_debug_mode("error")
            try:
                return _plain(*args, **kwargs)
            finally:
                torch.cuda.set_sync_debug_mode("default")

        monkeypatch.setattr(optimisation._Run, name, guarded)
    yield
    monkeypatch.undo()


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_no_step_waits_for_the_card(precision: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """fp16 must: its scaler decides on the host whether a step is taken."""
    with nothing_asked_of_the_card(monkeypatch):
        optimisation.train_epochs(vectors(precision=precision, clip_norm=1.0))


def test_two_stages_share_a_card(tmp_path: Path) -> None:
    """By fractions of it: `gpus=0.5` runs two at once."""
    import importlib

    from raysearch.cluster.connection import connection

    with connection("local", tmp_path / "ray.log"):
        ray: Any = importlib.import_module("ray")
        ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
        task = ray.remote(num_gpus=0.5, num_cpus=1, max_calls=1)(_timed)
        spans = ray.get([task.remote() for _ in range(2)], timeout=300)
    (a, b), (c, d) = spans
    assert min(b, d) > max(a, c), f"they ran one after the other: {spans}"


def _timed() -> tuple[float, float]:
    began = time.time()
    optimisation.train_epochs(vectors(epochs=200))
    return began, time.time()
