"""Three nodes in network namespaces of their own: one is killed while a study runs, one joins."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from tests.cluster.conftest import descendants

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(400)]

ROOT = Path(__file__).resolve().parents[2]
SPACE = """\
method: toy_method:METHOD
corpus: {name: manifest}
features: [egemaps]
params: {shrink: {float: [0, 1]}, noise: 0.3, delay: 1.0}
"""
NET = f"10.{os.getpid() % 200 + 20}.77"


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


def may_have_namespaces() -> bool:
    if shutil.which("ip") is None:
        return False
    name = f"rs-asks-{os.getpid()}"
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True).returncode == 0
    subprocess.run(["ip", "netns", "delete", name], capture_output=True)
    return made


class Machines:
    """Machines of one bridge; each has an address, and a mount namespace for its Ray."""

    def __init__(self, stack: ExitStack, folder: Path) -> None:
        self._stack, self.folder = stack, folder
        self._id = os.getpid() % 10000
        self._bridge = f"rsb{self._id}"
        ip("link", "add", self._bridge, "type", "bridge")
        stack.callback(ip, "link", "delete", self._bridge)
        ip("link", "set", self._bridge, "up")
        self.temporary = tempfile.mkdtemp(prefix="rc-", dir="/tmp")
        stack.callback(shutil.rmtree, self.temporary, ignore_errors=True)
        self.processes: dict[int, subprocess.Popen[bytes]] = {}
        self.environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith("RAY_")},
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": f"{ROOT / 'tests' / 'support'}{os.pathsep}{ROOT}",
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": secrets.token_hex(32),
            "RAYSEARCH_TOY_LOG": str(folder / "toy.log"),
        }

    def add(self, number: int) -> None:
        """A machine whose address ends in its number."""
        name, link = f"rs{self._id}-{number}", f"v{self._id}n{number}"
        ip("netns", "add", name)
        self._stack.callback(ip, "netns", "delete", name)
        ip("link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", name)
        ip("link", "set", link, "master", self._bridge, "up")
        ip("-n", name, "address", "add", f"{NET}.{number}/24", "dev", "eth0")
        for device in ("lo", "eth0"):
            ip("-n", name, "link", "set", device, "up")
        ip("-n", name, "route", "add", "default", "via", f"{NET}.254")

    def command(self, number: int, *words: str) -> list[str]:
        return ["ip", "netns", "exec", f"rs{self._id}-{number}", *words]

    def ray(self, number: int, *words: str) -> None:
        """Start Ray there. Workers do not see the head's temporary folder."""
        start = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", *words]
        start += [f"--node-ip-address={NET}.{number}", "--disable-usage-stats"]
        start += ["--object-store-memory=100000000"]
        if number > 1:
            hide = f"mount -t tmpfs none '{self.temporary}' && exec \"$@\""
            start = ["sh", "-c", hide, "sh", *start]
        with open(self.folder / f"node-{number}.log", "wb") as log:
            self.processes[number] = subprocess.Popen(
                self.command(number, *start),
                env={**self.environment, "RAYSEARCH_TOY_NODE": str(number)},
                stdout=log,
                stderr=log,
                start_new_session=True,
                cwd="/",
            )

    def join(self, number: int) -> None:
        self.ray(number, f"--address={NET}.1:6379", "--num-cpus=1")

    def kill(self, number: int) -> None:
        """As by a power cut: every process of the machine at once."""
        process = self.processes.pop(number)
        for pid in descendants({process.pid}):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.wait(timeout=20)

    def worked(self) -> set[str]:
        """The machines that have run a stage."""
        log = self.folder / "toy.log.begun"
        return {line.split()[2] for line in log.read_text().splitlines()} if log.exists() else set()


@pytest.fixture
def machines(tmp_path: Path) -> Iterator[Machines]:
    if os.getuid() != 0 or not may_have_namespaces():
        pytest.skip("needs network namespaces of its own (root, and ip of iproute2)")
    with ExitStack() as stack:
        made = Machines(stack, tmp_path)
        stack.callback(lambda: [made.kill(number) for number in list(made.processes)])
        yield made


def test_a_node_is_killed_and_one_joins_and_no_trial_is_lost(
    machines: Machines, speech: Path, tmp_path: Path
) -> None:
    (tmp_path / "toy.yaml").write_text(SPACE)
    for number in (1, 2, 3, 4):
        machines.add(number)
    head = ("--head", "--port=6379", "--num-cpus=0", "--include-dashboard=false")
    machines.ray(1, *head, f"--temp-dir={machines.temporary}")
    time.sleep(8)
    for number in (2, 3):
        machines.join(number)
    words = ["tune", "space=toy.yaml", f"corpus.root={speech}", "home=home", "tracking=false"]
    words += ["trials=12", "cluster=cluster.yaml"]
    (tmp_path / "cluster.yaml").write_text(f"address: {NET}.1:6379\n")
    with open(tmp_path / "screen", "wb") as screen:
        study = subprocess.Popen(
            machines.command(1, sys.executable, "-m", "raysearch", *words),
            env=machines.environment,
            cwd=tmp_path,
            stdout=screen,
            stderr=screen,
        )

    def text() -> str:
        logs = [tmp_path / "screen", *sorted(tmp_path.glob("node-*.log"))]
        return "\n".join(log.read_text()[-3000:] for log in logs)

    end = time.monotonic() + 150
    while machines.worked() < {"2", "3"}:
        assert study.poll() is None, text()
        assert time.monotonic() < end, text()
        time.sleep(0.3)
    machines.kill(3)
    machines.join(4)
    assert study.wait(timeout=200) == 0, text()
    assert "4" in machines.worked(), text()
    assert "failed" not in (tmp_path / "screen").read_text()
    assert "12 of 12 trials" in (tmp_path / "screen").read_text()
