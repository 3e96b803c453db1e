"""Figures of a study for Python: estimates, curves, and trials by folds. Nothing opens a window."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure

from raysearch.errors import BadInput, near
from raysearch.report import Report

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Picture", "curve", "estimates", "heatmap"]


class Picture(Figure):
    """A figure that a notebook shows without pyplot."""

    def _repr_png_(self) -> bytes:
        out = io.BytesIO()
        self.savefig(out, format="png", dpi=120)
        return out.getvalue()


def estimates(table: pd.DataFrame, metric: str = "ua") -> Picture:
    """The four estimates as points with their intervals.

    Args:
        table: of `Result.estimates`.
        metric: "ua" or "wa".
    """
    if metric not in table.columns:
        known = [name for name in map(str, table) if "_" not in name]
        raise BadInput(
            f"metric={metric!r} is unknown{near(metric, known)}; there are "
            f"{', '.join(known) or 'no estimates yet'}"
        )
    figure = Picture(figsize=(5.5, 2.4), layout="constrained")
    axes = figure.add_subplot()
    at = np.arange(len(table))[::-1]
    mean = 100 * table[metric].to_numpy(dtype=float)
    # one fold has no interval
    low, high = (100 * table[f"{metric}_{end}"].to_numpy(dtype=float) for end in ("low", "high"))
    axes.hlines(at, low, high, color="0.6")
    axes.plot(mean, at, "o")
    axes.set_yticks(at, list(table.index))
    axes.set_xlabel(f"{metric.upper()} in %, with 95 % intervals")
    return figure


def curve(report: Report, parameter: str) -> Picture:
    """Mean test scores against a parameter, with the intervals of the report's table."""
    tables = {s.name.removeprefix("curve_"): s for s in report.sections if s.table is not None}
    known = [s.name.removeprefix("curve_") for s in report.sections if s.name.startswith("curve_")]
    if parameter not in known:
        raise BadInput(
            f"there is no curve over {parameter!r}{near(parameter, known)}; there are curves over "
            f"{', '.join(known) or 'nothing'} (a searched number with three values or more)"
        )
    section = tables[parameter]
    assert section.table is not None
    figure = Picture(figsize=(5.5, 3.2), layout="constrained")
    axes = figure.add_subplot()
    for series, rows in section.table.frame.groupby("series", sort=False):
        x = rows["value"].astype(float).to_numpy()
        test = 100 * rows["test"].to_numpy(dtype=float)
        (line,) = axes.plot(x, test, "o-", label=str(series) or None)
        ends = [ends or (np.nan, np.nan) for ends in rows["interval"]]
        low, high = 100 * np.array(ends, dtype=float).T
        axes.fill_between(x, low, high, color=line.get_color(), alpha=0.15, linewidth=0)
    if section.table.frame["series"].nunique() > 1:
        axes.legend(fontsize="small")
    axes.set_xlabel(parameter)
    axes.set_ylabel("test score in %")
    axes.set_title(section.title, fontsize="medium")
    return figure


def heatmap(folds: pd.DataFrame, score: str, order: Sequence[str]) -> Picture:
    """A score by trial and fold; folds that a trial did not run are blank.

    Args:
        folds: of `Result.folds`.
        score: a column of it.
        order: the folds' names.
    """
    known = [name for name in map(str, folds) if name not in ("trial", "fold")]
    if score not in known:
        raise BadInput(f"score={score!r} is unknown{near(score, known)}; there are {known}")
    table = folds.pivot(index="trial", columns="fold", values=score).reindex(columns=list(order))
    figure = Picture(figsize=(6.0, 1.5 + 0.16 * min(len(table), 60)), layout="constrained")
    axes = figure.add_subplot()
    factor, unit = (1, " in s") if score == "seconds" else (100, " in %")
    image = axes.imshow(factor * table.to_numpy(dtype=float), aspect="auto")
    axes.set_xticks(range(len(table.columns)), list(table.columns), rotation=90, fontsize="small")
    step = max(1, len(table) // 20)
    axes.set_yticks(range(0, len(table), step), [str(n) for n in table.index[::step]])
    axes.set_xlabel("fold")
    axes.set_ylabel("trial")
    figure.colorbar(image, ax=axes, label=f"{score}{unit}")
    return figure
