"""What a corpus is: the table that a study uses, what one reader gives, and the reader itself."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from raysearch.data.rules import Votes
from trainables.labels import Partition, means_of

Progress = Callable[[str], None]
"""told a sentence whenever something long begins"""
Options = Mapping[str, object]
"""`corpus.options`, or the part of it that one reader takes"""

RAW_COLUMNS = ("id", "path", "corpus", "speaker", "session", "label", "transcript")
RATED = "rated"
"""the label of a clip whose attributes are predicted as numbers"""
TABLE_COLUMNS = (*RAW_COLUMNS, "audio", "seconds")
PART = "part"
"""a further column of tables: what of its file a clip is (`places`); where it lacks, all of it"""
RECOGNISED = "recognised"
"""an attribute of a clip: the share of listeners who heard the intended class, "0.95", where a
corpus has had a listening test"""
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


_NUMBERED = re.compile(r"\[sentence .+\]")


def sentence_named(name: str) -> str:
    """The transcript of a clip whose sentence is known by a name, and its words are not."""
    return f"[sentence {name}]"


def words_of(transcript: str) -> str:
    """The words of a transcript; "" where it only names a sentence."""
    return "" if _NUMBERED.fullmatch(transcript) else transcript


def attribute_names(table: pd.DataFrame) -> list[str]:
    """The columns of a table that are attributes of its clips and speakers."""
    return [str(name) for name in table.columns if name not in (*TABLE_COLUMNS, PART)]


@dataclass(frozen=True)
class Problem:
    """One thing found wrong, or worth knowing, about a corpus.

    `severity` is "error" (a study stops, unless `corpus.on_bad=skip`) or "notice" (printed).
    `utterance` is the clip's id, or "" where the problem is the whole corpus's; `cause` is what
    the sentence says that may hold for other clips too.
    """

    kind: str
    severity: Literal["error", "notice"]
    corpus: str
    utterance: str
    sentence: str
    cause: str = ""


@dataclass(frozen=True)
class Raw:
    """What one reader gives, before classes are chosen.

    `table` has the columns id, path, corpus, speaker, session, label, transcript; labels are
    common class names, "" where a clip has none; a transcript may only name a sentence
    (`sentence_named`). It may have a column `part` (see `places`); its
    further columns are text, "" where not known, and are attributes of the clip and its speaker:
    `sex` is female or male, `age` years, `language` a code or a name. `votes` has one column a
    class and the table's index (0 where a clip has none); speakers' votes for their own clips are
    not in it. `ratings`
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
    means: pd.DataFrame | None = None
    """of attributes, on the table's index, NaN where not given: where single ratings are not"""
    numbers: tuple[str, ...] = ()
    """the attributes of a continuous task; clips that have them all are labelled RATED"""


class Reader(Protocol):
    """Reads one corpus's table. Raises `BadInput` when there is nothing to read."""

    def __call__(
        self,
        root: Path | None,
        *,
        options: Options,
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
    `bad` says by id what is wrong with clips as they are published: they are left out with a note,
    if it is still so, and stop nothing.
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
    bad: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Corpus:
    """One or several corpora, merged, after the choice of classes. Labelled rows come first.

    `table`: RangeIndex; id (unique), path (absolute), corpus, speaker (unique over corpora),
    session ("" = none), label ("" = unlabelled), transcript ("" = none), audio (SHA-256 of the
    clip's bytes, hex), seconds; perhaps part, and attributes (see `attributes`).
    `votes`: float32 [N, K], counts for `classes`; None if no corpus has votes; a row is all zero
    where a clip has none.
    `outside`: float32 [N, M], the votes for `outside_classes`, which the study does not have;
    None where `votes` is.
    `ratings`: the RATING_COLUMNS, one row a rating, those by the speakers themselves included;
    label is "" where the rating is for no class of the study; None if no raters are known.
    `rules`: by which `sets` divides the clips.
    `notes`: sentences that the study must print. `simulated`: subset of {"speech", "votes"}.
    """

    table: pd.DataFrame
    classes: tuple[str, ...]
    votes: NDArray[np.float32] | None = None
    ratings: pd.DataFrame | None = None
    notes: tuple[str, ...] = ()
    simulated: frozenset[str] = frozenset()
    outside: NDArray[np.float32] | None = None
    outside_classes: tuple[str, ...] = ()
    rules: Votes = field(default_factory=Votes)
    numbers: tuple[str, ...] = ()
    """names of A attributes, where numbers are predicted: `classes` is (RATED,) then"""
    annotations: NDArray[np.float32] | None = None
    """[N, R, A] the single ratings of the attributes, NaN behind a clip's last; a corpus that gives
    means alone has them as its one rating. None where classes are predicted"""

    @property
    def outputs(self) -> tuple[str, ...]:
        """What the columns of a prediction are: classes, or attributes."""
        return self.numbers or self.classes

    @property
    def sets(self) -> Partition | None:
        """S_A, S_B and S_C by `rules`, row for row; None where no corpus has votes."""
        if self.votes is None:
            return None
        return self.rules.divide(self.votes, self.outside, self.codes)

    @property
    def attributes(self) -> pd.DataFrame:
        """What is known of clips and speakers beyond TABLE_COLUMNS, as sex and age, row for row.

        Text, "" where not known. It changes no stage, and is no part of the fingerprint.
        """
        return self.table[attribute_names(self.table)]

    @property
    def codes(self) -> NDArray[np.int64]:
        """int64 [N]: each row's class as an index into `classes`, -1 where it has no label."""
        index = {name: i for i, name in enumerate(self.classes)}
        return np.array([index.get(label, -1) for label in self.table["label"]], dtype=np.int64)

    @property
    def truth(self) -> NDArray[Any]:
        """What is predicted of each row: int64 [N] `codes`, or the attributes float32 [N, A]."""
        return self.codes if self.annotations is None else means_of(self.annotations)

    @property
    def labelled(self) -> NDArray[np.bool_]:
        """bool [N]: True where the row has a label."""
        return self.codes >= 0

    @property
    def fingerprint(self) -> str:
        """SHA-256 (hex) of all that can change a result: not of where the files lie."""
        digest = hashlib.sha256()
        digest.update("\x1f".join(self.classes).encode())
        columns = [name for name in TABLE_COLUMNS if name not in ("path", "seconds")]
        for row in self.table[columns].itertuples(index=False):
            digest.update(("\x1e" + "\x1f".join(map(str, row))).encode())
        if self.votes is not None:
            digest.update(np.ascontiguousarray(self.votes, dtype="<f4").tobytes())
        if self.ratings is not None:
            ratings = self.ratings.dropna(
                axis=1, how="all"
            )  # columns that no rater filled do not count
            if "own" in ratings and not ratings["own"].any():
                ratings = ratings.drop(columns=["own"])
            for row in ratings.itertuples(index=False):
                digest.update(("\x1d" + "\x1f".join(map(str, row))).encode())
        if self.annotations is not None:
            digest.update("\x1f".join(self.numbers).encode())
            digest.update(np.ascontiguousarray(self.annotations, dtype="<f4").tobytes())
        if self.outside is not None and self.outside.any():
            digest.update("\x1f".join(self.outside_classes).encode())
            digest.update(np.ascontiguousarray(self.outside, dtype="<f4").tobytes())
        return digest.hexdigest()
