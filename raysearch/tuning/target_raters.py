"""Target raters: whose perception a study learns, and the folds that each of them gets."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from raysearch.data import corpora
from raysearch.data.rules import RatersConfig
from raysearch.errors import BadInput
from raysearch.stages.folds import Fold
from raysearch.stages.rater_folds import by_rater
from raysearch.study import Study
from trainables.stage import Method


def ratings_of(corpus: corpora.Corpus, study: Study, method: Method) -> corpora.Ratings | None:
    """Single ratings, where the method learns one rater's perception.

    Raises:
        BadInput: there are none, or target raters are named for a method that has none.
    """
    if not method.per_rater:
        if study.raters != RatersConfig():
            raise BadInput(
                f"raters= says whose perception is learnt, but method={method.name} learns the "
                "labels of the corpus; leave it out, or choose method=corater"
            )
        return None
    ratings = corpora.by_rater(corpus)
    if ratings is None:
        raise BadInput(
            f"method={method.name} learns one rater's perception and needs single ratings, and "
            f"corpus={'+'.join(study.corpus.name)} does not tell who rated what; choose a corpus "
            "that does (iemocap, a manifest with a row a rating), or votes=simulate"
        )
    return ratings


def of_rated_speakers(corpus: corpora.Corpus, ratings: corpora.Ratings) -> NDArray[np.bool_]:
    """[N] the clips of every speaker of whom a clip was rated.

    So a clip's place in a fold depends on no single rating, and changing a target's changes nothing
    of what is handed to models of the others.
    """
    speakers = corpus.table["speaker"].to_numpy(dtype=str)
    return np.isin(speakers, speakers[np.any(ratings.codes >= 0, axis=1)])


def for_targets(
    folds: tuple[Fold, ...], ratings: corpora.Ratings, study: Study, classes: int
) -> tuple[tuple[Fold, ...], list[str]]:
    """The folds of each target rater, and what to tell of these.

    Raises:
        BadInput: no fold can serve a rater who is named, or anyone.
    """
    names, least, most = study.raters.targets, study.raters.least, study.raters.most
    able = corpora.candidates(ratings, names, least)
    columns = [ratings.raters.index(name) for name in able]
    candidates, gaps = by_rater(folds, ratings.codes[:, columns], able, classes)
    served = [name for name in able if any(fold.rater == name for fold in candidates)]
    idle = [name for name in able if name not in served]
    if not served or (names is not None and idle):
        raise BadInput(
            f"no fold of protocol={study.protocol.name} can serve the "
            f"{'rater' if len(idle) == 1 else 'raters'} {', '.join(idle[:12])}: a target needs "
            "rated clips in the test and in the validation part, and of every class in the "
            "training part; name others with raters=[...], or choose another protocol"
        )
    targets = sorted(served[:most])
    result = tuple(
        replace(fold, index=index)
        for index, fold in enumerate(f for name in targets for f in candidates if f.rater == name)
    )
    counts = ratings.counts()
    why = "named" if names is not None else f"raters.least={least} clips or more"
    notes = [
        f"Target raters ({why}): "
        + ", ".join(f"{name} ({counts[name]} clips)" for name in targets)
        + f", of {len(counts)} raters in all. Folds of one held-out group share its clips, so "
        "intervals are over held-out groups.",
        "Clips with 2 ratings or more by raters other than the target (without self-ratings): "
        + ", ".join(f"{name} {_by_others(ratings, name)}" for name in targets)
        + ".",
        "Root mean squared distance of a target's classes from the others' majority and from their "
        "shares, on clips with 2 ratings or more by others: "
        + ", ".join(f"{name} {_distances(ratings, name, classes)}" for name in targets)
        + ".",
    ]
    if idle:
        notes.append(
            f"{len(idle)} raters with enough ratings are no targets, as no fold can serve them: "
            f"{', '.join(idle)}."
        )
    short = {name: gaps[name] for name in targets if name in gaps}
    if short:
        notes.append(
            "Folds that cannot serve a target (no rated clip to test or validate on, or a class "
            "without one to train on) are left out: "
            + "; ".join(f"{name} without {', '.join(folds)}" for name, folds in short.items())
            + "."
        )
    if ratings.unclear:
        notes.append(
            f"{ratings.unclear} ratings of several classes alike are left out: a rater gives one."
        )
    return result, notes


def _by_others(ratings: corpora.Ratings, target: str) -> str:
    """How many clips have two ratings by others or more, and how many without self-ratings."""
    there = ratings.codes >= 0
    there[:, ratings.raters.index(target)] = False
    every, without = ((rated.sum(axis=1) >= 2).sum() for rated in (there, there & ~ratings.own))
    return f"{every} ({without})"


def _distances(ratings: corpora.Ratings, target: str, classes: int) -> str:
    """Both, as in "0.421 and 0.423"."""
    each = corpora.distances(ratings, target, classes)
    return " and ".join("none" if x is None else f"{x:.3f}" for x in each)
