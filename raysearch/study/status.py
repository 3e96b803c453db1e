"""How far a study is and who runs it, read from its ledger and its lease. Nothing is written."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from raysearch.selection import Score
from raysearch.study.folder import StudyFolder
from raysearch.study.lease import Holder, holder_of
from raysearch.study.ledger import COMPLETE, FAILED, PRUNED, RUNNING, TrialRow
from raysearch.study.outer_searches import OuterSearch, outer_searches
from raysearch.study.wording import amount, duration

RUNS, DONE, FAILURE, STOPPED = "running", "done", "failed", "stopped"


@dataclass(frozen=True)
class Status:
    """One study at one moment."""

    name: str
    planned: int
    """trials that it shall have; 0 while no driver has said"""
    trials: Sequence[TrialRow]
    folds: int
    """finished, of all trials"""
    holder: Holder | None
    ending: Mapping[str, object]
    """how its last driver said that it ended: how, reason, at; empty until one does"""
    objective: Score = field(default_factory=lambda: Score("ua"))
    """the first one"""
    outer: Sequence[OuterSearch] = ()
    """those that it shall have beside its own; a name alone of what has not begun"""

    @property
    def outer_done(self) -> int:
        """How many of them have all their trials."""
        return sum(search.done for search in self.outer)

    @property
    def ended(self) -> list[TrialRow]:
        return [trial for trial in self.trials if trial.state != RUNNING]

    @property
    def state(self) -> str:
        """RUNS, DONE, FAILURE or STOPPED (by its user, or killed: nobody runs it)."""
        if self.holder is not None and self.holder.alive:
            return RUNS
        if self.ending.get("how") == FAILURE:
            return FAILURE
        whole = 0 < self.planned <= len(self.ended) and self.outer_done == len(self.outer)
        return DONE if whole else STOPPED

    @property
    def best(self) -> tuple[float, int] | None:
        """The best validation score of a complete trial, and the trial's number."""
        values = [
            (t.value, t.number) for t in self.trials if t.state == COMPLETE and t.value is not None
        ]
        sign = self.objective.row.sign
        return max(values, key=lambda one: (sign * one[0], -one[1]), default=None)

    @property
    def seconds_left(self) -> float | None:
        """From the pace of the last trials to end; None where fewer than two have."""
        missing = self.planned - len(self.ended)
        ends = sorted(trial.ended for trial in self.trials if trial.ended)[-20:]
        if self.state != RUNS or missing <= 0 or len(ends) < 2:
            return None
        gaps = sorted(later - earlier for earlier, later in itertools.pairwise(ends))
        # trials that run side by side end in bursts, so the mean; a pause between two sessions is
        # none
        usual = [gap for gap in gaps if gap <= 20 * max(gaps[len(gaps) // 2], 1.0)]
        return missing * sum(usual) / len(usual)

    @property
    def how(self) -> str:
        """Who runs it, or why nobody does and what to do."""
        if self.state == RUNS:
            return f"running in {self.holder}"
        if self.state == FAILURE:
            return f"failed: {self.ending.get('reason') or 'no reason was recorded'}"
        if self.state == DONE:
            return "done"
        again = "the same tune command goes on"
        if self.holder is not None:
            ago = duration(self.holder.age)
            return f"not running; nobody holds it, the last heartbeat was {ago} ago; {again}"
        reason = self.ending.get("reason", "")
        return f"not running{f'; {reason}' if reason else ''}; {again}"

    def as_facts(self) -> dict[str, object]:
        """The same for programs: a mapping that JSON can hold."""
        value, number = self.best or (None, None)
        return {
            "study": self.name,
            "state": self.state,
            "how": self.how,
            "planned": self.planned,
            "trials": {
                state: sum(trial.state == state for trial in self.trials)
                for state in (COMPLETE, PRUNED, FAILED, RUNNING)
            },
            "folds": self.folds,
            "best": None if number is None else {"trial": number, "validation": value},
            "metric": self.objective.metric,
            "seconds_left": self.seconds_left,
            "outer": {"done": self.outer_done, "of": len(self.outer)} if self.outer else None,
        }

    def __str__(self) -> str:
        words = [f"{len(self.ended)} of {max(self.planned, len(self.trials))} trials"]
        for state in (PRUNED, FAILED):
            count = sum(trial.state == state for trial in self.trials)
            words += [f"{count} {state}"] if count else []
        words.append(f"{self.folds} folds")
        if self.outer:
            words.append(f"outer searches {self.outer_done} of {len(self.outer)}")
        if self.best is not None:
            value, number = self.best
            best = amount(self.objective.metric, value)
            words.append(f"best validation {best} (trial {number})")
        left = self.seconds_left
        if left is not None:
            words.append(f"about {duration(left)} left")
        return f"{self.name}: {self.how}: {', '.join(words)}"


def status_of(folder: StudyFolder) -> Status:
    """How a study stands now."""
    # The lease first: a driver that ends says how in the ledger, and then lets go.
    holder = holder_of(folder)
    with folder.ledger() as ledger:
        trials, folds = ledger.trials(), ledger.count_folds()
        planned, ending = ledger.fact("planned", 0), ledger.fact("ended") or {}
        names = ledger.fact("outer", [])
    configuration = folder.configuration() if folder.configuration_file.is_file() else {}
    objective = configuration.get("objective", "ua")
    first = Score(str(objective if isinstance(objective, str) else objective[0]))
    most = (configuration.get("search") or {}).get("folds")
    outer = outer_searches(folder, names, most, first) or tuple(map(OuterSearch, names))
    return Status(folder.name, planned, trials, folds, holder, ending, first, outer)
