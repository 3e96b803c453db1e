"""A stage's limits: the seconds it may take, and the memory that it may add to its process."""

from __future__ import annotations

import contextlib
import errno
import resource
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

_PASSING = {
    *(errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.ESTALE, errno.ENOMEM, errno.EAGAIN),
    *(errno.EMFILE, errno.ENFILE, errno.ENETDOWN, errno.ENETUNREACH, errno.EHOSTUNREACH),
}
"""what a disk, a network or a machine answers that has no room or is away just now"""


def is_transient(error: BaseException) -> bool:
    """Whether a stage failed for memory, time, a disk or a network, which may be there later."""
    if isinstance(error, MemoryError | TimeoutError | ConnectionError):
        return True
    if isinstance(error, OSError):
        return error.errno in _PASSING
    # torch's error of a full card is a RuntimeError of a class of its own
    return isinstance(error, RuntimeError) and (
        type(error).__name__ == "OutOfMemoryError" or _says_no_memory(error)
    )


def _says_no_memory(error: RuntimeError) -> bool:
    return any(words in str(error) for words in _NO_MEMORY)


def overrun(seconds: float) -> TimeoutError:
    """The error of a stage that took too long."""
    return TimeoutError(f"it took longer than timeout={seconds:g} s")


@contextlib.contextmanager
def time_limit(seconds: float | None) -> Iterator[None]:
    """Raise TimeoutError in this process's main thread, where Ray runs tasks, after so long."""
    if seconds is None:
        yield
        return

    def stop(number: int, frame: FrameType | None) -> None:
        raise overrun(seconds)

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


_NO_MEMORY = ("allocate memory", "not enough memory", "bad_alloc", "start new thread")
"""how torch and Python say, in a RuntimeError, that memory has run out"""


@contextlib.contextmanager
def memory_limit(gigabytes: float | None) -> Iterator[None]:
    """Let this process's own memory grow by so much and no more; what is mapped or shared is free.

    Raises:
        MemoryError: where it is not enough, with the limit's name.
    """
    if gigabytes is None:
        yield
        return
    if sys.platform != "linux":
        raise RuntimeError(f"memory={gigabytes:g} can be kept on Linux alone; leave it out")
    soft, hard = before = resource.getrlimit(resource.RLIMIT_DATA)
    limit = _private_bytes() + int(gigabytes * 1e9)
    limits = [each for each in (soft, hard, limit) if each != resource.RLIM_INFINITY]
    try:
        try:
            resource.setrlimit(resource.RLIMIT_DATA, (min(limits), hard))
            yield
        finally:  # before anything else asks for memory
            resource.setrlimit(resource.RLIMIT_DATA, before)
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, MemoryError) or _says_no_memory(error):
            raise MemoryError(f"it needed more than memory={gigabytes:g} GB") from None
        raise


def _private_bytes() -> int:
    """What RLIMIT_DATA counts of this process: private and writable memory."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmData:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("/proc/self/status has no VmData")
