"""A paper's table beside the study's own trials.

The ledger's fact `published` holds the paper's table:

    {"source": "Table 2 of paper 002", "metric": "ua",
     "rows": [{"name": "CE", "params": {"loss": "ce"}, "value": 0.431}, ...]}

A row is the first complete trial that has all of its `params` (constants of the space included);
the first row is the baseline that gains are counted from.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from raysearch.report.model import Column, Section, Table
from raysearch.report.reading import Kept
from raysearch.report.scoring import Scores
from raysearch.report.write import bounds, clean, many
from raysearch.selection import compare, over_groups

__all__ = ["section"]


def section(kept: Kept, scores: Scores) -> Section | None:
    """A paper's rows beside this study's. Corpora differ, so gains over the first row compare."""
    published = kept.published
    if not published:
        return None
    m = str(published.get("metric", "ua"))
    constants = {n: x for n, x in kept.part("params").items() if not isinstance(x, dict)}
    rows = list(published["rows"])
    found = [_row_of(row["params"], scores, constants) for row in rows]
    first = found[0] if found else None
    made = []
    for i, (row, c) in enumerate(zip(rows, found, strict=True)):
        gained = None
        if i and c is not None and first is not None:
            gained = compare(*(over_groups(scores.test[m][row], kept.folds) for row in (c, first)))
        paper = row.get("value")
        base = rows[0].get("value")
        made.append(
            {
                "name": str(row["name"]),
                "published": paper,
                "published_gain": paper - base if i and None not in (paper, base) else None,
                "trial": None if c is None else scores.trials[c].number,
                "here": None if c is None else scores.test[m][c].mean(),
                "gain": None if gained is None else gained.mean,
                "interval": None if gained is None else bounds(gained.low, gained.high),
            }
        )
    columns = (
        Column("name", "row", "text"),
        Column("published", f"published\n{m.upper()}", "percent"),
        Column("published_gain", "published\ngain", "points"),
        Column("trial", "trial", "count"),
        Column("here", f"here\n{m.upper()}", "percent"),
        Column("gain", "here\ngain", "points"),
        Column("interval", "95 %\ninterval", "range"),
    )
    frame = pd.DataFrame(made, columns=[c.name for c in columns], dtype=object)
    missing = sum(c is None for c in found)
    after = [f"Gains are over {rows[0]['name']}, here paired by fold."] if rows else []
    if missing:
        after.append(
            f"{many(missing, 'row')} of the table {'has' if missing == 1 else 'have'} "
            "no complete trial here."
        )
    return Section(
        "published",
        f"Beside the published figures: {clean(str(published.get('source', 'the paper')))}",
        (),
        Table(frame, columns),
        tuple(after),
    )


def _row_of(wanted: Mapping[str, Any], scores: Scores, constants: Mapping[str, Any]) -> int | None:
    for c in scores.complete:
        have = {**constants, **scores.trials[c].params}
        if all(name in have and _same(have[name], x) for name, x in wanted.items()):
            return c
    return None


def _same(a: Any, b: Any) -> bool:
    # a grid's 0.30000000000000004 is the 0.3 that a table names
    if isinstance(a, float) and isinstance(b, int | float) and not isinstance(b, bool):
        return math.isclose(a, b, rel_tol=1e-9)
    return bool(a == b)
