"""Where MLflow keeps its runs, and its client, which is imported late (1 to 3 s) and made quiet."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from raysearch.study.logs import LogFile


def default_uri(home: Path) -> str:
    """The tracking URI of a home that names none: SQLite under it."""
    return f"sqlite:///{home.resolve() / 'mlflow.db'}"


def connect(uri: str, home: Path) -> Any:
    """MLflow's client for `uri`. It reads logins from the environment or ~/.mlflow/credentials."""
    settle(home)
    from mlflow.tracking import MlflowClient

    return MlflowClient(tracking_uri=uri, registry_uri=uri)


def settle(home: Path) -> None:
    """Before MLflow is imported: no telemetry, short requests; its log goes to a file."""
    # Its own retries take minutes and cannot be interrupted; this module has its own.
    for name, value in {
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
        "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
        # it would print a line a run on stdout, which is for results
        "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
        # a POST that is sent on arrives empty
        "MLFLOW_ALLOW_HTTP_REDIRECTS": "false",
    }.items():
        os.environ.setdefault(name, value)
    # What MLflow and SQLAlchemy have to settle between them (3.17 uses what 2.1 deprecates).
    warnings.filterwarnings("ignore", module=r"(mlflow|sqlalchemy|alembic)(\.|$)")
    import mlflow  # noqa: F401  (its import sets up the loggers that are redirected here)

    home.mkdir(parents=True, exist_ok=True)
    path = str(home / "mlflow.log")
    for name in ("mlflow", "alembic", "sqlalchemy.engine"):
        logger = logging.getLogger(name)
        ours = [h for h in logger.handlers if getattr(h, "baseFilename", "") == path]
        if ours and len(logger.handlers) == 1:
            continue
        handler = LogFile(path)
        for old in logger.handlers:
            if isinstance(old, logging.FileHandler):
                old.close()
        logger.handlers, logger.propagate = [handler], False
    logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)


@contextlib.contextmanager
def locked(home: Path, uri: str) -> Iterator[None]:
    """Hold the lock beside a SQLite database; elsewhere the server does the guarding."""
    if not uri.startswith("sqlite:///"):
        yield
        return
    path = Path(uri.removeprefix("sqlite:///").split("?")[0])
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_name(path.name + ".lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def artifacts(home: Path, uri: str) -> Path:
    if uri.startswith("sqlite:///"):
        return Path(uri.removeprefix("sqlite:///").split("?")[0]).resolve().parent / "mlartifacts"
    return home / "mlartifacts"


def permanent(error: Exception) -> bool:
    """Whether MLflow would refuse the same request for ever."""
    code = getattr(error, "error_code", "")
    return code in ("INVALID_PARAMETER_VALUE", "BAD_REQUEST", "MALFORMED_REQUEST")
