"""The driver's thread that keeps other systems in step with the ledger.

The driver gives hints ("trial 12 changed"); the thread reads the ledger itself. So nothing that a
hint misses is lost, the queue is bounded by the number of trials, and each sink compares what it
holds with the ledger. The search never waits for the thread and never sees its errors. A sink that
is away is tried again after growing pauses, and holds up no other.
"""

from __future__ import annotations

import functools
import logging
import re
import threading
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from raysearch.errors import one_line
from raysearch.study.ledger import TrialRow
from raysearch.study.record import Record
from raysearch.tracking.projection import Ending


@dataclass(frozen=True)
class Pace:
    """How long the thread waits, in seconds."""

    pause: float = 0.5
    """between two passes, so that the folds of a wave are written together"""
    longest: float = 30.0
    """between two attempts while a sink is away"""
    leaving: float = 2.0
    """the same once the study has ended and waits for the thread"""


@dataclass(frozen=True)
class Update:
    """What a sink is to bring up to the ledger."""

    record: Record
    numbers: Collection[int] | None
    """the trials that changed; None: compare the study and all of its trials"""
    ending: Ending

    @property
    def trials(self) -> list[TrialRow]:
        """The trials to be written."""
        trials = self.record.trials
        return [t for t in trials if self.numbers is None or t.number in self.numbers]


class Sink(Protocol):
    """One system that is kept in step."""

    @property
    def name(self) -> str:
        """With its address, for sentences."""

    @property
    def refused(self) -> Sequence[str]:
        """A sentence for everything that it will never take."""

    def write(self, update: Update) -> None:
        """Bring it up to the ledger. Whatever is raised, the same is asked again later."""

    def forget(self) -> None:
        """After an error, and at the end: nothing is certain, and connections can go."""

    def count(self) -> int:
        """How many whole, ended entries of this ledger it holds."""


@dataclass
class _Post:
    """What one sink still has to be told."""

    sink: Sink
    wait: float
    """seconds between two attempts"""
    numbers: set[int] = field(default_factory=set)
    everything: bool = True
    """all must be compared: at the start, after the sink was away, and at the end"""
    trouble: str = ""
    """why the last attempt failed"""
    last: float = float("-inf")
    """`time.monotonic()` of the last attempt"""

    @property
    def pending(self) -> bool:
        return self.everything or bool(self.numbers)


class Writer:
    """Keeps sinks in step with one study's ledger. No method raises; none but `close` waits.

    Args:
        read: the study's record as it is now; called from the thread alone.
        sinks: written in this order.
        pace: how long the thread waits.
    """

    def __init__(
        self, read: Callable[[], Record], sinks: Sequence[Sink], pace: Pace | None = None
    ) -> None:
        self._read = read
        self._pace = pace or Pace()
        self._posts = [_Post(sink, self._pace.pause) for sink in sinks]
        self._wake = threading.Condition()
        self._ending = Ending()
        self._leaving = False
        self._thread = threading.Thread(target=self._run, name="raysearch-writer", daemon=True)

    def start(self) -> None:
        """Start writing. Everything in the ledger that a sink lacks is written first.

        Call it once this process's own big imports (ray.tune) are done: two threads that import
        packages with import cycles at the same time can meet modules that are not complete.
        """
        self._thread.start()

    def changed(self, trial: int) -> None:
        """A trial was added, has new folds, or has ended; the ledger has it already."""
        with self._wake:
            for post in self._posts:
                post.numbers.add(trial)
            self._wake.notify()

    def end(self, ending: Ending) -> None:
        """The session has ended, as `ending` says."""
        with self._wake:
            self._ending = ending
            for post in self._posts:
                post.everything = True
            self._wake.notify()

    def close(
        self,
        timeout: float,
        meanwhile: Callable[[], None] = lambda: None,
        answering: float = 0.0,
    ) -> list[str]:
        """Wait at most `timeout` seconds for what is pending, and end the thread.

        Args:
            timeout: in seconds.
            meanwhile: called about once a second.
            answering: seconds at most while no sink is away, if that is more: what is written now
                must not be left half-way, as a run that seems to go on for ever.

        Returns:
            One plain sentence for everything that could not be written.
        """
        if self._thread.is_alive():
            with self._wake:
                self._leaving = True
                self._wake.notify()
            begun = time.monotonic()
            while self._thread.is_alive():
                most = timeout if self.away else max(timeout, answering)
                if (left := begun + most - time.monotonic()) <= 0:
                    timeout = most
                    break
                self._thread.join(min(1.0, left))
                meanwhile()
        sentences = [sentence for post in self._posts for sentence in post.sink.refused]
        if self._thread.is_alive():
            for post in [p for p in self._posts if p.pending or p.trouble] or self._posts[:1]:
                why = f" ({post.trouble})" if post.trouble else ""
                sentences.append(
                    f"{post.sink.name} did not take everything within {timeout:.0f} s{why}; "
                    "nothing is lost: the same command again writes what is missing."
                )
        return sentences

    @property
    def away(self) -> dict[str, str]:
        """The sinks that cannot be written at the moment, by name: why, in a few words."""
        return {post.sink.name: post.trouble for post in self._posts if post.trouble}

    # -- the thread --------------------------------------------------------------------------------
    def _run(self) -> None:
        while self._awaited():
            # Hints are taken before the ledger is read: what comes meanwhile is for the next pass.
            due = self._take()
            read = functools.cache(self._read)
            for post, numbers, ending in due:
                self._write(post, numbers, ending, read)
            self._rest()
        for post in self._posts:
            post.sink.forget()  # its connections

    def _awaited(self) -> bool:
        """Wait for something to write; False where nothing comes any more."""
        with self._wake:
            self._wake.wait_for(lambda: self._leaving or self._pending())
            return self._pending()

    def _pending(self) -> bool:
        return any(post.pending for post in self._posts)

    def _take(self) -> list[tuple[_Post, set[int] | None, Ending]]:
        """The sinks whose turn it is, each with the trials that changed (None: all) and the end."""
        with self._wake:
            now = time.monotonic()
            due = [post for post in self._posts if post.pending and self._next(post) <= now]
            hints = [(p, None if p.everything else p.numbers, self._ending) for p in due]
            for post in due:
                post.numbers, post.everything = set(), False
            return hints

    def _next(self, post: _Post) -> float:
        """`time.monotonic()` before which a sink is left alone."""
        if self._leaving:
            return post.last + (min(post.wait, self._pace.leaving) if post.trouble else 0.0)
        return post.last + post.wait

    def _rest(self) -> None:
        """A pause, cut short by the end of the study unless a sink is away."""
        with self._wake:
            now = time.monotonic()
            pause = 0.0 if self._leaving else self._pace.pause
            waits = [self._next(post) - now for post in self._posts if post.pending]
            self._wake.wait_for(
                lambda: self._leaving and not self.away,
                timeout=max(0.05, min(waits, default=pause)),
            )

    def _write(
        self,
        post: _Post,
        numbers: set[int] | None,
        ending: Ending,
        read: Callable[[], Record],
    ) -> None:
        try:
            post.sink.write(Update(read(), numbers, ending))
            post.trouble, post.wait = "", self._pace.pause
        except Exception as error:  # the search must not end for anything that a sink does
            logging.getLogger("mlflow.raysearch").warning(
                "%s: will be tried again", post.sink.name, exc_info=True
            )
            post.trouble = brief(error)
            post.sink.forget()
            with self._wake:
                post.everything = True
            post.wait = min(2 * post.wait, self._pace.longest)
        post.last = time.monotonic()


def brief(error: BaseException) -> str:
    """Why a system cannot be reached, in a few words that a person can use."""
    text = one_line(error, 160)
    code = re.search(r"too many (\d{3}) error responses", str(error))
    if code is not None:
        return f"it answers with error {code[1]}"
    for mark in (
        "Connection refused",
        "Name or service not known",
        "timed out",
        "database is locked",
    ):
        if mark in str(error):
            return mark.lower()
    return text
