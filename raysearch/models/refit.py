"""The networks of a model: one refit on every speaker, or those of a study's folds.

A refit trains the setting's stages once more on all labelled clips, without validation, each for
the median best epoch of its folds, and with its step size cut where theirs were. An ensemble is the
mean of the folds' own networks, which are trained again under their keys and seeds, as artifacts of
a study keep no weights. Either way the stages' artifacts are kept in the store, so that the same
export is made once.

A model of a target rater is of that rater's folds, and its refit learns from all clips of the
speakers who were rated. What a stage reads across folds, a refit reads of the study's folds, which
are in the store: it is one fold more, whose own stages nobody reads.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from raysearch.errors import BadInput, RaysearchError
from raysearch.models.model import Facts
from raysearch.models.source import Source
from raysearch.stages import (
    Call,
    Dataset,
    Demand,
    LocalExecutor,
    Use,
    calls,
    statistics,
    with_uses,
)
from raysearch.stages.folds import Fold
from raysearch.stages.store import Damaged
from raysearch.study.ledger import FoldRow
from raysearch.tuning.prepare import runtime_of
from trainables.stage import WEIGHTS, Artifact, NetworkState, weights_of

Say = Callable[[str], None]
EVERYONE = "every speaker"


@dataclass(frozen=True)
class Network:
    """A stage whose artifact has its weights."""

    call: Call
    artifact: Artifact

    def state(self, classes: tuple[str, ...]) -> NetworkState:
        """What a method's predictor is built of, without parents."""
        weights = weights_of(self.artifact.arrays)
        return NetworkState(self.call.params, weights, self.artifact.info, classes)


@dataclass(frozen=True)
class Member:
    """One network of a model, perhaps of several stages."""

    fold: str
    last: Network
    parents: Mapping[str, Network]
    """by role, those that the last stage reads"""
    statistics: Mapping[str, NDArray[np.float64]]
    """under normalise=fold, those of its training part"""
    epochs: Mapping[str, int]
    """by stage that counts epochs, how many it was trained for (or the best one)"""
    notes: tuple[str, ...] = ()

    def state(self, classes: tuple[str, ...]) -> NetworkState:
        """What a method's predictor is built of."""
        parents = {role: one.state(classes) for role, one in self.parents.items()}
        return replace(self.last.state(classes), parents=parents)


def refit(source: Source, executor: LocalExecutor, data: Dataset, say: Say) -> list[Member]:
    """One network, trained on every clip that a fold of the study may train on.

    Args:
        source: the study and its setting.
        executor: over the study's store.
        data: the study's.
        say: hears what is being done.

    Raises:
        BadInput: an artifact of the study is gone, and with it its best epoch.
        StageFailed: a stage failed.
    """
    fold = _everyone(source, data)
    alone = replace(data, folds=(fold,), speaker_clips=())
    studied, mine = source.inputs.context(), source.inputs.context(alone)
    where = replace(
        studied,
        folds=(*studied.folds, *mine.folds),
        prints=(*studied.prints, *mine.prints),
        facts=(*studied.facts, *mine.facts),
        drawn_as=(*studied.drawn_as, *mine.drawn_as),
    )
    runs = _runs(source)
    own = {
        node.name: _as_the_folds(node.params, runs.get(node.name, ()))
        for node in source.method.graph(source.setting)
    }
    stages = _needed(
        calls(source.method, source.setting, fold.index, where, across=range(fold.index), own=own)
    )
    epochs = {
        call.name: own[call.name]["epochs"]
        for call in stages
        if call.fold == fold.index and own[call.name]
    }
    counts = ", ".join(f"{name} for {n} epochs" for name, n in epochs.items()) or "no epochs"
    clips = f"all {len(fold.train)} {'rated' if fold.rater else 'labelled'} clips"
    say(f"training on {clips}: {counts}")
    missing = [c for c in stages if c.fold != fold.index and not source.store.has(c.key)]
    if missing:
        say(f"before it, {len(missing)} stages of the study's folds that are not in the store")
    whole = replace(data, folds=(*data.folds, fold))
    return [
        _member(
            source, whole, fold, *_networks(source, executor, whole, stages, fold.index), epochs
        )
    ]


def _everyone(source: Source, data: Dataset) -> Fold:
    """One fold more, which trains on every clip that a fold of the study may train on."""
    nothing = np.empty(0, dtype=np.int64)
    fold = Fold(
        name=EVERYONE,
        index=len(data.folds),
        train=np.flatnonzero(data.y >= 0),
        validation=nothing,
        test=nothing,
        unlabelled=nothing,
        select=nothing,
        test_groups=frozenset(),
        val_groups=frozenset(),
    )
    if source.rater:
        mine = [each for each in data.folds if each.rater == source.rater]
        like = mine[0]
        rows = np.concatenate([like.train, like.validation, like.select, like.test])
        return replace(
            fold,
            name=f"{EVERYONE}/{source.rater}",
            train=rows[np.argsort(data.ids[rows], kind="stable")],
            unlabelled=np.unique(np.concatenate([each.unlabelled for each in mine])),
            undecided=like.undecided,
            rater=source.rater,
        )
    votes = data.votes
    voted = np.zeros(len(data.y), dtype=bool) if votes is None else votes.sum(axis=1) > 0
    return replace(
        fold,
        unlabelled=np.flatnonzero((data.y < 0) & ~voted),
        undecided=np.flatnonzero((data.y < 0) & voted),
    )


def ensemble(source: Source, executor: LocalExecutor, data: Dataset, say: Say) -> list[Member]:
    """The networks of the study's folds; arguments as of `refit`.

    Raises:
        BadInput: the code or a feature set has changed since the study ran.
        StageFailed: a stage failed.
    """
    members: list[Member] = []
    for row, stages in trainings(source):
        say(f"the network of {row.fold} ({len(members) + 1})")
        members.append(fold_member(source, executor, data, row, stages))
    return members


def trainings(source: Source) -> list[tuple[FoldRow, list[Call]]]:
    """The trainings of the setting's folds, and the stages of each, the scored one last.

    Raises:
        BadInput: the code or a feature set has changed since the study ran.
    """
    where = source.inputs.context()
    each = []
    for row in source.rows:
        for repeat, names_and_keys in enumerate(source.stages(row)):
            stages = calls(source.method, source.setting, row.index, where, repeat)
            if [call.key for call in stages] != [key for _, key in names_and_keys]:
                raise BadInput(
                    f"the code of {source.study.method}, or a feature set, has changed since study "
                    f"{source.report.study} ran, so its folds' networks cannot be had again; run "
                    "its tune command once more (export: or take how=refit)"
                )
            each.append((row, stages))
    return each


def fold_member(
    source: Source, executor: LocalExecutor, data: Dataset, row: FoldRow, stages: Sequence[Call]
) -> Member:
    """The network of one training of a fold, from the store or trained again and kept there.

    Raises:
        StageFailed: a stage failed.
    """
    last, parents = _networks(source, executor, data, stages)
    epochs = {
        each.call.name: int(each.artifact.info["best_epoch"])
        for each in (*parents.values(), last)
        if "epochs" in each.call.params and "best_epoch" in each.artifact.info
    }
    member = _member(source, data, data.folds[row.index], last, parents, epochs)
    return replace(member, notes=_same(source, last, row.fold))


def _member(
    source: Source,
    data: Dataset,
    fold: Fold,
    last: Network,
    parents: Mapping[str, Network],
    epochs: Mapping[str, int],
) -> Member:
    own = statistics(data, fold.train) if data.normalise == "fold" else {}
    return Member(fold.name, last, parents, own, dict(epochs))


def _needed(stages: Sequence[Call]) -> list[Call]:
    """Those that the last one hangs on, and itself, in the order given."""
    by_key = {call.key: call for call in stages}
    waiting, needs = [stages[-1].key], set[str]()
    while waiting:
        key = waiting.pop()
        if key not in needs:
            needs.add(key)
            waiting += by_key[key].needs
    return [call for call in stages if call.key in needs]


def _networks(
    source: Source,
    executor: LocalExecutor,
    data: Dataset,
    stages: Sequence[Call],
    refit: int | None = None,
) -> tuple[Network, dict[str, Network]]:
    """The last stage and those whose weights travel with it, from the store or computed here.

    Args:
        source, executor, data: see `refit`.
        stages: of one fold, the last one scored.
        refit: index of the fold that is a refit; the others' stages are as the study has them.
    """
    study, last = source.study, stages[-1]
    by_key = {call.key: call for call in stages}
    keeps = _kept_parents(source, last)
    travel = (last.key, *keeps.values())
    uses = {
        call.key: Use(keep_weights=call.key in travel, refit=call.fold == refit) for call in stages
    }
    runtime = replace(runtime_of(study), workers=1)
    demand = Demand(with_uses(stages, uses), study.id, runtime, data)
    artifacts = executor.run_artifacts(demand, [uses[key].key(by_key[key]) for key in travel])
    whole, *parents = (
        Network(by_key[key], artifact) for key, artifact in zip(travel, artifacts, strict=True)
    )
    for each in parents or (whole,):
        if not any(name.startswith(WEIGHTS) for name in each.artifact.arrays):
            raise RaysearchError(f"the stage {each.call.name} of {study.method} gave no weights")
    return whole, dict(zip(keeps, parents, strict=True))


def _kept_parents(source: Source, last: Call) -> dict[str, str]:
    """By role, the stages that the last one reads and whose networks travel with its own."""
    return {role: last.parents[role] for role in source.exporter.keeps if role in last.parents}


def network_keys(source: Source, stages: Sequence[Call]) -> list[str]:
    """Where the networks of a training of a fold are kept, once they have been asked for."""
    by_key, last = {call.key: call for call in stages}, stages[-1]
    travel = (last.key, *_kept_parents(source, last).values())
    return [Use(keep_weights=True).key(by_key[key]) for key in travel]


def _same(source: Source, last: Network, fold: str) -> tuple[str, ...]:
    """Whether a fold's network, trained again, says what it said in the study."""
    try:
        entry = source.store.get(last.call.key)
    except Damaged:
        entry = None
    if entry is None:
        return ()
    gap = float(np.abs(entry[0].arrays["test"] - last.artifact.arrays["test"]).max(initial=0.0))
    if gap <= 1e-3:
        return ()
    return (
        f"the network of {fold}, trained again here, differs from the study's by up to {gap:.3f} "
        "in a probability: another machine, or other versions, trained that",
    )


def _runs(source: Source) -> dict[str, list[Facts]]:
    """By stage, the facts of the setting's trainings on all folds."""
    by_stage: dict[str, dict[str, list[Facts]]] = {}
    for row in source.rows:
        for stages in source.stages(row):
            for name, key in stages:
                each = by_stage.setdefault(name, {})
                if key in each:  # folds that read one another's stages each name all of them
                    continue
                try:
                    entry = source.store.get(key)
                except Damaged:
                    entry = None
                if entry is None:
                    raise BadInput(
                        f"the artifact of {name} on {row.fold} is not in the store "
                        f"{source.store.uri} any more, and with it its best epoch; run the study's "
                        "tune command once more"
                    )
                each[key] = _trainings(entry[0].info)
    return {
        name: [run for each in runs.values() for run in each] for name, runs in by_stage.items()
    }


def _trainings(info: Facts) -> list[Facts]:
    """The facts of a stage's trainings."""
    return [info] if "best_epoch" in info else list(info.get("runs", []))


def _as_the_folds(params: Mapping[str, object], runs: Sequence[Facts]) -> Facts:
    """What a refit takes of the folds' trainings in place of validation, as far as a stage has
    parameters for it: the median best epoch, and the cuts of the step size."""
    if not runs or "epochs" not in params:
        return {}
    cuts = {"cuts": _cuts(runs)} if "cuts" in params else {}
    return {"epochs": _median([run["best_epoch"] for run in runs]), **cuts}


def _cuts(runs: Sequence[Facts]) -> list[int]:
    """After how many epochs the step size fell before the best one: the median of the first falls,
    of the second, and so on, as long as half of the trainings have one."""
    falls = []
    for run in runs:
        lr = run["curves"]["lr"]
        falls.append([n for n in range(1, int(run["best_epoch"])) if lr[n] < lr[n - 1]])
    each = [[mine[n] for mine in falls if len(mine) > n] for n in range(max(map(len, falls)))]
    return [_median(nth) for nth in each if 2 * len(nth) >= len(runs)]


def _median(values: Sequence[int]) -> int:
    return max(1, round(float(np.median(values))))
