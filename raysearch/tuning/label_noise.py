"""Wrong labels that a study plants in what it learns from: does a label strategy survive them?

Which clips, and what their labels become, follows from `labels.seed` and the clips' names alone, so
all settings, methods and folds meet the same wrong labels. Test clips are scored by the labels of
the corpus, and so are those that `validation.select` holds out to choose a setting.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from raysearch.data.corpora.names import common_name
from raysearch.data.rules import LabelNoise
from raysearch.errors import BadInput, near
from raysearch.study import Study
from trainables.stage import Method

if TYPE_CHECKING:
    from raysearch.data.corpora import Corpus


@dataclass(frozen=True)
class PlantedLabels:
    """The labels that are learnt from, some of them wrong on purpose."""

    codes: NDArray[np.int64]
    """[N] class index, -1 where a clip has no label"""
    votes: NDArray[np.float32] | None
    """[N, K]; of a clip with a wrong label, the votes for the two classes are exchanged, as if its
    raters had taken the one for the other"""
    wrong: NDArray[np.bool_]
    """[N] whose labels are"""


def plant(corpus: Corpus, study: Study, method: Method) -> PlantedLabels | None:
    """The labels that a study learns from; None where it plants no wrong ones.

    `labels.flip` of the clips that can get another label (those of a class in `labels.confusion`,
    where it is given), rounded to a whole number, get one.

    Raises:
        BadInput: numbers or single raters are learnt, or `labels.confusion` does not fit the
            classes.
    """
    noise = study.labels
    if not noise.flip:
        return None
    if corpus.numbers or method.per_rater:
        learnt = "numbers" if corpus.numbers else "one rater's ratings"
        raise BadInput(
            f"labels.flip={noise.flip:g} plants wrong labels of classes, but method={method.name} "
            f"learns {learnt}; leave it out"
        )
    codes, weights = corpus.codes, _weights(corpus.classes, noise)
    able = np.flatnonzero((codes >= 0) & (weights.sum(axis=1) > 0)[codes])
    draws = _draws(corpus.table["id"].tolist(), able, noise.seed)
    first = np.argsort(draws[:, 0], kind="stable")[: round(noise.flip * len(able))]
    rows = able[first]
    new = (draws[first, 1:] < np.cumsum(weights[codes[rows]], axis=1)).argmax(axis=1)
    wrong = np.zeros(len(codes), dtype=bool)
    wrong[rows] = True
    votes = None if corpus.votes is None else _exchanged(corpus.votes, rows, codes[rows], new)
    labels = codes.copy()
    labels[rows] = new
    return PlantedLabels(labels, votes, wrong)


def noise_notes(study: Study, corpus: Corpus, planted: PlantedLabels | None) -> list[str]:
    """What a reader must know of planted labels."""
    if planted is None:
        return []
    count, of = int(planted.wrong.sum()), int(corpus.labelled.sum())
    noise = study.labels
    pairs = [f", {word} to {' or '.join(_row(x))}" for word, x in noise.confusion.items()]
    how = "".join(pairs) or " to any other class"
    notes = [
        f"wrong labels are planted: {count} of {of} were changed{how} (labels.flip="
        f"{noise.flip:g}, labels.seed={noise.seed}) in training and validation; test scores are by "
        "the corpus's own"
    ]
    if not study.validation.select:
        notes.append(
            "settings are chosen by validation clips of which some have planted labels; "
            "validation.select=1 chooses by clips with the labels of the corpus"
        )
    return notes


def _weights(classes: Sequence[str], noise: LabelNoise) -> NDArray[np.float64]:
    """[K, K] the chance that a changed label of a class (row) becomes another; rows of classes that
    keep their labels are 0."""
    k = len(classes)
    weights = np.zeros((k, k))
    if noise.kind == "uniform":
        weights = 1.0 - np.eye(k)
    problems: list[str] = []
    for word, taken_for in noise.confusion.items():
        row = _row(taken_for)
        names = [common_name(str(name)) for name in (word, *row)]
        unknown = [name for name in names if name not in classes]
        good = all(type(x) in (int, float) and 0 <= x < np.inf for x in row.values())
        if unknown:
            problems.append(
                f"labels.confusion names {unknown[0]!r}, which the study has not"
                f"{near(unknown[0], classes)}; its classes are {', '.join(classes)}"
            )
        elif names[0] in names[1:] or not good or not sum(row.values()) > 0:
            problems.append(
                f"labels.confusion.{word} must be another class, a list of other classes, or a "
                f"mapping from these to weights, one of them above 0, but got {taken_for!r}"
            )
        else:
            places = [classes.index(name) for name in names]
            weights[places[0], places[1:]] = list(row.values())
    if problems:
        raise BadInput(problems)
    total = weights.sum(axis=1, keepdims=True)
    return np.divide(weights, total, out=np.zeros_like(weights), where=total > 0)


def _row(taken_for: object) -> Mapping[str, float]:
    """The classes, with their weights, that a class is taken for."""
    if isinstance(taken_for, Mapping):
        return taken_for
    several = taken_for if isinstance(taken_for, list | tuple) else [taken_for]
    return {str(name): 1.0 for name in several}


def _draws(ids: Sequence[str], rows: NDArray[np.int64], seed: int) -> NDArray[np.float64]:
    """[n, 2] two random numbers in [0, 1) of each clip, by its name and the seed."""
    draws = np.empty((len(rows), 2))
    for place, row in enumerate(rows.tolist()):
        digest = hashlib.sha256(f"{seed}\x1f{ids[row]}".encode()).digest()
        draws[place] = [int.from_bytes(digest[i : i + 6], "big") / 2**48 for i in (0, 6)]
    return draws


def _exchanged(
    votes: NDArray[np.float32],
    rows: NDArray[np.int64],
    old: NDArray[np.int64],
    new: NDArray[np.int64],
) -> NDArray[np.float32]:
    """Votes [N, K], those of some rows for their old and their new class exchanged."""
    after = votes.copy()
    after[rows, old], after[rows, new] = votes[rows, new], votes[rows, old]
    return after
