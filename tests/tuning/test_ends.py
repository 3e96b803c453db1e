"""A session leaves word of how it ended: in the ledger, and in MLflow where that knows of it."""

from __future__ import annotations

import errno
import pickle
import socket
import sqlite3
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ray.exceptions import GetTimeoutError, RayTaskError

from raysearch.errors import StoreFailed, StudyFailed
from raysearch.study.folder import StudyFolder
from raysearch.study.lease import Lease
from raysearch.study.ledger import Ledger
from raysearch.tracking.projection import Ending
from raysearch.tuning.ends import plain_failure, recorded_failure
from raysearch.tuning.mirror import Mirror


class FakeWriter:
    """Keeps the endings that a mirror gives it."""

    def __init__(self) -> None:
        self.endings: list[Ending] = []
        self.patience: list[float] = []
        self.away: dict[str, str] = {}

    def start(self) -> None: ...

    def changed(self, trial: int) -> None: ...

    def end(self, ending: Ending) -> None:
        self.endings.append(ending)

    def close(self, timeout: float, answering: float | None = None) -> list[str]:
        self.patience.append(timeout)
        return []


class FakeRuns:
    """Where a study is in MLflow."""

    def __init__(self, uri: str, page: str) -> None:
        self.uri, self.page = uri, page


class Line:
    """A mirror on a fake writer, and what it says."""

    def __init__(self, ledger: Ledger) -> None:
        self.writer, self.sentences = FakeWriter(), list[str]()
        parts: Any = (None, None, ledger, None, [], self.writer)
        self.mirror = Mirror(*parts, self.sentences.append)


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "ledger.sqlite", write=True)


def test_what_ends_a_session_is_told_everywhere_and_raised(ledger: Ledger) -> None:
    line = Line(ledger)
    line.mirror.start()
    with pytest.raises(StoreFailed), recorded_failure(ledger, line.mirror):
        raise StoreFailed("the store at s3://x\ncannot be written")
    (ending,), (patience,) = line.writer.endings, line.writer.patience
    assert (ending.status, ending.reason) == ("FAILED", "the store at s3://x cannot be written")
    assert "test_ends.py" in ending.trace
    assert patience <= 10, "whoever waits at the terminal is told soon"
    ended = ledger.fact("ended")
    assert (ended["how"], ended["reason"]) == ("failed", ending.reason)


def test_what_mlflow_never_heard_of_makes_no_run_there(ledger: Ledger) -> None:
    line = Line(ledger)
    with pytest.raises(RuntimeError), recorded_failure(ledger, line.mirror):
        raise RuntimeError("before anything ran")
    assert line.writer.endings == []


def test_a_tracker_that_goes_away_is_spoken_of_once(ledger: Ledger) -> None:
    line = Line(ledger)
    line.mirror.trial_started(0, {})
    assert line.sentences == []
    line.writer.away = {"MLflow at http://h": "connection refused"}
    line.mirror.trial_started(1, {})
    line.mirror.trial_started(2, {})
    (sentence,) = line.sentences
    assert sentence.startswith("MLflow at http://h does not answer (connection refused)")


def test_a_tracker_that_was_away_at_the_start_is_not_spoken_of_again(ledger: Ledger) -> None:
    line = Line(ledger)
    line.mirror.notes.append("MLflow at http://h does not answer (it slept): the study goes on")
    line.writer.away = {"MLflow at http://h": "connection refused"}
    line.mirror.trial_started(0, {})
    assert line.sentences == []


@pytest.mark.parametrize("page", ["", "#/experiments/7"])
def test_a_study_on_a_server_ends_with_its_page_there(ledger: Ledger, page: str) -> None:
    ledger.set_fact("page", "#/experiments/7")  # of the session that wrote it
    runs: Any = FakeRuns("http://mlflow.example.org:5000/", page)
    nothing: Any = None
    inputs: Any = SimpleNamespace(study=None)
    mirror = Mirror(inputs, nothing, ledger, runs, [], nothing, nothing)
    assert mirror.page == "http://mlflow.example.org:5000/#/experiments/7"


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
        assert lease.predecessor is None
        note = (tmp_path / "lease.json").read_text()
    (tmp_path / "lease.json").write_text(note)  # as a killed driver leaves it
    with Lease(StudyFolder(tmp_path)) as lease:
        assert lease.predecessor is not None
        assert lease.predecessor.startswith("process ")
        assert "heartbeat" in lease.predecessor


def test_a_failed_stage_comes_whole_through_a_pickle() -> None:
    from raysearch.stages import StageFailed

    error = pickle.loads(pickle.dumps(StageFailed("stage 'fit': it raised", "Traceback\n  x")))
    assert (str(error), error.trace) == ("stage 'fit': it raised", "Traceback\n  x")
    assert StageFailed("alone").trace == ""
