"""Values with their intervals, one above the other: estimates, differences, importances."""

from __future__ import annotations

from matplotlib.figure import Figure

from raysearch.report.figures.style import COLOURS, GREY, INK, new_figure, set_title, short
from raysearch.report.plots import Intervals


def draw(plot: Intervals) -> Figure:
    """A row a mark, the first on top; the interval as a line through the point."""
    figure = new_figure(height=0.85 + 0.24 * len(plot.marks))
    axes = figure.add_subplot()
    places = range(len(plot.marks))
    for place, mark in zip(places, plot.marks, strict=True):
        colour = COLOURS[1] if mark.strong else COLOURS[0]
        if plot.bars:
            axes.barh(place, mark.mean, height=0.62, color=colour, alpha=0.75)
        ink = INK if plot.bars else colour
        if mark.low is not None and mark.high is not None:
            axes.plot([mark.low, mark.high], [place, place], color=ink, linewidth=1.4)
            for end in (mark.low, mark.high):
                axes.plot([end, end], [place - 0.14, place + 0.14], color=ink, linewidth=1.0)
        if not plot.bars:
            axes.plot(mark.mean, place, "o", color=colour, markersize=4.5)
    if plot.zero:
        axes.axvline(0.0, color=GREY, linewidth=0.8, linestyle=(0, (4, 3)), zorder=0)
    if plot.bars:
        axes.set_xlim(left=0.0)
    axes.set_yticks(places, [short(mark.label, 34) for mark in plot.marks])
    axes.set_ylim(len(plot.marks) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x", color="#dddddd", linewidth=0.5)
    axes.set_axisbelow(True)
    figure.supxlabel(plot.axis, fontsize=7.5)
    set_title(figure, plot.title)
    return figure
