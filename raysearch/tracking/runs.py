"""MLflow as a projection of the ledger: study run > trial runs > fold runs.

The driver's writer thread (`writer`) writes it; a restart brings MLflow up to the ledger by
comparing each run's digest.
"""

from __future__ import annotations

import json
import logging
import os
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from raysearch.study.addresses import shown
from raysearch.study.ledger import COMPLETE
from raysearch.tracking.facts import Closing, StudyFacts
from raysearch.tracking.projection import Run, fold_run, study_run, trial_run
from raysearch.tracking.storage import artifacts, connect, default_uri, locked, permanent
from raysearch.tracking.views import trials_view, view_state
from raysearch.tracking.writer import Sink, Work, Writer, brief

_VIEW, _TRIALS = "raysearch", "raysearch-trials"
_WRITTEN = "raysearch.written"
_KIND = "workflowType=machine_learning"
"""in addresses: without it a browser that is new to MLflow opens its pages for agents"""
_METRICS, _NAMES = 800, 90
"""metrics, and parameters or tags, in one request: MLflow takes 1000 values in all, 100 of these"""


class Tracker:
    """Keeps MLflow, and what else is to be kept, in step with one study's ledger.

    Args:
        uri: tracking URI; None for SQLite under `home`.
        home: folder for the database, the artifacts, the log and the lock.
        ledger: the study's ledger file. It is read, never written, from the thread.
        instance: what tells this ledger from any other of the same study (another home, another
            machine, on one tracking server): runs are found by it. Kept in the ledger by its owner.
        study: what is known before the first trial.
        also: written after MLflow, by the same thread.

    No method raises, and none but `close` waits.
    """

    def __init__(
        self,
        *,
        uri: str | None,
        home: Path,
        ledger: Path,
        instance: str,
        study: StudyFacts,
        also: Sequence[Sink] = (),
    ) -> None:
        self.uri = uri or default_uri(home)
        self._runs = _Runs(_Book(self.uri, home.resolve(), instance, study), study)
        self._writer = Writer(ledger, [self._runs, *also])

    # -- what the driver calls ---------------------------------------------------------------------
    def start(self) -> None:
        """Start writing. Everything in the ledger that MLflow lacks is written first.

        Call it once this process's own big imports (ray.tune) are done: two threads that import
        packages with import cycles at the same time can meet half-made modules.
        """
        self._writer.start()

    def changed(self, trial: int) -> None:
        """A trial was added, has new folds, or has ended; the ledger has it already."""
        self._writer.changed(trial)

    def finish(self, closing: Closing) -> None:
        """The study is complete: write its estimates, reports and the best trials' folds."""
        self._writer.end("FINISHED", "", closing)

    def stop(
        self, reason: str, *, failed: bool = False, files: Mapping[str, str] | None = None
    ) -> None:
        """The study ends without estimates; its runs say why (status FAILED, else KILLED).

        `files`, by name, become artifacts of the study's run.
        """
        closing = None if files is None else Closing({}, reports=files)
        self._writer.end("FAILED" if failed else "KILLED", reason, closing)

    def close(self, timeout: float = 60.0) -> list[str]:
        """Wait for the writer, at most `timeout` seconds, and end it.

        Returns: one plain sentence for everything that could not be written.
        """
        return self._writer.close(timeout)

    @property
    def trouble(self) -> str:
        """Why MLflow cannot be written at the moment, in a few words; '' where it can."""
        return self._writer.trouble

    @property
    def page(self) -> str:
        """The study's page, relative to the server's address; '' before it exists."""
        return self._runs.book.page


class _Runs:
    """One study's runs as a sink of the writer. All of it runs in the writer's thread."""

    def __init__(self, book: _Book, study: StudyFacts) -> None:
        self.book = book
        self.study = study
        self.name = f"MLflow at {shown(book.uri)}"
        self._started = time.time()
        self._lost: dict[str, str] = {}

    @property
    def lost(self) -> list[str]:
        return list(self._lost.values())

    def forget(self) -> None:
        self.book.forget()

    def write(self, work: Work) -> None:
        self.book.open()
        closing = work.closing or Closing({})
        ended = work.status != "RUNNING"
        drawn = {best.trial for best in closing.best} | {closing.selected}
        if work.study or work.numbers is None:
            # First as running, so that the trials have a parent; closed after them.
            self._put(self._study(work, closed=False))
        for trial in work.changed:
            run = trial_run(
                self.study,
                trial,
                work.folds.get(trial.number, []),
                selected=closing.selected == trial.number and trial.state == COMPLETE,
                drawn=trial.number in drawn,
                stopped=work.stopped,
            )
            self._put(run)
        numbered = {trial.number: trial for trial in work.trials}
        for best in closing.best:
            row = next((r for r in work.folds.get(best.trial, []) if r.fold == best.fold), None)
            if row is not None:
                self._put(fold_run(self.study, numbered[best.trial], row, best))
        if ended and (work.study or work.numbers is None):
            self._put(self._study(work, closed=True))
            self.book.drop_half_written()

    def _study(self, work: Work, *, closed: bool) -> Run:
        if not closed and work.status != "RUNNING" and self.book.has(("study", "", "")):
            closed = True  # already there as a parent: no need to call it running in between
        selected = work.closing.selected if work.closing and closed else None
        return study_run(
            self.study,
            work.trials,
            work.folds.get(selected, ()) if selected is not None else (),
            status=work.status if closed else "RUNNING",
            reason=work.reason if closed else "",
            closing=work.closing if closed else None,
            started=self._started,
        )

    def _put(self, run: Run) -> None:
        try:
            self.book.put(run)
        except Exception as error:
            if not permanent(error):
                raise
            # This run can never be written so; the others can.
            logging.getLogger("mlflow.raysearch").error("refused: %s", run.name, exc_info=True)
            self._lost[run.name] = f"MLflow refused the run {run.name!r}: {brief(error)}."


@dataclass
class _Written:
    """What is known of a run that is in MLflow."""

    id: str
    status: str
    tags: dict[str, str]
    params: dict[str, str]
    points: set[tuple[str, int, float]] = field(default_factory=set)


class _Book:
    """One study's runs in one MLflow: finds them by their tags, and writes `Run`s over them."""

    def __init__(self, uri: str, home: Path, instance: str, study: StudyFacts) -> None:
        self.uri, self._home, self._instance, self._study = uri, home, instance, study
        self._place = f"{os.uname().nodename}:{home}"
        self._client: Any = None
        self._experiment = ""
        self._runs: dict[tuple[str, str, str], _Written] = {}
        self._view = ("", "", "")
        self.page = ""

    def has(self, key: tuple[str, str, str]) -> bool:
        return key in self._runs

    def forget(self) -> None:
        """After an error nothing that was written is certain: look again before going on."""
        self._client, self._runs = None, {}

    def open(self) -> None:
        """Find the experiment (made where it is absent) and this ledger's runs."""
        if self._client is not None:
            return
        with locked(self._home, self.uri):
            # Two processes that create the database or the experiment at once break each other.
            client = connect(self.uri, self._home)
            self._experiment = self._find_experiment(client)
        self._runs = self._find_runs(client)
        self._close_orphans(client)
        self._client = client

    def put(self, run: Run) -> None:
        """Bring one run to what it should be. Nothing is written where it is so already."""
        above = self._runs.get(run.parent) if run.parent else None
        parent = above.id if above else None
        digest = run.digest(parent)
        there = self._runs.get(run.key)
        if there is not None and (there.tags.get(_WRITTEN), there.status) == (digest, run.status):
            return
        if there is not None and any(
            there.params.get(name, value) != value for name, value in run.params.items()
        ):
            # MLflow's parameters cannot change. The old run stays in its trash.
            self._client.delete_run(there.id)
            there = None
        tags = self._tags(run, parent)
        if there is None:
            there = self._create(run, tags)
        if run.files:
            with tempfile.TemporaryDirectory(prefix="raysearch-mlflow-") as folder:
                for name, content in run.files.items():
                    data = content.encode() if isinstance(content, str) else content()
                    path = Path(folder, name)
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_bytes(data)
                self._client.log_artifacts(there.id, folder)
        # The digest comes with the last tags, after all else but the status, which is compared
        # for itself: a run killed half-way is written again.
        self._log(there, run, {**tags, _WRITTEN: digest})
        if run.status != "RUNNING":
            end = run.end if run.end is not None else round(time.time() * 1000)
            self._client.set_terminated(there.id, run.status, end)
        elif there.status != "RUNNING":
            self._client.update_run(there.id, status="RUNNING")
        there.status = run.status
        if run.key[0] == "study":
            self._show(there.id, tags.get("raysearch.found", ""))

    def drop_half_written(self) -> None:
        """Delete fold runs that an earlier session left half-written and this one did not want."""
        for key, there in list(self._runs.items()):
            if key[0] == "fold" and _WRITTEN not in there.tags:
                self._client.delete_run(there.id)
                del self._runs[key]

    # -- inside ------------------------------------------------------------------------------------
    def _tags(self, run: Run, parent: str | None) -> dict[str, str]:
        kind, trial, fold = run.key
        own = {
            "raysearch.study": self._study.id,
            "raysearch.ledger": self._instance,
            "raysearch.kind": kind,
            "raysearch.trial": trial,
            "raysearch.fold": fold,
            "raysearch.home": self._place,
            "mlflow.parentRunId": parent or "",
            "mlflow.runName": run.name,
        }
        return {**run.tags, **{name: value for name, value in own.items() if value}}

    def _create(self, run: Run, tags: dict[str, str]) -> _Written:
        made = self._client.create_run(
            self._experiment, start_time=run.start, tags=tags, run_name=run.name
        )
        there = _Written(made.info.run_id, "RUNNING", dict(tags), {})
        self._runs[run.key] = there
        if run.dataset is not None:
            from mlflow.entities import Dataset, DatasetInput, InputTag

            data = Dataset(
                name=run.dataset["name"],
                digest=run.dataset["digest"],
                source_type="local",
                source=json.dumps({"uri": run.dataset["source"]}),
            )
            role = InputTag("mlflow.data.context", "search")
            self._client.log_inputs(there.id, [DatasetInput(data, [role])])
        return there

    def _log(self, there: _Written, run: Run, tags: dict[str, str]) -> None:
        from mlflow.entities import Metric, Param, RunTag

        new = [p for p in run.points if (p.key, p.step, p.value) not in there.points]
        params = [Param(k, v) for k, v in run.params.items() if k not in there.params]
        changed = [RunTag(k, v) for k, v in tags.items() if there.tags.get(k) != v]
        for name in [k for k in there.tags if k.startswith("raysearch.") and k not in tags]:
            self._client.delete_tag(there.id, name)
        metrics = [Metric(p.key, p.value, p.time, p.step) for p in new]
        rounds = max(-(-len(metrics) // _METRICS), -(-len(params) // _NAMES), 1)
        while len(changed) > _NAMES:
            self._client.log_batch(there.id, tags=changed[:_NAMES])
            changed = changed[_NAMES:]
        for i in range(rounds):
            self._client.log_batch(
                there.id,
                metrics=metrics[i * _METRICS : (i + 1) * _METRICS],
                params=params[i * _NAMES : (i + 1) * _NAMES],
                tags=changed if i == rounds - 1 else [],
            )
        there.points |= {(p.key, p.step, p.value) for p in new}
        there.params |= dict(run.params)
        there.tags = tags

    def _show(self, run_id: str, found: str) -> None:
        """Let the experiment page open with the columns of this study, and say what it is."""
        view = view_state(self._study)
        runs = f"#/experiments/{self._experiment}/runs?{_KIND}"
        if (view, run_id, found) != self._view:
            tags = {
                f"mlflow.sharedViewState.{_VIEW}": view,
                f"mlflow.sharedViewState.{_TRIALS}": trials_view(self._study),
                "mlflow.experimentKind": "custom_model_development",
                # One line of it shows above the table of runs.
                "mlflow.note.content": (
                    f"{self._study.method} on {' + '.join(self._study.corpus)}, "
                    f"{found or 'not finished'}. "
                    f"[Study](#/experiments/{self._experiment}/runs/{run_id}?{_KIND}), "
                    f"[trials]({runs}&viewStateShareKey={_TRIALS}), "
                    f"[charts]({runs}&viewStateShareKey={_TRIALS}&compareRunsMode=CHART)"
                ),
            }
            for name, value in tags.items():
                self._client.set_experiment_tag(self._experiment, name, value)
            self._view = (view, run_id, found)
        self.page = f"{runs}&viewStateShareKey={_VIEW}"

    def _find_experiment(self, client: Any) -> str:
        from mlflow.exceptions import MlflowException

        name = f"raysearch/{self._study.id}"
        found = client.get_experiment_by_name(name)
        if found is None:
            # A server keeps artifacts where it likes; a bare database would put them into the
            # working folder.
            remote = self.uri.startswith(("http", "databricks"))
            place = None if remote else f"{artifacts(self._home, self.uri).as_uri()}/{name}"
            try:
                return str(client.create_experiment(name, artifact_location=place))
            except MlflowException as error:
                if error.error_code != "RESOURCE_ALREADY_EXISTS":
                    raise
            found = client.get_experiment_by_name(name)
        if found.lifecycle_stage == "deleted":
            client.restore_experiment(found.experiment_id)
        return str(found.experiment_id)

    def _close_orphans(self, client: Any) -> None:
        """End runs of an earlier ledger of this very home that was deleted as it ran."""
        for run in client.search_runs(
            [self._experiment],
            filter_string=(
                f"attributes.status = 'RUNNING' and tags.`raysearch.home` = '{self._place}' "
                f"and tags.`raysearch.ledger` != '{self._instance}'"
            ),
            max_results=1000,
        ):
            client.set_tag(run.info.run_id, "raysearch.reason", "its ledger was deleted")
            client.set_terminated(run.info.run_id, "KILLED")

    def _find_runs(self, client: Any) -> dict[tuple[str, str, str], _Written]:
        found: dict[tuple[str, str, str], _Written] = {}
        token: str | None = None
        while True:
            page = client.search_runs(
                [self._experiment],
                filter_string=f"tags.`raysearch.ledger` = '{self._instance}'",
                order_by=["attributes.start_time ASC"],
                max_results=1000,
                page_token=token,
            )
            for run in page:
                tags = dict(run.data.tags)
                names = ("raysearch.kind", "raysearch.trial", "raysearch.fold")
                kind, trial, fold = (tags.get(name, "") for name in names)
                status = run.info.status
                this = _Written(run.info.run_id, status, tags, dict(run.data.params))
                other = found.get((kind, trial, fold))
                # A creation whose answer was lost leaves a twin: the one written further stays.
                if other is None:
                    found[kind, trial, fold] = this
                elif _WRITTEN in tags and _WRITTEN not in other.tags:
                    client.delete_run(other.id)
                    found[kind, trial, fold] = this
                else:
                    client.delete_run(this.id)
            token = page.token
            if not token:
                return found
