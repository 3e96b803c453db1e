"""What the smaller commands share: their words, and the studies of a home."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from raysearch.errors import BadInput, near

__all__ = ["options", "study_folder", "study_folders", "touched"]


def options(words: Sequence[str], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a command's words, `defaults` where not given.

    Raises BadInput for a word that is no key=value, or a key that is not among `defaults`.
    """
    values = dict(defaults)
    problems = []
    for word in words:
        name, equals, value = word.partition("=")
        if not equals:
            problems.append(f"{word!r} is not key=value")
        elif name not in defaults:
            known = f"the keys are {', '.join(defaults)}" if defaults else "no keys are taken"
            problems.append(f"{name}={value} is unknown{near(name, defaults)}; {known}")
        else:
            try:
                values[name] = yaml.safe_load(value)
            except yaml.YAMLError:
                problems.append(f"{name}={value}: the value is not YAML; quote it")
    if problems:
        raise BadInput(problems)
    return values


def touched(folder: Path) -> float:
    """When a study's ledger was last written, in seconds since the epoch."""
    wal = folder / "ledger.sqlite-wal"
    return max(path.stat().st_mtime for path in (folder / "ledger.sqlite", wal) if path.exists())


def study_folders(home: Path) -> list[Path]:
    """The folders of the studies of a home, latest first."""
    found = [path.parent for path in home.glob("studies/*/ledger.sqlite")]
    return sorted(found, key=touched, reverse=True)


def study_folder(home: Path, name: str | None) -> Path:
    """The folder of a study, by its name or the beginning of it; None is the latest.

    Raises BadInput where there is none, or several.
    """
    folders = study_folders(home)
    if not folders:
        raise BadInput(f"home={home} holds no study; run tune first, or name another home=")
    if name is None:
        return folders[0]
    names = [folder.name for folder in folders]
    matches = [folder for folder in folders if folder.name == name] or [
        folder for folder in folders if folder.name.startswith(str(name))
    ]
    if len(matches) == 1:
        return matches[0]
    if matches:
        raise BadInput(
            f"study={name} means several: {', '.join(folder.name for folder in matches)}"
        )
    raise BadInput(
        f"study={name} is not in home={home}{near(str(name), names)}; its studies are "
        f"{', '.join(names)}"
    )
