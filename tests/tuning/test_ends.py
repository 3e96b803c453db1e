"""A session leaves word of how it ended: in the ledger, and in MLflow where that knows of it."""

from __future__ import annotations

import pickle
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from raysearch.errors import StoreFailed
from raysearch.study.folder import StudyFolder
from raysearch.study.lease import Lease
from raysearch.study.ledger import Ledger
from raysearch.tuning.mirror import Mirror as _Mirror
from raysearch.tuning.run import _end_told


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
    with pytest.raises(StoreFailed), _end_told(ledger, mirror):
        raise StoreFailed("the store at s3://x\ncannot be written")
    (reason, failed, files), patience = tracker.told
    assert (reason, failed) == ("the store at s3://x cannot be written", True)
    assert "test_ends.py" in files["failure.txt"]
    assert patience <= 10, "whoever waits at the terminal is told soon"
    ended = ledger.fact("ended")
    assert (ended["how"], ended["reason"]) == ("failed", reason)


def test_what_mlflow_never_heard_of_makes_no_run_there(ledger: Ledger) -> None:
    tracker = FakeTracker()
    with pytest.raises(RuntimeError), _end_told(ledger, _Mirror(tracker)):  # type: ignore[arg-type]
        raise RuntimeError("before anything ran")
    assert tracker.told == []


def test_a_ledger_that_cannot_be_written_hides_nothing(ledger: Ledger) -> None:
    ledger.close()
    with pytest.raises(OSError, match="no space"), _end_told(ledger, None):
        raise OSError("no space left")
    with pytest.raises(sqlite3.ProgrammingError):
        ledger.fact("ended")


def test_an_end_without_trouble_is_not_a_failure(ledger: Ledger) -> None:
    with _end_told(ledger, None):
        pass
    assert ledger.fact("ended") is None


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
