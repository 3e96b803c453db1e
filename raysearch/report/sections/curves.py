"""Scores against each numeric parameter that was searched: the papers' curves over lambda or alpha.

A curve is of the settings that share their searched texts and truths (the strategy, say). A point
is the mean over the settings that have its value, whatever their other numbers, and its interval is
over what folds hold out. A curve shows; what differs, the comparisons say. Where all settings of a
point are rows of a paper's table, the mean of its figures stands beside.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from raysearch.report.document import Column, Section, Table
from raysearch.report.plots import Curves, Line
from raysearch.report.scoring import Scores
from raysearch.report.sections.comparisons import FEW
from raysearch.report.sections.published_tables import paper_figures
from raysearch.report.units import Unit, unit_of
from raysearch.selection import Matrix, interval, over_groups
from raysearch.study.record import Record
from raysearch.study.wording import clean, value

Points = Mapping[float, Sequence[int]]
"""value -> the rows that have it"""

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
    names = sorted(
        {n for t in scores.trials for n, x in t.params.items() if _number(x) is not None}
    )
    paper = paper_figures(record, scores, scores.metric)
    papers = np.array([paper.get(trial.number, np.nan) for trial in scores.trials])
    return [
        _section(name, curves, record, scores, papers)
        for name in names
        if (curves := _curves(name, scores))
    ]


def _curves(name: str, scores: Scores) -> dict[str, Points]:
    """The curves of a parameter that have enough points, by what their settings share."""
    curves: dict[str, dict[float, list[int]]] = defaultdict(lambda: defaultdict(list))
    for c, trial in enumerate(scores.trials):
        x = _number(trial.params.get(name))
        if x is not None:
            curves[_series(trial.params)][x].append(c)
    return {series: points for series, points in curves.items() if len(points) >= LEAST}


def _section(
    name: str, curves: Mapping[str, Points], record: Record, scores: Scores, papers: Matrix
) -> Section:
    m = scores.metric
    plot = _plot(name, curves, record, scores, papers)
    few = all(len(rows) <= FEW for points in curves.values() for rows in points.values())
    count = sum(map(len, curves.values()))
    if count > MOST:
        line = f"{count} values, too many for a table: see the figure."
        return Section(f"curve_{name}", _title(name, m), (line,), plots=(plot,), detail=few)
    cut = " Folds that were not run are filled with predicted scores." if scores.cut else ""
    return Section(
        f"curve_{name}",
        _title(name, m),
        table=_table(curves, record, scores, papers),
        after=(f"Means over the settings of each value; intervals are over {record.units}.{cut}",),
        plots=(plot,),
        detail=few,
    )


def _table(curves: Mapping[str, Points], record: Record, scores: Scores, papers: Matrix) -> Table:
    """A row a point; what a paper gives beside it, where it gives any."""
    u = unit_of(scores.metric)
    # draws hold what is maximised
    test = _test(scores)
    validation = u.metric.sign * np.mean([v for v, _ in scores.draws], axis=0)
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
                    "interval": u.bounds(low, high),
                    "paper": _mean(papers[settings]),
                }
            )
    several = len(curves) > 1 or next(iter(curves)) != ""
    columns = [Column("series", "settings with", "text", once=True)] if several else []
    columns += [
        Column("value", "value", "name"),
        Column("settings", "settings", "count"),
        Column("validation", f"val\n{u.heading}", u.value),
        Column("test", f"test\n{u.heading}", u.value),
        Column("interval", "95 %\ninterval", u.interval),
    ]
    if any(row["paper"] is not None for row in rows):
        columns.append(Column("paper", "paper", u.value))
    return Table(pd.DataFrame(rows), tuple(columns))


def _test(scores: Scores) -> Matrix:
    """[C, K] test scores: measured, or where a race left a hole the mean of its draws."""
    table: Matrix = np.mean([t[scores.metric] for _, t in scores.draws], axis=0)
    return table


def _title(name: str, metric: str) -> str:
    return f"Test {unit_of(metric).heading} against {clean(name)}"


def _plot(
    name: str, curves: Mapping[str, Points], record: Record, scores: Scores, papers: Matrix
) -> Curves:
    """The curves with the most settings first."""
    test, u = _test(scores), unit_of(scores.metric)
    first = sorted(curves.items(), key=lambda one: (-sum(map(len, one[1].values())), one[0]))
    lines = [_line(series, points, test, record, papers, u) for series, points in first]
    values = [x for line in lines for x in line.x]
    return Curves(
        f"curve_{name}",
        f"{_title(name, scores.metric)}, mean over settings",
        clean(name),
        f"{u.axis('test')}, 95 % over {record.units}",
        tuple(lines),
        log=min(values) > 0 and max(values) / min(values) > WIDE,
    )


def _line(
    series: str, points: Points, test: Matrix, record: Record, papers: Matrix, u: Unit
) -> Line:
    """A curve of at most `BINS` points: of more values, neighbours are taken together."""
    groups = np.array_split(np.array(sorted(points)), min(BINS, len(points)))
    settings = [[c for x in group for c in points[float(x)]] for group in groups]
    spans = [interval(over_groups(test[rows].mean(axis=0), record.folds)) for rows in settings]
    mean, low, high = zip(
        *((u.scale * s[0], _scaled(s[1], u), _scaled(s[2], u)) for s in spans), strict=True
    )
    paper = tuple(_scaled(_mean(papers[rows]), u) for rows in settings)
    return Line(
        series,
        tuple(float(group.mean()) for group in groups),
        mean,
        low,
        high,
        paper if any(x is not None for x in paper) else (),
    )


def _series(params: Mapping[str, object]) -> str:
    """What tells a setting's curve from others: its texts and truths."""
    return " ".join(f"{n}={value(x)}" for n, x in sorted(params.items()) if _number(x) is None)


def _mean(paper: Matrix) -> float | None:
    """A paper's figures of a point's settings; None where it does not give all of them."""
    return float(paper.mean()) if np.isfinite(paper).all() else None


def _number(x: object) -> float | None:
    """A parameter's value where it is a number."""
    return float(x) if isinstance(x, int | float) and not isinstance(x, bool) else None


def _scaled(x: float | None, u: Unit) -> float | None:
    return None if x is None else u.scale * x
