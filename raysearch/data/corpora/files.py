"""What the readers of published corpora share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from raysearch.data.corpora.corpus import (
    RATING_COLUMNS,
    RAW_COLUMNS,
    Problem,
    Progress,
    Raw,
    Reader,
)
from raysearch.errors import BadInput, near

_SUFFIXES = frozenset({".wav", ".flac"})


class Named(NamedTuple):
    """What a file's name tells. `clip` is its id within the corpus: "" is the name's stem."""

    speaker: str
    label: str
    transcript: str = ""
    session: str = ""
    clip: str = ""


def rooted(read: Callable[[Path, Mapping[str, Any]], Raw]) -> Reader:
    """The reader of a corpus that needs nothing but its folder and its options."""

    def reader(
        root: Path | None,
        *,
        options: Mapping[str, Any],
        seed: int,
        home: Path,
        progress: Progress | None,
    ) -> Raw:
        assert root is not None  # `load` has seen to it: the root is needed
        return read(root, options)

    return reader


def one_of(options: Mapping[str, Any], name: str, known: Sequence[str]) -> str:
    """The value of a reader's option, the first of `known` where it is not given."""
    value = str(options.get(name, known[0]))
    if value not in known:
        raise BadInput(
            f"corpus.options.{name}={value!r} is unknown{near(value, known)}: it is one of "
            f"{', '.join(known)}."
        )
    return value


def audio_files(folder: Path, *, deep: bool) -> list[Path]:
    """The .wav and .flac files in a folder (`deep`: and below it), sorted; hidden ones left out."""
    found = folder.rglob("*") if deep else folder.glob("*")
    return sorted(
        p
        for p in found
        if p.suffix.lower() in _SUFFIXES and not p.name.startswith(".") and p.is_file()
    )


def text_lines(path: Path) -> list[str]:
    """A text file's lines, stripped; bytes that are not UTF-8 (in remarks of raters) replaced."""
    try:
        return [line.strip() for line in path.read_text("utf-8-sig", "replace").splitlines()]
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror or error}.") from None


def clip_table(rows: Iterable[Sequence[str]]) -> pd.DataFrame:
    """A Raw's table from rows of RAW_COLUMNS."""
    return pd.DataFrame(list(rows), columns=list(RAW_COLUMNS), dtype=str)


def rating_table(rows: Iterable[Sequence[Any]]) -> pd.DataFrame:
    """A Raw's ratings from rows of RATING_COLUMNS."""
    kinds = dict.fromkeys(("weight", "valence", "activation", "dominance"), "float64")
    frame = pd.DataFrame(list(rows), columns=list(RATING_COLUMNS))
    return frame.astype({**kinds, "own": bool})


def misnamed(name: str, file: str, example: str) -> Problem:
    """The notice that a file is not named as its corpus names its clips."""
    sentence = f"{name}: {file} is not named like {example} and is left out."
    return Problem("name", "notice", name, file, sentence)


def named_reader(
    name: str,
    fields: Callable[[Path], Named | None],
    *,
    classes: tuple[str, ...],
    example: str,
    layout: str,
    folders: Callable[[Path, Mapping[str, Any]], Sequence[Path]],
    deep: bool = False,
) -> Reader:
    """The reader of a corpus whose files' names tell all.

    `folders(root, options)` holds the files (`deep`: also below them). `fields(path)` is None for
    a name of another make; such files become notices. Of one clip as both .wav and .flac, or twice
    in the tree, the first is taken, and the others become notices. The reader raises BadInput where
    there are no files, or none is so named.
    """

    def read(root: Path, options: Mapping[str, Any]) -> Raw:
        files = [p for folder in folders(root, options) for p in audio_files(folder, deep=deep)]
        if not files:
            raise BadInput(
                f"corpus.root={root} holds no clips of {name} (.wav or .flac): {layout}."
            )
        rows: list[tuple[str, ...]] = []
        problems: list[Problem] = []
        first: dict[str, Path] = {}
        for path in files:
            told = fields(path)
            if told is None:
                problems.append(misnamed(name, path.name, example))
                continue
            clip = f"{name}/{told.clip or path.stem}"
            if clip in first:
                sentence = f"{clip} is there twice: {first[clip]} is used, {path} is left out."
                problems.append(Problem("name", "notice", name, clip, sentence))
                continue
            first[clip] = path
            speaker = f"{name}/{told.speaker}"
            session = f"{name}/{told.session}" if told.session else ""
            rows.append(
                (clip, str(path.absolute()), name, speaker, session, told.label, told.transcript)
            )
        if not rows:
            raise BadInput(
                f"corpus.root holds {len(files)} audio files, but none is named as {name} names "
                f"its clips ({example}): the first is {files[0]}."
            )
        return Raw(table=clip_table(rows), classes=classes, problems=tuple(problems))

    return rooted(read)
