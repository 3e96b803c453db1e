"""What a method is made of: declared parameters, and stages wired into a graph.

A stage is a pure function of its inputs: `run(inputs, **params) -> Artifact`. Its keyword-only
parameters are its *own* parameters and the only ones its key hashes, so a stage that does not
take `gamma` is shared by every setting of gamma. This module imports no torch.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Setting = Mapping[str, Any]
"""parameters by name: a method's, or the own ones of one of its stages"""
Array = NDArray[Any]
PARTS = ("train", "validation", "test", "unlabelled", "undecided")
"""The parts of a fold that a stage may be handed. `undecided`: clips of the training part's
speakers that have votes and no label."""
RATINGS = ("none", "others", "target", "all")
"""Which raters' single ratings a stage may see: nobody's, all but the target's, the target's."""
CURVES = ("validation_ua", "validation_ccc")
"""The curves of `info["curves"]` of which a stage tells one by `StageInputs.on_epoch`."""
WEIGHTS = "weights/"
"""what the names of an artifact's arrays begin with that are a network's weights"""


@dataclass(frozen=True)
class Sequences:
    """Rows of different lengths, end to end: row i is values[starts[i] : starts[i + 1]]."""

    values: Array
    """[sum of the lengths, ...]"""
    starts: NDArray[np.int64]
    """[n + 1], from 0, ascending"""

    def __len__(self) -> int:
        return len(self.starts) - 1

    def __getitem__(self, row: int) -> Array:
        """[length of the row, ...], a view."""
        return self.values[self.starts[row] : self.starts[row + 1]]

    @property
    def lengths(self) -> NDArray[np.int64]:
        """[n]"""
        return np.diff(self.starts)

    def take(self, rows: NDArray[np.int64]) -> Sequences:
        """The rows named, in that order; a copy."""
        starts = np.concatenate([[0], np.cumsum(self.lengths[rows])]).astype(np.int64)
        values = np.empty((int(starts[-1]), *self.values.shape[1:]), dtype=self.values.dtype)
        for place, row in enumerate(rows):
            values[starts[place] : starts[place + 1]] = self[int(row)]
        return Sequences(values, starts)

    def join(self, other: Sequences) -> Sequences:
        """The rows of both, one after another; a copy."""
        both = [one.values[one.starts[0] : one.starts[-1]] for one in (self, other)]
        lengths = np.concatenate([[0], self.lengths, other.lengths])
        return Sequences(np.concatenate(both), np.cumsum(lengths).astype(np.int64))

    def split(self, starts: NDArray[np.int64]) -> Sequences:
        """Other rows of the same values: row p begins at starts[p] and ends at starts[p + 1]."""
        return Sequences(self.values, starts)


@dataclass(frozen=True)
class Part:
    """The rows of one part of a fold.

    `y` is None for the test and the unlabelled part: test labels exist in the scoring step alone.
    """

    ids: NDArray[np.str_]
    """[n] utterance ids"""
    x: NDArray[np.float32]
    """[n, D] normalised features of all feature sets side by side"""
    speaker: NDArray[np.int64]
    """[n] speaker index"""
    corpus: NDArray[np.int64]
    """[n] corpus index, 0 .. C-1"""
    y: NDArray[np.int64] | None = None
    """[n] class index, 0 .. K-1; -1 in the undecided part"""
    votes: NDArray[np.float32] | None = None
    """[n, K] number of raters for each class; None where the corpus has no votes or y is None"""
    outside: NDArray[np.float32] | None = None
    """[n, M] number of raters for each class that the study does not have; None where `votes` is"""
    annotations: NDArray[np.float32] | None = None
    """[n, R, A] single ratings of A attributes, NaN behind a clip's last; None where classes are
    predicted, or `y` is None"""
    ratings: NDArray[np.int64] | None = None
    """[n, R] class index by rater, -1 where there is none that the stage may see; None for the test
    and the unlabelled part, and where the node asks for none"""
    own: NDArray[np.bool_] | None = None
    """[n, R] that rating is of the rater's own speech; None where `ratings` is"""
    frames: Mapping[str, Sequences] = field(default_factory=dict)
    """by feature set: one row of frames (or samples) an utterance"""

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, rows: Array) -> Part:
        """The rows named, by index [m] or as truths [n]; all of them in order are no copy."""
        index = np.flatnonzero(rows) if rows.dtype == bool else rows
        if np.array_equal(index, np.arange(len(self))):
            return self
        columns: dict[str, Any] = {
            name: None if column is None else column[index]
            for name, column in self._columns().items()
        }
        return replace(
            self,
            **columns,
            frames={name: values.take(index) for name, values in self.frames.items()},
        )

    def join(self, other: Part) -> Part:
        """The rows of both, one after another. What one of them lacks, the whole lacks."""
        columns: dict[str, Any] = {}
        for name, mine in self._columns().items():
            others = getattr(other, name)
            columns[name] = (
                None if mine is None or others is None else np.concatenate([mine, others])
            )
        return replace(
            self,
            **columns,
            frames={name: rows.join(other.frames[name]) for name, rows in self.frames.items()},
        )

    def _columns(self) -> dict[str, Any]:
        return {f.name: getattr(self, f.name) for f in fields(self) if f.name != "frames"}


@dataclass(frozen=True)
class Artifact:
    """What a stage returns and the store keeps: arrays, and facts that JSON can hold.

    The last stage of a graph must return `arrays["validation"]` and `arrays["test"]`, the class
    probabilities [n, K] (or the attributes' values) of those parts in their row order. It may give
    `arrays["embedding_test"]`, what the network's last layer is given for the rows of `test`
    (`trainables.embedding`), for pictures. `info["curves"]`, where given, maps a curve's name to
    its values by epoch.
    """

    arrays: Mapping[str, Array] = field(default_factory=dict)
    info: Mapping[str, Any] = field(default_factory=dict)


def curve_of(info: Mapping[str, Any]) -> tuple[float, ...]:
    """The values by epoch of which an artifact's stage told while it trained."""
    curves = info.get("curves", {})
    return tuple(next((curves[name] for name in CURVES if name in curves), ()))


@dataclass(frozen=True)
class Cuda:
    """How a CUDA card computes. On the CPU nothing here has an effect.

    As it stands it is fast, and a training that is repeated differs in its last digits, which grow
    with the epochs.
    """

    deterministic: bool = False
    """algorithms that give the same bits each time; what has none raises"""
    benchmark: bool = True
    """cuDNN times its algorithms for rows of one shape, and takes the fastest of that moment"""
    tf32: bool = True
    """products of fp32 numbers with 10 bits of each mantissa instead of 23"""

    def __str__(self) -> str:
        names = ("deterministic", "benchmark", "tf32")
        return " ".join(["cuda", *(name for name in names if getattr(self, name))])


FAST = Cuda()


@dataclass(frozen=True)
class StageInputs:
    """All that a stage may see. Parts that its node does not name are empty."""

    classes: tuple[str, ...]
    """K names of a prediction's columns: classes, or attributes where numbers are predicted"""
    train: Part
    validation: Part
    test: Part
    unlabelled: Part
    undecided: Part
    parents: Mapping[str, Artifact]
    """by role, as named in the node"""
    seed: int
    """from (study seed, stage name, fold), never from parameters"""
    threads: int = 1
    workers: int = 1
    """Ray Train workers; 1 trains in this process"""
    device: Literal["cpu", "cuda"] = "cpu"
    cuda: Cuda = FAST
    memory: float | None = None
    """GB (10^9 bytes) that each worker of a group may add to what it holds; None: any number"""
    scratch: Path | None = None
    """a folder for checkpoints of this key; whatever lies there was written under the same key"""
    raters: tuple[str, ...] = ()
    """the R raters of `Part.ratings`; empty where no rater is learnt"""
    target: int | None = None
    """which of them is learnt in this fold"""
    on_epoch: Callable[[int, float], None] | None = None
    """to be told (epoch from 1, validation score of that epoch, higher is better) while training,
    in ascending order; None where nobody asks. It tells and is told nothing: what a stage returns
    must not depend on it"""
    keep_weights: bool = False
    """an export asks the last stage, and those that `Exporter.keeps` names, for their networks too,
    as arrays named WEIGHTS + name"""
    refit: bool = False
    """an export trains on every labelled clip: the validation part is empty, and a training runs
    for exactly `epochs` epochs. In a study both are False"""
    across: Mapping[str, tuple[Artifact, ...]] = field(default_factory=dict)
    """by role, as named in the node: what an earlier node's stages made on every fold of the study,
    by fold"""

    @property
    def own_device(self) -> Literal["cpu", "cuda"]:
        """Where this process itself may compute: the cards of a group are its workers'."""
        return self.device if self.workers == 1 else "cpu"

    @property
    def training(self) -> dict[str, Any]:
        """What of a `loop.Training` a stage passes on as it was given it."""
        where = ("threads", "workers", "device", "cuda", "memory", "scratch")
        names = ("seed", *where, "on_epoch", "keep_weights")
        return {name: getattr(self, name) for name in names}


@dataclass(frozen=True)
class Param:
    """A declared parameter of a method: its default, what values it takes, and what it means."""

    default: Any
    help: str
    choices: tuple[Any, ...] | None = None
    low: float | None = None
    high: float | None = None
    matters: Callable[[Setting], bool] | None = None
    """whether it has an effect, by the other parameters of its stage; None: always"""

    def typed(self, value: Any) -> Any:
        """A value in the type of the default: 0 and 0.0 must not differ in a key."""
        if value is None or isinstance(self.default, str | bool):
            return value
        return type(self.default)(value)

    def problem(self, name: str, value: Any) -> str | None:
        """Why `value` is not a value of this parameter, as one sentence, or None."""
        if self.choices is not None:
            if value not in self.choices or isinstance(value, bool) != isinstance(
                self.default, bool
            ):
                return f"{name} must be one of {list(self.choices)}, but got {value!r}"
            return None
        if isinstance(self.default, bool):
            if isinstance(value, bool):
                return None
            return f"{name} must be true or false, but got {value!r}"
        if isinstance(self.default, int | float):
            if isinstance(value, bool) or not isinstance(value, int | float):
                return f"{name} must be a number, but got {value!r}"
            if isinstance(self.default, int) and value != int(value):
                return f"{name} must be a whole number, but got {value!r}"
            if value != value or value in (float("inf"), float("-inf")):
                return f"{name} must be finite, but got {value!r}"
            if self.low is not None and value < self.low:
                return f"{name} must be at least {self.low:g}, but got {value!r}"
            if self.high is not None and value > self.high:
                return f"{name} must be at most {self.high:g}, but got {value!r}"
            return None
        if isinstance(self.default, str) and not isinstance(value, str):
            return f"{name} must be a text, but got {value!r}"
        return None


@dataclass(frozen=True)
class Node:
    """One stage in a graph: a function, its own parameters, and its parents by role."""

    name: str
    run: Callable[..., Artifact]
    params: Setting = field(default_factory=dict)
    parents: Mapping[str, str] = field(default_factory=dict)
    """role -> name of an earlier node"""
    parts: tuple[str, ...] = PARTS
    """the parts of the fold it is handed; the others are empty, and not in its key"""
    across: Mapping[str, str] = field(default_factory=dict)
    """role -> name of an earlier node, whose stages on *every* fold this one reads.

    No stage is handed a label of its own fold's test part. But the stages of other folds have
    trained on those labels, and what they predict tells of them: scores of a setting with such a
    node are not honest, and a study that may run one says so. It is here for methods that were
    published so"""
    ratings: Literal["none", "others", "target", "all"] = "none"
    """whose single ratings it is handed, of RATINGS; those of others are masked, and not in its
    key"""
    group: bool = False
    """whether it trains by `loop.fit`, so that the N Ray Train workers of `workers=N` may share its
    training. Any other stage runs in one process, and has the CPUs or the card of one stage"""

    def __post_init__(self) -> None:
        own = {
            p.name
            for p in inspect.signature(self.run).parameters.values()
            if p.kind is inspect.Parameter.KEYWORD_ONLY
        }
        if own != set(self.params):
            raise TypeError(
                f"stage {self.name!r} takes the keywords {sorted(own)}, but its node gives "
                f"{sorted(self.params)}"
            )
        unknown = set(self.parts) - set(PARTS)
        if unknown:
            raise TypeError(f"stage {self.name!r} names unknown parts {sorted(unknown)}")
        if self.ratings not in RATINGS:
            raise TypeError(f"stage {self.name!r} names unknown ratings {self.ratings!r}")


def takes(
    *names: str,
) -> Callable[[Callable[[StageInputs, Mapping[str, Any]], Artifact]], Callable[..., Artifact]]:
    """Makes a stage of a function that reads its parameters, being many, from one mapping.

    Args:
        names: of the parameters, which the stage takes as keywords; all of them, always
    """
    kinds = inspect.Parameter
    keywords = [kinds(name, kinds.KEYWORD_ONLY) for name in names]
    signature = inspect.Signature([kinds("inputs", kinds.POSITIONAL_OR_KEYWORD), *keywords])

    def decorate(run: Callable[[StageInputs, Mapping[str, Any]], Artifact]) -> Callable[..., Any]:
        @functools.wraps(run)
        def stage(*words: StageInputs, **own: Any) -> Artifact:
            inputs = signature.bind(*words, **own).arguments["inputs"]
            return run(inputs, own)

        stage.__signature__ = signature  # type: ignore[attr-defined]
        return stage

    return decorate


@dataclass(frozen=True)
class NetworkState:
    """The network of a stage that was run with `keep_weights`."""

    params: Setting
    """the stage's own, as its node gave them"""
    weights: Mapping[str, Array]
    """by name, without WEIGHTS"""
    info: Mapping[str, Any]
    """the artifact's"""
    classes: tuple[str, ...]
    parents: Mapping[str, NetworkState] = field(default_factory=dict)
    """by role: the networks of the stages that `Exporter.keeps` names; of the last stage alone"""
    checkpoints: Mapping[str, Path] = field(default_factory=dict)
    """folders of the models that travel with this one, as `Exporter.checkpoints` names them"""


def weight_arrays(weights: Mapping[str, Any] | None) -> dict[str, Array]:
    """A network's state (tensors on the CPU, or arrays) as arrays of an artifact; none where it is
    None."""
    return {f"{WEIGHTS}{name}": np.asarray(value) for name, value in (weights or {}).items()}


def weights_of(arrays: Mapping[str, Array]) -> dict[str, Array]:
    """The weights among an artifact's arrays, by their own names."""
    return {
        name.removeprefix(WEIGHTS): array
        for name, array in arrays.items()
        if name.startswith(WEIGHTS)
    }


@dataclass(frozen=True)
class PartFacts:
    """What is known of a part of a fold, or of several, before any stage runs."""

    clips: int = 0
    voted: int = 0
    """clips with a vote"""
    corpora: frozenset[int] = frozenset()
    voted_corpora: frozenset[int] = frozenset()
    """those of clips with a vote"""
    speakers: frozenset[int] = frozenset()

    def join(self, other: PartFacts) -> PartFacts:
        return PartFacts(
            self.clips + other.clips,
            self.voted + other.voted,
            self.corpora | other.corpora,
            self.voted_corpora | other.voted_corpora,
            self.speakers | other.speakers,
        )


@dataclass(frozen=True)
class FoldFacts:
    """What a method may know of a fold before any stage runs."""

    parts: Mapping[str, PartFacts]
    """of the parts that have labels"""


@dataclass(frozen=True)
class Exporter:
    """How a method becomes a model that is used outside of studies.

    Its stages must serve `StageInputs.keep_weights` and `StageInputs.refit`. A refit replaces the
    parameter `epochs` of each stage by the median of `info["best_epoch"]` (or of those in
    `info["runs"]`) over the folds, and `cuts`, where a stage has that parameter, by the epochs
    after which the folds' step sizes fell (`info["curves"]["lr"]`).
    """

    predictor: Callable[[NetworkState], Callable[[Part], NDArray[np.float32]]]
    """Builds the network, without any file or network connection, and gives back what maps a part
    (normalised as in training, without labels) to class probabilities [n, K]."""
    keeps: tuple[str, ...] = ()
    """roles of the last stage's parents whose networks travel with its own, as a prediction runs
    through them too: those of them that the graph of a setting has. The last stage need have no
    weights of its own then"""
    several: Callable[[Setting], bool] = lambda setting: False
    """whether the targets of a full setting may hold several classes: the model then names all
    classes above their thresholds"""
    checkpoints: Callable[[Setting], Mapping[str, tuple[str, str]]] = lambda own: {}
    """parameters of the last stage -> (hub name or folder, revision) of the models by parameter
    that its network is built on and that its weights leave out: their files travel along"""
    notes: Callable[[Setting], tuple[str, ...]] = lambda setting: ()
    """what a refit of a full setting cannot repeat, as sentences"""
    remarks: Callable[[Setting], tuple[str, ...]] = lambda setting: ()
    """what whoever uses the model must be told of its full setting, however it was made"""


@dataclass(frozen=True)
class Method:
    """A method: declared parameters and the graph of stages that a setting of them asks for."""

    name: str
    summary: str
    params: Mapping[str, Param]
    graph: Callable[[Setting], tuple[Node, ...]]
    """full setting (every declared parameter) -> nodes in order, parents first, scored one last"""
    needs: Callable[[Setting], frozenset[str]] = lambda setting: frozenset()
    """what a setting needs of the data: any of 'votes', 'unlabelled', 'corpora' (two or more)"""
    notes: Callable[[Setting], tuple[str, ...]] = lambda setting: ()
    """what whoever reads a setting's scores must be told, as of untrained weights: sentences"""
    in_fold: Callable[[Node, FoldFacts], Setting] = lambda node, facts: node.params
    """the parameters of a node on a fold: of values that train the same thing there, one. It is
    handed facts of parts that the node's key holds, and reads no others"""
    features: tuple[str, ...] = ("is10",)
    """feature sets used where a study names none"""
    features_of: Callable[[Mapping[str, tuple[Any, ...]]], tuple[str, ...]] | None = None
    """those instead, by all values that the study's space gives each parameter; it raises
    ValueError for a space that no feature sets serve"""
    inputs: tuple[str, ...] = ("vector",)
    """kinds of feature sets that its stages read: 'vector', 'frames'"""
    inherits: Mapping[str, str] = field(default_factory=dict)
    """parameter -> another of its kind: where a study pins the other and says nothing of this one,
    this one has the pinned value, in place of its default"""
    per_rater: bool = False
    """it learns one rater's perception: each fold has a target rater and is scored on that rater's
    own ratings. Its stages then see single ratings, as their nodes say, and no labels or votes"""
    kinds: tuple[str, ...] = ("classes",)
    """what it predicts (`task.kind`): 'classes', 'continuous'"""
    calibrate: Callable[[], Mapping[str, float]] | None = None
    """measures a training step in this process: milliseconds by `precision`, fp32 and bf16"""
    for_numbers: Setting = field(default_factory=dict)
    """parameters that stand for its defaults where numbers are predicted"""
    kind_of: Callable[[Setting], str] | None = None
    """of `kinds`, which a full setting predicts; None: any of them"""
    paper: str = ""
    export: Exporter | None = None
    """None: its studies cannot be exported"""

    def resolve(self, setting: Setting) -> dict[str, Any]:
        """The full setting: `setting` over the defaults. Unknown names raise KeyError."""
        unknown = set(setting) - set(self.params)
        if unknown:
            raise KeyError(f"{self.name} has no parameters {sorted(unknown)}")
        return {name: setting.get(name, param.default) for name, param in self.params.items()}
