"""How raw values are written, the same in every renderer."""

from __future__ import annotations

import math
import re
from collections.abc import Hashable, Iterable, Mapping
from typing import Any

from raysearch.report.model import Kind, Table

__all__ = [
    "bounds",
    "cell",
    "clean",
    "duration",
    "groups",
    "listed",
    "many",
    "params",
    "percent",
    "points",
    "term",
    "texts",
    "value",
]

NOTHING = "–"
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|[\x00-\x08\x0b-\x1f\x7f-\x9f]")


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
    found: list[list[dict[Hashable, Any]]] = []
    for row in table.frame.to_dict("records"):
        if once and found and all(found[-1][0][name] == row[name] for name in once):
            found[-1].append(row)
        else:
            found.append([row])
    return found


def texts(table: Table) -> list[list[str]]:
    """A table's cells as texts, row by row; what stands once is "" below the first of its rows."""
    return [
        ["" if place and c.once else cell(row[c.name], c.kind) for c in table.columns]
        for group in groups(table)
        for place, row in enumerate(group)
    ]


def points(x: float) -> str:
    """A difference of fractions in points, one decimal, with its sign."""
    # + 0.0: a difference that rounds to nothing has no minus
    return f"{round(100 * x, 1) + 0.0:+.1f}".replace("-", "−")


def percent(x: float) -> str:
    """A fraction in %, one decimal, without the sign."""
    return f"{100 * x:.1f}"


def params(setting: Mapping[str, Any]) -> str:
    """A setting on one line, by name: "batch=64 gamma=0.5"; "(no searched parameter)" if empty."""
    if not setting:
        return "(no searched parameter)"
    return clean(" ".join(f"{name}={value(setting[name])}" for name in sorted(setting)))


def value(x: Any) -> str:
    """One parameter's value: floats with four significant digits, booleans as YAML has them."""
    if isinstance(x, bool):
        return str(x).lower()
    return f"{x:.4g}" if isinstance(x, float) else str(x)


def duration(seconds: float) -> str:
    """A duration in at most two units: "0.4 s", "42 s", "3 min 5 s", "2 h 10 min"."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def clean(text: str) -> str:
    """`text` on one line and without control characters: reasons come from anybody's exceptions."""
    return " ".join(_CONTROL.sub("", text.replace("\n", " ").replace("\t", " ")).split())


def term(line: str) -> tuple[str, str] | None:
    """The word that a line explains, and what it says of it: "honest: for each …"."""
    word, colon, rest = line.partition(": ")
    return (word, rest) if colon and " " not in word else None


def bounds(low: float | None, high: float | None) -> tuple[float, float] | None:
    """An interval as a table's cell holds it."""
    return None if low is None or high is None else (low, high)


def listed(names: str | Iterable[Any]) -> str:
    """ "a", or "a, b"."""
    return names if isinstance(names, str) else ", ".join(str(x) for x in names)


def many(n: int, what: str) -> str:
    """ "1 fold", "2 folds"."""
    return f"{n} {what}" if n == 1 else f"{n} {what}s"
