"""A Ray cluster of a head and two workers that are as far from it as one machine allows.

Each is a `ray start` of its own, with a token and in the foreground, ended by its process id. Each
worker has a mount namespace in which the corpus, the user's folder (method and home) and
the head's temporary folder are empty, as they are on another machine.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

ROOT = Path(__file__).resolve().parents[2]
SPACE = """\
method: far_method:METHOD
corpus: {name: manifest}
features: [egemaps]
params:
  shrink: {float: [0, 1]}
  noise: 0.3
trials: 4
"""


def free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in sockets]


def can_hide() -> bool:
    """Whether a process may have a mount namespace of its own."""
    tried = ["unshare", "-m", "sh", "-c", "mount -t tmpfs none /mnt"]
    return (
        bool(shutil.which("unshare")) and not subprocess.run(tried, capture_output=True).returncode
    )


@dataclass
class Cluster:
    """A running cluster and the folder of whoever uses it."""

    folder: Path
    port: int
    dashboard: int
    token: Path
    hidden: tuple[Path, ...]
    """folders that the workers cannot see"""
    workers: list[int]
    """their processes"""

    def seen_by_workers(self, path: Path) -> list[Path]:
        """A path of a worker's own disk, for each, as this process reaches it."""
        return [Path(f"/proc/{pid}/root{path}") for pid in self.workers]

    @property
    def temporary(self) -> Path:
        """Ray's, on the head."""
        return self.hidden[-1]

    def environment(self, **more: str) -> dict[str, str]:
        """Of a user's shell: raysearch on the path, no token, no address."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("RAY_", "RAYSEARCH_"))}
        return {**kept, "PYTHONPATH": str(ROOT), "COLUMNS": "100", **more}

    def run(
        self, *words: str, timeout: float = 100, **more: str
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "raysearch", *words],
            cwd=self.folder,
            env=self.environment(**more),
            capture_output=True,
            text=True,
            timeout=timeout,
        )


@pytest.fixture(scope="session")
def speech(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A manifest of 3 speakers x 6 clips in 2 classes that differ in pitch."""
    folder = tmp_path_factory.mktemp("speech")
    rng = np.random.default_rng(0)
    times = np.arange(int(0.5 * 16000)) / 16000
    rows = ["file,label,speaker"]
    for speaker in range(3):
        for clip in range(6):
            label = ("angry", "sad")[clip % 2]
            pitch = 120 + 20 * speaker + (60 if label == "angry" else 0) + rng.normal(0, 10)
            wave = 0.3 * np.sin(2 * np.pi * pitch * times) + rng.normal(0, 0.01, len(times))
            name = f"s{speaker}_{clip}.wav"
            soundfile.write(folder / name, wave.astype(np.float32), 16000, subtype="PCM_16")
            rows.append(f"{name},{label},s{speaker}")
    (folder / "manifest.csv").write_text("\n".join(rows) + "\n")
    return folder


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory, speech: Path) -> Iterator[Cluster]:
    from ray._private.utils import get_dashboard_dependency_error

    if not can_hide():
        pytest.skip("needs mount namespaces of its own (root, on Linux)")
    if get_dashboard_dependency_error() is not None:
        pytest.skip('needs Ray\'s dashboard: pip install "ray[default]"')
    folder = tmp_path_factory.mktemp("user")
    (folder / "far.yaml").write_text(SPACE)
    # a method that no node has, beside a module that it needs
    toy = (ROOT / "tests" / "support" / "toy_method.py").read_text()
    (folder / "far_helper.py").write_text(toy)
    (folder / "far_method.py").write_text("from far_helper import METHOD as METHOD\n")
    token = folder / "token"
    token.write_text(secrets.token_hex(32))
    token.chmod(0o600)
    port, dashboard = free_ports(2)
    temporary = tempfile.mkdtemp(prefix="rc-", dir="/tmp")  # short, for Ray's socket paths
    # the head's temporary folder too: nodes that share one delete each other's environments
    hidden = (speech, folder, Path(temporary))
    found = Cluster(folder, port, dashboard, token, hidden, [])
    private = found.environment(
        # what `pip install` and an activated environment would give a node; not our checkout
        PATH=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        PYTHONPATH="",
        RAY_AUTH_MODE="token",
        RAY_AUTH_TOKEN=token.read_text(),
    )
    started: list[subprocess.Popen[bytes]] = []

    def start(name: str, *words: str, hide: tuple[Path, ...] = ()) -> None:
        command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", *words]
        command += ["--disable-usage-stats", "--object-store-memory=100000000"]
        if hide:
            mounts = " && ".join(f"mount -t tmpfs none '{path}'" for path in hide)
            command = ["unshare", "-m", "sh", "-c", f'{mounts} && exec "$@"', "sh", *command]
        with open(folder / f"{name}.log", "wb") as log:
            started.append(
                subprocess.Popen(
                    command, env=private, stdout=log, stderr=log, start_new_session=True, cwd="/"
                )
            )

    try:
        start(
            "head",
            "--head",
            f"--port={port}",
            "--num-cpus=0",
            "--dashboard-host=127.0.0.1",
            f"--dashboard-port={dashboard}",
            f"--temp-dir={temporary}",
            f"--ray-client-server-port={free_ports(1)[0]}",
            # any other Ray on this machine has the usual one
            f"--dashboard-agent-listen-port={free_ports(1)[0]}",
        )
        _wait(port, folder / "head.log")
        for number in (1, 2):
            agent = free_ports(1)[0]
            words = (
                f"--address=127.0.0.1:{port}",
                "--num-cpus=1",
                f"--dashboard-agent-listen-port={agent}",
            )
            start(f"worker-{number}", *words, hide=hidden)
            found.workers.append(started[-1].pid)
        _wait(dashboard, folder / "head.log")
        (folder / "cluster.yaml").write_text(
            f"address: 127.0.0.1:{port}\ndashboard: http://127.0.0.1:{dashboard}\n"
            f"token_file: token\nhome: {tmp_path_factory.mktemp('head') / 'runs'}\n"
        )
        yield found
    finally:
        # at once and all of it: `ray start` takes its time with SIGTERM
        for pid in descendants({process.pid for process in started}):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for process in started:
            process.wait(timeout=20)
        shutil.rmtree(temporary, ignore_errors=True)


def descendants(pids: set[int]) -> set[int]:
    """These processes and all that descend from them."""
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
    found = set(pids)
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return found


def _wait(port: int, log: Path, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            assert time.monotonic() < end, log.read_text()
            time.sleep(0.2)


def report(cluster: Cluster, home: Any) -> Any:
    import json

    done = cluster.run("report", "format=json", f"home={home}")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture
def dead() -> str:
    """An address at which nothing listens."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{one.getsockname()[1]}"
