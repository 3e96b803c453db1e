"""The command `predict`: audio files, folders and lists in, a table of class probabilities out.

A list is a CSV with a column `file`, and perhaps `start` and `end` (seconds: a segment), `speaker`
and `transcript`.

A model's folder is read without MLflow. The code of raysearch that lies in a model is enough to
run this: `PYTHONPATH=MODEL/code python -m raysearch predict model=MODEL FILE.wav`.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from soundfile import SoundFileError

from raysearch.data.corpora.csv_cells import read_cells
from raysearch.data.corpora.folders import DECODED, UNREAD, audio_files
from raysearch.data.corpora.places import (
    PartError,
    clip_bytes,
    seconds_of,
    seconds_text,
    segment,
    suffix_of,
    times_of,
)
from raysearch.data.corpora.table_place import TablePlace
from raysearch.errors import BadInput
from raysearch.models.model import FACTS, Model, Sound
from raysearch.stages.atomic import escaped
from raysearch.stages.temporary import temporary_folder

if TYPE_CHECKING:
    import pandas as pd

_AT_ONCE = 64


class _Clip(NamedTuple):
    """A file, or a part of one, and what a list says of it."""

    file: Path
    part: str = ""
    speaker: str = ""
    transcript: str = ""

    @property
    def name(self) -> str:
        """The file, and the segment's times behind it."""
        return escaped(f"{self.file}{suffix_of(self.part)}")


@dataclass(frozen=True)
class PredictionTable:
    """What a model says of files."""

    table: pd.DataFrame
    """file, where there are segments start and end (text, in seconds), speaker, the model's
    constants (`rater`, `task`), label and one column a class"""
    failures: tuple[tuple[str, str], ...]
    """(file, one sentence that names it)"""
    classes: tuple[str, ...]
    numbers: bool = False
    """the columns `classes` are attributes' values, and there is no label"""


def open_model(
    name: str, stack: ExitStack, *, home: Path = Path("runs"), tracking: str | None = None
) -> Model:
    """A model by its folder, its name in a registry, or a URI.

    Args:
        name: as `registering.fetch` takes it, or a folder that MLflow or `export to=` wrote.
        stack: holds what is fetched.
        home, tracking: whose registry.

    Raises:
        BadInput: there is no such model, or it cannot be used here.
    """
    place = Path(name).expanduser()
    if not place.is_dir():
        if place.exists() or name.startswith(("/", ".", "~")):
            raise BadInput(f"model={name} is no folder of a model")
        from raysearch.models import registering

        scratch = stack.enter_context(temporary_folder("raysearch-fetch-"))
        place = registering.fetch(name, home, tracking, scratch)
    data = _data_of(place, name)
    return Model(data)


def _data_of(place: Path, name: str) -> Path:
    """The folder of model.json in the folder of an MLflow model."""
    described = place / "MLmodel"
    if (place / FACTS).is_file() or not described.is_file():
        return place
    import yaml

    try:
        flavour = yaml.safe_load(described.read_text(encoding="utf-8"))["flavors"][
            "python_function"
        ]
        data, code = place / flavour["data"], flavour.get("code")
    except (yaml.YAMLError, KeyError, TypeError) as error:
        raise BadInput(f"model={name}: {described} describes no model of raysearch") from error
    # a method or an extractor of one's own lies there; what runs already goes before it
    if code and str(place / code) not in sys.path:
        sys.path.append(str(place / code))
    return data


def predict(
    model: Model, paths: Sequence[str | Path], speaker: re.Pattern[str] | str = "folder"
) -> PredictionTable:
    """Class probabilities of files, and of the sounds in folders and below them.

    Args:
        model: of `open_model`.
        paths: files of any format that libsndfile reads, folders, and lists of files (.csv).
        speaker: whose clips a file is among, where the model asks: "folder", "one", or a pattern
            with one group, searched in the file's name. What a list says goes before.

    Raises:
        BadInput: a list is no table of files.
    """
    import pandas as pd

    clips, failures = _clips(paths)
    of = {clip: "" for clip in clips}
    for clip in clips if model.by_speaker else ():
        who = clip.speaker or _speaker_of(clip.file, speaker)
        if who is None:
            failures.append((clip.name, f"{clip.name}: speaker= finds no speaker in its name"))
            del of[clip]
        else:
            of[clip] = who
    order = {clip: place for place, clip in enumerate(clips)}
    rows: list[dict[str, Any]] = []
    for group in _groups(of, model.by_speaker):
        sounds, readable = [], []
        for clip in group:
            try:
                data = clip_bytes(str(clip.file), clip.part)
                sounds.append(Sound(clip.name, data, of[clip], clip.transcript))
                readable.append(clip)
            except (OSError, PartError, SoundFileError) as error:
                why = getattr(error, "strerror", None) or error
                failures.append((clip.name, f"{clip.name} cannot be read: {why}"))
        predictions = model.hear(sounds)
        reasons = predictions.failures
        failures += [(readable[i].name, reasons[i]) for i in sorted(reasons)]
        good = [i for i in range(len(readable)) if i not in reasons]
        probabilities = predictions.probabilities[good]
        for i, row, label in zip(good, probabilities, model.names(probabilities), strict=True):
            row_by_class = dict(zip(model.classes, map(float, row), strict=True))
            clip = readable[i]
            start, end = times_of(clip.part)
            times = {"start": seconds_text(start), "end": "" if end is None else seconds_text(end)}
            whose = {
                "file": escaped(str(clip.file)),
                **times,
                "speaker": of[clip],
                **model.constants,
            }
            rows.append(whose | {"label": label, "place": order[clip]} | row_by_class)
    rows.sort(key=lambda row: row["place"])
    segments = ["start", "end"] if any(clip.part for clip in clips) else []
    named = [] if model.numbers else ["label"]
    columns = ["file", *segments, "speaker", *model.constants, *named, *model.classes]
    return PredictionTable(
        pd.DataFrame(rows, columns=columns), tuple(failures), model.classes, model.numbers
    )


def _clips(paths: Sequence[str | Path]) -> tuple[list[_Clip], list[tuple[str, str]]]:
    """Every file and segment once, and what is wrong with what was named."""
    by_path: dict[tuple[Path, str], _Clip] = {}
    failures = []
    for name in paths:
        path = Path(name).expanduser()
        if path.is_dir():
            inside = audio_files(path, deep=True, suffixes=DECODED)
            if not inside:
                failures.append(
                    (
                        str(name),
                        f"{name} holds no sound that can be read: {', '.join(sorted(DECODED))}",
                    )
                )
            for file in inside:
                by_path.setdefault((file.resolve(), ""), _Clip(file))
            failures += [
                (
                    clip,
                    f"{clip} is sound of a kind that is not read: ffmpeg -i IN OUT.wav converts it",
                )
                for clip in map(str, audio_files(path, deep=True, suffixes=UNREAD))
            ]
        elif path.suffix.lower() in (".csv", ".tsv") and path.is_file():
            for clip in _listed(path, failures):
                by_path.setdefault((clip.file.resolve(), clip.part), clip)
        elif path.exists():
            by_path.setdefault((path.resolve(), ""), _Clip(path))
        else:
            failures.append((str(name), f"{name}: there is no such file or folder"))
    return list(by_path.values()), failures


def _listed(path: Path, failures: list[tuple[str, str]]) -> Iterator[_Clip]:
    """The clips of a list; rows whose times are none are told.

    Raises:
        BadInput: it has no column `file`.
    """
    table = read_cells(path, "list of files")
    if "file" not in table:
        raise BadInput(
            f"{path} has no column 'file', as a list of files has; it has "
            f"{', '.join(table.columns)}."
        )
    place = TablePlace(path, path.parent)
    for line, row in zip(table.index, table.to_dict("records"), strict=True):
        try:
            start, end = seconds_of(row.get("start", "")), seconds_of(row.get("end", ""))
        except ValueError as error:
            failures.append((row["file"], f"row {line} of {path}: {error} is no time"))
            continue
        fault = "" if row["file"] else "has no file"
        if end is not None and end <= (start or 0.0):
            fault = f"ends at {end:g} s, before it begins"
        if fault:
            failures.append((row["file"], f"row {line} of {path} {fault}"))
            continue
        file, part = place.file(row["file"]), segment(start or 0.0, end)
        yield _Clip(file, part, row.get("speaker", ""), row.get("transcript", ""))


def _speaker_of(file: Path, speaker: re.Pattern[str] | str) -> str | None:
    if isinstance(speaker, re.Pattern):
        hit = speaker.search(escaped(file.name))
        return None if hit is None else hit.group(1)
    return escaped(str(file.parent)) if speaker == "folder" else "one"


def _groups(of: dict[_Clip, str], by_speaker: bool) -> list[list[_Clip]]:
    """Clips that are in memory together."""
    if not by_speaker:
        clips = list(of)
        return [clips[i : i + _AT_ONCE] for i in range(0, len(clips), _AT_ONCE)]
    groups: dict[str, list[_Clip]] = {}
    for clip, who in of.items():
        groups.setdefault(who, []).append(clip)
    return list(groups.values())
