"""What can be wrong with clips, and with their number."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Literal

import pandas as pd

from raysearch.data.corpora.corpus import CorpusInfo, Problem
from raysearch.data.corpora.sound import Clip

_VERDICTS = {
    "missing": "is missing",
    "unreadable": "cannot be read",
    "truncated": "is truncated",
    "empty": "holds no sound",
    "short": "is too short",
}


def clip_problems(table: pd.DataFrame, clips: Sequence[Clip]) -> list[Problem]:
    """Every clip that is missing, unreadable, truncated, empty or too short, and all duplicates.

    Byte-identical clips are a notice when one speaker and one label own them all, and errors
    otherwise: nobody can say then which of them is right.
    """
    problems: list[Problem] = []
    same: dict[str, list[int]] = defaultdict(list)
    columns = zip(table["id"], table["path"], table["corpus"], clips, strict=True)
    for row, (clip, path, corpus, seen) in enumerate(columns):
        if seen.verdict in _VERDICTS:
            sentence = f"{clip} {_VERDICTS[seen.verdict]} ({path}): {seen.detail}."
            problems.append(Problem(seen.verdict, "error", corpus, clip, sentence))
        elif seen.digest:
            same[seen.digest].append(row)
    for rows in same.values():
        if len(rows) > 1:
            problems.extend(_duplicates(table.iloc[rows]))
    return problems


def _duplicates(group: pd.DataFrame) -> list[Problem]:
    labels = set(group["label"])
    alike = len(labels) == 1 and group["speaker"].nunique() == 1
    kind, severity = ("duplicate", "notice") if alike else ("conflict", "error")
    level: Literal["notice", "error"] = "notice" if severity == "notice" else "error"
    listed = " and ".join(
        f"{clip} ({label or 'no label'})" if len(labels) > 1 else str(clip)
        for clip, label in zip(group["id"], group["label"], strict=True)
    )
    if alike:
        first = group.iloc[0]
        sentence = f"{listed} are byte-identical (one speaker, one label): both are used."
        return [Problem(kind, level, str(first["corpus"]), str(first["id"]), sentence)]
    differ = "labels" if len(labels) > 1 else "speakers"
    return [
        Problem(
            kind,
            level,
            str(corpus),
            str(clip),
            f"{clip} is byte-identical to another clip of different {differ}: {listed}.",
        )
        for clip, corpus in zip(group["id"], group["corpus"], strict=True)
    ]


def count_notices(info: CorpusInfo, table: pd.DataFrame) -> list[Problem]:
    """One notice for each class, and for the speakers, whose number is not the published one."""
    problems = []
    counts = table["label"].value_counts()
    for label, published in info.published.items():
        found = int(counts.get(label, 0))
        if found != published:
            what = f"of {label}" if label else "without a label"
            sentence = f"{info.name} has {found} clips {what}; {published} are published."
            problems.append(Problem("count", "notice", info.name, "", sentence))
    speakers = int(table["speaker"].nunique())
    if info.speakers and speakers != info.speakers:
        sentence = f"{info.name} has {speakers} speakers; {info.speakers} are published."
        problems.append(Problem("count", "notice", info.name, "", sentence))
    return problems
