"""Labels and votes: which clips can be learnt from, which class leads, how far raters agree.

Gan et al. 2025, section 3.3, divide clips by their raters' votes. A clip belongs to
- S_A (exact) where a class is dominant and no other class got a vote,
- S_B (ambiguous, with a dominant class) where other classes got votes as well,
- S_C (ambiguous, without a dominant class) where no class is dominant,
and to none of them where no rater named one of the classes. What makes a class dominant, and what
becomes of votes for classes that the study does not have, the paper does not say; both are rules
here. Plain functions of numpy arrays, for the stages of methods and for the processes that count.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from trainables.stage import Part, StageInputs

NONE, A, B, C = -1, 0, 1, 2
"""the codes of `Partition.part`"""

Dominant = Literal["plurality", "majority", "label"]
Outside = Literal["count", "ignore", "drop"]

_NAMES = ("A", "B", "C")
_EXACT = 1e-6  # votes may be shares of a vote, whose sums are not exact


@dataclass(frozen=True)
class Partition:
    """Each clip's set, and its dominant class."""

    part: NDArray[np.int8]
    """[N]: A, B, C or NONE"""
    dominant: NDArray[np.int64]
    """[N]: the dominant class of clips in S_A and S_B; -1 elsewhere"""

    @property
    def counts(self) -> Mapping[str, int]:
        """How many clips are in A, B and C, and in none of them ("none")."""
        counts = {name: int((self.part == code).sum()) for code, name in enumerate(_NAMES)}
        return counts | {"none": int((self.part == NONE).sum())}

    def where(self, sets: str) -> NDArray[np.bool_]:
        """bool [N]: the clips of one or several sets, as in "A" or "A+B".

        Raises:
            ValueError: a name other than A, B and C
        """
        names = sets.split("+")
        if unknown := [name for name in names if name not in _NAMES]:
            raise ValueError(f"sets are A, B and C, joined by '+', but got {unknown[0]!r}")
        return np.isin(self.part, [_NAMES.index(name) for name in names])


def partition(
    votes: NDArray[np.floating],
    *,
    outside: NDArray[np.floating] | None = None,
    label: NDArray[np.int64] | None = None,
    dominant: Dominant = "plurality",
    others: Outside = "count",
    least: float = 1,
) -> Partition:
    """Divide clips into S_A, S_B and S_C.

    Args:
        votes: [N, K] counts >= 0 for the study's classes
        outside: [N, M] counts >= 0 for classes that the study does not have
        label: [N] the corpus's own label as a class, -1 where it has none; for dominant="label"
        dominant: "plurality", the one class with the most votes; "majority", the class with more
            than half of them; "label", the corpus's own label
        others: what becomes of `outside`: "count" lets these classes take part like any other (a
            clip with one such vote is not in S_A; a clip that such a class leads has no dominant
            class); "ignore" takes them for never cast; "drop" puts clips with one into no set
        least: clips with fewer votes, those outside included where they count, are in no set

    Returns:
        the sets; clips without a vote for one of the K classes are in none

    Raises:
        ValueError: shapes that do not fit, counts below 0, or a rule that does not exist
    """
    inside = _counts("votes", votes)
    n, k = inside.shape
    foreign = np.zeros((n, 0)) if outside is None else _counts("outside", outside)
    if len(foreign) != n:
        raise ValueError(f"outside must have the {n} rows of votes, but has {len(foreign)}")
    if others not in ("count", "ignore", "drop"):
        raise ValueError(f"others must be 'count', 'ignore' or 'drop', but got {others!r}")
    every = np.hstack([inside, foreign]) if others == "count" else inside
    total = every.sum(axis=1)
    some = (inside.sum(axis=1) > 0) & (total >= least - _EXACT)
    if others == "drop":
        some &= foreign.sum(axis=1) <= 0
    leader = _leader(every, total, k, label, dominant)
    clear = some & (leader >= 0)
    own = np.zeros(n)
    own[clear] = inside[clear, leader[clear]]
    part = np.full(n, NONE, dtype=np.int8)
    part[some] = C
    part[clear] = B
    part[clear & (own >= total - _EXACT)] = A
    return Partition(part, np.where(clear, leader, -1).astype(np.int64))


def _leader(
    every: NDArray[np.float64],
    total: NDArray[np.float64],
    k: int,
    label: NDArray[np.int64] | None,
    dominant: Dominant,
) -> NDArray[np.int64]:
    """[N]: each clip's dominant class among the first k columns, -1 where it has none."""
    n = len(every)
    if dominant == "label":
        if label is None:
            raise ValueError("dominant='label' needs label, the corpus's own labels")
        own = np.asarray(label, dtype=np.int64)
        if own.shape != (n,) or (n and not -1 <= own.min() <= own.max() < k):
            raise ValueError(f"label must hold {n} classes from -1 to {k - 1}")
        return own
    if dominant not in ("plurality", "majority"):
        raise ValueError(
            f"dominant must be 'plurality', 'majority' or 'label', but got {dominant!r}"
        )
    if every.shape[1] == 0:
        return np.full(n, -1, dtype=np.int64)
    top = every.max(axis=1)
    sole = (every >= top[:, None] - _EXACT).sum(axis=1) == 1
    if dominant == "majority":
        sole &= 2 * top > total + _EXACT
    first = every.argmax(axis=1)
    return np.where(sole & (first < k), first, -1).astype(np.int64)


def _counts(name: str, votes: NDArray[np.floating]) -> NDArray[np.float64]:
    counts = np.asarray(votes)
    if counts.dtype.kind not in "iuf" or counts.ndim != 2:
        raise ValueError(
            f"{name} must be numbers of the shape [N, K], but got {counts.dtype} {counts.shape}"
        )
    if counts.size and (not np.isfinite(counts).all() or (counts < 0).any()):
        raise ValueError(f"{name} must be finite and 0 or more")
    return counts.astype(np.float64)


# --- Clips that can be learnt from ----------------------------------------------------------


def labels_of(part: Part, name: str = "training") -> NDArray[np.int64]:
    """[n] the classes of a part's clips.

    Args:
        part: that a training learns from, or that stops it
        name: of the part, for the message

    Raises:
        ValueError: it has no clips, or they have no labels
    """
    if part.y is None or not len(part):
        raise ValueError(f"a training needs labelled clips in its {name} part")
    return part.y


def have_votes(part: Part, strategy: str) -> NDArray[np.bool_]:
    """[n] which clips have a vote, of which a strategy that reads votes makes targets.

    Raises:
        ValueError: no clip has one
    """
    if part.votes is None:
        raise ValueError(
            f"the strategy {strategy!r} needs votes, but this corpus has none; take "
            "votes=simulate, or a strategy without votes"
        )
    keep: NDArray[np.bool_] = part.votes.sum(axis=1) > 0
    if not keep.any():
        raise ValueError(f"the strategy {strategy!r} needs votes, but no training clip has one")
    return keep


# --- Ratings of attributes ---------------------------------------------------------------------


def means_of(annotations: NDArray[np.float32]) -> NDArray[np.float32]:
    """[n, A] the mean of each clip's ratings [n, R, A]; NaN where it has none."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a clip without any
        return np.asarray(np.nanmean(annotations, axis=1), dtype=np.float32)


# --- Single ratings -------------------------------------------------------------------------


def vote_counts(part: Part, k: int, self_ratings: str = "count") -> NDArray[np.float64]:
    """[n, K] how many of the raters that the part shows gave each class.

    Args:
        part: with `ratings` and `own`
        k: number of classes
        self_ratings: "leave" counts no rating of a rater's own speech

    Raises:
        ValueError: the part has no single ratings
    """
    if part.ratings is None or part.own is None:
        raise ValueError("the raters' single ratings are not there")
    codes = part.ratings if self_ratings == "count" else np.where(part.own, -1, part.ratings)
    votes: NDArray[np.float64] = (codes[..., None] == np.arange(k)).sum(axis=1).astype(np.float64)
    return votes


def target_ratings(inputs: StageInputs, part: Part) -> NDArray[np.int64]:
    """[n] the target rater's class of each clip, -1 where there is none.

    Raises:
        ValueError: the part has no ratings of the target
    """
    if part.ratings is None or inputs.target is None:
        raise ValueError("the target rater's ratings are not there")
    own: NDArray[np.int64] = part.ratings[:, inputs.target]
    return own


def share_of(y: NDArray[np.int64], percent: float, seed: int) -> NDArray[np.int64]:
    """Ascending rows of a stratified share: ceil(percent % of each class).

    A smaller share lies within a larger one of the same seed.

    Args:
        y: [n] classes
        percent: above 0, at most 100
        seed: of the one order that all shares cut
    """
    order = np.random.default_rng(seed).permutation(len(y))
    rows = [np.empty(0, dtype=np.int64)]
    for c in np.unique(y):
        mine = order[y[order] == c]
        # the product of floats may lie a hair above a whole number
        rows.append(mine[: math.ceil(round(percent * len(mine) / 100, 9))])
    return np.sort(np.concatenate(rows))
