"""What raters are asked for: categories, or one attribute in three levels.

Under `task=valence` (activation, dominance) a rating below `task.low` is low, above `task.high`
high, and middle otherwise (Chou and Lee 2020, section 2.1: below 3, 3, above 3 on a scale of 1 to
5). Low and high are of the numbers that the corpus keeps. Which end of a scale is calm, corpora
(and that paper and IEMOCAP) say differently; recalls do not depend on it.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from raysearch.data.corpora.agreement import count_votes
from raysearch.data.corpora.corpus import Raw
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
    grades = None if raw.ratings is None else raw.ratings.get(task.name)
    if raw.ratings is None or grades is None or grades.isna().all():
        raise BadInput(
            f"task={task.name} needs raters' {task.name}, and {name} has none: choose a corpus "
            f"that has (iemocap, a manifest whose ratings have a column {task.name}), "
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
