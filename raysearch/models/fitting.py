"""The networks of a model: one refit on every speaker, or those of a study's folds.

A refit trains the setting's stages once more on all labelled clips, without validation, each for
the median best epoch of its folds. An ensemble is the mean of the folds' own networks, which are
trained again under their keys and seeds, as artifacts of a study keep no weights. Either way the
stages' artifacts are kept in the store, so that the same export is made once.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from raysearch.errors import BadInput, RaysearchError
from raysearch.folds import Fold
from raysearch.models.source import Source
from raysearch.places import runtime_of
from raysearch.stages import Call, Dataset, Use, calls, execute, statistics
from raysearch.store import Damaged, Provenance
from trainables.stage import WEIGHTS, Artifact

__all__ = ["EVERYONE", "Member", "Say", "ensemble", "refit"]

Say = Callable[[str], None]
EVERYONE = "every speaker"


@dataclass(frozen=True)
class Member:
    """One network of a model."""

    fold: str
    key: str
    artifact: Artifact
    """of the last stage, with weights"""
    params: Mapping[str, Any]
    statistics: Mapping[str, NDArray[np.float64]]
    """under normalise=fold, those of its training part"""
    epochs: Mapping[str, int]
    """by stage that counts epochs, how many it was trained for (or the best one)"""
    notes: tuple[str, ...] = ()


def refit(source: Source, data: Dataset, say: Say) -> list[Member]:
    nothing = np.empty(0, dtype=np.int64)
    votes = data.votes
    voted = np.zeros(len(data.y), dtype=bool) if votes is None else votes.sum(axis=1) > 0
    fold = Fold(
        name=EVERYONE,
        index=0,
        train=np.flatnonzero(data.y >= 0),
        validation=nothing,
        test=nothing,
        unlabelled=np.flatnonzero((data.y < 0) & ~voted),
        select=nothing,
        test_groups=frozenset(),
        val_groups=frozenset(),
        undecided=np.flatnonzero((data.y < 0) & voted),
    )
    epochs = _median_epochs(source)

    def graph(setting: Mapping[str, Any]) -> Any:
        return tuple(
            replace(node, params={**node.params, "epochs": epochs[node.name]})
            if node.name in epochs and "epochs" in node.params
            else node
            for node in source.method.graph(setting)
        )

    whole = replace(data, folds=(fold,), speaker_clips=())
    asked = calls(
        replace(source.method, graph=graph), source.setting, 0, source.material.context(whole)
    )
    told = ", ".join(f"{name} for {n} epochs" for name, n in epochs.items()) or "no epochs"
    say(f"training on all {len(fold.train)} labelled clips: {told}")
    artifact = _made(source, whole, asked, Use(refit=True))
    return [_member(source, whole, fold, asked[-1], artifact, epochs)]


def ensemble(source: Source, data: Dataset, say: Say) -> list[Member]:
    where = source.material.context()
    members: list[Member] = []
    for row in source.rows:
        fold = data.folds[row.index]
        for repeat, kept in enumerate(source.stages(row)):
            asked = calls(source.method, source.setting, row.index, where, repeat)
            if [call.key for call in asked] != [key for _, key in kept]:
                raise BadInput(
                    f"the code of {source.study.method}, or a feature set, has changed since study "
                    f"{source.report.study} ran, so its folds' networks cannot be had again; run "
                    "its tune command once more, or take how=refit"
                )
            say(f"the network of {row.fold} ({len(members) + 1})")
            artifact = _made(source, data, asked, Use())
            best = _best_epochs(artifact.info)
            epochs = {asked[-1].name: best[0]} if best else {}
            member = _member(source, data, fold, asked[-1], artifact, epochs)
            members.append(replace(member, notes=_same(source, asked[-1], artifact, row.fold)))
    return members


def _member(
    source: Source,
    data: Dataset,
    fold: Fold,
    call: Call,
    artifact: Artifact,
    epochs: Mapping[str, int],
) -> Member:
    if not any(name.startswith(WEIGHTS) for name in artifact.arrays):
        raise RaysearchError(f"the stage {call.name} of {source.study.method} gave no weights")
    own = statistics(data, fold.train) if data.normalise == "fold" else {}
    return Member(fold.name, call.key, artifact, call.params, own, dict(epochs))


def _made(source: Source, data: Dataset, asked: Sequence[Call], use: Use) -> Artifact:
    """The artifact of the last stage with its weights, from the store or made here."""
    store, study = source.store, source.study
    made: dict[str, Artifact] = {}
    last = asked[-1].key

    def one(call: Call) -> Artifact:
        asks = replace(use, keep_weights=call.key == last)
        key = asks.key(call)
        try:
            found = store.get(key)
        except Damaged:
            found = None
        if found is not None:
            return found[0]
        by_key = {parent.key: parent for parent in asked}
        parents = {}
        for role, parent in call.parents.items():
            if parent not in made:
                made[parent] = one(by_key[parent])
            parents[role] = made[parent]
        runtime = replace(runtime_of(study), workers=1)
        device: Literal["cpu", "cuda"] = "cuda" if study.gpus > 0 else "cpu"
        scratch = Path(study.home).absolute() / "scratch" / key
        started = time.monotonic()
        try:
            artifact = execute(call, data, parents, runtime, device, scratch, use=asks)
        except (ValueError, ArithmeticError) as error:
            raise RaysearchError(f"the stage {call.name} failed: {error}") from error
        seconds = round(time.monotonic() - started, 4)
        who = Provenance(study.id, call.name, seconds, device, os.uname().nodename, time.time())
        store.put(key, artifact, who)
        shutil.rmtree(scratch, ignore_errors=True)
        return artifact

    return one(asked[-1])


def _same(source: Source, call: Call, artifact: Artifact, fold: str) -> tuple[str, ...]:
    """Whether a fold's network, trained again, says what it said in the study."""
    try:
        stored = source.store.get(call.key)
    except Damaged:
        stored = None
    if stored is None:
        return ()
    gap = float(np.abs(stored[0].arrays["test"] - artifact.arrays["test"]).max(initial=0.0))
    if gap <= 1e-3:
        return ()
    return (
        f"the network of {fold}, trained again here, differs from the study's by up to {gap:.3f} "
        "in a probability: another machine, or other versions, trained that",
    )


def _median_epochs(source: Source) -> dict[str, int]:
    """By stage, the median best epoch over the folds and trainings of the setting."""
    found: dict[str, list[int]] = {}
    for row in source.rows:
        for stages in source.stages(row):
            for name, key in stages:
                try:
                    stored = source.store.get(key)
                except Damaged:
                    stored = None
                if stored is None:
                    raise BadInput(
                        f"the artifact of {name} on {row.fold} is not in the store "
                        f"{source.store.uri} any more, and with it its best epoch; run the study's "
                        "tune command once more"
                    )
                found.setdefault(name, []).extend(_best_epochs(stored[0].info))
    return {name: max(1, round(float(np.median(all_)))) for name, all_ in found.items() if all_}


def _best_epochs(info: Mapping[str, Any]) -> list[int]:
    runs = [info] if "best_epoch" in info else info.get("runs", [])
    return [int(run["best_epoch"]) for run in runs]
