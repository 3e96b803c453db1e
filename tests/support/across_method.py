"""A method without torch whose second stage reads the first's artifacts of every fold.

`first` notes its fold's seed in the file that RAYSEARCH_TOY_LOG names, and fails on the fold
whose first test clip has the number `fail_on`.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from trainables.stage import Artifact, Method, Node, Param, StageInputs


def first(inputs: StageInputs, *, delay: float, fail_on: int) -> Artifact:
    clip = int(inputs.test.ids[0][1:])  # speakers are numbered anew for each stage
    if fail_on == clip:
        raise ValueError(f"the fold of clip {fail_on} was to fail")
    time.sleep(delay)
    with open(os.environ["RAYSEARCH_TOY_LOG"], "a") as file:
        file.write(f"first {inputs.seed}\n")
    return Artifact({"clip": np.array([clip])})


def second(inputs: StageInputs, *, shift: float) -> Artifact:
    order = np.concatenate([one.arrays["clip"] for one in inputs.across["all"]])
    arrays = {}
    for part in ("validation", "test"):
        arrays[part] = np.full((len(getattr(inputs, part)), 2), 0.5 + shift, np.float32)
    return Artifact(arrays, {"order": order.tolist()})


def graph(setting: Mapping[str, Any]) -> tuple[Node, ...]:
    own = {name: setting[name] for name in ("delay", "fail_on")}
    return (
        Node("first", first, own, parts=("train", "test")),
        Node("second", second, {"shift": setting["shift"]}, across={"all": "first"}),
    )


METHOD = Method(
    name="across",
    summary="reads every fold, for tests",
    params={
        "shift": Param(0.0, "of the second stage alone"),
        "delay": Param(0.0, "seconds that the first stage sleeps"),
        "fail_on": Param(-1, "the number of the first test clip of the fold that fails"),
    },
    graph=graph,
)
