"""One stage run in this process, with no more in its hands than its key says.

`executor` runs the stages of a whole fold.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from raysearch.stages.dataset import LABELLED, Dataset, rows_of, visible_ratings
from raysearch.stages.folds import Fold
from raysearch.stages.keys import Call
from raysearch.stages.normalising import (
    Normaliser,
    from_few_clips,
    normalised_frames,
    normaliser,
    sources_of,
)
from trainables.stage import (
    FAST,
    PARTS,
    Artifact,
    Cuda,
    Part,
    StageInputs,
)


@dataclass(frozen=True)
class Runtime:
    """How a stage runs: no part of its identity."""

    cpus: float = 1.0
    gpus: float = 0.0
    threads: int = 1
    workers: int = 1
    timeout: float | None = None
    """seconds a stage may take"""
    memory: float | None = None
    """GB (10^9 bytes) that a stage may add to what its process, or all of its group, holds"""
    cuda: Cuda = FAST
    """how its card computes"""

    def of(self, call: Call) -> Runtime:
        """How one stage runs: N workers train those alone whose nodes want the group."""
        return self if call.group else replace(self, workers=1)

    @property
    def share(self) -> float | None:
        """GB of `memory` for each process: of a group, its workers and the one that starts them."""
        if self.memory is None or self.workers == 1:
            return self.memory
        return self.memory / (self.workers + 1)

    def within(self, other: Runtime) -> bool:
        """Whether a stage has no more room and no more time here than `other` gives it."""
        same = replace(self, timeout=other.timeout, memory=other.memory) == other
        return (
            same and _at_most(self.timeout, other.timeout) and _at_most(self.memory, other.memory)
        )

    @property
    def device(self) -> Literal["cpu", "cuda"]:
        return "cuda" if self.gpus > 0 else "cpu"

    @property
    def computing(self) -> str:
        """The kind of device, and how it computes, for people and for keys."""
        return str(self.cuda) if self.device == "cuda" else "cpu"


def _at_most(limit: float | None, other: float | None) -> bool:
    """Whether a limit is no larger than another; None is no limit."""
    return other is None or (limit is not None and limit <= other)


def inputs_of(
    call: Call,
    dataset: Dataset,
    needs: Sequence[Artifact],
    runtime: Runtime,
    scratch: Path | None = None,
    on_epoch: Callable[[int, float], None] | None = None,
) -> StageInputs:
    """What the stage may see: the parts its node names, without test labels.

    Args:
        call: the stage.
        dataset: the study's.
        needs: the artifacts of `call.needs`, in that order.
        runtime: how it runs.
        scratch: its own folder for checkpoints.
        on_epoch: called with (epoch, validation score) while it trains.
    """
    parents, across = call.by_role(needs)
    fold = dataset.folds[call.fold]
    normalised = normaliser(dataset, fold)
    parts = _speakers_from_0({p: _part(p, call, dataset, fold, normalised) for p in PARTS})
    return StageInputs(
        classes=dataset.classes,
        parents=parents,
        seed=call.seed,
        threads=runtime.threads,
        workers=runtime.workers,
        device=runtime.device,
        cuda=runtime.cuda,
        memory=runtime.share if runtime.workers > 1 else None,
        scratch=scratch,
        on_epoch=on_epoch,
        across=across,
        # who is learnt is in the key of the stages alone that see ratings
        raters=() if call.ratings == "none" else dataset.raters,
        target=None if call.ratings == "none" else dataset.raters.index(fold.rater),
        keep_weights=call.use.keep_weights,
        refit=call.use.refit,
        **parts,
    )


def _speakers_from_0(parts: dict[str, Part]) -> dict[str, Part]:
    """The same parts, with the speakers of all of them numbered in their order.

    The study's own numbers count speakers of other parts too, which are not in the stage's key.
    """
    known = np.unique(np.concatenate([part.speaker for part in parts.values()]))
    return {
        name: replace(part, speaker=np.searchsorted(known, part.speaker))
        for name, part in parts.items()
    }


def _part(part: str, call: Call, dataset: Dataset, fold: Fold, normalised: Normaliser) -> Part:
    rows = rows_of(fold, part)
    if part not in call.parts:
        rows = rows[:0]
    sees_labels = part in LABELLED and not fold.rater
    ratings = own = None
    if call.ratings != "none" and part in LABELLED:
        ratings, own = visible_ratings(dataset, fold, rows, call.ratings)
    votes = dataset.votes[rows] if sees_labels and dataset.votes is not None else None
    outside = dataset.outside[rows] if votes is not None and dataset.outside is not None else None
    x = normalised(rows)
    sources = sources_of(dataset, fold, rows) if dataset.frames else []
    if part == "test" and len(rows) and dataset.speaker_clips:
        few = [from_few_clips(dataset, fold.test, n) for n in dataset.speaker_clips]
        x = np.concatenate([x, *few])
        for n in dataset.speaker_clips if dataset.frames else ():
            sources += sources_of(dataset, fold, fold.test, n)
        rows = np.concatenate([rows, *[fold.test] * len(few)])
    return Part(
        ids=dataset.ids[rows],
        x=x,
        speaker=dataset.speaker[rows],
        corpus=dataset.corpus[rows],
        y=dataset.y[rows] if sees_labels else None,
        votes=votes,
        outside=outside,
        annotations=dataset.annotations[rows]
        if sees_labels and dataset.annotations is not None
        else None,
        ratings=ratings,
        own=own,
        frames={
            name: normalised_frames(
                frames, dataset.moments[name], rows, sources, dataset.origins.get(name)
            )
            if name in dataset.moments
            else frames.take(rows)
            for name, frames in dataset.frames.items()
        },
    )


def execute(
    call: Call,
    dataset: Dataset,
    needs: Sequence[Artifact],
    runtime: Runtime,
    scratch: Path | None = None,
    on_epoch: Callable[[int, float], None] | None = None,
) -> Artifact:
    """Run one stage in this process; arguments as of `inputs_of`."""
    module, _, function = call.target.partition(":")
    run = getattr(importlib.import_module(module), function)
    inputs = inputs_of(call, dataset, needs, runtime, scratch, on_epoch)
    artifact = run(inputs, **call.params)
    check_artifact(artifact)
    return artifact


def check_artifact(artifact: object) -> None:
    """Refuse what a stage returned and the store could not keep.

    Raises:
        TypeError: it is no Artifact of numpy's numbers and of facts that JSON can hold.
        ValueError: a number or a fact is not finite.
    """
    if not isinstance(artifact, Artifact):
        raise TypeError(f"a stage must return an Artifact, but returned {type(artifact)}")
    for name, array in artifact.arrays.items():
        if not isinstance(array, np.ndarray) or array.dtype.kind not in "biuf":
            kind = f"of {array.dtype}" if isinstance(array, np.ndarray) else type(array)
            raise TypeError(f"arrays[{name!r}] must be an array of numbers, but is {kind}")
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise ValueError(f"arrays[{name!r}] must be finite, and is not")
    try:
        json.dumps(artifact.info, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise type(error)(f"info must be facts that JSON can hold: {error}") from error
