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

Torch and scikit-learn are imported inside the stages.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from trainables import (
    encoder_training,
    fitting,
    forest,
    segment_training,
    segments,
    targets,
    waves,
)
from trainables.stage import (
    Artifact,
    Exporter,
    Method,
    NetworkState,
    Node,
    Param,
    Part,
    Sequences,
    StageInputs,
    takes,
    weight_arrays,
)
from trainables.targets import STRATEGIES

if TYPE_CHECKING:
    from collections.abc import Callable

    from trainables.epochs import Fit

SERVED = tuple(name for name, s in STRATEGIES.items() if "sets" not in s.needs)
"""Strategies of this method: all but those that need clips divided by their votes."""
RULES = tuple(sorted({name for rule in SERVED for name in STRATEGIES[rule].params}))
"""Parameters of these."""
BACKBONES = ("efficientnet_b0", "mobilenet_v2", "densenet22", "vgg19")
TREES = 100
"""scikit-learn's default since 0.22; the paper's date makes it 100"""

PARAMS: dict[str, Param] = {
    "mode": Param(
        "nested",
        "paper: labels from other folds' networks, as published, which have seen the held-out "
        "labels; nested: from inner folds of the training part",
        ("paper", "nested"),
    ),
    # Targets
    "strategy": Param(
        "wdsl",
        "update rule of the labels (paper: wdsl, bdsl, gsl, dhl); those that need no predictions, "
        "such as hard, are one training without iterations",
        SERVED,
    ),
    **{name: targets.PARAMS[name] for name in RULES},
    "iterations": Param(1, "times that labels are updated; 0: hard labels alone", low=0, high=20),
    "inner_folds": Param(5, "nested: inner folds of a training part", low=2, high=100),
    "inner_by": Param(
        "utterance",
        "nested: inner folds divide utterances, by class (as the paper's folds), or speakers",
        ("utterance", "speaker"),
    ),
    # Utterances
    "utterance": Param(
        "forest",
        "an utterance's score: a random forest on 8 statistics a class (paper), or the mean of its "
        "segments' probabilities",
        ("forest", "mean"),
    ),
    "trees": Param(TREES, "of the forest (paper: scikit-learn's default)", low=1, high=10000),
    # Segments
    "segment": Param(32, "frames of 10 ms in a segment (paper: 32)", low=4, high=1000),
    "hop": Param(
        1, "frames from one segment to the next (paper: 1; CASIA and, by its counts, SAVEE: 3)",
        low=1, high=1000,
    ),
    # Network
    "backbone": Param("efficientnet_b0", "network that reads a segment", BACKBONES),
    "width": Param(1.0, "multiplies its channels; not of densenet22", low=1 / 16, high=4.0),
    "dropout": Param(
        1.0,
        "multiplies the published dropout: mobilenet_v2 0.2, efficientnet_b0 0.2 and stochastic "
        "depth 0.2, vgg19 0.5",
        low=0.0,
        high=1.5,
    ),
    "growth": Param(12, "densenet22: channels that a layer adds (unsaid)", low=1, high=128),
    "vgg_hidden": Param(4096, "vgg19: units of its hidden layers (unsaid)", low=8, high=8192),
    "vgg_norm": Param(False, "vgg19: batch normalisation, which the published network lacks"),
    "bn_momentum": Param(
        0.01,
        "weight of a batch in the running statistics (TensorFlow's 0.99 is 0.01 here); trainings "
        "of few steps need more",
        low=1e-4,
        high=1.0,
    ),
    "bn_eps": Param(1e-3, "of batch normalisation (TensorFlow's 0.001)", low=1e-8, high=1.0),
    # Optimiser
    "batch": Param(128, "segments a step (paper: 128)", low=2, high=65536),
    "lr": Param(1e-3, "Adam's step size (paper: 0.001)", low=1e-7, high=1.0),
    "decay": Param(0.8, "of the step size (paper: 0.8 every two epochs)", low=1e-3, high=1.0),
    "decay_every": Param(2, "epochs between two of them", low=1, high=10000),
    "adam_eps": Param(1e-7, "Adam's term in the denominator (Keras: 1e-7)", low=1e-12, high=1.0),
    "epochs": Param(12, "epochs at most (paper: 12; CASIA 20, SAVEE 8)", low=1, high=10000),
    "patience": Param(
        3, "epochs without a better validation UA until the end (paper: 3)", low=1, high=10000
    ),
}  # fmt: skip

LABELS = ("strategy", *RULES)
OWN = {
    "efficientnet_b0": ("width", "dropout", "bn_momentum", "bn_eps"),
    "mobilenet_v2": ("width", "dropout", "bn_momentum", "bn_eps"),
    "densenet22": ("growth", "bn_momentum", "bn_eps"),
    "vgg19": ("width", "dropout", "vgg_hidden", "vgg_norm", "bn_momentum", "bn_eps"),
}
"""by backbone: the parameters of the network that matter to it"""
NETWORK = tuple(dict.fromkeys(name for names in OWN.values() for name in names))
FIT = (
    "segment", "hop", "backbone", *NETWORK, "batch", "lr", "decay", "decay_every", "adam_eps",
    "epochs", "patience",
)  # fmt: skip
"""Parameters of one training, whatever its targets."""
DIVISION = ("inner_folds", "inner_by")


def canonical(setting: Mapping[str, Any]) -> dict[str, Any]:
    """A setting with what has no effect set to None, so that equal trainings have equal keys.

    wdsl with alpha 0 is bdsl. With alpha 1 nothing is left of the predictions: it is hard labels,
    and so iteration 0, as in the paper's Table IV. So is every rule with no iteration.

    Args:
        setting: every parameter of the method
    """
    own = {name: setting[name] for name in PARAMS}
    rule = {**dict.fromkeys(targets.PARAMS), **{name: setting[name] for name in LABELS}}
    own |= {name: value for name, value in targets.canonical(rule).items() if name in LABELS}
    if "predictions" not in STRATEGIES[own["strategy"]].needs:
        own["iterations"] = 0
    elif not own["iterations"]:
        own |= _hard()
    for name in NETWORK:
        if name not in OWN[own["backbone"]]:
            own[name] = None
    if own["backbone"] == "vgg19" and not own["vgg_norm"]:
        own["bn_momentum"] = own["bn_eps"] = None
    if own["utterance"] == "mean":
        own["trees"] = None
    if not own["iterations"] and own["utterance"] == "mean":
        own["mode"] = None  # nothing is predicted out of sample
    if own["mode"] != "nested":
        own["inner_folds"] = own["inner_by"] = None
    return encoder_training.like(PARAMS, own)


def _hard() -> dict[str, Any]:
    return {"strategy": "hard", **dict.fromkeys(RULES)}


def _graph(setting: Mapping[str, Any]) -> tuple[Node, ...]:
    own = canonical(setting)
    fit = {name: own[name] for name in FIT}
    last, nested = own["iterations"], own["mode"] == "nested"
    grows = own["utterance"] == "forest"
    rule = {name: own[name] for name in LABELS}
    first = _hard() if last else rule
    division = {name: own[name] for name in DIVISION}
    nodes = []
    parts: tuple[str, ...]
    for t in range(last + 1):
        labels = rule if t else first
        source: dict[str, Any] = {}
        if t:
            before = f"inner_{t - 1}" if nested else f"iteration_{t - 1}"
            source = {"parents" if nested else "across": {"before": before}}
        if t == last or not nested:
            own_params = {**labels, **fit, **dict.fromkeys(division)}
            parts = ("train", "validation", "test")
            nodes.append(Node(f"iteration_{t}", network, own_params, parts=parts, **source))
        if nested and (t < last or grows):
            own_params = {**labels, **fit, **division}
            parts = ("train", "validation")
            nodes.append(Node(f"inner_{t}", network, own_params, parts=parts, **source))
    of = f"iteration_{last}"
    across = {"outside": of} if grows and not nested else {}
    parents = {"network": of} | ({"outside": f"inner_{last}"} if grows and nested else {})
    nodes.append(
        Node(
            "utterance",
            utterance,
            {"trees": own["trees"]},
            parents,
            parts=("train",) if grows else (),
            across=across,
        )
    )
    return tuple(nodes)


def _needs(setting: Mapping[str, Any]) -> frozenset[str]:
    needs = STRATEGIES[canonical(setting)["strategy"]].needs
    return frozenset({"votes"} if "votes" in needs else ())


# --- Stages ---------------------------------------------------------------------------------


@takes(*LABELS, *FIT, *DIVISION)
def network(inputs: StageInputs, own: Mapping[str, Any]) -> Artifact:
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
    learnt = _learnt(inputs, own)
    if own["inner_folds"] is not None:
        return _inner_networks(inputs, learnt, own)
    parts = {"validation": inputs.validation, "test": inputs.test}
    fitted, cut = _fit(inputs, inputs.train.take(learnt.rows), learnt.target, parts, own)
    arrays: dict[str, NDArray[Any]] = {}
    for name in parts:
        nothing = np.zeros((0, len(inputs.classes)), np.float32)
        arrays[name] = fitted.probabilities.get(name, nothing)
        arrays[f"{name}_counts"] = cut.counts[name]
    info = encoder_training.facts(fitted, own) | {
        "ids": inputs.test.ids.tolist(),
        "segments": len(cut.starts["train"]),
        "target_entropy": learnt.entropy,
    }
    if fitted.weights is not None:
        info["bands"] = cut.frames.shape[1]
    return Artifact(arrays | weight_arrays(fitted.weights), info)


def _inner_networks(inputs: StageInputs, learnt: _Learnt, own: Mapping[str, Any]) -> Artifact:
    """As many trainings as there are inner folds, each of which predicts its own fold."""
    which = fitting.divided(inputs.train, own["inner_folds"], own["inner_by"])
    counts = segments.count(_frames(inputs.train), length=own["segment"], hop=own["hop"])
    place = np.repeat(which, counts)
    made = np.zeros((len(place), len(inputs.classes)), np.float32)
    runs = []
    for fold in range(int(which.max()) + 1):
        held = {"held": inputs.train.take(which == fold)}
        learn = which[learnt.rows] != fold
        target = learnt.target[learn[learnt.of]]
        train = inputs.train.take(learnt.rows[learn])
        fitted, _ = _fit(fitting.training(inputs, fold), train, target, held, own)
        made[place == fold] = fitted.probabilities["held"]
        runs.append(encoder_training.facts(fitted, own))
    return Artifact({"train": made, "train_counts": counts}, {"runs": runs})


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
    made = inputs.parents["network"]
    info = {name: made.info[name] for name in ("curves", "best_epoch", "epochs", "segments")}
    parts = ("validation", "test")
    said = {name: (made.arrays[name], made.arrays[f"{name}_counts"]) for name in parts}
    if trees is None:
        means = {n: waves.over_clips(p, segments.owners(counts)) for n, (p, counts) in said.items()}
        return Artifact(means, info)
    from sklearn.ensemble import RandomForestClassifier

    assert inputs.train.y is not None
    fitted = RandomForestClassifier(n_estimators=trees, random_state=inputs.seed, n_jobs=1)
    fitted.fit(segments.statistics(*_outside(inputs, "outside")), inputs.train.y)
    arrays: dict[str, NDArray[Any]] = {}
    for name, each in said.items():
        arrays[name] = np.zeros((len(each[1]), len(inputs.classes)), np.float32)
        if len(each[1]):
            arrays[name][:, fitted.classes_] = fitted.predict_proba(segments.statistics(*each))
    if inputs.keep_weights:
        arrays |= weight_arrays(forest.arrays_of(fitted, len(inputs.classes)))
    return Artifact(arrays, info)


# --- What networks said of the training part -----------------------------------------------------


def _outside(inputs: StageInputs, role: str) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """[S, K] and [n]: the training part's segments, by networks not trained on the utterance.

    Across folds an utterance is in the test part of one fold, or of several where some select: then
    their mean. Where a fold predicts it more than once, with a speaker's statistics from few clips,
    the first is that from all.
    """
    if role in inputs.parents:
        found = inputs.parents[role].arrays
        return found["train"], found["train_counts"]
    said: dict[str, list[NDArray[np.float32]]] = {}
    for artifact in inputs.across[role]:
        ends = np.cumsum(artifact.arrays["test_counts"])
        here: set[str] = set()
        for name, end, count in zip(
            artifact.info["ids"], ends, artifact.arrays["test_counts"], strict=True
        ):
            if name not in here:
                said.setdefault(name, []).append(artifact.arrays["test"][end - count : end])
            here.add(name)
    missing = [name for name in inputs.train.ids.tolist() if name not in said]
    if missing:
        raise ValueError(
            f"mode=paper needs every utterance in the test part of some fold, but {len(missing)} "
            f"training utterances are in none (the first is {missing[0]}); take mode=nested"
        )
    rows = [np.mean(said[name], axis=0) for name in inputs.train.ids.tolist()]
    return np.concatenate(rows), np.array([len(row) for row in rows], dtype=np.int64)


@dataclass(frozen=True)
class _Learnt:
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


def _learnt(inputs: StageInputs, own: Mapping[str, Any]) -> _Learnt:
    import torch

    part = inputs.train
    if part.y is None or not len(part):
        raise ValueError("a training needs labelled clips in its training part")
    needs = STRATEGIES[own["strategy"]].needs
    rows = np.arange(len(part))
    if "votes" in needs:
        if part.votes is None:
            raise ValueError(
                f"the strategy {own['strategy']!r} needs votes, but this corpus has none; take "
                "votes=simulate, or a strategy without votes"
            )
        rows = np.flatnonzero(part.votes.sum(axis=1) > 0)
    predictions = None
    if "predictions" in needs:
        predictions, counts = _outside(inputs, "before")
    else:
        counts = segments.count(_frames(part), length=own["segment"], hop=own["hop"])
    of = np.repeat(np.arange(len(rows)), counts[rows])
    target = targets.build(
        own["strategy"],
        y=torch.as_tensor(part.y[rows][of]),
        k=len(inputs.classes),
        votes=None if part.votes is None else torch.as_tensor(part.votes[rows][of]),
        predictions=None if predictions is None else torch.as_tensor(np.array(predictions)),
        group=torch.as_tensor(of),
        **{name: own[name] for name in RULES},
    )
    return _Learnt(rows, of, target.numpy())


# --- One training ---------------------------------------------------------------------------


def _frames(part: Part) -> Sequences:
    if len(part.frames) != 1:
        raise ValueError(
            f"self_learning reads one feature set of frames, but features= names "
            f"{sorted(part.frames)}; take features=logmel64"
        )
    return next(iter(part.frames.values()))


def _fit(
    inputs: StageInputs,
    train: Part,
    target: NDArray[np.float32],
    predict: Mapping[str, Part],
    own: Mapping[str, Any],
) -> tuple[Fit, segments.Segments]:
    """Train one network towards the targets [S, K] of the training part's segments."""
    from trainables.loop import Training, fit
    from trainables.losses import target_loss

    validation = inputs.validation
    if not inputs.refit and (validation.y is None or not len(validation)):
        raise ValueError("a training needs labelled clips in its validation part")
    if inputs.workers > 1 and own["bn_momentum"] is not None:
        raise ValueError(
            f"workers={inputs.workers}: each worker would normalise its own share of a batch, and "
            "the result would depend on their number; take workers=1 (folds run side by side)"
        )
    parts = {"train": train, "validation": validation, **predict}
    cut = segments.cut(
        {name: _frames(part) for name, part in parts.items()},
        length=own["segment"],
        hop=own["hop"],
    )
    k, bands = len(inputs.classes), cut.frames.shape[1]
    fitted = fit(
        Training(
            build=functools.partial(segment_training.build, classes=k, bands=bands, own=dict(own)),
            forward=segment_training.forward,
            infer=segment_training.infer,
            loss=functools.partial(target_loss, weights=None),
            score=functools.partial(
                waves.clip_scores,
                y=np.array(validation.y),
                pieces=segments.owners(cut.counts["validation"]),
                k=k,
            ),
            train={"start": cut.starts["train"], "target": target},
            validation={} if inputs.refit else {"start": cut.starts["validation"]},
            predict={name: {"start": cut.starts[name]} for name in predict},
            batch=own["batch"],
            lr=own["lr"],
            decay=own["decay"],
            decay_every=own["decay_every"],
            adam_eps=own["adam_eps"],
            epochs=own["epochs"],
            patience=own["patience"],
            checkpoint_every=1,
            checkpoint_seconds=encoder_training.CHECKPOINT_SECONDS,
            **inputs.training,
            collate=functools.partial(segments.collate, frames=cut.frames, length=own["segment"]),
            bucket=0,
        )
    )
    return fitted, cut


# --- A model ---------------------------------------------------------------------------------


def _predictor(trained: NetworkState) -> Callable[[Part], NDArray[np.float32]]:
    """The network of the last iteration on all segments, and the forest, or the mean, on these."""
    said_of = segment_training.reader(trained.parents["network"])

    def predict(part: Part) -> NDArray[np.float32]:
        said, counts = said_of(_frames(part))
        if trained.params["trees"] is None:
            return waves.over_clips(said, segments.owners(counts))
        return forest.probabilities(trained.weights, segments.statistics(said, counts))

    return predict


def _leaks(setting: Mapping[str, Any]) -> bool:
    """Whether other folds' networks, which have learnt the held-out labels, take part."""
    return any(node.across for node in _graph(setting))


def _remarks(setting: Mapping[str, Any]) -> tuple[str, ...]:
    if not _leaks(setting):
        return ()
    return (
        "mode=paper: the study's scores are of networks that held-out labels have reached through "
        "other folds' networks; on new speakers expect less",
    )


def _export_notes(setting: Mapping[str, Any]) -> tuple[str, ...]:
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
    needs=_needs,
    features=("logmel64",),
    inputs=("frames",),
    paper="Mao, Ching, Lee: Enhancing segment-based speech emotion recognition by deep "
    "self-learning (2021)",
    export=Exporter(
        _predictor,
        keeps=("network",),
        several=lambda setting: "votes" in STRATEGIES[setting["strategy"]].needs,
        notes=_export_notes,
        remarks=_remarks,
    ),
)
