"""What raters are asked for: categories, or attributes, in three levels or as numbers.

Under `task=valence` (activation, dominance) a rating below `task.low` is low, above `task.high`
high, and middle otherwise (Chou and Lee 2020, section 2.1: below 3, 3, above 3 on a scale of 1 to
5). Low and high are of the numbers that the corpus keeps. Which end of a scale is calm, corpora
(and that paper and IEMOCAP) say differently; recalls do not depend on it.

Under `task.kind=continuous` what is predicted of a clip is the mean of its raters, on the corpus's
own scale.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from raysearch.data.corpora.agreement import count_votes
from raysearch.data.corpora.corpus import RATED, Raw
from raysearch.data.rules import Task
from raysearch.errors import BadInput

LEVELS = ("low", "middle", "high")


def as_task(name: str, raw: Raw, task: Task) -> Raw:
    """The corpus with levels of the task's attribute as classes, where that is one.

    Its ratings and votes are of the levels then, and its clips have no label yet.

    Raises:
        BadInput: no rater of the corpus gave that attribute.
    """
    if not task.graded:
        return raw
    (attribute,) = task.names
    grades = None if raw.ratings is None else raw.ratings.get(attribute)
    if raw.ratings is None or grades is None or grades.isna().all():
        raise BadInput(
            f"task={attribute} needs raters' {attribute}, and {name} has none: choose a corpus "
            f"that has (iemocap, a manifest whose ratings have a column {attribute}), "
            "votes=simulate for a corpus without raters, or task=categories."
        )
    values = grades.to_numpy(dtype=np.float64)
    level = np.select([values < task.low, values > task.high], [LEVELS[0], LEVELS[2]], LEVELS[1])
    ratings = raw.ratings.assign(label=level, weight=1.0)[~np.isnan(values)].reset_index(drop=True)
    own = ratings["own"].to_numpy(dtype=bool) if "own" in ratings else np.zeros(len(ratings), bool)
    return replace(
        raw,
        table=raw.table.assign(label=""),
        classes=LEVELS,
        votes=count_votes(ratings[~own], raw.table),
        ratings=ratings,
    )


def as_numbers(name: str, raw: Raw, task: Task, self_ratings: str) -> Raw:
    """The corpus for a continuous task: clips with all its attributes are RATED, others are not.

    Args:
        name: of the corpus.
        raw: as it was read.
        task: continuous.
        self_ratings: "leave" drops what speakers said of their own clips.

    Raises:
        BadInput: no clip has all attributes.
    """
    ratings, wanted = raw.ratings, list(task.names)
    if ratings is not None:
        given = ratings.reindex(columns=wanted).notna().any(axis=1)
        own = ratings["own"].astype(bool) if "own" in ratings else given & False
        keep = given & ~own if self_ratings == "leave" else given
        ratings = ratings[keep].assign(label="", weight=0.0).reset_index(drop=True)
    means = _means(raw, ratings, wanted)
    rated = means.notna().all(axis=1)
    if not rated.any():
        lacking = [one for one in wanted if means[one].isna().all()] or wanted
        raise BadInput(
            f"task={','.join(wanted)} (continuous) needs ratings of {' and '.join(lacking)}, and "
            f"{name} has none: choose a corpus that has (iemocap, msp_improv, msp_podcast, a "
            f"manifest with a column {lacking[0]}), or votes=simulate for a corpus without raters, "
            "which gives valence and activation."
        )
    notes = []
    if bare := int((~rated).sum()):
        notes = [f"{name}: {bare} clips lack a rating of {' or '.join(wanted)}, and have no label."]
    return replace(
        raw,
        table=raw.table.assign(label=np.where(rated, RATED, "")),
        classes=(RATED,),
        votes=None,
        ratings=ratings,
        means=means,
        numbers=task.names,
        notes=(*raw.notes, *notes),
    )


def _means(raw: Raw, ratings: pd.DataFrame | None, wanted: list[str]) -> pd.DataFrame:
    """Each clip's attributes: the mean of its ratings, or else what the corpus gives as that."""
    index = raw.table.set_index("id").index
    means = pd.DataFrame(np.nan, index=index, columns=wanted)
    if ratings is not None:
        means = ratings.reindex(columns=["id", *wanted]).groupby("id").mean().reindex(index)
    means = means.set_axis(raw.table.index)
    return means if raw.means is None else means.fillna(raw.means.reindex(columns=wanted))


def annotations_of(
    ids: pd.Series, attributes: tuple[str, ...], ratings: pd.DataFrame, means: pd.DataFrame
) -> NDArray[np.float32]:
    """[N, R, A] the single ratings of each clip in their order, NaN behind its last.

    Args:
        ids: [N] of the clips.
        attributes: A names.
        ratings: with the columns id and those of the attributes.
        means: [N, A] what a clip without a single rating has as its one.
    """
    names = list(attributes)
    given = ratings[ratings[names].notna().any(axis=1) & ratings["id"].isin(set(ids))]
    place = given.groupby("id").cumcount().to_numpy(dtype=np.int64)
    row = pd.Series(np.arange(len(ids)), index=ids.to_numpy()).reindex(given["id"]).to_numpy()
    out = np.full((len(ids), int(place.max(initial=0)) + 1, len(names)), np.nan, np.float32)
    out[row.astype(np.int64), place] = given[names].to_numpy(dtype=np.float32)
    missing = np.isnan(out).all(axis=1)
    out[:, 0][missing] = means[names].to_numpy(dtype=np.float32)[missing]
    return out
