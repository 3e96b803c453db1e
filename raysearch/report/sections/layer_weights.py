"""What each layer of a speech encoder weighs in a probe's sum, in the folds of a setting."""

from __future__ import annotations

import pandas as pd

from raysearch.errors import StoreFailed
from raysearch.report.document import Column, Section, Table
from raysearch.stages.store import Damaged, Store
from raysearch.study.record import Record
from raysearch.study.wording import many


def layer_weights(record: Record, number: int, store: Store) -> pd.DataFrame | None:
    """One row a fold of a trial and layer: fold, layer, share; None where no fold tells them.

    Args:
        record: of the study.
        number: of the trial.
        store: of the study, whose artifacts hold the shares (`info["layer_weights"]`).
    """
    rows = []
    for row in record.rows_of(number):
        try:
            entry = store.get(row.stages[-1].key)
        except (Damaged, StoreFailed):
            continue
        shares = {} if entry is None else entry[0].info.get("layer_weights", {})
        if entry is not None and len(shares) < 2:  # other methods, or a single layer
            return None
        rows += [{"fold": row.fold, "layer": n, "share": x} for n, x in shares.items()]
    return pd.DataFrame(rows) if rows else None


def section(record: Record, number: int, store: Store) -> Section | None:
    """The shares of the layers, means over the folds of the selected trial."""
    if record.configuration.get("method") != "probe":
        return None
    frame = layer_weights(record, number, store)
    if frame is None:
        return None
    groups = frame.groupby("layer", sort=False)["share"]
    table = groups.agg(["mean", "min", "max"]).reset_index()
    columns = (
        Column("layer", "layer", "name"),
        Column("mean", "share %", "percent"),
        Column("min", "least", "percent"),
        Column("max", "greatest", "percent"),
    )
    folds = many(frame["fold"].nunique(), "fold")
    return Section(
        "layer_weights",
        "Weights of the encoder's layers",
        (
            f"What each layer weighs in the sum that trial {number} learnt, over {folds}. Layer 0 "
            "is the input of the transformer. A share says little of a layer whose states are "
            "large or small, unless layer_norm=true.",
        ),
        Table(table, columns),
    )
