"""What a study tells its mirrors: MLflow, and Optuna's storage where one is named."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from raysearch.errors import BadInput
from raysearch.report import SELECTED, Report, build
from raysearch.report.formats import directory as files
from raysearch.report.formats import html, markdown
from raysearch.report.formats import json as as_json
from raysearch.stages.store import Damaged, Store
from raysearch.study import Study, dump
from raysearch.study.addresses import OPTUNA_VARIABLE, TRACKING_VARIABLE, named, uri_problem
from raysearch.study.folder import StudyFolder, store_of
from raysearch.study.ledger import COMPLETE, FoldRow, Ledger, TrialRow
from raysearch.study.software import versions
from raysearch.tuning.prepare import Material, layers_of

if TYPE_CHECKING:
    from raysearch.tracking.runs import Tracker
    from raysearch.tracking.writer import Sink


def check_places(study: Study) -> list[str]:
    """URIs that nothing answers for are bad input; a server that is away now is worth a note."""
    Store(store_of(study)).sweep()
    if not study.tracking.enabled:
        return []
    notes = []
    uri, optuna = addresses(study)
    if uri is not None:
        problem = uri_problem(uri)
        if problem is not None:
            raise BadInput(problem)
        from raysearch.tracking import server

        notes = server.ask(uri, Path(study.home), study.id)
    if optuna is not None:
        from raysearch.tracking import server

        problem = server.driver_problem("tracking.optuna", optuna)
        if problem is not None:
            raise BadInput(problem)
    return notes


def addresses(study: Study) -> tuple[str | None, str | None]:
    """Where MLflow and Optuna's storage are, as the study or the environment names them.

    Those of the environment may hold passwords, so they are written nowhere.
    """
    uri, optuna = study.tracking.uri, study.tracking.optuna
    return (
        None if uri is None else named("tracking.uri", uri, TRACKING_VARIABLE),
        None if optuna is None else named("tracking.optuna", optuna, OPTUNA_VARIABLE),
    )


# -- MLflow ------------------------------------------------------------------------------------
class Mirror:
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


def tracker_of(
    material: Material, folder: StudyFolder, ledger: Ledger, command: str, lost: str | None = None
) -> Tracker | None:
    """What writes the study into MLflow, and into Optuna's storage where one is named; None where
    `tracking.enabled` is false. `lost`: the driver that was killed before this one."""
    study = material.study
    if not study.tracking.enabled:
        return None
    from raysearch.tracking.facts import StudyFacts
    from raysearch.tracking.runs import Tracker

    domains = material.space.domains
    constants = material.space.constants()
    uri, optuna = addresses(study)
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
            folds=json.loads(folder.folds_file.read_text()),
            facts={"versions": versions(), "git": _git(), "taken_over_from": lost},
            corpus_digest=material.fingerprint,
            command=command,
            objective=study.metric,
            notes=material.notes,
            simulated=material.corpus.simulated,
        ),
        also=[] if optuna is None else [_optuna_mirror(optuna, material, ledger)],
    )


def _optuna_mirror(uri: str, material: Material, ledger: Ledger) -> Sink:
    from raysearch.tracking.optuna_mirror import OptunaMirror

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


def close(
    tracker: Tracker,
    ledger: Ledger,
    material: Material,
    folder: StudyFolder,
    interrupted: bool,
    failure: str,
) -> None:
    """How the study's run ends in MLflow."""
    from raysearch.tracking.facts import Closing

    if interrupted:
        tracker.stop("interrupted by the user; the same command goes on")
    elif failure:
        tracker.stop(failure, failed=True)
    else:
        layers = layers_of(material, [SELECTED])
        report = build(folder.path, whole=True, layers_of=layers if layers.small else None)
        tracker.finish(
            Closing(
                numbers=_numbers(report),
                selected=report.best_trial,
                reports=_files(report),
                best=_best_folds(ledger, material.study),
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


def _best_folds(ledger: Ledger, study: Study) -> list[Any]:
    """Curves of the best trials' folds, from the store."""
    from raysearch.tracking.facts import BestFold

    store = Store(store_of(study))
    done = [t for t in ledger.trials() if t.state == COMPLETE and t.value is not None]
    done.sort(key=lambda trial: (-(trial.value or 0.0), trial.number))
    best = []
    for trial in done[: study.tracking.fold_runs]:
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
