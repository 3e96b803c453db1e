"""What can be wrong with clips and with their number, and how it is told."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import pandas as pd

from raysearch.data.corpora.corpus import PART, CorpusInfo, Problem
from raysearch.data.corpora.places import suffix_of, times_of
from raysearch.data.corpora.sound import OTHER_SIGNALS, Clip

_FEW = 10
"""clips from which on one length is no chance"""
_CUT = 0.9

_VERDICTS = {
    "missing": "is missing",
    "unreadable": "cannot be read",
    "truncated": "is truncated",
    "empty": "holds no sound",
    "scale": "is far beyond full scale",
    "short": "is too short",
}


def clip_problems(table: pd.DataFrame, clips: Sequence[Clip]) -> list[Problem]:
    """Every clip that cannot be used, silent channels, and all duplicates.

    Byte-identical clips are a notice when one speaker and one label own them all, and errors
    otherwise: nobody can say then which of them is right.
    """
    problems: list[Problem] = []
    same: dict[str, list[int]] = defaultdict(list)
    columns = zip(table["id"], table["path"], table["corpus"], clips, strict=True)
    for row, (name, path, corpus, clip) in enumerate(columns):
        if clip.verdict in _VERDICTS:
            sentence = f"{name} {_VERDICTS[clip.verdict]} ({path}): {clip.detail}."
            problems.append(
                Problem(clip.verdict, "error", corpus, name, sentence, cause=clip.detail)
            )
            continue
        if clip.detail:
            different = clip.detail.startswith(OTHER_SIGNALS)
            kind, what = (
                ("signals", "two signals") if different else ("channel", "a silent channel")
            )
            sentence = f"{name} has {what} ({path}): {clip.detail}."
            cause = "" if different else clip.detail
            problems.append(Problem(kind, "notice", corpus, name, sentence, cause=cause))
        if clip.digest:
            same[clip.digest].append(row)
    for rows in same.values():
        if len(rows) > 1:
            problems.extend(_duplicates(table.iloc[rows]))
    return problems + _overlaps(table)


def _overlaps(table: pd.DataFrame) -> list[Problem]:
    """One notice a corpus of segments that share sound with the segment before them."""
    if PART not in table:
        return []
    cut = table[table[PART].map(suffix_of) != ""]
    pairs: dict[str, list[str]] = defaultdict(list)
    for _, group in cut.groupby("path", sort=False):
        last, before = 0.0, ""
        columns = zip(group[PART].map(times_of), group["corpus"], group["id"], strict=True)
        for (start, end), corpus, clip in sorted(columns, key=lambda row: row[0][0]):
            if start < last:
                pairs[corpus].append(f"{clip} with {before}")
            if end is None or end > last:
                last, before = math.inf if end is None else end, clip
    return [
        Problem(
            "overlap",
            "notice",
            corpus,
            "",
            f"{corpus}: {len(these)} segments overlap another of their file ({these[0]}): the same "
            "sound is then in two clips, and may be in two parts of a fold.",
        )
        for corpus, these in pairs.items()
    ]


def length_notices(table: pd.DataFrame) -> list[Problem]:
    """Corpora whose clips were cut or padded to one length: nearly all have the same seconds."""
    problems = []
    for corpus, group in table.groupby("corpus"):
        lengths = group["seconds"].round(3)
        lengths = lengths[lengths > 0]
        if len(lengths) < _FEW:
            continue
        usual = lengths.mode().iloc[0]
        share = float((lengths == usual).mean())
        if share >= _CUT:
            what = "Every clip is" if share == 1 else f"{share:.0%} of the clips are"
            sentence = (
                f"{corpus}: {what} exactly {usual:g} s long: they were cut or padded to one "
                "length, so words may be missing, and silence may tell one corpus from another."
            )
            problems.append(Problem("length", "notice", str(corpus), "", sentence))
    return problems


def transcript_notices(table: pd.DataFrame) -> list[Problem]:
    """Corpora of which some clips have a transcript and others none."""
    problems = []
    for corpus, group in table.groupby("corpus"):
        without = int((group["transcript"] == "").sum())
        if 0 < without < len(group):
            sentence = (
                f"{corpus}: {without} of {len(group)} clips have no transcript: they count in no "
                "comparison of sentences between training and test."
            )
            problems.append(Problem("transcript", "notice", str(corpus), "", sentence))
    return problems


def _duplicates(group: pd.DataFrame) -> list[Problem]:
    labels = set(group["label"])
    alike = len(labels) == 1 and group["speaker"].nunique() == 1
    kind, severity = ("duplicate", "notice") if alike else ("conflict", "error")
    level: Literal["notice", "error"] = "notice" if severity == "notice" else "error"
    listing = " and ".join(
        f"{clip} ({label or 'no label'})" if len(labels) > 1 else str(clip)
        for clip, label in zip(group["id"], group["label"], strict=True)
    )
    if alike:
        first = group.iloc[0]
        sentence = f"{listing} are byte-identical (one speaker, one label): both are used."
        return [Problem(kind, level, str(first["corpus"]), str(first["id"]), sentence)]
    differ = "labels" if len(labels) > 1 else "speakers"
    return [
        Problem(
            kind,
            level,
            str(corpus),
            str(clip),
            f"{clip} is byte-identical to another clip of different {differ}: {listing}.",
        )
        for clip, corpus in zip(group["id"], group["corpus"], strict=True)
    ]


def count_notices(info: CorpusInfo, table: pd.DataFrame) -> list[Problem]:
    """One notice for each class, and for the speakers, whose number is not the published one."""
    problems = []
    counts = table["label"].value_counts()
    for label, published in info.published.items():
        count = int(counts.get(label, 0))
        if count != published:
            what = f"of {label}" if label else "without a label"
            sentence = f"{info.name} has {count} clips {what}; {published} are published."
            problems.append(Problem("count", "notice", info.name, "", sentence))
    speakers = int(table["speaker"].nunique())
    if info.speakers and speakers != info.speakers:
        sentence = f"{info.name} has {speakers} speakers; {info.speakers} are published."
        problems.append(Problem("count", "notice", info.name, "", sentence))
    return problems


@dataclass(frozen=True)
class CorpusCheck:
    """A corpus looked at as a whole: every problem, and how much there is.

    `counts[corpus][class]` is the number of clips that can be used ("" = unlabelled clips).
    `votes[corpus]` are sentences on how the corpus's raters agree.
    """

    problems: tuple[Problem, ...]
    counts: Mapping[str, Mapping[str, int]]
    speakers: Mapping[str, int]
    seconds: Mapping[str, float]
    notes: tuple[str, ...] = ()
    votes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    omissions: tuple[str, ...] = ()
    """for each corpus, what `counts` leaves out"""

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
    "row": "rows have faults",
    "votes": "votes or ratings have faults",
    "missing": "clips are missing",
    "unreadable": "clips cannot be read",
    "truncated": "clips are truncated",
    "empty": "clips hold no sound",
    "scale": "clips are far beyond full scale",
    "short": "clips are too short",
    "channel": "clips have a silent channel",
    "signals": "clips have channels that are different signals, whose mean is used",
    "duplicate": "clips are byte-identical to others",
    "conflict": "clips are byte-identical under different labels or speakers",
    "name": "files are not named as this corpus names its clips, and are left out",
}


def sentences(problems: Sequence[Problem], limit: int = 5) -> tuple[str, ...]:
    """One sentence a problem; where a kind occurs more than `limit` times, a count, first, causes.

    The order of first occurrence is kept.
    """
    sizes = Counter((p.corpus, p.kind, p.severity) for p in problems)
    summaries: set[tuple[str, str, str]] = set()
    out: list[str] = []
    for problem in problems:
        key = (problem.corpus, problem.kind, problem.severity)
        if sizes[key] <= limit or problem.kind not in _HEADINGS:
            out.append(problem.sentence)
        elif key not in summaries:
            summaries.add(key)
            group = [p for p in problems if (p.corpus, p.kind, p.severity) == key]
            first = ", ".join(p.utterance for p in group[:limit])
            out.append(
                f"{problem.corpus}: {len(group)} {_HEADINGS[problem.kind]}: {first} "
                f"and {len(group) - limit} more{_causes(group)}."
            )
    return tuple(out)


def _causes(problems: Sequence[Problem], limit: int = 3) -> str:
    """ ": cause" of one cause, the most frequent ones with their counts of several, "" of none."""
    counts = Counter(p.cause for p in problems if p.cause)
    if len(counts) < 2:
        return "".join(f": {cause}" for cause in counts)
    parts = [f"{cause} ({count})" for cause, count in counts.most_common(limit)]
    rest = counts.total() - sum(count for _, count in counts.most_common(limit))
    return ": " + "; ".join([*parts, *([f"other causes ({rest})"] if rest else [])])
