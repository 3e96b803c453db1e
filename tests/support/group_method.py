"""A method that reads a wave in a worker group, and says what Ray's store holds meanwhile.

Each of its workers takes `gigabytes` of memory for a moment.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from trainables import fitting
from trainables.metrics import validation_scores
from trainables.stage import Artifact, Method, Node, Param, StageInputs


def build(k: int, gigabytes: float) -> nn.Module:
    np.ones(int(gigabytes * 1e9), dtype=np.uint8)
    return nn.Linear(2, k)


def collate(rows: Mapping[str, Any]) -> dict[str, Tensor]:
    waves = [np.asarray(row) for row in rows["wave"]]
    others = {name: torch.as_tensor(c) for name, c in rows.items() if name != "wave"}
    return {"level": torch.tensor([[wave.mean(), wave.std()] for wave in waves]).float(), **others}


def infer(module: nn.Module, rows: Mapping[str, Tensor]) -> Tensor:
    logits: Tensor = module(rows["level"])
    return logits


def store_bytes() -> int:
    """What lies in this node's object store now."""
    import ray
    from ray._private.internal_api import node_stats

    (node,) = ray.nodes()
    where = (node["NodeManagerAddress"], node["NodeManagerPort"])
    return int(node_stats(*where, include_memory_info=False).store_stats.object_store_bytes_used)


def score(probabilities: NDArray[np.float32], y: NDArray[np.int64], k: int) -> dict[str, float]:
    return {**validation_scores(probabilities, y=y, k=k), "store": float(store_bytes())}


def stage(inputs: StageInputs, *, lr: float, gigabytes: float) -> Artifact:
    y, k = inputs.train.y, len(inputs.classes)
    result = fitting.fit(
        inputs,
        {"epochs": 2, "batch": 16, "lr": lr},
        build=functools.partial(build, k, gigabytes),
        infer=infer,
        score=functools.partial(score, y=inputs.validation.y, k=k),
        train={"wave": inputs.train.frames["wave"], "target": np.eye(k, dtype=np.float32)[y]},
        validation={"wave": inputs.validation.frames["wave"]},
        predict={n: {"wave": getattr(inputs, n).frames["wave"]} for n in ("validation", "test")},
        collate=collate,
    )
    return Artifact(result.probabilities, {"store": result.curves["store"]})


def graph(setting: Mapping[str, Any]) -> tuple[Node, ...]:
    return (Node("stage", stage, dict(setting), group=True),)


METHOD = Method(
    name="group",
    summary="reads a wave in a worker group, for tests",
    params={
        "lr": Param(1e-3, "the step size"),
        "gigabytes": Param(0.0, "what a worker takes", low=0.0),
    },
    graph=graph,
    features=("wave",),
    inputs=("frames",),
)
