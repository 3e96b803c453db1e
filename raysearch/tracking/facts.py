"""What the descriptions in MLflow are made of, beside the ledger's rows."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from raysearch.study.ledger import FoldRow

SCORES = ("val_ua", "val_wa", "test_ua", "test_wa")
ESTIMATES = ("honest", "nested", "selected", "oracle", "optimism")


@dataclass(frozen=True)
class StudyFacts:
    """What is known of a study before its first trial.

    `identity` and `constants` become parameters and must not change while the study is extended;
    `study_yaml` and `facts` may.
    """

    id: str
    name: str
    identity: Mapping[str, Any]
    study_yaml: str
    method: str
    space: str
    corpus: Sequence[str]
    protocol: str
    classes: Sequence[str]
    searched: Mapping[str, str]
    """parameter -> its domain in words, '0.2 … 0.8 in steps of 0.1'"""
    constants: Mapping[str, Any]
    folds: Sequence[Mapping[str, Any]]
    """the split table: dicts with at least name and index; flat values or lists of names"""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """versions, git revisions, corpus fingerprint, …; nested mappings are fine"""
    corpus_digest: str = ""
    command: str = ""
    objective: str = "ua"
    notes: Sequence[str] = ()
    simulated: Collection[str] = ()
    """subset of {'speech', 'votes'}"""


@dataclass(frozen=True)
class BestFold:
    """One fold of one of the best trials, with the curves of its scored stage."""

    trial: int
    fold: str
    curves: Mapping[str, Sequence[float]]
    """name -> value by epoch, from 1"""
    best_epoch: int | None = None


@dataclass(frozen=True)
class Closing:
    """What is known at the end of a study."""

    numbers: Mapping[str, float]
    """every number of the closing table: honest_ua, honest_ua_low, … as fractions"""
    selected: int | None = None
    """the number of the selected trial"""
    reports: Mapping[str, str | Callable[[], bytes]] = field(default_factory=dict)
    """artifact's path -> text, or what draws it: report.md, report.html, figures/…, tables/…"""
    best: Sequence[BestFold] = ()
    notes: Sequence[str] = ()
    sentences: Sequence[str] = ()
    """what the comparisons say, for the description"""
    scores: Mapping[int, Mapping[str, float]] = field(default_factory=dict)
    """mean scores of trials by number, over the folds that they ran"""


def percent(value: float | None) -> str:
    """0.7216 -> '72.2 %'; '–' for None."""
    return "–" if value is None else f"{100 * value:.1f} %"


def summary(name: str, rows: Sequence[FoldRow]) -> list[tuple[str, float]]:
    values = [row.scores[name] for row in rows if name in row.scores]
    if not values:
        return []
    # MLflow's tables print every digit: 0.01 points are enough, folds.csv has all of them.
    spread = [(f"{name}_sd", round(statistics.stdev(values), 4))] if len(values) > 1 else []
    return [(name, round(statistics.fmean(values), 4)), *spread]


def cell(value: Any) -> Any:
    if isinstance(value, Collection) and not isinstance(value, str | Mapping):
        items = sorted(value) if isinstance(value, set | frozenset) else value
        return " ".join(str(v) for v in items)
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


def with_interval(numbers: Mapping[str, float], key: str) -> str:
    if key not in numbers:
        return ""
    low, high = numbers.get(f"{key}_low"), numbers.get(f"{key}_high")
    if key.startswith("optimism"):
        return f"{100 * numbers[key]:.1f} points"
    if low is None or high is None or not (math.isfinite(low) and math.isfinite(high)):
        return percent(numbers[key])
    return f"**{percent(numbers[key])}** ({100 * low:.1f} … {100 * high:.1f})"


def as_text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:g}" if value == float(f"{value:g}") else repr(value)
    return str(cell(value))[:5000]
