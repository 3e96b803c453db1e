"""A method whose artifacts say which process made them, and the cards that Ray gave it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from trainables.stage import Artifact, Method, Node, Param, StageInputs


def stage(inputs: StageInputs, *, shift: float) -> Artifact:
    k = len(inputs.classes)
    arrays = {
        part: np.full((len(getattr(inputs, part)), k), 1 / k, dtype=np.float32)
        for part in ("validation", "test")
    }
    card = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    facts = {"process": os.getpid(), "card": card, "device": inputs.device}
    return Artifact(arrays, facts | {"deterministic": inputs.cuda.deterministic})


def graph(setting: Mapping[str, Any]) -> tuple[Node, ...]:
    return (Node("stage", stage, {"shift": setting["shift"]}),)


METHOD = Method(
    name="card",
    summary="says where it ran, for tests",
    params={"shift": Param(0.0, "makes another stage")},
    graph=graph,
)
