"""Studies that are killed, starved and crowded: each ends with the whole result all the same.

What is stored is never run again: every test that kills compares the times of the stored files.
"""

from __future__ import annotations

import contextlib
import os
import random
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from raysearch.stages.store import Store
from raysearch.study.ledger import Ledger

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]
ROOT = Path(__file__).resolve().parents[2]
PLAIN = ("tracking.enabled=false",)
WHOLE = 5 + 6 * 5
"""stages of the toy study: 5 teachers, and 5 students for each of 6 trials"""


def stored(home: Path) -> dict[str, int]:
    """Every stored artifact and when it was written."""
    return {
        path.stem: path.stat().st_mtime_ns for path in home.glob("store/stages/*/*.safetensors")
    }


def wait_for(home: Path, stages: int, process: Any, seconds: float = 150) -> bool:
    """Whether so many are stored before the process ends."""
    end = time.monotonic() + seconds
    while len(stored(home)) < stages:
        assert time.monotonic() < end, f"{len(stored(home))} of {stages} stages"
        if process.poll() is not None:
            return False
        time.sleep(0.05)
    return True


def ended_well(shell: Any, process: Any) -> None:
    code = process.wait(timeout=150)
    err = (shell.folder / "background.err").read_text()
    assert code == 0, err
    assert "Traceback" not in err
    report = shell.report()
    assert report["trials"]["complete"] == 6
    assert report["estimates"]["honest"] is not None


def begun(log: Path) -> list[tuple[str, int, str]]:
    """(stage, process, node) of every execution that has started."""
    path = Path(f"{log}.begun")
    lines = path.read_text().splitlines() if path.exists() else []
    return [(stage, int(pid), node) for stage, pid, node in (line.split(" ") for line in lines)]


def telling(report: dict[str, Any]) -> dict[str, Any]:
    """What two runs of one study must agree on."""
    kept = {k: report[k] for k in ("study", "trials", "folds", "stages", "estimates", "best")}
    kept["settings"] = report["tables"].get("settings")
    return kept


@pytest.fixture(autouse=True)
def no_driver_stays(tmp_path: Path) -> Iterator[None]:
    """Drivers that a failing test leaves behind are killed; their Ray follows them."""
    yield
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            driver = b"\0raysearch\0tune\0" in (folder / "cmdline").read_bytes()
            if driver and str(tmp_path).encode() in (folder / "environ").read_bytes():
                os.kill(int(folder.name), signal.SIGKILL)


# -- the driver --------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("starting", "running"), [(1, 2), pytest.param(3, 7, marks=pytest.mark.long)]
)
def test_killed_at_random_moments_it_ends_as_if_it_had_not_been(
    shells: Any, starting: int, running: int
) -> None:
    """Kills as Ray and Tune start, and as stages are run."""
    words = ("deterministic=true", "batch=3", "params.delay=0.1", *PLAIN)
    whole = shells("whole")
    assert whole.tune(*words).code == 0
    want = telling(whole.report())

    cut = shells("cut")
    home = cut.folder / "runs"
    rng = random.Random(7)
    moments = sorted(rng.sample(range(1, WHOLE - 1), running)) + [None] * starting
    rng.shuffle(moments)
    before: dict[str, int] = {}
    for moment in sorted(moments, key=lambda m: (m is not None, m or 0)):
        process = cut.start(*words)
        if moment is None:
            time.sleep(rng.uniform(0.5, 5.0))
        else:
            # always some way on from the last kill
            assert wait_for(home, min(max(moment, len(before) + 1), WHOLE - 1), process)
            time.sleep(rng.uniform(0.0, 0.1))
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        now = stored(home)
        assert {key: now[key] for key in before} == before, "a stored stage was written again"
        before = now
    done = cut.tune(*words)
    assert done.code == 0, done.err
    now = stored(home)
    assert {key: now[key] for key in before} == before
    assert set(now) == set(stored(whole.folder / "runs"))
    assert telling(cut.report()) == want
    # what ran twice was in flight when its driver died: at most the cores' stages a kill
    assert len(cut.executions()) <= len(whole.executions()) + running * (os.cpu_count() or 1)


# -- workers, nodes, the broker ----------------------------------------------------------------
class SmallCluster:
    """A running Ray cluster of separate nodes, as tests/support/small_cluster.py makes it."""

    def __init__(self, folder: Path) -> None:
        self.log = folder / "toy.log"
        self.token = secrets.token_hex(32)
        paths = [str(ROOT / "tests" / "support"), str(ROOT)]
        env = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(paths),
            "RAYSEARCH_TOY_LOG": str(self.log),
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": self.token,
            "RAY_USAGE_STATS_ENABLED": "0",
        }
        env.pop("RAY_ADDRESS", None)
        with open(folder / "cluster.err", "w") as err:
            self._process = subprocess.Popen(
                [sys.executable, str(ROOT / "tests" / "support" / "small_cluster.py")],
                env=env,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=err,
                text=True,
                start_new_session=True,
            )
        self.address = self._line()

    def _line(self) -> str:
        """The next answer; Ray prints lines of its own."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith("cluster: "):
                return line.removeprefix("cluster: ").strip()
        raise AssertionError("the cluster has ended")

    def tell(self, words: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{words}\n")
        self._process.stdin.flush()
        assert self._line() == "done"

    def processes(self, title: str) -> list[int]:
        """This cluster's processes whose title begins so."""
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                named = (folder / "cmdline").read_bytes().startswith(title.encode())
                if named and str(self.log).encode() in (folder / "environ").read_bytes():
                    found.append(int(folder.name))
        return found

    def end(self) -> None:
        try:
            self._process.communicate(timeout=30)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.communicate()


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SmallCluster]:
    cluster = SmallCluster(tmp_path_factory.mktemp("cluster"))
    cluster.tell("add first")
    yield cluster
    cluster.end()


@pytest.fixture
def on_nodes(nodes: SmallCluster, monkeypatch: pytest.MonkeyPatch) -> SmallCluster:
    """The cluster, where `cluster=auto` finds it."""
    monkeypatch.setenv("RAY_ADDRESS", nodes.address)
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN", nodes.token)
    return nodes


@pytest.mark.cluster
def test_the_broker_killed_both_ways(shell: Any, on_nodes: SmallCluster) -> None:
    home = shell.folder / "runs"
    process = shell.start("cluster=auto", "params.delay=0.3", *PLAIN)
    assert wait_for(home, 6, process), (shell.folder / "background.err").read_text()
    (pid,) = on_nodes.processes("ray::Broker")
    before = stored(home)
    os.kill(pid, signal.SIGKILL)
    assert wait_for(home, len(before) + 6, process)
    assert on_nodes.processes("ray::Broker") != [pid]
    on_nodes.tell("kill-broker")
    ended_well(shell, process)
    now = stored(home)
    assert len(now) == WHOLE
    assert {key: now[key] for key in before} == before


@pytest.mark.cluster
def test_a_worker_and_a_node_killed_and_another_joining(shell: Any, on_nodes: SmallCluster) -> None:
    home = shell.folder / "runs"
    earlier = len(begun(on_nodes.log))
    process = shell.start("cluster=auto", "params.delay=0.5", *PLAIN)
    assert wait_for(home, 4, process), (shell.folder / "background.err").read_text()

    def running(node: str) -> int:
        end = time.monotonic() + 60
        while time.monotonic() < end:
            found = begun(on_nodes.log)[earlier:]
            if found and found[-1][2] == node:
                return found[-1][1]
            time.sleep(0.02)
        raise AssertionError(f"nothing starts on {node}")

    os.kill(running("head"), signal.SIGKILL)
    assert wait_for(home, 8, process)
    running("first")
    before = stored(home)
    on_nodes.tell("kill first")
    on_nodes.tell("add late")
    ended_well(shell, process)
    now = stored(home)
    assert len(now) == WHOLE
    assert {key: now[key] for key in before} == before
    ran = Counter(node for _, _, node in begun(on_nodes.log)[earlier:])
    assert ran["late"] >= 1, ran
    # twice at most: the worker's stage, the node's, and what the broker's parents' loss costs
    assert sum(ran.values()) <= WHOLE + 4


# -- two at once -------------------------------------------------------------------------------
def test_two_studies_of_one_store_at_once_run_no_stage_twice(shells: Any) -> None:
    words = ("sampler=grid", "params.delay=0.5", *PLAIN)
    # from opposite ends: in one order, the first to start would make all and the other wait
    up = "params.shrink={choice: [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]}"
    down = "params.shrink={choice: [0.6, 0.5, 0.4, 0.3, 0.2, 0.1]}"
    one, two = shells("one"), shells("two")
    store = one.folder / "store"
    first = one.start(*words, up, f"store={store}")
    second = two.start(*words, down, f"store={store}", "objective=wa")
    for shell, process in ((one, first), (two, second)):
        ended_well(shell, process)
    made = [shell.report()["stages"]["run"] for shell in (one, two)]
    assert len(stored(one.folder)) == WHOLE
    assert len(one.executions()) + len(two.executions()) == WHOLE, "a stage was run twice"
    assert sum(made) == WHOLE
    assert min(made) > 0, "they did not run at once"


# -- stages that do not behave -----------------------------------------------------------------
def test_a_stage_that_hangs_starves_or_dies_fails_its_trial_alone(shell: Any) -> None:
    done = shell.tune(
        *("params.shrink={choice: [0.1, 0.3, 0.5, 0.7]}", "sampler=grid"),
        *("params.hang_at=0.3", "params.eat_at=0.5", "params.die_at=0.7"),
        *("timeout=2", "memory=1", *PLAIN),
    )
    assert done.code == 0, done.err
    report = shell.report()
    assert (report["trials"]["complete"], report["trials"]["failed"]) == (1, 3)
    said = done.out + done.err
    assert "it took longer than timeout=2 s" in said
    assert "it needed more than memory=1 GB" in said
    assert "its worker process was lost at each of 4 tries" in said
    assert "Traceback" not in said
    (path,) = shell.folder.glob("runs/studies/*/ledger.sqlite")
    ledger = Ledger(path)
    traces = {t.reason.split(":")[-1].strip(): t.extra["trace"] for t in ledger.trials() if t.extra}
    ledger.close()
    assert len(traces) == 3, "each leaves its last lines for MLflow"
    assert all(traces.values())


def test_what_took_too_long_is_run_again_by_the_same_command_with_more_time(shell: Any) -> None:
    words = ("params.shrink={choice: [0.1, 0.3]}", "params.fail_at=0.3", "sampler=grid", *PLAIN)
    first = shell.tune(*words, "params.delay=1.5", "timeout=1")
    assert first.code == 1, first.out
    again = shell.tune(*words, "params.delay=1.5", "timeout=60")
    assert again.code == 0, again.err
    report = shell.report()
    assert (report["trials"]["complete"], report["trials"]["failed"]) == (1, 1)


# -- a full disk -------------------------------------------------------------------------------
class SmallDisk:
    """A file system of some MB at `path`, in a mount namespace of its own."""

    def __init__(self, path: Path, megabytes: int) -> None:
        path.mkdir()
        self._path = path
        mount = f"mount -t tmpfs -o size={megabytes}m tmpfs {path} && echo mounted && sleep 600"
        self._holder = subprocess.Popen(
            ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", mount],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
        )
        assert self._holder.stdout is not None
        if self._holder.stdout.readline().strip() != "mounted":
            self.end()
            pytest.skip("no file system may be mounted here, not even in a user namespace")

    @property
    def enter(self) -> list[str]:
        """What to put before a command that shall see it, beside its folder."""
        pid = str(self._holder.pid)
        space = ["nsenter", "--preserve-credentials", "--user", "--mount", "--target", pid, "--"]
        return [*space, "env", f"--chdir={self._path.parent}"]

    @property
    def seen(self) -> Path:
        """Where it is seen from outside."""
        return Path(f"/proc/{self._holder.pid}/root{self._path}")

    def fill(self) -> None:
        with contextlib.suppress(OSError), open(self.seen / "filler", "wb", 0) as file:
            while True:
                file.write(bytes(4096))

    def make_room(self) -> None:
        (self.seen / "filler").unlink()

    def end(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._holder.pid, signal.SIGKILL)
        self._holder.communicate()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    if shutil.which("unshare") is None or shutil.which("nsenter") is None:
        pytest.skip("needs unshare and nsenter, of util-linux")
    disk = SmallDisk(tmp_path / "runs", 16)
    yield disk
    disk.end()


def test_a_full_disk_stops_the_study_with_one_line_and_tears_nothing(
    shell: Any, disk: SmallDisk
) -> None:
    shell.prefix = disk.enter
    home = disk.seen

    def one_line(err: str) -> None:
        assert "Traceback" not in err, err
        assert "Logging error" not in err, err
        said = [line for line in err.splitlines() if line.startswith("raysearch:")]
        assert len(said) == 1, err
        assert "cannot be written" in said[0]
        assert str(shell.folder / "runs") in said[0]

    process = shell.start("params.delay=0.2")
    assert wait_for(home, 8, process), (shell.folder / "background.err").read_text()
    disk.fill()
    code = process.wait(timeout=120)
    err = (shell.folder / "background.err").read_text()
    assert code == 1, err
    one_line(err)
    before = stored(home)

    still = shell.tune("params.delay=0.2")
    assert still.code == 1
    one_line(still.err)

    disk.make_room()
    done = shell.tune("params.delay=0.2")
    assert done.code == 0, done.err
    assert "Traceback" not in done.err
    now = stored(home)
    assert len(now) == WHOLE
    assert {key: now[key] for key in before} == before
    store = Store(str(home / "store"))
    assert all(store.get(key) is not None for key in now)
    assert not list(home.glob("store/stages/*/*.aside"))
    assert shell.report()["trials"]["complete"] == 6
