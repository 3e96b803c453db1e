"""Tables and confusion matrices as a run's artifacts."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from raysearch.study.ledger import FoldRow, TrialRow
from raysearch.tracking.facts import SCORES, Closing, StudyFacts, cell


def fold_table(rows: Sequence[FoldRow]) -> list[dict[str, Any]]:
    return [
        {
            "fold": row.fold,
            **{name: row.scores.get(name) for name in SCORES},
            "seconds": round(row.seconds, 3),
            "stages_run": sum(use.made_here for use in row.stages),
            "stages": len(row.stages),
        }
        for row in rows
    ]


def trial_table(
    study: StudyFacts, trials: Sequence[TrialRow], closing: Closing | None
) -> list[dict[str, Any]]:
    """A row a trial: its parameters and mean scores."""
    scores = {} if closing is None else closing.scores
    return [
        {
            "trial": trial.number,
            "state": trial.state,
            **{name: scores.get(trial.number, {}).get(name) for name in ("folds", *SCORES)},
            **{name: trial.params.get(name) for name in study.searched},
        }
        for trial in trials
    ]


def table_json(rows: Sequence[Mapping[str, Any]]) -> str:
    """A table as `mlflow.log_table` writes it, which MLflow's UI can show and compare."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    data = [[cell(row.get(name)) for name in columns] for row in rows]
    return json.dumps({"columns": columns, "data": data})


def table_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    columns = list(dict.fromkeys(name for row in rows for name in row))
    out = io.StringIO()
    writer = csv.DictWriter(out, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows({k: cell(v) for k, v in row.items()} for row in rows)
    return out.getvalue()


def summed(rows: Sequence[FoldRow]) -> list[list[int]]:
    size = max((len(row.confusion) for row in rows), default=0)
    full = [row.confusion for row in rows if len(row.confusion) == size]
    return [[sum(m[i][j] for m in full) for j in range(size)] for i in range(size)]


def matrix_files(
    counts: Sequence[Sequence[int]], classes: Sequence[str], title: str, drawn: bool
) -> dict[str, str | Callable[[], bytes]]:
    if not counts:
        return {}
    body = {"classes": list(classes), "rows": "true", "columns": "predicted", "counts": counts}
    files: dict[str, str | Callable[[], bytes]] = {"confusion.json": json.dumps(body)}
    if drawn:
        files["confusion.png"] = lambda: draw_matrix(counts, classes, title)
    return files


def draw_matrix(counts: Sequence[Sequence[int]], classes: Sequence[str], title: str) -> bytes:
    """A confusion matrix as PNG: colour and figure are the share of the true class, in percent."""
    import numpy as np

    from raysearch.report import confusion
    from raysearch.report.figures import png

    names = list(classes) if len(classes) == len(counts) else [str(i) for i in range(len(counts))]
    return png(confusion("confusion", title, np.array(counts, dtype=np.float64), names))
