"""Scores against each numeric parameter that was searched: the papers' curves over lambda or alpha.

A curve is of the settings that share their searched texts and truths (the strategy, say). A point
is the mean over the settings that have its value, whatever their other numbers, and its interval is
over what folds hold out. A curve shows; what differs, the comparisons say.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from raysearch.report.model import Column, Section, Table
from raysearch.report.reading import Kept
from raysearch.report.scoring import Scores
from raysearch.report.write import bounds, clean, value
from raysearch.selection import interval, over_groups

__all__ = ["sections"]

LEAST = 3
"""values that make a curve"""
MOST = 40
"""points that a table shows; a parameter with more is left to the figures"""


def sections(kept: Kept, scores: Scores) -> list[Section]:
    """A table a parameter, in the order of their names."""
    names = sorted({n for t in scores.trials for n, x in t.params.items() if _number(x)})
    made = [_curve(name, kept, scores) for name in names]
    return [section for section in made if section is not None]


def _curve(name: str, kept: Kept, scores: Scores) -> Section | None:
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
    if not curves or sum(map(len, curves.values())) > MOST:
        return None
    rows = []
    for series, points in sorted(curves.items()):
        for x, settings in sorted(points.items()):
            mean, low, high, _ = interval(over_groups(test[settings].mean(axis=0), kept.folds))
            rows.append(
                {
                    "series": series,
                    "value": value(x),
                    "settings": len(settings),
                    "validation": float(validation[settings].mean()),
                    "test": mean,
                    "interval": bounds(low, high),
                }
            )
    several = len(curves) > 1 or next(iter(curves)) != ""
    columns = [Column("series", "settings with", "text")] if several else []
    columns += [
        Column("value", clean(name), "text"),
        Column("settings", "settings", "count"),
        Column("validation", f"val\n{m.upper()}", "percent"),
        Column("test", f"test\n{m.upper()}", "percent"),
        Column("interval", "95 %\ninterval", "interval"),
    ]
    cut = " Folds that a race left out are filled with what is predicted." if scores.cut else ""
    return Section(
        f"curve_{name}",
        f"Test {m.upper()} against {clean(name)}",
        table=Table(pd.DataFrame(rows), tuple(columns)),
        after=(f"Means over the settings of each value; intervals are over {kept.units}.{cut}",),
    )


def _series(params: Mapping[str, Any]) -> str:
    """What tells a setting's curve from others: its texts and truths."""
    return " ".join(f"{n}={value(x)}" for n, x in sorted(params.items()) if not _number(x))


def _number(x: Any) -> bool:
    return isinstance(x, int | float) and not isinstance(x, bool)
