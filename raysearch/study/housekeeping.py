"""What a home, its store and the temporary folders hold, and what of it no study needs."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from raysearch.errors import BadInput, StoreFailed, one_line, without_passwords
from raysearch.stages.store import Store, is_local
from raysearch.stages.temporary import leftovers
from raysearch.study.folder import StudyFolder, features_of, store_folder_of, study_folders
from raysearch.study.ledger import Ledger
from raysearch.study.status import DONE, RUNS, Status, status_of
from raysearch.study.wording import many

_DAY = 86400.0


@dataclass(frozen=True)
class Holding:
    """One kind of thing that is kept."""

    name: str
    content: str
    """in words"""
    size: int
    """bytes"""
    waste: tuple[Path, ...] = ()
    """files and folders of it that no study needs"""
    why: str = ""
    """why they are not needed, in words"""

    @property
    def wasted(self) -> int:
        """Bytes that no study needs."""
        return sum(size_of(path) for path in self.waste)


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files under a folder."""
    if path.is_dir():
        return sum(size_of(each) for each in path.iterdir() if not each.is_symlink())
    return path.stat().st_size if path.is_file() else 0


def holdings(home: Path) -> list[Holding]:
    """Everything that a home, its stores and the temporary folders hold.

    Raises:
        BadInput: there is no such home.
    """
    if not home.is_dir():
        raise BadInput(f"home={home} is no folder; name the folder in which studies are kept")
    folders = study_folders(home)
    states = {folder.name: status_of(folder) for folder in folders}
    found = [*_studies(folders, states), _store(home, folders, states)]
    found += _stores_elsewhere(home, folders)
    found += [_checkpoints(home, states), _features(home), _tracking(home), _logs(home)]
    return [*found, _aside(home), _temporary()]


def remove(found: Sequence[Holding]) -> int:
    """Remove what no study needs; returns the bytes."""
    total = 0
    for holding in found:
        total += holding.wasted
        for path in holding.waste:
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
    return total


# -- the home --------------------------------------------------------------------------------------
def _studies(folders: Sequence[StudyFolder], states: dict[str, Status]) -> Iterator[Holding]:
    for folder in folders:
        status = states[folder.name]
        words = f"{status.state}, {many(len(status.ended), 'trial')}"
        yield Holding(f"study {folder.name}", words, size_of(folder.path))


def _store(home: Path, folders: Sequence[StudyFolder], states: dict[str, Status]) -> Holding:
    """The home's own store: what no ledger names, and no study that is to go on has made."""
    place = store_folder_of(home)
    files = {path.stem: path for path in place.glob("stages/*/*.safetensors")}
    size = sum(path.stat().st_size for path in files.values())
    waste = [] if _runs(states) else _unneeded(Store(str(place)), files, folders, states)
    return Holding(
        "store", many(len(files), "artifact"), size, tuple(waste), "are of no study of this home"
    )


def _unneeded(
    store: Store,
    files: dict[str, Path],
    folders: Sequence[StudyFolder],
    states: dict[str, Status],
) -> list[Path]:
    needed: set[str] = set()
    for folder in folders:
        for path in (folder.ledger_file, *folder.outer_ledger_files):
            with Ledger(path) as ledger:
                needed |= {use.key for row in ledger.folds() for use in row.stages}
    unfinished = {name for name, status in states.items() if status.state != DONE}
    waste = []
    for key, path in sorted(files.items()):
        if key in needed:
            continue
        maker = store.provenance(key)  # None: it is damaged
        if maker is None or maker.study not in unfinished:
            waste.append(path)
    return waste


def _runs(states: dict[str, Status]) -> bool:
    return any(status.state == RUNS for status in states.values())


def _stores_elsewhere(home: Path, folders: Sequence[StudyFolder]) -> Iterator[Holding]:
    """Stores that studies of the home name: other homes may use them, so nothing is removed."""
    names = {
        folder.configuration().get("store")
        for folder in folders
        if folder.configuration_file.is_file()
    }
    for uri in sorted(name for name in names if isinstance(name, str)):
        if is_local(uri) and Path(uri) == store_folder_of(home):
            continue
        place = f"store {without_passwords(uri)}"
        try:
            sizes = Store(uri).sizes()
        except (BadInput, StoreFailed) as error:
            yield Holding(place, f"not asked, for it does not answer: {one_line(error)}", 0)
            continue
        words = f"{many(len(sizes), 'artifact')}; others may use it, so nothing is removed there"
        yield Holding(place, words, sum(sizes.values()))


def _checkpoints(home: Path, states: dict[str, Status]) -> Holding:
    place = home / "scratch"
    each = sorted(place.iterdir()) if place.is_dir() else []
    unfinished = any(status.state != DONE for status in states.values())
    return Holding(
        "checkpoints",
        many(len(each), "training") + " not finished",
        size_of(place),
        () if unfinished else tuple(each),
        "are of studies that are done",
    )


def _features(home: Path) -> Holding:
    place = features_of(home)
    names = [path.name for path in place.iterdir()] if place.is_dir() else []
    return Holding("features", ", ".join(sorted(names)) or "none", size_of(place))


def _tracking(home: Path) -> Holding:
    paths = [*home.glob("mlflow.db*"), home / "mlartifacts"]
    return Holding("MLflow", "runs, reports, models", sum(size_of(path) for path in paths))


def _logs(home: Path) -> Holding:
    paths = [home / "logs", *home.glob("*.log")]
    return Holding("logs", "of Ray and MLflow", sum(size_of(path) for path in paths))


def _aside(home: Path) -> Holding:
    """Files that a process which was killed was writing."""
    before = time.time() - _DAY
    left = [path for path in home.rglob("*.aside") if path.stat().st_mtime < before]
    size = sum(map(size_of, left))
    return Holding(
        "half-written", many(len(left), "file"), size, tuple(left), "were left by killed runs"
    )


# -- the machine -----------------------------------------------------------------------------------
def _temporary() -> Holding:
    left = leftovers()
    return Holding(
        "temporary",
        many(len(left), "folder") + " of killed runs",
        sum(map(size_of, left)),
        tuple(left),
        "were left by killed runs",
    )
