"""Who rated what: single ratings as one class index for each clip and rater."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from raysearch.data.corpora.corpus import Corpus
from raysearch.errors import BadInput, near


@dataclass(frozen=True)
class Ratings:
    """The ratings of a corpus, row for row with its table."""

    raters: tuple[str, ...]
    """R names, sorted"""
    codes: NDArray[np.int64]
    """int64 [N, R]: the class that the rater gave, -1 where there is none"""
    own: NDArray[np.bool_]
    """bool [N, R]: the rater is the speaker"""
    unclear: int = 0
    """ratings left out because the rater named several classes of the study alike"""

    def counts(self) -> dict[str, int]:
        """How many clips each rater rated, self-ratings left out; most first, then by name."""
        marks = ((self.codes >= 0) & ~self.own).sum(axis=0).tolist()
        counts = dict(zip(self.raters, marks, strict=True))
        return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def by_rater(corpus: Corpus) -> Ratings | None:
    """Each rater's class for each clip; None where no rater is known.

    Who named several classes gave the one that weighs most; where none does, the rating is left
    out.
    """
    if corpus.ratings is None:
        return None
    frame = corpus.ratings[(corpus.ratings["label"] != "") & (corpus.ratings["weight"] > 0)]
    raters = tuple(sorted(set(frame["rater"])))
    if not raters:
        return None
    row = {clip: i for i, clip in enumerate(corpus.table["id"])}
    weights = np.zeros((len(row), len(raters), len(corpus.classes)))
    where = (
        [row[clip] for clip in frame["id"]],
        [raters.index(name) for name in frame["rater"]],
        [corpus.classes.index(name) for name in frame["label"]],
    )
    np.add.at(weights, where, frame["weight"].to_numpy(dtype=np.float64))
    own = np.zeros(weights.shape[:2], dtype=bool)
    own[where[0], where[1]] = frame["own"].to_numpy(dtype=bool)
    top = weights.max(axis=2)
    marks = top > 0
    sole = (weights >= top[..., None] - 1e-6).sum(axis=2) == 1
    codes = np.where(marks & sole, weights.argmax(axis=2), -1).astype(np.int64)
    return Ratings(raters, codes, own & (codes >= 0), int((marks & ~sole).sum()))


def candidates(ratings: Ratings, names: Sequence[str] | None, least: int) -> list[str]:
    """The raters who may be targets: those wanted, or those with enough ratings, most first.

    Raises:
        BadInput: a rater that is wanted is not there or is named twice, or nobody has rated enough.
    """
    counts = ratings.counts()
    listing = ", ".join(f"{name} ({n})" for name, n in list(counts.items())[:12])
    listing += ", …" if len(counts) > 12 else ""
    if names is None:
        enough = [name for name, n in counts.items() if n >= least]
        if not enough:
            raise BadInput(
                f"no rater has rated raters.least={least} clips; the raters and their clips are "
                f"{listing}: lower raters.least, or name raters=[...]"
            )
        return enough
    problems = [
        f"raters names {name!r}, who has rated nothing here{near(name, counts)}; the raters and "
        f"their clips are {listing}"
        for name in names
        if name not in counts
    ]
    problems += [
        f"raters names {name!r} twice; name each rater once"
        for name in sorted({name for name in names if list(names).count(name) > 1})
    ]
    if problems:
        raise BadInput(problems)
    return list(names)


def distances(
    ratings: Ratings, target: str, classes: int, least: int = 2
) -> tuple[float | None, float | None]:
    """How far a rater is from what others say of a clip (Chou and Lee 2020, Table 3).

    The root mean square, over clips and classes, of the rater's one-hot class less the others'
    majority (clips that several classes lead are left out) and less their vote shares. The paper
    does not say over what it takes the mean; it is 0 for equal labels, at most sqrt(2 / K).

    Args:
        ratings: of the corpus.
        target: the rater.
        classes: K.
        least: ratings by others that a clip needs.

    Returns: from the majority, and from the shares; None where no clip has both.
    """
    column = ratings.raters.index(target)
    mine = ratings.codes[:, column]
    votes = (np.delete(ratings.codes, column, axis=1)[..., None] == np.arange(classes)).sum(axis=1)
    rows = (mine >= 0) & (votes.sum(axis=1) >= least)
    mine, votes = np.eye(classes)[mine[rows]], votes[rows]
    leads = votes == votes.max(axis=1, keepdims=True)
    sole = leads.sum(axis=1) == 1
    return (
        _root_mean_square(mine[sole] - leads[sole]),
        _root_mean_square(mine - votes / votes.sum(axis=1, keepdims=True)),
    )


def _root_mean_square(x: NDArray[np.float64]) -> float | None:
    return float(np.sqrt(np.mean(x**2))) if x.size else None
