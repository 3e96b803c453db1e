"""A method without torch, for tests of the engine: a shared teacher and a cheap student.

The student is a nearest-centroid classifier whose centroids are shrunk by `shrink`; the teacher
computes the centroids, so every setting of `shrink` shares it. `delay` makes stages slow. A student
fails at `shrink == fail_at`, never returns from compiled code at `hang_at`, takes 4 GB at `eat_at`
and kills its own process at `die_at`. It leaves a checkpoint in its folder for them, if it has one.

RAYSEARCH_TOY_LOG names a file to which every execution appends a line when it is done; when it
starts, it appends its process and the value of RAYSEARCH_TOY_NODE to the file of that name plus
".begun".
"""

from __future__ import annotations

import ctypes
import os
import signal
import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from trainables.stage import Artifact, Method, Node, Param, StageInputs


def _note(stage: str) -> None:
    path = os.environ.get("RAYSEARCH_TOY_LOG")
    if path:
        with open(path, "a") as file:
            file.write(f"{stage}\n")


def _begin(stage: str) -> None:
    path = os.environ.get("RAYSEARCH_TOY_LOG")
    if path:
        with open(f"{path}.begun", "a") as file:
            file.write(f"{stage} {os.getpid()} {os.environ.get('RAYSEARCH_TOY_NODE', '')}\n")


def teacher(inputs: StageInputs, *, delay: float) -> Artifact:
    _begin("teacher")
    time.sleep(delay)
    _note(f"teacher {inputs.seed}")
    assert inputs.train.y is not None
    assert not len(inputs.test), "the teacher must not be handed the test part"
    k = len(inputs.classes)
    centroids = np.stack([inputs.train.x[inputs.train.y == c].mean(axis=0) for c in range(k)])
    return Artifact({"centroids": centroids.astype(np.float32)}, {"classes": k})


def student(
    inputs: StageInputs,
    *,
    shrink: float,
    noise: float,
    delay: float,
    fail_at: float,
    hang_at: float,
    eat_at: float,
    die_at: float,
) -> Artifact:
    _begin("student")
    if shrink == hang_at:
        ctypes.PyDLL(None).sleep(600)  # without giving Python's lock back
    if shrink == eat_at:
        np.ones(4 * 10**9, dtype=np.uint8)
    if shrink == die_at:
        os.kill(os.getpid(), signal.SIGKILL)
    if inputs.scratch is not None:
        inputs.scratch.mkdir(parents=True, exist_ok=True)
        (inputs.scratch / "checkpoint").write_text("half a training")
    time.sleep(delay)
    _note(f"student {inputs.seed} {shrink}")
    assert inputs.test.y is None, "test labels exist in the scoring step alone"
    if shrink == fail_at:
        raise ValueError(f"shrink {shrink} was told to fail")
    centroids = inputs.parents["teacher"].arrays["centroids"] * (1.0 - shrink)
    rng = np.random.default_rng(inputs.seed)
    arrays = {}
    for part in ("validation", "test"):
        x = getattr(inputs, part).x
        distance = ((x[:, None, :] - centroids[None]) ** 2).mean(axis=2)
        distance = distance + noise * rng.normal(size=distance.shape)
        value = np.exp(-(distance - distance.min(axis=1, keepdims=True)))
        arrays[part] = (value / value.sum(axis=1, keepdims=True)).astype(np.float32)
    return Artifact(arrays, {"curves": {"loss": [1.0, 0.5]}, "best_epoch": 2})


STUDENT = ("shrink", "noise", "delay", "fail_at", "hang_at", "eat_at", "die_at")


def graph(setting: Mapping[str, Any]) -> tuple[Node, ...]:
    return (
        Node("teacher", teacher, {"delay": setting["delay"]}, parts=("train", "validation")),
        Node(
            "student",
            student,
            {name: setting[name] for name in STUDENT},
            {"teacher": "teacher"},
        ),
    )


METHOD = Method(
    name="toy",
    summary="nearest centroid, for tests",
    params={
        "shrink": Param(0.0, "how far centroids shrink to the origin", low=0.0, high=1.0),
        "noise": Param(0.0, "sd of noise on the distances", low=0.0),
        "delay": Param(0.0, "seconds a stage sleeps", low=0.0),
        "fail_at": Param(-1.0, "the value of shrink that fails"),
        "hang_at": Param(-1.0, "the value of shrink that hangs"),
        "eat_at": Param(-1.0, "the value of shrink that takes too much memory"),
        "die_at": Param(-1.0, "the value of shrink that kills its process"),
    },
    graph=graph,
)
