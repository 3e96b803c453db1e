"""Several objectives: the settings between which only a preference can choose."""

from __future__ import annotations

import numpy as np
import pandas as pd

from raysearch.report.document import Column, Section, Table
from raysearch.report.scoring import Scores
from raysearch.report.units import unit_of
from raysearch.selection import pareto
from raysearch.study.record import Record
from raysearch.study.wording import many


def section(record: Record, scores: Scores) -> Section | None:
    """The Pareto front of the complete settings; None where there is one objective."""
    objectives = record.objectives
    if len(objectives) < 2:
        return None
    names = [one.name for one in objectives]
    full = list(scores.complete)
    values = np.stack([x.merit(scores.validation[x.name][full]) for x in objectives], axis=1)
    front = [full[i] for i in pareto(values)]
    place = {c: i for i, c in enumerate(scores.order)}
    worst = [one for one in objectives if one.over == "worst"]
    rows = []
    for c in sorted(front, key=lambda c: place[c]):
        row: dict[str, object] = {"trial": scores.trials[c].number}
        row |= {f"val_{name}": scores.validation[name][c] for name in names}
        row |= {f"test_{m}": scores.test[m][c].mean() for m in scores.shown}
        row |= {f"test_{x.name}": float(x.together(scores.test[x.metric][c])) for x in worst}
        rows.append(row | {"params": dict(scores.trials[c].params)})
    columns = [Column("trial", "trial", "count")]
    columns += [Column(f"val_{x.name}", x.heading, unit_of(x.metric).value) for x in objectives]
    columns += [
        Column(f"test_{m}", f"test\n{unit_of(m).heading}", unit_of(m).value) for m in scores.shown
    ]
    columns += [
        Column(f"test_{x.name}", x.heading.replace("val", "test", 1), unit_of(x.metric).value)
        for x in worst
    ]
    columns += [Column("params", "parameters", "params")]
    after = [
        f"{many(len(front), 'setting')} of {len(full)}: no other complete setting is as good in "
        "every objective and better in one, by validation scores. Estimates and choices above "
        f"follow the first, {names[0]}."
    ]
    if worst:
        after.append(
            f"Worst ¼: the mean of the {record.units} with the worst {worst[0].row.heading}, one "
            "in four, rounded up."
        )
    return Section(
        "pareto",
        f"Pareto front of {' and '.join(names)}",
        (),
        Table(pd.DataFrame(rows), tuple(columns)),
        tuple(after),
    )
