"""A paper's table beside the study's own trials.

A row of the paper's table (`raysearch.study.published`) is the first complete trial that has all
of its `params` (constants of the space included). Each of its figures stands beside the same metric
of that trial. The first row is the baseline that gains are counted from. The paper's best setting,
where a space gives it alone, stands beside the oracle estimate: both are chosen on test scores.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from raysearch.report.cells import bounds
from raysearch.report.document import Column, Section, Table
from raysearch.report.scoring import Scores
from raysearch.selection import (
    RECALL,
    Groups,
    Matrix,
    class_recalls,
    compare,
    interval,
    over_groups,
)
from raysearch.study.published import PublishedRow
from raysearch.study.record import Record
from raysearch.study.wording import clean, many

BEST = "best setting (oracle)"
"""the line of what was best on test scores"""
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
    figures: Mapping[str, float]
    """the paper's figures by metric"""
    trial: int | None
    """None where no complete trial is this row"""
    scores: Mapping[str, Matrix]
    """the trial's test scores [K] by metric"""


def section(record: Record, scores: Scores) -> Section | None:
    """A paper's rows beside this study's. Corpora differ, so gains over the first row compare."""
    published = record.published
    if published is None or not (published.rows or published.best):
        return None
    rows = [_row(row, record, scores) for row in published.rows]
    first = rows[0] if rows else None
    lines = [
        {"name": row.name, "trial": row.trial, "metric": _heading(m)}
        | _beside(m, row, None if row is first else first, record.folds)
        for row in rows
        for m in published.metrics
    ] + _best(published.best, scores)
    after = [] if first is None else [f"Gains are over {first.name}, here paired by fold."]
    if published.best:
        after.append(f"The {BEST} is chosen on test scores for each metric, here as in the paper.")
    if any(line["mark"] for line in lines):
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
        f"Beside the published figures: {clean(published.source)}",
        (),
        Table(pd.DataFrame(lines, columns=[c.name for c in _COLUMNS], dtype=object), _COLUMNS),
        tuple(after),
    )


def _heading(metric: str) -> str:
    """Of a metric, as a table names it: a recall by its class alone."""
    return metric.removeprefix(RECALL) if metric.startswith(RECALL) else metric.upper()


def _best(best: Mapping[str, float], scores: Scores) -> list[dict[str, object]]:
    """The lines of the paper's best setting, beside the oracle estimate of each metric."""
    lines = []
    for metric, paper in best.items():
        oracle = scores.estimates.oracle.get(metric)
        line = dict.fromkeys(column.name for column in _COLUMNS) | {
            "name": BEST,
            "metric": _heading(metric),
            "published": paper,
            "mark": "",
        }
        if oracle is not None:
            row = scores.trials[scores.estimates.oracle_rows[metric]]
            line |= {
                "trial": row.number,
                "here": oracle.mean,
                "difference": oracle.mean - paper,
                "mark": APART if _outside(paper, oracle.low, oracle.high) else "",
            }
        lines.append(line)
    return lines


def paper_figures(record: Record, scores: Scores, metric: str) -> dict[int, float]:
    """By trial that is a row of the paper's table, the figure that the paper gives it."""
    table = record.published
    rows = [_row(row, record, scores) for row in (() if table is None else table.rows)]
    return {
        row.trial: row.figures[metric]
        for row in rows
        if row.trial is not None and metric in row.figures
    }


def _beside(m: str, row: _Row, base: _Row | None, folds: Sequence[Groups]) -> dict[str, object]:
    """A row's published figure and score of one metric, and what they gain over those of `base`."""
    paper, here = row.figures.get(m), row.scores.get(m)
    first, before = (None, None) if base is None else (base.figures.get(m), base.scores.get(m))
    # folds without a clip of a class have no recall of it
    whole = [f for f in range(len(folds)) if here is not None and np.isfinite(here[f])]
    here = None if here is None or not whole else here[whole]
    before = None if before is None else before[whole]
    folds = [folds[f] for f in whole]
    mean, low, high, _ = (None,) * 4 if here is None else interval(over_groups(here, folds))
    gain = None if here is None or before is None else compare(here, before, folds)
    return {
        "published": paper,
        "published_gain": None if paper is None or first is None else paper - first,
        "here": mean,
        "difference": None if mean is None or paper is None else mean - paper,
        # beyond what these folds leave open
        "mark": APART if _outside(paper, low, high) else "",
        "gain": None if gain is None else gain.mean,
        "interval": None if gain is None else bounds(gain.low, gain.high),
    }


def _outside(x: float | None, low: float | None, high: float | None) -> bool:
    return x is not None and low is not None and high is not None and not low <= x <= high


def _row(row: PublishedRow, record: Record, scores: Scores) -> _Row:
    """A row with the trial that it is."""
    constants = {n: x for n, x in record.params.items() if not isinstance(x, dict)}
    for c in scores.complete:
        have = {**constants, **scores.trials[c].params}
        if all(name in have and _same(have[name], x) for name, x in row.params.items()):
            number = scores.trials[c].number
            test = {m: table[c] for m, table in scores.test.items()}
            if any(metric.startswith(RECALL) for metric in row.values):
                test |= _recalls(record, number)
            return _Row(row.name, row.values, number, test)
    return _Row(row.name, row.values, None, {})


def _recalls(record: Record, trial: int) -> dict[str, Matrix]:
    """The recalls [K] of a complete trial by class, NaN in folds that test no clip of it."""
    rows = [record.cells[trial, fold.name] for fold in record.folds]
    if record.continuous or not all(row.confusion for row in rows):
        return {}
    recalls = class_recalls([row.confusion for row in rows])
    return {f"{RECALL}{name}": recalls[:, k] for k, name in enumerate(record.classes)}


def _same(a: object, b: object) -> bool:
    # a grid's 0.30000000000000004 is the 0.3 that a table names
    if isinstance(a, float) and isinstance(b, int | float) and not isinstance(b, bool):
        return math.isclose(a, b, rel_tol=1e-9)
    return bool(a == b)
