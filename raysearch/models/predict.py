"""The command `predict`: audio files and folders in, a table of class probabilities out.

A model's folder is read without MLflow. The code of raysearch that lies in a model is enough to
run this: `PYTHONPATH=MODEL/code python -m raysearch predict model=MODEL FILE.wav`.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from raysearch.data.corpora.folders import DECODED, audio_files
from raysearch.errors import BadInput
from raysearch.models.model import FACTS, Model, Sound
from raysearch.stages.temporary import temporary_folder

if TYPE_CHECKING:
    import pandas as pd

_AT_ONCE = 64


@dataclass(frozen=True)
class PredictionTable:
    """What a model says of files."""

    table: pd.DataFrame
    """file, speaker, the model's constants (`rater`, `task`), label and one column a class"""
    failures: tuple[tuple[str, str], ...]
    """(file, one sentence that names it)"""
    classes: tuple[str, ...]


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
        paths: files of any format that libsndfile reads, and folders.
        speaker: whose clips a file is among, where the model asks: "folder", "one", or a pattern
            with one group, searched in the file's name.
    """
    import pandas as pd

    files, failures = _files(paths)
    of = {file: "" for file in files}
    for file in files if model.by_speaker else ():
        who = _speaker_of(file, speaker)
        if who is None:
            failures.append((str(file), f"{file}: speaker= finds no speaker in its name"))
            del of[file]
        else:
            of[file] = who
    rows: list[dict[str, Any]] = []
    for group in _groups(of, model.by_speaker):
        sounds, readable = [], []
        for file in group:
            try:
                sounds.append(Sound(str(file), file.read_bytes(), of[file]))
                readable.append(file)
            except OSError as error:
                failures.append((str(file), f"{file} cannot be read: {error.strerror or error}"))
        predictions = model.hear(sounds)
        reasons = predictions.failures
        failures += [(str(readable[i]), reasons[i]) for i in sorted(reasons)]
        good = [i for i in range(len(readable)) if i not in reasons]
        probabilities = predictions.probabilities[good]
        for i, row, label in zip(good, probabilities, model.names(probabilities), strict=True):
            row_by_class = dict(zip(model.classes, map(float, row), strict=True))
            whose = {"file": str(readable[i]), "speaker": of[readable[i]], **model.constants}
            rows.append(whose | {"label": label} | row_by_class)
    columns = ["file", "speaker", *model.constants, "label", *model.classes]
    order = {str(file): place for place, file in enumerate(files)}
    rows.sort(key=lambda row: order[row["file"]])
    return PredictionTable(pd.DataFrame(rows, columns=columns), tuple(failures), model.classes)


def _files(paths: Sequence[str | Path]) -> tuple[list[Path], list[tuple[str, str]]]:
    """Every file once, and what is wrong with what was named."""
    by_path: dict[Path, Path] = {}
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
                by_path.setdefault(file.resolve(), file)
        elif path.exists():
            by_path.setdefault(path.resolve(), path)
        else:
            failures.append((str(name), f"{name}: there is no such file or folder"))
    return list(by_path.values()), failures


def _speaker_of(file: Path, speaker: re.Pattern[str] | str) -> str | None:
    if isinstance(speaker, re.Pattern):
        hit = speaker.search(file.name)
        return None if hit is None else hit.group(1)
    return str(file.parent) if speaker == "folder" else "one"


def _groups(of: dict[Path, str], by_speaker: bool) -> list[list[Path]]:
    """Files that are in memory together."""
    if not by_speaker:
        files = list(of)
        return [files[i : i + _AT_ONCE] for i in range(0, len(files), _AT_ONCE)]
    groups: dict[str, list[Path]] = {}
    for file, who in of.items():
        groups.setdefault(who, []).append(file)
    return list(groups.values())
