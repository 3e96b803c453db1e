"""The estimates, what they mean, and what one seed moves."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd

from raysearch.report import sentences
from raysearch.report.document import Column, Race, Section, SeedSpread, Table
from raysearch.report.plots import Intervals, Mark
from raysearch.report.scoring import Scores
from raysearch.report.sections import outer
from raysearch.report.speaker_intervals import test_speakers
from raysearch.report.units import Unit, unit_of
from raysearch.selection import metric_of
from raysearch.study.ledger import FAILED, PRUNED, RUNNING
from raysearch.study.record import Record
from raysearch.study.wording import amount, gap, percent


def section(record: Record, scores: Scores) -> Section:
    """The estimates, and the figure to quote."""
    units = {m: unit_of(m) for m in scores.shown}
    columns = [Column("estimate", "estimate", "name")]
    for m, u in units.items():
        columns += [
            Column(m, u.heading, u.value),
            Column(f"{m}_interval", "95 % interval", u.interval),
            Column(f"{m}_sd", "± sd", u.spread),
        ]
    rows = []
    for kind in scores.estimates.kinds:
        row: dict[str, object] = {"estimate": kind}
        for m, u in units.items():
            e = scores.estimates.of(kind)[m]
            row |= {m: e.mean, f"{m}_interval": u.bounds(e.low, e.high), f"{m}_sd": e.sd}
        rows.append(row)
    return Section(
        "estimates",
        "Result: test scores" + (" in %" if all(u.metric.percent for u in units.values()) else ""),
        (sentences.result(record, scores), *sentences.pooling(record, scores)),
        Table(pd.DataFrame(rows), tuple(columns), strong=0),
        (
            f"{_what(units.values())}, ±\u00a0sd {_spread(record)}.",
            sentences.optimism(scores, record.unit),
        ),
        plots=(_picture(record, scores),),
        opening=True,
    )


def further_section(scores: Scores) -> Section | None:
    """The estimates by the other metrics that are made of counts, each with its interval."""
    others = [m for m in scores.test if m not in scores.shown and metric_of(m).needs == "counts"]
    if not others:
        return None
    columns, rows = [Column("estimate", "estimate", "name")], []
    for m in others:
        u = unit_of(m)
        columns += [
            Column(m, u.heading, u.value),
            Column(f"{m}_interval", "95 % interval", u.interval),
        ]
    for kind in scores.estimates.kinds:
        row: dict[str, object] = {"estimate": kind}
        for m in others:
            e = scores.estimates.of(kind)[m]
            row |= {m: e.mean, f"{m}_interval": unit_of(m).bounds(e.low, e.high)}
        rows.append(row)
    return Section(
        "further_scores",
        "The same by other scores",
        (),
        Table(pd.DataFrame(rows), tuple(columns), strong=0),
        (f"{_what(unit_of(m) for m in others)}. Settings are chosen as above.",),
    )


def _spread(record: Record) -> str:
    """What the column ± sd holds."""
    if test_speakers(record):
        return "how far drawing other test speakers moves the score"
    return f"the spread from {record.unit} to {record.unit}"


def _what(units: Iterable[Unit]) -> str:
    """What metrics are: "UA is the mean recall of the classes, WA the share of …"."""
    first, *others = units
    each = [f"{u.heading} {u.metric.words}" for u in others]
    return ", ".join([f"{first.heading} is {first.metric.words}", *each])


def _picture(record: Record, scores: Scores) -> Intervals:
    """The estimates of the objective's metric with their intervals."""
    u = unit_of(scores.metric)
    marks = []
    for kind in scores.estimates.kinds:
        e = scores.estimates.of(kind)[scores.metric]
        ends = u.shown(e.low), u.shown(e.high)
        marks.append(Mark(kind, u.scale * e.mean, *ends, strong=kind == "honest"))
    return Intervals(
        "estimates",
        "The result, and what choosing on test scores would claim",
        f"{u.axis('test')}, mean over {record.units} and 95 % interval",
        tuple(marks),
    )


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
    gaps = " and ".join(_gap(m, scores.estimates.optimism[m]) for m in scores.shown)
    if not all(metric_of(m).higher for m in scores.shown):
        words["optimism"] = "how much better oracle is than honest."
    words["optimism"] += f" Here {gaps}."
    if scores.estimates.outer:
        first, *others = words.items()
        words = dict([first, ("outer", outer.meaning(record)), *others])
    return Section(
        "meaning",
        "What the estimates mean",
        after=(*(f"{name}: {text}" for name, text in words.items()), *_remarks(record, scores)),
    )


def _gap(metric: str, x: float) -> str:
    """ "+2.2 points UA", "+0.031 NLL"."""
    row = metric_of(metric)
    return f"{gap(metric, x)}{' points' if row.percent else ''} {row.heading}"


def _oracle(scores: Scores) -> str:
    """The trials that are best on test scores."""
    numbers = {m: scores.trials[scores.estimates.oracle_rows[m]].number for m in scores.shown}
    if len(set(numbers.values())) == 1:
        return f"trial {numbers[scores.metric]}"
    return " and ".join(f"trial {n} for {metric_of(m).heading}" for m, n in numbers.items())


def _least(scores: Scores, race: Race | None) -> str:
    """What stopping trials early leaves open of the oracle."""
    if scores.cut:
        each = [(m, scores.at_least[m]) for m in scores.shown]
        least = " and ".join(f"{amount(m, x)} {metric_of(m).heading}" for m, x in each)
        return f" The best of the complete settings reach {least}; others may have been better."
    if race is not None:
        return " It may be higher: some trials were stopped before they had finished a fold."
    return ""


def _remarks(record: Record, scores: Scores) -> list[str]:
    """What some studies need: the objective, imputed cells, seeds, the worst folds."""
    lines = []
    first = record.objectives[0]
    if scores.cut:
        lines.append(
            f"imputed: {percent(scores.estimates.imputed)} % of the scores were never measured, "
            f"because trials were stopped early. They are drawn {len(scores.draws)} times. Honest "
            "and nested choose by the validation scores that are expected of each setting. "
            "Estimates are means over the draws; intervals include what the draws leave open."
        )
    if scores.cut and first.over not in ("mean", "worst"):
        heading = first.row.heading
        lines.append(
            "Clips that were not scored cannot be imputed, so honest and nested choose by the "
            f"mean of the folds' validation {heading}; selected by the {first.words}."
        )
    for one in record.objectives:
        if one.over == "worst":
            values = np.array(scores.estimates.honest[one.metric].values)
            lines.append(
                f"worst: the honest scores of the worst quarter of {record.units} "
                f"({-(-len(values) // 4)} of {len(values)}) have a mean of "
                f"{amount(one.metric, float(one.together(values)))} {one.row.heading}."
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
    for m in scores.shown:
        each = [np.array([one[f"test_{m}"] for one in row.repeats]) for row in rows if row.repeats]
        if not each:
            return None
        squares = sum(float(((x - x.mean()) ** 2).sum()) for x in each)
        within[m] = (squares / sum(len(x) - 1 for x in each)) ** 0.5
    between = {m: scores.estimates.selected[m].sd for m in scores.shown}
    return SeedSpread(record.seeds, within, between)


def seeds_section(record: Record, scores: Scores, spread: SeedSpread) -> Section:
    """From seed to seed beside from speaker to speaker."""
    u = unit_of(scores.metric)
    alike = [m for m in scores.shown if metric_of(m).percent == u.metric.percent]
    rows = [(metric_of(m).heading, spread.within[m], spread.between[m]) for m in alike]
    frame = pd.DataFrame(rows, columns=["score", "within", "between"])
    columns = (
        Column("score", "test score", "name"),
        Column("within", f"one seed to another,\nin one {record.unit} (± sd)", u.spread),
        Column("between", f"one {record.unit} to another\n(± sd)", u.spread),
    )
    number = scores.best.number
    points = ", in points" if u.metric.percent else ""
    title = f"What one seed moves{points}: trial {number} (selected), {spread.seeds} seeds"
    return Section("seeds", title, (), Table(frame, columns))
