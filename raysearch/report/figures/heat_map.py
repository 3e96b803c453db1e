"""Tables as colours: scores of settings by fold, and confusion matrices."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from raysearch.report.figures.style import GREY, new_figure, set_title, short
from raysearch.report.plots import HeatMap, HeatMaps

_SIDE = 0.29
"""inches of a cell with a number"""
_ROW = 5
"""panels beside each other"""
_TALL = 6.5
"""inches that rows may take; of more rows, there are neither names nor numbers"""


def draw(plot: HeatMap) -> Figure:
    """A cell a number, blank where there is none."""
    rows, columns = plot.values.shape
    named = rows * 0.14 <= _TALL
    numbers = rows * _SIDE <= _TALL and columns <= 24
    side = _SIDE if numbers else 0.15
    left = 0.1 + 0.062 * max((len(short(name)) for name in plot.rows), default=0) if named else 0.4
    bottom = 0.25 + 0.05 * max(len(short(name, 16)) for name in plot.columns)
    width = max(3.5, left + 0.85 + columns * (_SIDE if numbers else 0.16))
    figure = new_figure(min(width, 9.0), min(max(rows * side, 0.9), _TALL) + bottom + 0.55)
    axes = figure.add_subplot()
    axes.set_facecolor("#f2f2f2")
    values = np.ma.masked_invalid(plot.values)
    image = axes.imshow(
        values,
        cmap=_colours(plot),
        aspect="auto",
        interpolation="nearest",
        vmin=plot.low,
        vmax=plot.high,
    )
    axes.set_xticks(range(columns), [short(name, 16) for name in plot.columns], rotation=90)
    if named:
        axes.set_yticks(range(rows), [short(name) for name in plot.rows])
    else:
        axes.set_yticks([])
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.set_xlabel(plot.x)
    axes.set_ylabel(plot.y)
    bar = figure.colorbar(image, ax=axes, shrink=0.8, pad=0.02)
    bar.set_label(plot.unit)
    bar.outline.set_edgecolor(GREY)
    if numbers:
        low, high = image.get_clim()
        span = max((high or 1.0) - (low or 0.0), 1e-9)
        for (r, c), value in np.ndenumerate(plot.values):
            if np.isfinite(value):
                dark = ((value - (low or 0.0)) / span > 0.55) == plot.shares
                colour = "white" if dark else "black"
                axes.text(c, r, f"{value:.0f}", ha="center", va="center", color=colour, fontsize=6)
    set_title(figure, plot.title)
    return figure


def draw_all(plot: HeatMaps) -> Figure:
    """Small panels without numbers; the first of a row has the rows' names."""
    n, first = len(plot.grids), plot.grids[0]
    wide = min(n, _ROW)
    tall = -(-n // wide)
    figure = new_figure(max(3.5, 1.55 * wide + 0.9), 1.0 + 1.5 * tall)
    axes = figure.subplots(tall, wide, squeeze=False)
    for ax in axes.ravel()[n:]:
        ax.set_visible(False)
    rows, columns = first.values.shape
    for i, (ax, grid) in enumerate(zip(axes.ravel(), plot.grids, strict=False)):
        ax.set_facecolor("#f2f2f2")
        values = np.ma.masked_invalid(grid.values)
        image = ax.imshow(values, cmap=_colours(first), vmin=first.low, vmax=first.high)
        ax.set_title(grid.title, loc="left", fontsize=7)
        left, below = i % wide == 0, i + wide >= n
        names = [short(name, 10) for name in first.columns]
        ax.set_xticks(range(columns), names if below else [""] * columns, rotation=90, fontsize=5.5)
        # the counts of a panel's rows are its own: names alone are shared
        heads = [short(name.split(" (")[0], 10) for name in first.rows]
        ax.set_yticks(range(rows), heads if left else [""] * rows, fontsize=5.5)
        ax.tick_params(length=0)
    bar = figure.colorbar(image, ax=axes, shrink=0.5, pad=0.02)
    bar.set_label(first.unit)
    figure.supxlabel(first.x, fontsize=7.5)
    set_title(figure, plot.title)
    return figure


def _colours(plot: HeatMap) -> str:
    return "Blues" if plot.shares else "cividis"
