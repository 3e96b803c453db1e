"""The driver's thread that keeps other systems in step with the ledger.

What it is told are only hints ("trial 12 changed"): it reads the ledger itself, so nothing that it
misses is lost, its queue is bounded by the number of trials, and each sink compares what it holds
with the ledger. The search never waits for it and never sees its errors. A sink that is away is
tried again after growing pauses, and holds up no other.
"""

from __future__ import annotations

import functools
import logging
import re
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from raysearch.errors import without_passwords
from raysearch.study.ledger import FoldRow, Ledger, TrialRow
from raysearch.tracking.facts import Closing

_Rows = tuple[Sequence[TrialRow], Mapping[int, Sequence[FoldRow]]]

PAUSE = 0.5
"""seconds between two passes, so that the folds of a wave are written together"""
LONGEST_WAIT = 30.0
"""seconds between two attempts while a sink is away"""
_LAST_WAIT = 2.0
"""the same once the study has ended and waits for the writer"""


@dataclass(frozen=True)
class Work:
    """What a sink is to bring up to the ledger."""

    trials: Sequence[TrialRow]
    folds: Mapping[int, Sequence[FoldRow]]
    """by trial"""
    numbers: Collection[int] | None
    """the trials that changed; None: compare all of them"""
    study: bool
    """whether the study's own state changed"""
    status: str
    """RUNNING, FINISHED, FAILED or KILLED"""
    reason: str
    closing: Closing | None

    @property
    def changed(self) -> list[TrialRow]:
        return [t for t in self.trials if self.numbers is None or t.number in self.numbers]

    @property
    def stopped(self) -> str:
        """Why a trial still running in the ledger goes on no more; '' while it does."""
        return "" if self.status == "RUNNING" else self.reason or "the study ended before it"


class Sink(Protocol):
    """One system that is kept in step."""

    @property
    def name(self) -> str:
        """With its address, for sentences."""

    @property
    def lost(self) -> Sequence[str]:
        """A sentence for everything that it will never take."""

    def write(self, work: Work) -> None:
        """Bring it up to the ledger. Whatever is raised, the same is asked again later."""

    def forget(self) -> None:
        """After an error, and at the end: nothing is certain, and connections can go."""


@dataclass
class _Post:
    """What one sink still has to be told."""

    sink: Sink
    dirty: set[int] = field(default_factory=set)
    everything: bool = True
    """every trial must be compared: at the start, and after the sink was away"""
    study: bool = True
    trouble: str = ""
    wait: float = PAUSE
    tried: float = float("-inf")
    """`time.monotonic()` of the last attempt"""

    @property
    def pending(self) -> bool:
        return self.everything or self.study or bool(self.dirty)

    def due(self, leaving: bool) -> float:
        """`time.monotonic()` before which it is left alone."""
        if leaving:
            return self.tried + (min(self.wait, _LAST_WAIT) if self.trouble else 0.0)
        return self.tried + self.wait


class Writer:
    """Keeps sinks in step with one study's ledger. No method raises; none but `close` waits.

    Args:
        ledger: the study's ledger file. It is read, never written, from the thread.
        sinks: written in this order.
    """

    def __init__(self, ledger: Path, sinks: Sequence[Sink]) -> None:
        self._ledger = ledger
        self._posts = [_Post(sink) for sink in sinks]
        self._wake = threading.Condition()
        self._status, self._reason = "RUNNING", ""
        self._closing: Closing | None = None
        self._leaving = False
        self._thread = threading.Thread(target=self._run, name="raysearch-writer", daemon=True)

    def start(self) -> None:
        """Start writing. Everything in the ledger that a sink lacks is written first."""
        self._thread.start()

    def changed(self, trial: int) -> None:
        """A trial was added, has new folds, or has ended; the ledger has it already."""
        with self._wake:
            for post in self._posts:
                post.dirty.add(trial)
            self._wake.notify()

    def end(self, status: str, reason: str, closing: Closing | None) -> None:
        """The study has ended."""
        with self._wake:
            self._status, self._reason, self._closing = status, reason, closing
            for post in self._posts:
                post.everything = post.study = True
            self._wake.notify()

    def close(self, timeout: float) -> list[str]:
        """Wait at most `timeout` seconds for what is pending, and end the thread.

        Returns: one plain sentence for everything that could not be written.
        """
        if self._thread.is_alive():
            with self._wake:
                self._leaving = True
                self._wake.notify()
            self._thread.join(timeout)
        sentences = [sentence for post in self._posts for sentence in post.sink.lost]
        if self._thread.is_alive():
            for post in [p for p in self._posts if p.pending or p.trouble] or self._posts[:1]:
                why = f" ({post.trouble})" if post.trouble else ""
                sentences.append(
                    f"{post.sink.name} did not take everything within {timeout:.0f} s{why}; "
                    "nothing is lost: the same command again writes what is missing."
                )
        return sentences

    @property
    def trouble(self) -> str:
        """Why a sink cannot be written at the moment, in a few words; '' where all can."""
        return next((post.trouble for post in self._posts if post.trouble), "")

    # -- the thread --------------------------------------------------------------------------------
    def _run(self) -> None:
        while True:
            with self._wake:
                self._wake.wait_for(lambda: self._leaving or self._pending())
                if not self._pending():
                    break
                now = time.monotonic()
                due = [p for p in self._posts if p.pending and p.due(self._leaving) <= now]
                taken = [(post, self._take(post)) for post in due]
            read = functools.cache(self._read)
            for post, asked in taken:
                self._write(post, asked, read)
            with self._wake:
                now = time.monotonic()
                waits = [p.due(self._leaving) - now for p in self._posts if p.pending]
                # A pause, cut short by the end of the study unless a sink is away.
                self._wake.wait_for(
                    lambda: self._leaving and not self.trouble,
                    timeout=max(0.05, min(waits, default=0.0 if self._leaving else PAUSE)),
                )
        for post in self._posts:
            post.sink.forget()  # its connections

    def _pending(self) -> bool:
        return any(post.pending for post in self._posts)

    def _take(self, post: _Post) -> Callable[[_Rows], Work]:
        """What one pass has to do, to be completed by the ledger's rows, which are read later."""
        numbers, study = None if post.everything else post.dirty, post.study
        post.dirty, post.everything, post.study = set(), False, False
        status, reason, closing = self._status, self._reason, self._closing
        return lambda rows: Work(*rows, numbers, study, status, reason, closing)

    def _write(
        self, post: _Post, asked: Callable[[_Rows], Work], read: Callable[[], _Rows]
    ) -> None:
        try:
            post.sink.write(asked(read()))
            post.trouble, post.wait = "", PAUSE
        except Exception as error:
            logging.getLogger("mlflow.raysearch").warning(
                "%s: will be tried again", post.sink.name, exc_info=True
            )
            post.trouble = brief(error)
            post.sink.forget()
            with self._wake:
                post.everything = post.study = True
            post.wait = min(2 * post.wait, LONGEST_WAIT)
        post.tried = time.monotonic()

    def _read(self) -> _Rows:
        ledger = Ledger(self._ledger)
        try:
            # Trials first: one read as ended then has all its folds, which were recorded before.
            trials = ledger.trials()
            folds: dict[int, list[FoldRow]] = {}
            for row in ledger.folds():
                folds.setdefault(row.trial, []).append(row)
            return trials, folds
        finally:
            ledger.close()


def brief(error: BaseException) -> str:
    """An error in one line that a person can use, without passwords."""
    text = without_passwords(" ".join(str(error).split())) or type(error).__name__
    code = re.search(r"too many (\d{3}) error responses", text)
    if code is not None:
        return f"it answers with error {code[1]}"
    for mark in (
        "Connection refused",
        "Name or service not known",
        "timed out",
        "database is locked",
    ):
        if mark in text:
            return mark.lower()
    return text if len(text) < 160 else text[:157] + "…"
