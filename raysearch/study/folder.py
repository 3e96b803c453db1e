"""The folders of studies under a home, and how one is found by its name."""

from __future__ import annotations

from pathlib import Path

from raysearch.errors import BadInput, near
from raysearch.study.schema import Study


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


def folder_of(home: Path | str, study: str) -> Path:
    """The folder of a study under a home."""
    return Path(home) / "studies" / study


def store_of(study: Study) -> str:
    """Where a study's artifacts are."""
    return study.store or str(Path(study.home).absolute() / "store")
