"""Words of a command that waits: nothing is silent for so long that a person thinks it dead."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from raysearch.stages.outage import trouble

_EVERY = 14.0
"""seconds between two sentences"""
SPEAKERS = ("tune", "features", "watch", "ui")
"""commands that show how they get on themselves, once they have begun"""


@contextmanager
def speaking(command: str, every: float = _EVERY) -> Iterator[None]:
    """While the block runs, say on stderr from time to time that it does, and what it waits for.

    Args:
        command: its name.
        every: seconds.
    """
    ended = threading.Event()

    def speak() -> None:
        begun = time.monotonic()
        while not ended.wait(every):
            what = trouble() or f"{command} is at work for {time.monotonic() - begun:.0f} s"
            print(f"raysearch: {what}", file=sys.stderr, flush=True)

    thread = threading.Thread(target=speak, name="raysearch-speaking", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
