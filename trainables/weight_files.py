"""Weights that a setting names: of a hub, or files of this machine, which count by their contents.

A hub name is the same weights everywhere, as far as its revision says. Files are not: a stage's key
holds their digest, and a stage refuses files that are others than when the study was planned.
"""

from __future__ import annotations

import functools
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainables.stage import Param

TINY = "tiny"


@dataclass(frozen=True)
class EncoderWeights(Param):
    """A model by name; one that is named as a folder must be there."""

    def problem(self, name: str, value: Any) -> str | None:
        problem = super().problem(name, value)
        if problem is not None or not is_path(value):
            return problem
        if not (Path(value).expanduser() / "config.json").is_file():
            return (
                f"{name} must be tiny, a hub name, or a folder with config.json and weights, but "
                f"there is no {value}/config.json"
            )
        return None


def is_path(name: str) -> bool:
    """Whether a model is named as a folder or file of this machine."""
    return name.startswith(("/", ".", "~"))


def digest_of(name: str | None) -> str | None:
    """`digest` of the files that a model is named by; None for a model of another name."""
    if name is None or not is_path(name):
        return None
    return digest(Path(name).expanduser())


def digest(place: Path) -> str:
    """Of the names and contents of a folder's files, or of a file. "missing" where none is."""
    if place.is_file():
        files = [place]
    elif place.is_dir():
        files = sorted(path for path in place.iterdir() if path.is_file())
    else:
        return "missing"
    stamp = tuple((p.name, p.stat().st_size, p.stat().st_mtime_ns) for p in files)
    return _content(place if place.is_dir() else place.parent, stamp)


@functools.cache
def _content(folder: Path, stamp: tuple[tuple[str, int, int], ...]) -> str:
    """Read once while the files' sizes and times stay: a space has many settings."""
    whole = hashlib.sha256()
    for name, _, _ in stamp:
        with (folder / name).open("rb") as file:
            whole.update(f"{name}\0{hashlib.file_digest(file, 'sha256').hexdigest()}\0".encode())
    return whole.hexdigest()


def check_digest(name: str, place: str, plan: str | None) -> None:
    """Raises ValueError where a path holds other files than a setting's digest says."""
    if plan is not None and digest_of(place) != plan:
        what = "file" if Path(place).expanduser().is_file() else "folder"
        raise ValueError(
            f"the {what} {name}={place} holds other files than when the study was planned, or is "
            "not on this machine; put them back, or start the study again"
        )
