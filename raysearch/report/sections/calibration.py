"""How far the probabilities can be trusted: losses, calibration error, reliability diagrams.

Everything is of test clips, from the ledger: the scores of each fold, and its tables of
reliability, which are added over folds. The temperature of a fold is fitted on its validation
clips, so what stands after it is as honest as what stands before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from raysearch.report import sentences
from raysearch.report.cells import bounds
from raysearch.report.document import Column, Comparison, Section, Table
from raysearch.report.plots import Reliability, ReliabilityPanel
from raysearch.report.scoring import Scores, folds_of
from raysearch.report.sections.comparisons import leading, rows_by_value
from raysearch.report.units import unit_of
from raysearch.selection import (
    Matrix,
    choice_scores,
    compare,
    holm,
    honest_choice,
    interval,
    metric_of,
    over_groups,
)
from raysearch.study.ledger import FoldRow
from raysearch.study.record import Record
from raysearch.study.wording import clean, number, percent

PLAIN, SCALED = "1", "fitted"
"""temperatures that probabilities are shown at"""
_AFTER = {"nll": "nll_scaled", "brier": "brier_scaled"}
"""the name in a fold's scores of what a metric is at the temperature"""


@dataclass(frozen=True)
class _TestClips:
    """The test clips of a choice of settings, one fold a row."""

    name: str
    rows: Sequence[FoldRow]

    def values(self, metric: str) -> Matrix:
        """[K] of each fold."""
        return np.array([row.scores[f"test_{metric}"] for row in self.rows])

    def bins(self, kind: str) -> Matrix:
        """The table of reliability of all folds' clips, "plain" or "scaled"."""
        total: Matrix = np.sum([row.reliability[kind] for row in self.rows], axis=0)
        return total

    def ece(self, kind: str) -> float:
        return float(metric_of("ece").of(self.bins(kind)))


def section(record: Record, scores: Scores) -> Section | None:
    """Losses and calibration error before and after a temperature; None of an older ledger."""
    every = [_clips_of(name, rows, record, scores) for name, rows in scores.choices().items()]
    parts = [part for part in every if part is not None]
    if not parts:
        return None
    rows = [_row(part, when, record) for part in parts for when in (PLAIN, SCALED)]
    first = parts[0]
    temperatures = np.array([row.scores["temperature"] for row in first.rows])
    return Section(
        "calibration",
        "Calibration: how far the probabilities can be trusted",
        (_sentence(first, float(np.exp(np.log(temperatures).mean()))),),
        Table(pd.DataFrame(rows, dtype=object), _COLUMNS),
        (
            f"NLL is {metric_of('nll').words}, Brier {metric_of('brier').words}, ECE "
            f"{metric_of('ece').words}; of all three less is better. ECE is of all test clips, in "
            f"{len(first.bins('plain'))} bins of confidence. T is the temperature: fitted, on each "
            "fold's validation clips; above 1 the network is too sure of itself. No predicted "
            "class changes by it. export temperature=fitted puts it into a model.",
        ),
        plots=(_diagram(first),),
    )


def figures(record: Record, scores: Scores) -> dict[str, float]:
    """ECE of the honest choices, and what their losses are at the temperature."""
    honest = _clips_of("honest", scores.estimates.honest_choices, record, scores)
    if honest is None:
        return {}
    after = {f"honest_{name}": float(honest.values(name).mean()) for name in _AFTER.values()}
    return {"honest_ece": honest.ece("plain"), "honest_ece_scaled": honest.ece("scaled"), **after}


def values_section(
    families: Sequence[Comparison], record: Record, scores: Scores
) -> Section | None:
    """Accuracy and calibration of the values of the strategy (or of the clearest parameter)."""
    one = leading(families)
    if one is None or one.parameter is None:
        return None
    judges = choice_scores([fold.groups for fold in record.folds], scores.judge)
    rows, names = rows_by_value(one.parameter, scores)
    parts = {
        names[key]: _clips_of(names[key], honest_choice(judges, rows[key]), record, scores)
        for key in rows
    }
    best = parts.get(one.levels[0].name)
    if best is None or not all(parts.values()):
        return None
    return _values(one, {n: part for n, part in parts.items() if part is not None}, record)


def _values(one: Comparison, parts: Mapping[str, _TestClips], record: Record) -> Section:
    """A row a value of a parameter, best by validation first, held against it."""
    best, *others = [parts[level.name] for level in one.levels]
    gaps = [compare(x.values("nll"), best.values("nll"), record.folds) for x in others]
    corrected = holm([1.0 if gap.p is None else gap.p for gap in gaps])
    rows = []
    for part, gap in zip([best, *others], [None, *gaps], strict=True):
        rows.append(
            {
                "value": clean(part.name),
                one.metric: part.values(one.metric).mean(),
                "nll": part.values("nll").mean(),
                "nll_difference": None if gap is None else gap.mean,
                "nll_interval": None if gap is None else bounds(gap.low, gap.high),
                "ece": part.ece("plain"),
                "ece_after": part.ece("scaled"),
            }
        )
    u = unit_of(one.metric)
    metric = [] if one.metric == "nll" else [Column(one.metric, f"test\n{u.heading}", u.value)]
    columns = (
        Column("value", one.parameter or "value", "name"),
        *metric,
        Column("nll", "test\nNLL", "number"),
        Column("nll_difference", "against\nthe best", "change"),
        Column("nll_interval", "95 %\ninterval", "changes"),
        Column("ece", "ECE\n%", "percent"),
        Column("ece_after", "ECE,\nT fitted", "percent"),
    )
    return Section(
        "calibration_values",
        clean(f"Calibration of the values of {one.parameter}"),
        (),
        Table(pd.DataFrame(rows, dtype=object), columns),
        (
            "Each value is stood for by its honest choices, as where their "
            f"{u.heading} is compared; the first has the best validation score. Differences are of "
            f"NLL, paired over {record.units}; less is better.",
            *(
                sentences.difference(
                    gap,
                    f"{one.parameter}={part.name}",
                    f"{one.parameter}={best.name}",
                    p=p,
                    unit=record.units,
                    metric="nll",
                )
                for part, gap, p in zip(others, gaps, corrected, strict=True)
            ),
        ),
    )


def _clips_of(
    name: str, choices: Sequence[int], record: Record, scores: Scores
) -> _TestClips | None:
    """The folds of a choice of rows; None where one was not run, or has no table of reliability."""
    rows = folds_of(scores.trials, choices, record)
    return _TestClips(name, rows) if rows and all(row.reliability for row in rows) else None


# -- what is shown -----------------------------------------------------------------------------
_COLUMNS = (
    Column("setting", "setting", "name", once=True),
    Column("probabilities", "T", "name"),
    Column("nll", "NLL", "number"),
    Column("nll_interval", "95 % interval", "between"),
    Column("brier", "Brier", "number"),
    Column("ece", "ECE %", "percent"),
    Column("temperature", "T of the folds", "between"),
)


def _row(part: _TestClips, when: str, record: Record) -> dict[str, object]:
    row: dict[str, object] = {"setting": part.name, "probabilities": when}
    for metric, after in _AFTER.items():
        values = part.values(metric if when == PLAIN else after)
        mean, low, high, _ = interval(over_groups(values, record.folds))
        row |= {metric: mean, f"{metric}_interval": unit_of(metric).bounds(low, high)}
    temperatures = [one.scores["temperature"] for one in part.rows]
    ends = None if when == PLAIN else (min(temperatures), max(temperatures))
    return row | {"ece": part.ece("plain" if when == PLAIN else "scaled"), "temperature": ends}


def _sentence(part: _TestClips, temperature: float) -> str:
    """What the diagram of the honest choices shows."""
    _, confidence, right = part.bins("plain").sum(axis=0)
    clips = part.bins("plain")[:, 0].sum()
    sure = confidence - right
    way = "more sure than right" if sure > 0 else "less sure than right"
    return (
        f"The honest choices are {way}: their mean confidence is {percent(confidence / clips)} %, "
        f"and {percent(right / clips)} % of their answers are right. Their ECE is "
        f"{percent(part.ece('plain'))} %, and {percent(part.ece('scaled'))} % at the temperature "
        f"of each fold ({number(temperature)} on average)."
    )


def _diagram(part: _TestClips) -> Reliability:
    return Reliability(
        "reliability",
        "Share that is right against confidence, test clips of the honest choices",
        tuple(
            ReliabilityPanel(f"{title}: ECE {percent(part.ece(kind))} %", part.bins(kind))
            for title, kind in (("T = 1", "plain"), ("T fitted", "scaled"))
        ),
    )
