"""Scores against a parameter, with their intervals."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from raysearch.report.figures.style import COLOURS, MARKERS, new_figure, set_title, short
from raysearch.report.plots import Curves

MOST = len(COLOURS)
"""lines that can be told apart"""
_BARS = 2
"""lines up to which intervals are bands; of more, they are thin bars"""


def draw(plot: Curves) -> Figure:
    """A line a series; its interval as a band, or as bars where bands would hide each other.

    What a paper gives is dashed, in its series' colour."""
    lines = plot.lines[:MOST]
    papers = any(line.paper for line in lines)
    level = plot.level
    legend = len(lines) > 1 or bool(lines[0].label) or papers or level is not None
    legend_has_papers = False
    figure = new_figure(
        height=2.5 + (0.15 * (len(lines) + papers + (level is not None)) if legend else 0.0)
    )
    axes = figure.add_subplot()
    for i, line in enumerate(lines):
        x, mean = np.array(line.x), np.array(line.mean)
        low = np.array([np.nan if v is None else v for v in line.low], dtype=np.float64)
        high = np.array([np.nan if v is None else v for v in line.high], dtype=np.float64)
        axes.plot(
            x,
            mean,
            label=short(line.label, 52),
            color=COLOURS[i],
            marker=MARKERS[i],
            markersize=3.5,
            linewidth=1.2,
        )
        if line.paper:
            values = np.array([np.nan if v is None else v for v in line.paper], dtype=np.float64)
            axes.plot(
                x, values, color=COLOURS[i], marker=MARKERS[i], markersize=3.5, linewidth=0.9,
                linestyle="--", markerfacecolor="white",
                label="" if legend_has_papers else "dashed: as published",
            )  # fmt: skip
            legend_has_papers = True
        if len(lines) <= _BARS and len(x) > 1:
            axes.fill_between(x, low, high, color=COLOURS[i], alpha=0.18, linewidth=0)
        else:
            axes.vlines(x, low, high, color=COLOURS[i], linewidth=0.7, alpha=0.7)
    if level is not None:
        axes.axhline(level.mean, color="#666666", linewidth=0.9, linestyle=":", label=level.label)
    if plot.log:
        axes.set_xscale("log")
    axes.set_xlabel(plot.x)
    axes.set_ylabel(plot.y)
    axes.grid(axis="y", color="#dddddd", linewidth=0.5)
    axes.set_axisbelow(True)
    if legend:
        figure.legend(loc="outside lower left", ncols=1)
    set_title(figure, plot.title)
    return figure
