"""The estimates, the settings and folds behind them, and what one seed moves."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd

from raysearch.report.cells import bounds
from raysearch.report.document import Column, Race, Section, SeedSpread, Table
from raysearch.report.plots import Grid, Intervals, Mark
from raysearch.report.scoring import METRICS, Scores
from raysearch.selection import worst_mean
from raysearch.study.record import Record
from raysearch.study.wording import many, percent

SHOWN = 5
"""settings that the table of the best shows"""

_BEST = {
    "ua": "mean validation score",
    "wa": "mean validation score",
    "pooled_ua": "validation UA of all clips pooled",
    "worst_ua": "mean validation UA of its worst quarter of folds",
}
_BY = {"pooled_ua": ", folds pooled", "worst_ua": " of the worst quarter of folds"}


def section(record: Record, scores: Scores, race: Race | None) -> Section:
    """The four estimates, what each is, and the figure to quote."""
    unit, units = record.unit, record.units
    found, objective = scores.found, scores.metric
    kinds = {
        "honest": found.honest,
        "nested": found.nested,
        "selected": found.selected,
        "oracle": found.oracle,
    }
    frame = pd.DataFrame(
        [
            {"estimate": name}
            | {m: kind[m].mean for m in METRICS}
            | {f"{m}_interval": bounds(kind[m].low, kind[m].high) for m in METRICS}
            | {f"{m}_sd": kind[m].sd for m in METRICS}
            for name, kind in kinds.items()
        ]
    )
    columns = [Column("estimate", "estimate", "name")]
    for m in METRICS:
        columns += [
            Column(m, m.upper(), "percent"),
            Column(f"{m}_interval", "95 % interval", "interval"),
            Column(f"{m}_sd", "± sd", "spread"),
        ]
    head = found.honest[objective]
    within = (
        f" (95 % interval {percent(max(0.0, head.low))} to {percent(min(1.0, head.high))})"
        if head.low is not None and head.high is not None
        else ""
    )
    stopped = f" ({scores.stopped} of them stopped early)" if scores.cut else ""
    heard = "clips of held-out parts" if unit == "part" else f"{units} the model has never heard"
    return Section(
        "estimates",
        "What was found",
        (
            f"Honest result: {percent(head.mean)} % {objective.upper()} on {heard}{within}, from "
            f"{many(len(scores.trials), 'setting')}{stopped} and "
            f"{many(len(found.judges), 'fold')}.",
        ),
        Table(frame, tuple(columns), strong=0),
        (
            f"UA is the mean recall of the classes, WA the share of clips that are right; all are "
            f"test scores in %, as means over folds. ± sd is their spread from {unit} to {unit}.",
            f"honest: for each held-out {unit}, the setting chosen by the validation scores of the "
            f"folds that neither test nor validate on that {unit}. The figure to quote.",
            "nested: each fold's setting chosen by that fold's own validation score alone. Honest "
            "too, but a poorer way to choose.",
            f"selected: the one {'complete ' if scores.cut else ''}setting with the best "
            f"{_BEST[record.objectives[0].name]} (trial {scores.trials[found.best].number}). A "
            f"little flattering where tested {units} also served as validation.",
            f"oracle: the setting that is best on the test scores themselves "
            f"({_oracle(scores, race)}). What many papers print.",
            _optimism(scores),
            *_also(record, scores),
        ),
        plots=(
            Intervals(
                "estimates",
                "What was found, and what choosing on test scores would claim",
                f"test {objective.upper()} in %, mean over {units} and 95 % interval",
                tuple(
                    Mark(name, 100 * e.mean, _of(e.low), _of(e.high), strong=name == "honest")
                    for name, e in ((n, kind[objective]) for n, kind in kinds.items())
                ),
            ),
        ),
    )


def _of(x: float | None) -> float | None:
    """A bound in %, cut to what a score can be."""
    return None if x is None else min(100.0, max(0.0, 100 * x))


def _oracle(scores: Scores, race: Race | None) -> str:
    numbers = {m: scores.trials[scores.found.oracle_rows[m]].number for m in METRICS}
    same = len(set(numbers.values())) == 1
    said = f"trial {numbers['ua']}"
    said += "" if same else f" for UA, {numbers['wa']} for WA"
    if not scores.cut:
        # trials of which no fold is known might have been better
        return f"{said}; at least this" if race is not None else said
    least = " and ".join(f"{percent(scores.at_least[m])} % {m.upper()}" for m in METRICS)
    return f"{said}; at least {least}, which complete settings have"


def _also(record: Record, scores: Scores) -> list[str]:
    """Lines that some studies need: cells imputed, seeds, the worst folds."""
    found, lines = scores.found, []
    if scores.cut:
        lines.append(
            f"imputed: {percent(found.imputed)} % of the cells, drawn {len(scores.draws)} times. "
            "Honest and nested choose by what the measured validation scores let expect of each "
            "setting; points are means over the draws, intervals hold what the draws leave open."
        )
        if record.objectives[0].name == "pooled_ua":
            lines.append(
                "Clips that were not scored cannot be imputed, so honest and nested choose by the "
                "mean of the folds' validation UA; selected by the UA of all clips pooled."
            )
    if any(objective.name == "worst_ua" for objective in record.objectives):
        values = found.honest["ua"].values
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


def _optimism(scores: Scores) -> str:
    if len(scores.trials) == 1:
        return "optimism: none to measure. One setting is complete, so all four are its scores."
    parts = []
    for m in METRICS:
        points = 100 * scores.found.optimism[m]
        more = "more" if points > -0.05 else "less"
        parts.append(f"{abs(points):.1f} points {more} {m.upper()}")
    return (
        f"optimism: choosing on the test scores would have claimed {' and '.join(parts)} than is "
        "honest."
    )


def settings_section(record: Record, scores: Scores) -> Section:
    """The best complete settings, in the order in which `selected` would choose."""
    first = record.objectives[0]
    mean, order = scores.standing[first.name], scores.order[:SHOWN]
    m = scores.metric
    test = scores.test[m]
    one = test.shape[1] < 2
    frame = pd.DataFrame(
        [
            {
                "trial": scores.trials[c].number,
                "validation": mean[c],
                "test": test[c].mean(),
                "sd": None if one else test[c].std(ddof=1),
                "params": dict(scores.trials[c].params),
            }
            for c in order
        ]
    )
    columns = (
        Column("trial", "trial", "count"),
        Column("validation", f"val {m.upper()}", "percent"),
        Column("test", f"test {m.upper()}", "percent"),
        Column("sd", "± sd", "spread"),
        Column("params", "parameters", "params"),
    )
    count = len(scores.complete)
    shown = f", the first {len(order)} of {count}" if len(order) < count else ""
    name = f"mean validation {m.upper()}" + _BY.get(first.name, "")
    return Section(
        "settings",
        f"Best {'complete ' if scores.cut else ''}settings by {name}{shown}",
        (),
        Table(frame, columns, strong=0),
        plots=(_by_fold(record, scores),),
        data={"scores": _cells(record, scores)},
    )


def _by_fold(record: Record, scores: Scores) -> Grid:
    """Test scores of every setting in every fold, the best by (expected) validation on top."""
    m = scores.metric
    standing = np.asarray(scores.judge(range(len(record.folds))), dtype=np.float64)
    order = np.lexsort((np.arange(len(standing)), -np.round(standing, 12)))
    blank = "; blank: a race stopped it before" if scores.cut else ""
    return Grid(
        "folds_by_setting",
        f"Test {m.upper()} of each setting on each held-out {record.unit}{blank}",
        100 * scores.test[m][order],
        tuple(f"trial {scores.trials[c].number}" for c in order),
        tuple(fold.name for fold in record.folds),
        "settings, best validation on top",
        f"held-out {record.unit}",
        f"test {m.upper()} in %",
    )


def _cells(record: Record, scores: Scores) -> pd.DataFrame:
    """Every finished fold of the settings that take part, a row each."""
    rows = [
        {"trial": trial.number, "fold": row.fold, **row.scores}
        for trial in scores.trials
        for row in record.rows_of(trial.number)
    ]
    return pd.DataFrame(rows)


def folds_section(record: Record, scores: Scores) -> Section:
    """Every fold: the selected setting's scores, and what the two procedures chose."""
    found, m = scores.found, scores.metric
    frame = pd.DataFrame(
        [
            {
                # a session named after its corpus need not say so twice
                "fold": re.sub(r"^([^/]+)/\1/", r"\1/", fold.name),
                "clips": fold.clips,
                "ua": scores.test["ua"][found.best, f],
                "wa": scores.test["wa"][found.best, f],
                "honest_trial": scores.trials[found.honest_choices[f]].number,
                "honest": found.honest[m].values[f],
                "nested_trial": scores.trials[found.nested_choices[f]].number,
                "nested": found.nested[m].values[f],
            }
            for f, fold in enumerate(record.folds)
        ]
    )
    columns = (
        Column("fold", f"held-out\n{record.unit}", "name"),
        Column("clips", "clips", "count"),
        Column("ua", "selected\nUA", "percent"),
        Column("wa", "selected\nWA", "percent"),
        Column("honest_trial", "honest\ntrial", "count"),
        Column("honest", f"honest\n{m.upper()}", "percent"),
        Column("nested_trial", "nested\ntrial", "count"),
        Column("nested", f"nested\n{m.upper()}", "percent"),
    )
    number = scores.trials[found.best].number
    title = f"Test scores by fold: trial {number} (selected), and what each procedure chose"
    after = (
        ("Honest and nested: where the chosen trial did not run a fold, the mean over the draws.",)
        if scores.cut
        else ()
    )
    return Section("folds", title, (), Table(frame, columns), after)


def seed_spread(record: Record, scores: Scores) -> SeedSpread | None:
    """How far one seed moves a score; None where each fold was trained once."""
    if record.seeds < 2:
        return None
    rows = record.rows_of(scores.trials[scores.found.best].number)
    within = {}
    for m in METRICS:
        each = [np.array([one[f"test_{m}"] for one in row.repeats]) for row in rows if row.repeats]
        if not each:
            return None
        squares = sum(float(((x - x.mean()) ** 2).sum()) for x in each)
        within[m] = (squares / sum(len(x) - 1 for x in each)) ** 0.5
    return SeedSpread(record.seeds, within, {m: scores.found.selected[m].sd for m in METRICS})


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
    number = scores.trials[scores.found.best].number
    title = f"What one seed moves, in points: trial {number} (selected), {spread.seeds} seeds"
    return Section("seeds", title, (), Table(frame, columns))
