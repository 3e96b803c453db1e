"""Attributes as numbers: each by itself, per fold and of all folds' clips together."""

from __future__ import annotations

import numpy as np
import pandas as pd

from raysearch.report.document import Column, Section, Table
from raysearch.report.scoring import Scores, folds_of
from raysearch.report.units import unit_of
from raysearch.selection import pooled_ccc
from raysearch.study.record import Record
from trainables.metrics import each_ccc, each_mae, each_rmse


def section(record: Record, scores: Scores) -> Section | None:
    """CCC, RMSE and MAE of the honest choices by attribute; None where classes are predicted."""
    if not record.continuous:
        return None
    rows, what = folds_of(scores.trials, scores.estimates.honest_choices, record), "honest choices"
    if not rows:  # after a race a choice may not have run on its fold
        rows = record.rows_of(scores.best.number)
        what = f"trial {scores.best.number} (selected)"
    tables = np.array([row.sums["test"] for row in rows])
    whole, unit = tables.sum(axis=0), unit_of("ccc")
    body = []
    for a, name in enumerate(record.classes):
        pooled = pooled_ccc(tables[:, [a]], record.folds)
        body.append(
            {
                "attribute": name,
                "clips": int(whole[a, 0]) // record.seeds,
                "fold": float(each_ccc(tables)[:, a].mean()),
                "pooled": pooled.mean,
                "interval": unit.bounds(pooled.low, pooled.high),
                "rmse": float(each_rmse(whole)[a]),
                "mae": float(each_mae(whole)[a]),
            }
        )
    columns = (
        Column("attribute", "attribute", "name"),
        Column("clips", "clips", "count"),
        Column("fold", "CCC, mean\nof folds", unit.value),
        Column("pooled", "CCC,\npooled", unit.value),
        Column("interval", "95 %\ninterval", unit.interval),
        Column("rmse", "RMSE,\npooled", "number"),
        Column("mae", "MAE,\npooled", "number"),
    )
    return Section(
        "attributes",
        f"Attributes: {what}, test",
        (),
        Table(pd.DataFrame(body, dtype=object), columns),
        after=(
            "The CCC of a fold is that of its clips alone, and 0 where a prediction or the ratings "
            "do not vary; pooled is that of all folds' clips together, its interval by the "
            f"jackknife over {record.units}. RMSE and MAE are in units of the ratings.",
        ),
    )
