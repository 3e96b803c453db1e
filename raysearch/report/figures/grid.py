"""Tables as colours: scores of settings by fold, and confusion matrices."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from raysearch.report.figures.style import GREY, figure, short, titled
from raysearch.report.plots import Grid

__all__ = ["draw"]

_SIDE = 0.29
"""inches of a cell with a number"""
_TALL = 6.5
"""inches that rows may take; of more rows, neither names nor numbers are written"""


def draw(plot: Grid) -> Figure:
    """A cell a number, blank where there is none."""
    rows, columns = plot.values.shape
    named = rows * 0.14 <= _TALL
    written = plot.written and rows * _SIDE <= _TALL and columns <= 24
    side = _SIDE if written else 0.15
    left = 0.1 + 0.062 * max((len(short(name)) for name in plot.rows), default=0) if named else 0.4
    bottom = 0.25 + 0.05 * max(len(short(name, 16)) for name in plot.columns)
    width = max(3.5, left + 0.85 + columns * (_SIDE if written else 0.16))
    made = figure(min(width, 9.0), min(max(rows * side, 0.9), _TALL) + bottom + 0.55)
    axes = made.add_subplot()
    axes.set_facecolor("#f2f2f2")
    shown = np.ma.masked_invalid(plot.values)
    image = axes.imshow(
        shown,
        cmap="cividis",
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
    bar = made.colorbar(image, ax=axes, shrink=0.8, pad=0.02)
    bar.set_label(plot.unit)
    bar.outline.set_edgecolor(GREY)
    if written:
        low, high = image.get_clim()
        middle = (low or 0.0) + 0.55 * ((high or 1.0) - (low or 0.0))
        for (r, c), value in np.ndenumerate(plot.values):
            if np.isfinite(value):
                colour = "white" if value < middle else "black"
                axes.text(c, r, f"{value:.0f}", ha="center", va="center", color=colour, fontsize=6)
    titled(axes, plot.title, width)
    return made
