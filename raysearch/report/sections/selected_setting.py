"""The selected setting from nearby: its classes, and the clips that it needs of a new speaker."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import pandas as pd

from raysearch.report.document import Column, Section, Table
from raysearch.report.plots import HeatMap, HeatMaps
from raysearch.report.scoring import Scores
from raysearch.report.units import unit_of
from raysearch.selection import Matrix, class_f1, class_recalls
from raysearch.study.record import Record

_SETS = {
    "A": "S_A: raters agree",
    "B": "S_B: a dominant class, others named too",
    "AB": "S_A and S_B",
}


def clips_section(record: Record, scores: Scores) -> Section | None:
    """UA or CCC of the selected setting against the clips that give a test speaker's statistics."""
    rows = record.rows_of(scores.best.number)
    m = "ccc" if record.continuous else "ua"
    u = unit_of(m)
    names = [name for name in rows[0].scores if re.fullmatch(rf"test_{m}_\d+_clips", name)]
    if not names:
        return None
    each = {
        name.split("_")[2]: np.array([row.scores[name] for row in rows])
        for name in sorted(names, key=lambda name: int(name.split("_")[2]))
    }
    full = np.array([row.scores[f"test_{m}"] for row in rows])
    frame = pd.DataFrame(
        [
            {
                "clips": clips,
                "test": values.mean(),
                "sd": values.std(ddof=1) if len(values) > 1 else None,
                "loss": values.mean() - full.mean(),
            }
            for clips, values in [*each.items(), ("all", full)]
        ]
    )
    columns = (
        Column("clips", "clips of the speaker", "text"),
        Column("test", f"test {u.heading}", u.value),
        Column("sd", "± sd", u.spread),
        Column("loss", "against all", u.difference),
    )
    return Section(
        "speaker_clips",
        f"Clips needed of a new speaker: trial {scores.best.number} (selected)",
        table=Table(frame, columns),
        after=(
            "Each test speaker's features are normalised by statistics of that many of the "
            "speaker's own clips, drawn once whatever their class.",
        ),
    )


def sets_section(record: Record, scores: Scores) -> Section | None:
    """Scores on the clips that raters agree on and on those they do not, where there are votes."""
    rows = []
    for short, name in _SETS.items():
        folds = [row.scores for row in record.rows_of(scores.best.number)]
        having = [one for one in folds if f"test_ua_{short}" in one]
        if having:
            ua = np.array([one[f"test_ua_{short}"] for one in having])
            wa = np.array([one[f"test_wa_{short}"] for one in having])
            sd = ua.std(ddof=1) if len(ua) > 1 else None
            row = {"set": name, "folds": len(ua), "ua": ua.mean(), "sd": sd, "wa": wa.mean()}
            rows.append(row)
    if not rows:
        return None
    columns = (
        Column("set", "test clips", "text"),
        Column("folds", "folds", "count"),
        Column("ua", "UA", "percent"),
        Column("sd", "± sd", "spread"),
        Column("wa", "WA", "percent"),
    )
    return Section(
        "sets",
        f"By the raters' agreement: trial {scores.best.number} (selected)",
        table=Table(pd.DataFrame(rows), columns),
        after=("Means over the folds that have such clips; UA is over the classes among them.",),
    )


def classes_section(record: Record, scores: Scores) -> Section | None:
    """Recalls of the classes, from the clips of all folds together."""
    number = scores.best.number
    rows = [row for row in record.rows_of(number) if row.confusion]
    tables = [np.array(row.confusion) for row in rows]
    if not tables or len({t.shape for t in tables}) != 1:
        return None
    counts = np.sum(tables, axis=0)
    classes = record.classes
    if len(classes) != len(counts):
        classes = tuple(f"class {i}" for i in range(len(counts)))
    pooled = "all folds pooled" if record.seeds == 1 else "all folds pooled, mean of the seeds"
    by_fold = [
        confusion(row.fold, row.fold, one, classes) for row, one in zip(rows, tables, strict=True)
    ]
    return Section(
        "classes",
        f"Classes: trial {number} (selected), {pooled}",
        (),
        _recalls(counts, classes, record.seeds),
        plots=(
            confusion("confusion", f"Trial {number} (selected), {pooled}", counts, classes),
            HeatMaps(
                "confusion_by_fold",
                f"Trial {number} (selected), by held-out {record.unit}",
                tuple(by_fold),
            ),
        ),
        data={
            "confusions": pd.DataFrame(
                [
                    {"fold": row.fold, "true": a, "predicted": b, "clips": int(one[i, j])}
                    for row, one in zip(rows, tables, strict=True)
                    for i, a in enumerate(classes)
                    for j, b in enumerate(classes)
                ]
            )
        },
    )


def _recalls(counts: Matrix, classes: Sequence[str], seeds: int) -> Table:
    """A row a class, from counts [K, K] summed over folds and seeds."""
    rows = []
    recalls, f1, guesses = class_recalls(counts), class_f1(counts), counts.sum(axis=0)
    for i, label in enumerate(classes):
        wrong = counts[i].copy()
        wrong[i] = 0
        other = int(wrong.argmax())
        total = counts[i].sum()
        most = f"{classes[other]} ({wrong[other] / seeds:.4g})" if wrong.any() else None
        rows.append(
            {
                "class": label,
                "clips": int(total) // seeds,
                "recall": recalls[i] if total else None,
                "precision": counts[i, i] / guesses[i] if guesses[i] else None,
                "f1": f1[i] if total else None,
                "taken_for": most,
            }
        )
    columns = (
        Column("class", "class", "name"),
        Column("clips", "clips", "count"),
        Column("recall", "recall %", "percent"),
        Column("precision", "precision %", "percent"),
        Column("f1", "F1 %", "percent"),
        Column("taken_for", "most often taken for (clips)"),
    )
    return Table(pd.DataFrame(rows), columns)


def confusion(name: str, title: str, counts: Matrix, classes: Sequence[str]) -> HeatMap:
    """A confusion matrix [K, K] as shares of the true class in %; classes without a clip blank."""
    totals = counts.sum(axis=1)
    shares = np.full(counts.shape, np.nan)
    np.divide(100.0 * counts, totals[:, None], out=shares, where=totals[:, None] > 0)
    return HeatMap(
        name,
        title,
        shares,
        tuple(f"{label} ({n:g})" for label, n in zip(classes, totals, strict=True)),
        tuple(classes),
        "true class (clips)",
        "predicted class",
        "share of the true class in %",
        0.0,
        100.0,
        shares=True,
    )
