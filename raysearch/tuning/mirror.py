"""What a study shows in its mirrors: MLflow, and Optuna's storage where one is named.

The mirror reads the study's ledger; the writer's thread asks it for the record, and brings each
sink up to it.
"""

from __future__ import annotations

import shlex
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from raysearch.errors import BadInput
from raysearch.report import SELECTED, Report, build
from raysearch.selection import Score
from raysearch.stages.store import Damaged, Store
from raysearch.stages.temporary import sweep_leftovers
from raysearch.study import Study
from raysearch.study.addresses import OPTUNA_VARIABLE, TRACKING_VARIABLE, named, shown, uri_problem
from raysearch.study.folder import StudyFolder, store_for, store_of
from raysearch.study.ledger import COMPLETE, FoldRow, Ledger, TrialRow
from raysearch.study.record import Record
from raysearch.study.software import versions
from raysearch.tuning.outcomes import keep_predictions
from raysearch.tuning.prepare import StudyInputs, layers_of

if TYPE_CHECKING:
    from raysearch.tracking.client import MlflowRuns
    from raysearch.tracking.projection import BestFold
    from raysearch.tracking.writer import Sink, Writer

_PATIENCE, _PATIENCE_AT_CTRL_C = 120.0, 10.0
"""seconds that the end of a study waits for the writer"""
_ANSWERING, _ANSWERING_AT_CTRL_C = 900.0, 60.0
"""the same while what it writes to answers, on a busy machine: no run must be left RUNNING"""


def check_places(study: Study) -> list[str]:
    """Look at where a study will be written, before anything of it runs.

    Returns:
        Sentences to print: a server that is away now, say.

    Raises:
        BadInput: an address that nothing answers for.
    """
    store = Store(store_of(study))
    store.check()
    store.sweep()
    sweep_leftovers()
    if not study.tracking.enabled:
        return []
    uri, optuna = addresses(study)
    if uri is not None and uri_problem(uri) is not None:
        raise BadInput(uri_problem(uri) or "")
    notes = []
    if uri is not None or optuna is not None:
        from raysearch.tracking import server

        notes = [] if uri is None else server.ask(uri, Path(study.home), study.id)
        problem = None if optuna is None else server.driver_problem("tracking.optuna", optuna)
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


def mirror_of(
    inputs: StudyInputs,
    folder: StudyFolder,
    ledger: Ledger,
    command: str,
    say: Callable[[str], None],
    predecessor: str | None = None,
) -> Mirror | None:
    """The mirror of a study; None where `tracking.enabled` is false.

    Args:
        inputs: of the study.
        folder: of the study; its files are written already.
        ledger: of the study.
        command: that a person gave.
        say: shows a person a sentence.
        predecessor: the driver that was killed before this one.
    """
    study = inputs.study
    if not study.tracking.enabled:
        return None
    from raysearch.tracking.client import MlflowRuns, default_uri
    from raysearch.tracking.projection import StudyProvenance
    from raysearch.tracking.writer import Writer

    uri, optuna = addresses(study)
    record = Record.read(folder)
    provenance = StudyProvenance(
        identity=study.identity(),
        study_yaml=folder.configuration_file.read_text(encoding="utf-8"),
        split=inputs.split_table(),
        facts={"versions": versions(), "git": _git(), "taken_over_from": predecessor},
        command=command,
        started=time.time(),
    )
    home = Path(study.home)
    runs = MlflowRuns(uri or default_uri(home), home, study.id, record.instance, provenance)
    sinks: list[Sink] = [runs]
    if optuna is not None:
        from raysearch.tracking.optuna_mirror import OptunaMirror

        sinks.append(OptunaMirror(optuna, study.id, record.instance, inputs.space.domains))
    writer = Writer(lambda: _renewed(record, folder), sinks)
    return Mirror(inputs, folder, ledger, runs, sinks, writer, say)


def _renewed(record: Record, folder: StudyFolder) -> Record:
    """The record as it is now: what changes while a study runs are its trials and folds."""
    with folder.ledger() as ledger:
        # Trials first: one read as ended then has all its folds, which were recorded before.
        trials = tuple(ledger.trials())
        return replace(record, trials=trials, fold_rows=tuple(ledger.folds()))


class Mirror:
    """Keeps MLflow, and other sinks, in step with one study's ledger: a listener of its driver.

    Args:
        inputs: of the study.
        folder: of the study.
        ledger: of the study.
        runs: the study in MLflow.
        sinks: all that is kept in step, `runs` among them.
        writer: of these sinks.
        say: shows a person a sentence.

    Attributes:
        notes: what a person has been told of the sinks.
    """

    def __init__(
        self,
        inputs: StudyInputs,
        folder: StudyFolder,
        ledger: Ledger,
        runs: MlflowRuns,
        sinks: Sequence[Sink],
        writer: Writer,
        say: Callable[[str], None],
    ) -> None:
        self._inputs, self._folder, self._ledger = inputs, folder, ledger
        self._runs, self._sinks, self._writer = runs, sinks, writer
        self._say = say
        self.notes: list[str] = []
        self._active = False

    # -- while the study runs ----------------------------------------------------------------------
    def start(self) -> None:
        """Start writing, if it has not been started."""
        if not self._active:
            self._active = True
            self._writer.start()

    def trial_started(self, number: int, params: Mapping[str, object]) -> None:
        self._writer.changed(number)
        self._say_who_is_away()

    def fold_done(self, row: FoldRow, ran: int, reused: int) -> None:
        self._writer.changed(row.trial)
        self._say_who_is_away()

    def trial_done(self, trial: TrialRow, folds: Sequence[FoldRow]) -> None:
        self._writer.changed(trial.number)

    def _say_who_is_away(self) -> None:
        """Each sink is spoken of once, however often it goes."""
        for name, why in self._writer.away.items():
            if not any(note.startswith(name) for note in self.notes):
                from raysearch.tracking.server import away

                self.notes.append(away(name, why))
                self._say(self.notes[-1])

    @property
    def page(self) -> str:
        """Where a person sees the study: an address, or the command that serves the home."""
        uri, study = self._runs.uri, self._inputs.study
        if uri.startswith(("http://", "https://")):
            return f"{uri.rstrip('/')}/{self._runs.page or self._ledger.fact('page', '')}"
        if study.tracking.uri is None:
            return shlex.join(["python", "-m", "raysearch", "ui", f"home={study.home}"])
        return shown(uri)

    # -- its end -----------------------------------------------------------------------------------
    @cached_property
    def _mark(self) -> list[object]:
        """What the ledger keeps once all sinks have been brought up to it."""
        # a home that was copied or moved has its database with it: that is the same sink
        home = str(Path(self._inputs.study.home).resolve())
        names = [sink.name.replace(home, "home") for sink in self._sinks]
        record = Record.read(self._folder)
        outer = [[search.planned for search in record.outer]] if record.outer else []
        return [names, record.states, *outer]

    @property
    def current(self) -> bool:
        """Whether all sinks hold the finished study, as they say themselves.

        A run, an experiment or a whole database may have been deleted or renamed since the ledger
        noted that it was written. A sink that cannot be asked is believed to hold what it held.
        """
        *mark, counts = self._ledger.fact("mirrors") or [None]
        return mark == self._mark and counts == self._counts(counts)

    def _counts(self, former: Sequence[int] = ()) -> list[int]:
        from raysearch.tracking.client import failures

        counts = []
        for place, sink in enumerate(self._sinks):
            try:
                counts.append(sink.count())
            except failures():
                counts.append(former[place] if former else -1)
        return counts

    def finish(self, interrupted: bool, failure: str) -> None:
        """Write how the session ended, wait for it, and say what could not be written."""
        from raysearch.tracking.projection import Ending

        self.start()
        if interrupted:
            ending = Ending("KILLED", "interrupted by the user; the same command goes on")
        elif failure:
            ending = Ending("FAILED", failure)
        else:
            ending = Ending(report=self._report(), status="FINISHED", best=self._best_folds())
        self._writer.end(ending)
        patience = _PATIENCE_AT_CTRL_C if interrupted else _PATIENCE
        answering = _ANSWERING_AT_CTRL_C if interrupted else _ANSWERING
        sentences = self._writer.close(patience, self._say_who_is_away, answering)
        for sentence in sentences:
            self._say(sentence)
        if self._runs.page:
            self._ledger.set_fact("page", self._runs.page)
        if not sentences and not interrupted:
            self._ledger.set_fact("mirrors", [*self._mark, self._counts()])

    def fail(self, reason: str, trace: str) -> None:
        """The study cannot go on; what MLflow knows of it says so, unless it knows nothing yet."""
        from raysearch.tracking.projection import Ending

        if self._active:
            self._writer.end(Ending("FAILED", reason, trace=trace))
            self._writer.close(timeout=10.0, answering=_ANSWERING_AT_CTRL_C)

    def _report(self) -> Report:
        layers = layers_of(self._inputs, [SELECTED])
        record = Record.read(self._folder)
        predictions = keep_predictions(self._folder, self._inputs, record)
        return build(
            record, True, layers if layers.small else None, predictions, store=layers.store
        )

    def _best_folds(self) -> list[BestFold]:
        """Curves of the best trials' folds, from the store."""
        from raysearch.tracking.projection import BestFold

        study, store = self._inputs.study, store_for(self._inputs.study)
        trials = [t for t in self._ledger.trials() if t.state == COMPLETE and t.value is not None]
        merit = Score(study.objective[0]).merit
        trials.sort(key=lambda trial: (-merit(trial.value or 0.0), trial.number))
        best = []
        for trial in trials[: study.tracking.fold_runs]:
            for row in self._ledger.folds(trial.number):
                try:
                    artifact = store.get(row.stages[-1].key)
                except Damaged:
                    artifact = None  # the study's next run repairs it; its scores are known
                info = {} if artifact is None else artifact[0].info
                curves, epoch = info.get("curves", {}), info.get("best_epoch")
                best.append(BestFold(trial.number, row.fold, curves, epoch))
        return best


def _git() -> dict[str, str]:
    """Revision of the folder one works in, where it is a repository."""
    try:
        head = _output("git", "rev-parse", "HEAD")
        changes = _output("git", "status", "--porcelain")
    except (OSError, subprocess.SubprocessError):
        return {}
    return {"commit": head, "changed": "yes" if changes else "no"}


def _output(*words: str) -> str:
    done = subprocess.run(words, capture_output=True, text=True, timeout=10, check=True)
    return done.stdout.strip()
