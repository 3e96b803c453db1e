from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from raysearch.errors import StudyHeld
from raysearch.study.lease import Lease

ROOT = Path(__file__).resolve().parents[2]


def test_one_driver_holds_a_study_and_the_second_is_told_who(tmp_path: Path) -> None:
    with Lease(tmp_path / "study"), pytest.raises(StudyHeld, match=str(os.getpid())):
        Lease(tmp_path / "study").__enter__()
    with Lease(tmp_path / "study"):
        pass


def test_a_killed_driver_holds_nothing(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from raysearch.study.lease import Lease\n"
        "with Lease(Path(sys.argv[1])): print('held', flush=True); time.sleep(60)"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "study")],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout is not None
    with holder.stdout:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(StudyHeld, match=f"process {holder.pid}"):
            Lease(tmp_path / "study").__enter__()
        os.kill(holder.pid, signal.SIGKILL)
        holder.wait()
    with Lease(tmp_path / "study"):
        pass


@pytest.mark.parametrize(("age", "held"), [(1.0, True), (3600.0, False)])
def test_another_hosts_heartbeat(tmp_path: Path, age: float, held: bool) -> None:
    """A home on a file system without locks, used from two machines."""
    note = {"host": "elsewhere", "pid": 7, "beat": time.time() - age}
    (tmp_path / "lease.json").write_text(json.dumps(note))
    if held:
        with pytest.raises(StudyHeld, match="process 7 on elsewhere"):
            Lease(tmp_path).__enter__()
    else:
        with Lease(tmp_path):
            pass
