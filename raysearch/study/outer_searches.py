"""The searches that never hear a held-out group, as a study's folder keeps them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from raysearch.selection import Score, honest_choice
from raysearch.study.folder import StudyFolder
from raysearch.study.ledger import COMPLETE, RUNNING, FoldRow, Ledger, TrialRow


@dataclass(frozen=True)
class OuterSearch:
    """A search for one held-out group, which is in no part that its sampler has heard of."""

    fold: str
    """the study's fold that tests the group"""
    planned: int = 0
    """trials that it shall have; 0 while it has not begun"""
    folds: int = 0
    """inner folds of each trial"""
    ended: int = 0
    """trials"""
    running: int = 0
    """trials begun and not ended"""
    choice: TrialRow | None = None
    """the setting that its validation scores choose; None before one is complete"""
    row: FoldRow | None = None
    """what the choice scores on the group, trained and validated as the study's own fold is"""
    stages: Mapping[str, int] = field(default_factory=dict)
    """`run`, the distinct stages that it computed, and `reused`, how often one was there already"""

    @property
    def done(self) -> bool:
        return self.ended >= self.planned > 0 and not self.running


def outer_searches(
    folder: StudyFolder, folds: Sequence[str], most: int | None, objective: Score
) -> tuple[OuterSearch, ...]:
    """The searches of a study, one for each of its folds; none where no search was begun.

    Args:
        folder: of the study.
        folds: names of the study's folds, in their order.
        most: the study's `search.folds`.
        objective: the (first) one, by which settings are chosen.
    """
    paths = [folder.outer_ledger_file(index, most) for index in range(len(folds))]
    if not any(path.is_file() for path in paths):
        return ()
    return tuple(_read(path, name, objective) for path, name in zip(paths, folds, strict=True))


def _read(path: Path, fold: str, objective: Score) -> OuterSearch:
    if not path.is_file():
        return OuterSearch(fold)
    with Ledger(path) as ledger:
        trials = ledger.trials()
        choice = _choice(trials, objective)
        rows = [] if choice is None else ledger.folds(choice.number)
        running = sum(trial.state == RUNNING for trial in trials)
        return OuterSearch(
            fold=fold,
            planned=int(ledger.fact("planned", 0)),
            folds=int(ledger.fact("folds", 0)),
            ended=len(trials) - running,
            running=running,
            choice=choice,
            row=next((row for row in rows if row.index == 0), None),
            stages=ledger.fact("stages") or {},
        )


def _choice(trials: Sequence[TrialRow], objective: Score) -> TrialRow | None:
    """The complete trial with the best objective; of equals the first."""
    complete = [t for t in trials if t.state == COMPLETE and t.value is not None]
    if not complete:
        return None
    merits = objective.merit(np.array([trial.value for trial in complete], dtype=np.float64))
    return complete[honest_choice(merits[None])[0]]
