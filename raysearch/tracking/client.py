"""MLflow's own API: its client, made quiet, and one study's runs in it.

MLflow is imported late (1 to 3 s). A restart brings MLflow up to the ledger by comparing each
run's digest with the one in the run's tags.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import logging
import os
import shutil
import sqlite3
import tempfile
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from raysearch.stages.temporary import temporary_folder
from raysearch.study.addresses import shown
from raysearch.study.logs import LogFile
from raysearch.tracking.projection import STUDY, Key, Projection, Run, StudyProvenance
from raysearch.tracking.relocation import relocate
from raysearch.tracking.views import experiment_tags, page_of
from raysearch.tracking.writer import Update, brief

if TYPE_CHECKING:
    from mlflow import MlflowClient

_WRITTEN, _LEDGER, _HOME = "raysearch.written", "raysearch.ledger", "raysearch.home"
_KEY = ("raysearch.kind", "raysearch.trial", "raysearch.fold")
_METRICS, _NAMES = 800, 90
"""metrics, and parameters or tags, in one request: MLflow takes 1000 values in all, 100 of these"""


# -- the client ------------------------------------------------------------------------------------
def default_uri(home: Path) -> str:
    """The tracking URI of a home that names none: SQLite under it."""
    from sqlalchemy import URL

    database = str(home.resolve() / "mlflow.db")
    return URL.create("sqlite", database=database).render_as_string(hide_password=False)


@contextlib.contextmanager
def database_to_read(home: Path) -> Iterator[Path]:
    """The folder of a home's database; of a home that one may only read, that of a copy.

    SQLite and MLflow write as they read: a lock, a log of changes, tables of a later version.
    """
    if os.access(home, os.W_OK):
        with locked(default_uri(home)):
            pass
        yield home
        return
    with temporary_folder("raysearch-mlflow-") as aside:
        for path in home.glob("mlflow.db*"):
            if path.suffix != ".lock":
                shutil.copyfile(path, aside / path.name)
        relocate(aside / "mlflow.db", home)
        yield aside


def experiment_name(study: str) -> str:
    """The experiment of a study, by its id."""
    return f"raysearch/{study}"


def connect(uri: str, home: Path) -> MlflowClient:
    """MLflow's client for `uri`. It reads logins from the environment or ~/.mlflow/credentials."""
    settle(home)
    from mlflow.tracking import MlflowClient

    return MlflowClient(tracking_uri=uri, registry_uri=uri)


def failures() -> tuple[type[Exception], ...]:
    """What MLflow's client raises where a server, a network or a database is at fault."""
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    return MlflowException, SQLAlchemyError, OSError  # requests' own errors are OSErrors


def settle(home: Path) -> None:
    """Before MLflow is imported: no telemetry, short requests; its log goes to a file."""
    for name, value in {
        "MLFLOW_DISABLE_TELEMETRY": "true",
        # its own retries take minutes and cannot be interrupted; the writer has its own
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
        "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
        # it would print a line a run on stdout, which is for results
        "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
        # a POST that is sent on arrives empty
        "MLFLOW_ALLOW_HTTP_REDIRECTS": "false",
    }.items():
        os.environ.setdefault(name, value)
    # what MLflow and SQLAlchemy have to settle between them (3.17 uses what 2.1 deprecates)
    warnings.filterwarnings("ignore", module=r"(mlflow|sqlalchemy|alembic)(\.|$)")
    import mlflow  # noqa: F401  (its import sets up the loggers that are redirected here)
    from mlflow.store.db import utils

    # it would make the folder of a SQLite address as it is written there, with %23 for #
    utils._make_parent_dirs_if_sqlite = lambda db_uri: None
    with contextlib.suppress(OSError):  # a log is nothing to stop for
        home.mkdir(parents=True, exist_ok=True)
    for name in ("mlflow", "alembic", "sqlalchemy.engine"):
        _log_to(logging.getLogger(name), str(home / "mlflow.log"))
    logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)


def _log_to(logger: logging.Logger, path: str) -> None:
    if [getattr(handler, "baseFilename", "") for handler in logger.handlers] == [path]:
        return
    for handler in logger.handlers:
        if isinstance(handler, logging.FileHandler):
            handler.close()
    logger.handlers, logger.propagate = [LogFile(path)], False


def _database(uri: str) -> Path | None:
    """The file of a SQLite database; None for any other address."""
    if not uri.startswith("sqlite:///"):
        return None
    from sqlalchemy import make_url

    return Path(make_url(uri).database or "")


@contextlib.contextmanager
def locked(uri: str) -> Iterator[None]:
    """Hold the lock beside a SQLite database; elsewhere the server does the guarding.

    What a home's database says of its files holds for where the home lies now.
    """
    path = _database(uri)
    if path is None:
        yield
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_name(path.name + ".lock").open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
        except OSError as error:
            # a file system without locks: SQLite's own must do
            if error.errno not in (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS):
                raise
        relocate(path, path.parent)
        yield


# -- one study's runs ------------------------------------------------------------------------------
@dataclass
class _Entry:
    """A run that is in MLflow, as far as it is known."""

    id: str
    status: str
    tags: dict[str, str]
    params: dict[str, str]
    points: set[tuple[str, int, float]] = field(default_factory=set)


class MlflowRuns:
    """One study's runs in one MLflow, found by their tags: a sink of the writer.

    Args:
        uri: tracking URI.
        home: folder for the log and, where the URI names a bare database, the artifacts.
        study: the study's id.
        instance: what tells this ledger from any other of the same study (another home, another
            machine, on one tracking server).
        provenance: what is shown beside the study's record.
    """

    def __init__(
        self, uri: str, home: Path, study: str, instance: str, provenance: StudyProvenance
    ) -> None:
        self.uri, self._home = uri, home.resolve()
        self._name, self._instance, self._provenance = study, instance, provenance
        self._place = f"{os.uname().nodename}:{self._home}"
        self._client: MlflowClient | None = None
        self._experiment = ""
        self._runs: dict[Key, _Entry] = {}
        self._refused: dict[str, str] = {}
        self._view: dict[str, str] = {}
        self.page = ""
        """the study's page, relative to the server's address; '' before it exists"""

    @property
    def name(self) -> str:
        return f"MLflow at {shown(self.uri)}"

    @property
    def refused(self) -> list[str]:
        return list(self._refused.values())

    def forget(self) -> None:
        """After an error nothing that was written is certain: look again before going on."""
        self._client, self._runs = None, {}

    def write(self, update: Update) -> None:
        """Bring MLflow up to the ledger. Nothing is written where it is so already."""
        client = self._open()
        projection = Projection(update.record, self._provenance, update.ending)
        everything, over = update.numbers is None, update.ending.status != "RUNNING"
        if everything and (not over or STUDY not in self._runs):
            # as running, so that the trials have a parent; it is closed after them
            self._try(client, projection.study(final=False), projection)
        for trial in update.trials:
            self._try(client, projection.trial(trial), projection)
        for best in update.ending.best:
            self._try(client, projection.fold(best), projection)
        if everything and over:
            self._try(client, projection.study(final=True), projection)
            self._drop_half_written(client)

    def count(self) -> int:
        """How many runs of this ledger are in MLflow, active, whole and ended.

        SQLite is asked itself, which takes milliseconds; all others through MLflow's client.

        Raises:
            failures(): it cannot be asked.
        """
        path = _database(self.uri)
        if path is not None:
            if path.is_file():
                with locked(self.uri):
                    pass
            return _count_in(path, experiment_name(self._name), self._instance)
        client = connect(self.uri, self._home)
        experiment = client.get_experiment_by_name(experiment_name(self._name))
        if experiment is None or experiment.lifecycle_stage != "active":
            return 0
        self._experiment = experiment.experiment_id
        entries = [entry for _, entry in self._search(client)]
        return sum(_WRITTEN in entry.tags and entry.status != "RUNNING" for entry in entries)

    # -- finding -----------------------------------------------------------------------------------
    def _open(self) -> MlflowClient:
        """The client, once the experiment and this ledger's runs in it are known."""
        if self._client is None:
            with locked(self.uri):
                # two processes that create the database or the experiment at once break each other
                client = connect(self.uri, self._home)
                self._experiment = self._find_experiment(client)
            self._find_runs(client)
            self._close_orphans(client)
            self._client = client
        return self._client

    def _find_experiment(self, client: MlflowClient) -> str:
        """The study's experiment; made where it is absent, restored where it was deleted."""
        from mlflow.exceptions import MlflowException

        name = experiment_name(self._name)
        experiment = client.get_experiment_by_name(name)
        if experiment is None:
            try:
                return str(client.create_experiment(name, self._artifacts(name)))
            except MlflowException as error:
                if error.error_code != "RESOURCE_ALREADY_EXISTS":
                    raise
            experiment = client.get_experiment_by_name(name)
        assert experiment is not None, name
        if experiment.lifecycle_stage == "deleted":
            client.restore_experiment(experiment.experiment_id)
        return str(experiment.experiment_id)

    def _artifacts(self, name: str) -> str | None:
        """Where artifacts go: a server keeps them where it likes, a bare database beside itself."""
        if self.uri.startswith(("http", "databricks")):
            return None
        path = _database(self.uri)
        folder = self._home if path is None else path.resolve().parent
        return f"{(folder / 'mlartifacts').as_uri()}/{name}"

    def _search(self, client: MlflowClient) -> Iterator[tuple[Key, _Entry]]:
        """This ledger's runs, the oldest first."""
        token: str | None = None
        while token != "":
            page = client.search_runs(
                [self._experiment],
                filter_string=f"tags.`{_LEDGER}` = '{self._instance}'",
                order_by=["attributes.start_time ASC"],
                max_results=1000,
                page_token=token,
            )
            for run in page:
                tags = dict(run.data.tags)
                kind, trial, fold = (tags.get(name, "") for name in _KEY)
                entry = _Entry(run.info.run_id, run.info.status, tags, dict(run.data.params))
                yield (kind, trial, fold), entry
            token = page.token or ""

    def _find_runs(self, client: MlflowClient) -> None:
        self._runs = {}
        for key, entry in self._search(client):
            # a creation whose answer was lost leaves a twin: the one written further stays
            twin = self._runs.get(key)
            if twin is not None and (_WRITTEN in twin.tags or _WRITTEN not in entry.tags):
                client.delete_run(entry.id)
                continue
            if twin is not None:
                client.delete_run(twin.id)
            self._runs[key] = entry

    def _close_orphans(self, client: MlflowClient) -> None:
        """End runs of an earlier ledger of this very home that was deleted as it ran."""
        for run in client.search_runs(
            [self._experiment],
            filter_string=(
                f"attributes.status = 'RUNNING' and tags.`{_HOME}` = '{self._place}' "
                f"and tags.`{_LEDGER}` != '{self._instance}'"
            ),
            max_results=1000,
        ):
            client.set_tag(run.info.run_id, "raysearch.reason", "its ledger was deleted")
            client.set_terminated(run.info.run_id, "KILLED")

    # -- writing -----------------------------------------------------------------------------------
    def _try(self, client: MlflowClient, run: Run, projection: Projection) -> None:
        """Write a run, unless MLflow would refuse it for ever: the others can be written."""
        from mlflow.exceptions import MlflowException

        try:
            self._put(client, run, projection)
        except MlflowException as error:
            if error.error_code not in (
                "INVALID_PARAMETER_VALUE",
                "BAD_REQUEST",
                "MALFORMED_REQUEST",
            ):
                raise
            logging.getLogger("mlflow.raysearch").error("refused: %s", run.name, exc_info=True)
            self._refused[run.name] = f"MLflow refused the run {run.name!r}: {brief(error)}."

    def _put(self, client: MlflowClient, run: Run, projection: Projection) -> None:
        """Bring one run to what it should be."""
        parent = self._runs[run.parent].id if run.parent in self._runs else ""
        digest = run.digest(parent)
        entry = self._runs.get(run.key)
        if entry is not None and (entry.tags.get(_WRITTEN), entry.status) == (digest, run.status):
            return
        if entry is not None and any(
            entry.params.get(name, value) != value for name, value in run.params.items()
        ):
            # MLflow's parameters cannot change; the old run stays in its trash
            client.delete_run(entry.id)
            entry = None
        tags = self._tags(run, parent)
        if entry is None:
            entry = self._create(client, run, tags)
        self._log_files(client, entry, run)
        # The digest comes with the last tags, after all else but the status, which is compared
        # for itself: a run killed half-way is written again.
        self._log(client, entry, run, {**tags, _WRITTEN: digest})
        self._set_status(client, entry, run)
        if run.key == STUDY:
            self._show(client, entry.id, projection)

    def _tags(self, run: Run, parent: str) -> dict[str, str]:
        own = {
            **dict(zip(_KEY, run.key, strict=True)),
            "raysearch.study": self._name,
            _LEDGER: self._instance,
            _HOME: self._place,
            "mlflow.parentRunId": parent,
            "mlflow.runName": run.name,
        }
        return {**run.tags, **{name: value for name, value in own.items() if value}}

    def _create(self, client: MlflowClient, run: Run, tags: dict[str, str]) -> _Entry:
        from mlflow.entities import Dataset, DatasetInput, InputTag

        info = client.create_run(
            self._experiment, start_time=run.start, tags=tags, run_name=run.name
        ).info
        entry = _Entry(info.run_id, "RUNNING", dict(tags), {})
        self._runs[run.key] = entry
        if run.dataset:
            name, digest, source = (run.dataset[key] for key in ("name", "digest", "source"))
            data = Dataset(name, digest, "local", json.dumps({"uri": source}))
            role = InputTag("mlflow.data.context", "search")
            client.log_inputs(entry.id, [DatasetInput(data, [role])])
        return entry

    def _log_files(self, client: MlflowClient, entry: _Entry, run: Run) -> None:
        if not run.files:
            return
        with tempfile.TemporaryDirectory(prefix="raysearch-mlflow-") as folder:
            for name, content in run.files.items():
                path = Path(folder, name)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content.encode() if isinstance(content, str) else content())
            client.log_artifacts(entry.id, folder)

    def _log(self, client: MlflowClient, entry: _Entry, run: Run, tags: dict[str, str]) -> None:
        """Metrics, parameters and tags that the run lacks, in requests that MLflow takes."""
        from mlflow.entities import Metric, Param, RunTag

        points = [p for p in run.points if (p.key, p.step, p.value) not in entry.points]
        metrics = [Metric(p.key, p.value, p.time, p.step) for p in points]
        params = [Param(k, v) for k, v in run.params.items() if k not in entry.params]
        new_tags = [RunTag(k, v) for k, v in tags.items() if entry.tags.get(k) != v]
        for name in [k for k in entry.tags if k.startswith("raysearch.") and k not in tags]:
            client.delete_tag(entry.id, name)
        batches = [new_tags[i : i + _NAMES] for i in range(0, len(new_tags), _NAMES)]
        for batch in batches[:-1]:
            client.log_batch(entry.id, tags=batch)
        rounds = max(-(-len(metrics) // _METRICS), -(-len(params) // _NAMES), 1)
        for i in range(rounds):
            client.log_batch(
                entry.id,
                metrics=metrics[i * _METRICS : (i + 1) * _METRICS],
                params=params[i * _NAMES : (i + 1) * _NAMES],
                tags=batches[-1] if batches and i == rounds - 1 else [],
            )
        entry.points |= {(p.key, p.step, p.value) for p in points}
        entry.params |= dict(run.params)
        entry.tags = tags

    def _set_status(self, client: MlflowClient, entry: _Entry, run: Run) -> None:
        if run.status != "RUNNING":
            end = run.end if run.end is not None else round(time.time() * 1000)
            client.set_terminated(entry.id, run.status, end)
        elif entry.status != "RUNNING":
            client.update_run(entry.id, status="RUNNING")
        entry.status = run.status

    def _show(self, client: MlflowClient, run: str, projection: Projection) -> None:
        """Let the experiment's page open with the columns of this study, and say what it is."""
        tags = experiment_tags(projection, self._experiment, run)
        for name, value in tags.items():
            if self._view.get(name) != value:
                client.set_experiment_tag(self._experiment, name, value)
        self._view, self.page = tags, page_of(self._experiment)

    def _drop_half_written(self, client: MlflowClient) -> None:
        """Delete fold runs that an earlier session left half-written and this one did not want."""
        for key, entry in list(self._runs.items()):
            if key[0] == "fold" and _WRITTEN not in entry.tags:
                client.delete_run(entry.id)
                del self._runs[key]


def _count_in(database: Path, experiment: str, instance: str) -> int:
    """`MlflowRuns.count` of a SQLite database; 0 where it is absent or has other tables."""
    if not database.is_file():
        return 0
    query = (
        "select count(*) from runs join experiments using (experiment_id) "
        "join tags ledger on ledger.run_uuid = runs.run_uuid and ledger.key = ? "
        "join tags written on written.run_uuid = runs.run_uuid and written.key = ? "
        "where experiments.name = ? and experiments.lifecycle_stage = 'active' "
        "and runs.lifecycle_stage = 'active' and runs.status != 'RUNNING' and ledger.value = ?"
    )
    try:
        with contextlib.closing(sqlite3.connect(database, timeout=5.0)) as connection:
            row = connection.execute(query, (_LEDGER, _WRITTEN, experiment, instance)).fetchone()
        return int(row[0])
    except sqlite3.Error:
        return 0  # its tables are not those of this MLflow: it is asked, and written, anew
