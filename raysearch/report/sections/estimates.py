"""The estimates, what they mean, and what one seed moves."""

from __future__ import annotations

import numpy as np
import pandas as pd

from raysearch.report import sentences
from raysearch.report.cells import bounds
from raysearch.report.document import Column, Race, Section, SeedSpread, Table
from raysearch.report.plots import Intervals, Mark
from raysearch.report.scoring import METRICS, Scores
from raysearch.selection import KINDS, worst_mean
from raysearch.study.ledger import FAILED, PRUNED, RUNNING
from raysearch.study.record import Record
from raysearch.study.wording import percent, points


def section(record: Record, scores: Scores) -> Section:
    """The four estimates, and the figure to quote."""
    columns = [Column("estimate", "estimate", "name")]
    for m in METRICS:
        columns += [
            Column(m, m.upper(), "percent"),
            Column(f"{m}_interval", "95 % interval", "interval"),
            Column(f"{m}_sd", "± sd", "spread"),
        ]
    rows = []
    for kind in KINDS:
        row: dict[str, object] = {"estimate": kind}
        for m, e in scores.estimates.of(kind).items():
            row |= {m: e.mean, f"{m}_interval": bounds(e.low, e.high), f"{m}_sd": e.sd}
        rows.append(row)
    return Section(
        "estimates",
        "Result: test scores in %",
        (sentences.result(record, scores), *sentences.pooling(record, scores)),
        Table(pd.DataFrame(rows), tuple(columns), strong=0),
        (
            "UA is the mean recall of the classes, WA the share of clips that are right, ±\u00a0sd "
            f"the spread from {record.unit} to {record.unit}.",
            sentences.optimism(scores, record.unit),
        ),
        plots=(_picture(record, scores),),
        opening=True,
    )


def _picture(record: Record, scores: Scores) -> Intervals:
    """The four estimates of the objective's metric with their intervals."""
    m = scores.metric
    marks = []
    for kind in KINDS:
        e = scores.estimates.of(kind)[m]
        marks.append(Mark(kind, 100 * e.mean, _bound(e.low), _bound(e.high), kind == "honest"))
    return Intervals(
        "estimates",
        "The result, and what choosing on test scores would claim",
        f"test {m.upper()} in %, mean over {record.units} and 95 % interval",
        tuple(marks),
    )


def _bound(x: float | None) -> float | None:
    """A bound in %, cut to what a score can be."""
    return None if x is None else min(100.0, max(0.0, 100 * x))


def meaning_section(record: Record, scores: Scores, race: Race | None) -> Section:
    """What each estimate is, and how this study came by it."""
    words = sentences.meanings(
        record.unit,
        record.units,
        folds=len(record.folds),
        unjudged=scores.estimates.unjudged,
    )
    selected, oracle = f"trial {scores.best.number}", _oracle(scores)
    words["selected"] = words["selected"].replace("score.", f"score ({selected}).", 1)
    words["oracle"] = words["oracle"].replace("score.", f"score ({oracle}).", 1)
    words["oracle"] += _least(scores, race)
    gaps = " and ".join(
        f"{points(scores.estimates.optimism[m])} points {m.upper()}" for m in METRICS
    )
    words["optimism"] += f" Here {gaps}."
    return Section(
        "meaning",
        "What the estimates mean",
        after=(*(f"{name}: {text}" for name, text in words.items()), *_remarks(record, scores)),
    )


def _oracle(scores: Scores) -> str:
    """The trials that are best on test scores."""
    numbers = {m: scores.trials[scores.estimates.oracle_rows[m]].number for m in METRICS}
    if len(set(numbers.values())) == 1:
        return f"trial {numbers['ua']}"
    return " and ".join(f"trial {n} for {m.upper()}" for m, n in numbers.items())


def _least(scores: Scores, race: Race | None) -> str:
    """What stopping trials early leaves open of the oracle."""
    if scores.cut:
        least = " and ".join(f"{percent(scores.at_least[m])} % {m.upper()}" for m in METRICS)
        return f" The best of the complete settings reach {least}; others may have been better."
    if race is not None:
        return " It may be higher: some trials were stopped before they had finished a fold."
    return ""


def _remarks(record: Record, scores: Scores) -> list[str]:
    """What some studies need: the objective, imputed cells, seeds, the worst folds."""
    lines = []
    objective = record.objectives[0].name
    if scores.cut:
        lines.append(
            f"imputed: {percent(scores.estimates.imputed)} % of the scores were never measured, "
            f"because trials were stopped early. They are drawn {len(scores.draws)} times. Honest "
            "and nested choose by the validation scores that are expected of each setting. "
            "Estimates are means over the draws; intervals include what the draws leave open."
        )
    if scores.cut and objective == "pooled_ua":
        lines.append(
            "Clips that were not scored cannot be imputed, so honest and nested choose by the "
            "mean of the folds' validation UA; selected by the UA of all clips pooled."
        )
    if any(one.name == "worst_ua" for one in record.objectives):
        values = scores.estimates.honest["ua"].values
        lines.append(
            f"worst: the honest scores of the worst quarter of {record.units} "
            f"({-(-len(values) // 4)} of {len(values)}) have a mean of "
            f"{percent(float(worst_mean(values)))} % UA."
        )
    if record.seeds > 1:
        lines.append(
            f"Each score of a fold is the mean of {record.seeds} seeds. Intervals are over "
            f"{record.units}, seeds nested within them."
        )
    return lines


def empty_section(record: Record) -> Section:
    """Why there are no estimates."""
    states = record.states
    if states[RUNNING]:
        why = "No trial has finished all its folds yet, so there are no estimates."
    elif states[FAILED]:
        why = "No trial completed: there are no estimates. The reasons of the failures are below."
    elif states[PRUNED]:
        why = "Every trial was stopped early, so there are no estimates: no setting has all folds."
    else:
        why = "No trial has been run yet, so there are no estimates."
    return Section("estimates", "No result yet", (why,), opening=True)


def seed_spread(record: Record, scores: Scores) -> SeedSpread | None:
    """How far one seed moves a score; None where each fold was trained once."""
    if record.seeds < 2:
        return None
    rows = record.rows_of(scores.best.number)
    within = {}
    for m in METRICS:
        each = [np.array([one[f"test_{m}"] for one in row.repeats]) for row in rows if row.repeats]
        if not each:
            return None
        squares = sum(float(((x - x.mean()) ** 2).sum()) for x in each)
        within[m] = (squares / sum(len(x) - 1 for x in each)) ** 0.5
    return SeedSpread(record.seeds, within, {m: scores.estimates.selected[m].sd for m in METRICS})


def seeds_section(record: Record, scores: Scores, spread: SeedSpread) -> Section:
    """From seed to seed beside from speaker to speaker."""
    frame = pd.DataFrame(
        [
            {"score": m.upper(), "within": spread.within[m], "between": spread.between[m]}
            for m in METRICS
        ]
    )
    columns = (
        Column("score", "test score", "name"),
        Column("within", f"one seed to another,\nin one {record.unit} (± sd)", "spread"),
        Column("between", f"one {record.unit} to another\n(± sd)", "spread"),
    )
    number = scores.best.number
    title = f"What one seed moves, in points: trial {number} (selected), {spread.seeds} seeds"
    return Section("seeds", title, (), Table(frame, columns))
