"""How a session of a study ends: word of it in the ledger, and a failure in one plain sentence."""

from __future__ import annotations

import errno
import socket
import sqlite3
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from raysearch.errors import StudyFailed, one_line
from raysearch.study.folder import StudyFolder
from raysearch.study.ledger import Ledger
from raysearch.tuning.mirror import Mirror

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_DISK = {*_FULL, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO, errno.ENODEV, errno.ESTALE}
"""what a disk, or the server of one, answers that cannot be written"""
_NETWORK = {errno.ENETDOWN, errno.ENETUNREACH, errno.ENETRESET, errno.EHOSTDOWN, errno.EHOSTUNREACH}


def record_end(ledger: Ledger, how: str, reason: str = "") -> None:
    """Leave word of how a session ended, for `status` and `watch`.

    Args:
        ledger: of the study.
        how: done, failed or interrupted.
        reason: why it is not done.
    """
    ledger.set_fact("ended", {"how": how, "reason": reason, "at": time.time()})


@contextmanager
def recorded_failure(ledger: Ledger, mirror: Mirror | None) -> Iterator[None]:
    """An error of the block, or Ctrl-C, is recorded in the ledger and in MLflow, and goes on."""
    try:
        yield
    except KeyboardInterrupt:
        if mirror is not None:
            mirror.finish(interrupted=True, failure="")
        record_end(ledger, "interrupted", "it was interrupted by its user")
        raise
    except Exception as error:
        reason = one_line(error)
        if mirror is not None:
            mirror.fail(reason, traceback.format_exc(limit=-40))
        with suppress(OSError, sqlite3.Error):  # the disk that is full may be why
            record_end(ledger, "failed", reason)
        raise


@contextmanager
def plain_failure(folder: StudyFolder) -> Iterator[None]:
    """An error of a disk or of the network in the block ends it with one sentence.

    Raises:
        StudyFailed: what happened and what to do.
    """
    try:
        yield
    except (OSError, sqlite3.Error) as error:
        raise StudyFailed(_sentence(folder, error)) from error


def _sentence(folder: StudyFolder, error: OSError | sqlite3.Error) -> str:
    """What happened, and what to do."""
    cause = getattr(error, "cause", None) or error  # Ray wraps what its tasks raise
    what, code = one_line(error), getattr(cause, "errno", None)
    if isinstance(cause, sqlite3.Error) or code in _DISK:
        full = code in _FULL or "full" in what
        remedy = "make room" if full else "see that it is there and may be written to"
        return f"{folder.path} cannot be written: {what}; {remedy} and run again"
    if isinstance(cause, ConnectionError | TimeoutError | socket.gaierror) or code in _NETWORK:
        return (
            f"study {folder.name} lost a connection, or nothing answered in time: {what}; see that "
            "the network and the cluster are up and run again, nothing that was finished is lost"
        )
    return (
        f"study {folder.name} cannot go on: {what}; mend that and run again, nothing that was "
        "finished is lost"
    )
