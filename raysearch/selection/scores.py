"""What a study's metrics are called, and what one is over several folds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike

from raysearch.selection.intervals import Matrix


class Scored(Protocol):
    """A finished fold, as far as an objective reads it (`raysearch.study.ledger.FoldRow`)."""

    @property
    def scores(self) -> Mapping[str, float]: ...
    @property
    def val_confusion(self) -> Sequence[Sequence[int]]: ...


@dataclass(frozen=True)
class Score:
    """The objective: what a setting's validation folds are worth together.

    `ua` and `wa` are means over folds. `pooled_ua` is the mean over classes of the recall in all
    folds' clips together; it is better where folds lack classes, as a class that a fold has one
    clip of then counts as one clip. `worst_ua` is the mean UA of the worst quarter of the folds,
    ceil(K / 4) of them: what the speakers that are served worst may expect.
    """

    name: str

    @property
    def metric(self) -> str:
        """The score of one fold that goes with it: "ua" or "wa"."""
        return self.name.removeprefix("pooled_").removeprefix("worst_")

    def of(self, folds: Iterable[Scored]) -> float:
        """The score of one or more folds, in [0, 1]."""
        folds = list(folds)
        if self.name != "pooled_ua":
            each = np.array([fold.scores[f"val_{self.metric}"] for fold in folds])
            return float(worst_mean(each) if self.name == "worst_ua" else each.mean())
        counts = np.sum([np.asarray(fold.val_confusion) for fold in folds], axis=0)
        there = counts.sum(axis=1) > 0
        return float((np.diag(counts)[there] / counts.sum(axis=1)[there]).mean())


def of_all(folds: Iterable[Scored], names: Iterable[str]) -> dict[str, float]:
    """Several objectives of the same folds: name -> score in [0, 1]."""
    folds = list(folds)
    return {name: Score(name).of(folds) for name in names}


def worst_mean(scores: ArrayLike) -> Matrix:
    """Mean of the lowest quarter along the last axis, of ceil(K / 4) of K scores."""
    x = np.asarray(scores, dtype=np.float64)
    mean: Matrix = np.sort(x, axis=-1)[..., : -(-x.shape[-1] // 4)].mean(axis=-1)
    return mean
