"""Intervals over test speakers, for divisions whose folds are few or share their test clips."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from raysearch.report.scoring import folds_of
from raysearch.selection import KINDS, SPEAKER, Estimate, Estimates, metric_of, over_speakers
from raysearch.study.ledger import FoldRow, TrialRow
from raysearch.study.record import Record

PROTOCOLS = ("split", "pairs")
"""those whose intervals are over test speakers, however many folds there are"""


def with_speaker_intervals(
    estimates: Estimates, record: Record, trials: Sequence[TrialRow]
) -> Estimates:
    """The estimates, with cluster-bootstrap intervals over test speakers where these are due.

    They are due for given parts and pairs of corpora, and for a single fold. Scores that no counts
    make (NLL) have no interval then.
    """
    if record.protocol not in PROTOCOLS and len(record.folds) > 1:
        return estimates
    k = len(record.folds)
    choices = {
        "honest": estimates.honest_choices,
        "nested": estimates.nested_choices,
        "selected": (estimates.best,) * k,
    }
    by_kind: dict[str, dict[str, Estimate]] = {}
    for kind in KINDS:
        by_kind[kind] = {
            m: _over_speakers(
                e, m, folds_of(trials, choices.get(kind) or (estimates.oracle_rows[m],) * k, record)
            )
            for m, e in estimates.of(kind).items()
        }
    notes = [note for note in estimates.notes if not note.startswith("There is one fold only")]
    some = next(iter(by_kind["honest"].values()))
    notes.append(
        "Intervals are by the cluster bootstrap over test speakers: they say how far other "
        "speakers would move the score, not how far another training part would."
        if some.low is not None
        else "No score has an interval: a test part has one known speaker or none."
    )
    return replace(
        estimates,
        honest=by_kind["honest"],
        nested=by_kind["nested"],
        selected=by_kind["selected"],
        oracle=by_kind["oracle"],
        notes=tuple(notes),
    )


def _over_speakers(estimate: Estimate, name: str, rows: Sequence[FoldRow]) -> Estimate:
    metric, interval = metric_of(name), None
    if rows and metric.needs == "counts":
        parts = [
            np.array([x["test"] for key, x in row.groups.items() if key.startswith(SPEAKER)])
            for row in rows
        ]
        interval = over_speakers(parts, metric.of)
    low, high, sd = interval or (None, None, None)
    return replace(estimate, low=low, high=high, sd=sd)
