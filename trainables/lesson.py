"""The clips that a training towards classes learns from, and their targets by the strategy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainables import fitting, targets
from trainables.labels import have_votes, labels_of, partition
from trainables.stage import Artifact, Param, Part, Setting, StageInputs
from trainables.targets import STRATEGIES

TARGETS: dict[str, Param] = {
    **targets.declare(
        "votes",
        "sets",
        "predictions",
        default="lr",
        help="label strategy: what the student is trained towards",
    ),
    "dominant": Param(
        "label",
        "what makes a class dominant in the votes, for label correction: the clip's label, the "
        "most votes, or more than half of them",
        ("label", "plurality", "majority"),
        matters=lambda own: "sets" in STRATEGIES[own["strategy"]].needs,
    ),
}
"""Parameters of the targets, of every label strategy that reads no groups of rows."""


@dataclass(frozen=True)
class Lesson:
    """What a student learns."""

    part: Part
    """the n clips"""
    target: NDArray[np.float32]
    """[n, K]"""
    facts: Mapping[str, Any]
    """for an artifact's `info`: `dropped`, the clips without a vote, left out because the strategy
    reads votes; and of a teacher `flagged`, the share of labelled clips that it gets wrong"""


def parts_of(own: Setting) -> tuple[str, ...]:
    """The parts beside the training part that the strategy's clips are in: label correction also
    learns from those that have votes and no label."""
    return ("undecided",) if "sets" in STRATEGIES[own["strategy"]].needs else ()


def lesson_of(inputs: StageInputs, teacher: Artifact | None, own: Setting) -> Lesson:
    """The clips of a stage that the strategy gives a target to, and these targets.

    Args:
        inputs: of the stage
        teacher: of `fitting.teach`, where the strategy reads predictions
        own: TARGETS

    Raises:
        ValueError: the strategy needs votes or predictions and there are none
    """
    train = inputs.train
    if parts_of(own) and len(inputs.undecided):
        train = train.join(inputs.undecided)
    predictions = None if teacher is None else fitting.lessons(teacher)
    rows = np.ones(len(train), dtype=bool)
    if "votes" in STRATEGIES[own["strategy"]].needs:
        rows = have_votes(train, own["strategy"])
    train = train.take(rows)
    predictions = None if predictions is None else predictions[rows]
    facts: dict[str, Any] = {"dropped": int((~rows).sum())}
    if predictions is not None and train.y is not None:
        has_label = train.y >= 0
        wrong = predictions.argmax(axis=1)[has_label] != train.y[has_label]
        facts["flagged"] = float(np.mean(wrong))
    return Lesson(train, targets_of(train, predictions, len(inputs.classes), own), facts)


def targets_of(
    train: Part, predictions: NDArray[np.float32] | None, k: int, own: Setting
) -> NDArray[np.float32]:
    """[n, K] of the rows to learn from."""
    y = labels_of(train)
    sets = None
    if "sets" in STRATEGIES[own["strategy"]].needs and train.votes is not None:
        division = partition(train.votes, outside=train.outside, label=y, dominant=own["dominant"])
        sets, y = division.part, np.where(division.dominant >= 0, division.dominant, y)
    return targets.of_setting(own, y=y, k=k, sets=sets, votes=train.votes, predictions=predictions)
