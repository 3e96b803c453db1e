"""A study's data, and who may see what of a fold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from raysearch.stages.folds import Fold
from trainables.excerpts import Origin
from trainables.stage import (
    Sequences,
)


@dataclass(frozen=True)
class Dataset:
    """All that the stages of a study read: features, labels and folds. Lives in Ray's store."""

    ids: NDArray[np.str_]
    x: NDArray[np.float32]
    """[N, D] features of all feature sets side by side"""
    y: NDArray[np.int64]
    """[N] class index; -1 where unlabelled"""
    votes: NDArray[np.float32] | None
    speaker: NDArray[np.int64]
    corpus: NDArray[np.int64]
    classes: tuple[str, ...]
    folds: tuple[Fold, ...]
    normalise: Literal["fold", "speaker"]
    speaker_clips: tuple[int, ...] = ()
    """under `speaker`: the test part is also predicted with statistics from so few clips"""
    outside: NDArray[np.float32] | None = None
    """[N, M] votes for classes that the study does not have, where they count"""
    frames: Mapping[str, Sequences] = field(default_factory=dict)
    """by feature set: one row of frames (or samples) an utterance, as extracted"""
    moments: Mapping[str, Moments] = field(default_factory=dict)
    """by feature set: those of each utterance's frames; what has none is handed on as extracted"""
    raters: tuple[str, ...] = ()
    """R names, where folds have a target rater"""
    ratings: NDArray[np.int64] | None = None
    """[N, R] class index by rater, -1 where there is none"""
    own: NDArray[np.bool_] | None = None
    """[N, R] the rating is of the rater's own speech"""
    annotations: NDArray[np.float32] | None = None
    """[N, R, A] single ratings of attributes, NaN behind a clip's last, where numbers are
    predicted: `classes` are the A attributes then, and `y` is 0 where a clip has them all"""
    speakers: tuple[str, ...] = ()
    """names by index of `speaker`, ascending; () where the index itself is the name"""
    origins: Mapping[str, Origin] = field(default_factory=dict)
    """by feature set: what gives the values of its frames to a worker group's processes, so that
    they are not sent; empty where nothing else holds them"""


@dataclass(frozen=True)
class Moments:
    """Count, mean and sum of squared deviations of each utterance's frames.

    From these follow the statistics of any set of utterances, without reading their frames again.
    """

    count: NDArray[np.int64]
    """[N]"""
    mean: NDArray[np.float64]
    """[N, D]; D = 1 for a wave"""
    spread: NDArray[np.float64]
    """[N, D]"""

    @staticmethod
    def of(frames: Sequences) -> Moments:
        """One pass over the frames, one utterance in memory at a time."""
        width = frames.values.shape[1] if frames.values.ndim == 2 else 1
        mean = np.zeros((len(frames), width))
        spread = np.zeros((len(frames), width))
        for row in range(len(frames)):
            wide = frames[row].reshape(-1, width).astype(np.float64)
            if len(wide):
                mean[row] = wide.mean(axis=0)
                wide -= mean[row]
                spread[row] = np.einsum("ld,ld->d", wide, wide)
        return Moments(frames.lengths, mean, spread)

    def statistics(
        self, rows: NDArray[np.int64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Mean and standard deviation [D] over all frames of these rows; see `divisor`."""
        count = self.count[rows].astype(np.float64)[:, None]
        total = max(1.0, float(count.sum()))
        mean = (count * self.mean[rows]).sum(axis=0) / total
        apart = (count * (self.mean[rows] - mean) ** 2).sum(axis=0)
        return mean, divisor(mean, np.sqrt((self.spread[rows].sum(axis=0) + apart) / total))


@dataclass(frozen=True)
class Answers:
    """The labels of one fold that scoring alone may see."""

    validation: NDArray[Any]
    """[n] classes, or [n, A] numbers; -1 for clips that are not scored: those that the target rater
    has not rated"""
    unseen: NDArray[Any]
    """selection first, then test, then test once more for each of `speaker_clips`"""
    selected: int
    """how many of `unseen` are selection; 0 where validation itself scores the setting"""
    test: int
    """how many are test"""
    continuous: bool = False
    """whether numbers are predicted"""
    sets: Mapping[str, NDArray[np.bool_]] = field(default_factory=dict)
    """[test] by name: clips of the test part that are also scored by themselves"""
    groups: Mapping[str, tuple[NDArray[np.bool_], NDArray[np.bool_]]] = field(default_factory=dict)
    """by group, as "sex=female", which clips of `validation` and of `unseen` are of it"""


LABELLED = ("train", "validation", "undecided")
"""the parts whose labels and votes a stage may see"""


def rows_of(fold: Fold, part: str) -> NDArray[np.int64]:
    """The rows of a part; the test part is all that is predicted without labels."""
    rows: NDArray[np.int64] = fold.unseen if part == "test" else getattr(fold, part)
    return rows


def visible_ratings(
    dataset: Dataset, fold: Fold, rows: NDArray[np.int64], whose: str
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """The ratings [n, R] of rows that a stage may see, the others masked, and which are own."""
    if dataset.ratings is None or dataset.own is None or not fold.rater:
        raise ValueError(f"fold {fold.name!r} has no ratings to hand out")
    mine = np.array([name == fold.rater for name in dataset.raters])
    hidden = {"others": mine, "target": ~mine, "all": np.zeros_like(mine)}[whose]
    codes = np.where(hidden, -1, dataset.ratings[rows])
    return codes, dataset.own[rows] & (codes >= 0)


def divisor(mean: NDArray[np.float64], deviation: NDArray[np.float64]) -> NDArray[np.float64]:
    """What to divide by: the standard deviation, or 1 for what is constant."""
    return np.where(deviation <= 1e-7 * (1.0 + np.abs(mean)), 1.0, deviation)
