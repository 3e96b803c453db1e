"""A session leaves word of how it ended: in the ledger, and in MLflow where that knows of it."""

from __future__ import annotations

import errno
import pickle
import socket
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from ray.exceptions import GetTimeoutError, RayTaskError

from raysearch.errors import StoreFailed, StudyFailed
from raysearch.study.folder import StudyFolder
from raysearch.study.lease import Lease
from raysearch.study.ledger import Ledger
from raysearch.tuning.ends import plain_failure, recorded_failure
from raysearch.tuning.mirror import Mirror as _Mirror


class FakeTracker:
    def __init__(self) -> None:
        self.told: list[Any] = []

    def start(self) -> None: ...

    def stop(self, reason: str, *, failed: bool, files: dict[str, str]) -> None:
        self.told.append((reason, failed, files))

    def close(self, timeout: float) -> list[str]:
        self.told.append(timeout)
        return []


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "ledger.sqlite", write=True)


def test_what_ends_a_session_is_told_everywhere_and_raised(ledger: Ledger) -> None:
    tracker = FakeTracker()
    mirror = _Mirror(tracker)  # type: ignore[arg-type]
    mirror.start()
    with pytest.raises(StoreFailed), recorded_failure(ledger, mirror):
        raise StoreFailed("the store at s3://x\ncannot be written")
    (reason, failed, files), patience = tracker.told
    assert (reason, failed) == ("the store at s3://x cannot be written", True)
    assert "test_ends.py" in files["failure.txt"]
    assert patience <= 10, "whoever waits at the terminal is told soon"
    ended = ledger.fact("ended")
    assert (ended["how"], ended["reason"]) == ("failed", reason)


def test_what_mlflow_never_heard_of_makes_no_run_there(ledger: Ledger) -> None:
    tracker = FakeTracker()
    with pytest.raises(RuntimeError), recorded_failure(ledger, _Mirror(tracker)):  # type: ignore[arg-type]
        raise RuntimeError("before anything ran")
    assert tracker.told == []


def test_a_ledger_that_cannot_be_written_hides_nothing(ledger: Ledger) -> None:
    ledger.close()
    with pytest.raises(OSError, match="no space"), recorded_failure(ledger, None):
        raise OSError("no space left")
    with pytest.raises(sqlite3.ProgrammingError):
        ledger.fact("ended")


def test_an_end_without_trouble_is_not_a_failure(ledger: Ledger) -> None:
    with recorded_failure(ledger, None):
        pass
    assert ledger.fact("ended") is None


ROOM = "cannot be written: .*; make room and run again"
THERE = "cannot be written: .*; see that it is there and may be written to and run again"
NETWORK = "lost a connection, or nothing answered in time: .*; see that the network"
OTHER = "cannot go on: .*; mend that"


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), ROOM),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), ROOM),
        (sqlite3.OperationalError("database or disk is full"), ROOM),
        (sqlite3.OperationalError("disk I/O error"), THERE),
        (OSError(errno.EIO, "Input/output error"), THERE),
        (PermissionError(errno.EACCES, "Permission denied"), THERE),
        (ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused"), NETWORK),
        (ConnectionError("the head is gone"), NETWORK),
        (TimeoutError("timed out"), NETWORK),
        (GetTimeoutError("Get timed out: some object(s) not ready."), NETWORK),
        (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), NETWORK),
        (OSError(errno.ENETUNREACH, "Network is unreachable"), NETWORK),
        (FileNotFoundError(errno.ENOENT, "No such file or directory", "a.wav"), OTHER),
    ],
    ids=lambda x: type(x).__name__ if isinstance(x, Exception) else "",
)
@pytest.mark.parametrize("wrapped", [False, True], ids=["here", "in a task of Ray"])
def test_a_disk_is_blamed_for_what_a_disk_says_alone(
    tmp_path: Path, error: OSError | sqlite3.Error, sentence: str, wrapped: bool
) -> None:
    if wrapped:
        error = RayTaskError("fit", "Traceback", error).as_instanceof_cause()  # type: ignore
    with (
        pytest.raises(StudyFailed, match=sentence) as failure,
        plain_failure(StudyFolder(tmp_path)),
    ):
        raise error
    assert tmp_path.name in str(failure.value)
    assert "\n" not in str(failure.value)


def test_a_lease_knows_who_was_killed(tmp_path: Path) -> None:
    with Lease(StudyFolder(tmp_path)) as lease:
        assert lease.lost is None
        note = (tmp_path / "lease.json").read_text()
    (tmp_path / "lease.json").write_text(note)  # as a killed driver leaves it
    with Lease(StudyFolder(tmp_path)) as lease:
        assert lease.lost is not None
        assert lease.lost.startswith("process ")
        assert "heartbeat" in lease.lost


def test_a_failed_stage_comes_whole_through_a_pickle() -> None:
    from raysearch.stages.broker import StageFailed

    error = pickle.loads(pickle.dumps(StageFailed("stage 'fit': it raised", "Traceback\n  x")))
    assert (str(error), error.trace) == ("stage 'fit': it raised", "Traceback\n  x")
    assert StageFailed("alone").trace == ""
