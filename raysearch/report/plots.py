"""Pictures as data: what is to be seen, and nothing of how it is drawn (`report.figures`)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Mark:
    """A value with its interval."""

    label: str
    mean: float
    low: float | None = None
    high: float | None = None
    strong: bool = False
    """what a reader should see first"""


@dataclass(frozen=True)
class Intervals:
    """Values with intervals, one above the other."""

    name: str
    """of the file, and for programs"""
    title: str
    axis: str
    """what the values are, with their unit"""
    marks: tuple[Mark, ...]
    zero: bool = False
    """whether the values are differences, so that zero is drawn"""
    bars: bool = False
    """whether they are shares, drawn as bars from zero"""


@dataclass(frozen=True)
class Line:
    """One curve: x ascending [n], values [n], and their intervals [n] where there are any."""

    label: str
    x: tuple[float, ...]
    mean: tuple[float, ...]
    low: tuple[float | None, ...]
    high: tuple[float | None, ...]
    paper: tuple[float | None, ...] = ()
    """what a paper gives for x [n], where it gives any"""


@dataclass(frozen=True)
class Curves:
    """Values against a parameter."""

    name: str
    title: str
    x: str
    y: str
    lines: tuple[Line, ...]
    log: bool = False
    """whether x is shown by its logarithm"""
    level: Mark | None = None
    """what the values are held against, whatever x is"""


@dataclass(frozen=True)
class HeatMap:
    """A table of numbers as colours. NaN is left blank."""

    name: str
    title: str
    values: NDArray[np.float64]
    """[R, C]"""
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    y: str
    x: str
    unit: str
    """what a colour means, with its unit"""
    low: float | None = None
    """the value of the first colour; None: the least there is"""
    high: float | None = None
    shares: bool = False
    """whether a row's numbers are shares of a whole, so that none is no colour"""


@dataclass(frozen=True)
class HeatMaps:
    """HeatMaps of one shape and meaning, a panel beside the other; their first names the cells."""

    name: str
    title: str
    grids: tuple[HeatMap, ...]


@dataclass(frozen=True)
class Panel:
    """Points [n, 2] and the group of each [n]."""

    title: str
    points: NDArray[np.float64]
    group: NDArray[np.int64]


@dataclass(frozen=True)
class Scatter:
    """Points in the plane, coloured by group, a panel beside the other."""

    name: str
    title: str
    groups: tuple[str, ...]
    panels: tuple[Panel, ...]


@dataclass(frozen=True)
class ReliabilityPanel:
    """One reliability diagram."""

    title: str
    bins: NDArray[np.float64]
    """[B, 3] of equal bins of confidence: clips, the sum of their confidence, how many are right"""


@dataclass(frozen=True)
class Reliability:
    """Share that is right against confidence, a panel beside the other."""

    name: str
    title: str
    panels: tuple[ReliabilityPanel, ...]


Plot = Intervals | Curves | HeatMap | HeatMaps | Scatter | Reliability
