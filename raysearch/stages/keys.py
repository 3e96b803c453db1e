"""What a fold asks for, and under which keys.

key = hash(stage name, digest of its source and of the modules it imports, its own parameters,
its parents' keys, on this fold and across folds, the fingerprint of the parts of the fold it is
handed, seed). A stage receives only what its key hashes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from raysearch.stages.dataset import LABELLED, Dataset, rows_of, visible_ratings
from raysearch.stages.folds import Fold
from raysearch.stages.sources import own_digest, source_digest
from trainables.stage import (
    PARTS,
    RATINGS,
    Artifact,
    FoldFacts,
    Method,
    Node,
    PartFacts,
)

HANDED_BY = tuple(f"raysearch.stages.{name}" for name in ("dataset", "normalising", "running"))
"""the modules whose code makes what a stage is handed"""


@dataclass(frozen=True)
class Context:
    """What keys are made of beside the setting: small, and without arrays."""

    seed: int
    folds: tuple[str, ...]
    """fold names by index"""
    prints: tuple[Mapping[str, str], ...]
    """by fold index: part -> fingerprint of its ids, labels, votes and data; where the fold has a
    target rater, also "part/whose" -> that of the ratings which such a stage may see"""
    facts: tuple[FoldFacts, ...]
    """by fold index: what a method may know of the fold before a stage runs"""
    drawn_as: tuple[str, ...] = ()
    """by fold index: under which name its trainings draw random numbers; () for the folds' own"""
    device: str = ""
    """`Runtime.computing`, where a study promises equal results and its card gives others than the
    CPU; '' where results of all devices are one"""


@dataclass(frozen=True)
class Use:
    """What an export asks of a stage beside its artifact; see `StageInputs`. A study asks nothing.

    A stage that is asked for more returns more than its key says, or is trained otherwise, and so
    its artifact has a key of its own (`key`).
    """

    keep_weights: bool = False
    refit: bool = False

    def key(self, call: Call) -> str:
        """The key of what a study's stage returns when it is asked for this."""
        if self == AS_STUDIED:
            return call.key
        text = json.dumps([call.key, self.keep_weights, self.refit])
        return hashlib.sha256(text.encode()).hexdigest()


AS_STUDIED = Use()
"""what a study asks: the artifact, under the call's own key"""


@dataclass(frozen=True)
class Call:
    """One stage on one fold, as it travels to the broker and on to a worker."""

    key: str
    name: str
    target: str
    """module:function"""
    params: Mapping[str, object]
    parents: Mapping[str, str]
    """role -> key"""
    fold: int
    parts: tuple[str, ...]
    seed: int
    across: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """role -> keys by fold"""
    ratings: str = "none"
    """whose, of `trainables.stage.RATINGS`"""
    use: Use = AS_STUDIED
    group: bool = False
    """whether the worker group of `workers=N` trains it"""

    @property
    def needs(self) -> tuple[str, ...]:
        """The keys of all artifacts that it reads, each once."""
        others = (key for keys in self.across.values() for key in keys)
        return tuple(dict.fromkeys([*self.parents.values(), *others]))

    def by_role(
        self, artifacts: Sequence[Artifact]
    ) -> tuple[dict[str, Artifact], dict[str, tuple[Artifact, ...]]]:
        """The artifacts of `needs`, by role: parents, and those across folds."""
        under = dict(zip(self.needs, artifacts, strict=True))
        parents = {role: under[key] for role, key in self.parents.items()}
        return parents, {role: tuple(under[k] for k in keys) for role, keys in self.across.items()}


def with_uses(stages: Sequence[Call], uses: Mapping[str, Use]) -> list[Call]:
    """The same stages, asked for more, under keys of their own.

    Args:
        stages: of `calls`.
        uses: by their keys.
    """
    keys = {call.key: uses[call.key].key(call) for call in stages}
    return [
        replace(
            call,
            key=keys[call.key],
            parents={role: keys[key] for role, key in call.parents.items()},
            across={role: tuple(keys[k] for k in each) for role, each in call.across.items()},
            use=uses[call.key],
        )
        for call in stages
    ]


def context(
    dataset: Dataset,
    audio: Sequence[str],
    feature_ids: Sequence[str],
    seed: int,
    device: str = "",
) -> Context:
    """Fingerprint every part of every fold.

    Args:
        dataset: the study's data.
        audio: [N] digest of each utterance's audio.
        feature_ids: name and version of each feature set, in the order of their columns.
        seed: the study's seed.
        device: see `Context`.
    """
    head = json.dumps([list(feature_ids), dataset.normalise, list(dataset.classes)])
    speakers, whole = dataset.speaker, _speaker_prints(dataset, audio)
    bare, full = (_row_prints(dataset, audio, labels) for labels in (False, True))
    prints = []
    for fold in dataset.folds:
        parts: dict[str, str] = {}
        for part in PARTS:
            rows = rows_of(fold, part)
            sees_labels = part in LABELLED and not fold.rater
            digest = hashlib.sha256(f"{part}\0{head}".encode())
            if part == "test" and dataset.speaker_clips:
                # this part alone comes again, its test rows normalised by fewer clips
                digest.update(json.dumps([*dataset.speaker_clips, len(fold.test)]).encode())
            digest.update((full if sees_labels else bare)[rows].tobytes())
            if len(whole):
                digest.update(whole[np.unique(speakers[rows])].tobytes())
            parts[part] = digest.hexdigest()
        if dataset.normalise == "fold":
            # the other parts are normalised with the statistics of the training part
            for part in PARTS[1:]:
                joined = f"{parts[part]}{parts['train']}".encode()
                parts[part] = hashlib.sha256(joined).hexdigest()
        if fold.rater:
            parts |= {
                f"{part}/{whose}": _rating_print(dataset, fold, part, whose)
                for part in LABELLED
                for whose in RATINGS[1:]
            }
        prints.append(parts)
    names = tuple(fold.name for fold in dataset.folds)
    drawn_as = tuple(fold.drawn_as or fold.name for fold in dataset.folds)
    return Context(seed, names, tuple(prints), facts_of(dataset), drawn_as, device)


def _row_prints(dataset: Dataset, audio: Sequence[str], labels: bool) -> NDArray[np.uint8]:
    """[N, 32] digest of what a stage is handed of each row: hashed once, not once a fold."""
    digests = bytearray()
    for row in range(len(dataset.ids)):
        fact: list[Any] = [
            str(dataset.ids[row]),
            audio[row],
            _speaker_name(dataset, int(dataset.speaker[row])),
            int(dataset.corpus[row]),
        ]
        if labels:
            fact.append(int(dataset.y[row]))
            if dataset.annotations is not None:
                fact.append(dataset.annotations[row].tobytes().hex())
            if dataset.votes is not None:
                fact.append([float(v) for v in dataset.votes[row]])
            if dataset.outside is not None and dataset.outside[row].any():
                fact.append([float(v) for v in dataset.outside[row]])
        digests += hashlib.sha256(json.dumps(fact).encode()).digest()
    return np.frombuffer(digests, np.uint8).reshape(-1, 32)


def _speaker_prints(dataset: Dataset, audio: Sequence[str]) -> NDArray[np.uint8]:
    """[S, 32] digest of all clips of each speaker, whatever part they are in: what a speaker's
    statistics read. Empty where none are read."""
    if dataset.normalise != "speaker":
        return np.zeros((0, 32), np.uint8)
    clips: list[list[str]] = [[] for _ in range(int(dataset.speaker.max(initial=-1)) + 1)]
    for row in np.argsort(dataset.ids, kind="stable"):
        clips[int(dataset.speaker[row])].append(audio[row])
    digests = b"".join(hashlib.sha256(json.dumps(own).encode()).digest() for own in clips)
    return np.frombuffer(digests, np.uint8).reshape(-1, 32)


def _speaker_name(dataset: Dataset, speaker: int) -> str | int:
    return dataset.speakers[speaker] if dataset.speakers else speaker


def facts_of(dataset: Dataset) -> tuple[FoldFacts, ...]:
    """By fold, what a method may know of it before a stage runs: of the parts whose labels it sees,
    all of it in the prints of these parts."""
    return tuple(
        FoldFacts({part: _part_facts(dataset, fold, part) for part in LABELLED})
        for fold in dataset.folds
    )


def _part_facts(dataset: Dataset, fold: Fold, part: str) -> PartFacts:
    rows, votes = rows_of(fold, part), None if fold.rater else dataset.votes
    voted = np.zeros(len(rows), bool) if votes is None else votes[rows].sum(axis=1) > 0
    return PartFacts(
        clips=len(rows),
        voted=int(voted.sum()),
        corpora=_values(dataset.corpus[rows]),
        voted_corpora=_values(dataset.corpus[rows][voted]),
        speakers=_values(dataset.speaker[rows]),
    )


def _values(codes: NDArray[np.int64]) -> frozenset[int]:
    """The numbers that are there, all 0 or more: counted, as Python's sets are slow for many."""
    return frozenset(np.flatnonzero(np.bincount(codes)).tolist())


def calls(
    method: Method,
    setting: Mapping[str, object],
    fold: int,
    where: Context,
    repeat: int = 0,
    *,
    across: Sequence[int] | None = None,
    own: Mapping[str, Mapping[str, object]] | None = None,
) -> list[Call]:
    """The stages that a full setting asks for on one fold, parents first, the scored one last.

    Where a node reads another's stages across folds, those of the other folds are among them.

    Args:
        repeat: which of the fold's trainings, each of which has seeds of its own.
        across: the folds whose stages such a node reads; None is all of them.
        own: by node, parameters that have other values on this fold than the setting says.
    """
    nodes = {node.name: node for node in method.graph(setting)}
    stages: dict[tuple[str, int], Call] = {}
    folds = range(len(where.folds)) if across is None else across

    def call(name: str, at: int) -> Call:
        if (name, at) not in stages:
            node = nodes[name]
            if own is not None and at == fold:
                node = replace(node, params={**node.params, **own.get(name, {})})
            node = replace(node, params=method.in_fold(node, where.facts[at]))
            parents = {role: call(other, at).key for role, other in sorted(node.parents.items())}
            others = {
                role: tuple(call(other, each).key for each in folds)
                for role, other in sorted(node.across.items())
            }
            stages[name, at] = _call(node, at, parents, others, where, repeat)
        return stages[name, at]

    for name in nodes:
        call(name, fold)
    return list(stages.values())


def setting_identity(
    method: Method, setting: Mapping[str, object], facts: Sequence[FoldFacts] = ()
) -> str:
    """One text for all settings that ask for the same stages on every fold.

    A parameter that has no effect in a setting is in none of its stages.

    Args:
        setting: every parameter, as of `Method.resolve`.
        facts: by fold, of `facts_of`; () for what is the same on all data.
    """
    stages = [
        {
            "stage": node.name,
            "target": _target(node),
            "params": _by_fold([method.in_fold(node, fold) for fold in facts] or [node.params]),
            "parents": node.parents,
            "across": node.across,
            "parts": sorted(node.parts),
            "ratings": node.ratings,
        }
        for node in method.graph(setting)
    ]
    return json.dumps(stages, sort_keys=True)


def _by_fold(params: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Each parameter's value, or its values where folds have several."""
    values = {name: [each[name] for each in params] for name in sorted(params[0])}
    return {
        name: _plain(each[0]) if each.count(each[0]) == len(each) else ["by fold", *_plain(each)]
        for name, each in values.items()
    }


def _target(node: Node) -> str:
    return f"{node.run.__module__}:{node.run.__qualname__}"


def _plain_params(node: Node) -> dict[str, Any]:
    return {name: _plain(value) for name, value in sorted(node.params.items())}


def _call(
    node: Node,
    fold: int,
    parents: dict[str, str],
    across: dict[str, tuple[str, ...]],
    where: Context,
    repeat: int,
) -> Call:
    target, params = _target(node), _plain_params(node)
    seed = stage_seed(where.seed, node.name, (where.drawn_as or where.folds)[fold], repeat)
    identity: dict[str, Any] = {
        "format": 1,
        "stage": node.name,
        "target": target,
        "source": source_digest(node.run.__module__),
        "handed_by": own_digest(HANDED_BY),
        "params": params,
        "parents": parents,
        # stages that read no other fold keep the keys that they had before any could
        **({"across": across} if across else {}),
        "fold": {part: where.prints[fold][part] for part in sorted(node.parts)},
        "seed": seed,
        # only where equal results are promised, and only on a card
        **({"device": where.device} if where.device else {}),
    }
    if node.ratings != "none":
        identity["ratings"] = {
            part: where.prints[fold][f"{part}/{node.ratings}"]
            for part in sorted(set(node.parts) & set(LABELLED))
        }
    text = json.dumps(identity, sort_keys=True, allow_nan=False, separators=(",", ":"))
    key = hashlib.sha256(text.encode()).hexdigest()
    return Call(
        key,
        node.name,
        target,
        params,
        parents,
        fold,
        tuple(node.parts),
        seed,
        across,
        node.ratings,
        group=node.group,
    )


def stage_seed(seed: int, stage: str, fold: str, repeat: int = 0) -> int:
    """A stage's seed, in [0, 2^31): settings are compared under common random numbers."""
    # the first training of a fold is that of a study with one seed, and shared with it
    origin = [seed, stage, fold, *([repeat] if repeat else [])]
    digest = hashlib.sha256(json.dumps(origin).encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1


def _plain(value: object) -> Any:
    """A parameter as JSON holds it; 1 and 1.0 are one value."""
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return value
    if isinstance(value, int | float | np.integer | np.floating):
        number = float(value)
        return int(number) if number.is_integer() and abs(number) < 2**53 else number
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    raise TypeError(f"a stage's parameter must be a number, text, truth or list, got {value!r}")


def _rating_print(dataset: Dataset, fold: Fold, part: str, whose: str) -> str:
    codes, own = visible_ratings(dataset, fold, rows_of(fold, part), whose)
    digest = hashlib.sha256(json.dumps([list(dataset.raters), fold.rater]).encode())
    digest.update(codes.astype("<i8").tobytes())
    digest.update(own.tobytes())
    return digest.hexdigest()
