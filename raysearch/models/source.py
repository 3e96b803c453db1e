"""What is exported: a study and one of its settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from raysearch.data import features
from raysearch.errors import BadInput, near
from raysearch.report import Report, build
from raysearch.stages import LocalExecutor
from raysearch.stages.methods import method as find_method
from raysearch.stages.methods import methods
from raysearch.stages.store import Store, is_read_only
from raysearch.study import Study
from raysearch.study.folder import StudyFolder, scratch_of, store_of
from raysearch.study.ledger import COMPLETE, FoldRow, TrialRow
from raysearch.study.record import Record
from raysearch.tuning.prepare import StudyInputs, prepare
from trainables.stage import Exporter, Method


@dataclass(frozen=True)
class Source:
    """A study and one of its settings."""

    study: Study
    inputs: StudyInputs
    method: Method
    exporter: Exporter
    report: Report
    trial: TrialRow
    rows: tuple[FoldRow, ...]
    """of the trial, by fold index; where there is a rater, of that rater's folds"""
    instance: str
    unfinished: str
    """why the selection may still change, or ''"""
    rater: str = ""
    """whose perception the model is of, where the study has target raters"""

    @property
    def setting(self) -> dict[str, Any]:
        """Every parameter of the method."""
        return self.method.resolve({**self.inputs.space.constants(), **self.trial.params})

    @property
    def store(self) -> Store:
        """The study's; of a home that one may only read, what is trained now is not kept."""
        uri = store_of(self.study)
        return Store(uri, self.study.store_wait, keeps=not is_read_only(uri))

    def executor(self) -> LocalExecutor:
        """Runs stages over the study's store, in this process."""
        scratch = None if is_read_only(str(self.study.home)) else scratch_of(self.study)
        return LocalExecutor(self.store, scratch)

    def stages(self, row: FoldRow) -> list[list[tuple[str, str]]]:
        """By training of a fold, (name, key) of its stages, the scored one last."""
        each = len(row.stages) // self.study.seeds
        pairs = [(use.name, use.key) for use in row.stages]
        return [pairs[i : i + each] for i in range(0, len(pairs), each)]


EVERY = ""
"""all of a study's target raters, in place of one"""


def source_of(folder: Path, setting: str | int, rater: str | None = None) -> Source:
    """What is exported of the study in a folder.

    Args:
        folder: the study's.
        setting: "selected", or the number of a complete trial.
        rater: one of the study's target raters, or EVERY; None is the only one.

    Raises:
        BadInput: there is no such setting or rater, or the method or the data cannot serve.
    """
    place = StudyFolder(folder)
    record = Record.read(place)
    report = build(record)
    trials = {trial.number: trial for trial in record.trials}
    number = _number(report, trials, setting)
    study = place.study("quiet=true")
    method = find_method(study.method)
    if method.export is None:
        raise BadInput(
            f"the method {study.method} cannot be exported: it does not say how it predicts new "
            f"clips (Method.export); those that do: {', '.join(_exportable()) or 'none'}"
        )
    known = features.known()
    if ready := [name for name in study.features if known[name].values is not None]:
        raise BadInput(
            f"study {study.id} is of features={', '.join(ready)}, which are values that lie ready: "
            "nobody can extract them of another sound; take a study of an extractor's features"
        )
    inputs = prepare(study)
    place.check_fingerprint(study, inputs.fingerprint)
    ended = sum(report.states.values()) - report.states["running"]
    unfinished = ""
    if setting == "selected" and ended < record.planned:
        unfinished = (
            f"{ended} of {record.planned} trials had ended when this was exported: the selected "
            "setting may still change"
        )
    whose = _rater(report.study, inputs, rater)
    return Source(
        study,
        inputs,
        method,
        method.export,
        report,
        trials[number],
        tuple(
            row
            for row in record.rows_of(number)
            if rater == EVERY or inputs.folds[row.index].rater == whose
        ),
        record.instance,
        unfinished,
        whose,
    )


def _rater(study: str, inputs: StudyInputs, rater: str | None) -> str:
    """The target rater that is asked for; "" where the study learns labels."""
    targets = list(dict.fromkeys(fold.rater for fold in inputs.folds if fold.rater))
    if rater == EVERY:
        return ""
    if not targets:
        if rater is None:
            return ""
        raise BadInput(
            f"rater={rater} says whose perception is exported, but study {study} learns the labels "
            "of its corpus; leave it out"
        )
    listed = ", ".join(targets)
    if rater is None and len(targets) > 1:
        raise BadInput(
            f"study {study} has {len(targets)} target raters, and a model is of one's perception; "
            f"name one of {listed}, as in rater={targets[0]}"
        )
    if rater is not None and rater not in targets:
        raise BadInput(
            f"rater={rater} is no target rater of study {study}{near(rater, targets)}; its target "
            f"{'raters are' if len(targets) > 1 else 'rater is'} {listed}"
        )
    return rater or targets[0]


def _number(report: Report, trials: Mapping[int, TrialRow], setting: str | int) -> int:
    """The number of the trial that is asked for."""
    if report.best_trial is None:
        states = ", ".join(f"{n} {state}" for state, n in report.states.items() if n) or "none run"
        raise BadInput(
            f"study {report.study} has no complete trial to export (trials: {states}); "
            "run it on with the same tune command"
        )
    if setting == "selected":
        return report.best_trial
    complete = [n for n, trial in trials.items() if trial.state == COMPLETE]
    if isinstance(setting, bool) or not isinstance(setting, int) or setting not in complete:
        state = trials[setting].state if setting in trials else "not there"  # type: ignore[index]
        some = ", ".join(map(str, complete[:20])) + (" …" if len(complete) > 20 else "")
        raise BadInput(
            f"setting={setting} must be selected or the number of a complete trial ({some}), but "
            f"that is {state}"
        )
    return setting


def _exportable() -> list[str]:
    names = []
    for name in methods():
        try:
            if find_method(name).export is not None:
                names.append(name)
        except BadInput:  # a third party's that cannot be imported
            continue
    return names
