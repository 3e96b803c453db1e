"""One study from start to end: the only composer.

`tune` gathers the material, holds the study's lease, lets the driver and Ray Tune run what the
ledger lacks, and closes with the estimates. Everything heavy (Ray, MLflow, torch) is imported
only where there is something to run.
"""

from __future__ import annotations

import json
import os
import shlex
import sqlite3
import subprocess
import sys
import time
import traceback
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import raysearch
from raysearch.addresses import OPTUNA_VARIABLE, TRACKING_VARIABLE, named, shown, uri_problem
from raysearch.config import Study, dump
from raysearch.driver import Driver, Listener
from raysearch.errors import BadInput, StudyFailed
from raysearch.lease import Lease
from raysearch.ledger import COMPLETE, FoldRow, Ledger, TrialRow
from raysearch.material import Material, gather
from raysearch.progress import Progress
from raysearch.racing import rule as find_rule
from raysearch.report import (
    SELECTED,
    Layers,
    Report,
    Truth,
    as_json,
    build,
    files,
    html,
    markdown,
)
from raysearch.report.write import clean, duration
from raysearch.selection import Score
from raysearch.stages import Runtime
from raysearch.store import Damaged, Store
from trainables.stage import CURVE

if TYPE_CHECKING:
    from raysearch.search import Curve, Stopping
    from raysearch.tracking import Tracker
    from raysearch.writer import Sink

__all__ = ["Outcome", "driver_of", "folder_of", "layers_of", "runtime_of", "store_of", "tune"]


@dataclass(frozen=True)
class Outcome:
    """How a call of `tune` ended."""

    study: Study
    report: Report
    folder: Path
    ran: int
    """stages computed in this session"""
    reused: int
    seconds: float
    interrupted: bool
    failure: str
    """why there is no result, or ''"""

    @property
    def command(self) -> str:
        """The command that goes on with this study."""
        return _again(self.folder, self.study)

    @property
    def closing(self) -> str:
        """The last lines: what this session did, and how to see and extend the results."""
        home = shlex.quote(str(self.study.home))
        return (
            f"this session: {self.ran} stages computed, {self.reused} found stored, "
            f"{duration(self.seconds)}\n"
            f"results: python -m raysearch ui home={home}\n"
            f"more trials: {self.command} trials={2 * self.study.trials}"
        )


def _again(folder: Path, study: Study) -> str:
    words = [f"space={folder / 'study.yaml'}", f"home={study.home}"]
    return shlex.join(["python", "-m", "raysearch", "tune", *words])


def folder_of(home: Path | str, study: str) -> Path:
    """The folder of a study under a home."""
    return Path(home) / "studies" / study


def store_of(study: Study) -> str:
    """Where a study's artifacts are."""
    return study.store or str(Path(study.home).absolute() / "store")


def layers_of(material: Material, trials: Sequence[int | str]) -> Layers:
    """What pictures of the last layers of these trials are made of. Labels are for scoring alone,
    so no file of a study holds them: they come from the corpus."""
    truth = {
        fold.name: Truth(one.unseen[one.selected : one.selected + one.test], one.selected)
        for fold, one in zip(material.folds, material.answers(), strict=True)
    }
    return Layers(tuple(trials), truth, Store(store_of(material.study)))


def runtime_of(study: Study) -> Runtime:
    """How a study's stages run."""
    return Runtime(
        cpus=study.cpus,
        gpus=study.gpus,
        threads=study.threads or max(1, int(study.cpus)),
        workers=study.workers,
        timeout=study.timeout,
        memory=study.memory,
    )


def tune(study: Study, progress: Progress, command: str = "") -> Outcome:
    """Run what the study lacks and report.

    Args:
        study: what to run.
        progress: told how it gets on.
        command: the one that a person gave; "" names the study's own file.

    Raises:
        BadInput: before anything of the study is written.
        StudyHeld: where another driver holds the study.
        StudyFailed: where the store or the ledger cannot be written.
    """
    started = time.monotonic()
    places = _check_places(study)
    material = gather(study, progress.stage)
    for note in [*places, *material.notes]:
        progress.note(note)
    folder = folder_of(study.home, study.id)
    count = _Count()
    interrupted = False
    with ExitStack() as stack:
        stack.enter_context(_disk_told(folder))
        lease = stack.enter_context(Lease(folder))
        ledger = _open(folder, material)
        stack.callback(ledger.close)
        ledger.set_fact("ended", None)
        if lease.lost is not None:
            progress.note(f"{lease.lost} ran this study and was killed; this one goes on")
        command = command or _again(folder, study)
        tracker = _tracker(material, folder, ledger, command, lease.lost)
        told: list[Listener] = [count, progress]
        mirror = None if tracker is None else _Mirror(tracker)
        if mirror is not None:
            told.append(mirror)
        stack.enter_context(_end_told(ledger, mirror))
        driver = driver_of(material, ledger, told)
        try:
            if driver.outstanding:
                progress.start(
                    _wanted(material),
                    len(material.folds),
                    ledger.folds(),
                    ledger.trials(),
                    objective=study.metric,
                )
                _run(material, driver, folder, progress, mirror)
        except KeyboardInterrupt:
            interrupted = True
        finally:
            progress.finish()
        report = build(folder)
        failure = "" if interrupted else _failure(ledger.trials(), report)
        if tracker is not None and mirror is not None:
            where = [shown(tracker.uri), *(shown(uri) for uri in _addresses(study)[1:] if uri)]
            mark = [*where, sum(report.states.values()), report.states]
            if interrupted or ledger.fact("tracked") != mark:
                mirror.start()
                progress.stage("writing to MLflow")
                _close(tracker, ledger, material, folder, interrupted, failure)
                lost = tracker.close(timeout=10.0 if interrupted else 120.0)
                for sentence in lost:
                    progress.note(sentence)
                if tracker.page:
                    ledger.set_fact("page", tracker.page)
                if not lost and not interrupted:
                    ledger.set_fact("tracked", mark)
        if interrupted:
            _set_end(ledger, "interrupted", "it was interrupted by its user")
        else:
            _set_end(ledger, "failed" if failure else "done", failure)
    return Outcome(
        study=study,
        report=report,
        folder=folder,
        ran=count.ran,
        reused=count.reused,
        seconds=time.monotonic() - started,
        interrupted=interrupted,
        failure=failure,
    )


def _set_end(ledger: Ledger, how: str, reason: str) -> None:
    """Leave word of how this session ended, for `status` and `watch`."""
    ledger.set_fact("ended", {"how": how, "reason": reason, "at": time.time()})


@contextmanager
def _end_told(ledger: Ledger, mirror: _Mirror | None) -> Iterator[None]:
    """A session that cannot go on says why where people look: in the ledger and in MLflow."""
    try:
        yield
    except Exception as error:
        reason = clean(str(getattr(error, "cause", error))) or type(error).__name__
        if mirror is not None:
            mirror.died(reason, traceback.format_exc(limit=-40))
        with suppress(OSError, sqlite3.Error):  # the disk that is full may be why
            _set_end(ledger, "failed", reason)
        raise


@contextmanager
def _disk_told(folder: Path) -> Iterator[None]:
    """A disk that fails, or is full, ends the study with one sentence, wherever it is noticed."""
    try:
        yield
    except (OSError, sqlite3.Error) as error:
        cause = str(getattr(error, "cause", error)).splitlines()  # Ray wraps what its tasks raise
        what = cause[0] if cause else type(error).__name__
        raise StudyFailed(f"{folder} cannot be written: {what}; make room and run again") from error


def _check_places(study: Study) -> list[str]:
    """URIs that nothing answers for are bad input; a server that is away now is worth a note."""
    Store(store_of(study)).sweep()
    if not study.tracking.enabled:
        return []
    notes = []
    uri, optuna = _addresses(study)
    if uri is not None:
        problem = uri_problem(uri)
        if problem is not None:
            raise BadInput(problem)
        from raysearch import server

        notes = server.ask(uri, Path(study.home), study.id)
    if optuna is not None:
        from raysearch import server

        problem = server.driver_problem("tracking.optuna", optuna)
        if problem is not None:
            raise BadInput(problem)
    return notes


def _addresses(study: Study) -> tuple[str | None, str | None]:
    """Where MLflow and Optuna's storage are, as the study or the environment names them.

    Those of the environment may hold passwords, so they are written nowhere.
    """
    uri, optuna = study.tracking.uri, study.tracking.optuna
    return (
        None if uri is None else named("tracking.uri", uri, TRACKING_VARIABLE),
        None if optuna is None else named("tracking.optuna", optuna, OPTUNA_VARIABLE),
    )


# -- the study's folder ------------------------------------------------------------------------
def _open(folder: Path, material: Material) -> Ledger:
    """The study's files and its ledger; a study begun on other speech is refused."""
    study = material.study
    path = folder / "ledger.sqlite"
    if path.exists():
        begun = Ledger(path)
        was = begun.fact("fingerprint")
        begun.close()
        if was is not None and was != material.fingerprint:
            raise BadInput(
                f"study {study.id} was begun on other data: the corpus at "
                f"{dict(study.corpus.root) or 'its root'} has changed since (clips, labels or "
                "votes); bring the old one back, or use another home="
            )
    _write(folder / "study.yaml", dump(study))
    _write(folder / "folds.json", json.dumps(material.split_table(), indent=1))
    ledger = Ledger(path, write=True)
    ledger.set_fact("study", study.id)
    ledger.set_fact("fingerprint", material.fingerprint)
    ledger.set_fact("classes", list(material.corpus.classes))
    ledger.set_fact("notes", list(material.notes))
    ledger.set_fact("simulated", sorted(material.corpus.simulated))
    ledger.set_fact("versions", _versions())
    ledger.set_fact("published", _published(material))
    constants = material.space.constants()
    ledger.set_fact(
        "space",
        {
            name: constants[name] if name in constants else {"domain": str(domain)}
            for name, domain in material.space.domains.items()
        },
    )
    if ledger.fact("instance") is None:
        ledger.set_fact("instance", uuid.uuid4().hex)
    return ledger


def _published(material: Material) -> dict[str, Any] | None:
    """The paper's table that this space repeats, its rows joined to their settings.

    Where a paper has a table for each task, it is that of the study's; of another there is none.
    """
    table = material.study.published
    if not table:
        return None
    task = material.study.task.name
    values = table["tasks"].get(task, {}) if "tasks" in table else table["rows"]
    return {
        "source": table["source"],
        "metric": table["metric"],
        "rows": [
            {"name": name, "params": dict(setting), "value": values.get(name)}
            for name, setting in material.enqueued
            if name
        ],
    }


def _write(path: Path, text: str) -> None:
    aside = path.with_name(f"{path.name}.{os.getpid()}.aside")
    aside.write_text(text)
    os.replace(aside, path)


def driver_of(material: Material, ledger: Ledger, listeners: Sequence[Listener] = ()) -> Driver:
    """The driver of a study, its sampler rebuilt from the ledger."""
    study = material.study
    return Driver(
        ledger=ledger,
        sampler=material.sampler(),
        order=_race_order(material),
        scores=[Score(name) for name in study.objective],
        trials=_wanted(material),
        rule=None if study.racing == "off" else find_rule(study.racing),
        batch=study.batch if study.deterministic else None,
        listeners=listeners,
    )


def _wanted(material: Material) -> int:
    """How many trials the study shall have: a list has no more than its settings."""
    study = material.study
    return min(study.trials, len(material.enqueued)) if study.sampler == "listed" else study.trials


def _race_order(material: Material) -> list[int]:
    """The order of folds, the same for all trials of a study."""
    import numpy as np

    return [
        int(i) for i in np.random.default_rng(material.study.seed).permutation(len(material.folds))
    ]


# -- running -----------------------------------------------------------------------------------
def _run(
    material: Material,
    driver: Driver,
    folder: Path,
    progress: Progress,
    mirror: _Mirror | None,
) -> None:
    from raysearch import cluster
    from raysearch.shipping import modules_of

    study = material.study
    home = Path(study.home).absolute()
    progress.stage("starting Ray" if study.cluster == "local" else "joining the cluster")
    with cluster.connected(study.cluster, home / "logs" / "ray.log", modules_of(study)):
        import ray

        from raysearch.broker import connect, repairs
        from raysearch.features import ray_chunks
        from raysearch.search import Stopping, Work, search

        dataset = material.dataset(
            run_chunks=ray_chunks,
            progress=lambda done, of: progress.stage(f"features {done}/{of}"),
        )
        if mirror is not None:
            mirror.start()
        cores = ray.cluster_resources().get("CPU", 1.0)
        at_once = max(1, round(cores / max(study.cpus, 0.01)))
        # every fold of a wave may run at once; a race decides after each fold, and of a trial that
        # is stopped inside a fold the others of its wave would be lost
        whole = study.racing == "off" and study.stopping.rule == "off"
        wave = min(len(material.folds), at_once) if whole else 1
        stopping = None
        if study.stopping.rule != "off":
            stopping = Stopping(
                study.stopping.rule,
                study.stopping.grace,
                study.stopping.eta,
                frozenset(_race_order(material)[: study.stopping.folds]),
            )
        work = Work(
            study=study.id,
            method=study.method,
            constants=material.space.constants(),
            context=material.context(),
            answers=material.answers(),
            classes=len(material.corpus.classes),
            speaker_clips=material.speaker_clips,
            seeds=study.seeds,
            runtime=runtime_of(study),
            store=store_of(study),
            scratch=str(home / "scratch"),
            wave=wave,
            data=[ray.put(dataset)],
            stopping=stopping,
            node=ray.get_runtime_context().get_node_id(),
        )
        progress.stage("searching")
        # enough trials that every core has a next stage waiting
        concurrent = study.concurrent or max(2, min(-(-2 * at_once // wave) + 1, 64))
        # made here, so that it lives as long as the driver and not as long as some trial's actor
        broker = connect(work.store, scratch=work.scratch)
        try:
            search(driver, work, concurrent=concurrent, past=_past(folder, study, stopping))
        finally:
            for note in repairs(broker):
                progress.note(note)


def _past(folder: Path, study: Study, stopping: Stopping | None) -> list[Curve]:
    """The curves of trainings that are over, for the rule that stops trials inside a fold.

    Those that ended are in the store, those that were stopped in the ledger: without the latter
    a study that goes on would compare with survivors alone.
    """
    if stopping is None:
        return []
    from raysearch.search import Curve

    store = Store(store_of(study))
    ledger = Ledger(folder / "ledger.sqlite")
    curves = []
    for trial in ledger.trials():
        facts = trial.extra.get("stopped")
        if facts is not None:
            curves.append(Curve(**{**facts, "scores": tuple(facts["scores"])}))
    for row in ledger.folds():
        if row.index not in stopping.folds:
            continue
        each = len(row.stages) // study.seeds
        for repeat in range(study.seeds):
            try:
                found = store.get(row.stages[(repeat + 1) * each - 1].key)
            except Damaged:
                found = None
            scores = () if found is None else tuple(found[0].info.get("curves", {}).get(CURVE, ()))
            curves.append(Curve(row.trial, row.index, repeat, scores, ended=True))
    ledger.close()
    return curves


class _Count:
    """Stages run and reused in this session."""

    def __init__(self) -> None:
        self.ran = self.reused = 0

    def trial_started(self, number: int, params: Mapping[str, Any]) -> None: ...

    def fold_done(self, row: FoldRow, ran: int, reused: int) -> None:
        self.ran += ran
        self.reused += reused

    def trial_done(self, trial: TrialRow, folds: Sequence[FoldRow]) -> None: ...


def _failure(trials: Sequence[TrialRow], report: Report) -> str:
    if report.estimates is not None:
        return ""
    reasons = [trial.reason for trial in trials if trial.reason]
    return (
        f"no trial of {report.study} is complete: {report.states.get('failed', 0)} of "
        f"{len(trials)} failed; the first one: {reasons[0] if reasons else 'no reason recorded'}"
    )


# -- MLflow ------------------------------------------------------------------------------------
class _Mirror:
    """Tells the tracker which trials changed; it reads the rest from the ledger."""

    def __init__(self, tracker: Tracker) -> None:
        self._tracker = tracker
        self._started = False

    def start(self) -> None:
        if not self._started:
            self._started = True
            self._tracker.start()

    def died(self, reason: str, trace: str) -> None:
        """The study cannot go on; what MLflow knows of it says so, unless it knows nothing yet."""
        if self._started:
            self._tracker.stop(reason, failed=True, files={"failure.txt": trace})
            self._tracker.close(timeout=10.0)

    def trial_started(self, number: int, params: Mapping[str, Any]) -> None:
        self._tracker.changed(number)

    def fold_done(self, row: FoldRow, ran: int, reused: int) -> None:
        self._tracker.changed(row.trial)

    def trial_done(self, trial: TrialRow, folds: Sequence[FoldRow]) -> None:
        self._tracker.changed(trial.number)


def _tracker(
    material: Material, folder: Path, ledger: Ledger, command: str, lost: str | None = None
) -> Tracker | None:
    study = material.study
    if not study.tracking.enabled:
        return None
    from raysearch.projection import StudyFacts
    from raysearch.tracking import Tracker

    domains = material.space.domains
    constants = material.space.constants()
    uri, optuna = _addresses(study)
    return Tracker(
        uri=uri,
        home=Path(study.home),
        ledger=ledger.path,
        instance=str(ledger.fact("instance")),
        study=StudyFacts(
            id=study.id,
            name=Path(study.space).stem,
            identity=study.identity(),
            study_yaml=dump(study),
            method=study.method,
            space=study.space,
            corpus=study.corpus.name,
            protocol=study.protocol.name,
            classes=material.corpus.classes,
            searched={n: str(domain) for n, domain in domains.items() if n not in constants},
            constants=constants,
            folds=json.loads((folder / "folds.json").read_text()),
            facts={"versions": _versions(), "git": _git(), "taken_over_from": lost},
            corpus_digest=material.fingerprint,
            command=command,
            objective=study.metric,
            notes=material.notes,
            simulated=material.corpus.simulated,
        ),
        also=[] if optuna is None else [_optuna_mirror(optuna, material, ledger)],
    )


def _optuna_mirror(uri: str, material: Material, ledger: Ledger) -> Sink:
    from raysearch.optuna_mirror import OptunaMirror

    study = material.study
    return OptunaMirror(
        uri,
        study=study.id,
        instance=str(ledger.fact("instance")),
        domains=material.space.domains,
        objectives=study.objective,
        metric=study.metric,
        folds=len(material.folds),
        facts={
            "method": study.method,
            "corpus": " + ".join(study.corpus.name),
            "protocol": study.protocol.name,
            "space": study.space,
            "simulated": " and ".join(sorted(material.corpus.simulated)),
        },
    )


def _close(
    tracker: Tracker,
    ledger: Ledger,
    material: Material,
    folder: Path,
    interrupted: bool,
    failure: str,
) -> None:
    """How the study's run ends in MLflow."""
    from raysearch.projection import Closing

    if interrupted:
        tracker.stop("interrupted by the user; the same command goes on")
    elif failure:
        tracker.stop(failure, failed=True)
    else:
        layers = layers_of(material, [SELECTED])
        report = build(folder, whole=True, layers_of=layers if layers.small else None)
        tracker.finish(
            Closing(
                numbers=_numbers(report),
                selected=report.best_trial,
                reports=_files(report),
                best=_best_folds(ledger, folder),
                notes=report.warnings,
                sentences=[
                    line
                    for section in report.sections
                    if section.name.startswith("compare")
                    for line in section.after
                ],
                scores=_means(ledger),
            )
        )


def _files(report: Report) -> dict[str, str | Callable[[], bytes]]:
    """The artifacts of a study. What has to be drawn is drawn by the tracker's thread."""
    drawn = {name: draw for name, draw in files.figures(report) if name.endswith(".png")}
    return {
        "report.md": markdown.render(report),
        "report.json": as_json.render(report),
        "report.html": lambda: html.render(report).encode(),
        **{f"tables/{name}": text for name, text in files.tables(report)},
        **{f"figures/{name}": draw for name, draw in drawn.items()},
    }


def _means(ledger: Ledger) -> dict[int, dict[str, float]]:
    """Mean scores of every trial over the folds that it ran."""
    by_trial: dict[int, list[FoldRow]] = {}
    for row in ledger.folds():
        by_trial.setdefault(row.trial, []).append(row)
    return {
        trial: {"folds": len(rows)}
        | {
            name: round(sum(row.scores[name] for row in rows) / len(rows), 4)
            for name in ("val_ua", "val_wa", "test_ua", "test_wa")
        }
        for trial, rows in by_trial.items()
    }


def _numbers(report: Report) -> dict[str, float]:
    """Every number of the closing table."""
    found = report.estimates
    if found is None:
        return {}
    numbers: dict[str, float] = {}
    for name in ("honest", "nested", "selected", "oracle"):
        for metric, one in getattr(found, name).items():
            numbers[f"{name}_{metric}"] = one.mean
            for end, value in (("low", one.low), ("high", one.high), ("sd", one.sd)):
                if value is not None:
                    numbers[f"{name}_{metric}_{end}"] = value
    numbers |= {f"optimism_{metric}": value for metric, value in found.optimism.items()}
    numbers |= {"stages_run": report.stages_run, "stages_reused": report.stages_reused}
    return numbers


def _best_folds(ledger: Ledger, folder: Path) -> list[Any]:
    """Curves of the best trials' folds, from the store."""
    import yaml

    from raysearch.projection import BestFold

    facts = yaml.safe_load((folder / "study.yaml").read_text())
    wanted = int(facts["tracking"]["fold_runs"])
    store = Store(facts.get("store") or str(folder.parent.parent.absolute() / "store"))
    done = [t for t in ledger.trials() if t.state == COMPLETE and t.value is not None]
    done.sort(key=lambda trial: (-(trial.value or 0.0), trial.number))
    best = []
    for trial in done[:wanted]:
        for row in ledger.folds(trial.number):
            try:
                found = store.get(row.stages[-1].key)
            except Damaged:
                found = None  # the next run of the study repairs it; its scores are in the ledger
            info = {} if found is None else found[0].info
            best.append(
                BestFold(trial.number, row.fold, info.get("curves", {}), info.get("best_epoch"))
            )
    return best


# -- where it ran ------------------------------------------------------------------------------
def _versions() -> dict[str, str]:
    names = ("ray", "optuna", "mlflow", "torch", "transformers", "opensmile", "scikit-learn")
    versions = {"raysearch": raysearch.__version__, "python": sys.version.split()[0]}
    for name in (*names, "pandas", "numpy"):
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = "missing"
    return versions


def _git() -> dict[str, str]:
    """Revision of the folder one works in, where it is a repository."""
    try:
        head = subprocess.run(
            ["git", "rev-parse", "HEAD"], capture_output=True, text=True, timeout=10, check=True
        ).stdout.strip()
        dirty = subprocess.run(
            ["git", "status", "--porcelain"], capture_output=True, text=True, timeout=10, check=True
        ).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return {}
    return {"commit": head, "changed": "yes" if dirty else "no"}
