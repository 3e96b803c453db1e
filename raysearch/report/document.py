"""A report as data: sections of sentences and tables, which every renderer draws in its own way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import zip_longest
from typing import Any, Literal

import pandas as pd

from raysearch.report.plots import Plot
from raysearch.report.sounds import ClipSound
from raysearch.selection import Difference, Estimates

SHOWN = 0.05
"""the corrected p under which a difference is called one"""

Kind = Literal[
    "text",
    "name",
    "clip",
    "count",
    "percent",
    "spread",
    "points",
    "interval",
    "range",
    "number",
    "change",
    "between",
    "changes",
    "p",
    "params",
    "seconds",
]
"""What a column holds, and so how a renderer writes it.

- text, count: as they are; name: a text that is never broken over lines; clip: the name of a clip,
  which a page can play
- percent: a fraction in [0, 1], written in %
- spread, points: a fraction, written in points; points carry a sign
- interval: (low, high) of fractions or None, written in % and cut to [0, 100]
- range: (low, high) of fractions or None, an interval of a difference, written in points
- number, change, between, changes: the same of a score that is read as a number: a value or a
  spread, a difference with its sign, an interval, an interval of a difference
- p: a p value
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
    once: bool = False
    """where people read, rows that share the values of all such columns show them in the first; no
    other column of the table may hold what a terminal breaks over lines"""

    @property
    def left(self) -> bool:
        """Whether what it holds is read from the left, as texts are."""
        return self.kind in ("text", "name", "clip", "params")


@dataclass(frozen=True)
class Table:
    """A frame of raw values (fractions, seconds, mappings) and how its columns are to be read."""

    frame: pd.DataFrame
    columns: tuple[Column, ...]
    strong: int | None = None
    """position of the row that a reader should see first"""


@dataclass(frozen=True)
class Section:
    """A titled part: sentences before its table, the table, sentences after it, and pictures."""

    name: str
    """stable, for programs"""
    title: str
    before: tuple[str, ...] = ()
    table: Table | None = None
    after: tuple[str, ...] = ()
    plots: tuple[Plot, ...] = ()
    """pictures, for the formats and files that hold some"""
    data: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    """further tables, too long to be read: name -> raw values, for files alone"""
    opening: bool = False
    """whether it belongs to the screen that ends `tune` and opens a report"""
    detail: bool = False
    """whether people see it only where they ask for a full report"""


@dataclass(frozen=True)
class Race:
    """What stopping trials early saved."""

    stopped: int
    """trials"""
    unknown: int
    """those of them that had finished no fold, so that nothing is known of them"""
    inside: int
    """those of them that were stopped inside a fold; the part of it that they ran is not counted"""
    ran: int
    """fold-runs of the complete and the stopped trials"""
    full: int
    """fold-runs that the same trials would have taken without the race"""
    imputed: float
    """share of the estimates' cells that were drawn, not measured"""
    draws: int
    """how many times they were drawn; 0 where none was"""


@dataclass(frozen=True)
class Pair:
    """Two settings, or two values of a parameter, on the same folds."""

    a: str
    b: str
    difference: Difference
    """a - b"""
    p: float | None
    """of the paired t test, after Holm's correction over the comparison; None where it has none"""
    sentence: str

    @property
    def shown(self) -> bool:
        """Whether these folds show a difference: p < 0.05 after the correction."""
        return self.p is not None and self.p < SHOWN


@dataclass(frozen=True)
class Level:
    """One value of a searched parameter."""

    name: str
    settings: int
    """how many settings have it"""
    score: float
    """mean test score of what honest choices among them pick"""


@dataclass(frozen=True)
class Comparison:
    """A family of paired comparisons on test scores."""

    name: str
    """"settings", or "parameter" """
    parameter: str | None
    metric: str
    pairs: tuple[Pair, ...]
    levels: tuple[Level, ...] = ()
    """best by validation first"""


@dataclass(frozen=True)
class SeedSpread:
    """How far the selected setting's test scores move, by metric, as fractions."""

    seeds: int
    within: Mapping[str, float]
    """from seed to seed in one fold: standard deviation pooled over folds"""
    between: Mapping[str, float | None]
    """from fold to fold: standard deviation of the folds' means; None with one fold"""


@dataclass(frozen=True)
class Report:
    """What a study says, from its folder alone. No renderer is known here."""

    study: str
    headline: tuple[str, ...]
    """sentences: what was searched, on what, how it was divided"""
    warnings: tuple[str, ...]
    """what a reader must know before the numbers, the gravest first: synthetic speech, ..."""
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
    race: Race | None = None
    """None where no trial was stopped early"""
    metrics: tuple[str, ...] = ("ua", "wa")
    """those that the table of estimates shows, the objective's among them"""
    comparisons: tuple[Comparison, ...] = ()
    seeds: SeedSpread | None = None
    """None where each fold was trained once"""
    numbers: Mapping[str, float] = field(default_factory=dict)
    """single figures of the honest choices beside the estimates: honest_ece, ..."""
    predictions: pd.DataFrame | None = field(default=None, compare=False)
    """a row a test clip, for files alone; None where nobody asked for them"""
    sounds: Mapping[str, ClipSound] = field(default_factory=dict, compare=False)
    """by name of a clip, for pages alone"""

    def brief(self) -> Report:
        """The report without its details."""
        return replace(self, sections=tuple(one for one in self.sections if not one.detail))

    def clips(self) -> list[str]:
        """The clips that its tables name, the first of each table first."""
        columns = [
            one.table.frame[column.name].astype(str).tolist()
            for one in self.sections
            if one.table is not None
            for column in one.table.columns
            if column.kind == "clip"
        ]
        ranks = zip_longest(*columns)
        return list(dict.fromkeys(clip for rank in ranks for clip in rank if clip is not None))

    def section(self, name: str) -> Section:
        """The section of that name; KeyError where the report has none."""
        for section in self.sections:
            if section.name == name:
                return section
        raise KeyError(name)
