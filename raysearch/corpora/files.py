"""What the corpora that put everything into file names share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd

from raysearch.corpora.base import RAW_COLUMNS, Problem, Raw
from raysearch.errors import BadInput

__all__ = ["audio_files", "named_clips"]

_SUFFIXES = frozenset({".wav", ".flac"})

Fields = Callable[[str], tuple[str, str, str, str] | None]


def audio_files(folder: Path, *, deep: bool) -> list[Path]:
    """The .wav and .flac files in a folder (`deep`: and below it), sorted; hidden ones left out."""
    found = folder.rglob("*") if deep else folder.glob("*")
    return sorted(
        p
        for p in found
        if p.suffix.lower() in _SUFFIXES and not p.name.startswith(".") and p.is_file()
    )


def named_clips(
    name: str, files: Sequence[Path], fields: Fields, classes: tuple[str, ...], example: str
) -> Raw:
    """The table of clips whose names tell all.

    `fields(stem)` is (speaker, session, label, transcript), or None for a name of another make;
    such files become notices. Of one clip as both .wav and .flac, or twice in the tree, the first
    is taken, and the others become notices. Raises BadInput if no file is so named.
    """
    rows: list[tuple[str, ...]] = []
    problems: list[Problem] = []
    first: dict[str, Path] = {}
    for path in files:
        told = fields(path.stem)
        if told is None:
            sentence = f"{name}: {path.name} is not named like {example} and is left out."
            problems.append(Problem("name", "notice", name, path.name, sentence))
            continue
        clip = f"{name}/{path.stem}"
        if clip in first:
            sentence = f"{clip} is there twice: {first[clip]} is used, {path} is left out."
            problems.append(Problem("name", "notice", name, clip, sentence))
            continue
        first[clip] = path
        speaker, session, label, transcript = told
        rows.append(
            (clip, str(path.absolute()), name, f"{name}/{speaker}", session, label, transcript)
        )
    if not rows:
        raise BadInput(
            f"corpus.root holds {len(files)} audio files, but none is named as {name} names its "
            f"clips ({example}): the first is {files[0]}."
        )
    table = pd.DataFrame(rows, columns=list(RAW_COLUMNS), dtype=str)
    return Raw(table=table, classes=classes, problems=tuple(problems))
