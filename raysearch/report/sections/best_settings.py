"""The best settings: the selected one, those next to it, and all of them fold by fold."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd

from raysearch.report.document import Column, Section, Table
from raysearch.report.plots import HeatMap
from raysearch.report.scoring import METRICS, Scores, best_first
from raysearch.study.record import Record
from raysearch.study.wording import params, percent

SHOWN = 5
"""settings that the table of the best shows"""

_BY = {"pooled_ua": ", folds pooled", "worst_ua": " of the worst quarter of folds"}


def best_section(record: Record, scores: Scores) -> Section:
    """The selected setting in two lines: its scores, its parameters."""
    m, best = scores.metric, scores.best
    validation = scores.validation[record.objectives[0].name][scores.estimates.best]
    test = scores.estimates.selected[m].mean
    name = f"validation {m.upper()}{_BY.get(record.objectives[0].name, '')}"
    return Section(
        "best",
        "Best setting",
        (
            f"Trial {best.number} ({name} {percent(validation)} %, "
            f"test {m.upper()} {percent(test)} %):",
            params(best.params),
        ),
        opening=True,
    )


def settings_section(record: Record, scores: Scores) -> Section:
    """The best complete settings, in the order in which `selected` would choose."""
    first = record.objectives[0]
    mean, order = scores.validation[first.name], scores.order[:SHOWN]
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
        plots=(_picture(record, scores),),
        data={"scores": _cells(record, scores)},
    )


def _picture(record: Record, scores: Scores) -> HeatMap:
    """Test scores of every setting in every fold, the best by (expected) validation on top."""
    m = scores.metric
    expected = np.asarray(scores.judge(range(len(record.folds))), dtype=np.float64)
    order = best_first(expected)
    blank = "; blank: a race stopped it before" if scores.cut else ""
    return HeatMap(
        "folds_by_setting",
        f"Test {m.upper()} of each setting on each held-out {record.unit}{blank}",
        100 * scores.test[m][order],
        tuple(f"trial {scores.trials[c].number}" for c in order),
        tuple(fold.name for fold in record.folds),
        "settings, best first",
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
    estimates, m = scores.estimates, scores.metric
    frame = pd.DataFrame(
        [
            {
                # a session named after its corpus need not say so twice
                "fold": re.sub(r"^([^/]+)/\1/", r"\1/", fold.name),
                "clips": fold.clips,
                **{x: scores.test[x][estimates.best, f] for x in METRICS},
                "honest_trial": scores.trials[estimates.honest_choices[f]].number,
                "honest": estimates.honest[m].values[f],
                "nested_trial": scores.trials[estimates.nested_choices[f]].number,
                "nested": estimates.nested[m].values[f],
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
    title = f"By {record.unit}: trial {scores.best.number} (selected), and the choices of honest "
    title += "and nested"
    after = (
        ("Where the chosen trial did not run a fold, its score is the mean over the draws.",)
        if scores.cut
        else ()
    )
    return Section("folds", title, (), Table(frame, columns), after)
