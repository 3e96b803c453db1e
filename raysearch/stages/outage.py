"""An outage of a store: how long it is waited for, and what a person is told meanwhile."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator

PATIENCE = 300.0
"""seconds that an outage of a store is waited for, unless the study says otherwise"""
_PAUSE = 2.0
"""seconds between two tries"""
_FORGET = 60.0
"""seconds without a try after which a failure begins an outage of its own"""
_SLOW = 8.0
"""seconds after which a call that has not come back is spoken of"""
_EVERY = 10.0
"""seconds between two sentences about the same outage"""


class Outage:
    """What a process knows of a store that may be away; all who use the store share it.

    Args:
        place: the store, in words.
    """

    def __init__(self, place: str) -> None:
        self._place = place
        self._patience = 0.0
        self._lock = threading.Lock()
        self._calls: dict[int, float] = {}
        self._since: float | None = None
        self._last = 0.0
        self._why = ""

    @contextlib.contextmanager
    def call(self) -> Iterator[None]:
        """A call to the store is under way."""
        me = threading.get_ident()
        with self._lock:
            self._calls[me] = time.monotonic()
        try:
            yield
        finally:
            with self._lock:
                self._calls.pop(me, None)

    def answered(self) -> None:
        """The store has answered: there is no outage."""
        if self._since is not None:
            with self._lock:
                self._since = None

    def wait(self, why: str, patience: float) -> bool:
        """After a call that failed: wait a little; False where patience is at its end.

        Args:
            why: it failed, in a few words.
            patience: seconds that an outage is waited for.
        """
        now = time.monotonic()
        with self._lock:
            if self._since is None or now - self._last > _FORGET:
                self._since = now
            self._last, self._why, self._patience = now, why, patience
            left = self._since + patience - now
        if left <= 0:
            return False
        time.sleep(min(_PAUSE, left))
        return True

    @property
    def sentence(self) -> str:
        """What a person must know now; '' where the store answers."""
        now = time.monotonic()
        with self._lock:
            since, why = self._since, self._why
            slow = now - min(self._calls.values(), default=now)
        if since is not None and now - self._last <= _FORGET:
            left = max(0.0, since + self._patience - now)
            return f"{self._place} does not answer ({why}): waiting, for {left:.0f} s more at most"
        if slow > _SLOW:
            return f"{self._place} has not answered for {slow:.0f} s: waiting"
        return ""


_OUTAGES: dict[str, Outage] = {}


def outage_of(place: str) -> Outage:
    """The one of a store in this process."""
    return _OUTAGES.setdefault(place, Outage(place))


def trouble() -> str:
    """What a person must know of the stores of this process now; '' where all answer."""
    return "; ".join(filter(None, (outage.sentence for outage in list(_OUTAGES.values()))))


@contextlib.contextmanager
def telling(place: str, sentence: Callable[[], str], say: Callable[[str], None]) -> Iterator[None]:
    """Tell a person of outages while the block runs: at once, every few seconds, and when they end.

    Args:
        place: the store, in words.
        sentence: what a person must know now, '' where all is well; asked from a thread.
        say: shows a person a sentence.
    """
    ended = threading.Event()

    def look() -> None:
        last: float | None = None
        while not ended.wait(1.0):
            text = sentence()
            if text and (last is None or time.monotonic() - last >= _EVERY):
                last = time.monotonic()
                say(text)
            elif not text and last is not None:
                last = None
                say(f"{place} answers again")

    thread = threading.Thread(target=look, name="raysearch-outage", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(6.0)  # it may be asking Ray, which must not be gone before it has its answer
