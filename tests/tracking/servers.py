"""Real servers for tests: `mlflow server`, alone or as `mlflow/` runs it, and PostgreSQL."""

from __future__ import annotations

import base64
import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml

from raysearch.tracking.ui import serve_environment

MLFLOW = Path(__file__).resolve().parents[2] / "mlflow"
ADMIN = ("admin", "correct-horse-battery")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Server:
    """`mlflow server` on a folder, at a fixed port."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.uri = f"http://127.0.0.1:{self.port}"
        self.environment = serve_environment()

    @property
    def command(self) -> list[str]:
        return [
            *("mlflow", "server"),
            *("--backend-store-uri", f"sqlite:///{self.folder / 'server.db'}"),
            *("--artifacts-destination", (self.folder / "artifacts").as_uri()),
            *("--port", str(self.port), "--workers", "1"),
        ]

    def start(self) -> None:
        with (self.folder / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", *self.command],
                env=self.environment,
                cwd=self.folder,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        until = time.monotonic() + 120
        while True:
            try:
                with urllib.request.urlopen(f"{self.uri}/health", timeout=2):
                    return
            except OSError:
                text = (self.folder / "server.log").read_text()[-2000:]
                assert self.process.poll() is None, text
                assert time.monotonic() < until, f"the server did not start: {text}"
                time.sleep(0.3)

    def kill(self) -> None:
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


class SharedServer(Server):
    """MLflow with logins on PostgreSQL: the command of `mlflow/compose.yaml`, but for its places.

    Args:
        postgres: the folder of PostgreSQL's socket.
        workers: processes; the file says four.
    """

    def __init__(self, folder: Path, postgres: Path, workers: int = 1) -> None:
        super().__init__(folder)
        self._workers = workers
        self.environment |= {
            "PGHOST": str(postgres),
            "PGUSER": "mlflow",
            "MLFLOW_AUTH_CONFIG_PATH": str(MLFLOW / "basic_auth.ini"),
            "MLFLOW_AUTH_ADMIN_PASSWORD": ADMIN[1],
            "MLFLOW_FLASK_SERVER_SECRET_KEY": "of no importance",
        }

    @property
    def command(self) -> list[str]:
        services = yaml.safe_load((MLFLOW / "compose.yaml").read_text())["services"]
        here = {
            "--artifacts-destination": str(self.folder / "artifacts"),
            "--host": "127.0.0.1",
            "--port": str(self.port),
            "--workers": str(self._workers),
        }
        words = []
        for word in services["mlflow"]["command"]:
            name, equals, value = word.partition("=")
            words.append(f"{name}{equals}{here.get(name, value)}")
        return words

    def post(self, path: str, version: int = 2, **body: str) -> None:
        """Ask MLflow's logins for something, as the administrator."""
        login = base64.b64encode(":".join(ADMIN).encode()).decode()
        request = urllib.request.Request(
            f"{self.uri}/api/{version}.0/mlflow/{path}",
            data=json.dumps(body).encode(),
            headers={"Authorization": f"Basic {login}", "Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            assert answer.status == 200


def postgres_missing() -> str:
    """Why PostgreSQL cannot be started here; '' where it can."""
    if shutil.which("initdb") is None or shutil.which("pg_ctl") is None:
        return "needs PostgreSQL's initdb and pg_ctl on the PATH (Debian: postgresql)"
    if os.getuid() == 0 and shutil.which("runuser") is None:
        return "PostgreSQL refuses to run as root, and there is no runuser"
    try:
        import psycopg  # noqa: F401
    except ImportError:
        return "needs psycopg: pip install 'psycopg[binary]'"
    return ""


@contextmanager
def postgres(names: tuple[str, ...] = ("mlflow_auth", "optuna")) -> Iterator[Path]:
    """PostgreSQL on a socket alone; yields its folder. User `mlflow`, whose database it has."""
    # not under pytest's folders, which other users may not enter, and a socket's path is short
    folder = Path(tempfile.mkdtemp(prefix="raysearch-pg-"))
    as_user: list[str] = []
    if os.getuid() == 0:
        nobody = pwd.getpwnam("nobody")
        os.chown(folder, nobody.pw_uid, nobody.pw_gid)
        as_user = ["runuser", "-u", "nobody", "--"]

    def run(*words: str) -> None:
        done = subprocess.run([*as_user, *words], capture_output=True, text=True, cwd=folder)
        assert done.returncode == 0, f"{words[0]}: {done.stderr}"

    data = str(folder / "data")
    options = f"-c listen_addresses='' -k {folder} -F"  # -F: no fsync, it is thrown away
    try:
        run("initdb", "-D", data, "-A", "trust", "-U", "mlflow", "-N")
        # pg_ctl's child keeps our pipes open: its output goes to the log
        log = str(folder / "log")
        subprocess.run(
            [*as_user, "pg_ctl", "-D", data, "-w", "-l", log, "-o", options, "start"],
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=folder,
        )
        import psycopg

        with psycopg.connect(
            host=str(folder), user="mlflow", dbname="postgres", autocommit=True
        ) as made:
            for name in ("mlflow", *names):
                made.execute(f"create database {name} owner mlflow")
        yield folder
    finally:
        subprocess.run(
            [*as_user, "pg_ctl", "-D", data, "-m", "immediate", "stop"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            check=False,
        )
        shutil.rmtree(folder, ignore_errors=True)
