"""`cluster/slurm.sh` on a real Slurm: slurmctld and two slurmd on this machine."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.s3_server import free_port

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(400)]

ROOT = Path(__file__).resolve().parents[2]
CONFIGURATION = """\
ClusterName=raysearch
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
ReturnToService=2
KillWait=30
MailProg=/bin/true
NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 Port={port_1} CPUs=2 RealMemory=4000
NodeName=n2 NodeHostname={host} NodeAddr=127.0.0.1 Port={port_2} CPUs=2 RealMemory=4000
PartitionName=small Nodes=n1,n2 Default=YES MaxTime=INFINITE State=UP
"""


def wait_for(condition: Callable[[], bool], seconds: float, what: Callable[[], str]) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, what()
        time.sleep(0.3)


class Slurm:
    """A Slurm of this test alone, in the foreground, ended by its process ids."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith(("RAY_", "SLURM_"))},
            "SLURM_CONF": str(folder / "slurm.conf"),
            "PYTHONPATH": f"{ROOT / 'tests' / 'support'}{os.pathsep}{ROOT}",
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        }
        self._processes: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        munge = self.folder / "munge"
        munge.mkdir(mode=0o755)
        (munge / "key").write_bytes(os.urandom(1024))
        (munge / "key").chmod(0o400)
        ports = {name: free_port() for name in ("port", "port_1", "port_2")}
        text = CONFIGURATION.format(folder=self.folder, host=socket.gethostname(), **ports)
        (self.folder / "slurm.conf").write_text(text)
        for name in ("state", "spool-n1", "spool-n2"):
            (self.folder / name).mkdir()
        self._run(
            *("munged", "--foreground", "--force", f"--socket={munge / 'socket'}"),
            *(f"--key-file={munge / 'key'}", f"--pid-file={munge / 'pid'}"),
            *(f"--log-file={munge / 'log'}", f"--seed-file={munge / 'seed'}"),
        )
        wait_for((munge / "socket").exists, 20, lambda: "munged does not start")
        self._run("slurmctld", "-D")
        for node in ("n1", "n2"):
            self._run("slurmd", "-D", "-N", node)
        wait_for(
            lambda: self.ask("sinfo", "-h", "-t", "idle", "-o", "%D").strip() == "2",
            60,
            lambda: self.ask("sinfo", "-N", "-l") + self.logs(),
        )

    def _run(self, *words: str) -> None:
        with open(self.folder / f"{words[0]}.out", "ab") as log:
            process = subprocess.Popen(
                words, env=self.environment, stdout=log, stderr=log, start_new_session=True
            )
        self._processes.append(process)

    def ask(self, *words: str) -> str:
        done = subprocess.run(words, env=self.environment, capture_output=True, text=True)
        return done.stdout + done.stderr

    def logs(self) -> str:
        return "\n".join(p.read_text()[-1500:] for p in sorted(self.folder.glob("slurm*.log")))

    def submit(self, log: Path, *words: str, **variables: str) -> str:
        """A job of two nodes; returns its number."""
        options = ["--nodes=2", "--mem-per-cpu=1G", f"--output={log}"]
        done = subprocess.run(
            ["sbatch", "--parsable", *options, str(ROOT / "cluster" / "slurm.sh"), *words],
            env={**self.environment, **variables},
            cwd=log.parent,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr + self.logs()
        return done.stdout.strip()

    def state(self, job: str) -> str:
        text = self.ask("scontrol", "show", "job", job, "--oneliner")
        return text.partition("JobState=")[2].partition(" ")[0]

    def wait(self, job: str, log: Path, seconds: float = 200) -> str:
        """Wait for a job's end; its state."""
        going = ("PENDING", "RUNNING", "COMPLETING", "CONFIGURING")
        shown = lambda: (log.read_text() if log.exists() else "") + self.logs()  # noqa: E731
        wait_for(lambda: self.state(job) not in going, seconds, shown)
        wait_for(lambda: not self.ask("squeue", "-h").strip(), 60, shown)
        return self.state(job)

    def close(self) -> None:
        self.ask("scancel", "--state=RUNNING")
        for process in reversed(self._processes):
            process.terminate()
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@pytest.fixture(scope="module")
def slurm() -> Iterator[Slurm]:
    lacks = [n for n in ("slurmctld", "slurmd", "munged", "sbatch") if shutil.which(n) is None]
    if lacks:
        pytest.skip(f"needs {', '.join(lacks)} (Debian: slurmctld slurmd munge slurm-client)")
    if os.getuid() != 0:
        pytest.skip("slurmd wants to be root")
    folder = Path(tempfile.mkdtemp(prefix="raysearch-slurm-", dir="/tmp"))
    folder.chmod(0o755)
    one = Slurm(folder)
    try:
        one.start()
        yield one
    finally:
        one.close()
        shutil.rmtree(folder, ignore_errors=True)


SPACE = "method: toy_method:METHOD\ncorpus: {name: manifest}\nfeatures: [egemaps]\n"


def test_a_study_is_cancelled_goes_on_and_leaves_no_temporary_folder(
    slurm: Slurm, speech: Path, tmp_path: Path
) -> None:
    (tmp_path / "toy.yaml").write_text(
        f"{SPACE}params:\n  shrink: {{float: [0, 1]}}\n  noise: 0.3\n  delay: 1.0\n"
    )
    words = [f"space={tmp_path / 'toy.yaml'}", f"corpus.root={speech}", f"home={tmp_path / 'home'}"]
    words += ["tracking=false"]
    log = tmp_path / "first.log"
    job = slurm.submit(log, *words, "trials=60")
    stored = tmp_path / "home" / "store" / "stages"
    wait_for(
        lambda: len(list(stored.glob("*/*.safetensors"))) >= 4,
        150,
        lambda: (log.read_text() if log.exists() else slurm.state(job)) + slurm.logs(),
    )
    slurm.ask("scancel", job)
    assert slurm.wait(job, log) == "CANCELLED"
    assert not list(tmp_path.rglob("lease.json")), log.read_text()
    assert not Path(f"/tmp/ray-{job}").exists()
    before = {path: path.stat().st_mtime_ns for path in stored.glob("*/*.safetensors")}

    log = tmp_path / "second.log"
    job = slurm.submit(log, *words, "trials=4")
    assert slurm.wait(job, log) == "COMPLETED", log.read_text()
    assert "Honest result" in log.read_text()
    now = {path: path.stat().st_mtime_ns for path in stored.glob("*/*.safetensors")}
    assert {path: now[path] for path in before} == before, "nothing was computed twice"
    assert not Path(f"/tmp/ray-{job}").exists()


def test_an_environment_without_raysearch_is_told(slurm: Slurm, tmp_path: Path) -> None:
    log = tmp_path / "bare.log"
    job = slurm.submit(log, "space=rdlr", PATH="/usr/sbin:/usr/bin:/sbin:/bin", PYTHONPATH="")
    assert slurm.wait(job, log) == "FAILED"
    assert "activate the environment" in log.read_text()
