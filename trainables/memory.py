"""The memory that a training may add to its process, and how libraries say that there is none."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import resource
import sys
from collections.abc import Iterator
from pathlib import Path

_NO_MEMORY = ("allocate memory", "not enough memory", "bad_alloc", "start new thread")
"""how torch and Python say, in a RuntimeError, that memory has run out"""


def says_no_memory(error: RuntimeError) -> bool:
    """Whether an error says that memory has run out."""
    return any(words in str(error) for words in _NO_MEMORY)


@functools.cache
def reuse_memory() -> bool:
    """Let this process take the memory that it freed again, instead of new pages at every step.

    glibc gives a gradient's megabytes back to the system when it is freed, and asks for them again
    at the next step: 5,000 page faults a step of RDLR, a fifth of the time of a training.

    Returns:
        Whether there is a glibc to tell so.
    """
    trim_threshold, mmap_threshold = -1, -3  # of malloc.h
    try:
        options = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):  # macOS, musl, Windows
        return False
    # 32 MB is the most that glibc takes for the second
    return bool(options(trim_threshold, 256 << 20)) and bool(options(mmap_threshold, 32 << 20))


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
        if isinstance(error, MemoryError) or says_no_memory(error):
            raise MemoryError(f"it needed more than memory={gigabytes:g} GB") from None
        raise


def _private_bytes() -> int:
    """What RLIMIT_DATA counts of this process: private and writable memory."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmData:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("/proc/self/status has no VmData")
