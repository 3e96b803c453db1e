"""The house's style: legible at the width of one column, and by the colour-blind."""

from __future__ import annotations

import io
import textwrap
import threading
from collections.abc import Callable
from typing import Any

import matplotlib
from matplotlib.figure import Figure

WIDTH = 3.5
"""inches: a column of a two-column paper"""
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#999933")
"""Okabe and Ito's, in an order that keeps neighbours apart"""
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
"""beside colours, so that print in grey tells groups apart too"""
INK, GREY = "#222222", "#888888"

_STYLE: Any = {
    "text.parse_math": False,  # names hold what they like
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 7.5,
    "axes.titlesize": 8.0,
    "axes.labelsize": 7.5,
    "xtick.labelsize": 7.0,
    "ytick.labelsize": 7.0,
    "legend.fontsize": 7.0,
    "axes.edgecolor": GREY,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "svg.hashsalt": "raysearch",
}
_LOCK = threading.Lock()
"""matplotlib's settings are one for the whole process, and the tracker draws in a thread"""


def render(draw: Callable[[], Figure], kind: str, dpi: int = 200) -> bytes:
    """A figure drawn under the house's settings, as the bytes of a file.

    Args:
        draw: makes the figure.
        kind: "svg" or "png".
        dpi: dots an inch, of a PNG.
    """
    out = io.BytesIO()
    with _LOCK, matplotlib.rc_context(_STYLE):
        figure = draw()
        # a date would make two files of one picture
        facts = {"Date": None} if kind == "svg" else {"Software": None}
        figure.savefig(out, format=kind, dpi=dpi, metadata=facts)
    return out.getvalue()


def new_figure(width: float = WIDTH, height: float = 2.4) -> Figure:
    """An empty figure of that size in inches, which lays itself out."""
    return Figure(figsize=(width, height), layout="constrained")


def set_title(figure: Figure, title: str) -> None:
    """A title at the left of the whole figure, broken where it would leave it."""
    lines = textwrap.wrap(title, max(20, round(figure.get_figwidth() * 15)))
    figure.suptitle("\n".join(lines), x=0.02, ha="left", fontsize=8.0)


def short(text: str, most: int = 28) -> str:
    """A label that leaves room for the picture."""
    return text if len(text) <= most else text[: most - 1] + "…"
