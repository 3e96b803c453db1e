"""Trained on each corpus, tested on each other: a matrix of test scores (`protocol=pairs`)."""

from __future__ import annotations

import pandas as pd

from raysearch.report.document import Column, Section, Table
from raysearch.report.scoring import Scores, folds_of
from raysearch.report.speaker_intervals import interval_of
from raysearch.report.units import unit_of
from raysearch.stages.divisions import pair_name
from raysearch.study.record import Record


def section(record: Record, scores: Scores) -> Section | None:
    """The honest score of each pair with its interval over test speakers; None without pairs."""
    rows = folds_of(scores.trials, scores.estimates.honest_choices, record)
    if record.protocol != "pairs" or not rows:
        return None
    corpora = record.corpora
    m = scores.metric
    u, by_name = unit_of(m), {row.fold: row for row in rows}
    lines = []
    for trained in corpora:
        line: dict[str, object] = {"trained": trained}
        for tested in corpora:
            row = by_name.get(pair_name(trained, tested))
            line[tested] = None if row is None else row.scores[f"test_{m}"]
            bounds = None if row is None else interval_of(m, [row])
            line[f"{tested}_interval"] = None if bounds is None else u.bounds(*bounds[:2])
        lines.append(line)
    columns = [Column("trained", "trained on", "name")]
    for tested in corpora:
        columns += [
            Column(tested, f"{tested}\n{u.heading}", u.value),
            Column(f"{tested}_interval", "95 %\ninterval", u.interval),
        ]
    return Section(
        "pairs",
        "Trained on each corpus, tested on each other: honest choices",
        (),
        Table(pd.DataFrame(lines, dtype=object), tuple(columns)),
        ("Intervals are by the cluster bootstrap over the test corpus's speakers.",),
    )
