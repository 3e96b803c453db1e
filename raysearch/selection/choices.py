"""Which setting is chosen, by whom.

Ties: of settings whose means agree within 1e-12 the first row, that is the earliest trial, is
chosen. The tolerance keeps the order in which a sum is taken from deciding between equals.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike

from raysearch.selection.intervals import TIE, Groups, Matrix

Judge = Callable[[Sequence[int]], ArrayLike]
"""folds -> the validation score [C] that every setting has over these folds together"""


def by_mean(V: ArrayLike) -> Judge:
    """The judge of a full table [C, K] that goes by means."""
    v = np.asarray(V, dtype=np.float64)
    return lambda over: v[:, list(over)].mean(axis=1)


def choice_scores(folds: Sequence[Groups], judge: Judge) -> Matrix:
    """The validation scores [K, C] by which the honest choice of each fold is made.

    Row f holds every setting's score over the folds that neither test nor validate on the groups
    that fold f tests; over fold f itself where there is none.

    Args:
        folds: K folds.
        judge: as for `estimates`.
    """
    over = [list(judges_of(f, folds)) or [f] for f in range(len(folds))]
    return np.array([judge(g) for g in over], dtype=np.float64)


def honest_choice(scores: ArrayLike, rows: Sequence[int] | None = None) -> tuple[int, ...]:
    """The best row for each of K folds, of some of the rows.

    Args:
        scores: [K, C], from `choice_scores`.
        rows: the rows to choose among, at least one; default all.

    Raises:
        ValueError: `rows` is empty.
    """
    x = np.asarray(scores, dtype=np.float64)
    among = np.arange(x.shape[1]) if rows is None else np.array(sorted(rows), dtype=np.int64)
    if not len(among):
        raise ValueError("there must be a row to choose, but rows is empty")
    return tuple(int(among[first_best(one[among])]) for one in x)


def pareto(scores: ArrayLike) -> tuple[int, ...]:
    """The rows of [C, m] scores that no other row beats, in their order.

    One row beats another that is at least as good in all m scores and better in one. Rows that are
    equal in all do not beat each other.
    """
    x = np.asarray(scores, dtype=np.float64)
    front = []
    for c, row in enumerate(x):
        no_worse, better = (x >= row - TIE).all(axis=1), (x > row + TIE).any(axis=1)
        if not (no_worse & better).any():
            front.append(c)
    return tuple(front)


def judges_of(f: int, folds: Sequence[Groups]) -> tuple[int, ...]:
    """The folds that neither test nor validate on the groups that fold `f` tests."""
    held = folds[f].test_groups
    return tuple(
        g
        for g, other in enumerate(folds)
        if held.isdisjoint(other.test_groups) and held.isdisjoint(other.val_groups)
    )


def first_best(x: Matrix) -> int:
    """The first position of the highest of scores [C]."""
    return int(np.argmax(x >= x.max() - TIE))
