"""Pictures of a report, drawn with matplotlib: one module a kind, no display and no pyplot."""

from __future__ import annotations

from typing import TYPE_CHECKING

from raysearch.report.plots import Curves, HeatMap, HeatMaps, Intervals, Plot, Scatter

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["draw", "png", "svg"]


def draw(plot: Plot) -> Figure:
    """The figure, in the house's style. Call it under `style.styled`."""
    from raysearch.report.figures import heat_map
    from raysearch.report.figures import interval_chart as intervals
    from raysearch.report.figures import line_chart as curves
    from raysearch.report.figures import scatter_chart as scatter

    match plot:
        case Intervals():
            return intervals.draw(plot)
        case Curves():
            return curves.draw(plot)
        case HeatMap():
            return heat_map.draw(plot)
        case HeatMaps():
            return heat_map.draw_all(plot)
        case Scatter():
            return scatter.draw(plot)


def svg(plot: Plot) -> bytes:
    """The figure as SVG; the same plot gives the same bytes."""
    from raysearch.report.figures.style import written

    return written(lambda: draw(plot), "svg")


def png(plot: Plot, dpi: int = 200) -> bytes:
    """The figure as PNG; the same plot gives the same bytes."""
    from raysearch.report.figures.style import written

    return written(lambda: draw(plot), "png", dpi)
