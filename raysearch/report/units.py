"""How a metric is written: in % and points, or as a number."""

from __future__ import annotations

from dataclasses import dataclass

from raysearch.report.document import Kind
from raysearch.selection import Metric, metric_of


@dataclass(frozen=True)
class Unit:
    """The kinds of columns, and the axes, that hold a metric."""

    metric: Metric
    scale: float
    """by which a picture multiplies it"""
    value: Kind
    spread: Kind
    difference: Kind
    interval: Kind
    range: Kind
    """an interval of a difference"""

    @property
    def heading(self) -> str:
        return self.metric.heading

    def axis(self, what: str) -> str:
        """An axis or a colour bar: "test UA in %"."""
        return f"{what} {self.heading}{' in %' if self.metric.percent else ''}"

    def shown(self, x: float | None) -> float | None:
        """A value, or an end of an interval, as a picture has it: cut to what it can be."""
        if x is None:
            return None
        low, high = self.metric.ends
        return self.scale * min(high, max(low, x))

    def bounds(self, low: float | None, high: float | None) -> tuple[float, float] | None:
        """An interval of values as a table's cell holds it."""
        if low is None or high is None:
            return None
        if self.metric.percent:
            return low, high  # the cell cuts it; programs get it whole
        return max(self.metric.ends[0], low), min(self.metric.ends[1], high)


def unit_of(metric: str) -> Unit:
    """The unit of a metric, by its name."""
    row = metric_of(metric)
    if row.percent:
        return Unit(row, 100.0, "percent", "spread", "points", "interval", "range")
    return Unit(row, 1.0, "number", "number", "change", "between", "changes")
