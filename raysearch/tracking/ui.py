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
from collections.abc import Callable, Iterator
from pathlib import Path

from raysearch.errors import BadInput, RaysearchError, one_line
from raysearch.tracking.client import database_to_read, default_uri

_EVERY = 10.0
"""seconds between two sentences about a server that has not answered yet"""


def serve_command(
    home: Path, *, host: str = "127.0.0.1", port: int = 5000, database: Path | None = None
) -> list[str]:
    """The command that serves MLflow's own UI for a home.

    Args:
        home: whose artifacts are shown.
        host, port: where it listens.
        database: the folder of the SQLite database; None is the home.
    """
    return [
        *(sys.executable, "-m", "mlflow", "server"),
        *("--backend-store-uri", default_uri(database or home)),
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
    home: Path,
    *,
    host: str = "127.0.0.1",
    port: int = 5000,
    wait: float = 60.0,
    say: Callable[[str], None] = lambda text: None,
) -> Iterator[subprocess.Popen[bytes]]:
    """MLflow's UI on this home, as a subprocess that answers already and ends with the block.

    Args:
        home: the database's; of one that may only be read, a copy of the database is shown.
        host, port: where it listens.
        wait: seconds it may take to answer. Its output goes to mlflow-ui.log beside the database.
        say: hears what is waited for.

    Raises:
        BadInput: the home has no MLflow database, or the port is taken.
        RaysearchError: the server ended, or did not answer in time.
    """
    if not (home / "mlflow.db").is_file():
        raise BadInput(
            f"home={str(home)!r} has no MLflow database (mlflow.db): run a study there first, "
            "or give another home=DIR"
        )
    _check_port(host, port)
    with database_to_read(home) as folder:
        if folder != home:
            say(f"{home} may only be read: its database as it is now is shown, from a copy")
        path = folder.resolve() / "mlflow-ui.log"
        with path.open("ab") as log:
            process = subprocess.Popen(
                serve_command(home, host=host, port=port, database=folder),
                env=serve_environment(),
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            _await_server(process, f"http://{host}:{port}/health", wait, path, say)
            yield process
        finally:
            _end(process)
            # it has made the folder of its address as it is written there, with %23 for #
            written = Path(default_uri(folder).removeprefix("sqlite:///")).parent
            if written != folder.resolve():
                with contextlib.suppress(OSError):
                    os.removedirs(written)


def _check_port(host: str, port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise BadInput(
                f"port={port} on {host} cannot be used ({error.strerror}): give another port=N"
            ) from None


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the server; its workers are its children, so the whole session goes."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(timeout=10)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _await_server(
    process: subprocess.Popen[bytes],
    address: str,
    wait: float,
    log: Path,
    say: Callable[[str], None],
) -> None:
    begun = last = time.monotonic()
    while time.monotonic() < begun + wait:
        if process.poll() is not None:
            raise RaysearchError(
                f"MLflow's server ended with {process.returncode}{_last_words(log)}"
            )
        try:
            with urllib.request.urlopen(address, timeout=2):
                return
        except OSError:
            time.sleep(0.2)
        if time.monotonic() - last >= _EVERY:
            last = time.monotonic()
            say(f"MLflow's server has not answered for {last - begun:.0f} s: waiting")
    raise RaysearchError(f"MLflow's server did not answer within {wait:.0f} s{_last_words(log)}")


def _last_words(log: Path) -> str:
    """The end of what the server wrote, and where the rest is."""
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").split("\n")
    except OSError:
        return ""
    last = next((line.strip() for line in reversed(lines) if line.strip()), "")
    return f": {one_line(last)} (all of it: {log})" if last else f": see {log}"
