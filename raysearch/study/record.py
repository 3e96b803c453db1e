"""What a study's folder holds, read once into one object. The only file here that opens files."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from raysearch.errors import BadInput
from raysearch.selection import FoldGroups, Score
from raysearch.study.ledger import COMPLETE, FAILED, PRUNED, RUNNING, FoldRow, Ledger, TrialRow
from raysearch.study.published import renewed_fact

_FILES = ("study.yaml", "folds.json", "ledger.sqlite")
_PROTOCOLS = {
    "loso": ("leave one speaker out", "speaker", "speakers"),
    "loseso": ("leave one session out", "session", "sessions"),
    "loco": ("leave one corpus out", "corpus", "corpora"),
    "kfold": ("stratified k-fold over clips", "part", "parts"),
}


@dataclass(frozen=True)
class KeptFold:
    """One entry of folds.json."""

    name: str
    test_groups: frozenset[str]
    val_groups: frozenset[str]
    clips: int
    rater: str = ""
    """on whose ratings it is scored; "" where it is the corpus's labels"""

    @property
    def groups(self) -> FoldGroups:
        return FoldGroups(self.test_groups, self.val_groups, self.name)


@dataclass(frozen=True)
class Kept:
    """A study as its folder keeps it, finished or not."""

    name: str
    study: Mapping[str, Any]
    """study.yaml"""
    folds: tuple[KeptFold, ...]
    """in the study's order"""
    trials: tuple[TrialRow, ...]
    rows: tuple[FoldRow, ...]
    """every finished fold of every trial"""
    classes: tuple[str, ...]
    notes: tuple[str, ...]
    simulated: tuple[str, ...]
    published: Mapping[str, Any] | None
    """the table that the space repeats, as `raysearch.published` has it"""
    space: Mapping[str, Any] | None
    """what was left of the space on this data: constants, and {"domain": text}; None: unknown"""

    @property
    def objectives(self) -> tuple[Score, ...]:
        """At least one; choices follow the first."""
        said = self.study.get("objective", "ua")
        return tuple(Score(str(x)) for x in (said if isinstance(said, list) else [said]))

    @property
    def seeds(self) -> int:
        """How many trainings each fold's scores are the mean of."""
        return int(self.study.get("seeds", 1))

    @property
    def protocol(self) -> str:
        said = self.study.get("protocol", "")
        return str(said.get("name", "") if isinstance(said, dict) else said)

    @property
    def division(self) -> str:
        """How utterances were divided, in words."""
        return _PROTOCOLS.get(self.protocol, ("", "", ""))[0] or self.protocol

    @property
    def unit(self) -> str:
        """What a fold holds out: "speaker", "session", ..."""
        return _PROTOCOLS.get(self.protocol, ("", "fold", "folds"))[1]

    @property
    def units(self) -> str:
        return _PROTOCOLS.get(self.protocol, ("", "fold", "folds"))[2]

    @property
    def raters(self) -> tuple[str, ...]:
        """Target raters, in the order of their folds; empty where labels are learnt."""
        return tuple(dict.fromkeys(fold.rater for fold in self.folds if fold.rater))

    @cached_property
    def states(self) -> dict[str, int]:
        """Trials by state; every state is there."""
        counts = {state: 0 for state in (COMPLETE, FAILED, PRUNED, RUNNING)}
        return counts | Counter(trial.state for trial in self.trials)

    @cached_property
    def cells(self) -> dict[tuple[int, str], FoldRow]:
        """(trial, fold's name) -> the finished fold."""
        return {(row.trial, row.fold): row for row in self.rows}

    def of(self, trial: int) -> list[FoldRow]:
        """A trial's finished folds, in the study's order of folds."""
        found = (self.cells.get((trial, fold.name)) for fold in self.folds)
        return [row for row in found if row is not None]

    def part(self, key: str) -> Mapping[str, Any]:
        """A mapping of study.yaml; empty where it has none of that name."""
        found = self.study.get(key)
        return found if isinstance(found, dict) else {}


def read(folder: Path) -> Kept:
    """The study kept in `folder`: study.yaml, folds.json and ledger.sqlite.

    Raises:
        BadInput: the folder holds no study.
    """
    missing = [name for name in _FILES if not (folder / name).is_file()]
    if missing:
        raise BadInput(
            f"{folder} holds no study that can be reported ({', '.join(missing)} not found): "
            "`python -m raysearch studies` lists the studies of a home"
        )
    study = yaml.safe_load((folder / "study.yaml").read_text(encoding="utf-8"))
    if not isinstance(study, dict):
        raise BadInput(
            f"{folder / 'study.yaml'} must hold a mapping: run the study's command again"
        )
    entries = json.loads((folder / "folds.json").read_text(encoding="utf-8"))
    ledger = Ledger(folder / "ledger.sqlite")
    try:
        corpus = study.get("corpus")
        said = corpus.get("classes") if isinstance(corpus, dict) else None
        return Kept(
            name=str(ledger.fact("study") or folder.name),
            study=study,
            folds=tuple(
                KeptFold(
                    str(entry["name"]),
                    frozenset(entry["test_groups"]),
                    frozenset(entry["val_groups"]),
                    int(entry["n_test"]),
                    str(entry.get("rater", "")),
                )
                for entry in sorted(entries, key=lambda entry: int(entry["index"]))
            ),
            trials=tuple(ledger.trials()),
            rows=tuple(ledger.folds()),
            classes=tuple(str(x) for x in ledger.fact("classes") or said or []),
            notes=tuple(str(x) for x in ledger.fact("notes", [])),
            simulated=tuple(str(x) for x in ledger.fact("simulated", [])),
            published=renewed_fact(ledger.fact("published")),
            space=ledger.fact("space"),
        )
    finally:
        ledger.close()
