"""The selected setting on test clips with noise: scores against the ratio of speech to noise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from raysearch.report import sentences
from raysearch.report.cells import bounds
from raysearch.report.document import Column, Section, Table
from raysearch.report.plots import Curves, Line, Mark
from raysearch.report.scoring import Scores
from raysearch.report.speaker_intervals import difference_over_speakers, due, interval_of
from raysearch.report.units import unit_of
from raysearch.selection import Difference, compare, interval, over_groups
from raysearch.study.ledger import FoldRow
from raysearch.study.record import Record
from raysearch.study.wording import clean

CLEAN = "none"
"""what tables call clips as they are"""


@dataclass(frozen=True)
class NoiseLevel:
    """The selected setting's folds with one noise at one ratio."""

    noise: str
    snr: float
    """dB"""
    rows: tuple[FoldRow, ...]
    """of the test parts alone"""


@dataclass(frozen=True)
class NoiseTest:
    """What was tried with noise."""

    conditions: tuple[NoiseLevel, ...]
    """of a noise, the quietest first"""
    notes: tuple[str, ...] = ()
    """what a reader must know of the networks"""


@dataclass(frozen=True)
class _Point:
    """A row of the table."""

    noise: str
    snr: float | None
    """None without noise"""
    means: dict[str, float]
    ends: tuple[float, float] | None
    loss: Difference | None
    """against the clips as they are"""


def section(record: Record, scores: Scores, test: NoiseTest) -> Section:
    """The table and the curve; scores of all folds in a file of their own."""
    base = record.rows_of(scores.best.number)
    points = [_point(record, scores, CLEAN, None, base, base)]
    points += [_point(record, scores, x.noise, x.snr, x.rows, base) for x in test.conditions]
    number = scores.best.number
    return Section(
        "noise",
        f"With noise: trial {number} (selected), test clips",
        tuple(clean(line) for line in _before(record, points)),
        _table(points, scores),
        tuple(clean(line) for line in (*_after(record, test), *test.notes)),
        plots=(_picture(points, record, scores),),
        data={"noise_folds": _folds(record, scores, test, base)},
    )


def _point(
    record: Record,
    scores: Scores,
    noise: str,
    snr: float | None,
    rows: Sequence[FoldRow],
    base: Sequence[FoldRow],
) -> _Point:
    values = {m: np.array([row.scores[f"test_{m}"] for row in rows]) for m in scores.shown}
    m = scores.metric
    mean, low, high, _ = interval(over_groups(values[m], record.folds))
    if due(record):
        low, high, _ = interval_of(m, rows) or (None, None, None)
    loss = None
    if snr is not None:
        before = [row.scores[f"test_{m}"] for row in base]
        loss = difference_over_speakers(record, m, rows, base) or compare(
            values[m], before, record.folds
        )
    means = {name: float(x.mean()) for name, x in values.items()}
    return _Point(noise, snr, means | {m: mean}, bounds(low, high), loss)


def _table(points: Sequence[_Point], scores: Scores) -> Table:
    first, *others = dict.fromkeys((scores.metric, *scores.shown))
    u = unit_of(first)
    rows = []
    for point in points:
        d = point.loss
        rows.append(
            {
                "noise": point.noise,
                "snr": _decibels(point.snr),
                first: point.means[first],
                "interval": None if point.ends is None else u.bounds(*point.ends),
                "difference": None if d is None else d.mean,
                "range": None if d is None else bounds(d.low, d.high),
                **{m: point.means[m] for m in others},
            }
        )
    columns = [
        Column("noise", "noise", "name", once=True),
        Column("snr", "SNR\ndB", "count"),
        Column(first, f"test\n{u.heading}", u.value),
        Column("interval", "95 %\ninterval", u.interval),
        Column("difference", "against\nnone", u.difference),
        Column("range", "95 %\ninterval", u.range),
        *(Column(m, f"test\n{unit_of(m).heading}", unit_of(m).value) for m in others),
    ]
    return Table(pd.DataFrame(rows, dtype=object), tuple(columns))


def _decibels(snr: float | None) -> float | int | None:
    """20 and not 20.0."""
    return snr if snr is None or snr % 1 else int(snr)


def _before(record: Record, points: Sequence[_Point]) -> list[str]:
    """What the loudest of each noise costs, in a sentence each."""
    loudest = {point.noise: point for point in points if point.snr is not None}
    return [
        sentences.difference(
            point.loss,
            f"{point.noise} at {point.snr:g} dB",
            "no noise",
            unit=record.units,
            metric=record.objectives[0].metric,
        )
        for point in loudest.values()
        if point.loss is not None
    ]


def _after(record: Record, test: NoiseTest) -> list[str]:
    """How it was made."""
    kinds = list(dict.fromkeys(one.noise for one in test.conditions))
    lines = [
        f"Each {record.unit}'s clips are predicted by the networks that never heard it, with "
        "features extracted anew. SNR is the power of a clip's speech (its frames of 20 ms within "
        "30 dB of the loudest) over that of the noise."
    ]
    if "babble" in kinds:
        lines.append(
            "Babble is six clips of the fold's training part, of other speakers where it has some."
        )
    normalised = {
        "speaker": "Features are normalised by the statistics of each test speaker's clips with "
        "the same noise: the scores assume that all of a speaker's clips have it.",
        "fold": "Features are normalised by the statistics of the training part, without noise.",
    }
    lines += [normalised[record.normalise]] if record.normalise in normalised else []
    over = "test speakers, by the cluster bootstrap" if due(record) else record.units
    lines.append(f"Intervals are over {over}; differences are paired, and not corrected.")
    return lines


def _picture(points: Sequence[_Point], record: Record, scores: Scores) -> Curves:
    """A line a noise, and the level of the clips as they are."""
    u, (base, *tried) = unit_of(scores.metric), points
    by: dict[str, list[_Point]] = {}
    for point in tried:
        by.setdefault(point.noise, []).append(point)
    lines = []
    for noise, each in by.items():
        ordered = sorted(each, key=lambda point: point.snr or 0.0)
        lines.append(_line(noise, [x.snr or 0.0 for x in ordered], ordered, scores.metric))
    return Curves(
        "noise",
        f"With noise: trial {scores.best.number} (selected)",
        "SNR in dB",
        f"{u.axis('test')}, 95 % over {record.units}",
        tuple(lines),
        level=Mark("no noise", u.scale * base.means[scores.metric]),
    )


def _line(label: str, x: Sequence[float], points: Sequence[_Point], metric: str) -> Line:
    u = unit_of(metric)
    return Line(
        label,
        tuple(x),
        tuple(u.scale * point.means[metric] for point in points),
        tuple(u.shown(None if point.ends is None else point.ends[0]) for point in points),
        tuple(u.shown(None if point.ends is None else point.ends[1]) for point in points),
    )


def _folds(
    record: Record, scores: Scores, test: NoiseTest, base: Sequence[FoldRow]
) -> pd.DataFrame:
    """A row a noise, ratio and fold, with every score."""
    every = [(CLEAN, None, base), *((x.noise, x.snr, x.rows) for x in test.conditions)]
    return pd.DataFrame(
        [
            {"noise": noise, "snr": snr, "fold": row.fold}
            | {m: row.scores[f"test_{m}"] for m in scores.test}
            for noise, snr, rows in every
            for row in rows
        ]
    )
