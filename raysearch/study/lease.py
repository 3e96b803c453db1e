"""One driver holds a study; a second is told who.

The lock is the operating system's, so a killed driver holds nothing. Beside it stands a note of
host, process and heartbeat, for the message and for homes on file systems without locks.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Any

from raysearch.errors import StudyHeld

_BEAT = 5.0
_STALE = 60.0
"""seconds after which another host's heartbeat counts as dead"""


class Lease:
    """Context manager that holds a study's folder.

    Raises:
        StudyHeld: on entry, where another driver holds it.
    """

    def __init__(self, folder: Path) -> None:
        self._note = folder / "lease.json"
        self._lock = folder / "lease.lock"
        self._study = folder.name
        self._ended = threading.Event()
        self.lost: str | None = None
        """the holder before this one, where it ended without letting go: it was killed"""

    def __enter__(self) -> Lease:
        self._lock.parent.mkdir(parents=True, exist_ok=True)
        self._file = open(self._lock, "w")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._file.close()
            raise StudyHeld(self._held_by()) from None
        holder = self._read()
        if (
            holder
            and holder["host"] != socket.gethostname()
            and time.time() - holder["beat"] < _STALE
        ):
            self._file.close()
            raise StudyHeld(self._held_by())
        if holder:
            self.lost = _said(holder)
        self._write()
        self._thread = threading.Thread(target=self._beat, name="lease", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ended.set()
        self._thread.join()
        self._note.unlink(missing_ok=True)
        self._file.close()

    def _held_by(self) -> str:
        holder = self._read()
        who = _said(holder) if holder else "another process"
        return (
            f"study {self._study} is held by {who}; wait for it, stop it, or run with another "
            "home= or seed="
        )

    def _read(self) -> dict[str, Any] | None:
        try:
            return json.loads(self._note.read_text())
        except (OSError, ValueError):
            return None

    def _write(self) -> None:
        note = {"host": socket.gethostname(), "pid": os.getpid(), "beat": time.time()}
        aside = self._note.with_suffix(f".{os.getpid()}.aside")
        aside.write_text(json.dumps(note))
        os.replace(aside, self._note)

    def _beat(self) -> None:
        while not self._ended.wait(_BEAT):
            try:
                self._write()
            except OSError:  # a full disk is the driver's to report
                continue


def _said(holder: dict[str, Any]) -> str:
    ago = max(0, time.time() - holder["beat"])
    return f"process {holder['pid']} on {holder['host']} (heartbeat {ago:.0f} s ago)"
