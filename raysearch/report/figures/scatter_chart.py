"""Points in the plane by group: a last layer under t-SNE."""

from __future__ import annotations

from matplotlib.figure import Figure

from raysearch.report.figures.style import COLOURS, MARKERS, new_figure, set_title
from raysearch.report.plots import Scatter

_ROW = 4
"""panels beside each other"""
_MANY = 2000
"""points from which an SVG holds them as an image"""


def draw(plot: Scatter) -> Figure:
    """A panel beside the other; axes of t-SNE have no unit, so none is drawn."""
    n = len(plot.panels)
    wide = min(n, _ROW)
    tall = -(-n // wide)
    figure = new_figure(max(3.5, 1.75 * wide), 0.75 + 1.85 * tall)
    many = sum(len(panel.points) for panel in plot.panels) > _MANY
    axes = figure.subplots(tall, wide, squeeze=False).ravel()
    for ax in axes[n:]:
        ax.set_visible(False)
    for ax, panel in zip(axes, plot.panels, strict=False):
        for g in range(len(plot.groups)):
            mine = panel.points[panel.group == g]
            ax.scatter(
                mine[:, 0],
                mine[:, 1],
                s=9 if not many else 4,
                color=COLOURS[g % len(COLOURS)],
                marker=MARKERS[(g + g // len(COLOURS)) % len(MARKERS)],
                linewidths=0,
                alpha=0.85,
                rasterized=many,
            )
        ax.set_title(panel.title, loc="left", fontsize=7)
        ax.set_xticks([])
        ax.set_yticks([])
        for spine in ax.spines.values():
            spine.set_visible(True)
            spine.set_edgecolor("#cccccc")
    handles = [
        axes[0].scatter(
            [],
            [],
            s=14,
            color=COLOURS[g % len(COLOURS)],
            marker=MARKERS[(g + g // len(COLOURS)) % len(MARKERS)],
            label=name,
        )
        for g, name in enumerate(plot.groups)
    ]
    figure.legend(handles=handles, loc="outside lower left", ncols=min(len(handles), 2 * wide))
    set_title(figure, plot.title)
    return figure
