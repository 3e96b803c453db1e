"""The folder of a study: the one place that knows its files, opens its ledger, and finds it."""

from __future__ import annotations

import os
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

from raysearch.data.section import Tree
from raysearch.errors import BadInput, near
from raysearch.stages.atomic import write_whole
from raysearch.stages.store import Store
from raysearch.study.ledger import Ledger
from raysearch.study.reading import dump, load_study
from raysearch.study.schema import Study

CONFIGURATION = "study.yaml"
"""the file name of a resolved study, from which the same command runs again"""
_LEDGER = "ledger.sqlite"


@dataclass(frozen=True)
class StudyFolder:
    """The folder of one study under a home, whether it is there or not."""

    path: Path

    @classmethod
    def of(cls, study: Study) -> StudyFolder:
        """The folder that a study is kept in."""
        return cls(Path(study.home) / "studies" / study.id)

    # -- its paths -----------------------------------------------------------------------------
    @property
    def name(self) -> str:
        return self.path.name

    @property
    def home(self) -> Path:
        return self.path.parent.parent

    @property
    def configuration_file(self) -> Path:
        """The resolved study: a space file."""
        return self.path / CONFIGURATION

    @property
    def folds_file(self) -> Path:
        """One entry a fold: who is where."""
        return self.path / "folds.json"

    @property
    def ledger_file(self) -> Path:
        return self.path / _LEDGER

    def outer_ledger_file(self, fold: int, folds: int | None) -> Path:
        """The ledger of the search that never hears what a fold tests.

        Args:
            fold: index.
            folds: the study's `search.folds`: searches of other folds are other searches.
        """
        return self.path / ("outer" if folds is None else f"outer-{folds}") / f"{fold:03d}.sqlite"

    @property
    def outer_ledger_files(self) -> list[Path]:
        """Every ledger of such a search that is there."""
        return sorted(self.path.glob("outer*/*.sqlite"))

    @property
    def predictions_file(self) -> Path:
        """What was predicted of every test clip."""
        return self.path / "predictions.parquet"

    @property
    def lease_note(self) -> Path:
        """Who runs the study now."""
        return self.path / "lease.json"

    @property
    def lease_lock(self) -> Path:
        return self.path / "lease.lock"

    @property
    def files(self) -> tuple[Path, Path, Path]:
        """The files without which the folder holds no study."""
        return self.configuration_file, self.folds_file, self.ledger_file

    # -- what is in them -----------------------------------------------------------------------
    @property
    def exists(self) -> bool:
        """Whether the study was begun."""
        return self.ledger_file.is_file()

    @property
    def changed(self) -> float:
        """When the ledger was last written, in seconds since the epoch."""
        ledgers = [self.ledger_file, *self.outer_ledger_files]
        logs = [path.with_name(f"{path.name}-wal") for path in ledgers]
        return max(path.stat().st_mtime for path in (*ledgers, *logs) if path.exists())

    def ledger(self) -> Ledger:
        """The study's ledger, to be read; a context manager."""
        return Ledger(self.ledger_file)

    def configuration(self) -> Tree:
        """The resolved study as plain values: every key and what it is set to.

        Raises:
            BadInput: the file holds no mapping.
        """
        values = yaml.safe_load(self.configuration_file.read_text(encoding="utf-8"))
        if not isinstance(values, dict):
            raise BadInput(
                f"{self.configuration_file} must hold a mapping: run the study's command again"
            )
        return values

    def study(self, *words: str) -> Study:
        """The study, read and checked anew; `words` change it.

        Raises:
            BadInput: as `load_study`.
        """
        return load_study(
            [f"space={self.configuration_file}", f"home={self.home}", *words], cwd=Path.cwd()
        )

    # -- its beginning -------------------------------------------------------------------------
    def begin(self, study: Study, folds: str, facts: Mapping[str, object]) -> Ledger:
        """Write the files of a study that begins or goes on.

        Args:
            study: what is run.
            folds: JSON of the folds, one entry each.
            facts: what the ledger keeps of the study; among them the corpus's `fingerprint`.

        Returns: its ledger, open for writing; a context manager.

        Raises:
            BadInput: the study was begun on other data.
        """
        self.check_fingerprint(study, str(facts["fingerprint"]))
        write_whole(self.configuration_file, dump(study))
        write_whole(self.folds_file, folds)
        ledger = Ledger(self.ledger_file, write=True)
        ledger.set_fact("study", study.id)
        for name, value in facts.items():
            ledger.set_fact(name, value)
        if ledger.fact("instance") is None:
            ledger.set_fact("instance", uuid.uuid4().hex)
        return ledger

    def check_fingerprint(self, study: Study, fingerprint: str) -> None:
        """Refuse data that is not the study's.

        Args:
            study: what is run.
            fingerprint: of the corpus as it is now.

        Raises:
            BadInput: the study was begun on other data.
        """
        if not self.exists:
            return
        with self.ledger() as ledger:
            before = ledger.fact("fingerprint")
        if before not in (None, fingerprint):
            raise BadInput(
                f"study {self.name} was begun on other data: the corpus at "
                f"{dict(study.corpus.root) or 'its root'} has changed since (clips, labels or "
                "votes); bring it back as it was, or run the study in another home= (a manifest: "
                "or give corpus.options.name=)"
            )


def study_folders(home: Path) -> list[StudyFolder]:
    """The studies of a home, the latest first."""
    folders = [StudyFolder(path.parent) for path in home.glob(f"studies/*/{_LEDGER}")]
    return sorted(folders, key=lambda folder: folder.changed, reverse=True)


def study_folder(home: Path, name: str | None) -> StudyFolder:
    """The folder of a study, by its name or the beginning of it; None is the latest.

    Raises:
        BadInput: there is no such study, or several.
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


def store_folder_of(home: Path) -> Path:
    """The folder of the artifacts of studies that name no store."""
    return home.absolute() / "store"


def check_home(home: Path, *, writing: bool = False) -> None:
    """Refuse a home that can be no folder, or `writing`: that one may only read, before any work.

    Raises:
        BadInput: why it cannot.
    """
    place = home.absolute()
    try:
        while not place.exists() and place != place.parent:
            place = place.parent
        why = "" if place.is_dir() else f"{place} is no folder"
    except OSError as error:  # a name that is too long, a loop of links
        why = error.strerror or str(error)
    if why:
        raise BadInput(f"home={home} cannot be used: {why}; name another home=")
    if writing and not os.access(place, os.W_OK | os.X_OK):
        raise BadInput(
            f"home={home} cannot be written: {place} may only be read; name another home= (report, "
            "status and plan read a home without writing there)"
        )


def store_of(study: Study) -> str:
    """The folder or URI of a study's artifacts."""
    return study.store or str(store_folder_of(Path(study.home)))


def store_for(study: Study) -> Store:
    """The study's store, which is waited for where it is away."""
    return Store(store_of(study), study.store_wait)


def store_in(folder: StudyFolder) -> Store:
    """The store of a study as its configuration names it, for reading: nothing else of that is
    checked, and a store that is away is not waited for."""
    place = folder.configuration().get("store")
    return Store(str(place or store_folder_of(folder.home)), 0.0)


def features_of(home: Path) -> Path:
    """The folder of a home's features, which all its studies share."""
    return home / "store" / "features"


def scratch_of(study: Study) -> Path:
    """The folder in which a study's stages keep what they have not finished."""
    return Path(study.home).absolute() / "scratch"


def ray_log(home: Path) -> Path:
    """The file of what Ray says while a home's studies run."""
    return home.absolute() / "logs" / "ray.log"
