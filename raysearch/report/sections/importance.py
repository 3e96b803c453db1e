"""Which searched parameters moved the validation score."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from raysearch.report.document import Column, Section, Table
from raysearch.report.plots import Intervals, Mark
from raysearch.report.scoring import Scores
from raysearch.search.fanova import LEAST, MOST, branches, importances
from raysearch.study.record import Record
from raysearch.study.space import Space
from raysearch.study.wording import clean, listed, many, value


def section(record: Record, scores: Scores) -> Section | None:
    """Optuna's fANOVA of the (expected) validation scores; None where there is too little."""
    space, problems = Space.parse(record.params)
    if problems or len(scores.trials) < LEAST:
        return None
    standing = np.asarray(scores.judge(range(len(record.folds))), dtype=np.float64)
    there = np.flatnonzero(np.isfinite(standing))
    settings = [dict(scores.trials[c].params) for c in there]
    values = [float(standing[c]) for c in there]
    seed = record.seed
    found = importances(space, settings, values, seed)
    parts = [(when, importances(space, settings, values, seed, when)) for when in branches(space)]
    if not found and not any(part for _, part in parts):
        return None
    rows = [
        {"with": label, "parameter": x.name, "share": x.share, "low": x.low, "high": x.high}
        for label, part in [("", found), *((_with(when), part) for when, part in parts)]
        for x in part
    ]
    columns = (
        *([Column("with", "settings with", "text", once=True)] if rows[-1]["with"] else []),
        Column("parameter", "parameter", "name"),
        Column("share", "share %", "percent"),
        Column("low", "least", "percent"),
        Column("high", "greatest", "percent"),
    )
    m = scores.metric.upper()
    after = [
        f"Shares of what single parameters explain of the validation {m} over the space, by a "
        f"random forest on {many(min(len(there), MOST), 'setting')} (fANOVA); least and greatest "
        "over 8 resamples of these settings. Whether a value is better, the comparisons say."
    ]
    if any(part for _, part in parts):
        after.append(
            "Parameters that not every setting has are looked at among the settings that have "
            "them, where their shares sum to 100 % anew."
        )
    named = {row["parameter"] for row in rows}
    left = [n for n in space.searched() if n not in named and space.domains[n].size != 1]
    if left:
        after.append(f"Not looked at, as fewer than {LEAST} settings have them: {listed(left)}.")
    plot = Intervals(
        "importance",
        f"What moves the validation {m} (fANOVA)",
        "share of main effects in %, least and greatest of 8 resamples",
        tuple(Mark(clean(x.name), 100 * x.share, 100 * x.low, 100 * x.high) for x in found),
        bars=True,
    )
    return Section(
        "importance",
        "Importance of the parameters",
        (),
        Table(pd.DataFrame(rows), columns),
        tuple(after),
        plots=(plot,) if found else (),
    )


def _with(when: Mapping[str, Sequence[Any]]) -> str:
    return " ".join(f"{name}={' or '.join(map(value, held))}" for name, held in when.items())
