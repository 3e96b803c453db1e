"""Divisions of a training part into inner folds, by which each clip is predicted by a model that
has not been trained on it."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainables.stage import Part, StageInputs


def training(inputs: StageInputs, number: int) -> StageInputs:
    """The inputs of one of a stage's trainings: a seed and a folder for checkpoints of its own."""
    seed = int(np.random.SeedSequence([inputs.seed, number]).generate_state(1)[0])
    scratch = None if inputs.scratch is None else inputs.scratch / f"group-{number}"
    return replace(inputs, seed=seed, scratch=scratch)


def by_group(groups: NDArray[Any], folds: int, seed: int) -> list[NDArray[Any]]:
    """The values of `groups` (speakers), shuffled and dealt out: a list of them each fold.

    There are fewer folds where there are fewer values.
    """
    names = np.unique(groups)
    order = np.random.default_rng(seed).permutation(names)
    return list(np.array_split(order, min(folds, len(names))))


def stratified(ids: NDArray[np.str_], strata: NDArray[np.int64], folds: int) -> NDArray[np.int64]:
    """The fold [n], 0 .. folds - 1, of each clip: every class is dealt out as evenly as can be.

    Within a class the order is that of the ids' digests, so a division is of the clips alone: it
    is the same whatever the seed, and in every iteration.
    """
    rank = [hashlib.sha256(str(name).encode()).digest() for name in ids]
    order = sorted(range(len(ids)), key=lambda row: (int(strata[row]), rank[row]))
    made = np.empty(len(ids), dtype=np.int64)
    made[order] = np.arange(len(ids)) % folds
    return made


def divided(train: Part, folds: int, by: str) -> NDArray[np.int64]:
    """The inner fold [n] of each training utterance; of the utterances alone, whatever the seed.

    Args:
        train: labelled
        folds: there are fewer where there are fewer speakers
        by: "utterance" deals each class out, "speaker" the speakers

    Raises:
        ValueError: by speaker, and there is one
    """
    if by == "utterance":
        assert train.y is not None
        return stratified(train.ids, train.y, folds)
    if len(np.unique(train.speaker)) < 2:
        raise ValueError(
            "inner_by=speaker needs two training speakers or more, but the training part has "
            f"{len(np.unique(train.speaker))}; take inner_by=utterance"
        )
    made = np.zeros(len(train), dtype=np.int64)
    for fold, group in enumerate(by_group(train.speaker, folds, seed=0)):
        made[np.isin(train.speaker, group)] = fold
    return made
