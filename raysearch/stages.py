"""The stage graph of a fold: what it asks for, under which keys, and how one stage is run.

key = hash(stage name, digest of its source and of the modules it imports, its own parameters,
its parents' keys, on this fold and across folds, the fingerprint of the parts of the fold it is
handed, seed). A stage receives only what its key hashes. Threads, workers and the device are
provenance, not identity.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib
import json
import sys
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from raysearch.folds import Fold
from trainables.stage import (
    PARTS,
    RATINGS,
    Artifact,
    Method,
    Node,
    Part,
    Sequences,
    StageInputs,
)

__all__ = [
    "Answers",
    "Call",
    "Context",
    "Dataset",
    "Moments",
    "Runtime",
    "Use",
    "calls",
    "context",
    "execute",
    "inputs_of",
    "normalised",
    "source_digest",
    "statistics",
]


@dataclass(frozen=True)
class Dataset:
    """All that the stages of a study read: features, labels and folds. Lives in Ray's store."""

    ids: NDArray[np.str_]
    x: NDArray[np.float32]
    """[N, D] features of all feature sets side by side"""
    y: NDArray[np.int64]
    """[N] class index; -1 where unlabelled"""
    votes: NDArray[np.float32] | None
    speaker: NDArray[np.int64]
    corpus: NDArray[np.int64]
    classes: tuple[str, ...]
    folds: tuple[Fold, ...]
    normalise: Literal["fold", "speaker"]
    speaker_clips: tuple[int, ...] = ()
    """under `speaker`: the test part is also predicted with statistics from so few clips"""
    outside: NDArray[np.float32] | None = None
    """[N, M] votes for classes that the study does not have, where they count"""
    frames: Mapping[str, Sequences] = field(default_factory=dict)
    """by feature set: one row of frames (or samples) an utterance, as extracted"""
    moments: Mapping[str, Moments] = field(default_factory=dict)
    """by feature set: those of each utterance's frames; what has none is handed on as extracted"""
    raters: tuple[str, ...] = ()
    """R names, where folds have a target rater"""
    ratings: NDArray[np.int64] | None = None
    """[N, R] class index by rater, -1 where there is none"""
    own: NDArray[np.bool_] | None = None
    """[N, R] the rating is of the rater's own speech"""


@dataclass(frozen=True)
class Moments:
    """Count, mean and sum of squared deviations of each utterance's frames.

    From these follow the statistics of any set of utterances, without reading their frames again.
    """

    count: NDArray[np.int64]
    """[N]"""
    mean: NDArray[np.float64]
    """[N, D]; D = 1 for a wave"""
    spread: NDArray[np.float64]
    """[N, D]"""

    @staticmethod
    def of(frames: Sequences) -> Moments:
        """One pass over the frames, one utterance in memory at a time."""
        width = frames.values.shape[1] if frames.values.ndim == 2 else 1
        mean = np.zeros((len(frames), width))
        spread = np.zeros((len(frames), width))
        for row in range(len(frames)):
            wide = frames[row].reshape(-1, width).astype(np.float64)
            if len(wide):
                mean[row] = wide.mean(axis=0)
                wide -= mean[row]
                spread[row] = np.einsum("ld,ld->d", wide, wide)
        return Moments(frames.lengths, mean, spread)

    def statistics(
        self, rows: NDArray[np.int64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Mean and standard deviation [D] over all frames of these rows; see `_statistics`."""
        count = self.count[rows].astype(np.float64)[:, None]
        total = max(1.0, float(count.sum()))
        mean = (count * self.mean[rows]).sum(axis=0) / total
        apart = (count * (self.mean[rows] - mean) ** 2).sum(axis=0)
        return mean, _scale(mean, np.sqrt((self.spread[rows].sum(axis=0) + apart) / total))


@dataclass(frozen=True)
class Answers:
    """The labels of one fold that scoring alone may see."""

    validation: NDArray[np.int64]
    """-1 for clips that are not scored: those that the target rater has not rated"""
    unseen: NDArray[np.int64]
    """selection first, then test, then test once more for each of `speaker_clips`"""
    selected: int
    """how many of `unseen` are selection; 0 where validation itself scores the setting"""
    test: int
    """how many are test"""
    sets: Mapping[str, NDArray[np.bool_]] = field(default_factory=dict)
    """[test] by name: clips of the test part that are also scored by themselves"""


@dataclass(frozen=True)
class Context:
    """What keys are made of beside the setting: small, and without arrays."""

    seed: int
    folds: tuple[str, ...]
    """fold names by index"""
    prints: tuple[Mapping[str, str], ...]
    """by fold index: part -> fingerprint of its ids, labels, votes and data; where the fold has a
    target rater, also "part/whose" -> that of the ratings which such a stage may see"""


@dataclass(frozen=True)
class Call:
    """One stage on one fold, as it travels to the broker and on to a worker."""

    key: str
    name: str
    target: str
    """module:function"""
    params: Mapping[str, Any]
    parents: Mapping[str, str]
    """role -> key"""
    fold: int
    parts: tuple[str, ...]
    seed: int
    across: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """role -> keys by fold"""
    ratings: str = "none"
    """whose, of `trainables.stage.RATINGS`"""

    @property
    def needs(self) -> tuple[str, ...]:
        """The keys of all artifacts that it reads, each once."""
        others = (key for keys in self.across.values() for key in keys)
        return tuple(dict.fromkeys([*self.parents.values(), *others]))

    def sorted_out(
        self, made: Sequence[Artifact]
    ) -> tuple[dict[str, Artifact], dict[str, tuple[Artifact, ...]]]:
        """The artifacts of `needs`, by role: parents, and those across folds."""
        found = dict(zip(self.needs, made, strict=True))
        parents = {role: found[key] for role, key in self.parents.items()}
        return parents, {role: tuple(found[k] for k in keys) for role, keys in self.across.items()}


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
    """GB (10^9 bytes) that a stage may add to what its process holds"""


@dataclass(frozen=True)
class Use:
    """What an export asks of a stage beside its artifact; see `StageInputs`. A study asks nothing.

    A stage so asked returns more than its key says, or is trained otherwise, and so its artifact
    has a key of its own (`key`).
    """

    keep_weights: bool = False
    refit: bool = False

    def key(self, call: Call) -> str:
        """The key of what the stage returns when it is asked so."""
        if self == Use():
            return call.key
        text = json.dumps([call.key, self.keep_weights, self.refit])
        return hashlib.sha256(text.encode()).hexdigest()


def context(
    dataset: Dataset, audio: Sequence[str], feature_ids: Sequence[str], seed: int
) -> Context:
    """Fingerprint every part of every fold.

    Args:
        dataset: the study's data.
        audio: [N] digest of each utterance's audio.
        feature_ids: name and version of each feature set, in the order of their columns.
        seed: the study's seed.
    """
    head = json.dumps(
        [list(feature_ids), dataset.normalise, list(dataset.speaker_clips), list(dataset.classes)]
    )
    speakers = dataset.speaker
    whole: dict[int, list[str]] = {}
    if dataset.normalise == "speaker":
        # a speaker's statistics read all of that speaker's clips, whatever part they are in
        for row in np.argsort(dataset.ids, kind="stable"):
            whole.setdefault(int(speakers[row]), []).append(audio[row])
    prints = []
    for fold in dataset.folds:
        parts: dict[str, str] = {}
        for part in PARTS:
            rows = _rows(fold, part)
            sees_labels = part in _LABELLED and not fold.rater
            digest = hashlib.sha256(f"{part}\0{head}".encode())
            for row in rows:
                fact: list[Any] = [
                    str(dataset.ids[row]),
                    audio[row],
                    int(dataset.speaker[row]),
                    int(dataset.corpus[row]),
                ]
                if sees_labels:
                    fact.append(int(dataset.y[row]))
                    if dataset.votes is not None:
                        fact.append([float(v) for v in dataset.votes[row]])
                    if dataset.outside is not None and dataset.outside[row].any():
                        fact.append([float(v) for v in dataset.outside[row]])
                digest.update(json.dumps(fact).encode())
            for speaker in sorted(set(speakers[rows].tolist())):
                digest.update(json.dumps(whole.get(speaker, [])).encode())
            parts[part] = digest.hexdigest()
        if dataset.normalise == "fold":
            # the other parts are normalised with the statistics of the training part
            for part in PARTS[1:]:
                joined = f"{parts[part]}{parts['train']}".encode()
                parts[part] = hashlib.sha256(joined).hexdigest()
        if fold.rater:
            parts |= {
                f"{part}/{whose}": _rating_print(dataset, fold, part, whose)
                for part in _LABELLED
                for whose in RATINGS[1:]
            }
        prints.append(parts)
    return Context(seed, tuple(fold.name for fold in dataset.folds), tuple(prints))


def calls(
    method: Method, setting: Mapping[str, Any], fold: int, where: Context, repeat: int = 0
) -> list[Call]:
    """The stages that a full setting asks for on one fold, parents first, the scored one last.

    Where a node reads another's stages across folds, those of the other folds are among them.

    Args:
        repeat: which of the fold's trainings, each of which has seeds of its own.
    """
    nodes = {node.name: node for node in method.graph(setting)}
    made: dict[tuple[str, int], Call] = {}
    folds = range(len(where.folds))

    def call(name: str, at: int) -> Call:
        if (name, at) not in made:
            node = nodes[name]
            parents = {role: call(other, at).key for role, other in sorted(node.parents.items())}
            across = {
                role: tuple(call(other, each).key for each in folds)
                for role, other in sorted(node.across.items())
            }
            made[name, at] = _call(node, at, parents, across, where, repeat)
        return made[name, at]

    for name in nodes:
        call(name, fold)
    return list(made.values())


def _call(
    node: Node,
    fold: int,
    parents: dict[str, str],
    across: dict[str, tuple[str, ...]],
    where: Context,
    repeat: int,
) -> Call:
    target = f"{node.run.__module__}:{node.run.__qualname__}"
    params = {name: _plain(value) for name, value in sorted(node.params.items())}
    seed = stage_seed(where.seed, node.name, where.folds[fold], repeat)
    identity: dict[str, Any] = {
        "format": 1,
        "stage": node.name,
        "target": target,
        "source": source_digest(node.run.__module__),
        "params": params,
        "parents": parents,
        # stages that read no other fold keep the keys that they had before any could
        **({"across": across} if across else {}),
        "fold": {part: where.prints[fold][part] for part in sorted(node.parts)},
        "seed": seed,
    }
    if node.ratings != "none":
        identity["ratings"] = {
            part: where.prints[fold][f"{part}/{node.ratings}"]
            for part in sorted(set(node.parts) & set(_LABELLED))
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
    )


def stage_seed(seed: int, stage: str, fold: str, repeat: int = 0) -> int:
    """A stage's seed, in [0, 2^31): settings are compared under common random numbers."""
    # the first training of a fold is that of a study with one seed, and shared with it
    origin = [seed, stage, fold, *([repeat] if repeat else [])]
    digest = hashlib.sha256(json.dumps(origin).encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1


def _plain(value: Any) -> Any:
    """A parameter as JSON holds it; 1 and 1.0 are one value."""
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return value
    if isinstance(value, int | float | np.integer | np.floating):
        number = float(value)
        return int(number) if number.is_integer() and abs(number) < 2**53 else number
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    raise TypeError(f"a stage's parameter must be a number, text, truth or list, got {value!r}")


# -- the digest of a stage's source ------------------------------------------------------------
@functools.cache
def source_digest(module: str) -> str:
    """Digest of a module's code and of all it imports from its own package and `trainables`.

    Comments, layout and docstrings do not count, so that editing them computes nothing anew.
    """
    seen: dict[str, str] = {}
    waiting = [module]
    tops = {module.partition(".")[0], "trainables"}
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        path = _file(name)
        if path is None:
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        seen[name] = hashlib.sha256(ast.dump(_without_docstrings(tree)).encode()).hexdigest()
        package = name if path.name == "__init__.py" else name.rpartition(".")[0]
        waiting += [other for other in _imports(tree, package) if other.partition(".")[0] in tops]
    if module not in seen:
        raise LookupError(f"the source of {module} cannot be found, so its stages have no key")
    return hashlib.sha256(json.dumps(sorted(seen.items())).encode()).hexdigest()


def _file(module: str) -> Path | None:
    """The file of a module, found without importing it where its package's folder is known."""
    top, _, rest = module.partition(".")
    loaded = sys.modules.get(top) or importlib.import_module(top)
    if not rest:
        return Path(loaded.__file__) if loaded.__file__ else None
    for folder in getattr(loaded, "__path__", ()):
        base = Path(folder, *rest.split("."))
        for path in (base.with_suffix(".py"), base / "__init__.py"):
            if path.is_file():
                return path
    return None


def _imports(tree: ast.AST, package: str) -> list[str]:
    names: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*above, base] if base else above)
            names += [base, *(f"{base}.{alias.name}" for alias in node.names)]
    with_parents: list[str] = []
    for name in names:
        pieces = name.split(".")
        with_parents += [".".join(pieces[: i + 1]) for i in range(len(pieces))]
    return with_parents


def _without_docstrings(tree: ast.Module) -> ast.Module:
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            node.body = [
                item
                for item in node.body
                if not (
                    isinstance(item, ast.Expr)
                    and isinstance(item.value, ast.Constant)
                    and isinstance(item.value.value, str)
                )
            ]
    return tree


# -- running one stage, in a worker ------------------------------------------------------------
def inputs_of(
    call: Call,
    dataset: Dataset,
    parents: Mapping[str, Artifact],
    runtime: Runtime,
    device: Literal["cpu", "cuda"],
    scratch: Path | None = None,
    on_epoch: Callable[[int, float], None] | None = None,
    across: Mapping[str, tuple[Artifact, ...]] | None = None,
    use: Use = Use(),
) -> StageInputs:
    """What the stage may see: the parts its node names, without test labels."""
    fold = dataset.folds[call.fold]
    normalised = _normaliser(dataset, fold)
    parts = {part: _part(part, call, dataset, fold, normalised) for part in PARTS}
    return StageInputs(
        classes=dataset.classes,
        parents=parents,
        seed=call.seed,
        threads=runtime.threads,
        workers=runtime.workers,
        device=device,
        scratch=scratch,
        on_epoch=on_epoch,
        across=across or {},
        # who is learnt is in the key of the stages alone that see ratings
        raters=() if call.ratings == "none" else dataset.raters,
        target=None if call.ratings == "none" else dataset.raters.index(fold.rater),
        keep_weights=use.keep_weights,
        refit=use.refit,
        **parts,
    )


Normaliser = Callable[[NDArray[np.int64]], NDArray[np.float32]]


_LABELLED = ("train", "validation", "undecided")
"""the parts whose labels and votes a stage may see"""


def _rows(fold: Fold, part: str) -> NDArray[np.int64]:
    """The rows of a part; the test part is all that is predicted without labels."""
    rows: NDArray[np.int64] = fold.unseen if part == "test" else getattr(fold, part)
    return rows


def _part(part: str, call: Call, dataset: Dataset, fold: Fold, normalised: Normaliser) -> Part:
    rows = _rows(fold, part)
    if part not in call.parts:
        rows = rows[:0]
    sees_labels = part in _LABELLED and not fold.rater
    ratings = own = None
    if call.ratings != "none" and part in _LABELLED:
        ratings, own = _seen_ratings(dataset, fold, rows, call.ratings)
    votes = dataset.votes[rows] if sees_labels and dataset.votes is not None else None
    outside = dataset.outside[rows] if votes is not None and dataset.outside is not None else None
    x = normalised(rows)
    sources = _sources(dataset, fold, rows) if dataset.frames else []
    if part == "test" and len(rows) and dataset.speaker_clips:
        few = [_from_few_clips(dataset, fold.test, n) for n in dataset.speaker_clips]
        x = np.concatenate([x, *few])
        for n in dataset.speaker_clips if dataset.frames else ():
            sources += _sources(dataset, fold, fold.test, n)
        rows = np.concatenate([rows, *[fold.test] * len(few)])
    return Part(
        ids=dataset.ids[rows],
        x=x,
        speaker=dataset.speaker[rows],
        corpus=dataset.corpus[rows],
        y=dataset.y[rows] if sees_labels else None,
        votes=votes,
        outside=outside,
        ratings=ratings,
        own=own,
        frames={
            name: _normalised_frames(frames, dataset.moments[name], rows, sources)
            if name in dataset.moments
            else frames.take(rows)
            for name, frames in dataset.frames.items()
        },
    )


def _seen_ratings(
    dataset: Dataset, fold: Fold, rows: NDArray[np.int64], whose: str
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """The ratings [n, R] of rows that a stage may see, the others masked, and which are own."""
    if dataset.ratings is None or dataset.own is None or not fold.rater:
        raise ValueError(f"fold {fold.name!r} has no ratings to hand out")
    mine = np.array([name == fold.rater for name in dataset.raters])
    hidden = {"others": mine, "target": ~mine, "all": np.zeros_like(mine)}[whose]
    codes = np.where(hidden, -1, dataset.ratings[rows])
    return codes, dataset.own[rows] & (codes >= 0)


def _rating_print(dataset: Dataset, fold: Fold, part: str, whose: str) -> str:
    codes, own = _seen_ratings(dataset, fold, _rows(fold, part), whose)
    digest = hashlib.sha256(json.dumps([list(dataset.raters), fold.rater]).encode())
    digest.update(codes.astype("<i8").tobytes())
    digest.update(own.tobytes())
    return digest.hexdigest()


_KEPT = 64 * 2**20
"""bytes of normalised features that a worker keeps"""
_kept: OrderedDict[tuple[int, int], tuple[Dataset, NDArray[np.float32]]] = OrderedDict()
"""(identity of the dataset, fold or -1) -> the dataset, which keeps its identity, and all rows"""


def _normaliser(dataset: Dataset, fold: Fold) -> Normaliser:
    """Rows of z-normalised features.

    A worker runs many stages of a fold, and normalising can take longer than a small stage. So it
    keeps what it made of arrays that nobody can change, as those from Ray's store are.
    """
    if dataset.x.flags.writeable or not 0 < dataset.x.nbytes <= _KEPT:
        return _normalising(dataset, fold)
    key = (id(dataset), fold.index if dataset.normalise == "fold" else -1)
    found = _kept.pop(key, None)
    if found is None:
        found = dataset, _normalising(dataset, fold)(np.arange(len(dataset.x)))
    _kept[key] = found
    while sum(x.nbytes for _, x in _kept.values()) > _KEPT:
        _kept.popitem(last=False)
    return found[1].__getitem__


def _normalising(dataset: Dataset, fold: Fold) -> Normaliser:
    """z-normalised features, from the training part's statistics or from each speaker's own."""
    if dataset.normalise == "fold":
        mean, scale = _statistics(dataset.x[fold.train])
        return lambda rows: ((dataset.x[rows] - mean) / scale).astype(np.float32)

    def by_speaker(rows: NDArray[np.int64]) -> NDArray[np.float32]:
        x = np.empty((len(rows), dataset.x.shape[1]), dtype=np.float32)
        for speaker in np.unique(dataset.speaker[rows]):
            mean, scale = _statistics(dataset.x[dataset.speaker == speaker])
            mine = dataset.speaker[rows] == speaker
            x[mine] = (dataset.x[rows[mine]] - mean) / scale
        return x

    return by_speaker


def _from_few_clips(dataset: Dataset, rows: NDArray[np.int64], n: int) -> NDArray[np.float32]:
    """Rows normalised by their speaker's statistics, taken from n clips that ids alone choose."""
    x = np.empty((len(rows), dataset.x.shape[1]), dtype=np.float32)
    for speaker in np.unique(dataset.speaker[rows]):
        mean, scale = _statistics(dataset.x[_clips_of(dataset, speaker, n)])
        mine = dataset.speaker[rows] == speaker
        x[mine] = (dataset.x[rows[mine]] - mean) / scale
    return x


def _clips_of(dataset: Dataset, speaker: int, n: int | None = None) -> NDArray[np.int64]:
    """A speaker's rows; n of them, chosen by ids alone, where n is given."""
    rows = np.flatnonzero(dataset.speaker == speaker)
    if n is None:
        return rows
    rank = [hashlib.sha256(str(dataset.ids[row]).encode()).digest() for row in rows]
    return rows[sorted(range(len(rank)), key=rank.__getitem__)[:n]]


def _sources(
    dataset: Dataset, fold: Fold, rows: NDArray[np.int64], n: int | None = None
) -> list[NDArray[np.int64]]:
    """By row, the rows whose frames' statistics normalise it; equal ones are the same array."""
    if dataset.normalise == "fold":
        return [fold.train] * len(rows)
    speakers = dataset.speaker[rows]
    by_speaker = {s: _clips_of(dataset, s, n) for s in np.unique(speakers).tolist()}
    return [by_speaker[s] for s in speakers.tolist()]


def _normalised_frames(
    frames: Sequences,
    moments: Moments,
    rows: NDArray[np.int64],
    sources: Sequence[NDArray[np.int64]],
) -> Sequences:
    """float32 z-normalised frames of the rows, by the statistics of each row's source."""
    known = {
        id(source): moments.statistics(source) for source in {id(s): s for s in sources}.values()
    }
    return _scaled(frames, rows, [known[id(source)] for source in sources])


def _scaled(
    frames: Sequences,
    rows: NDArray[np.int64],
    by: Sequence[tuple[NDArray[np.float64], NDArray[np.float64]]],
) -> Sequences:
    """float32 (frames - mean) / scale: a copy of these rows alone, made row by row."""
    starts = np.concatenate([[0], np.cumsum(frames.lengths[rows])]).astype(np.int64)
    values = np.empty((int(starts[-1]), *frames.values.shape[1:]), dtype=np.float32)
    for place, (row, (mean, scale)) in enumerate(zip(rows.tolist(), by, strict=True)):
        into = values[starts[place] : starts[place + 1]]
        np.subtract(frames[row], mean.astype(np.float32), out=into)
        np.divide(into, scale.astype(np.float32), out=into)
    return Sequences(values, starts)


def statistics(dataset: Dataset, rows: NDArray[np.int64]) -> dict[str, NDArray[np.float64]]:
    """What normalises a model's input, taken from these rows: `mean` and `scale` [D] of the
    vectors, and `NAME/mean` and `NAME/scale` of each feature set of frames."""
    mean, scale = _statistics(dataset.x[rows])
    found = {"mean": mean, "scale": scale}
    for name, moments in dataset.moments.items():
        mean, scale = moments.statistics(rows)
        found |= {f"{name}/mean": mean, f"{name}/scale": scale}
    return found


def normalised(
    dataset: Dataset, rows: NDArray[np.int64], by: Mapping[str, NDArray[np.float64]]
) -> Part:
    """Unlabelled rows as a stage would be handed them, normalised by `statistics`."""
    frames = {
        name: _scaled(values, rows, [(by[f"{name}/mean"], by[f"{name}/scale"])] * len(rows))
        if name in dataset.moments
        else values.take(rows)
        for name, values in dataset.frames.items()
    }
    return Part(
        ids=dataset.ids[rows],
        x=((dataset.x[rows] - by["mean"]) / by["scale"]).astype(np.float32),
        speaker=dataset.speaker[rows],
        corpus=dataset.corpus[rows],
        frames=frames,
    )


def _statistics(
    x: NDArray[np.float32],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and standard deviation by column; a constant column is only centred."""
    wide = x.astype(np.float64)
    scale = wide.std(axis=0)
    mean = wide.mean(axis=0)
    return mean, _scale(mean, scale)


def _scale(mean: NDArray[np.float64], deviation: NDArray[np.float64]) -> NDArray[np.float64]:
    """What to divide by: the standard deviation, or 1 for what is constant."""
    return np.where(deviation <= 1e-7 * (1.0 + np.abs(mean)), 1.0, deviation)


def execute(
    call: Call,
    dataset: Dataset,
    parents: Mapping[str, Artifact],
    runtime: Runtime,
    device: Literal["cpu", "cuda"] = "cpu",
    scratch: Path | None = None,
    on_epoch: Callable[[int, float], None] | None = None,
    across: Mapping[str, tuple[Artifact, ...]] | None = None,
    use: Use = Use(),
) -> Artifact:
    """Run one stage in this process."""
    module, _, function = call.target.partition(":")
    run = getattr(importlib.import_module(module), function)
    inputs = inputs_of(call, dataset, parents, runtime, device, scratch, on_epoch, across, use)
    made = run(inputs, **call.params)
    if not isinstance(made, Artifact):
        raise TypeError(f"stage {call.name!r} must return an Artifact, but returned {type(made)}")
    return made
