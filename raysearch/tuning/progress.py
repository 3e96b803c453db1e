"""What a person sees while a study runs: a live table on a terminal, plain lines elsewhere.

Everything goes to stderr, so that the closing table alone is on stdout. Methods are cheap and may
be called from any thread; they never raise for what they are told.
"""

from __future__ import annotations

import math
import re
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from raysearch.selection import metric_of
from raysearch.study.ledger import COMPLETE, FAILED, PRUNED, RUNNING, FoldRow, TrialRow
from raysearch.study.terminal import console as terminal
from raysearch.study.wording import amount, bare, clean, duration, params

_SILENCE, _SILENCE_OF_TRIALS = 12.0, 60.0
"""seconds without a line, while something is waited for and while trials run, until one is said"""
_WINDOW = 60
"""computed folds over which the rate is measured"""
_LEAST = 3
"""computed folds before a time left is claimed"""


@dataclass
class _Running:
    """A trial under way."""

    params: Mapping[str, object]
    scores: list[float] = field(default_factory=list)


class Progress:
    """Tells a person how a study gets on. A `raysearch.search.driver.Listener`.

    Use it as a context manager, so that the terminal is restored whatever happens.

    Args:
        objective: the metric whose validation score trials are compared by.
        quiet: say nothing at all.
        console: where to write (default: stderr). The live table is drawn where it is a terminal.
        every: seconds between plain lines about the same phase.
        clock: seconds that only grow, for tests.
        foot: lines to stand below the live table, asked at every drawing.
        left: seconds to go as somebody else knows them, asked while no fold's pace is measured yet.
    """

    def __init__(
        self,
        *,
        objective: str = "ua",
        quiet: bool = False,
        console: Console | None = None,
        every: float = 10.0,
        clock: Callable[[], float] = time.monotonic,
        foot: Callable[[], Sequence[str]] = tuple,
        left: Callable[[], float | None] = lambda: None,
    ) -> None:
        self._objective = objective
        self._quiet = quiet
        self._out = console or terminal(stderr=True)
        self._every = every
        self._clock = clock
        self._foot = foot
        self._known_left = left
        self._lock = threading.RLock()
        self._live: Live | None = None
        self._ended = threading.Event()
        self._begun = clock()
        self._last_line = float("-inf")
        self._phase: tuple[str, str] = ("", "")
        self._last_phase_line = float("-inf")
        self._total = self._folds = 0
        self._title = ""
        self._done = self._failed = self._pruned = 0
        self._stored_of: defaultdict[int, list[float]] = defaultdict(list)
        self._folds_of_ended: list[int] = []
        self._running: dict[int, _Running] = {}
        self._best: tuple[float, int, Mapping[str, Any]] | None = None
        self._searching: float | None = None
        self._computed: deque[float] = deque(maxlen=_WINDOW + 1)
        self._ran = self._stored = 0

    def __enter__(self) -> Self:
        self._ended.clear()
        drawn = self._out.is_terminal and not self._out.is_dumb_terminal
        if drawn and not self._quiet and self._out.encoding.startswith("utf"):
            self._live = Live(
                get_renderable=self._picture,
                console=self._out,
                refresh_per_second=4,
                transient=True,
            )
            self._live.start()
        if not self._quiet and self._clock is time.monotonic:
            threading.Thread(target=self._beat, name="raysearch-progress", daemon=True).start()
        return self

    def _beat(self) -> None:
        """Without a live table: say that it goes on where nothing has been said for long."""
        while not self._ended.wait(1.0):
            with self._lock:
                if self._live is not None:
                    continue
                silent = self._clock() - self._last_line
                if self._phase[1]:
                    if silent >= _SILENCE:
                        self._say(f"still {self._phase[1]}")
                    continue
                # before the first trial has begun, its processes are what is waited for
                begun = bool(self._running or self._ran or self._stored)
                if self._total and silent >= (_SILENCE_OF_TRIALS if begun else _SILENCE):
                    self._say(self._counts())

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ended.set()
        self._stop()

    @property
    def live(self) -> bool:
        """Whether a table is drawn, so that lines of news would only disturb it."""
        return self._live is not None

    # -- what happened -------------------------------------------------------------------------
    def start(
        self,
        total_trials: int,
        folds: int,
        stored: Sequence[FoldRow] = (),
        trials: Sequence[TrialRow] = (),
        *,
        objective: str | None = None,
        title: str = "",
    ) -> None:
        """A search begins.

        Args:
            total_trials: how many trials the study shall have in all.
            folds: of each trial.
            stored: folds that an earlier session finished, of trials ended and under way.
            trials: the ledger's trials; where none are given, those with all folds in `stored`
                count as complete.
            objective: as for the class.
            title: what it is, where a study has several searches.
        """
        with self._lock:
            self._title, self._best = title, None
            self._running.clear()
            self._objective = objective or self._objective
            self._total, self._folds = total_trials, folds
            self._stored_of = defaultdict(list)
            for row in stored:
                self._stored_of[row.trial].append(self._score(row))
            settings = {trial.number: trial.params for trial in trials}
            states = {trial.number: trial.state for trial in trials} or {
                number: COMPLETE
                for number, scores in self._stored_of.items()
                if len(scores) >= folds
            }
            ended = [state for state in states.values() if state != RUNNING]
            self._done = len(ended)
            self._failed, self._pruned = ended.count(FAILED), ended.count(PRUNED)
            for number, state in sorted(states.items()):
                if state == COMPLETE and (scores := self._stored_of.get(number)):
                    self._compare(sum(scores) / len(scores), number, settings.get(number, {}))
            before = f" ({self._done} already done)" if self._done else ""
            self._phase = ("", "")
            which = f" {title}" if title else ""
            self._say(f"searching{which}: {total_trials} trials × {folds} folds{before}")

    def trial_started(self, number: int, params: Mapping[str, object]) -> None:
        """A trial begins, or is taken up again."""
        with self._lock:
            if self._searching is None:
                # Tune's own start takes seconds that must not count as slow folds
                self._searching = self._clock()
                self._computed.append(self._searching)
            self._phase = ("", "")
            self._running[number] = _Running(dict(params), list(self._stored_of.pop(number, ())))

    def fold_done(self, row: FoldRow, ran: int, reused: int) -> None:
        """A fold is finished; `ran` of its stages were computed now, `reused` were stored."""
        with self._lock:
            trial = self._running.setdefault(row.trial, _Running({}))
            trial.scores.append(self._score(row))
            if ran:
                self._ran += 1
                self._computed.append(self._clock())
            else:
                self._stored += 1
            if self._live is None and self._clock() - self._last_line >= self._every:
                self._say(self._counts())

    def trial_done(self, trial: TrialRow, folds: Sequence[FoldRow] = ()) -> None:
        """A trial has ended: complete, pruned or failed."""
        with self._lock:
            ended = self._running.pop(trial.number, _Running(trial.params))
            self._done += 1
            setting = params(trial.params)
            name = f"trial {trial.number}"
            if trial.state == FAILED:
                self._failed += 1
                self._folds_of_ended.append(len(ended.scores))
                why = clean(trial.reason) or "no reason was recorded"
                self._say(f"{name} failed: {why}  [{setting}]", style="red")
                return
            self._folds_of_ended.append(max(len(ended.scores), len(folds)))
            if trial.state == PRUNED:
                self._pruned += 1
                if self._live is None:
                    n = max(len(ended.scores), len(folds))
                    self._say(f"{name} stopped after {n} of {self._folds} folds  {setting}")
                return
            better = ""
            if trial.state == COMPLETE and trial.value is not None:
                if self._compare(trial.value, trial.number, trial.params):
                    better = "  best so far"
                if self._live is None:
                    score = f"{self._heading} {amount(self._objective, trial.value)}"
                    self._say(
                        f"{name} ({self._done} of {self._total}): validation {score}{better}  "
                        f"{setting}  {self._left_words()}".rstrip()
                    )

    def note(self, text: str) -> None:
        """A sentence that stays on the screen."""
        with self._lock:
            for line in text.splitlines():
                self._say(clean(line))

    def stage(self, text: str) -> None:
        """The phase under way: "speaking the demo corpus", "features is10 120/240".

        Texts that differ in their numbers only are one phase. Off a terminal its first and last
        ("240/240") line are printed, and between them one every few seconds.
        """
        text = clean(text)
        with self._lock:
            phase = re.sub(r"\d+", "#", text)
            new = phase != self._phase[0]
            count = re.search(r"(\d+)\s*(?:/|of)\s*(\d+)", text)
            last = count is not None and count[1] == count[2] and text != self._phase[1]
            self._phase = (phase, text)
            if self._live is not None:
                return
            if new or last or self._clock() - self._last_phase_line >= self._every:
                self._last_phase_line = self._clock()
                self._say(text)

    def finish(self) -> None:
        """The search has ended: take the live table away and say in one line what was done."""
        self._stop()
        with self._lock:
            if self._total:
                self._say(self._counts(ended=True))

    @property
    def _heading(self) -> str:
        return metric_of(self._objective).heading

    def _score(self, row: FoldRow) -> float:
        return float(row.scores.get(f"val_{self._objective}", float("nan")))

    def _compare(self, value: float, number: int, setting: Mapping[str, object]) -> bool:
        sign = metric_of(self._objective).sign
        if math.isnan(value) or (self._best and sign * value <= sign * self._best[0]):
            return False
        self._best = (value, number, dict(setting))
        return True

    # -- how it is said ------------------------------------------------------------------------
    def _stop(self) -> None:
        live, self._live = self._live, None
        if live is not None:
            live.stop()

    def _say(self, text: str, style: str = "") -> None:
        if self._quiet:
            return
        self._last_line = self._clock()
        stamp = f"{_clock_words(self._last_line - self._begun)}  "
        line = Text(stamp, style="dim").append(text, style=style or "default")
        # off a terminal a line is a line, however long: logs are searched, not looked at
        self._out.print(line, soft_wrap=self._live is None)

    def _counts(self, ended: bool = False) -> str:
        words = [f"{self._done} of {self._total} trials"]
        words += [f"{self._failed} failed"] if self._failed else []
        words += [f"{self._pruned} stopped early"] if self._pruned else []
        words.append(f"{self._ran} folds computed")
        words += [f"{self._stored} found stored"] if self._stored else []
        if ended:
            words.append(f"{duration(self._clock() - self._begun)} in all")
        else:
            rate = self._rate()
            words += [f"{rate:.2g} folds/s" if rate < 10 else f"{rate:.0f} folds/s"] if rate else []
            words += [self._left_words()] if self._left_words() else []
        return ", ".join(words)

    def _rate(self) -> float | None:
        """Computed folds a second. Stored ones come in bursts and would promise too much."""
        if len(self._computed) <= _LEAST:
            return None
        spent = self._clock() - self._computed[0]
        return (len(self._computed) - 1) / spent if spent > 0 else None

    def _left(self) -> float | None:
        """Seconds to go, as if every fold still to come had to be computed."""
        rate = self._rate()
        if rate is None:
            return self._known_left()
        ended = self._folds_of_ended
        usual = sum(ended) / len(ended) if ended else float(self._folds)
        waiting = max(0, self._total - self._done - len(self._running)) * usual
        under_way = sum(max(0.0, usual - len(t.scores)) for t in self._running.values())
        return (waiting + under_way) / rate

    def _left_words(self) -> str:
        left = self._left()
        if left is None or left <= 0:
            return ""
        if left < 60:
            return f"about {max(1, round(left))} s left"
        if left < 5400:
            return f"about {round(left / 60)} min left"
        return f"about {left / 3600:.1f} h left"

    def _picture(self) -> RenderableType:
        with self._lock:
            phase = _line(("⏵ ", "cyan"), (self._phase[1], ""))
            if not self._total:
                return phase if self._phase[1] else Text()
            width, height = self._out.size
            room = max(3, height - 9 - len(self._foot()))
            shown = sorted(self._running.items())[:room]
            grid = Table(
                box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim", expand=True
            )
            grid.add_column("trial", justify="right", no_wrap=True, width=5)
            grid.add_column("folds", no_wrap=True, width=13 + 2 * len(str(self._folds)) + 1)
            grid.add_column(f"val {self._heading}", justify="right", no_wrap=True, width=6)
            grid.add_column("parameters", no_wrap=True, overflow="ellipsis", ratio=1)
            for number, trial in shown:
                n = len(trial.scores)
                mean = bare(self._objective, sum(trial.scores) / n) if n else "–"
                bar = _bar(n, self._folds, 12).append(f" {n}/{self._folds}")
                grid.add_row(str(number), bar, mean, params(trial.params))
            parts: list[RenderableType] = [self._overall(width)]
            if self._best is not None:
                value, number, setting = self._best
                parts.append(
                    Text.assemble(
                        ("best so far ", "dim"),
                        (f"{self._heading} {amount(self._objective, value)}", "bold green"),
                        (f" (validation, trial {number})  ", "dim"),
                        (params(setting), ""),
                    )
                )
            if shown:
                parts += [Text(), grid]
            if len(self._running) > len(shown):
                parts.append(_line((f"… and {len(self._running) - len(shown)} more", "dim")))
            if self._phase[1]:
                parts += [Text(), phase]
            below = self._foot()
            if below:
                parts += [Text(), *(_line((line, "dim")) for line in below)]
            return Group(*parts)

    def _overall(self, width: int) -> Text:
        text = _bar(self._done, self._total, max(8, min(30, width - 72)))
        text.append(f" {self._done}/{self._total} trials", "bold")
        if self._title:
            text.append(f" {self._title}")
        if self._failed:
            text.append(f"  {self._failed} failed", "red")
        if self._pruned:
            text.append(f"  {self._pruned} stopped early")
        rate = self._rate()
        if rate:
            text.append(f"  {rate:.2g} folds/s" if rate < 10 else f"  {rate:.0f} folds/s")
        text.append(f"  {self._left_words() or 'measuring'}", "dim")
        text.no_wrap, text.overflow = True, "ellipsis"
        return text


def _bar(n: int, of: int, width: int) -> Text:
    full = min(width, round(width * n / of)) if of else 0
    return Text("━" * full, "green").append("━" * (width - full), "bright_black")


def _line(*parts: tuple[str, str]) -> Text:
    return Text.assemble(*parts, no_wrap=True, overflow="ellipsis")


def _clock_words(seconds: float) -> str:
    whole = int(seconds)
    hours = f"{whole // 3600}:" if whole >= 3600 else ""
    return f"{hours}{whole % 3600 // 60:02d}:{whole % 60:02d}"
