"""Temporary folders whose owner can be told: what a killed process leaves is swept by the next.

A folder holds a file that its process has locked, and the lock is the operating system's: it goes
with the process, however that ends, and another process sees so without a list of processes.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

_LOCK = ".owner"
_YOUNG = 60.0
"""seconds in which a folder may not have its lock yet, or its process's children may still end"""
_OLD = 7 * 86400.0
"""seconds after which a folder of ours without a lock, of an earlier version, is left over"""
_PREFIXES = ("raysearch-", "rs-")


@contextlib.contextmanager
def temporary_folder(prefix: str, within: str | None = None) -> Iterator[Path]:
    """A folder of this process alone, gone when the block ends.

    Args:
        prefix: how its name begins; one of those that `leftovers` looks for.
        within: the folder that it lies in; None is the system's for temporary files.
    """
    assert prefix.startswith(_PREFIXES), prefix
    folder = Path(tempfile.mkdtemp(prefix=prefix, dir=within))
    try:
        with open(folder / _LOCK, "w") as lock:
            with contextlib.suppress(OSError):  # a file system without locks: swept by its age
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def temporary_places() -> list[Path]:
    """Where this user's temporary folders lie."""
    places = [Path(tempfile.gettempdir()), Path("/tmp"), Path("/dev/shm")]
    return [place for place in dict.fromkeys(places) if place.is_dir()]


def leftovers() -> list[Path]:
    """This user's temporary folders whose process was killed."""
    return [
        folder
        for place in temporary_places()
        for prefix in _PREFIXES
        for folder in sorted(place.glob(f"{prefix}*"))
        if _is_left(folder)
    ]


def _is_left(folder: Path) -> bool:
    try:
        facts = folder.stat()
        if not folder.is_dir() or folder.is_symlink() or facts.st_uid != os.getuid():
            return False
        lock = folder / _LOCK
        if not lock.exists():
            return time.time() - facts.st_mtime > _OLD
        if time.time() - lock.stat().st_mtime < _YOUNG:
            return False
        with open(lock) as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    except OSError:  # it is locked, or just going
        return False


def sweep_leftovers() -> int:
    """Remove them; returns how many."""
    left = leftovers()
    for folder in left:
        shutil.rmtree(folder, ignore_errors=True)
    return len(left)
