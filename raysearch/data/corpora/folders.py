"""Where a corpus's files are: the tree as published, one folder deeper, or in other letters."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from pathlib import Path

_SUFFIXES = frozenset({".wav", ".flac"})
DECODED = frozenset({*_SUFFIXES, ".mp3", ".ogg", ".oga", ".opus", ".aiff", ".aif", ".au"})
"""suffixes of all sound that can be decoded; corpora are published as .wav and .flac"""
UNREAD = frozenset({".m4a", ".aac", ".mp4", ".wma", ".amr", ".webm", ".mka", ".3gp"})
"""suffixes of sound that cannot be decoded here"""
_DEPTH = 3


def audio_files(folder: Path, *, deep: bool, suffixes: Collection[str] = _SUFFIXES) -> list[Path]:
    """The audio in a folder (`deep`: and below it), sorted; hidden files are left out."""
    paths = folder.rglob("*") if deep else folder.glob("*")
    return sorted(
        p
        for p in paths
        if p.suffix.lower() in suffixes and not p.name.startswith(".") and p.is_file()
    )


def child(folder: Path, *names: str) -> Path | None:
    """The first of `names` that the folder holds, in capital letters or not; None for none."""
    if not folder.is_dir():
        return None
    there = {path.name.lower(): path for path in sorted(folder.iterdir())}
    return next((there[name.lower()] for name in names if name.lower() in there), None)


def find_folders(root: Path, pattern: str) -> list[Path]:
    """The folders whose name matches in any letters' case, on the highest of three levels."""
    level = [root]
    for _ in range(_DEPTH):
        level = sorted(
            path
            for folder in level
            for path in folder.iterdir()
            if path.is_dir() and not path.name.startswith(".")
        )
        matches = [path for path in level if re.fullmatch(pattern, path.name, re.IGNORECASE)]
        if matches:
            return matches
    return []


def find_file(folders: Iterable[Path], *names: str) -> Path | None:
    """The first file of one of these names in any of the folders; None for none."""
    paths = (child(folder, *names) for folder in folders)
    return next((path for path in paths if path is not None and path.is_file()), None)


def clip_files(root: Path, pattern: str, *, deep: bool) -> list[Path]:
    """The audio in the folders that match, else in the root, else anywhere below it.

    Args:
        root: `corpus.root`.
        pattern: of the folders' names; "" if the corpus has no such folder.
        deep: clips lie below these folders as well.
    """
    folders = find_folders(root, pattern) if pattern and root.is_dir() else []
    if folders:
        return [path for folder in folders for path in audio_files(folder, deep=deep)]
    return audio_files(root, deep=deep) or audio_files(root, deep=True)
