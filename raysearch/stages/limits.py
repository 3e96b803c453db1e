"""A stage's limits: the seconds it may take, and which failures may pass at another time."""

from __future__ import annotations

import contextlib
import errno
import signal
from collections.abc import Iterator
from types import FrameType

from trainables.memory import says_no_memory

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
        type(error).__name__ == "OutOfMemoryError" or says_no_memory(error)
    )


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
