"""What each MLflow run of a study holds: study run > trial runs > fold runs.

MLflow's client is not known here: `client` writes what a `Projection` says. The same record always
gives the same `Run`, timestamps included, so a run that was written half, or twice, ends the same.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
import statistics
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from raysearch.report import Report, confusion, to_json, to_markdown
from raysearch.report.figures import png
from raysearch.report.formats import directory, html
from raysearch.selection import SCORED
from raysearch.study.ledger import COMPLETE, FAILED, PRUNED, RUNNING, FoldRow, TrialRow
from raysearch.study.record import Record
from raysearch.tracking import notes

SCORES = tuple(f"{part}_{metric}" for part in ("val", "test") for metric in SCORED)
"""of a fold; those that a study does not have are left out"""
STUDY = ("study", "", "")
"""key of the study's own run"""
_STATUS = {COMPLETE: "FINISHED", FAILED: "FAILED", PRUNED: "KILLED", RUNNING: "RUNNING"}
_LONGEST = 5000
"""characters of a parameter or a tag: MLflow refuses longer ones"""

Key = tuple[str, str, str]
File = str | Callable[[], bytes]
"""an artifact: its text, or what draws it"""
Rows = Sequence[Mapping[str, object]]
"""a table, a mapping a row"""


@dataclass(frozen=True)
class StudyProvenance:
    """What MLflow shows of a study beside its record."""

    identity: Mapping[str, object]
    """becomes parameters, which cannot change in MLflow: it stays when the study is extended"""
    study_yaml: str
    split: Rows
    """a row a fold: its name, its index, and what it holds out"""
    facts: Mapping[str, object]
    """versions, git revision, ...; may be nested"""
    command: str
    started: float
    """when this session began, in seconds since the epoch"""


@dataclass(frozen=True)
class BestFold:
    """One fold of one of the best trials, with the curves of its scored stage."""

    trial: int
    fold: str
    curves: Mapping[str, Sequence[float]]
    """name -> value by epoch, from 1"""
    best_epoch: int | None = None


@dataclass(frozen=True)
class Ending:
    """How a session of a study ended; `RUNNING` while it has not."""

    status: str = "RUNNING"
    """RUNNING, FINISHED, FAILED or KILLED"""
    reason: str = ""
    """why it was not finished"""
    report: Report | None = None
    """of a finished study"""
    best: Sequence[BestFold] = ()
    trace: str = ""
    """of the error that ended it"""

    @property
    def interruption(self) -> str:
        """Why a trial that runs in the ledger goes on no more; '' while it does."""
        return "" if self.status == "RUNNING" else self.reason or "the study ended before it"


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
    """One MLflow run as it should be."""

    key: Key
    """kind, trial, fold: it is found in MLflow by tags of these"""
    name: str
    status: str
    """RUNNING, FINISHED, FAILED or KILLED"""
    start: int
    end: int | None
    """milliseconds since the epoch; None: the moment of writing"""
    params: Mapping[str, str]
    tags: Mapping[str, str]
    points: Sequence[Point]
    files: Mapping[str, File]
    """artifacts by path"""
    parent: Key | None = None
    dataset: Mapping[str, str] = field(default_factory=dict)
    """name, digest and source of the study's corpus"""

    def digest(self, parent: str) -> str:
        """What is compared with the run's own tag to see whether it is written already."""
        texts = {k: v for k, v in self.files.items() if isinstance(v, str)}
        points = [(p.key, p.value, p.step, p.time) for p in self.points]
        whole = [self.name, self.status, self.end, self.params, self.tags, points, texts]
        text = json.dumps([*whole, sorted(self.files), parent, self.dataset], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Projection:
    """A study as runs, from what its record held at one moment."""

    record: Record
    provenance: StudyProvenance
    ending: Ending = Ending()

    @property
    def selected(self) -> int | None:
        """The number of the selected trial, once the study is finished."""
        return None if self.ending.report is None else self.ending.report.best_trial

    # -- the study ---------------------------------------------------------------------------------
    def study(self, final: bool) -> Run:
        """The study's run: what was searched, on what, and, at its end, every closing number.

        Closing numbers are logged with the number of ended trials as step, so a study that was
        extended shows how its estimates moved.

        Args:
            final: whether the session's ending shows; False: as a parent of its trials.
        """
        now = self if final else Projection(self.record, self.provenance)
        trials, origin = self.record.trials, self.provenance
        ends = [t.ended or t.started for t in trials if t.state != RUNNING]
        last = _ms(max(ends, default=origin.started))
        corpus = self.record.corpora
        return Run(
            key=STUDY,
            name=f"study {self.record.name}",
            status=now.ending.status,
            # before its trials: MLflow's table is in order of starts
            start=_ms(min([origin.started, *(t.started for t in trials)])) - 1,
            end=last if now.ending.status == "FINISHED" else None,
            params={
                **_flat(origin.identity),
                **{name: as_text(value) for name, value in self.record.constants.items()},
            },
            tags=now._study_tags(),
            points=now._closing_points(last),
            files=now._study_files(),
            dataset={
                "name": "+".join(corpus) or "corpus",
                "digest": self.record.fingerprint[:36] or "unknown",
                "source": ", ".join(corpus),
            },
        )

    def _study_tags(self) -> dict[str, str]:
        facts, command = _flat(self.provenance.facts), self.provenance.command
        tables = [{"path": name, "type": "table"} for name in ("trials.json", "folds.json")]
        tags = {
            **{f"raysearch.{name}": value for name, value in facts.items()},
            "raysearch.command": command,
            "raysearch.reason": self.ending.reason,
            "raysearch.corpus_digest": self.record.fingerprint,
            "raysearch.state": self.ending.status.lower(),
            "raysearch.result": notes.honest(self.ending.report),
            "raysearch.best_trial": as_text(self.selected),
            "mlflow.source.name": command or "raysearch",
            "mlflow.source.type": "LOCAL",
            "mlflow.source.git.commit": facts.get("git.commit", ""),
            "mlflow.loggedArtifacts": json.dumps(tables),
            "mlflow.note.content": notes.study_note(
                self.record, self.ending.status, self.ending.reason, self.ending.report, command
            ),
        }
        return self._tags("study", tags)

    def _closing_points(self, time: int) -> list[Point]:
        report = self.ending.report
        if report is None:
            return []
        numbers = _numbers(report)
        numbers |= {f"trials_{s}": self.record.states[s] for s in (COMPLETE, FAILED, PRUNED)}
        values = [t.value for t in self.record.trials if t.state == COMPLETE]
        best = [value for value in values if value is not None]
        first = self.record.objectives[0]
        if best:
            # the trials' own key: sorted by it, the study stays on the page of its best
            numbers[f"val_{first.metric}"] = max(best, key=first.merit)
        step = len(self.record.trials) - self.record.states[RUNNING]
        return _finite(Point(key, round(x, 4), step, time) for key, x in numbers.items())

    def _study_files(self) -> dict[str, File]:
        origin, report = self.provenance, self.ending.report
        texts = {
            "study.yaml": origin.study_yaml,
            "facts.json": json.dumps(origin.facts, indent=1, sort_keys=True, default=str),
            "command.txt": f"{origin.command}\n" if origin.command else "",
            "failure.txt": self.ending.trace,
        }
        files: dict[str, File] = {name: text for name, text in texts.items() if text}
        files |= _table("trials", self._trial_table()) | _table("folds", origin.split)
        if report is not None:
            files |= _report_files(report)
        if self.selected is not None:
            rows = self.record.rows_of(self.selected)
            title = f"Selected setting (trial {self.selected}): all {len(rows)} folds, test"
            files |= self._matrix(_summed(rows), title, picture=True)
        return files

    def _trial_table(self) -> list[dict[str, object]]:
        """A row a trial that has ended: its mean scores and its parameters."""
        table = []
        for trial in self.record.trials:
            if trial.state != RUNNING:
                rows = self.record.rows_of(trial.number)
                means: dict[str, float | None] = {name: _mean(rows, name) for name in SCORES}
                params = {name: trial.params.get(name) for name in self.record.searched}
                start = {"trial": trial.number, "state": trial.state, "folds": len(rows)}
                table.append({**start, **means, **params})
        return table

    # -- its trials --------------------------------------------------------------------------------
    def trial(self, trial: TrialRow) -> Run:
        """The run of one trial: its setting, its means, its folds as steps and as a table."""
        rows = self.record.rows_of(trial.number)
        status, state, reason = _STATUS[trial.state], trial.state, trial.reason
        if trial.state == RUNNING and self.ending.interruption:
            status, state, reason = "KILLED", "stopped", self.ending.interruption
        selected = trial.state == COMPLETE and trial.number == self.selected
        folds = f"{len(rows)} of {len(self.record.folds)}"
        files = self._trial_files(trial, reason, rows if status != "RUNNING" else [])
        means = {name: _mean(rows, name) for name in SCORES}
        tags = {
            "raysearch.state": state,
            "raysearch.origin": trial.origin,
            "raysearch.folds": folds,
            "raysearch.reason": reason,
            "raysearch.selected": "yes" if selected else "",
            "mlflow.note.content": notes.trial_note(
                self.record.name, trial, folds, means, reason, selected
            ),
        }
        if "folds.json" in files:
            tags["mlflow.loggedArtifacts"] = json.dumps([{"path": "folds.json", "type": "table"}])
        return Run(
            key=("trial", str(trial.number), ""),
            name=f"trial {trial.number:03d}" + (" · selected" if selected else ""),
            status=status,
            start=_ms(trial.started),
            end=None if trial.ended is None else _ms(trial.ended),
            params={name: as_text(value) for name, value in trial.params.items()},
            tags=self._tags("trial", tags),
            points=_trial_points(trial, rows, self.record.objectives[0].metric),
            files=files,
            parent=STUDY,
        )

    def _trial_files(
        self, trial: TrialRow, reason: str, rows: Sequence[FoldRow]
    ) -> dict[str, File]:
        files: dict[str, File] = {}
        if trial.state == FAILED:
            trace = trial.extra.get("trace") or "no traceback: the process said nothing more"
            files["failure.txt"] = f"{reason}\n\n{trace}\n"
        if rows:
            best = {fold.trial for fold in self.ending.best} | {self.selected}
            title = f"Trial {trial.number}: all {len(rows)} folds, test"
            files |= _table("folds", _fold_table(rows))
            files |= self._matrix(_summed(rows), title, trial.number in best)
        return files

    # -- the folds of the best ---------------------------------------------------------------------
    def fold(self, best: BestFold) -> Run:
        """The run of one fold: curves by epoch, and the confusion matrix of its test part.

        Raises:
            KeyError: the ledger has no such fold.
        """
        row = self.record.cells[best.trial, best.fold]
        trial = next(t for t in self.record.trials if t.number == best.trial)
        start = _ms(trial.started) + row.index
        split = next((f for f in self.provenance.split if f.get("name") == row.fold), {})
        tags = {
            "raysearch.stage_key": row.stages[-1].key if row.stages else "none",
            "mlflow.note.content": notes.fold_note(self.record.name, row),
        }
        return Run(
            key=("fold", str(best.trial), row.fold),
            name=f"{row.fold} · trial {best.trial:03d}",
            status="FINISHED",
            start=start,
            end=start + _ms(row.seconds),
            params={name: as_text(value) for name, value in trial.params.items()},
            tags=self._tags("fold", tags),
            points=_fold_points(best, row, start),
            files={
                **self._matrix(row.confusion, f"{row.fold}, test", picture=True),
                "fold.json": json.dumps({**split, "scores": dict(row.scores)}, indent=1),
            },
            parent=("trial", str(best.trial), ""),
        )

    # -- of all of them ----------------------------------------------------------------------------
    def _tags(self, kind: str, tags: Mapping[str, str]) -> dict[str, str]:
        method = self.record.method
        shared = {f"raysearch.simulated.{what}": "yes" for what in sorted(self.record.simulated)}
        shared |= {"raysearch.method": method, "raysearch.kind": kind}
        return shared | {name: text[:_LONGEST] for name, text in tags.items() if text}

    def _matrix(
        self, counts: Sequence[Sequence[int]], title: str, picture: bool
    ) -> dict[str, File]:
        """A confusion matrix as data, and, where `picture` is true, as an image."""
        if not counts:
            return {}
        classes = list(self.record.classes)
        body = {"classes": classes, "rows": "true", "columns": "predicted", "counts": counts}
        files: dict[str, File] = {"confusion.json": json.dumps(body)}
        if picture:
            files["confusion.png"] = lambda: draw_matrix(counts, classes, title)
        return files


# -- points ----------------------------------------------------------------------------------------
def _trial_points(trial: TrialRow, rows: Sequence[FoldRow], metric: str) -> list[Point]:
    start = _ms(trial.started)
    last = start + max((row.index for row in rows), default=0)
    points = [
        Point(f"fold/{name}", row.scores[name], row.index, start + row.index)
        for row in rows
        for name in (f"val_{metric}", f"test_{metric}")
        if name in row.scores
    ]
    numbers: dict[str, float | None] = {}
    if trial.state == COMPLETE and rows:
        for name in SCORES:
            numbers |= {name: _mean(rows, name), f"{name}_sd": _spread(rows, name)}
        numbers["seconds"] = sum(row.seconds for row in rows)
    elif trial.state == PRUNED:
        numbers["predicted_val"] = trial.value
    points += [Point(key, x, 0, last) for key, x in numbers.items() if x is not None]
    return _finite(points)


def _fold_points(best: BestFold, row: FoldRow, start: int) -> list[Point]:
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
    return _finite(points)


def _numbers(report: Report) -> dict[str, float]:
    """Every number of the table of estimates, as fractions: honest_ua, honest_ua_low, …"""
    estimates = report.estimates
    if estimates is None:
        return {}
    numbers: dict[str, float] = {}
    for kind in estimates.kinds:
        for metric, x in estimates.of(kind).items():
            numbers[f"{kind}_{metric}"] = x.mean
            if metric not in report.metrics:
                continue  # few keys: MLflow's pages slow down with their number
            for end, value in (("low", x.low), ("high", x.high), ("sd", x.sd)):
                if value is not None:
                    numbers[f"{kind}_{metric}_{end}"] = value
    if estimates.pooled is not None:
        numbers["honest_pooled_ua"] = estimates.pooled.mean
    numbers |= {f"optimism_{metric}": value for metric, value in estimates.optimism.items()}
    numbers |= report.numbers
    return numbers | {"stages_run": report.stages_run, "stages_reused": report.stages_reused}


def _finite(points: Iterator[Point] | Sequence[Point]) -> list[Point]:
    # MLflow keeps NaN, but its charts and orders do not know what to do with it
    return [point for point in points if math.isfinite(point.value)]


def _mean(rows: Sequence[FoldRow], name: str) -> float | None:
    values = [row.scores[name] for row in rows if name in row.scores]
    # MLflow's tables print every digit: 0.01 points are enough, folds.csv has all of them
    return round(statistics.fmean(values), 4) if values else None


def _spread(rows: Sequence[FoldRow], name: str) -> float | None:
    values = [row.scores[name] for row in rows if name in row.scores]
    return round(statistics.stdev(values), 4) if len(values) > 1 else None


# -- files -----------------------------------------------------------------------------------------
def _report_files(report: Report) -> dict[str, File]:
    """The report in its formats. What has to be drawn is drawn by whoever writes it."""
    images = {name: draw for name, draw in directory.figures(report) if name.endswith(".png")}
    return {
        "report.md": to_markdown(report),
        "report.json": to_json(report),
        "report.html": lambda: html.render(report).encode(),
        **{f"tables/{name}": text for name, text in directory.tables(report)},
        **{f"figures/{name}": draw for name, draw in images.items()},
        **dict(directory.predictions(report)),
    }


def _fold_table(rows: Sequence[FoldRow]) -> list[dict[str, object]]:
    return [
        {
            "fold": row.fold,
            **{name: row.scores.get(name) for name in SCORES},
            "seconds": round(row.seconds, 3),
            "stages_run": sum(use.ours for use in row.stages),
            "stages": len(row.stages),
        }
        for row in rows
    ]


def _table(name: str, rows: Rows) -> dict[str, File]:
    """A table as CSV, and as `mlflow.log_table` writes it, which MLflow's pages show."""
    if not rows:
        return {}
    columns = list(dict.fromkeys(name for row in rows for name in row))
    cells = [[_cell(row.get(column)) for column in columns] for row in rows]
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([columns, *cells])
    table = json.dumps({"columns": columns, "data": cells})
    return {f"{name}.json": table, f"{name}.csv": text.getvalue()}


def _summed(rows: Sequence[FoldRow]) -> list[list[int]]:
    size = max((len(row.confusion) for row in rows), default=0)
    full = [row.confusion for row in rows if len(row.confusion) == size]
    return [[sum(m[i][j] for m in full) for j in range(size)] for i in range(size)]


def draw_matrix(counts: Sequence[Sequence[int]], classes: Sequence[str], title: str) -> bytes:
    """A confusion matrix [K][K] as PNG: colour and figure are the share of the true class in %."""
    import numpy as np

    names = list(classes) if len(classes) == len(counts) else [str(i) for i in range(len(counts))]
    return png(confusion("confusion", title, np.array(counts, dtype=np.float64), names))


# -- texts -----------------------------------------------------------------------------------------
def as_text(value: object) -> str:
    """A value as a parameter or a tag holds it, exactly; '' for None."""
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:g}" if value == float(f"{value:g}") else repr(value)
    return str(_cell(value))[:_LONGEST]


def _cell(value: object) -> bool | int | float | str | None:
    if isinstance(value, Collection) and not isinstance(value, str | Mapping):
        items = sorted(value) if isinstance(value, set | frozenset) else value
        return " ".join(str(item) for item in items)
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


def _flat(mapping: Mapping[str, object], prefix: str = "") -> dict[str, str]:
    flat: dict[str, str] = {}
    for name, value in mapping.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{name}.")
        elif value is not None and value != "":
            flat[f"{prefix}{name}"] = as_text(value)
    return flat


def _ms(seconds: float) -> int:
    return round(seconds * 1000)
