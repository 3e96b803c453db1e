"""The best settings: the selected one, those next to it, and all of them fold by fold."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd

from raysearch.report.document import Column, Section, Table
from raysearch.report.plots import HeatMap
from raysearch.report.scoring import Scores, best_first
from raysearch.report.units import unit_of
from raysearch.selection import metric_of
from raysearch.study.record import Record
from raysearch.study.wording import amount, params

SHOWN = 5
"""settings that the table of the best shows"""


def best_section(record: Record, scores: Scores) -> Section:
    """The selected setting in two lines: its scores, its parameters."""
    m, best, first = scores.metric, scores.best, record.objectives[0]
    validation = scores.validation[first.name][scores.estimates.best]
    test = scores.estimates.selected[m].mean
    name = first.words.removeprefix("mean ")
    return Section(
        "best",
        "Best setting",
        (
            f"Trial {best.number} ({name} {amount(m, validation)}, "
            f"test {metric_of(m).heading} {amount(m, test)}):",
            params(best.params),
        ),
        opening=True,
    )


def settings_section(record: Record, scores: Scores) -> Section:
    """The best complete settings, in the order in which `selected` would choose."""
    first = record.objectives[0]
    mean, order = scores.validation[first.name], scores.order[:SHOWN]
    u = unit_of(scores.metric)
    test = scores.test[scores.metric]
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
        Column("validation", f"val {u.heading}", u.value),
        Column("test", f"test {u.heading}", u.value),
        Column("sd", "± sd", u.spread),
        Column("params", "parameters", "params"),
    )
    count = len(scores.complete)
    shown = f", the first {len(order)} of {count}" if len(order) < count else ""
    return Section(
        "settings",
        f"Best {'complete ' if scores.cut else ''}settings by {first.words}{shown}",
        (),
        Table(frame, columns, strong=0),
        plots=(_picture(record, scores),),
        data={"scores": _cells(record, scores)},
    )


def _picture(record: Record, scores: Scores) -> HeatMap:
    """Test scores of every setting in every fold, the best by (expected) validation on top."""
    u = unit_of(scores.metric)
    expected = np.asarray(scores.judge(range(len(record.folds))), dtype=np.float64)
    order = best_first(expected)
    blank = "; blank: a race stopped it before" if scores.cut else ""
    return HeatMap(
        "folds_by_setting",
        f"Test {u.heading} of each setting on each held-out {record.unit}{blank}",
        u.scale * scores.test[scores.metric][order],
        tuple(f"trial {scores.trials[c].number}" for c in order),
        tuple(fold.name for fold in record.folds),
        "settings, best first",
        f"held-out {record.unit}",
        u.axis("test"),
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
    u = unit_of(m)
    frame = pd.DataFrame(
        [
            {
                # a session named after its corpus need not say so twice
                "fold": re.sub(r"^([^/]+)/\1/", r"\1/", fold.name),
                "clips": fold.clips,
                **{x: scores.test[x][estimates.best, f] for x in scores.shown},
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
        *(Column(x, f"selected\n{unit_of(x).heading}", unit_of(x).value) for x in scores.shown),
        Column("honest_trial", "honest\ntrial", "count"),
        Column("honest", f"honest\n{u.heading}", u.value),
        Column("nested_trial", "nested\ntrial", "count"),
        Column("nested", f"nested\n{u.heading}", u.value),
    )
    title = f"By {record.unit}: trial {scores.best.number} (selected), and the choices of honest "
    title += "and nested"
    after = (
        ("Where the chosen trial did not run a fold, its score is the mean over the draws.",)
        if scores.cut
        else ()
    )
    return Section("folds", title, (), Table(frame, columns), after)
