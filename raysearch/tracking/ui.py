"""MLflow's own pages on a home, served by MLflow's own server."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from raysearch.errors import BadInput, RaysearchError
from raysearch.tracking.client import default_uri


def serve_command(home: Path, *, host: str = "127.0.0.1", port: int = 5000) -> list[str]:
    """The command that serves MLflow's own UI for the SQLite database of a home."""
    return [
        *(sys.executable, "-m", "mlflow", "server"),
        *("--backend-store-uri", default_uri(home)),
        *("--artifacts-destination", (home.resolve() / "mlartifacts").as_uri()),
        *("--host", host, "--port", str(port), "--workers", "1"),
    ]


def serve_environment() -> dict[str, str]:
    """The environment for `serve_command`: no telemetry, no job runners, quiet."""
    quiet = {
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_LOGGING_LEVEL": "ERROR",
    }
    return {**os.environ, **quiet}


@contextlib.contextmanager
def ui(
    home: Path, *, host: str = "127.0.0.1", port: int = 5000, wait: float = 60.0
) -> Iterator[subprocess.Popen[bytes]]:
    """MLflow's UI on this home, as a subprocess that answers already and ends with the block.

    Args:
        wait: seconds it may take to answer. Its output goes to <home>/mlflow-ui.log.

    Raises:
        BadInput: the home has no MLflow database, or the port is taken.
        RaysearchError: the server ended, or did not answer in time.
    """
    if not (home / "mlflow.db").is_file():
        raise BadInput(
            f"home={str(home)!r} has no MLflow database (mlflow.db): run a study there first, "
            "or give another home=DIR"
        )
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise BadInput(
                f"port={port} on {host} cannot be used ({error.strerror}): give another port=N"
            ) from None
    path = home.resolve() / "mlflow-ui.log"
    with path.open("ab") as log:
        process = subprocess.Popen(
            serve_command(home, host=host, port=port),
            env=serve_environment(),
            cwd=home,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        _await_server(process, host, port, wait, path)
        # MLflow has made the folder of its address as it is written there, with %23 for #
        written = Path(default_uri(home).removeprefix("sqlite:///")).parent
        if written != home.resolve():
            with contextlib.suppress(OSError):
                os.removedirs(written)
        yield process
    finally:
        # The server's workers are its children: the whole session goes.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _await_server(
    process: subprocess.Popen[bytes], host: str, port: int, wait: float, log: Path
) -> None:
    until = time.monotonic() + wait
    while time.monotonic() < until:
        if process.poll() is not None:
            raise RaysearchError(f"MLflow's server ended with {process.returncode}: see {log}")
        try:
            with urllib.request.urlopen(f"http://{host}:{port}/health", timeout=2):
                return
        except OSError:
            time.sleep(0.2)
    raise RaysearchError(f"MLflow's server did not answer within {wait:.0f} s: see {log}")
