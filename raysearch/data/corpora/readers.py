"""What the readers of published corpora share."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from raysearch.data.corpora.corpus import (
    RATING_COLUMNS,
    RAW_COLUMNS,
    Options,
    Problem,
    Progress,
    Raw,
    Reader,
)
from raysearch.data.corpora.folders import clip_files
from raysearch.errors import BadInput, near
from raysearch.stages.atomic import escaped


class NameParts(NamedTuple):
    """What a file's name tells. `clip` is its id within the corpus: "" is the name's stem.

    `attributes` are of the clip and its speaker, as sex and age; see `Raw`.
    """

    speaker: str
    label: str
    transcript: str = ""
    session: str = ""
    clip: str = ""
    attributes: Mapping[str, str] = {}


class ClipRow(NamedTuple):
    """A row of a Raw's table; see there. `further` are its part and its attributes."""

    id: str
    path: str
    corpus: str
    speaker: str
    session: str
    label: str
    transcript: str
    further: Mapping[str, str] = {}


def clip_row(
    corpus: str,
    clip: str,
    path: Path,
    speaker: str,
    label: str,
    *,
    transcript: str = "",
    session: str = "",
    further: Mapping[str, str] | None = None,
) -> ClipRow:
    """The row of one clip; `clip`, `speaker` and `session` are their names within the corpus."""
    return ClipRow(
        f"{corpus}/{clip}",
        str(path.absolute()),
        corpus,
        f"{corpus}/{speaker}",
        f"{corpus}/{session}" if session else "",
        label,
        transcript,
        further or {},
    )


class RatingRow(NamedTuple):
    """A row of a Raw's ratings; see there. Attributes are NaN where not given."""

    clip: str
    rater: str
    label: str
    weight: float = 1.0
    valence: float = math.nan
    activation: float = math.nan
    dominance: float = math.nan
    own: bool = False


def with_root(read: Callable[[Path, Options], Raw]) -> Reader:
    """The reader of a corpus that needs nothing but its folder and its options."""

    def reader(
        root: Path | None,
        *,
        options: Options,
        seed: int,
        home: Path,
        progress: Progress | None,
    ) -> Raw:
        assert root is not None  # `load` has seen to it: the root is needed
        return read(root, options)

    return reader


def one_of(options: Options, name: str, choices: Sequence[str]) -> str:
    """The value of a reader's option, the first of `known` where it is not given."""
    value = str(options.get(name, choices[0]))
    if value not in choices:
        raise BadInput(
            f"corpus.options.{name}={value!r} is unknown{near(value, choices)}: it is one of "
            f"{', '.join(choices)}."
        )
    return value


def text_lines(path: Path) -> list[str]:
    """A text file's lines, stripped; bytes that are not UTF-8 (in remarks of raters) replaced."""
    try:
        text = path.read_text("utf-8-sig", "replace")
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror or error}.") from None
    lines = text.removesuffix("\n").split("\n")  # and not at U+0085 or a form feed
    return [line.strip() for line in lines]


def clip_table(rows: Iterable[ClipRow]) -> pd.DataFrame:
    """A Raw's table; a part or an attribute that all rows lack is no column of it.

    Names of files that are no UTF-8 stand there escaped: `inspect` finds no such file, and says so.
    """
    clips = list(rows)
    table = pd.DataFrame(
        [tuple(escaped(str(cell)) for cell in clip[: len(RAW_COLUMNS)]) for clip in clips],
        columns=list(RAW_COLUMNS),
        dtype=str,
    )
    names = dict.fromkeys(name for clip in clips for name, value in clip.further.items() if value)
    return table.assign(**{n: [clip.further.get(n, "") for clip in clips] for n in names})


def rating_table(rows: Iterable[RatingRow]) -> pd.DataFrame:
    """A Raw's ratings."""
    kinds = dict.fromkeys(("weight", "valence", "activation", "dominance"), "float64")
    frame = pd.DataFrame(list(rows), columns=list(RATING_COLUMNS))
    return frame.astype({**kinds, "own": bool})


def name_problem(name: str, file: str, example: str) -> Problem:
    """The notice that a file is not named as its corpus names its clips."""
    file = escaped(file)
    sentence = f"{name}: {file} is not named like {example} and is left out."
    return Problem("name", "notice", name, file, sentence)


def name_reader(
    name: str,
    fields: Callable[[Path], NameParts | None],
    *,
    classes: tuple[str, ...],
    example: str,
    layout: str,
    folder: str = "",
    deep: bool = False,
) -> Reader:
    """The reader of a corpus whose files' names tell all.

    Of one clip as both .wav and .flac, or twice in the tree, the first is taken, and the others
    become notices. The reader raises BadInput where there are no files, or none is so named.

    Args:
        name: the corpus's name.
        fields: what a path tells, or None for a name of another make; such files become notices.
        classes: the corpus's classes in its order.
        example: a file's name, for messages.
        layout: what the root must hold, for messages.
        folder: a pattern of the folders that hold the files; see `clip_files`.
        deep: files lie below these folders as well.
    """

    def read(root: Path, options: Options) -> Raw:
        files = clip_files(root, folder, deep=deep)
        if not files:
            raise BadInput(
                f"corpus.root={root} holds no clips of {name} (.wav or .flac): {layout}."
            )
        rows, problems = _named_rows(name, files, fields, example)
        if not rows:
            raise BadInput(
                f"corpus.root holds {len(files)} audio files, but none is named as {name} names "
                f"its clips ({example}): the first is {files[0]}."
            )
        return Raw(table=clip_table(rows), classes=classes, problems=tuple(problems))

    return with_root(read)


def _named_rows(
    name: str, files: Sequence[Path], fields: Callable[[Path], NameParts | None], example: str
) -> tuple[list[ClipRow], list[Problem]]:
    """A row for each clip, and a notice for each file that is none or is there twice."""
    rows: list[ClipRow] = []
    problems: list[Problem] = []
    first: dict[str, Path] = {}
    for path in files:
        parts = fields(path)
        if parts is None:
            problems.append(name_problem(name, path.name, example))
            continue
        clip = parts.clip or path.stem
        if clip in first:
            sentence = escaped(
                f"{name}/{clip} is there twice: {first[clip]} is used, {path} is left out."
            )
            problems.append(Problem("name", "notice", name, f"{name}/{clip}", sentence))
            continue
        first[clip] = path
        row = clip_row(
            name,
            clip,
            path,
            parts.speaker,
            parts.label,
            transcript=parts.transcript,
            session=parts.session,
            further=parts.attributes,
        )
        rows.append(row)
    return rows, problems
