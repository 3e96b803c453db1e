"""Divisions of a training part into inner folds, by which each clip is predicted by a model that
has not been trained on it."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainables.stage import StageInputs

__all__ = ["by_group", "stratified", "training"]


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
