"""One driver holds a study; a second is told who.

The lock is the operating system's, so a killed driver holds nothing. Beside it stands a note of
host, process and heartbeat, for the message and for homes on file systems without locks.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
import threading
import time
from dataclasses import dataclass
from typing import NoReturn

from raysearch.errors import StudyHeld
from raysearch.stages.atomic import write_whole
from raysearch.study.folder import StudyFolder

_BEAT = 5.0
"""seconds between two heartbeats"""
_SILENCE = 20.0
"""seconds without a heartbeat after which a driver counts as gone"""
_STALE = 60.0
"""seconds after which another host's heartbeat no longer keeps others out"""


@dataclass(frozen=True)
class Holder:
    """The driver that wrote the lease's note, alive or not."""

    host: str
    pid: int
    age: float
    """seconds since its last heartbeat"""

    @property
    def here(self) -> bool:
        """Whether it ran on this machine."""
        return self.host == socket.gethostname()

    @property
    def alive(self) -> bool:
        if self.age >= _SILENCE:
            return False
        if not self.here:
            return True
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False  # killed since its last heartbeat
        except OSError:
            pass  # somebody else's
        return True

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"


def holder_of(folder: StudyFolder) -> Holder | None:
    """The driver that holds a study, or was killed while it did; None where neither is so."""
    try:
        note = json.loads(folder.lease_note.read_text(encoding="utf-8"))
        return Holder(str(note["host"]), int(note["pid"]), max(0.0, time.time() - note["beat"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


class Lease:
    """Context manager that holds a study's folder.

    Raises:
        StudyHeld: on entry, where another driver holds it.
    """

    def __init__(self, folder: StudyFolder) -> None:
        self._folder = folder
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="lease", daemon=True)
        self.predecessor: str | None = None
        """the holder before this one, where it ended without letting go: it was killed"""

    def __enter__(self) -> Lease:
        self._folder.path.mkdir(parents=True, exist_ok=True)
        self._file = open(self._folder.lease_lock, "w")
        locks = self._lock()
        holder = holder_of(self._folder)
        if holder is not None:
            if (not holder.here and holder.age < _STALE) or (not locks and holder.alive):
                self._refuse(holder)
            self.predecessor = _with_age(holder)
        self._write()
        self._thread.start()
        return self

    def _lock(self) -> bool:
        """Take the lock; False where the file system has none, and the note alone must do.

        Raises:
            StudyHeld: another driver has it.
            OSError: the file system cannot say, for a reason of its own.
        """
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EAGAIN, errno.EACCES):
                self._refuse(holder_of(self._folder))
            if error.errno not in (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS):
                self._file.close()
                raise
            return False
        return True

    def __exit__(self, *error: object) -> None:
        self._ended.set()
        self._thread.join()
        self._folder.lease_note.unlink(missing_ok=True)
        self._file.close()

    def _refuse(self, holder: Holder | None) -> NoReturn:
        self._file.close()
        who = "another process" if holder is None else _with_age(holder)
        raise StudyHeld(
            f"study {self._folder.name} is held by {who}; wait for it, stop it, or run with "
            "another home= or seed="
        ) from None

    def _write(self) -> None:
        note = {"host": socket.gethostname(), "pid": os.getpid(), "beat": time.time()}
        write_whole(self._folder.lease_note, json.dumps(note))

    def _beat(self) -> None:
        while not self._ended.wait(_BEAT):
            try:
                self._write()
            except OSError:  # a full disk is the driver's to report
                continue


def _with_age(holder: Holder) -> str:
    return f"{holder} (heartbeat {holder.age:.0f} s ago)"
