"""Deep self-learning on segments (Mao, Ching and Lee 2021, "003").

A network is trained on segments of a third of a second, each with its utterance's label. What it
says of segments that it was not trained on makes the labels of the next network, and so on
(`strategy`, by Algorithm 1). In the end a random forest, or a mean, makes an utterance's class of
what the last network says of its segments.

    mode=paper   fold k is trained on what the networks of the *other* folds said of its training
                 segments. They were trained on fold k's held-out utterances too: the published
                 leak, which flatters the scores
    mode=nested  the whole procedure happens within each fold's training part, which is divided
                 into inner folds; the held-out utterances have no part in anything

The stages of one fold, n iterations:

    iteration_0    hard labels; the same in both modes, for every rule and alpha
    iteration_t    labels from iteration t - 1: in paper mode what `iteration_<t-1>` of all folds
                   predicted, in nested mode what `inner_<t-1>` did
    inner_t        nested mode: as many networks as there are inner folds, each of which predicts
                   the training utterances that it was not trained on. It knows no label of the
                   held-out part; among its own inner folds it is the published procedure
    utterance      the score: a forest, fitted to the out-of-sample predictions of the training
                   utterances, or the mean over an utterance's segments

Iteration t is shared by every setting that goes on from it. The test part is predicted by the
network of the whole training part (`iteration_n`), in both modes: the forest has learnt from
predictions by single networks, whose percentiles a mean over the inner networks would not share.

Where the paper says nothing, this is how it is here: training stops on the validation part's UA of
mean probabilities; the forest uses the same folds as the networks ("another 10-fold", published,
would need labels of the held-out utterances inside a stage).

A model is the network of the last iteration and the forest. In paper mode its refit learns from
what the networks of the study's folds said of the clips that each of them held out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from trainables import augmentation, fitting, forest, segment_training, segments, targets, waves
from trainables.fitting import equals, where
from trainables.labels import have_votes, labels_of
from trainables.segment_training import frames_of
from trainables.stage import (
    Array,
    Artifact,
    Exporter,
    FoldFacts,
    Method,
    NetworkState,
    Node,
    Param,
    Part,
    Setting,
    StageInputs,
    takes,
    weight_arrays,
)
from trainables.targets import STRATEGIES

if TYPE_CHECKING:
    from collections.abc import Callable

BACKBONES = ("efficientnet_b0", "mobilenet_v2", "densenet22", "vgg19", "compact")
"""the paper's four, and one for small corpora"""
TREES = 100
"""scikit-learn's default since 0.22; the paper's date makes it 100"""


def _normalises(own: Setting) -> bool:
    """Whether the network has batch normalisation."""
    return own["backbone"] != "vgg19" or bool(own["vgg_norm"])


TARGETS: dict[str, Param] = targets.declare(
    "votes",
    "predictions",
    "group",
    default="wdsl",
    help="update rule of the labels (paper: wdsl, bdsl, gsl, dhl); those that need no predictions, "
    "such as hard, are one training without iterations",
)
"""Parameters of the labels."""
TRAINING: dict[str, Param] = {
    # Segments
    "segment": Param(32, "frames of 10 ms in a segment (paper: 32)", low=4, high=1000),
    "hop": Param(
        1, "frames from one segment to the next (paper: 1; CASIA and, by its counts, SAVEE: 3)",
        low=1, high=1000,
    ),
    # Network
    "backbone": Param("efficientnet_b0", "network that reads a segment", BACKBONES),
    **where(
        equals("backbone", "efficientnet_b0", "mobilenet_v2", "vgg19", "compact"),
        width=Param(1.0, "multiplies its channels; not of densenet22", low=1 / 16, high=4.0),
        dropout=Param(
            1.0,
            "multiplies the network's dropout: mobilenet_v2 0.2, efficientnet_b0 0.2 and "
            "stochastic depth 0.2, vgg19 0.5 (all as published), compact 0.3",
            low=0.0,
            high=1.5,
        ),
    ),
    **where(
        equals("backbone", "densenet22"),
        growth=Param(12, "densenet22: channels that a layer adds (unsaid)", low=1, high=128),
    ),
    **where(
        equals("backbone", "vgg19"),
        vgg_hidden=Param(4096, "vgg19: units of its hidden layers (unsaid)", low=8, high=8192),
        vgg_norm=Param(False, "vgg19: batch normalisation, which the published network lacks"),
    ),
    **where(
        _normalises,
        bn_momentum=Param(
            0.01,
            "weight of a batch in the running statistics (TensorFlow's 0.99 is 0.01 here); "
            "trainings of few steps need more",
            low=1e-4,
            high=1.0,
        ),
        bn_eps=Param(1e-3, "of batch normalisation (TensorFlow's 0.001)", low=1e-8, high=1.0),
    ),
    **fitting.steps(
        batch=(128, "segments; paper: 128"),
        lr=(1e-3, "Adam's; paper: 0.001"),
        decay=(0.8, "paper: 0.8 every two epochs"),
        decay_every=(2, ""),
        adam_eps=(1e-7, "Keras: 1e-7"),
        epochs=(12, "paper: 12; CASIA 20, SAVEE 8"),
        patience=(3, "paper: 3"),
        patience_steps=(120, ""),
    ),
    **augmentation.declare(segments=augmentation.always),
}  # fmt: skip
"""Parameters of one training, whatever its targets."""
DIVISION: dict[str, Param] = where(
    equals("mode", "nested"),
    inner_folds=Param(5, "nested: inner folds of a training part", low=2, high=100),
    inner_by=Param(
        "utterance",
        "nested: inner folds divide utterances, by class (as the paper's folds), or speakers",
        ("utterance", "speaker"),
    ),
)
"""Parameters of the inner folds."""
PARAMS: dict[str, Param] = {
    "mode": Param(
        "nested",
        "paper: labels from other folds' networks, as published, which have seen the held-out "
        "labels; nested: from inner folds of the training part",
        ("paper", "nested"),
    ),
    **TARGETS,
    "iterations": Param(1, "times that labels are updated; 0: hard labels alone", low=0, high=20),
    **DIVISION,
    "utterance": Param(
        "forest",
        "an utterance's score: a random forest on 8 statistics a class (paper), or the mean of its "
        "segments' probabilities",
        ("forest", "mean"),
    ),
    **where(
        equals("utterance", "forest"),
        trees=Param(TREES, "of the forest (paper: scikit-learn's default)", low=1, high=10000),
    ),
    **TRAINING,
}
HARD = {"strategy": "hard", **dict.fromkeys(name for name in TARGETS if name != "strategy")}
"""The parameters of hard labels."""


def canonical(setting: Setting) -> dict[str, Any]:
    """A setting with what has no effect set to None, so that equal trainings have equal keys.

    wdsl with alpha 0 is bdsl. With alpha 1 nothing is left of the predictions: it is hard labels,
    and so iteration 0, as in the paper's Table IV. So is every rule with no iteration.

    Args:
        setting: every parameter of the method
    """
    own = {**setting, **targets.canonical(setting)}
    if "predictions" not in STRATEGIES[own["strategy"]].needs:
        own["iterations"] = 0
    elif not own["iterations"]:
        own |= HARD
    if not own["iterations"] and own["utterance"] == "mean":
        own["mode"] = None  # nothing is predicted out of sample
    return fitting.settle(PARAMS, own)


def _graph(setting: Setting) -> tuple[Node, ...]:
    own = canonical(setting)
    last, nested = own["iterations"], own["mode"] == "nested"
    grows = own["utterance"] == "forest"
    rule, training = fitting.pick(TARGETS, own), fitting.pick(TRAINING, own)
    division = fitting.pick(DIVISION, own)
    nodes = []
    for t in range(last + 1):
        params = {**(rule if t or not last else HARD), **training}
        source: dict[str, Any] = {}
        if t:
            before = f"inner_{t - 1}" if nested else f"iteration_{t - 1}"
            source = {"parents" if nested else "across": {"before": before}}
        if t == last or not nested:
            whole = {**params, **dict.fromkeys(DIVISION)}
            parts = ("train", "validation", "test")
            nodes.append(Node(f"iteration_{t}", network, whole, parts=parts, group=True, **source))
        if nested and (t < last or grows):
            inner = {**params, **division}
            source |= {"parts": ("train", "validation"), "group": True}
            nodes.append(Node(f"inner_{t}", network, inner, **source))
    return (*nodes, _last_node(own))


def _last_node(own: Setting) -> Node:
    """The stage that makes utterances' classes of what the last iteration says."""
    last, nested = own["iterations"], own["mode"] == "nested"
    grows = own["utterance"] == "forest"
    of = f"iteration_{last}"
    inner = {"outside": f"inner_{last}"} if grows and nested else {}
    return Node(
        "utterance",
        utterance,
        {"trees": own["trees"]},
        {"network": of, **inner},
        parts=("train",) if grows else (),
        across={"outside": of} if grows and not nested else {},
    )


def _in_fold(node: Node, facts: FoldFacts) -> dict[str, Any]:
    """A node's parameters on a fold: there are no more inner folds than what they divide."""
    own, train = dict(node.params), facts.parts["train"]
    if own.get("inner_folds") is not None:
        units = len(train.speakers) if own["inner_by"] == "speaker" else train.clips
        own["inner_folds"] = min(own["inner_folds"], units)
    return own


def _needs(setting: Setting) -> frozenset[str]:
    needs = STRATEGIES[canonical(setting)["strategy"]].needs
    return frozenset({"votes"} if "votes" in needs else ())


# --- Stages ---------------------------------------------------------------------------------


@takes(*TARGETS, *TRAINING, *DIVISION)
def network(inputs: StageInputs, own: Setting) -> Artifact:
    """Train on the training part and predict the segments of validation and test.

    With `inner_folds`, predict those of the training part instead, each utterance's by a network
    that was not trained on it.

    Its labels come from `parents["before"]` (inner folds' predictions of the training part), from
    `across["before"]` (every fold's predictions of its test part), or, in iteration 0, from the
    utterances alone. Parameters are those of METHOD; None where they have no effect (`canonical`).

    Returns:
        without inner folds, arrays `validation` and `test` [S, K], segments' probabilities
        utterance by utterance, `validation_counts` and `test_counts` [n], segments of each; info
        `ids` of the test part, `curves`, `best_epoch`, `epochs`, `segments` trained on and
        `target_entropy` in nats; with `inputs.keep_weights` also the network's weights and info
        `bands`, the values of a frame. With inner folds, arrays `train` [S, K] and `train_counts`
        [n]; info `runs`, the facts of each training

    Raises:
        ValueError: frames, votes or predictions that the setting needs are not there
        NonFinite: the training diverged
    """
    lesson = _lesson(inputs, own)
    if own["inner_folds"] is not None:
        return _inner_networks(inputs, lesson, own)
    parts = {"validation": inputs.validation, "test": inputs.test}
    train = inputs.train.take(lesson.rows)
    result, cut = segment_training.fit(inputs, train, lesson.target, parts, own)
    arrays: dict[str, Array] = {}
    for name in parts:
        nothing = np.zeros((0, len(inputs.classes)), np.float32)
        arrays[name] = result.probabilities.get(name, nothing)
        arrays[f"{name}_counts"] = cut.counts[name]
    info = result.facts | {
        "ids": inputs.test.ids.tolist(),
        "segments": len(cut.starts["train"]),
        "target_entropy": lesson.entropy,
    }
    if result.weights is not None:
        info["bands"] = cut.frames.shape[1]
    return Artifact(arrays | weight_arrays(result.weights), info)


def _inner_networks(inputs: StageInputs, lesson: _Lesson, own: Setting) -> Artifact:
    """As many trainings as there are inner folds, each of which predicts its own fold."""
    fold = fitting.inner_folds(inputs.train, own["inner_folds"], own["inner_by"])
    counts = segments.count(frames_of(inputs.train), length=own["segment"], hop=own["hop"])

    def fit(here: StageInputs, away: fitting.Rows, predict: Mapping[str, Part]) -> fitting.Outcome:
        learn = ~away["train"][lesson.rows]
        train, target = here.train.take(lesson.rows[learn]), lesson.target[learn[lesson.of]]
        # "train" are those that are learnt from
        others = {"held": predict["train"]}
        result, _ = segment_training.fit(here, train, target, others, own)
        return {"train": result.probabilities["held"]}, result.facts

    groups = [{"train": fold == number} for number in range(int(fold.max()) + 1)]
    arrays, runs = fitting.cross_fit(inputs, groups, fit, sizes={"train": counts})
    return Artifact({**arrays, "train_counts": counts}, {"runs": runs})


def utterance(inputs: StageInputs, *, trees: int | None) -> Artifact:
    """The score of validation and test utterances from what the network says of their segments.

    Args:
        inputs: `parents["network"]` predicted validation and test. For a forest,
            `parents["outside"]` (inner folds) or `across["outside"]` (every fold's predictions of
            its test part) tells what networks said of utterances they were not trained on
        trees: of the forest; None takes the mean over segments

    Returns:
        arrays `validation` and `test` [n, K]; info of the network's training; with
        `inputs.keep_weights` also the forest, as `forest.arrays_of` has it
    """
    before = inputs.parents["network"]
    info = {name: before.info[name] for name in ("curves", "best_epoch", "epochs", "segments")}
    parts = {
        name: (before.arrays[name], before.arrays[f"{name}_counts"])
        for name in ("validation", "test")
    }
    if trees is None:
        means = {n: waves.over_clips(p, segments.owners(c)) for n, (p, c) in parts.items()}
        return Artifact(means, info)
    from sklearn.ensemble import RandomForestClassifier

    model = RandomForestClassifier(n_estimators=trees, random_state=inputs.seed, n_jobs=1)
    model.fit(segments.statistics(*_outside(inputs, "outside")), labels_of(inputs.train))
    arrays: dict[str, Array] = {}
    for name, (probabilities, counts) in parts.items():
        arrays[name] = np.zeros((len(counts), len(inputs.classes)), np.float32)
        if len(counts):
            rows = segments.statistics(probabilities, counts)
            arrays[name][:, model.classes_] = model.predict_proba(rows)
    if inputs.keep_weights:
        arrays |= weight_arrays(forest.arrays_of(model, len(inputs.classes)))
    return Artifact(arrays, info)


# --- What networks said of the training part -----------------------------------------------------


def _outside(inputs: StageInputs, role: str) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """[S, K] and [n]: the training part's segments, by networks not trained on the utterance.

    Across folds an utterance is in the test part of one fold, or of several where some select: then
    their mean. Where a fold predicts it more than once, with a speaker's statistics from few clips,
    the first is that from all.
    """
    if role in inputs.parents:
        arrays = inputs.parents[role].arrays
        return arrays["train"], arrays["train_counts"]
    rows: dict[str, list[NDArray[np.float32]]] = {}
    for artifact in inputs.across[role]:
        counts = artifact.arrays["test_counts"]
        here: set[str] = set()
        for name, end, count in zip(artifact.info["ids"], np.cumsum(counts), counts, strict=True):
            if name not in here:
                rows.setdefault(name, []).append(artifact.arrays["test"][end - count : end])
            here.add(name)
    ids = inputs.train.ids.tolist()
    missing = [name for name in ids if name not in rows]
    if missing:
        raise ValueError(
            f"mode=paper needs every utterance in the test part of some fold, but {len(missing)} "
            f"training utterances are in none (the first is {missing[0]}); take mode=nested"
        )
    means = [np.mean(rows[name], axis=0) for name in ids]
    return np.concatenate(means), np.array([len(mean) for mean in means], dtype=np.int64)


@dataclass(frozen=True)
class _Lesson:
    """What a training learns from: utterances of the training part, and their segments' targets."""

    rows: NDArray[np.int64]
    """[n] of the training part"""
    of: NDArray[np.int64]
    """[S] place in `rows` of each segment's utterance"""
    target: NDArray[np.float32]
    """[S, K]"""

    @property
    def entropy(self) -> float:
        """Mean over segments, in nats: 0 for hard labels, ln K where nothing is told apart."""
        return float(-(self.target * np.log(np.maximum(self.target, 1e-12))).sum(axis=1).mean())


def _lesson(inputs: StageInputs, own: Setting) -> _Lesson:
    part, strategy = inputs.train, own["strategy"]
    y, needs = labels_of(part), STRATEGIES[strategy].needs
    rows = np.arange(len(part))
    if "votes" in needs:
        rows = np.flatnonzero(have_votes(part, strategy))
    predictions = None
    if "predictions" in needs:
        predictions, counts = _outside(inputs, "before")
    else:
        counts = segments.count(frames_of(part), length=own["segment"], hop=own["hop"])
    of = np.repeat(np.arange(len(rows)), counts[rows])
    target = targets.of_setting(
        own,
        y=y[rows][of],
        k=len(inputs.classes),
        votes=None if part.votes is None else part.votes[rows][of],
        predictions=predictions,
        group=of,
    )
    return _Lesson(rows, of, target)


# --- A model ---------------------------------------------------------------------------------


def _predictor(state: NetworkState) -> Callable[[Part], NDArray[np.float32]]:
    """The network of the last iteration on all segments, and the forest, or the mean, on these."""
    read = segment_training.reader(state.parents["network"])

    def predict(part: Part) -> NDArray[np.float32]:
        probabilities, counts = read(frames_of(part))
        if state.params["trees"] is None:
            return waves.over_clips(probabilities, segments.owners(counts))
        return forest.probabilities(state.weights, segments.statistics(probabilities, counts))

    return predict


def _leaks(setting: Setting) -> bool:
    """Whether other folds' networks, which have learnt the held-out labels, take part."""
    return any(node.across for node in _graph(setting))


def _remarks(setting: Setting) -> tuple[str, ...]:
    if not _leaks(setting):
        return ()
    return (
        "mode=paper: the study's scores are of networks that held-out labels have reached through "
        "other folds' networks; on new speakers expect less",
    )


def _export_notes(setting: Setting) -> tuple[str, ...]:
    if not _leaks(setting):
        return ()
    return (
        "mode=paper: a refit holds nothing out, so what it learns from is what the networks of the "
        "study's folds said of the clips that each of them held out; how=ensemble keeps the folds",
    )


METHOD = Method(
    name="self_learning",
    summary="labels of overlapping segments corrected by networks of earlier iterations",
    params=PARAMS,
    graph=_graph,
    in_fold=_in_fold,
    needs=_needs,
    features=("logmel64",),
    inputs=("frames",),
    paper="Mao, Ching, Lee: Enhancing segment-based speech emotion recognition by deep "
    "self-learning (2021)",
    export=Exporter(
        _predictor,
        keeps=("network",),
        several=targets.several,
        notes=_export_notes,
        remarks=_remarks,
    ),
)
