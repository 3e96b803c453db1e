"""Where a study's things are, and how its stages run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from raysearch.config import Study
from raysearch.material import Material
from raysearch.report import Layers, Truth
from raysearch.stages import Runtime
from raysearch.store import Store

__all__ = ["folder_of", "layers_of", "runtime_of", "store_of"]


def folder_of(home: Path | str, study: str) -> Path:
    """The folder of a study under a home."""
    return Path(home) / "studies" / study


def store_of(study: Study) -> str:
    """Where a study's artifacts are."""
    return study.store or str(Path(study.home).absolute() / "store")


def layers_of(material: Material, trials: Sequence[int | str]) -> Layers:
    """What pictures of the last layers of these trials are made of. Labels are for scoring alone,
    so no file of a study holds them: they come from the corpus."""
    truth = {
        fold.name: Truth(one.unseen[one.selected : one.selected + one.test], one.selected)
        for fold, one in zip(material.folds, material.answers(), strict=True)
    }
    return Layers(tuple(trials), truth, Store(store_of(material.study)))


def runtime_of(study: Study) -> Runtime:
    """How a study's stages run."""
    return Runtime(
        cpus=study.cpus,
        gpus=study.gpus,
        threads=study.threads or max(1, int(study.cpus)),
        workers=study.workers,
        timeout=study.timeout,
        memory=study.memory,
    )
