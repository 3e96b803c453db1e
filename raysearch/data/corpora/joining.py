"""Several corpora as one: the rows that serve, with votes for the study's classes, and raters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from raysearch.data.corpora.agreement import vote_partition
from raysearch.data.corpora.corpus import RATING_COLUMNS, TABLE_COLUMNS, Corpus, Raw
from raysearch.data.corpora.corpus_sources import CorpusSource, CorpusSources
from raysearch.data.corpora.names import ClassChoice, choose, in_order
from raysearch.data.corpora.tasks import annotations_of
from raysearch.data.rules import Votes


@dataclass(frozen=True)
class Service:
    """What becomes of one corpus's rows in a study, each a series with the table's index."""

    label: pd.Series
    """a class of the study where the row serves with a label, or ''"""
    bare: pd.Series
    """True for rows of other classes that are kept without a label"""
    foreign: pd.Series
    """True for rows of other classes that are left out"""
    mute: pd.Series
    """True for rows without a label whose votes are all for other classes: left out"""

    @property
    def rows(self) -> pd.Series:
        """True for the rows that serve."""
        return ~self.foreign & ~self.mute


def service_of(raw: Raw, member: Mapping[str, str], rules: Votes) -> Service:
    """What becomes of the rows of a corpus under a choice of classes.

    Args:
        raw: the corpus.
        member: a corpus's label -> the study's class, as in `ClassChoice`.
        rules: whether clips of other classes are kept for their votes.
    """
    own = raw.table["label"]
    foreign = (own != "") & ~own.isin(list(member))
    bare = mute = foreign & False
    if raw.votes is not None:
        inside = raw.votes[[c for c in raw.votes if c in member]].sum(axis=1) > 0
        mute = (own == "") & ~inside & (raw.votes.sum(axis=1) > 0)
        bare = foreign & inside & (rules.others == "keep")
    label = own.map(lambda name: member.get(name, name)).mask(bare, "")
    return Service(label, bare, foreign & ~bare, mute)


def select_rows(
    sources: CorpusSources, member: Mapping[str, str], rules: Votes
) -> tuple[pd.DataFrame, list[str]]:
    """The rows that serve in one table, labelled ones first, and sentences on those left out."""
    notes: list[str] = []
    labelled: list[pd.DataFrame] = []
    bare: list[pd.DataFrame] = []
    for source in sources.labelled:
        service = service_of(source.raw, member, rules)
        notes += _service_notes(source, service)
        table = source.raw.table.assign(label=service.label)[service.rows]
        labelled.append(table[table["label"] != ""])
        bare.append(table[table["label"] == ""])
    there = {clip for frame in (*labelled, *bare) for clip in frame["id"]}
    for source in sources.unlabelled:
        table = source.raw.table.assign(label="")
        bare.append(table[~table["id"].isin(there)])
        there |= set(table["id"])
    return stacked([*labelled, *bare]), notes


def stacked(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Tables of several corpora as one; a column that one of them lacks is "" there."""
    columns = list(dict.fromkeys(name for table in tables for name in table.columns))
    return pd.concat(
        [table.reindex(columns=columns, fill_value="") for table in tables], ignore_index=True
    )


def _service_notes(source: CorpusSource, service: Service) -> list[str]:
    notes = []
    if service.bare.any():
        notes.append(
            f"{source.name}: votes.others=keep: {int(service.bare.sum())} clips of other "
            "classes, with a vote for a class of the study, are kept without a label."
        )
    if service.foreign.any():
        counts = source.raw.table["label"][service.foreign].value_counts(sort=False)
        listing = ", ".join(f"{name} {count}" for name, count in counts.items())
        notes.append(
            f"{source.name}: {int(service.foreign.sum())} clips of other classes ({listing}) "
            "unused."
        )
    if service.mute.any():
        notes.append(
            f"{source.name}: {int(service.mute.sum())} clips without a label, all of whose votes "
            "are for other classes, unused."
        )
    return notes


def _columns(
    votes: pd.DataFrame, choice: ClassChoice
) -> tuple[NDArray[np.float64], NDArray[np.float64], tuple[str, ...]]:
    """Votes [N, K] for the classes of the study, [N, M] for others, and the others' M names."""
    others = tuple(str(name) for name in votes.columns if name not in choice.member)
    inside = np.zeros((len(votes), len(choice.classes)))
    for name, values in votes.items():
        if name in choice.member:
            inside[:, choice.classes.index(choice.member[str(name)])] += values.to_numpy(float)
    return inside, votes[list(others)].to_numpy(dtype=np.float64), others


def agreement_sentences(raw: Raw, classes: Sequence[str] | None, rules: Votes) -> tuple[str, ...]:
    """How the raters of one corpus agree: over all its classes, then over `classes` alone."""
    if raw.votes is None:
        return ()
    votes = raw.votes.to_numpy(dtype=np.float64)
    kinds = vote_partition(votes)
    clips = int((votes.sum(axis=1) > 0).sum())
    whole = (
        f"{votes.sum():g} votes for {clips} clips: unanimous {kinds.unanimous}, majority above "
        f"one half {kinds.majority}, unique plurality at or below one half {kinds.plurality}, tie "
        f"{kinds.tie}"
    )
    choice = choose(classes, {"": raw.classes}, {"": set(raw.table["label"]) - {""}})
    if choice.problems:
        return (whole,)  # of several corpora, this one lacks the classes wanted
    position = {name: i for i, name in enumerate(choice.classes)}
    service = service_of(raw, choice.member, rules)
    label = np.array([position.get(name, -1) for name in service.label], dtype=np.int64)
    inside, outside, _ = _columns(raw.votes, choice)
    rows = service.rows.to_numpy()
    sets = rules.divide(inside[rows], outside[rows], label[rows])
    return whole, f"{rules.sizes(sets)}, over the classes {', '.join(choice.classes)}"


def join(
    table: pd.DataFrame,
    sources: CorpusSources,
    choice: ClassChoice,
    rules: Votes,
    notes: Sequence[str],
) -> Corpus:
    """The corpus of a study: the table's rows with the votes and ratings of their clips.

    Args:
        table: rows of `select_rows` that can be used, with their audio's digest and seconds.
        sources: the corpora that the rows are from.
        choice: the study's classes.
        rules: by which votes divide the clips.
        notes: what the study must print.
    """
    further = [name for name in table.columns if name not in TABLE_COLUMNS]
    table = table[[*TABLE_COLUMNS, *further]].reset_index(drop=True)
    position = {clip: i for i, clip in enumerate(table["id"])}
    votes, outside, others = _joint_votes(sources.labelled, position, choice)
    numbers = sources.labelled[0].raw.numbers
    ratings = [_usable(frame, position, choice) for frame in ratings_by_person(sources.labelled)]
    corpus = Corpus(
        table=table,
        classes=choice.classes,
        votes=votes,
        ratings=pd.concat(ratings, ignore_index=True) if ratings else None,
        notes=tuple(dict.fromkeys(notes)),
        simulated=frozenset().union(*(source.raw.simulated for source in sources.every)),
        outside=outside,
        outside_classes=others,
        rules=rules,
        numbers=numbers,
        annotations=_annotations(table, sources.labelled) if numbers else None,
    )
    sets = corpus.sets
    if sets is None:
        return corpus
    return replace(corpus, notes=(*corpus.notes, f"The raters' agreement: {rules.sizes(sets)}."))


def _annotations(table: pd.DataFrame, sources: Sequence[CorpusSource]) -> NDArray[np.float32]:
    """The annotations of all corpora together; see `annotations_of`."""
    attributes = sources[0].raw.numbers
    means, ratings = [], [pd.DataFrame(columns=["id", *attributes])]
    for source in sources:
        assert source.raw.means is not None  # `as_numbers` made them
        means.append(source.raw.means.set_axis(source.raw.table["id"]))
        if source.raw.ratings is not None:
            ratings.append(source.raw.ratings[["id", *attributes]])
    whole = pd.concat(means).reindex(table["id"])
    given = pd.concat([one for one in ratings if len(one)] or ratings, ignore_index=True)
    return annotations_of(table["id"], attributes, given, whole)


def _joint_votes(
    sources: Sequence[CorpusSource], position: Mapping[str, int], choice: ClassChoice
) -> tuple[NDArray[np.float32] | None, NDArray[np.float32] | None, tuple[str, ...]]:
    """Votes [N, K] and [N, M] of all corpora, and the M names; None where no corpus has any."""
    parts = [
        (source.raw.table["id"], *_columns(source.raw.votes, choice))
        for source in sources
        if source.raw.votes is not None
    ]
    others = in_order(name for *_, names in parts for name in names)
    if not parts:
        return None, None, others
    votes = np.zeros((len(position), len(choice.classes)), np.float32)
    outside = np.zeros((len(position), len(others)), np.float32)
    for clips, inner, outer, names in parts:
        rows = np.array([position.get(clip, -1) for clip in clips], dtype=np.int64)
        there = rows >= 0
        votes[rows[there]] = inner[there]
        for column, name in enumerate(names):
            outside[rows[there], others.index(name)] = outer[there, column]
    return votes, outside, others


def ratings_by_person(sources: Sequence[CorpusSource]) -> list[pd.DataFrame]:
    """Each corpus's ratings; a name that several corpora have is that of different people.

    Simulated raters are the same ones everywhere.
    """
    rated = [(source, source.raw.ratings) for source in sources if source.raw.ratings is not None]
    owners: dict[str, set[str]] = {}
    for source, ratings in rated:
        for rater in set(ratings["rater"]):
            owners.setdefault(rater, set()).add(source.name)
    frames = []
    for source, ratings in rated:
        if "votes" not in source.raw.simulated:
            names = [f"{source.name}/{r}" if len(owners[r]) > 1 else r for r in ratings["rater"]]
            ratings = ratings.assign(rater=names)
        frames.append(ratings)
    return frames


def _usable(
    ratings: pd.DataFrame, position: Mapping[str, int], choice: ClassChoice
) -> pd.DataFrame:
    """The ratings of clips that serve, with all RATING_COLUMNS and the study's classes."""
    frame = ratings[ratings["id"].isin(position)]
    for name in RATING_COLUMNS:
        if name not in frame:
            frame = frame.assign(**{name: False if name == "own" else np.nan})
    label = frame["label"].map(lambda name: choice.member.get(name, ""))
    graded = frame[["valence", "activation", "dominance"]].notna().any(axis=1)
    return frame.assign(label=label)[list(RATING_COLUMNS)][(label != "") | graded]
