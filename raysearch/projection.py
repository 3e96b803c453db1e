"""What a study looks like in MLflow: ledger rows in, run descriptions out.

Pure functions that know nothing of MLflow's client: `raysearch.tracking` writes what they
return. The same rows always give the same `Run`, timestamps included, so a run can be written
twice, or half, and then again, and end the same.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
import statistics
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from raysearch.ledger import COMPLETE, FAILED, PRUNED, RUNNING, FoldRow, TrialRow

__all__ = [
    "BestFold",
    "Closing",
    "Point",
    "Run",
    "StudyFacts",
    "fold_run",
    "percent",
    "study_run",
    "trial_run",
    "trials_view",
    "view_state",
]

SCORES = ("val_ua", "val_wa", "test_ua", "test_wa")
ESTIMATES = ("honest", "nested", "selected", "oracle", "optimism")
_STATUS = {COMPLETE: "FINISHED", FAILED: "FAILED", PRUNED: "KILLED", RUNNING: "RUNNING"}
_MEANING = {
    "honest": "chosen without the speakers it is scored on: the headline",
    "nested": "chosen anew for every fold by its own validation speakers",
    "selected": "the one setting that won on validation; slightly flattered",
    "oracle": "chosen on the test scores, as most papers print it; not to be reported",
    "optimism": "oracle − honest",
}


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


@dataclass(frozen=True)
class StudyFacts:
    """What is known of a study before its first trial.

    `identity` and `constants` become parameters and must not change while the study is extended;
    `study_yaml` and `facts` may.
    """

    id: str
    name: str
    identity: Mapping[str, Any]
    study_yaml: str
    method: str
    space: str
    corpus: Sequence[str]
    protocol: str
    classes: Sequence[str]
    searched: Mapping[str, str]
    """parameter -> its domain in words, '0.2 … 0.8 in steps of 0.1'"""
    constants: Mapping[str, Any]
    folds: Sequence[Mapping[str, Any]]
    """the split table: dicts with at least name and index; flat values or lists of names"""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """versions, git revisions, corpus fingerprint, …; nested mappings are fine"""
    corpus_digest: str = ""
    command: str = ""
    objective: str = "ua"
    notes: Sequence[str] = ()
    simulated: Collection[str] = ()
    """subset of {'speech', 'votes'}"""


@dataclass(frozen=True)
class BestFold:
    """One fold of one of the best trials, with the curves of its scored stage."""

    trial: int
    fold: str
    curves: Mapping[str, Sequence[float]]
    """name -> value by epoch, from 1"""
    best_epoch: int | None = None


@dataclass(frozen=True)
class Closing:
    """What is known at the end of a study."""

    numbers: Mapping[str, float]
    """every number of the closing table: honest_ua, honest_ua_low, … as fractions"""
    selected: int | None = None
    """the number of the selected trial"""
    reports: Mapping[str, str | Callable[[], bytes]] = field(default_factory=dict)
    """artifact's path -> text, or what draws it: report.md, report.html, figures/…, tables/…"""
    best: Sequence[BestFold] = ()
    notes: Sequence[str] = ()
    sentences: Sequence[str] = ()
    """what the comparisons say, for the description"""
    scores: Mapping[int, Mapping[str, float]] = field(default_factory=dict)
    """mean scores of trials by number, over the folds that they ran"""


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
            Point(key, value, 0, last) for name in SCORES for key, value in _summary(name, rows)
        ]
        points.append(Point("seconds", sum(row.seconds for row in rows), 0, last))
    elif trial.state == PRUNED and trial.value is not None:
        points.append(Point("predicted_val", trial.value, 0, last))
    tags = {
        "raysearch.state": state,
        "raysearch.origin": trial.origin,
        "raysearch.folds": f"{len(rows)} of {len(study.folds)}",
        "mlflow.note.content": _trial_note(study, trial, rows, reason, selected),
        "raysearch.reason": reason,
        "raysearch.selected": "yes" if selected else "",
    }
    files: dict[str, str | Callable[[], bytes]] = {}
    if trial.state == FAILED:
        said = trial.extra.get("trace") or "no traceback: the process said nothing more"
        files["failure.txt"] = f"{reason}\n\n{said}\n"
    if rows and status != "RUNNING":
        table = _fold_table(rows)
        files |= {"folds.json": _table_json(table), "folds.csv": _table_csv(table)}
        tags["mlflow.loggedArtifacts"] = json.dumps([{"path": "folds.json", "type": "table"}])
        files |= _matrix_files(
            _pooled(rows),
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
        params={name: _text(value) for name, value in trial.params.items()},
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
        params={name: _text(value) for name, value in trial.params.items()},
        tags=_known(study, "fold")
        | {"raysearch.stage_key": row.stages[-1].key if row.stages else "none"}
        | {"mlflow.note.content": note},
        points=_finite(points),
        files={
            **_matrix_files(row.confusion, study.classes, f"{row.fold}, test", True),
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
        table = _trial_table(study, done, closing)
        files |= {"trials.json": _table_json(table), "trials.csv": _table_csv(table)}
    if study.folds:
        files |= {"folds.json": _table_json(study.folds), "folds.csv": _table_csv(study.folds)}
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
            files |= _matrix_files(_pooled(pooled), study.classes, title, True)
    tags = {
        **{f"raysearch.{k}": v for k, v in _flat(study.facts).items()},
        "raysearch.command": study.command,
        "raysearch.reason": reason,
        "raysearch.corpus_digest": study.corpus_digest,
        "raysearch.state": status.lower(),
        "raysearch.found": headline(closing),
        "raysearch.best_trial": "" if closing is None else _text(closing.selected),
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
        params={**flat, **{k: _text(v) for k, v in study.constants.items()}},
        tags=_known(study, "study") | {k: v[:5000] for k, v in tags.items() if v},
        points=_finite(points),
        files=files,
        dataset={
            "name": "+".join(study.corpus) or "corpus",
            "digest": study.corpus_digest[:36] or "unknown",
            "source": ", ".join(study.corpus),
        },
    )


def headline(closing: Closing | None) -> str:
    """The honest estimate in one line; '' before there is one."""
    numbers = closing.numbers if closing is not None else {}
    parts = [(m.upper(), _with_interval(numbers, f"honest_{m}")) for m in ("ua", "wa")]
    found = ", ".join(f"{name} {text}" for name, text in parts if text).replace("**", "")
    return f"honest estimate: {found}" if found else ""


def study_note(
    study: StudyFacts,
    trials: Sequence[TrialRow],
    status: str,
    reason: str,
    closing: Closing | None,
) -> str:
    """The description at the head of the study's page, in Markdown."""
    n_folds = len(study.folds)
    lines = [
        f"**{study.method}** on **{' + '.join(study.corpus)}** "
        f"({len(study.classes)} classes: {', '.join(study.classes)}), "
        f"protocol **{study.protocol}**, {n_folds} folds.",
        "",
    ]
    # The page shows three lines before "Show more".
    if headline(closing):
        found = headline(closing)
        lines.insert(0, f"**{found[0].upper()}{found[1:]}**\n")
    unreal = {"speech": "the speech is synthetic", "votes": "the raters' votes are simulated"}
    said = " and ".join(text for name, text in unreal.items() if name in study.simulated)
    if said:
        lines += [f"> **{said[0].upper()}{said[1:]}:** the scores say nothing about people.", ""]
    if status in ("FAILED", "KILLED"):
        lines += [f"**{'Failed' if status == 'FAILED' else 'Stopped'}:** {reason}", ""]
    elif status == "RUNNING":
        lines += ["The search is running; the estimates come at its end.", ""]
    if closing is not None and any(f"{e}_ua" in closing.numbers for e in ESTIMATES):
        lines += ["| estimate | UA | WA | how it was chosen |", "|---|---|---|---|"]
        for name in ESTIMATES:
            ua, wa = (_with_interval(closing.numbers, f"{name}_{m}") for m in ("ua", "wa"))
            if ua or wa:
                lines.append(f"| {name} | {ua} | {wa} | {_MEANING[name]} |")
        lines.append("")
        chosen = next((t for t in trials if t.number == closing.selected), None)
        if chosen is not None:
            setting = ", ".join(f"{k} = {_text(v)}" for k, v in chosen.params.items())
            lines += [f"Selected: **trial {chosen.number}** ({setting or 'no parameters'}).", ""]
    if closing is not None and closing.sentences:
        lines += ["What the comparisons say:", "", *(f"- {x}" for x in closing.sentences), ""]
    if study.searched:
        lines += ["| searched | over |", "|---|---|"]
        lines += [f"| {name} | {domain} |" for name, domain in study.searched.items()]
        lines.append("")
    if study.constants:
        fixed = ", ".join(f"{k} = {_text(v)}" for k, v in study.constants.items())
        lines += [f"Held constant: {fixed}.", ""]
    counts = {s: sum(t.state == s for t in trials) for s in (COMPLETE, FAILED, PRUNED)}
    tried = ", ".join(f"{n} {s}" for s, n in counts.items() if n)
    if tried:
        lines += [f"Trials: {tried}.", ""]
    notes = [*study.notes, *(closing.notes if closing else ())]
    lines += [f"- {note}" for note in dict.fromkeys(notes)]
    if notes:
        lines.append("")
    lines.append(
        "`val_*` are means over the folds' validation parts: choose by these. `test_*` are means "
        "over the held-out test parts: the search never saw them, and the best of them is the "
        "oracle, not a result."
    )
    if closing is not None and "report.html" in closing.reports:
        lines += [
            "",
            "Under *Artifacts*: `report.html` (the whole report with its figures), `figures/`, "
            "`tables/`, `trials.json` (all trials, sortable), `study.yaml` (the resolved study).",
        ]
    if study.command:
        lines += ["", "To repeat or extend it:", "```", study.command, "```"]
    return "\n".join(lines)


def view_state(study: StudyFacts) -> str:
    """The experiment page as a newcomer should find it: columns and order.

    MLflow reads such a state from the experiment tag `mlflow.sharedViewState.<key>` when the
    address ends in `?viewStateShareKey=<key>`.
    """
    # The only order in which MLflow nests runs and fetches parents beyond the first page.
    return _view(study, "", ("val_ua", "test_ua", "honest_ua"), "attributes.start_time", True)


def trials_view(study: StudyFacts) -> str:
    """The experiment page with the trials alone, best first, and charts that compare them.

    Without their study they are not folded into it, and charts show what the table does.
    """
    where = "tags.`raysearch.kind` = 'trial'"
    best = f"metrics.`val_{study.objective}`"
    return _view(study, where, ("val_ua", "test_ua", "val_wa", "test_wa"), best, False)


def _view(
    study: StudyFacts, where: str, metrics: Sequence[str], order: str, ascending: bool
) -> str:
    return json.dumps(
        {
            "searchFilter": where,
            "orderByKey": order,
            "orderByAsc": ascending,
            "startTime": "ALL",
            "lifecycleFilter": "Active",
            "selectedColumns": [
                *(f"params.`{name}`" for name in study.searched),
                *(f"metrics.`{name}`" for name in metrics),
            ],
            "compareRunCharts": _charts(study),
            "compareRunSections": [
                {
                    "uuid": _SECTION,
                    "name": "Trials",
                    "display": True,
                    "isReordered": False,
                    "deleted": False,
                    "isGenerated": False,
                }
            ],
        }
    )


_SECTION = "raysearch-trials"


def _charts(study: StudyFacts) -> list[dict[str, Any]]:
    """Charts of MLflow's own page: the parameters beside the score, test against validation, and
    the trials' scores as bars."""
    both = {"isGenerated": False, "deleted": False, "metricSectionId": _SECTION}
    val, test = "val_ua", "test_ua"
    return [
        {
            "type": "PARALLEL",
            "uuid": "raysearch-parallel",
            "selectedParams": list(study.searched)[:8],
            "selectedMetrics": [val],
            "showAllRuns": False,
            "runsCountToCompare": 100,
            **both,
        },
        {
            "type": "SCATTER",
            "uuid": "raysearch-scatter",
            "xaxis": {"key": val, "type": "METRIC"},
            "yaxis": {"key": test, "type": "METRIC"},
            "runsCountToCompare": 100,
            **both,
        },
        *(
            {
                "type": "BAR",
                "uuid": f"raysearch-bar-{name}",
                "metricKey": name,
                "runsCountToCompare": 20,
                **both,
            }
            for name in (val, test)
        ),
    ]


def percent(value: float | None) -> str:
    """0.7216 -> '72.2 %'; '–' for None."""
    return "–" if value is None else f"{100 * value:.1f} %"


# -- small parts -----------------------------------------------------------------------------------
def _known(study: StudyFacts, kind: str) -> dict[str, str]:
    tags = {f"raysearch.simulated.{what}": "yes" for what in sorted(study.simulated)}
    return {**tags, "raysearch.method": study.method, "raysearch.kind": kind}


def _summary(name: str, rows: Sequence[FoldRow]) -> list[tuple[str, float]]:
    values = [row.scores[name] for row in rows if name in row.scores]
    if not values:
        return []
    # MLflow's tables print every digit: 0.01 points are enough, folds.csv has all of them.
    spread = [(f"{name}_sd", round(statistics.stdev(values), 4))] if len(values) > 1 else []
    return [(name, round(statistics.fmean(values), 4)), *spread]


def _trial_note(
    study: StudyFacts, trial: TrialRow, rows: Sequence[FoldRow], reason: str, selected: bool
) -> str:
    setting = ", ".join(f"{k} = {_text(v)}" for k, v in trial.params.items()) or "no parameters"
    lines = [f"Trial {trial.number} of `{study.id}`: {setting}."]
    if selected:
        lines.append("**The selected setting** of the study: best mean on validation.")
    if trial.state == COMPLETE and rows:
        score = {n: dict(_summary(n, rows)).get(n) for n in SCORES}
        lines.append(
            f"Means over {len(rows)} folds: validation UA {percent(score['val_ua'])}, "
            f"WA {percent(score['val_wa'])}; held-out test UA {percent(score['test_ua'])}, "
            f"WA {percent(score['test_wa'])}. Each fold is a step of `fold/val_ua` and "
            "`fold/test_ua`, and a row of `folds.json` under *Artifacts*."
        )
    elif reason:
        word = {FAILED: "Failed", PRUNED: "Stopped early"}.get(trial.state, "Stopped")
        lines.append(f"**{word}** after {len(rows)} of {len(study.folds)} folds: {reason}")
    if trial.state == FAILED:
        lines.append("The last lines of what it said: `failure.txt` under *Artifacts*.")
    return "\n\n".join(lines)


def _fold_table(rows: Sequence[FoldRow]) -> list[dict[str, Any]]:
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


def _trial_table(
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


def _table_json(rows: Sequence[Mapping[str, Any]]) -> str:
    """A table as `mlflow.log_table` writes it, which MLflow's UI can show and compare."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    data = [[_cell(row.get(name)) for name in columns] for row in rows]
    return json.dumps({"columns": columns, "data": data})


def _table_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    columns = list(dict.fromkeys(name for row in rows for name in row))
    out = io.StringIO()
    writer = csv.DictWriter(out, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows({k: _cell(v) for k, v in row.items()} for row in rows)
    return out.getvalue()


def _cell(value: Any) -> Any:
    if isinstance(value, Collection) and not isinstance(value, str | Mapping):
        items = sorted(value) if isinstance(value, set | frozenset) else value
        return " ".join(str(v) for v in items)
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


def _pooled(rows: Sequence[FoldRow]) -> list[list[int]]:
    size = max((len(row.confusion) for row in rows), default=0)
    full = [row.confusion for row in rows if len(row.confusion) == size]
    return [[sum(m[i][j] for m in full) for j in range(size)] for i in range(size)]


def _matrix_files(
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


def _with_interval(numbers: Mapping[str, float], key: str) -> str:
    if key not in numbers:
        return ""
    low, high = numbers.get(f"{key}_low"), numbers.get(f"{key}_high")
    if key.startswith("optimism"):
        return f"{100 * numbers[key]:.1f} points"
    if low is None or high is None or not (math.isfinite(low) and math.isfinite(high)):
        return percent(numbers[key])
    return f"**{percent(numbers[key])}** ({100 * low:.1f} … {100 * high:.1f})"


def _flat(mapping: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    flat: dict[str, str] = {}
    for name, value in mapping.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{name}.")
        elif value is not None and value != "":
            flat[f"{prefix}{name}"] = _text(value)
    return flat


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:g}" if value == float(f"{value:g}") else repr(value)
    return str(_cell(value))[:5000]


def _finite(points: Sequence[Point]) -> list[Point]:
    # MLflow keeps NaN, but its charts and orders do not know what to do with it.
    return [p for p in points if math.isfinite(p.value)]


def _ms(seconds: float) -> int:
    return round(seconds * 1000)
