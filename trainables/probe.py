"""A probe on a speech encoder: a learned weighted sum of its layers, a pooling, and an MLP.

The encoder is frozen, and its layers are stored once a clip (`features=layers:MODEL`); or LoRA's
adapters, its transformer or all of it are trained, on waves. One node a fold: `student` towards
classes, with `teacher` before it where the label strategy reads predictions, or `numbers` towards
attributes. Label strategies, losses, augmentation and the loop are those that all methods share.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from trainables import attribute_lesson, augmentation, encoder_training, fitting, targets
from trainables.attribute_lesson import LOSS_OF_NUMBERS, scale_of_facts, with_ccc
from trainables.attribute_targets import (
    STRATEGIES_OF_NUMBERS,
    TARGETS_OF_NUMBERS,
    settle_numbers,
)
from trainables.class_loss import LOSS, METRIC, settle_loss
from trainables.encoder_training import ENCODER, Goal
from trainables.fitting import equals, where
from trainables.layer_choice import ALL, LayerChoice, canonical_layers
from trainables.lesson import TARGETS, lesson_of, parts_of, targets_of
from trainables.probe_training import (
    RECORDED,
    clip_network,
    fit_probe,
    infer,
    probe_artifact,
    towards_classes,
)
from trainables.stage import (
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
)
from trainables.targets import STRATEGIES
from trainables.weight_files import TINY, from_anywhere, identity

if TYPE_CHECKING:
    pass

LAYERS = "layers"
_tuned = equals("ssl_train", "lora", "transformer", "all")
_frozen = equals("ssl_train", "none")


def _numbers(own: Setting) -> bool:
    """Whether the strategy makes targets of numbers."""
    return own["strategy"] in STRATEGIES_OF_NUMBERS


def _both(classes: Param, numbers: Param, default: str) -> Param:
    """One parameter of the choices of two, the first for classes and the second for attributes."""
    return Param(
        default,
        f"{classes.help}: {', '.join(classes.choices or ())}. Of attributes: {numbers.help}",
        (*(classes.choices or ()), *(numbers.choices or ())),
    )


GOAL: dict[str, Param] = {
    **TARGETS,
    **TARGETS_OF_NUMBERS,
    "strategy": _both(TARGETS["strategy"], TARGETS_OF_NUMBERS["strategy"], "hard"),
}
"""Parameters of the targets."""
TRAINING: dict[str, Param] = {
    **LOSS,
    **LOSS_OF_NUMBERS,
    **METRIC,
    "loss": _both(LOSS["loss"], LOSS_OF_NUMBERS["loss"], "ce"),
    "class_weight": replace(LOSS["class_weight"], default="none"),
    # Encoder
    "ssl": ENCODER["ssl"],
    "ssl_revision": ENCODER["ssl_revision"],
    "layers": LayerChoice(
        ALL,
        "layers that are stored and summed: all, last, or numbers as in 4-8 and 0+6+12 (0 is the "
        "input of the transformer)",
    ),
    "ssl_train": Param(
        "none",
        "what of the encoder is trained: none (its stored layers are read), lora (adapters, by "
        "peft), its transformer without the convolutions that read the wave, or all",
        ("none", "lora", "transformer", "all"),
    ),
    **where(
        _tuned,
        layerdrop=ENCODER["layerdrop"],
        mask_time=replace(ENCODER["mask_time"], default=0.0),
        ssl_lr_scale=ENCODER["ssl_lr_scale"],
        checkpointing=ENCODER["checkpointing"],
        longest=Param(15.0, "seconds of a piece of a wave", low=0.5, high=30.0),
        floor=Param(1.0, "seconds that a shorter piece is lengthened to", low=0.1, high=10.0),
    ),
    **where(
        equals("ssl_train", "lora"),
        lora_rank=Param(8, "rows of LoRA's matrices", low=1, high=1024),
        lora_alpha=Param(16, "LoRA's alpha: adapters are scaled by alpha / rank", low=1, high=4096),
        lora_dropout=Param(0.0, "share of an adapter's inputs dropped", low=0.0, high=0.9),
        lora_on=Param(
            "feed_forward",
            "layers that get adapters: feed-forward ones, attention's query and value (WavLM has "
            "none that work there), or both",
            ("feed_forward", "attention", "both"),
        ),
    ),
    # Network
    "layer_norm": Param(
        False, "normalise each state before the sum, so that loud layers do not lead it"
    ),
    "pool": Param(
        "mean",
        "pooling over frames: mean, attention, statistics (mean and deviation), or label "
        "correction's pyramid",
        ("mean", "attention", "statistics", "pyramid"),
    ),
    "depth": Param(1, "hidden layers of the MLP; 0 leaves a linear probe", low=0, high=8),
    "hidden": Param(
        256, "units of a hidden layer", low=1, high=8192, matters=lambda own: own["depth"] > 0
    ),
    "dropout": Param(
        0.2,
        "share of hidden units dropped",
        low=0.0,
        high=0.95,
        matters=lambda own: own["depth"] > 0,
    ),
    "clip_score": encoder_training.TRAINING["clip_score"],
    **fitting.steps(
        batch=(32, ""),
        bucket=(16, ""),
        lr=(1e-3, "1e-4 where the encoder is trained"),
        weight_decay=(0.0, ""),
        epochs=(100, ""),
        patience=(8, ""),
        patience_steps=(120, ""),
        precision=("fp32", ""),
        accumulate=(1, ""),
        clip_norm=(0.0, ""),
    ),
    **augmentation.declare(wave=_tuned, frames=_frozen),
}
"""Parameters of one training, whatever its targets."""
FIT = (*TRAINING, "ssl_digest")
TEACHER = ("lr", "epochs", "patience", "patience_steps")
"""Those of TRAINING that the teacher has of its own."""
PARAMS: dict[str, Param] = {
    **GOAL,
    **TRAINING,
    "teacher": Param(
        "in_sample",
        "predictions by a teacher that was trained on the clip (in_sample), or on other speakers "
        "(crossfit); for strategies that read predictions",
        ("in_sample", "crossfit"),
    ),
    "teacher_folds": Param(5, "groups of speakers for crossfit", low=2, high=1000),
    **fitting.again("teacher", TRAINING, TEACHER),
}


def canonical(setting: Setting) -> dict[str, Any]:
    """The parameters of one training, with those that have no effect set to None.

    A frozen encoder is named by its features, and so is in no stage's parameters.

    Args:
        setting: every parameter of the method
    """
    own: dict[str, Any] = fitting.pick([*GOAL, *TRAINING], setting)
    if _numbers(own):
        own = dict(settle_numbers(attribute_lesson.settle_loss_of_numbers(own)))
        idle = {*TARGETS, *LOSS, *METRIC, "clip_score"} - {"strategy", "loss"}
    else:
        own |= targets.canonical(own)
        own = settle_loss(own)
        idle = {*TARGETS_OF_NUMBERS, *LOSS_OF_NUMBERS} - {"strategy", "loss"}
    own |= dict.fromkeys(idle)
    own["layers"] = canonical_layers(own["layers"])
    own = fitting.settle(PARAMS, own)
    if own["ssl_train"] == "none":
        return own | dict.fromkeys(("ssl", "ssl_revision", "ssl_digest", "clip_score"))
    return own | identity(own, "ssl")


def _graph(setting: Setting) -> tuple[Node, ...]:
    own = canonical(setting)
    if _numbers(own):
        parts = ("train", "validation", "test")
        return (Node("numbers", numbers, own, parts=parts, group=True),)
    student_parts = ("train", "validation", "test", *parts_of(own))
    last = Node("student", student, own, parts=student_parts, group=True)
    if "predictions" not in STRATEGIES[own["strategy"]].needs:
        return (last,)
    first = {
        **fitting.pick(FIT, own),
        **fitting.second("teacher", TEACHER, setting),
        "crossfit": int(setting["teacher_folds"]) if setting["teacher"] == "crossfit" else None,
    }
    before = Node(
        "teacher",
        teacher,
        fitting.typed(PARAMS, first),
        parts=("train", "validation", *parts_of(own)),
        group=True,
    )
    return (before, replace(last, parents={"teacher": "teacher"}))


def _in_fold(node: Node, facts: FoldFacts) -> dict[str, Any]:
    """A node's parameters on a fold: there are no more groups than speakers."""
    own = dict(node.params)
    if own.get("crossfit") is not None:
        clips = facts.parts["train"]
        if "undecided" in node.parts:
            clips = clips.join(facts.parts["undecided"])
        own["crossfit"] = min(own["crossfit"], len(clips.speakers))
    return own


def _needs(setting: Setting) -> frozenset[str]:
    own = canonical(setting)
    if not _numbers(own) and "votes" in STRATEGIES[own["strategy"]].needs:
        return frozenset({"votes"})
    return frozenset()


def _features(values: Mapping[str, tuple[Any, ...]]) -> tuple[str, ...]:
    """The feature sets that a space needs: stored layers, waves, or both.

    Raises:
        ValueError: layers are stored of several encoders or choices at once
    """
    tuned = set(values["ssl_train"])
    sets = []
    if "none" in tuned:
        for name in ("ssl", "ssl_revision", "layers"):
            if len(values[name]) > 1:
                raise ValueError(
                    f"params.{name} says what is stored of the encoder for ssl_train=none, so it "
                    f"has one value in a study, but the space has {list(values[name])}; take one, "
                    "and compare the studies"
                )
        ssl, revision, choice = (values[name][0] for name in ("ssl", "ssl_revision", "layers"))
        at = "" if revision == "main" else f"@revision={revision}"
        sets.append(f"{LAYERS}:{from_anywhere(ssl)}@layers={canonical_layers(choice)}{at}")
    return (*sets, RECORDED) if tuned - {"none"} else tuple(sets)


# --- Stages ---------------------------------------------------------------------------------


@takes(*GOAL, *FIT)
def student(inputs: StageInputs, own: Setting) -> Artifact:
    """Train towards the strategy's targets and predict validation and test.

    Parameters are those of METHOD; None where they have no effect (`canonical`).

    Returns:
        arrays `validation` and `test` [n, K] clips' probabilities, `embedding_test`; info of the
        training (`curves`, `best_epoch`, ...), of the lesson (`dropped`, `flagged`), and
        `layer_weights`, the share of each layer in the sum by its number; with
        `inputs.keep_weights` the weights of what was trained and what `predictor` builds it from

    Raises:
        ValueError: the strategy needs votes or predictions and there are none, or the features are
            not what the parameters read
        NonFinite: the training diverged
    """
    lesson = lesson_of(inputs, inputs.parents.get("teacher"), own)
    parts = {"validation": inputs.validation, "test": inputs.test}
    goal = towards_classes(lesson.part, lesson.target, own)
    result, clips = fit_probe(inputs, lesson.part, lesson.target, parts, own, goal)
    return probe_artifact(inputs, own, result, clips, lesson.facts)


@takes("crossfit", *FIT)
def teacher(inputs: StageInputs, own: Setting) -> Artifact:
    """Train on one-hot labels and predict every training clip, in eval mode.

    `crossfit` None predicts the clips it was trained on too; a number divides the training
    speakers into so many groups and predicts each by a model trained on the others.

    Returns:
        of `fitting.teach`

    Raises:
        ValueError: crossfit with a single training speaker
        NonFinite: the training diverged
    """

    def fit(here: StageInputs, away: fitting.Rows, predict: Mapping[str, Part]) -> fitting.Outcome:
        train = here.train.take(~away["train"])
        target = targets_of(train, None, len(here.classes), {"strategy": "hard"})
        goal = towards_classes(train, target, own)
        result, clips = fit_probe(here, train, target, predict, own, goal)
        return clips, encoder_training.facts(result, own)

    groups = fitting.speaker_groups(
        inputs,
        inputs.train.speaker,
        own["crossfit"],
        option="teacher=crossfit",
        instead="teacher=in_sample",
    )
    return fitting.teach(inputs, groups, fit)


@takes(*GOAL, *FIT)
def numbers(inputs: StageInputs, own: Setting) -> Artifact:
    """Train towards attributes as numbers and predict validation and test.

    Returns:
        arrays `validation` and `test` [n, A] on the ratings' scale, and `embedding_test`; info as
        of `student`, with the scale of the ratings (`attribute_lesson.Scale.facts`)

    Raises:
        ValueError: the training part has no ratings, or the features are not what is read
        NonFinite: the training diverged
    """
    lesson = attribute_lesson.attribute_lesson(inputs, own)
    weight, target = lesson.columns["weight"], lesson.columns["target"]
    goal = Goal({"weight": weight}, lesson.score, dict(lesson.training))
    parts = {"validation": inputs.validation, "test": inputs.test}
    result, clips = fit_probe(inputs, inputs.train, target, parts, own, goal)
    rated = {n: lesson.scale.rated(x) if n in parts else x for n, x in clips.items()}
    artifact = probe_artifact(inputs, own, result, rated, lesson.scale.facts())
    return replace(artifact, info=with_ccc(artifact.info))


# --- A model --------------------------------------------------------------------------------


def _predictor(state: NetworkState) -> Callable[[Part], NDArray[np.float32]]:
    """What the stages trained as a function: a part -> probabilities [n, K], or attributes."""
    own, shape = {**state.params, "ssl_digest": None}, state.info["network"]
    checkpoint = state.checkpoints.get("ssl")
    network = clip_network(own, shape, len(state.classes), checkpoint)
    if own["ssl_train"] == "lora":
        base = network.build().state_dict()
        whole = {name: value.numpy() for name, value in base.items()}
        state = replace(state, weights={**whole, **state.weights})
    numbers = _numbers(own)
    link: Any = "identity" if numbers else "softmax"
    predict = encoder_training.clip_predictor(state, network, infer=infer, link=link)
    if not numbers:
        return predict
    scale = scale_of_facts(state.info)
    return lambda part: scale.rated(predict(part))


def _checkpoints(own: Setting) -> dict[str, tuple[str, str]]:
    """LoRA's base travels with a model as the files that it was read from."""
    if own["ssl_train"] != "lora" or own["ssl"] == TINY:
        return {}
    return {"ssl": (own["ssl"], own["ssl_revision"] or "main")}


METHOD = Method(
    name="probe",
    summary="a learned weighted sum of a speech encoder's layers, pooled, and an MLP; or LoRA",
    params=PARAMS,
    graph=_graph,
    in_fold=_in_fold,
    needs=_needs,
    inherits={f"teacher_{name}": name for name in TEACHER},
    notes=lambda setting: () if setting["ssl_train"] == "none" else encoder_training.notes(setting),
    features=(LAYERS,),
    features_of=_features,
    inputs=("frames",),
    kinds=("classes", "continuous"),
    for_numbers={"strategy": "mean", "loss": "ccc"},
    kind_of=lambda setting: "continuous" if _numbers(setting) else "classes",
    paper="Yang et al.: SUPERB: Speech processing Universal PERformance Benchmark (2021)",
    export=Exporter(
        _predictor,
        several=lambda setting: not _numbers(setting) and targets.several(setting),
        checkpoints=_checkpoints,
    ),
)
