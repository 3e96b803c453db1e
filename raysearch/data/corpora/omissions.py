"""What a check of a corpus does not count: rows, clips, other classes, files beside the clips."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd

from raysearch.data.corpora.corpus import PART, Problem
from raysearch.data.corpora.folders import DECODED
from raysearch.data.corpora.names import common_name
from raysearch.stages.atomic import escaped

_WORDS = {
    "row": "rows with faults",
    "votes": "clips with faults in their votes",
    "missing": "clips whose files are missing",
    "unreadable": "clips that cannot be read",
    "truncated": "truncated clips",
    "empty": "clips without sound",
    "scale": "clips far beyond full scale",
    "short": "clips that are too short",
    "conflict": "clips that are copies of clips of other labels or speakers",
    "published": "clips that are published without sound",
    "name": "files of other names",
}
"""kinds of problems whose rows, clips or files are left out"""
_FEW = 5


def omissions(
    corpus: str, table: pd.DataFrame, problems: Sequence[Problem], classes: Sequence[str] | None
) -> str:
    """What the counts of a corpus leave out, as one sentence; "" where that is nothing.

    Args:
        corpus: its name.
        table: all of its clips, usable or not.
        problems: of the corpus.
        classes: those asked for, as in `corpus.classes`; None takes all.
    """
    kinds = Counter(p.kind for p in {(p.kind, p.utterance): p for p in problems}.values())
    words = [f"{kinds[kind]} {what}" for kind, what in _WORDS.items() if kinds[kind]]
    words += _labels(table["label"], classes)
    words += _beside(table, {p.utterance for p in problems if p.kind == "name"})
    return f"{corpus}: not counted as clips with a class: {'; '.join(words)}" if words else ""


def _labels(labels: pd.Series, classes: Sequence[str] | None) -> Iterator[str]:
    if bare := int((labels == "").sum()):
        yield f"{bare} clips without a label"
    if classes is None:
        return
    wanted = {common_name(part) for word in classes for part in str(word).split("+")}
    others = Counter(label for label in labels if label and label not in wanted)
    if others:
        yield f"{others.total()} clips of other classes ({_listing(others)})"


def _beside(table: pd.DataFrame, named: set[str]) -> Iterator[str]:
    """The files in the clips' own folders that are no clips."""
    whole = table[~table[PART].str.startswith("row=")] if PART in table else table
    paths = set(whole["path"])
    known = named | {clip.rpartition("/")[2] for clip in named}
    sounds = 0
    others: Counter[str] = Counter()
    for folder in sorted({os.path.dirname(path) for path in paths}):
        for name in _files(folder):
            if os.path.join(folder, name) in paths or not known.isdisjoint((name, Path(name).stem)):
                continue
            suffix = Path(name).suffix.lower()
            if suffix in DECODED:
                sounds += 1
            else:
                others[suffix or "no suffix"] += 1
    if sounds:
        yield f"{sounds} sound files beside them that are no clips of it"
    if others:
        yield f"{others.total()} files beside them that are not read ({_listing(others)})"


def _files(folder: str) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            return sorted(
                escaped(entry.name)
                for entry in entries
                if not entry.name.startswith(".") and entry.is_file()
            )
    except OSError:  # a folder that is not there has clips that are missing, and is told so
        return []


def _listing(counts: Counter[str]) -> str:
    first = [f"{name} {n}" for name, n in counts.most_common(_FEW)]
    return ", ".join(first) + (", …" if len(counts) > _FEW else "")
