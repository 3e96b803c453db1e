"""A study as its folder keeps it, finished or not, read once into one object."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from raysearch.data.section import Tree
from raysearch.errors import BadInput
from raysearch.selection import FoldGroups, Score
from raysearch.study.folder import StudyFolder, study_folder
from raysearch.study.ledger import COMPLETE, FAILED, PRUNED, RUNNING, FoldRow, TrialRow
from raysearch.study.outer_searches import OuterSearch, outer_searches
from raysearch.study.published import PublishedTable

_PROTOCOLS = {
    "loso": ("leave one speaker out", "speaker", "speakers"),
    "loseso": ("leave one session out", "session", "sessions"),
    "loco": ("leave one corpus out", "corpus", "corpora"),
    "kfold": ("stratified k-fold over clips", "part", "parts"),
    "split": ("the given parts", "test part", "test parts"),
    "column": ("the given folds", "part", "parts"),
    "pairs": ("train on each corpus, test on each other", "pair", "pairs"),
}


@dataclass(frozen=True)
class FoldRecord:
    """A fold of a study: who is tested, who validates, and how many clips are tested."""

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
class Record:
    """A study as its folder keeps it, finished or not."""

    name: str
    configuration: Tree
    """the resolved study: every key and its value"""
    folds: tuple[FoldRecord, ...]
    """in the study's order"""
    trials: tuple[TrialRow, ...]
    """by number"""
    fold_rows: tuple[FoldRow, ...]
    """every finished fold of every trial"""
    classes: tuple[str, ...]
    notes: tuple[str, ...]
    """what a reader must know of the data: synthetic speech, what was left out, ..."""
    simulated: tuple[str, ...]
    """what of the data is simulated: speech, votes, labels (wrong ones, planted)"""
    published: PublishedTable | None
    """the paper's table that the study repeats"""
    space: Mapping[str, object] | None
    """what was left of the space on this data: constants, and {"domain": text}; None: unknown"""
    planned: int
    """trials that the study shall have, those that ended included; 0 while no driver has said"""
    fingerprint: str
    """of the corpus: ids, labels, votes and audio"""
    instance: str
    """of this folder, among studies of one name on one tracking server"""
    outer: tuple[OuterSearch, ...] = ()
    """by fold, the search that never heard what it tests; () where there are none"""
    baseline: Record | None = None
    """the study that reports set this one against; it has none itself"""

    @classmethod
    def read(cls, folder: StudyFolder) -> Record:
        """The study that a folder keeps, with its baseline.

        Raises:
            BadInput: the folder holds no study.
        """
        record = cls._alone(folder)
        name = record.configuration.get("baseline")
        if name is None:
            return record
        try:
            return record.against(folder.home, str(name))
        except BadInput as error:  # it was there when the study began
            lost = f"The report has no comparison with a baseline: {error}"
            return replace(record, notes=(*record.notes, lost))

    def against(self, home: Path, name: str) -> Record:
        """The same, with a study of a home as its baseline.

        Raises:
            BadInput: there is no such study, or it is this one.
        """
        return replace(self, baseline=Record._alone(baseline_folder(home, name, self.name)))

    @classmethod
    def _alone(cls, folder: StudyFolder) -> Record:
        missing = [path.name for path in folder.files if not path.is_file()]
        if missing:
            raise BadInput(
                f"{folder.path} holds no study that can be reported ({', '.join(missing)} not "
                "found): `python -m raysearch studies` lists the studies of a home"
            )
        configuration = folder.configuration()
        corpus = configuration.get("corpus")
        classes = corpus.get("classes") if isinstance(corpus, dict) else None
        with folder.ledger() as ledger:
            published = ledger.fact("published")
            record = cls(
                name=str(ledger.fact("study") or folder.name),
                configuration=configuration,
                folds=_folds(folder),
                trials=tuple(ledger.trials()),
                fold_rows=tuple(ledger.folds()),
                classes=_texts(ledger.fact("classes") or classes),
                notes=_texts(ledger.fact("notes")),
                simulated=_texts(ledger.fact("simulated")),
                published=None if published is None else PublishedTable.from_plain(published),
                space=ledger.fact("space"),
                planned=int(ledger.fact("planned", 0)),
                fingerprint=str(ledger.fact("fingerprint", "")),
                instance=str(ledger.fact("instance", "")),
            )
        names = [fold.name for fold in record.folds]
        search = configuration.get("search")
        most = search.get("folds") if isinstance(search, dict) else None
        return replace(record, outer=outer_searches(folder, names, most, record.objectives[0]))

    # -- its configuration ---------------------------------------------------------------------
    @property
    def method(self) -> str:
        return str(self.configuration.get("method", "?"))

    @property
    def corpora(self) -> tuple[str, ...]:
        """Names of the corpora whose labels are learnt."""
        corpus = self.configuration.get("corpus")
        return _texts(corpus.get("name") if isinstance(corpus, dict) else corpus)

    @property
    def features(self) -> tuple[str, ...]:
        return _texts(self.configuration.get("features"))

    @property
    def normalise(self) -> str:
        """Whose statistics normalise the features: "fold", "speaker"; "" where it is unknown."""
        return str(self.configuration.get("normalise", ""))

    @property
    def flip(self) -> tuple[float, tuple[str, ...]]:
        """The share of labels that were made wrong on purpose in what was learnt from, and of which
        classes; () of all."""
        labels = self.configuration.get("labels")
        if not isinstance(labels, dict):
            return 0.0, ()
        return float(labels.get("flip", 0.0)), tuple(sorted(labels.get("confusion") or ()))

    @property
    def continuous(self) -> bool:
        """Whether numbers are predicted; `classes` are the attributes then."""
        return self.objectives[0].row.continuous

    @property
    def objectives(self) -> tuple[Score, ...]:
        """At least one; choices follow the first."""
        names = _texts(self.configuration.get("objective", "ua"))
        return tuple(Score(name, self.classes) for name in names)

    @property
    def params(self) -> Mapping[str, object]:
        """The space as it was written: constants and domains."""
        params = self.configuration.get("params")
        return params if isinstance(params, dict) else {}

    @property
    def searched(self) -> dict[str, str]:
        """What was left to be searched on this data: parameter -> its domain in words."""
        space = self.space or {}
        return {name: str(x["domain"]) for name, x in space.items() if isinstance(x, Mapping)}

    @property
    def constants(self) -> Tree:
        """The parameters of which one value was left."""
        return {name: x for name, x in (self.space or {}).items() if name not in self.searched}

    @property
    def enqueued(self) -> tuple[Mapping[str, object], ...]:
        """Settings that were to be tried first."""
        return tuple(self.configuration.get("enqueue") or ())

    @property
    def seed(self) -> int:
        return int(self.configuration.get("seed", 0))

    @property
    def seeds(self) -> int:
        """How many trainings each fold's scores are the mean of."""
        return int(self.configuration.get("seeds", 1))

    @property
    def protocol(self) -> str:
        protocol = self.configuration.get("protocol", "")
        return str(protocol.get("name", "") if isinstance(protocol, dict) else protocol)

    @property
    def _words(self) -> tuple[str, str, str]:
        """How utterances were divided, what a fold holds out, and its plural."""
        division, unit, units = _PROTOCOLS.get(self.protocol, (self.protocol, "fold", "folds"))
        protocol = self.configuration.get("protocol")
        if isinstance(protocol, dict) and protocol.get("group") is not None:
            return f"leave one group of {units} out", f"group of {units}", f"groups of {units}"
        return division, unit, units

    @property
    def division(self) -> str:
        """How utterances were divided, in words."""
        return self._words[0]

    @property
    def unit(self) -> str:
        """What a fold holds out: "speaker", "session", ..."""
        return self._words[1]

    @property
    def units(self) -> str:
        return self._words[2]

    # -- what it did ---------------------------------------------------------------------------
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
        return {(row.trial, row.fold): row for row in self.fold_rows}

    def rows_of(self, trial: int) -> list[FoldRow]:
        """A trial's finished folds, in the study's order of folds."""
        rows = (self.cells.get((trial, fold.name)) for fold in self.folds)
        return [row for row in rows if row is not None]


def baseline_folder(home: Path, name: str, study: str) -> StudyFolder:
    """The folder of the study that another one names as its baseline.

    Args:
        home: of both.
        name: the baseline's, or the beginning of it.
        study: name of the other one.

    Raises:
        BadInput: there is no such study, or it is that one itself.
    """
    try:
        folder = study_folder(home, name)
    except BadInput as error:
        raise BadInput(f"baseline={name}: {error}") from error
    if folder.name == study:
        raise BadInput(f"baseline={name} is the study itself; name another study")
    return folder


def _folds(folder: StudyFolder) -> tuple[FoldRecord, ...]:
    entries = sorted(
        json.loads(folder.folds_file.read_text(encoding="utf-8")),
        key=lambda entry: int(entry["index"]),
    )
    return tuple(
        FoldRecord(
            str(entry["name"]),
            frozenset(entry["test_groups"]),
            frozenset(entry["val_groups"]),
            int(entry["n_test"]),
            str(entry.get("rater", "")),
        )
        for entry in entries
    )


def _texts(value: object) -> tuple[str, ...]:
    """One name or a list of names as a tuple; empty for None."""
    if value is None:
        return ()
    return tuple(str(x) for x in (value if isinstance(value, list | tuple) else [value]))
