"""The selected setting from nearby: its classes, and the clips that it needs of a new speaker."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import pandas as pd

from raysearch.report.document import Column, Section, Table
from raysearch.report.plots import Grid, Grids
from raysearch.report.scoring import Scores
from raysearch.selection import Matrix
from raysearch.study.record import Record

_SETS = {
    "A": "S_A: raters agree",
    "B": "S_B: a dominant class, others named too",
    "AB": "S_A and S_B",
}


def clips_section(record: Record, scores: Scores) -> Section | None:
    """UA of the selected setting against the clips that give a test speaker's statistics."""
    best = scores.trials[scores.found.best].number
    mine = record.rows_of(best)
    names = [name for name in mine[0].scores if re.fullmatch(r"test_ua_\d+_clips", name)]
    if not names:
        return None
    full = np.array([row.scores["test_ua"] for row in mine])
    frame = pd.DataFrame(
        [
            {
                "clips": clips,
                "test": values.mean(),
                "sd": values.std(ddof=1) if len(values) > 1 else None,
                "loss": values.mean() - full.mean(),
            }
            for clips, values in [
                *(
                    (name.split("_")[2], np.array([row.scores[name] for row in mine]))
                    for name in sorted(names, key=lambda name: int(name.split("_")[2]))
                ),
                ("all", full),
            ]
        ]
    )
    return Section(
        "speaker_clips",
        f"Clips needed of a new speaker: trial {best} (selected)",
        table=Table(
            frame,
            (
                Column("clips", "clips of the speaker", "text"),
                Column("test", "test UA", "percent"),
                Column("sd", "± sd", "spread"),
                Column("loss", "against all", "points"),
            ),
        ),
        after=(
            "Each test speaker's features are normalised by statistics of that many of the "
            "speaker's own clips, drawn once whatever their class.",
        ),
    )


def sets_section(record: Record, scores: Scores) -> Section | None:
    """Scores on the clips that raters agree on and on those they do not, where there are votes."""
    best = scores.trials[scores.found.best].number
    mine = record.rows_of(best)
    made = []
    for short, said in _SETS.items():
        having = [row.scores for row in mine if f"test_ua_{short}" in row.scores]
        if having:
            ua = np.array([one[f"test_ua_{short}"] for one in having])
            wa = np.array([one[f"test_wa_{short}"] for one in having])
            sd = ua.std(ddof=1) if len(ua) > 1 else None
            row = {"set": said, "folds": len(ua), "ua": ua.mean(), "sd": sd, "wa": wa.mean()}
            made.append(row)
    if not made:
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
        f"By the raters' agreement: trial {best} (selected)",
        table=Table(pd.DataFrame(made), columns),
        after=("Means over the folds that have such clips; UA is over the classes among them.",),
    )


def classes_section(record: Record, scores: Scores) -> Section | None:
    """Recalls of the classes, from the clips of all folds together."""
    best = scores.trials[scores.found.best].number
    classes: Sequence[str] = record.classes
    tables = [np.array(row.confusion) for row in record.rows_of(best) if row.confusion]
    if not tables or len({t.shape for t in tables}) != 1:
        return None
    counts = np.sum(tables, axis=0)
    if len(classes) != len(counts):
        classes = [f"class {i}" for i in range(len(counts))]
    made = []
    for i, label in enumerate(classes):
        wrong = counts[i].copy()
        wrong[i] = 0
        other = int(wrong.argmax())
        total = counts[i].sum()
        made.append(
            {
                "class": label,
                "clips": int(total) // record.seeds,
                "recall": counts[i, i] / total if total else None,
                "taken_for": f"{classes[other]} ({wrong[other] / record.seeds:.4g})"
                if wrong.any()
                else None,
            }
        )
    columns = (
        Column("class", "class", "name"),
        Column("clips", "clips", "count"),
        Column("recall", "recall %", "percent"),
        Column("taken_for", "most often taken for (clips)"),
    )
    pooled = "all folds pooled" if record.seeds == 1 else "all folds pooled, mean of the seeds"
    title = f"Classes: trial {best} (selected), {pooled}"
    mine = [row for row in record.rows_of(best) if row.confusion]
    return Section(
        "classes",
        title,
        (),
        Table(pd.DataFrame(made), columns),
        plots=(
            confusion("confusion", f"Trial {best} (selected), {pooled}", counts, classes),
            Grids(
                "confusion_by_fold",
                f"Trial {best} (selected), by held-out {record.unit}",
                tuple(
                    confusion(row.fold, row.fold, one, classes)
                    for row, one in zip(mine, tables, strict=True)
                ),
            ),
        ),
        data={
            "confusions": pd.DataFrame(
                [
                    {"fold": row.fold, "true": a, "predicted": b, "clips": int(one[i, j])}
                    for row, one in zip(mine, tables, strict=True)
                    for i, a in enumerate(classes)
                    for j, b in enumerate(classes)
                ]
            )
        },
    )


def confusion(name: str, title: str, counts: Matrix, classes: Sequence[str]) -> Grid:
    """A confusion matrix [K, K] as shares of the true class in %; classes without a clip blank."""
    totals = counts.sum(axis=1)
    shares = np.full(counts.shape, np.nan)
    np.divide(100.0 * counts, totals[:, None], out=shares, where=totals[:, None] > 0)
    return Grid(
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
