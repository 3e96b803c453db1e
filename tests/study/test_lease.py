from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from raysearch.errors import StudyHeld
from raysearch.study.folder import StudyFolder
from raysearch.study.lease import Lease

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def folder(tmp_path: Path) -> StudyFolder:
    (tmp_path / "study").mkdir()
    return StudyFolder(tmp_path / "study")


def test_one_driver_holds_a_study_and_the_second_is_told_who(folder: StudyFolder) -> None:
    with Lease(folder), pytest.raises(StudyHeld, match=str(os.getpid())):
        Lease(folder).__enter__()
    with Lease(folder):
        pass


def test_a_killed_driver_holds_nothing(folder: StudyFolder) -> None:
    code = (
        "import sys, time; from pathlib import Path; from raysearch.study.lease import Lease\n"
        "from raysearch.study.folder import StudyFolder\n"
        "with Lease(StudyFolder(Path(sys.argv[1]))): print('held', flush=True); time.sleep(60)"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(folder.path)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout is not None
    with holder.stdout:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(StudyHeld, match=f"process {holder.pid}"):
            Lease(folder).__enter__()
        os.kill(holder.pid, signal.SIGKILL)
        holder.wait()
    with Lease(folder):
        pass


@pytest.mark.parametrize(("age", "held"), [(1.0, True), (3600.0, False)])
def test_another_hosts_heartbeat(folder: StudyFolder, age: float, held: bool) -> None:
    """A home on a file system without locks, used from two machines."""
    note = {"host": "elsewhere", "pid": 7, "beat": time.time() - age}
    folder.lease_note.write_text(json.dumps(note))
    if held:
        with pytest.raises(StudyHeld, match="process 7 on elsewhere"):
            Lease(folder).__enter__()
    else:
        with Lease(folder):
            pass


def test_without_locks_the_note_keeps_a_second_driver_out(
    folder: StudyFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a network file system whose lock daemon is not there."""

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", refuse)
    with Lease(folder), pytest.raises(StudyHeld, match=str(os.getpid())):
        Lease(folder).__enter__()
    with Lease(folder):
        assert folder.lease_note.exists()


def test_a_disk_that_fails_is_not_another_driver(
    folder: StudyFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr("fcntl.flock", fail)
    with pytest.raises(OSError, match="Input/output error"):
        Lease(folder).__enter__()
