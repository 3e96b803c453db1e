"""Reliability diagrams: how often answers of a confidence are right."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from raysearch.report.figures.style import COLOURS, GREY, new_figure, set_title
from raysearch.report.plots import Reliability, ReliabilityPanel


def draw(plot: Reliability) -> Figure:
    """A panel beside the other; below each, how many clips have which confidence."""
    n = len(plot.panels)
    figure = new_figure(max(3.5, 2.3 * n + 0.3), 3.1)
    grid = figure.subplots(
        2, n, squeeze=False, sharex=True, sharey="row", gridspec_kw={"height_ratios": [3, 1]}
    )
    for place, panel in enumerate(plot.panels):
        above, below = grid[:, place]
        _shares(above, panel)
        _counts(below, panel)
        if place == 0:
            above.set_ylabel("answers that are right in %")
            below.set_ylabel("clips")
    figure.supxlabel("confidence of the answer in %", fontsize=7.5)
    set_title(figure, plot.title)
    return figure


def _shares(axes: Axes, panel: ReliabilityPanel) -> None:
    """Bars of what is right, at the mean confidence of their bin a mark, and the diagonal."""
    count, confidence, right = panel.bins.T
    some = count > 0
    left, width = _edges(panel)
    share = 100 * np.divide(right, count, out=np.zeros_like(count), where=some)
    axes.bar(left[some], share[some], width, align="edge", color=COLOURS[0], alpha=0.75)
    mean = 100 * confidence[some] / count[some]
    axes.plot(mean, share[some], "o", color=COLOURS[1], markersize=2.5)
    axes.plot([0, 100], [0, 100], color=GREY, linewidth=0.8, linestyle=(0, (4, 3)))
    axes.set_xlim(0, 100)
    axes.set_ylim(0, 100)
    axes.set_title(panel.title, loc="left", fontsize=7)


def _counts(axes: Axes, panel: ReliabilityPanel) -> None:
    left, width = _edges(panel)
    axes.bar(left, panel.bins[:, 0], width, align="edge", color=GREY, alpha=0.6)


def _edges(panel: ReliabilityPanel) -> tuple[np.ndarray, float]:
    """Where the bins begin, and how wide a bar is, in %."""
    bins = len(panel.bins)
    return 100 * np.arange(bins) / bins, 94 / bins
