"""Intervals over test speakers, for divisions whose folds are few or share their test clips."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from raysearch.report.scoring import folds_of
from raysearch.selection import (
    SPEAKER,
    Difference,
    Estimate,
    Estimates,
    compare_over_speakers,
    metric_of,
    over_speakers,
)
from raysearch.selection.resampling import LEAST
from raysearch.study.ledger import FoldRow, TrialRow
from raysearch.study.record import Record

PROTOCOLS = ("split", "pairs")
"""those whose intervals are over test speakers, however many folds there are"""


Parts = Sequence[Mapping[str, NDArray[np.float64]]]
"""by test part and speaker, what adds up: counts [k, k], or sums [A, 7] of numbers"""


def due(record: Record) -> bool:
    """Whether intervals are over test speakers: of given parts, pairs of corpora, a single fold."""
    return record.protocol in PROTOCOLS or len(record.folds) == 1


def parts_of_rows(rows: Sequence[FoldRow]) -> Parts:
    """What each test speaker adds to the scores of each fold's test part."""
    return [
        {key: np.array(x["test"]) for key, x in row.groups.items() if key.startswith(SPEAKER)}
        for row in rows
    ]


def test_speakers(record: Record) -> int:
    """How many speakers the intervals are over; 0 where they are not over speakers."""
    if not due(record) or not record.fold_rows:
        return 0
    parts = parts_of_rows(record.rows_of(record.fold_rows[0].trial))
    return (
        len({name for part in parts for name in part})
        if min(map(len, parts), default=0) >= LEAST
        else 0
    )


def with_speaker_intervals(
    estimates: Estimates, record: Record, trials: Sequence[TrialRow]
) -> Estimates:
    """The estimates, with cluster-bootstrap intervals over test speakers where these are due.

    Scores that nothing adds up to (NLL) have no interval then.
    """
    if not due(record):
        return estimates
    k = len(record.folds)
    choices = {
        "honest": estimates.honest_choices,
        "nested": estimates.nested_choices,
        "selected": (estimates.best,) * k,
    }

    def rows(kind: str, m: str) -> list[FoldRow]:
        if kind == "outer":
            return [search.row for search in record.outer if search.row is not None]
        return folds_of(trials, choices.get(kind) or (estimates.oracle_rows[m],) * k, record)

    by_kind = {
        kind: {m: _over_speakers(e, m, rows(kind, m)) for m, e in estimates.of(kind).items()}
        for kind in estimates.kinds
    }
    notes = [note for note in estimates.notes if not note.startswith("There is one fold only")]
    some = next(iter(by_kind["honest"].values()))
    notes.append(
        "Intervals are by the cluster bootstrap over test speakers: they say how far other "
        "speakers would move the score, not how far another training part would."
        if some.low is not None
        else f"No score has an interval: a test part has fewer than {LEAST} speakers who are known."
    )
    return replace(
        estimates,
        honest=by_kind["honest"],
        nested=by_kind["nested"],
        selected=by_kind["selected"],
        oracle=by_kind["oracle"],
        outer=by_kind.get("outer", {}),
        notes=tuple(notes),
    )


def _over_speakers(estimate: Estimate, name: str, rows: Sequence[FoldRow]) -> Estimate:
    low, high, sd = interval_of(name, rows) or (None, None, None)
    return replace(estimate, low=low, high=high, sd=sd)


def interval_of(name: str, rows: Sequence[FoldRow]) -> tuple[float, float, float] | None:
    """Low and high bound and standard deviation of a metric's mean over these folds."""
    metric = metric_of(name)
    return over_speakers(parts_of_rows(rows), metric.of) if metric.needs in _ADD_UP else None


_ADD_UP = ("counts", "sums")


def difference_over_speakers(
    record: Record, name: str, a: Sequence[FoldRow], b: Sequence[FoldRow]
) -> Difference | None:
    """How much more a metric is in the folds `a` than in the same folds `b`, over test speakers.

    None where intervals are not over speakers: other protocols, scores that nothing adds up to,
    folds that were not run, too few speakers, and parts that do not have the same ones.
    """
    metric = metric_of(name)
    if not due(record) or metric.needs not in _ADD_UP or not a or not b:
        return None
    pairs = list(zip(parts_of_rows(a), parts_of_rows(b), strict=True))
    if any(one.keys() != two.keys() for one, two in pairs):
        return None
    parts = [{who: np.stack([one[who], two[who]]) for who in one} for one, two in pairs]
    means = [float(np.mean([row.scores[f"test_{name}"] for row in rows])) for rows in (a, b)]
    return compare_over_speakers(parts, metric.of, means[0] - means[1])
