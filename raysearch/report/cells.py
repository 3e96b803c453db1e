"""How the cells of a table are written, the same in every format."""

from __future__ import annotations

import math
from collections.abc import Hashable
from typing import Any

from raysearch.report.document import Kind, Table
from raysearch.study.wording import clean, duration, number, params, percent, points

NOTHING = "–"


def cell(x: Any, kind: Kind) -> str:
    """One value of a column, as text."""
    if x is None or (isinstance(x, float) and math.isnan(x)):
        return NOTHING
    if kind == "percent":
        return percent(x)
    if kind == "spread":
        return f"{100 * x:.1f}"
    if kind == "points":
        return points(x)
    if kind == "range":
        return f"{points(x[0])} to {points(x[1])}"
    if kind == "interval":
        low, high = x
        return f"{percent(max(0.0, low))} to {percent(min(1.0, high))}"
    if kind == "number":
        return number(x)
    if kind == "change":
        return number(x, sign=True)
    if kind in ("between", "changes"):
        return " to ".join(number(end, sign=kind == "changes") for end in x)
    if kind == "p":
        return f"{x:.3f}" if x >= 0.001 else "< 0.001"
    if kind == "params":
        return params(x)
    if kind == "seconds":
        return duration(x)
    return clean(str(x))


def groups(table: Table) -> list[list[dict[Hashable, Any]]]:
    """A table's rows, one after the other; those that share all that stands once are together."""
    once = [column.name for column in table.columns if column.once]
    together: list[list[dict[Hashable, Any]]] = []
    for row in table.frame.to_dict("records"):
        if once and together and all(together[-1][0][name] == row[name] for name in once):
            together[-1].append(row)
        else:
            together.append([row])
    return together


def texts(table: Table) -> list[list[str]]:
    """A table's cells as texts, row by row; what stands once is "" below the first of its rows."""
    return [
        ["" if place and c.once else cell(row[c.name], c.kind) for c in table.columns]
        for group in groups(table)
        for place, row in enumerate(group)
    ]


def term(line: str) -> tuple[str, str] | None:
    """The word that a line explains, and what it says of it: "honest: for each …"."""
    word, colon, rest = line.partition(": ")
    return (word, rest) if colon and " " not in word else None


def bounds(low: float | None, high: float | None) -> tuple[float, float] | None:
    """An interval as a table's cell holds it."""
    return None if low is None or high is None else (low, high)
