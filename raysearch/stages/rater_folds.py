"""Folds of target raters: each division once for every rater whose perception is learnt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from raysearch.stages.folds import Fold


def by_rater(
    folds: Sequence[Fold], codes: NDArray[np.int64], raters: Sequence[str], classes: int
) -> tuple[tuple[Fold, ...], dict[str, list[str]]]:
    """Each fold once for each target rater, and by rater the folds that cannot serve it.

    A fold serves a rater who rated clips of its test and its validation part (of its selection
    too), and clips of every class in its training part.

    Args:
        folds: of `divide`.
        codes: [N, R] each target's class of each clip, -1 where there is none.
        raters: R names.
        classes: how many there are.
    """
    rater_folds: list[Fold] = []
    unserved: dict[str, list[str]] = {}
    for place, rater in enumerate(raters):
        mine = codes[:, place]
        for fold in folds:
            scored = [fold.test, fold.validation, *([fold.select] if len(fold.select) else [])]
            trained = set(mine[fold.train].tolist()) >= set(range(classes))
            if trained and all((mine[rows] >= 0).any() for rows in scored):
                name = f"{fold.name}/{rater}"
                rater_folds.append(replace(fold, name=name, index=len(rater_folds), rater=rater))
            else:
                unserved.setdefault(rater, []).append(fold.name)
    return tuple(rater_folds), unserved
