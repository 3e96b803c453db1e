"""What a study looks like in MLflow: ledger rows in, run descriptions out.

Pure functions that know nothing of MLflow's client: `runs` writes what they return. The same rows
always give the same `Run`, timestamps included, so a run can be written twice, or half, and then
again, and end the same.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from raysearch.study.ledger import COMPLETE, FAILED, PRUNED, RUNNING, FoldRow, TrialRow
from raysearch.tracking.facts import (
    SCORES,
    BestFold,
    Closing,
    StudyFacts,
    as_text,
    percent,
    summary,
)
from raysearch.tracking.notes import headline, study_note, trial_note
from raysearch.tracking.tables import (
    fold_table,
    matrix_files,
    summed,
    table_csv,
    table_json,
    trial_table,
)

_STATUS = {COMPLETE: "FINISHED", FAILED: "FAILED", PRUNED: "KILLED", RUNNING: "RUNNING"}


@dataclass(frozen=True)
class Point:
    """One value of one metric."""

    key: str
    value: float
    step: int
    time: int
    """milliseconds since the epoch"""


@dataclass(frozen=True)
class Run:
    """One MLflow run as it should be. `key` is (kind, trial, fold): how it is found by its tags."""

    key: tuple[str, str, str]
    name: str
    status: str
    """RUNNING, FINISHED, FAILED or KILLED"""
    start: int
    end: int | None
    """milliseconds; None: the moment of writing"""
    params: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    points: Sequence[Point] = ()
    files: Mapping[str, str | Callable[[], bytes]] = field(default_factory=dict)
    """artifacts by path; a callable draws an image from data that another file holds"""
    parent: tuple[str, str, str] | None = None
    dataset: Mapping[str, str] | None = None
    """name, digest, source"""

    def digest(self, parent: str | None) -> str:
        """What is compared with the run's own tag to see whether it is written already."""
        texts = {k: v for k, v in self.files.items() if isinstance(v, str)}
        points = [(p.key, p.value, p.step, p.time) for p in self.points]
        whole = [self.name, self.status, self.end, self.params, self.tags, points, texts]
        text = json.dumps([*whole, sorted(self.files), parent, self.dataset], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def trial_run(
    study: StudyFacts,
    trial: TrialRow,
    folds: Sequence[FoldRow],
    *,
    selected: bool = False,
    drawn: bool = False,
    stopped: str = "",
) -> Run:
    """The run of one trial: its setting, its means, its folds as steps and as a table.

    Args:
        selected: whether it is the study's selected setting.
        drawn: whether its pooled confusion matrix is drawn too.
        stopped: why a trial still running in the ledger goes on no more; '' while it does.
    """
    start = _ms(trial.started)
    rows = sorted(folds, key=lambda row: row.index)
    status, reason, state = _STATUS[trial.state], trial.reason, trial.state
    if trial.state == RUNNING and stopped:
        status, reason, state = "KILLED", stopped, "stopped"
    last = start + max((row.index for row in rows), default=0)
    points = [
        Point(f"fold/{name}", row.scores[name], row.index, start + row.index)
        for row in rows
        for name in ("val_ua", "test_ua")
        if name in row.scores
    ]
    if trial.state == COMPLETE and rows:
        points += [
            Point(key, value, 0, last) for name in SCORES for key, value in summary(name, rows)
        ]
        points.append(Point("seconds", sum(row.seconds for row in rows), 0, last))
    elif trial.state == PRUNED and trial.value is not None:
        points.append(Point("predicted_val", trial.value, 0, last))
    tags = {
        "raysearch.state": state,
        "raysearch.origin": trial.origin,
        "raysearch.folds": f"{len(rows)} of {len(study.folds)}",
        "mlflow.note.content": trial_note(study, trial, rows, reason, selected),
        "raysearch.reason": reason,
        "raysearch.selected": "yes" if selected else "",
    }
    files: dict[str, str | Callable[[], bytes]] = {}
    if trial.state == FAILED:
        said = trial.extra.get("trace") or "no traceback: the process said nothing more"
        files["failure.txt"] = f"{reason}\n\n{said}\n"
    if rows and status != "RUNNING":
        table = fold_table(rows)
        files |= {"folds.json": table_json(table), "folds.csv": table_csv(table)}
        tags["mlflow.loggedArtifacts"] = json.dumps([{"path": "folds.json", "type": "table"}])
        files |= matrix_files(
            summed(rows),
            study.classes,
            f"Trial {trial.number}: all {len(rows)} folds, test",
            drawn,
        )
    return Run(
        key=("trial", str(trial.number), ""),
        name=f"trial {trial.number:03d}" + (" · selected" if selected else ""),
        status=status,
        start=start,
        end=None if trial.ended is None else _ms(trial.ended),
        params={name: as_text(value) for name, value in trial.params.items()},
        tags=_known(study, "trial") | {k: v for k, v in tags.items() if v},
        points=_finite(points),
        files=files,
        parent=("study", "", ""),
    )


def fold_run(study: StudyFacts, trial: TrialRow, row: FoldRow, best: BestFold) -> Run:
    """The run of one fold: curves by epoch, and the confusion matrix of its test part."""
    start = _ms(trial.started) + row.index
    held_out = next((f for f in study.folds if f.get("name") == row.fold), {})
    points = [
        Point(f"epoch/{name}", float(value), epoch, start)
        for name, values in best.curves.items()
        for epoch, value in enumerate(values, start=1)
    ]
    points += [
        Point(f"fold/{n}", row.scores[n], row.index, start) for n in SCORES if n in row.scores
    ]
    if best.best_epoch is not None:
        points.append(Point("best_epoch", float(best.best_epoch), 0, start))
    note = (
        f"Fold **{row.fold}** of trial {trial.number} of `{study.id}`: "
        f"UA {percent(row.scores.get('val_ua'))} on validation, "
        f"{percent(row.scores.get('test_ua'))} on the held-out test part. "
        "Curves by epoch under *Model metrics*, the confusion matrix under *Artifacts*."
    )
    return Run(
        key=("fold", str(trial.number), row.fold),
        name=f"{row.fold} · trial {trial.number:03d}",
        status="FINISHED",
        start=start,
        end=start + round(row.seconds * 1000),
        params={name: as_text(value) for name, value in trial.params.items()},
        tags=_known(study, "fold")
        | {"raysearch.stage_key": row.stages[-1].key if row.stages else "none"}
        | {"mlflow.note.content": note},
        points=_finite(points),
        files={
            **matrix_files(row.confusion, study.classes, f"{row.fold}, test", True),
            "fold.json": json.dumps({**held_out, "scores": dict(row.scores)}, indent=1),
        },
        parent=("trial", str(trial.number), ""),
    )


def study_run(
    study: StudyFacts,
    trials: Sequence[TrialRow],
    pooled: Sequence[FoldRow],
    *,
    status: str,
    reason: str = "",
    closing: Closing | None = None,
    started: float,
) -> Run:
    """The study's own run: what was searched, on what, and, once closed, every closing number.

    Closing numbers are logged with the number of finished trials as step, so a study that was
    extended shows how its estimates moved.

    Args:
        pooled: the selected trial's folds, for its matrix.
        started: seconds since the epoch, used where there are no trials yet.
    """
    done = [t for t in trials if t.state != RUNNING]
    # Before its trials: MLflow's table is in order of starts.
    start = _ms(min([t.started for t in trials] + [started])) - 1
    last = _ms(max((t.ended or t.started for t in done), default=started))
    points: list[Point] = []
    files: dict[str, str | Callable[[], bytes]] = {
        "study.yaml": study.study_yaml,
        "facts.json": json.dumps(study.facts, indent=1, sort_keys=True, default=str),
    }
    if study.command:
        files["command.txt"] = f"{study.command}\n"
    if done:
        table = trial_table(study, done, closing)
        files |= {"trials.json": table_json(table), "trials.csv": table_csv(table)}
    if study.folds:
        files |= {"folds.json": table_json(study.folds), "folds.csv": table_csv(study.folds)}
    counts = {s: sum(t.state == s for t in trials) for s in (COMPLETE, FAILED, PRUNED)}
    if closing is not None:
        step = len(done)
        numbers = {
            **closing.numbers,
            **{f"trials_{s}": float(n) for s, n in counts.items()},
        }
        best = [t.value for t in done if t.state == COMPLETE and t.value is not None]
        if best:
            # Same key as the trials' own: sorted by it, the study stays on the page of its best.
            numbers[f"val_{study.objective}"] = max(best)
        points = [Point(key, round(value, 4), step, last) for key, value in numbers.items()]
        files |= dict(closing.reports)
        if pooled:
            title = f"Selected setting (trial {closing.selected}): all {len(pooled)} folds, test"
            files |= matrix_files(summed(pooled), study.classes, title, True)
    tags = {
        **{f"raysearch.{k}": v for k, v in _flat(study.facts).items()},
        "raysearch.command": study.command,
        "raysearch.reason": reason,
        "raysearch.corpus_digest": study.corpus_digest,
        "raysearch.state": status.lower(),
        "raysearch.found": headline(closing),
        "raysearch.best_trial": "" if closing is None else as_text(closing.selected),
        "mlflow.source.name": study.command or "raysearch",
        "mlflow.source.type": "LOCAL",
        "mlflow.loggedArtifacts": json.dumps(
            [{"path": name, "type": "table"} for name in ("trials.json", "folds.json")]
        ),
        "mlflow.note.content": study_note(study, trials, status, reason, closing),
    }
    commit = _flat(study.facts).get("git.commit", "")
    if commit:
        tags["mlflow.source.git.commit"] = commit
    flat = _flat(study.identity)
    return Run(
        key=("study", "", ""),
        name=f"study {study.id}",
        status=status,
        start=start,
        end=last if status == "FINISHED" else None,
        params={**flat, **{k: as_text(v) for k, v in study.constants.items()}},
        tags=_known(study, "study") | {k: v[:5000] for k, v in tags.items() if v},
        points=_finite(points),
        files=files,
        dataset={
            "name": "+".join(study.corpus) or "corpus",
            "digest": study.corpus_digest[:36] or "unknown",
            "source": ", ".join(study.corpus),
        },
    )


# -- small parts -----------------------------------------------------------------------------------
def _known(study: StudyFacts, kind: str) -> dict[str, str]:
    tags = {f"raysearch.simulated.{what}": "yes" for what in sorted(study.simulated)}
    return {**tags, "raysearch.method": study.method, "raysearch.kind": kind}


def _flat(mapping: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    flat: dict[str, str] = {}
    for name, value in mapping.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{name}.")
        elif value is not None and value != "":
            flat[f"{prefix}{name}"] = as_text(value)
    return flat


def _finite(points: Sequence[Point]) -> list[Point]:
    # MLflow keeps NaN, but its charts and orders do not know what to do with it.
    return [p for p in points if math.isfinite(p.value)]


def _ms(seconds: float) -> int:
    return round(seconds * 1000)
