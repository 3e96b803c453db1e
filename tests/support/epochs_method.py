"""A method without torch that trains by epochs and tells them, for tests of early stopping.

Its scored stage "trains" for `epochs` epochs of `pace` seconds: `quality` is how good it gets. The
environment's RAYSEARCH_TOY_LOG names a file to which every epoch appends a line.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from trainables.stage import CURVES, Artifact, Method, Node, Param, StageInputs


def _note(line: str) -> None:
    path = os.environ.get("RAYSEARCH_TOY_LOG")
    if path:
        with open(path, "a") as file:
            file.write(f"{line}\n")


def learner(inputs: StageInputs, *, quality: float, epochs: int, pace: float) -> Artifact:
    assert inputs.train.y is not None
    k = len(inputs.classes)
    centroids = np.stack([inputs.train.x[inputs.train.y == c].mean(axis=0) for c in range(k)])
    rng = np.random.default_rng(inputs.seed)
    arrays = {}
    for part in ("validation", "test"):
        x = getattr(inputs, part).x
        distance = ((x[:, None, :] - centroids[None]) ** 2).mean(axis=2)
        distance = distance + 3.0 * (1.0 - quality) * rng.normal(size=distance.shape)
        value = np.exp(-(distance - distance.min(axis=1, keepdims=True)))
        arrays[part] = (value / value.sum(axis=1, keepdims=True)).astype(np.float32)
    curve = []
    for epoch in range(1, epochs + 1):
        time.sleep(pace)
        _note(f"{quality} {epoch}")
        curve.append(quality * (1.0 - 0.5**epoch))
        if inputs.on_epoch is not None:
            inputs.on_epoch(epoch, curve[-1])
    _note(f"{quality} whole")
    return Artifact(arrays, {"curves": {CURVES[0]: curve}})


def graph(setting: Mapping[str, Any]) -> tuple[Node, ...]:
    return (Node("learner", learner, dict(setting)),)


METHOD = Method(
    name="epochs",
    summary="nearest centroid with epochs, for tests",
    params={
        "quality": Param(0.5, "how good it gets", low=0.0, high=1.0),
        "epochs": Param(20, "epochs", low=1),
        "pace": Param(0.0, "seconds an epoch", low=0.0),
    },
    graph=graph,
)
