"""Pictures of a report, drawn with matplotlib: one module a kind, no display and no pyplot."""

from __future__ import annotations

from typing import TYPE_CHECKING

from raysearch.report.plots import (
    Curves,
    HeatMap,
    HeatMaps,
    Intervals,
    Plot,
    Reliability,
    Scatter,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["draw", "png", "svg"]


def draw(plot: Plot) -> Figure:
    """The figure, in the house's style. Call it under `style.render`."""
    from raysearch.report.figures import (
        heat_map,
        interval_chart,
        line_chart,
        reliability_chart,
        scatter_chart,
    )

    match plot:
        case Intervals():
            return interval_chart.draw(plot)
        case Curves():
            return line_chart.draw(plot)
        case HeatMap():
            return heat_map.draw(plot)
        case HeatMaps():
            return heat_map.draw_all(plot)
        case Scatter():
            return scatter_chart.draw(plot)
        case Reliability():
            return reliability_chart.draw(plot)


def svg(plot: Plot) -> bytes:
    """The figure as SVG; the same plot gives the same bytes."""
    from raysearch.report.figures.style import render

    return render(lambda: draw(plot), "svg")


def png(plot: Plot, dpi: int = 200) -> bytes:
    """The figure as PNG; the same plot gives the same bytes."""
    from raysearch.report.figures.style import render

    return render(lambda: draw(plot), "png", dpi)
