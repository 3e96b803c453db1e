"""A paper's table beside the study's own trials.

A row of it (`raysearch.published`) is the first complete trial that has all of its `params`
(constants of the space included). Each of its figures stands beside the same metric of that trial.
The first row is the baseline that gains are counted from.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from raysearch.report.cells import bounds
from raysearch.report.document import Column, Section, Table
from raysearch.report.scoring import Scores
from raysearch.selection import Matrix, compare, interval, over_groups
from raysearch.study.record import Record
from raysearch.study.wording import clean, many

APART = "*"
"""the mark of a figure that differs from the published one"""
_COLUMNS = (
    Column("name", "row", once=True),
    Column("trial", "trial", "count", once=True),
    Column("metric", "", "name"),
    Column("published", "paper", "percent"),
    Column("published_gain", "paper\ngain", "points"),
    Column("here", "here", "percent"),
    Column("difference", "here −\npaper", "points"),
    Column("mark", "", "name"),
    Column("gain", "here\ngain", "points"),
    Column("interval", "95 %\ninterval", "range"),
)


@dataclass(frozen=True)
class _Row:
    name: str
    printed: Mapping[str, float]
    """the paper's figures by metric"""
    trial: int | None
    """None where no complete trial is this row"""
    scores: Mapping[str, Matrix]
    """the trial's test scores by metric, one for each that is held out"""


def section(record: Record, scores: Scores) -> Section | None:
    """A paper's rows beside this study's. Corpora differ, so gains over the first row compare."""
    published = record.published
    if not published or not published["rows"]:
        return None
    rows = [_found(row, record, scores) for row in published["rows"]]
    made = [
        {"name": row.name, "trial": row.trial, "metric": m.upper()}
        | _beside(m, row, None if row is rows[0] else rows[0])
        for row in rows
        for m in published["metrics"]
    ]
    after = [f"Gains are over {rows[0].name}, here paired by fold."]
    if any(line["mark"] for line in made):
        after.append(
            f"{APART}: the published figure lies outside the 95 % interval, over {record.units}, "
            "of the score here. Corpora and inputs may differ; the settings are the table's."
        )
    missing = sum(row.trial is None for row in rows)
    if missing:
        after.append(
            f"{many(missing, 'row')} of the table {'has' if missing == 1 else 'have'} "
            "no complete trial here."
        )
    return Section(
        "published",
        f"Beside the published figures: {clean(str(published['source']))}",
        (),
        Table(pd.DataFrame(made, columns=[c.name for c in _COLUMNS], dtype=object), _COLUMNS),
        tuple(after),
    )


def printed(record: Record, scores: Scores, metric: str) -> dict[int, float]:
    """By trial that is a row of the paper's table, the figure that the paper gives it."""
    rows = [_found(row, record, scores) for row in (record.published or {}).get("rows", ())]
    return {
        row.trial: row.printed[metric]
        for row in rows
        if row.trial is not None and metric in row.printed
    }


def _beside(m: str, row: _Row, base: _Row | None) -> dict[str, Any]:
    """A row's published figure and score of one metric, and what they gain over those of `base`."""
    paper, here = row.printed.get(m), row.scores.get(m)
    first, before = (None, None) if base is None else (base.printed.get(m), base.scores.get(m))
    mean, low, high, _ = (None,) * 4 if here is None else interval(here)
    gained = None if here is None or before is None else compare(here, before)
    apart = None not in (paper, low, high) and not low <= paper <= high  # type: ignore[operator]
    return {
        "published": paper,
        "published_gain": None if paper is None or first is None else paper - first,
        "here": mean,
        "difference": None if mean is None or paper is None else mean - paper,
        # beyond what these folds leave open
        "mark": APART if apart else "",
        "gain": None if gained is None else gained.mean,
        "interval": None if gained is None else bounds(gained.low, gained.high),
    }


def _found(row: Mapping[str, Any], record: Record, scores: Scores) -> _Row:
    """A row with the trial that it is."""
    constants = {n: x for n, x in record.params.items() if not isinstance(x, dict)}
    for c in scores.complete:
        have = {**constants, **scores.trials[c].params}
        if all(name in have and _same(have[name], x) for name, x in row["params"].items()):
            test = {m: over_groups(table[c], record.folds) for m, table in scores.test.items()}
            return _Row(str(row["name"]), row["values"], scores.trials[c].number, test)
    return _Row(str(row["name"]), row["values"], None, {})


def _same(a: Any, b: Any) -> bool:
    # a grid's 0.30000000000000004 is the 0.3 that a table names
    if isinstance(a, float) and isinstance(b, int | float) and not isinstance(b, bool):
        return math.isclose(a, b, rel_tol=1e-9)
    return bool(a == b)
