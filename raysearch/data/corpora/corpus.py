"""What a corpus is: the table that a study uses, what one loader gives, what a check finds."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import pandas as pd

from raysearch.data.corpora.votes import Votes
from trainables.labels import Partition

Progress = Callable[[str], None]

RAW_COLUMNS = ("id", "path", "corpus", "speaker", "session", "label", "transcript")
TABLE_COLUMNS = (*RAW_COLUMNS, "audio", "seconds")
RATING_COLUMNS = (
    "id",
    "rater",
    "label",
    "weight",
    "valence",
    "activation",
    "dominance",
    "own",
)
"""of the single ratings; a reader may leave out the last four where it has none of them"""


@dataclass(frozen=True)
class Problem:
    """One thing found wrong, or worth knowing, about a corpus.

    `severity` is "error" (a study stops, unless `corpus.on_bad=skip`) or "notice" (printed).
    `utterance` is the clip's id, or "" where the problem is the whole corpus's.
    """

    kind: str
    severity: Literal["error", "notice"]
    corpus: str
    utterance: str
    sentence: str


@dataclass(frozen=True)
class Raw:
    """What one loader gives, before classes are chosen.

    `table` has the columns id, path, corpus, speaker, session, label, transcript; labels are
    common class names, "" where a clip has none. `votes` has one column a class and the table's
    index (0 where a clip has none); speakers' votes for their own clips are not in it. `ratings`
    has the columns id, rater, label, weight, and perhaps the others of RATING_COLUMNS, one row a
    rating: label is "" where a rater gave no class, weight the share of a vote that the class
    gets, valence, activation and dominance are on the corpus's own scale (NaN where not given),
    and own says that the rater is the speaker. Raters are distinct persons within a corpus.
    `classes` is the order in which this corpus lists its classes.
    """

    table: pd.DataFrame
    classes: tuple[str, ...]
    votes: pd.DataFrame | None = None
    ratings: pd.DataFrame | None = None
    notes: tuple[str, ...] = ()
    simulated: frozenset[str] = frozenset()
    problems: tuple[Problem, ...] = ()


class Reader(Protocol):
    """Reads one corpus's table. Raises `BadInput` when there is nothing to read."""

    def __call__(
        self,
        root: Path | None,
        *,
        options: Mapping[str, Any],
        seed: int,
        home: Path,
        progress: Progress | None,
    ) -> Raw: ...


@dataclass(frozen=True)
class CorpusInfo:
    """One corpus that raysearch knows. A third party registers one in `raysearch.corpora`.

    `published` holds the published number of clips a class ({} where there is none; "" stands for
    clips without a label), and `counted` says where these numbers are from, and which could not be
    looked up. `remarks` are further sentences that the list of corpora prints.
    `options` names the keys of `corpus.options` that the reader takes, with their help.
    `root` says whether a root folder is needed.
    """

    name: str
    description: str
    read: Reader
    classes: tuple[str, ...] = ()
    published: Mapping[str, int] = field(default_factory=dict)
    speakers: int | None = None
    source: str = ""
    layout: str = ""
    root: Literal["needed", "optional", "unused"] = "needed"
    options: Mapping[str, str] = field(default_factory=dict)
    counted: str = ""
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True)
class Corpus:
    """One or several corpora, merged, after the choice of classes. Labelled rows come first.

    `table`: RangeIndex; id (unique), path (absolute), corpus, speaker (unique over corpora),
    session ("" = none), label ("" = unlabelled), transcript ("" = none), audio (SHA-256 of the
    file's bytes, hex), seconds.
    `votes`: float32 [N, K], counts for `classes`; None if no corpus has votes; a row is all zero
    where a clip has none (`has_votes` is False there).
    `outside`: float32 [N, M], the votes for `outside_classes`, which the study does not have;
    None where `votes` is.
    `ratings`: the RATING_COLUMNS, one row a rating, those by the speakers themselves included;
    label is "" where the rating is for no class of the study; None if no raters are known.
    `rules`: by which `sets` divides the clips.
    `notes`: sentences that the study must print. `simulated`: subset of {"speech", "votes"}.
    """

    table: pd.DataFrame
    classes: tuple[str, ...]
    votes: np.ndarray | None = None
    ratings: pd.DataFrame | None = None
    notes: tuple[str, ...] = ()
    simulated: frozenset[str] = frozenset()
    outside: np.ndarray | None = None
    outside_classes: tuple[str, ...] = ()
    rules: Votes = field(default_factory=Votes)

    @property
    def sets(self) -> Partition | None:
        """S_A, S_B and S_C by `rules`, row for row; None where no corpus has votes."""
        if self.votes is None:
            return None
        return self.rules.divide(self.votes, self.outside, self.codes)

    @property
    def codes(self) -> np.ndarray:
        """int64 [N]: each row's class as an index into `classes`, -1 where it has no label."""
        index = {name: i for i, name in enumerate(self.classes)}
        return np.array([index.get(label, -1) for label in self.table["label"]], dtype=np.int64)

    @property
    def labelled(self) -> np.ndarray:
        """bool [N]: True where the row has a label."""
        return self.codes >= 0

    @property
    def has_votes(self) -> np.ndarray:
        """bool [N]: True where at least one vote for one of `classes` is known."""
        if self.votes is None:
            return np.zeros(len(self.table), dtype=bool)
        return np.asarray(self.votes.sum(axis=1) > 0)

    @property
    def fingerprint(self) -> str:
        """SHA-256 (hex) of all that can change a result: not of where the files lie."""
        digest = hashlib.sha256()
        digest.update("\x1f".join(self.classes).encode())
        for row in self.table.drop(columns=["path", "seconds"]).itertuples(index=False):
            digest.update(("\x1e" + "\x1f".join(map(str, row))).encode())
        if self.votes is not None:
            digest.update(np.ascontiguousarray(self.votes, dtype="<f4").tobytes())
        if self.ratings is not None:
            ratings = self.ratings.dropna(axis=1, how="all")  # only what the raters said counts
            if "own" in ratings and not ratings["own"].any():
                ratings = ratings.drop(columns=["own"])
            for row in ratings.itertuples(index=False):
                digest.update(("\x1d" + "\x1f".join(map(str, row))).encode())
        if self.outside is not None and self.outside.any():
            digest.update("\x1f".join(self.outside_classes).encode())
            digest.update(np.ascontiguousarray(self.outside, dtype="<f4").tobytes())
        return digest.hexdigest()


@dataclass(frozen=True)
class Report:
    """What `check` found: every problem, and what there is.

    `counts[corpus][class]` is the number of clips that can be used ("" = unlabelled clips).
    `votes[corpus]` says in sentences how the corpus's raters agree.
    """

    problems: tuple[Problem, ...]
    counts: Mapping[str, Mapping[str, int]]
    speakers: Mapping[str, int]
    seconds: Mapping[str, float]
    notes: tuple[str, ...] = ()
    votes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def errors(self) -> tuple[Problem, ...]:
        """The problems that stop a study."""
        return tuple(p for p in self.problems if p.severity == "error")

    @property
    def notices(self) -> tuple[Problem, ...]:
        """The problems that are only printed."""
        return tuple(p for p in self.problems if p.severity == "notice")

    def sentences(self, limit: int = 5) -> tuple[str, ...]:
        """All problems as sentences, errors first; see `sentences`."""
        return sentences((*self.errors, *self.notices), limit)


_HEADINGS = {
    "missing": "clips are missing",
    "unreadable": "clips cannot be read",
    "truncated": "clips are truncated",
    "empty": "clips hold no sound",
    "short": "clips are too short",
    "duplicate": "clips are byte-identical to others",
    "conflict": "clips are byte-identical under different labels or speakers",
    "name": "files are not named as this corpus names its clips, and are left out",
}


def sentences(problems: Sequence[Problem], limit: int = 5) -> tuple[str, ...]:
    """One sentence a problem; where a kind occurs more than `limit` times, a count and the first.

    The order of first occurrence is kept.
    """
    sizes = Counter((p.corpus, p.kind, p.severity) for p in problems)
    seen: set[tuple[str, str, str]] = set()
    out: list[str] = []
    for problem in problems:
        key = (problem.corpus, problem.kind, problem.severity)
        if sizes[key] <= limit or problem.kind not in _HEADINGS:
            out.append(problem.sentence)
        elif key not in seen:
            seen.add(key)
            group = [p for p in problems if (p.corpus, p.kind, p.severity) == key]
            first = ", ".join(p.utterance for p in group[:limit])
            out.append(
                f"{problem.corpus}: {len(group)} {_HEADINGS[problem.kind]}: {first} "
                f"and {len(group) - limit} more."
            )
    return tuple(out)
