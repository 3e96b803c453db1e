"""A report as data: sections of sentences and tables, which every renderer draws in its own way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import pandas as pd

from raysearch.selection import Estimates

__all__ = ["Column", "Kind", "Report", "Section", "Table"]

Kind = Literal[
    "text", "name", "count", "percent", "spread", "points", "interval", "range", "params", "seconds"
]
"""What a column holds, and so how a renderer writes it.

- text, count: as they are; name: a text that is never broken over lines
- percent: a fraction in [0, 1], written in %
- spread, points: a fraction, written in points; points carry a sign
- interval: (low, high) of fractions or None, written in % and cut to [0, 100]
- range: (low, high) of fractions or None, an interval of a difference, written in points
- params: a mapping of a setting's parameters
- seconds: a duration
"""


@dataclass(frozen=True)
class Column:
    """One column of a table: its name in the frame, its heading, and what it holds.

    A line break in a heading is where a narrow renderer may break it.
    """

    name: str
    heading: str
    kind: Kind = "text"


@dataclass(frozen=True)
class Table:
    """A frame of raw values (fractions, seconds, mappings) and how its columns are to be read."""

    frame: pd.DataFrame
    columns: tuple[Column, ...]
    strong: int | None = None
    """position of the row that a reader should see first"""


@dataclass(frozen=True)
class Section:
    """A titled part: sentences before its table, the table, sentences after it."""

    name: str
    """stable, for programs"""
    title: str
    before: tuple[str, ...] = ()
    table: Table | None = None
    after: tuple[str, ...] = ()


@dataclass(frozen=True)
class Report:
    """What a study found, from its folder alone. No renderer is known here."""

    study: str
    headline: tuple[str, ...]
    """sentences: what was searched, on what, how it was divided"""
    warnings: tuple[str, ...]
    """what a reader must know before the numbers: synthetic speech, simulated votes, ..."""
    sections: tuple[Section, ...]
    facts: Mapping[str, Any]
    """the resolved study, as in study.yaml"""
    states: Mapping[str, int]
    """trials by state: complete, failed, pruned, running"""
    folds: tuple[str, ...]
    """names of the folds, in order"""
    stages_run: int
    """distinct stages that this study computed"""
    stages_reused: int
    """times a fold asked for a stage that was there already"""
    seconds: float
    """of computing, summed over stages on all cores"""
    estimates: Estimates | None = None
    """None while no trial is complete"""
    best_trial: int | None = None
    best: Mapping[str, Any] = field(default_factory=dict)
    """the selected setting's parameters"""

    def section(self, name: str) -> Section:
        """The section of that name; KeyError where the report has none."""
        for section in self.sections:
            if section.name == name:
                return section
        raise KeyError(name)
