"""Weights that a setting names: of a hub, or files of this machine, which count by their contents.

A hub name is the same weights everywhere at one commit, so a stage's key holds the commit and not
the branch. Files are not: a key holds their digest, and a stage refuses files that are others than
when the study was planned.
"""

from __future__ import annotations

import functools
import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainables.stage import Param, Setting

TINY = "tiny"
"""a small encoder with untrained weights"""
RANDOM = "random"
"""AlexNet with untrained weights"""
COMMIT = re.compile(r"[0-9a-f]{40}")
SECONDS = 5.0
"""that the hub gets to name a commit"""
IN_CACHE = ("config.json", "model.safetensors", "pytorch_model.bin")
"""files of which the local cache has one for a model that it has"""


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


@dataclass(frozen=True)
class AlexNetWeights(Param):
    """`random`, a hub name, or a path that is there."""

    def problem(self, name: str, value: Any) -> str | None:
        problem = super().problem(name, value)
        if problem is not None or value == RANDOM:
            return problem
        if is_path(value):
            if Path(value).expanduser().exists():
                return None
            return (
                f"{name} must be random, a hub name, or weights that are there, but {value} is not"
            )
        if "/" not in value:
            return (
                f"{name} must be random, a hub name as in OWNER/NAME, or a file or folder of "
                f"weights as in ./NAME, but got {value!r}"
            )
        return None


def is_path(name: str) -> bool:
    """Whether a model is named as a folder or file of this machine: what is there goes before a
    hub name."""
    if name in (TINY, RANDOM):
        return False
    return name.startswith(("/", ".", "~")) or Path(name).exists()


def from_anywhere(name: str) -> str:
    """The name of a model as a process in another folder can read it: no path is relative."""
    if not is_path(name) or name.startswith("~"):
        return name
    return str(Path(name).absolute())


@functools.cache
def commit_of(name: str, revision: str) -> str:
    """The commit of a hub model: the local cache's, else the hub's.

    Args:
        name: of the hub
        revision: commit, branch or tag

    Returns:
        the commit, or `revision` itself where neither knows: its weights cannot be had then either
    """
    import huggingface_hub as hub

    if COMMIT.fullmatch(revision):
        return revision
    try:
        for file in IN_CACHE:
            place = hub.try_to_load_from_cache(name, file, revision=revision)
            if isinstance(place, str):
                return Path(place).parent.name
        return hub.HfApi().model_info(name, revision=revision, timeout=SECONDS).sha or revision
    except Exception:  # whatever a network can do, or a name that is none
        return revision


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


def identity(own: Setting, name: str) -> dict[str, Any]:
    """What names the weights of a parameter in a stage's key, whatever a branch or folder holds.

    Args:
        own: a stage's parameters, with `<name>_revision`; None where they have no effect
        name: of the parameter that names the weights

    Returns:
        values of `<name>`, `<name>_revision` (a commit) and `<name>_digest` (of files)
    """
    place, revision = own[name], own[f"{name}_revision"]
    if place is not None and revision is not None:
        revision = commit_of(place, revision)
    return {
        name: None if place is None else from_anywhere(place),
        f"{name}_revision": revision,
        f"{name}_digest": digest_of(place),
    }


def check_digest(name: str, place: str, plan: str | None) -> None:
    """See that a path holds the files that a setting's digest is of.

    Raises:
        ValueError: it holds others, or none
    """
    if plan is not None and digest_of(place) != plan:
        what = "file" if Path(place).expanduser().is_file() else "folder"
        raise ValueError(
            f"the {what} {name}={place} holds other files than when the study was planned, or is "
            "not on this machine; put them back, or start the study again"
        )
