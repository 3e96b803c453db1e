"""One study from start to end: the only composer.

`tune` prepares the inputs, holds the study's lease, lets the driver and Ray Tune run what the
ledger lacks, and closes with the estimates. Everything heavy (Ray, MLflow, torch) is imported
only where there is something to run.
"""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from raysearch.cluster.capacity import check_cluster, check_here
from raysearch.report import Report, build
from raysearch.search.driver import Listener
from raysearch.search.epoch_race import Curve, Stopping, past_curves
from raysearch.stages.outage import telling
from raysearch.study import Study
from raysearch.study.folder import (
    StudyFolder,
    check_home,
    ray_log,
    scratch_of,
    store_for,
    store_of,
)
from raysearch.study.lease import Lease
from raysearch.study.ledger import FoldRow, Ledger, TrialRow
from raysearch.study.published import published_table
from raysearch.study.record import Record
from raysearch.study.software import versions
from raysearch.study.wording import duration
from raysearch.tuning.baseline_check import check_baseline
from raysearch.tuning.ends import plain_failure, record_end, recorded_failure
from raysearch.tuning.mirror import Mirror, check_places, mirror_of
from raysearch.tuning.outcomes import keep_predictions
from raysearch.tuning.prepare import StudyInputs, inner_inputs, prepare, runtime_of
from raysearch.tuning.progress import Progress
from raysearch.tuning.searches import Search, driver_of, outer_ledgers, outer_of, race_order

if TYPE_CHECKING:
    from raysearch.stages import Dataset


@dataclass(frozen=True)
class Outcome:
    """How a call of `tune` ended."""

    study: Study
    report: Report
    folder: StudyFolder
    ran: int
    """stages computed in this session"""
    reused: int
    seconds: float
    interrupted: bool
    failure: str
    """why there is no result, or ''"""
    page: str = ""
    """where MLflow shows it: an address, or the command that serves it; '' without tracking"""

    @property
    def command(self) -> str:
        """The command that goes on with this study."""
        return _again(self.folder, self.study)

    @property
    def closing(self) -> str:
        """The last lines: what this session did, and where the rest is."""
        home = shlex.quote(str(self.study.home))
        name = self.folder.name
        page = f"  in MLflow    {self.page}\n" if self.page else ""
        return (
            f"This session: {self.ran} stages computed, {self.reused} found stored, "
            f"{duration(self.seconds)}\n"
            f"  all of it    python -m raysearch report study={name} home={home}\n"
            f"{page}"
            f"  more trials  {self.command} trials={2 * self.study.trials}"
        )


def _again(folder: StudyFolder, study: Study) -> str:
    words = [f"space={folder.configuration_file}", f"home={study.home}"]
    return shlex.join(["python", "-m", "raysearch", "tune", *words])


def tune(study: Study, progress: Progress, command: str = "") -> Outcome:
    """Run what the study lacks and report.

    Args:
        study: what to run.
        progress: shows a person how it gets on.
        command: of the person; "" names the study's own file.

    Raises:
        BadInput: the study, its corpus or its data do not fit; nothing of it is written.
        StudyHeld: another driver holds the study.
        StudyFailed: a disk or the network ended it.
    """
    started = time.monotonic()
    check_home(Path(study.home), writing=True)
    store = store_for(study)
    if not store.local:
        progress.stage(f"asking {store.place}")
    places = check_places(study)
    if study.cluster == "local":
        check_here(runtime_of(study))
    inputs = prepare(study, progress.stage)
    inner = inner_inputs(inputs) if study.search.outer else ()
    check_baseline(inputs)
    for note in [*places, *inputs.notes]:
        progress.note(note)
    folder, count = StudyFolder.of(study), _Count()
    with (
        plain_failure(folder),
        telling(store.place, lambda: store.trouble, progress.note),
        Lease(folder) as lease,
        begin(folder, inputs) as ledger,
        outer_ledgers(folder, inputs, inner) as ledgers,
    ):
        ledger.set_fact("ended", None)
        if lease.predecessor is not None:
            progress.note(f"{lease.predecessor} ran this study and was killed; this one goes on")
        command = command or _again(folder, study)
        mirror = mirror_of(inputs, folder, ledger, command, progress.note, lease.predecessor)
        listeners: list[Listener] = [count, progress]
        if mirror is not None:
            mirror.notes += places
            listeners.append(mirror)
        with recorded_failure(ledger, mirror):
            searches = [Search(inputs, ledger, driver_of(inputs, ledger, listeners))]
            searches += outer_of(inner, ledgers, [count, progress])
            interrupted = not _ran_to_its_end(searches, progress, mirror)
            record = Record.read(folder)
            report = build(record)
            failure = "" if interrupted else _failure(ledger.trials(), report)
            if not interrupted:
                keep_predictions(folder, inputs, record)
            if mirror is not None and (interrupted or not mirror.current):
                progress.stage("writing to MLflow")
                mirror.finish(interrupted, failure)
            page = "" if mirror is None else mirror.page
            if interrupted:
                record_end(ledger, "interrupted", "it was interrupted by its user")
            else:
                record_end(ledger, "failed" if failure else "done", failure)
    return Outcome(
        study=study,
        report=report,
        folder=folder,
        ran=count.ran,
        reused=count.reused,
        seconds=time.monotonic() - started,
        interrupted=interrupted,
        failure=failure,
        page=page,
    )


# -- the study's folder ------------------------------------------------------------------------
def begin(folder: StudyFolder, inputs: StudyInputs) -> Ledger:
    """The study's files and its ledger, to be written; a study begun on other speech is refused."""
    study, space = inputs.study, inputs.space
    constants = space.constants()
    task = study.task.name if isinstance(study.task.name, str) else ""
    table = published_table(study.published, study.corpus.name, task, inputs.enqueued)
    return folder.begin(
        study,
        json.dumps(inputs.split_table(), indent=1),
        {
            "fingerprint": inputs.fingerprint,
            "classes": list(inputs.corpus.outputs),
            "outer": [fold.name for fold in inputs.folds] if study.search.outer else [],
            "notes": list(inputs.notes),
            "simulated": sorted(inputs.simulated),
            "versions": versions(),
            "published": None if table is None else asdict(table),
            "space": {
                name: constants[name] if name in constants else {"domain": str(domain)}
                for name, domain in space.domains.items()
            },
        },
    )


# -- running -----------------------------------------------------------------------------------
def _ran_to_its_end(searches: Sequence[Search], progress: Progress, mirror: Mirror | None) -> bool:
    """Run what the study lacks; False where Ctrl-C ended it before."""
    try:
        if any(one.driver.outstanding for one in searches):
            _run(searches, progress, mirror)
    except KeyboardInterrupt:
        return False
    finally:
        progress.finish()
    return True


def _run(searches: Sequence[Search], progress: Progress, mirror: Mirror | None) -> None:
    from raysearch.cluster.code_copy import modules_of
    from raysearch.cluster.connection import connection

    inputs = searches[0].inputs
    study = inputs.study
    searches[0].announce(progress)
    progress.stage("starting Ray" if study.cluster == "local" else "joining the cluster")
    with connection(study.cluster, ray_log(study.home), modules_of(study)):
        import ray

        if study.cluster != "local" and (waits := check_cluster(runtime_of(study))):
            progress.note(waits)
        from raysearch.stages.broker import serving
        from raysearch.stages.bundles import stages_at_once

        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        at_once = stages_at_once(runtime_of(study), nodes)
        alive = _start_ahead(inputs, at_once) if study.cluster == "local" else None
        import raysearch.search.tune  # noqa: F401  for `_search`, while the processes start
        from raysearch.data.features import ray_chunks

        dataset = inputs.dataset(
            shared=study.cluster == "local",
            run_chunks=ray_chunks,
            progress=lambda done, of: progress.stage(f"features {done}/{of}"),
        )
        if mirror is not None:
            mirror.start()
        # here, so that the broker lives as long as the driver and not as long as some trial's actor
        patience = study.store_wait
        with serving(store_of(study), str(scratch_of(study)), patience, progress.note):
            for one in searches:
                if one.title and not searches[0].complete:
                    break  # the study has failed
                if one.driver.outstanding:
                    if one.title:
                        one.announce(progress)
                    progress.stage("searching")
                    _search(one, replace(dataset, folds=one.inputs.folds), at_once)
                    one.note_stages(searches[0])
        del alive


def _search(one: Search, dataset: Dataset, at_once: int) -> None:
    """Run what a search lacks, on the cluster that is there.

    Args:
        one: of the study's searches.
        dataset: of its folds.
        at_once: stages that the cluster can run at once.
    """
    import ray

    from raysearch.search.tune import Work, search

    inputs, study = one.inputs, one.inputs.study
    # every fold of a wave may run at once; a race decides after each fold, and of a trial that
    # is stopped inside a fold the others of its wave would be lost
    whole = study.racing == "off" and study.stopping.rule == "off"
    wave = min(len(inputs.folds), at_once) if whole else 1
    stopping = _stopping(inputs)
    work = Work(
        study=study.id,
        method=study.method,
        constants=inputs.space.constants(),
        context=inputs.context(),
        scorer=inputs.scorer(),
        seeds=study.seeds,
        runtime=runtime_of(study),
        store=store_of(study),
        scratch=str(scratch_of(study)),
        wave=wave,
        data=ray.put(dataset),
        stopping=stopping,
        node=ray.get_runtime_context().get_node_id(),
        patience=study.store_wait,
    )
    # enough trials that every core has a next stage waiting
    concurrent = study.concurrent or max(2, min(-(-2 * at_once // wave) + 1, 64))
    past = _past(one.ledger, study, stopping)
    search(one.driver, work, concurrent=concurrent, past=past)


def _start_ahead(inputs: StudyInputs, at_once: int) -> object:
    """Have processes start that a search needs, while this one imports Tune and reads features.

    Returns:
        What keeps the broker alive: a handle that is got by its name, as all later ones are, keeps
        no actor alive.
    """
    from raysearch.stages.broker import summon
    from raysearch.stages.worker import warm_up

    study, method = inputs.study, inputs.method
    broker: object = summon(store_of(study), str(scratch_of(study)), study.store_wait)
    graph = method.graph(method.resolve(inputs.space.constants()))
    # a stage on a card has a process of its own
    if not study.gpus and any(node.group for node in graph):
        warm_up(at_once, study.cpus)
    return broker


def _stopping(inputs: StudyInputs) -> Stopping | None:
    """How the study stops trials inside a fold."""
    options = inputs.study.stopping
    if options.rule == "off":
        return None
    folds = frozenset(race_order(inputs)[: options.folds])
    return Stopping(options.rule, options.grace, options.eta, folds)


def _past(ledger: Ledger, study: Study, stopping: Stopping | None) -> list[Curve]:
    if stopping is None:
        return []
    return past_curves(stopping, ledger, store_for(study), study.seeds)


class _Count:
    """Stages run and reused in this session."""

    def __init__(self) -> None:
        self.ran = self.reused = 0

    def trial_started(self, number: int, params: Mapping[str, object]) -> None: ...

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
