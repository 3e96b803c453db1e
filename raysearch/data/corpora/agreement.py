"""Votes of raters: what they agree on, and how clips divide by their agreement."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from raysearch.data.corpora.names import in_order

Counts = NDArray[np.float64 | np.int64]
"""[N, K]: how often raters gave each of K classes"""
TIES = ("leave", "keep")


@dataclass(frozen=True)
class VotePartition:
    """How many clips fall into each kind of agreement; the five add up to the number of clips."""

    unanimous: int  # every vote for one class
    majority: int  # more than one half for one class, but not all
    plurality: int  # one class leads with one half or less
    tie: int  # several classes lead
    none: int  # no vote at all


def count_votes(ratings: pd.DataFrame, table: pd.DataFrame) -> pd.DataFrame:
    """The weights of the ratings by clip and class: the table's index, one column a class.

    `ratings` has id, label and weight; ids that `table` has not, and empty labels, do not count.
    """
    ratings = ratings[(ratings["label"] != "") & ratings["id"].isin(table["id"])]
    names = list(in_order(ratings["label"]))
    row = {clip: i for i, clip in enumerate(table["id"])}
    column = {label: i for i, label in enumerate(names)}
    counts = np.zeros((len(table), len(names)))
    where = ([row[c] for c in ratings["id"]], [column[n] for n in ratings["label"]])
    np.add.at(counts, where, ratings["weight"].to_numpy(dtype=np.float64))
    return pd.DataFrame(counts, columns=names, index=table.index)


def labels_by_votes(
    name: str, table: pd.DataFrame, votes: pd.DataFrame, ties: str
) -> tuple[pd.DataFrame, pd.DataFrame, list[str]]:
    """A corpus's table, labelled by the class that leads the votes, and votes, and what to say.

    Where none leads, the clip is left out (ties="leave") or kept without a label ("keep").
    """
    leads = plurality(votes.to_numpy(dtype=np.float64))
    table = table.assign(label=[votes.columns[i] if i >= 0 else "" for i in leads])
    tied = int((leads < 0).sum())
    if not tied:
        return table, votes, []
    if ties == "keep":
        return table, votes, [f"{name}: {tied} clips without one leading vote have no label."]
    leading = table[leads >= 0]
    note = f"{name}: {tied} clips without one leading vote are left out."
    return leading, votes.loc[leading.index], [note]


def _checked(votes: Counts) -> NDArray[np.float64]:
    counts = np.asarray(votes)
    if counts.dtype.kind not in "iuf":
        raise ValueError(f"votes must be numbers, but got dtype={counts.dtype}")
    if counts.ndim != 2:
        raise ValueError(f"votes must have the shape [N, K], but got {counts.shape}")
    if counts.size and (not np.isfinite(counts).all() or (counts < 0).any()):
        raise ValueError("votes must be finite and 0 or more")
    return counts.astype(np.float64)


def vote_partition(votes: Counts) -> VotePartition:
    """Divide clips by how far their raters agree.

    Args:
        votes: [N, K] counts, finite and 0 or more.

    Raises:
        ValueError: a count is negative or not finite, or `votes` has another shape.
    """
    counts = _checked(votes)
    if counts.shape[1] == 0:
        return VotePartition(0, 0, 0, 0, len(counts))
    total, top = counts.sum(axis=1), counts.max(axis=1)
    some = total > 0
    leaders = (counts == top[:, None]).sum(axis=1)
    unanimous = some & (top == total)
    majority = some & ~unanimous & (2 * top > total)
    tie = some & (leaders > 1)
    rest = some & ~unanimous & ~majority & ~tie
    return VotePartition(*(int(m.sum()) for m in (unanimous, majority, rest, tie, ~some)))


def plurality(votes: Counts) -> NDArray[np.int64]:
    """int64 [N]: the class with the most votes; -1 where several lead or there are no votes."""
    counts = _checked(votes)
    if counts.shape[1] == 0:
        return np.full(len(counts), -1, dtype=np.int64)
    top = counts.max(axis=1)
    unique = ((counts == top[:, None]).sum(axis=1) == 1) & (top > 0)
    return np.where(unique, counts.argmax(axis=1), -1).astype(np.int64)


def rating_notes(name: str, files: pd.Series, graded: pd.DataFrame, faults: int) -> Iterator[str]:
    """Ratings that no clip has, and those that are there twice.

    Args:
        name: of the corpus.
        files: of all ratings that its tables hold.
        graded: the ratings of its clips.
        faults: how many of the others have a fault.
    """
    lost = len(files) - len(graded) - faults
    if lost > 0 and len(graded) == 0:
        yield (
            f"{name}: none of the {len(files)} ratings is of a clip of the manifest, the first of "
            f"{files.iloc[0]!r}: file is a path from the same folder in both."
        )
    elif lost > 0:
        yield f"{name}: {lost} of {len(files)} ratings are of no clip that is used: left out."
    if twice := int(graded.duplicated().sum()):
        yield (
            f"{name}: {twice} ratings are there twice, by the same rater of the same clip: each "
            "counts."
        )
