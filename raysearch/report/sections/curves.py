"""Scores against each numeric parameter that was searched: the papers' curves over lambda or alpha.

A curve is of the settings that share their searched texts and truths (the strategy, say). A point
is the mean over the settings that have its value, whatever their other numbers, and its interval is
over what folds hold out. A curve shows; what differs, the comparisons say. Where all settings of a
point are rows of a paper's table, the mean of its figures stands beside.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from raysearch.report.cells import bounds
from raysearch.report.document import Column, Section, Table
from raysearch.report.plots import Curves, Line
from raysearch.report.scoring import Scores
from raysearch.report.sections.published_tables import printed
from raysearch.selection import Matrix, interval, over_groups
from raysearch.study.record import Record
from raysearch.study.wording import clean, value

LEAST = 3
"""values that make a curve"""
MOST = 40
"""points that a table shows; a parameter with more is left to the figure"""
BINS = 10
"""points of a line in a figure; of more values, neighbours are taken together"""
WIDE = 50.0
"""greatest over least value from which a figure's axis is logarithmic"""


def sections(record: Record, scores: Scores) -> list[Section]:
    """A table a parameter, in the order of their names."""
    names = sorted({n for t in scores.trials for n, x in t.params.items() if _number(x)})
    paper = printed(record, scores, scores.metric)
    made = [_curve(name, record, scores, paper) for name in names]
    return [section for section in made if section is not None]


def _curve(name: str, record: Record, scores: Scores, paper: Mapping[int, float]) -> Section | None:
    m = scores.metric
    # [C, K]: measured, or where a race left a hole the mean of its draws
    test = np.mean([t[m] for _, t in scores.draws], axis=0)
    validation = np.mean([v for v, _ in scores.draws], axis=0)
    found: dict[str, dict[float, list[int]]] = defaultdict(lambda: defaultdict(list))
    for c, trial in enumerate(scores.trials):
        x = trial.params.get(name)
        if _number(x):
            found[_series(trial.params)][float(x)].append(c)  # type: ignore[arg-type]
    curves = {series: points for series, points in found.items() if len(points) >= LEAST}
    if not curves:
        return None
    papers = np.array([paper.get(trial.number, np.nan) for trial in scores.trials])
    plot = _plot(name, curves, test, scores, record, papers)
    if sum(map(len, curves.values())) > MOST:
        line = f"{sum(map(len, curves.values()))} values, too many for a table: see the figure."
        return Section(f"curve_{name}", _title(name, m), (line,), plots=(plot,))
    rows = []
    for series, points in sorted(curves.items()):
        for x, settings in sorted(points.items()):
            mean, low, high, _ = interval(over_groups(test[settings].mean(axis=0), record.folds))
            rows.append(
                {
                    "series": series,
                    "value": value(x),
                    "settings": len(settings),
                    "validation": float(validation[settings].mean()),
                    "test": mean,
                    "interval": bounds(low, high),
                    "paper": _mean(papers[settings]),
                }
            )
    several = len(curves) > 1 or next(iter(curves)) != ""
    columns = [Column("series", "settings with", "text", once=True)] if several else []
    columns += [
        Column("value", "value", "name"),
        Column("settings", "settings", "count"),
        Column("validation", f"val\n{m.upper()}", "percent"),
        Column("test", f"test\n{m.upper()}", "percent"),
        Column("interval", "95 %\ninterval", "interval"),
    ]
    if any(row["paper"] is not None for row in rows):
        columns.append(Column("paper", "paper", "percent"))
    cut = " Folds that a race left out are filled with what is predicted." if scores.cut else ""
    return Section(
        f"curve_{name}",
        _title(name, m),
        table=Table(pd.DataFrame(rows), tuple(columns)),
        after=(f"Means over the settings of each value; intervals are over {record.units}.{cut}",),
        plots=(plot,),
    )


def _title(name: str, metric: str) -> str:
    return f"Test {metric.upper()} against {clean(name)}"


def _plot(
    name: str,
    curves: Mapping[str, Mapping[float, list[int]]],
    test: Matrix,
    scores: Scores,
    record: Record,
    papers: Matrix,
) -> Curves:
    """The curves with the most settings first; neighbouring values together where they are many."""
    ranked = sorted(curves.items(), key=lambda one: (-sum(map(len, one[1].values())), one[0]))
    lines = []
    for series, points in ranked:
        groups = np.array_split(np.array(sorted(points)), min(BINS, len(points)))
        spans = [
            interval(
                over_groups(
                    test[[c for x in group for c in points[float(x)]]].mean(axis=0), record.folds
                )
            )
            for group in groups
        ]
        mean, low, high = zip(*((100 * s[0], _in(s[1]), _in(s[2])) for s in spans), strict=True)
        there = tuple(_in(_mean(papers[[c for x in g for c in points[float(x)]]])) for g in groups)
        shown = there if any(v is not None for v in there) else ()
        lines.append(Line(series, tuple(float(g.mean()) for g in groups), mean, low, high, shown))
    values = [x for line in lines for x in line.x]
    return Curves(
        f"curve_{name}",
        f"{_title(name, scores.metric)}, mean over settings",
        clean(name),
        f"test {scores.metric.upper()} in %, 95 % over {record.units}",
        tuple(lines),
        log=min(values) > 0 and max(values) / min(values) > WIDE,
    )


def _series(params: Mapping[str, Any]) -> str:
    """What tells a setting's curve from others: its texts and truths."""
    return " ".join(f"{n}={value(x)}" for n, x in sorted(params.items()) if not _number(x))


def _mean(printed: Matrix) -> float | None:
    """Of a point's settings; None where the paper does not give all of them."""
    return float(printed.mean()) if np.isfinite(printed).all() else None


def _number(x: Any) -> bool:
    return isinstance(x, int | float) and not isinstance(x, bool)


def _in(x: float | None) -> float | None:
    return None if x is None else 100 * x
