"""Several objectives: the settings between which only a preference can choose."""

from __future__ import annotations

import numpy as np
import pandas as pd

from raysearch.report.document import Column, Section, Table
from raysearch.report.scoring import METRICS, Scores
from raysearch.selection import pareto, worst_mean
from raysearch.study.record import Record
from raysearch.study.wording import many

_HEADINGS = {
    "ua": "val\nUA",
    "wa": "val\nWA",
    "pooled_ua": "val UA\npooled",
    "worst_ua": "val UA\nworst ¼",
}


def section(record: Record, scores: Scores) -> Section | None:
    """The Pareto front of the complete settings; None where there is one objective."""
    names = [objective.name for objective in record.objectives]
    if len(names) < 2:
        return None
    full = list(scores.complete)
    values = np.stack([scores.validation[name][full] for name in names], axis=1)
    front = [full[i] for i in pareto(values)]
    place = {c: i for i, c in enumerate(scores.order)}
    worst = "worst_ua" in names
    rows = []
    for c in sorted(front, key=lambda c: place[c]):
        row: dict[str, object] = {"trial": scores.trials[c].number}
        row |= {f"val_{name}": scores.validation[name][c] for name in names}
        row |= {f"test_{m}": scores.test[m][c].mean() for m in METRICS}
        row |= {"test_worst_ua": float(worst_mean(scores.test["ua"][c]))} if worst else {}
        rows.append(row | {"params": dict(scores.trials[c].params)})
    columns = [Column("trial", "trial", "count")]
    columns += [Column(f"val_{name}", _HEADINGS[name], "percent") for name in names]
    columns += [Column(f"test_{m}", f"test\n{m.upper()}", "percent") for m in METRICS]
    columns += [Column("test_worst_ua", "test UA\nworst ¼", "percent")] if worst else []
    columns += [Column("params", "parameters", "params")]
    after = [
        f"{many(len(front), 'setting')} of {len(full)}: no other complete setting is as good in "
        "every objective and better in one, by validation scores. Estimates and choices above "
        f"follow the first, {names[0]}."
    ]
    if worst:
        after.append(
            f"Worst ¼: the mean of the {record.units} with the lowest UA, one in four, rounded up."
        )
    return Section(
        "pareto",
        f"Pareto front of {' and '.join(names)}",
        (),
        Table(pd.DataFrame(rows), tuple(columns)),
        tuple(after),
    )
