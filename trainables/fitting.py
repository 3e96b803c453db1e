"""What every method needs of its parameters and trainings.

A method declares each parameter once, in mappings of `Param`: `steps` and `again` give those that
many methods have. Its stages take the names of such mappings (`stage.takes`), `settle` makes
settings that train the same thing equal, and `fit` hands the parameters that `training.Steps`
knows to the loop. `cross_fit` and `teach` train several networks, each of which predicts the clips
that it has not learnt from.

Torch is imported inside functions: processes that only plan import this module.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from trainables.labels import labels_of
from trainables.stage import Array, Artifact, Param, Part, Setting, StageInputs

if TYPE_CHECKING:
    from trainables.optimisation import Fit
    from trainables.rows import Arrays

CHECKPOINT_SECONDS = 20.0
"""at least so long between two checkpoints of a training; most trainings end before the first"""

# --- Parameters -----------------------------------------------------------------------------

CLASS_WEIGHT = Param(
    "none",
    "'inverse' frequency of the classes in the stage's own targets (mean one), on each entry of a "
    "target, or 'none'",
    ("none", "inverse"),
)
STEPS: dict[str, Param] = {
    "optimiser": Param("adam", "adam, or adamax", ("adamax", "adam")),
    "batch": Param(64, "rows a step", low=2, high=65536),
    "bucket": Param(
        16, "batches whose rows are sorted by length together; 0: none", low=0, high=100000
    ),
    "accumulate": Param(1, "parts that a step's batch is passed in", low=1, high=4096),
    "lr": Param(1e-3, "the optimiser's step size", low=1e-7, high=1.0),
    "weight_decay": Param(0.0, "Adam's L2 term", low=0.0, high=1.0),
    "adam_eps": Param(1e-8, "Adam's term in the denominator", low=1e-12, high=1.0),
    "clip_norm": Param(0.0, "longest gradient; 0: any", low=0.0, high=1e6),
    "epochs": Param(100, "epochs at most", low=1, high=10000),
    "patience": Param(
        5, "epochs without a better validation UA until the end", low=1, high=10000
    ),
    "patience_steps": Param(
        120,
        "steps without one, at least, until the end; 0: epochs alone count",
        low=0,
        high=1000000,
        matters=lambda own: own["patience_steps"] > 0 and own["patience"] < own["epochs"],
    ),
    "plateau_patience": Param(
        2,
        "epochs without a better validation UA until the step size is cut",
        low=0,
        high=10000,
        matters=lambda own: own["plateau_factor"] < 1,
    ),
    "plateau_factor": Param(
        1.0, "factor of the step size where it is cut; 1 leaves it", low=1e-3, high=1.0
    ),
    "decay": Param(1.0, "factor of the step size every decay_every epochs", low=1e-3, high=1.0),
    "decay_every": Param(1, "epochs between two of them", low=1, high=10000),
    "precision": Param("fp32", "of the network's sums; fp16 needs a GPU", ("fp32", "bf16", "fp16")),
}  # fmt: skip
"""Parameters of the steps of a training: arguments of `training.Steps`, by their names."""


def above(name: str) -> Callable[[Setting], bool]:
    """`Param.matters` of a parameter that has an effect where another is above 0."""
    return lambda own: bool(own[name] > 0)


def equals(name: str, *values: Any) -> Callable[[Setting], bool]:
    """`Param.matters` of a parameter that has an effect where another has one of these values."""
    return lambda own: own[name] in values


def where(rule: Callable[[Setting], bool], **params: Param) -> dict[str, Param]:
    """Parameters that all have an effect where `rule` (`Param.matters`) says so."""
    return {name: dataclasses.replace(param, matters=rule) for name, param in params.items()}


def declare(shared: Mapping[str, Param], **defaults: tuple[Any, str]) -> dict[str, Param]:
    """The parameters of `shared` that are named, as a method declares them.

    Args:
        shared: by name
        defaults: name -> (the method's own default, what its help says of that, or "")
    """
    return {
        name: dataclasses.replace(
            shared[name],
            default=default,
            help=f"{shared[name].help} ({remark})" if remark else shared[name].help,
        )
        for name, (default, remark) in defaults.items()
    }


def steps(**defaults: tuple[Any, str]) -> dict[str, Param]:
    """`declare` of STEPS."""
    return declare(STEPS, **defaults)


def again(
    prefix: str, params: Mapping[str, Param], names: Iterable[str], **defaults: Any
) -> dict[str, Param]:
    """The parameters of a second training, each as one of the first: `<prefix>_<name>`.

    Args:
        prefix: of the second training
        params: of the first
        names: those that the second has too
        defaults: name -> its default in the second, where that is another one
    """
    return {
        f"{prefix}_{name}": dataclasses.replace(
            params[name],
            default=defaults.get(name, params[name].default),
            help=f"as {name}",
            matters=None,
        )
        for name in names
    }


def second(prefix: str, names: Iterable[str], setting: Setting) -> dict[str, Any]:
    """The values of a second training's parameters in a setting, by the names of the first's."""
    return {name: setting[f"{prefix}_{name}"] for name in names}


def pick(names: Iterable[str], setting: Setting) -> dict[str, Any]:
    """The parameters of these names."""
    return {name: setting[name] for name in names}


def typed(params: Mapping[str, Param], own: Setting) -> dict[str, Any]:
    """`own` with each number of its parameter's kind: 0 and 0.0 must not differ in a key."""
    return {name: params[name].typed(v) if name in params else v for name, v in own.items()}


def settle_wait(own: Setting, clips: int) -> dict[str, Any]:
    """`own` with its patience in epochs alone, where the rows of the training are known.

    A number of steps that has no effect in a fold is then in no key.

    Args:
        own: parameters of `STEPS`
        clips: rows that one training learns from
    """
    epochs = -(-(own["patience_steps"] or 0) // steps_of(clips, own["batch"]))
    return {**own, "patience": max(own["patience"], epochs), "patience_steps": None}


def steps_of(rows: int, batch: int) -> int:
    """Steps of an epoch: batches of so many rows, of which a last single one joins another."""
    steps = -(-rows // batch)
    return steps - 1 if steps > 1 and rows % batch == 1 else max(steps, 1)


def settle(params: Mapping[str, Param], own: Setting) -> dict[str, Any]:
    """`own` with every parameter that has no effect in it (`Param.matters`) set to None.

    Settings that train the same thing then have the same stage key.

    Args:
        params: by name; entries of `own` that are none of them stay as they are
        own: the parameters of a stage, before any is set to None
    """
    idle = {
        name
        for name in own
        if own[name] is not None
        and name in params
        and (rule := params[name].matters) is not None
        and not rule(own)
    }
    return typed(params, {**own, **dict.fromkeys(idle)})


# --- One training ---------------------------------------------------------------------------


def fit(inputs: StageInputs, own: Setting, *, validation: Arrays, **training: Any) -> Fit:
    """Train one network as a stage's parameters say.

    Args:
        inputs: of the stage; its seed, threads, workers, device and scratch are the training's
        own: the stage's parameters. Those that are arguments of `training.Steps` are handed on,
            but for None, which stands for an argument's default; `augment_*` are the augmentation
        validation: the columns that stop the training. In a refit nothing does
        training: the other arguments of `training.Training`; they go before those of `inputs`.
            Without a loss it is the cross entropy with the column `target`, weighed by classes
            where the stage has a `class_weight`

    Raises:
        NonFinite: the training diverged
    """
    from trainables import augmentation, loop
    from trainables.losses import target_loss
    from trainables.training import Steps

    if "loss" not in training:
        weights = class_weights(own, training["train"]["target"].sum(axis=0))
        training["loss"] = functools.partial(target_loss, weights=weights)
    mine = {field.name for field in dataclasses.fields(Steps)}
    return loop.fit(
        loop.Training(
            **{
                "checkpoint_every": 1,
                "checkpoint_seconds": CHECKPOINT_SECONDS,
                **inputs.training,
                **{n: value for n, value in own.items() if n in mine and value is not None},
                "augment": augmentation.of_setting(own),
                **training,
            },
            validation={} if inputs.refit else validation,
        )
    )


def stop_labels(inputs: StageInputs) -> NDArray[np.int64]:
    """[v] classes of the validation part, which stops a training; none in a refit.

    Raises:
        ValueError: the part has no labelled clip
    """
    if inputs.refit:
        return np.zeros(0, dtype=np.int64)
    return np.array(labels_of(inputs.validation, "validation"))


def class_weights(own: Setting, mass: Array) -> NDArray[np.float32] | None:
    """[K] weights of the classes, as `class_weight` says; None for none.

    Args:
        own: of a stage
        mass: [K] of each class in the training's targets: rows, or the sum of a column
    """
    if own.get("class_weight", "none") == "none":
        return None
    import torch

    from trainables.losses import inverse_frequency

    weights: NDArray[np.float32] = inverse_frequency(torch.as_tensor(mass)).numpy()
    return weights


# --- Several trainings, each of which predicts what it has not learnt from ------------------

Rows = Mapping[str, NDArray[np.bool_]]
"""by part: some of its clips [n]"""
Outcome = tuple[dict[str, NDArray[np.float32]], dict[str, Any]]
"""of a training: the probabilities [n, K] of the parts that it was to predict, and its facts"""
OneTraining = Callable[[StageInputs, Rows, Mapping[str, Part]], Outcome]
"""(inputs with a seed and a folder for checkpoints of its own, the clips that it must not learn
from, parts to predict) -> what came of it"""


def nth(inputs: StageInputs, number: int) -> StageInputs:
    """The inputs of one of a stage's trainings: a seed and a folder for checkpoints of its own."""
    seed = int(np.random.SeedSequence([inputs.seed, number]).generate_state(1)[0])
    scratch = None if inputs.scratch is None else inputs.scratch / f"group-{number}"
    return dataclasses.replace(inputs, seed=seed, scratch=scratch)


def cross_fit(
    inputs: StageInputs,
    groups: Sequence[Rows],
    fit: OneTraining,
    sizes: Mapping[str, NDArray[np.int64]] | None = None,
) -> tuple[dict[str, NDArray[np.float32]], list[dict[str, Any]]]:
    """Predictions of each clip by a training that has not learnt from it.

    Args:
        inputs: of the stage
        groups: by training, the clips that it predicts and does not learn from; together all of
            some parts, each once
        fit: one training
        sizes: by part, how many rows [n] `fit` gives for each clip; None: one

    Returns:
        by part, the predictions [n or sum of sizes, K] in its order; and the facts of each training
    """
    arrays: dict[str, NDArray[np.float32]] = {}
    facts = []
    for number, away in enumerate(groups):
        predict = {n: getattr(inputs, n).take(own) for n, own in away.items() if own.any()}
        predictions, fact = fit(nth(inputs, number), away, predict)
        for name, values in predictions.items():
            place = away[name] if sizes is None else np.repeat(away[name], sizes[name])
            whole = np.zeros((len(place), len(inputs.classes)), np.float32)
            arrays.setdefault(name, whole)[place] = values
        facts.append(fact)
    return arrays, facts


TEACHER_PARTS = ("train", "undecided")


def teach(inputs: StageInputs, groups: Sequence[Rows] | None, fit: OneTraining) -> Artifact:
    """What a teacher predicts of the training part, and of the undecided one where it has clips.

    Args:
        inputs: of the stage
        groups: of `cross_fit`; None: one training predicts the clips that it has learnt from
        fit: one training

    Returns:
        arrays `train` and `undecided` [n, K] in row order; info `flagged`, the share of labelled
        clips that it gets wrong, `runs`, the facts of each training, and `curves` of a single one
    """
    arrays: Mapping[str, NDArray[np.float32]]
    if groups is None:
        parts = {name: part for name in TEACHER_PARTS if len(part := getattr(inputs, name))}
        nothing = {name: np.zeros(len(getattr(inputs, name)), dtype=bool) for name in TEACHER_PARTS}
        arrays, facts = fit(inputs, nothing, parts)
        runs = [facts]
    else:
        arrays, runs = cross_fit(inputs, groups, fit)
    y = labels_of(inputs.train)
    info: dict[str, Any] = {
        "flagged": float(np.mean(arrays["train"].argmax(axis=1) != y)),
        "runs": runs,
    }
    if len(runs) == 1:
        info["curves"] = runs[0]["curves"]
    return Artifact(arrays, info)


def lessons(teacher: Artifact) -> NDArray[np.float32]:
    """[n, K] what `teach` predicts of the training part's clips, then of the undecided ones."""
    return np.concatenate(
        [teacher.arrays[name] for name in TEACHER_PARTS if name in teacher.arrays]
    )


def speaker_groups(
    inputs: StageInputs,
    speakers: NDArray[np.int64],
    folds: int | None,
    *,
    option: str,
    instead: str,
) -> list[dict[str, NDArray[np.bool_]]] | None:
    """Training and undecided clips by groups of speakers, as `teach` takes them.

    Args:
        inputs: of the stage; its seed deals the speakers out
        speakers: to be dealt out; clips of others are in the first group
        folds: groups; fewer where there are fewer speakers; None: no groups, None
        option, instead: what a setting wrote to get here, and what it could write instead

    Raises:
        ValueError: the training part has a single speaker
    """
    if folds is None:
        return None
    check_speakers(inputs.train, option, instead)
    parts = {name: getattr(inputs, name) for name in TEACHER_PARTS}
    groups = [
        {name: np.isin(part.speaker, group) for name, part in parts.items()}
        for group in deal(speakers, folds, inputs.seed)
    ]
    for name, part in parts.items():
        groups[0][name] |= ~np.isin(part.speaker, speakers)
    return groups


def check_speakers(train: Part, option: str, instead: str) -> None:
    """See that a training part can be divided by speakers.

    Raises:
        ValueError: it has a single speaker
    """
    n = len(np.unique(train.speaker))
    if n < 2:
        raise ValueError(
            f"{option} needs two training speakers or more, but the training part has {n}; take "
            f"{instead}"
        )


def deal(groups: Array, folds: int, seed: int) -> list[Array]:
    """The values of `groups` (speakers), shuffled and dealt out: a list of them each fold.

    There are fewer folds where there are fewer values.
    """
    names = np.unique(groups)
    order = np.random.default_rng(seed).permutation(names)
    return list(np.array_split(order, min(folds, len(names))))


def stratify(ids: NDArray[np.str_], strata: NDArray[np.int64], folds: int) -> NDArray[np.int64]:
    """The fold [n], 0 .. folds - 1, of each clip: every class is dealt out as evenly as can be.

    Within a class the order is that of the ids' digests, so a division is of the clips alone: it
    is the same whatever the seed, and in every iteration.
    """
    rank = [hashlib.sha256(str(name).encode()).digest() for name in ids]
    order = sorted(range(len(ids)), key=lambda row: (int(strata[row]), rank[row]))
    fold = np.empty(len(ids), dtype=np.int64)
    fold[order] = np.arange(len(ids)) % folds
    return fold


def inner_folds(train: Part, folds: int, by: str) -> NDArray[np.int64]:
    """The inner fold [n] of each training utterance; of the utterances alone, whatever the seed.

    Args:
        train: labelled
        folds: there are fewer where there are fewer speakers
        by: "utterance" deals each class out, "speaker" the speakers

    Raises:
        ValueError: by speaker, and there is one
    """
    if by == "utterance":
        return stratify(train.ids, labels_of(train), folds)
    check_speakers(train, "inner_by=speaker", "inner_by=utterance")
    fold = np.zeros(len(train), dtype=np.int64)
    for number, group in enumerate(deal(train.speaker, folds, seed=0)):
        fold[np.isin(train.speaker, group)] = number
    return fold
