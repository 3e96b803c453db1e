"""Which searched parameters moved the validation score."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from raysearch.report.document import Column, Section, Table
from raysearch.report.plots import Intervals, Mark
from raysearch.report.scoring import Scores
from raysearch.search.fanova import LEAST, MOST, Importance, branches, importances
from raysearch.selection import metric_of
from raysearch.study.record import Record
from raysearch.study.space import Space
from raysearch.study.wording import clean, listed, many, value


def section(record: Record, scores: Scores) -> Section | None:
    """Optuna's fANOVA of the (expected) validation scores; None where there is too little."""
    space, problems = Space.parse(record.params)
    if problems or len(scores.trials) < LEAST:
        return None
    standing = np.asarray(scores.judge(range(len(record.folds))), dtype=np.float64)
    rows = np.flatnonzero(np.isfinite(standing))
    settings = [dict(scores.trials[c].params) for c in rows]
    values = [float(standing[c]) for c in rows]
    seed = record.seed
    whole = importances(space, settings, values, seed)
    parts = [(when, importances(space, settings, values, seed, when)) for when in branches(space)]
    shares = [("", x) for x in whole] + [(_with(when), x) for when, part in parts for x in part]
    if not shares:
        return None
    m = metric_of(scores.metric).heading
    plot = Intervals(
        "importance",
        f"What moves the validation {m} (fANOVA)",
        "share of main effects in %, least and greatest of 8 resamples",
        tuple(Mark(clean(x.name), 100 * x.share, 100 * x.low, 100 * x.high) for x in whole),
        bars=True,
    )
    return Section(
        "importance",
        "Importance of the parameters",
        (),
        _table(shares),
        tuple(_remarks(space, shares, m, len(rows))),
        plots=(plot,) if whole else (),
    )


def _table(shares: Sequence[tuple[str, Importance]]) -> Table:
    rows = [
        {"with": label, "parameter": x.name, "share": x.share, "low": x.low, "high": x.high}
        for label, x in shares
    ]
    columns = (
        *([Column("with", "settings with", "text", once=True)] if rows[-1]["with"] else []),
        Column("parameter", "parameter", "name"),
        Column("share", "share %", "percent"),
        Column("low", "least", "percent"),
        Column("high", "greatest", "percent"),
    )
    return Table(pd.DataFrame(rows), columns)


def _remarks(
    space: Space, shares: Sequence[tuple[str, Importance]], metric: str, settings: int
) -> list[str]:
    lines = [
        f"How much each parameter alone explains of the validation {metric} over the space, by a "
        f"random forest on {many(min(settings, MOST), 'setting')} (fANOVA); least and greatest "
        "over 8 resamples of these settings. Whether a value is better, the comparisons say."
    ]
    if any(label for label, _ in shares):
        lines.append(
            "Parameters that not every setting has are looked at among the settings that have "
            "them; their shares sum to 100 % anew."
        )
    names = {x.name for _, x in shares}
    left = [n for n in space.searched() if n not in names and space.domains[n].size != 1]
    if left:
        lines.append(f"Not looked at, as fewer than {LEAST} settings have them: {listed(left)}.")
    return lines


def _with(when: Mapping[str, Sequence[object]]) -> str:
    return " ".join(f"{name}={' or '.join(map(value, values))}" for name, values in when.items())
