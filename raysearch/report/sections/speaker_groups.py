"""UA by group (sex, age, language): whether the study serves all speakers alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby

import numpy as np
import pandas as pd

from raysearch.report.cells import bounds
from raysearch.report.document import Column, Section, Table
from raysearch.report.plots import Intervals, Mark
from raysearch.report.scoring import Scores, folds_of
from raysearch.report.units import unit_of
from raysearch.selection import (
    SPEAKER,
    WORST_GROUP,
    Estimate,
    Matrix,
    pooled_gap,
    pooled_ua,
    ua_of,
)
from raysearch.study.ledger import FoldRow
from raysearch.study.record import Record
from raysearch.study.wording import clean, percent, points


def section(record: Record, scores: Scores) -> Section | None:
    """UA of each group's test clips, and the gaps; None where there are no groups."""
    every = {n: folds_of(scores.trials, c, record) for n, c in scores.choices().items()}
    choices = {name: rows for name, rows in every.items() if rows}
    names = _names(choices)
    if not names:
        return None
    rows = [_row(name, choices, record) for name in names]
    first = next(iter(choices))
    columns = [
        Column("attribute", "by", "name", once=True),
        Column("group", "group", "name"),
        Column("clips", "test\nclips", "count"),
        Column("held_out", f"held-out\n{record.units}", "count"),
    ]
    for name in choices:
        columns.append(Column(name, f"{name}\nUA", "percent"))
        if name == first:
            columns.append(Column("interval", "95 %\ninterval", "interval"))
    gaps = [
        _gap(attribute, choices[first], record)
        for attribute in _attributes(names)
        if len(attribute[1]) > 1
    ]
    return Section(
        "groups",
        f"By group of {'speakers' if record.unit == 'speaker' else 'clips'}",
        tuple(gaps),
        Table(pd.DataFrame(rows, dtype=object), tuple(columns)),
        (
            "UA of all test clips of a group together; intervals by the jackknife over held-out "
            f"{record.units}. Groups of one speaker are left out.",
            *_worst(record, scores, choices, first),
        ),
        plots=(_picture(rows, first, record),),
    )


def figures(record: Record, scores: Scores) -> dict[str, float]:
    """Test UA of the honest choices' worst group."""
    rows = folds_of(scores.trials, scores.estimates.honest_choices, record)
    each = [float(ua_of(_counts(rows, name).sum(axis=0))) for name in _names({"": rows})]
    return {"honest_worst_group_ua": min(each)} if each else {}


def _names(choices: Mapping[str, Sequence[FoldRow]]) -> list[str]:
    """The groups, as "sex=female", that any fold tests clips of, in the order of the folds."""
    every = [
        name
        for rows in choices.values()
        for row in rows
        for name, counts in row.groups.items()
        if np.any(counts["test"])
    ]
    return [name for name in dict.fromkeys(every) if not name.startswith(SPEAKER)]


def _attributes(names: Sequence[str]) -> list[tuple[str, list[str]]]:
    """Each column with its groups."""
    return [(key, list(group)) for key, group in groupby(names, lambda x: x.partition("=")[0])]


def _counts(rows: Sequence[FoldRow], name: str) -> Matrix:
    """Test counts [K, k, k] of a group's clips, by fold."""
    empty = np.zeros(np.shape(rows[0].confusion)).tolist()
    return np.array([row.groups.get(name, {}).get("test", empty) for row in rows], dtype=np.float64)


def _row(name: str, choices: Mapping[str, Sequence[FoldRow]], record: Record) -> dict[str, object]:
    attribute, _, group = name.partition("=")
    first = next(iter(choices))
    counts = _counts(choices[first], name)
    inside = counts.sum(axis=(1, 2)) > 0
    held = {f.test_groups for f, mine in zip(record.folds, inside, strict=True) if mine}
    estimate = _of_group(counts, record)
    return {
        "attribute": attribute,
        "group": clean(group),
        "clips": int(counts.sum()) // record.seeds,
        "held_out": len(held),
        **{x: float(ua_of(_counts(rows, name).sum(axis=0))) for x, rows in choices.items()},
        "interval": bounds(estimate.low, estimate.high),
    }


def _of_group(counts: Matrix, record: Record) -> Estimate:
    """The UA of a group over those held-out groups that have clips of it."""
    inside = np.flatnonzero(counts.sum(axis=(1, 2)) > 0)
    return pooled_ua(counts[inside], [record.folds[f] for f in inside])


def _gap(attribute: tuple[str, Sequence[str]], rows: Sequence[FoldRow], record: Record) -> str:
    """How far apart the best and the worst group of a column are."""
    name, groups = attribute
    each = {x: float(ua_of(_counts(rows, x).sum(axis=0))) for x in groups}
    best, worst = max(groups, key=each.__getitem__), min(groups, key=each.__getitem__)
    gap = pooled_gap(_counts(rows, best), _counts(rows, worst), record.folds)
    high, low = (clean(x.partition("=")[2]) for x in (best, worst))
    within = "no interval: too few speakers"
    if gap.low is not None and gap.high is not None:
        within = f"95 % interval {points(gap.low)} to {points(gap.high)}, over {record.units}"
    most = "" if len(groups) == 2 else "; the best and the worst of several, which favours a gap"
    return (
        f"{name}: {percent(each[best])} % UA for {high} and {percent(each[worst])} % for {low}, "
        f"a gap of {100 * gap.mean:.1f} points ({within}{most})."
    )


def _worst(
    record: Record, scores: Scores, choices: Mapping[str, Sequence[FoldRow]], first: str
) -> list[str]:
    """What the worst group of the objective has on test clips."""
    for objective in record.objectives:
        if objective.name == WORST_GROUP:
            names = _names(choices)
            tests = [float(ua_of(_counts(choices[first], x).sum(axis=0))) for x in names]
            worst = int(np.argmin(tests))
            value = scores.validation[objective.name][scores.estimates.best]
            return [
                f"worst group: {percent(float(value))} % validation UA of the selected setting, "
                f"and {percent(tests[worst])} % test UA of the {first} choices "
                f"({clean(names[worst])})."
            ]
    return []


def _picture(rows: Sequence[Mapping[str, object]], first: str, record: Record) -> Intervals:
    u = unit_of("ua")
    marks = []
    for row in rows:
        ends = row["interval"] if isinstance(row["interval"], tuple) else (None, None)
        label = f"{row['attribute']}: {row['group']}"
        value = row[first]
        assert isinstance(value, float)
        marks.append(Mark(label, 100 * value, u.shown(ends[0]), u.shown(ends[1])))
    return Intervals(
        "groups",
        f"Test UA by group, {first} choices",
        f"{u.axis('test')}, all clips pooled, 95 % interval over {record.units}",
        tuple(marks),
    )
