"""How far raters agree on each clip: the sets S_A, S_B and S_C of label correction.

Gan et al. 2025, section 3.3. A clip belongs to
- S_A (exact) where a class is dominant and no other class got a vote,
- S_B (ambiguous, with a dominant class) where other classes got votes as well,
- S_C (ambiguous, without a dominant class) where no class is dominant,
and to none of them where no rater named one of the classes. What makes a class dominant, and what
becomes of votes for classes that the study does not have, the paper does not say; both are rules
here. Plain functions of numpy arrays, for the stages of methods and for the processes that count.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

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
        found = {name: int((self.part == code).sum()) for code, name in enumerate(_NAMES)}
        return found | {"none": int((self.part == NONE).sum())}

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
    inside = _checked("votes", votes)
    n, k = inside.shape
    foreign = np.zeros((n, 0)) if outside is None else _checked("outside", outside)
    if len(foreign) != n:
        raise ValueError(f"outside must have the {n} rows of votes, but has {len(foreign)}")
    if others not in ("count", "ignore", "drop"):
        raise ValueError(f"others must be 'count', 'ignore' or 'drop', but got {others!r}")
    every = np.hstack([inside, foreign]) if others == "count" else inside
    total = every.sum(axis=1)
    known = (inside.sum(axis=1) > 0) & (total >= least - _EXACT)
    if others == "drop":
        known &= foreign.sum(axis=1) <= 0
    leader = _leader(every, total, k, label, dominant)
    led = known & (leader >= 0)
    own = np.zeros(n)
    own[led] = inside[led, leader[led]]
    part = np.full(n, NONE, dtype=np.int8)
    part[known] = C
    part[led] = B
    part[led & (own >= total - _EXACT)] = A
    return Partition(part, np.where(led, leader, -1).astype(np.int64))


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
        given = np.asarray(label, dtype=np.int64)
        if given.shape != (n,) or (n and not -1 <= given.min() <= given.max() < k):
            raise ValueError(f"label must hold {n} classes from -1 to {k - 1}")
        return given
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


def _checked(name: str, votes: NDArray[np.floating]) -> NDArray[np.float64]:
    counts = np.asarray(votes)
    if counts.dtype.kind not in "iuf" or counts.ndim != 2:
        raise ValueError(
            f"{name} must be numbers of the shape [N, K], but got {counts.dtype} {counts.shape}"
        )
    if counts.size and (not np.isfinite(counts).all() or (counts < 0).any()):
        raise ValueError(f"{name} must be finite and 0 or more")
    return counts.astype(np.float64)
