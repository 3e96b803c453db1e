"""Label correction on the spatial-temporal network (Gan et al. 2025, "000").

Two stages a fold. `teacher` trains on clips whose votes agree (S_A, or S_A and S_B) and predicts
all training clips, those without a label too. `student` trains on S_A, S_B and S_C towards targets
that mix a clip's votes with the teacher's prediction. The teacher knows nothing of lambda, of soft
or hard, or of which sets are corrected, so a sweep over them trains it once a fold; with lambda 0
there is none.

A network reads pieces of at most 7 s. A piece has its clip's target, and a clip's probabilities are
the mean over its pieces.

Torch is imported inside the stages: the processes which only plan, count and score read this
module for its parameters and stay light.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from trainables import encoder_training, fitting, targets, waves
from trainables.encoder_training import WAVE, facts
from trainables.labels import A, partition
from trainables.stage import (
    Artifact,
    Exporter,
    Method,
    NetworkState,
    Node,
    Param,
    Part,
    StageInputs,
    takes,
    weight_arrays,
)
from trainables.targets import STRATEGIES

if TYPE_CHECKING:
    from collections.abc import Callable

    from trainables.epochs import Fit
    from trainables.networks.spatial_temporal import SpatialTemporal

SERVED = tuple(name for name, s in STRATEGIES.items() if "group" not in s.needs)
"""Strategies of this method: those that need no groups of segments, as a row is a clip."""
PARAMS: dict[str, Param] = {
    # Targets
    "strategy": Param(
        "correction_soft",
        "label strategy: what the student is trained towards (paper: correction_soft, "
        "correction_hard, uncorrected; hard for its baselines)",
        SERVED,
    ),
    **targets.PARAMS,
    "dominant": Param(
        "label",
        "what makes a class dominant in the votes and so divides S_A, S_B and S_C: the clip's "
        "label, the most votes, or more than half of them",
        ("label", "plurality", "majority"),
    ),
    "least": Param(1, "votes that a clip needs to be in any set", low=1, high=1000),
    "train_on": Param(
        "auto",
        "sets the student learns from; auto: all that the strategy gives targets to",
        ("auto", "A", "A+B", "C", "A+B+C"),
    ),
    # Encoder and training
    **encoder_training.declared(
        class_weight=("inverse", ""),
        pre_emphasis=(0.97, "paper: yes; CA-MSER: 0.97"),
        wave_norm=("given", "paper: by speaker"),
        batch=(16, "paper: 16"),
        lr=(1e-5, "paper: 1e-5"),
        ssl_lr_scale=(1.0, "paper: 1"),
        weight_decay=(5e-4, "paper: 5e-4"),
        epochs=(100, "paper: 100"),
        patience=(8, "paper: 8"),
    ),
    # Network
    "arch": Param("fused", "both inputs, or one of them alone", ("fused", "spatial", "temporal")),
    "pool": Param("mean", "pooling of the temporal pyramid (paper: unsaid)", ("mean", "max")),
    "width": Param(1.0, "multiplies the spatial network and the head", low=1 / 16, high=8.0),
    # Audio
    "longest": Param(7.0, "seconds of a piece (paper: 7)", low=0.5, high=60.0),
    "floor": Param(
        1.5, "seconds that a shorter piece is lengthened to (paper: 1.5)", low=0.1, high=10.0
    ),
    "tail": Param(
        "merge",
        "a last piece shorter than floor joins the piece before it (merge), or is padded and "
        "counts in full (pad)",
        ("merge", "pad"),
    ),
    "bucket": Param(
        16, "batches whose pieces are sorted by length together; 0: none", low=0, high=100000
    ),
    # The teacher
    "teacher_train": Param("A+B", "sets the teacher learns from", ("A", "A+B")),
    "teacher": Param(
        "in_sample",
        "predictions by a teacher that was trained on the clip (in_sample, paper), or by one "
        "trained on other speakers (crossfit)",
        ("in_sample", "crossfit"),
    ),
    "teacher_folds": Param(5, "groups of speakers for crossfit", low=2, high=1000),
    "teacher_lr": Param(1e-5, "as lr", low=1e-7, high=1.0),
    "teacher_epochs": Param(100, "as epochs", low=1, high=10000),
    "teacher_patience": Param(8, "as patience", low=1, high=10000),
}

LABELS = ("strategy", *targets.PARAMS, "dominant", "least", "train_on")
"""Parameters of the student's targets."""
FIT = ("arch", "pool", "width", "longest", "floor", "tail", "bucket", *encoder_training.NAMES)
"""Parameters of one training, whatever its targets."""


def canonical(setting: Mapping[str, Any]) -> dict[str, Any]:
    """The student's parameters, with those that have no effect set to None.

    Settings that train the same thing get the same stage key: soft and hard correction with lambda
    0 are one, and the encoder's settings do not matter to the spatial network.

    Args:
        setting: every parameter of the method
    """
    own = {name: setting[name] for name in LABELS} | _training(setting)
    own |= targets.canonical(own)
    strategy = STRATEGIES[own["strategy"]]
    if own["train_on"] == "auto":
        own["train_on"] = "A+B+C" if strategy.undecided else "A+B"
    nothing_to_correct = {"A": ("C", "B+C"), "A+B": ("C",)}.get(own["train_on"], ())
    if own["correct"] in nothing_to_correct:
        own |= targets.canonical({**setting, "strategy": "hard"})
    if not _divides(own):
        own["dominant"] = own["least"] = None
    return encoder_training.like(PARAMS, own)


def _training(setting: Mapping[str, Any]) -> dict[str, Any]:
    own = {name: setting[name] for name in FIT if name != "ssl_digest"}
    if own["arch"] == "spatial":
        return encoder_training.without_encoder(own) | {"pool": None}
    return encoder_training.encoder_settings(own)


def _divides(own: Mapping[str, Any]) -> bool:
    """Whether the student's rows or targets depend on S_A, S_B and S_C."""
    needs = STRATEGIES[own["strategy"]].needs
    return "sets" in needs or own["train_on"] != "A+B"


def _graph(setting: Mapping[str, Any]) -> tuple[Node, ...]:
    own = canonical(setting)
    undecided = ("undecided",) if _divides(own) else ()
    last = Node("student", student, own, parts=("train", "validation", "test", *undecided))
    if "predictions" not in STRATEGIES[own["strategy"]].needs:
        return (last,)
    crossfit = setting["teacher"] == "crossfit"
    # Where the labels divide, S_A and S_B are all clips with a label: one teacher whatever divides
    # the student's.
    own_rule = own["dominant"] is not None and (own["dominant"] != "label" or own["least"] > 1)
    divides = setting["teacher_train"] == "A" or own_rule
    first = {name: own[name] for name in FIT}
    for name in ("lr", "epochs", "patience"):
        first[name] = setting[f"teacher_{name}"]
    first |= {
        "train_on": setting["teacher_train"],
        "dominant": setting["dominant"] if divides else None,
        "least": setting["least"] if divides else None,
        "crossfit": int(setting["teacher_folds"]) if crossfit else None,
    }
    before = Node(
        "teacher",
        teacher,
        encoder_training.like(PARAMS, first),
        parts=("train", "validation", "undecided"),
    )
    return (before, replace(last, parents={"teacher": "teacher"}))


def _needs(setting: Mapping[str, Any]) -> frozenset[str]:
    own = canonical(setting)
    needs = STRATEGIES[own["strategy"]].needs
    teacher_divides = "predictions" in needs and setting["teacher_train"] == "A"
    if "votes" in needs or _divides(own) or teacher_divides:
        return frozenset({"votes"})
    return frozenset()


# --- Stages ---------------------------------------------------------------------------------


@takes(*LABELS, *FIT)
def student(inputs: StageInputs, own: Mapping[str, Any]) -> Artifact:
    """Train towards the strategy's targets and predict validation and test.

    Parameters are those of METHOD; None where they have no effect (`canonical`).

    Returns:
        arrays `validation` and `test` [n, K] clips' probabilities, and `embedding_test`, what the
        network's last layer is given for the test clips, means over their pieces (`embedding`);
        info `curves`, `best_epoch`, `epochs`, `best_validation_ua`, `sets` (clips of S_A, S_B, S_C
        and of none before `train_on`), `clips` and `pieces` that were trained on, `target_mass` by
        class (the sum of the targets of clips), `dropped` (clips without a vote) and `weights` of
        the encoder; with `inputs.keep_weights` also the network's weights and info `network`, from
        which it is built

    Raises:
        ValueError: votes, predictions or frames that the setting needs are not there
        NonFinite: the training diverged
    """
    import torch

    strategy, train_on = own["strategy"], own["train_on"]
    every = _pool(inputs, own["dominant"], own["least"])
    keep = every.within(train_on)
    needs = STRATEGIES[strategy].needs
    dropped = 0
    if "votes" in needs:
        assert every.part.votes is not None
        voted = every.part.votes.sum(axis=1) > 0
        dropped = int((keep & ~voted).sum())
        keep &= voted
    if not STRATEGIES[strategy].undecided and (every.label[keep] < 0).any():
        raise ValueError(
            f"the strategy {strategy!r} gives clips without a dominant class no target, but "
            f"train_on={train_on} holds some; take train_on=A+B, or one of "
            f"{[n for n in SERVED if STRATEGIES[n].undecided]}"
        )
    if not keep.any():
        raise ValueError(f"no training clip is in train_on={train_on} and can have a target")
    rows = np.flatnonzero(keep)
    predictions = None
    if "predictions" in needs:
        made = inputs.parents["teacher"].arrays
        predictions = np.concatenate([made["train"], made["undecided"]])[rows]
    part = every.part.take(rows)
    target = targets.build(
        strategy,
        y=torch.as_tensor(every.label[rows]),
        k=len(inputs.classes),
        votes=None if part.votes is None else torch.as_tensor(np.array(part.votes)),
        sets=torch.as_tensor(every.sets[rows]),
        predictions=None if predictions is None else torch.as_tensor(predictions),
        **{name: own[name] for name in targets.PARAMS},
    ).numpy()
    fitted, clips, pieces = _fit(
        inputs, part, target, {"validation": inputs.validation, "test": inputs.test}, own
    )
    info = facts(fitted, own) | {
        "sets": every.counts,
        "clips": len(rows),
        "pieces": pieces,
        "dropped": dropped,
        "target_mass": [float(value) for value in target.sum(axis=0)],
    }
    if fitted.weights is not None:
        info["network"] = {
            "bins": _bins(part, own),
            "encoder": encoder_training.encoder_config(own),
        }
    return Artifact(arrays={**clips, **weight_arrays(fitted.weights)}, info=info)


@takes("train_on", "dominant", "least", "crossfit", *FIT)
def teacher(inputs: StageInputs, own: Mapping[str, Any]) -> Artifact:
    """Train on one-hot labels of S_A (and S_B) and predict every training clip, in eval mode.

    Parameters are those of METHOD; None where they have no effect. `train_on` is "A" or "A+B".
    `crossfit` None predicts the clips it was trained on too, as the paper does: its predictions for
    S_B are then memorised labels. A number divides the training speakers into so many groups
    (fewer where there are fewer speakers) and predicts each by a model trained on the others,
    stopped by the same validation part.

    Returns:
        arrays `train` and `undecided` [n, K] in row order; info `flagged`, the share of labelled
        clips that it gets wrong, and for each training its curves and best epoch

    Raises:
        ValueError: frames or votes are not there, or crossfit with a single training speaker
        NonFinite: the training diverged
    """
    crossfit = own["crossfit"]
    parts = {"train": inputs.train, "undecided": inputs.undecided}
    every = _pool(inputs, own["dominant"], own["least"])
    learnt = every.within(own["train_on"])
    k = len(inputs.classes)
    arrays = {name: np.zeros((len(part), k), np.float32) for name, part in parts.items()}
    runs = []
    for number, held in enumerate(_groups(inputs, crossfit)):
        here = inputs
        if crossfit is not None:
            here = fitting.training(inputs, number)
            away = np.concatenate([~held["train"], ~held["undecided"]])[: len(learnt)]
            learn = np.flatnonzero(learnt & away)
        else:
            learn = np.flatnonzero(learnt)
        if not len(learn):
            raise ValueError(f"no training clip is in teacher_train={own['train_on']}")
        part = every.part.take(learn)
        asked = {n: p.take(held[n]) for n, p in parts.items() if held[n].any()}
        target = np.eye(k, dtype=np.float32)[every.label[learn]]
        fitted, clips, _ = _fit(here, part, target, asked, own)
        for name, probabilities in clips.items():
            arrays[name][held[name]] = probabilities
        runs.append(facts(fitted, own))
    assert inputs.train.y is not None
    flagged = float(np.mean(arrays["train"].argmax(axis=1) != inputs.train.y))
    info: dict[str, Any] = {"flagged": flagged, "runs": runs, "learnt_from": int(learnt.sum())}
    if len(runs) == 1:
        info["curves"] = runs[0]["curves"]
    return Artifact(arrays=arrays, info=info)


def _groups(inputs: StageInputs, crossfit: int | None) -> list[dict[str, NDArray[np.bool_]]]:
    """The clips of each part that one training predicts; together all of them, each once."""
    parts = {"train": inputs.train, "undecided": inputs.undecided}
    if crossfit is None:
        return [{name: np.ones(len(part), dtype=bool) for name, part in parts.items()}]
    speakers = np.unique(np.concatenate([part.speaker for part in parts.values()]))
    if len(np.unique(inputs.train.speaker)) < 2:
        raise ValueError(
            "teacher=crossfit needs two training speakers or more, but the training part has "
            f"{len(np.unique(inputs.train.speaker))}; use teacher=in_sample"
        )
    return [
        {name: np.isin(part.speaker, group) for name, part in parts.items()}
        for group in fitting.by_group(speakers, crossfit, inputs.seed)
    ]


# --- Clips and their sets -------------------------------------------------------------------


@dataclass(frozen=True)
class _Pool:
    """All clips of the training speakers: the labelled ones first, then the undecided."""

    part: Part
    sets: NDArray[np.int8]
    """[n] codes of `votes.partition`"""
    label: NDArray[np.int64]
    """[n] the class of clips in S_A and S_B, -1 elsewhere"""
    counts: Mapping[str, int]
    divided: bool

    def within(self, names: str) -> NDArray[np.bool_]:
        """The clips of sets such as "A+B"."""
        if not self.divided:
            return self.label >= 0
        codes = {"A": 0, "B": 1, "C": 2}
        return np.isin(self.sets, [codes[name] for name in names.split("+")])


def _pool(inputs: StageInputs, dominant: str | None, least: int | None) -> _Pool:
    """The division of a fold's training clips; without a rule every labelled clip is in S_A or S_B.

    `dominant` None: nothing asks for the division, and the clips without a label are not used.
    """
    train, undecided = inputs.train, inputs.undecided
    if train.y is None or not len(train):
        raise ValueError("a training needs labelled clips in its training part")
    if dominant is None:
        counts = {"A+B": len(train)}
        return _Pool(train, np.full(len(train), A, np.int8), train.y, counts, False)
    if train.votes is None:
        raise ValueError(
            "the sets S_A, S_B and S_C are of raters' votes, but this corpus has none; take "
            "votes=simulate, or a strategy without votes and train_on=A+B"
        )
    part = train if not len(undecided) else train.join(undecided)
    assert part.votes is not None
    assert part.y is not None
    rule: Any = dominant
    found = partition(
        part.votes,
        outside=part.outside,
        label=part.y,
        dominant=rule,
        least=float(least or 1),
    )
    return _Pool(part, found.part, found.dominant, dict(found.counts), True)


# --- One training ---------------------------------------------------------------------------


def _fit(
    inputs: StageInputs,
    train: Part,
    target: NDArray[np.float32],
    predict: Mapping[str, Part],
    own: Mapping[str, Any],
) -> tuple[Fit, dict[str, NDArray[Any]], int]:
    """Train one network. Returns what the loop gave, the clips' probabilities of the parts asked
    for, and the number of pieces trained on."""
    return encoder_training.fit_clips(
        inputs,
        train,
        target,
        predict,
        own,
        cut=functools.partial(_pieces, own=own),
        build=functools.partial(
            _network, classes=len(inputs.classes), bins=_bins(train, own), own=dict(own)
        ),
        collate=_collate(own),
        bucket=own["bucket"],
    )


def _pieces(part: Part, own: Mapping[str, Any]) -> waves.Pieces:
    """The streams that the network reads, cut into pieces."""
    arch = own["arch"]
    frames = [name for name in part.frames if name != WAVE]
    if arch != "spatial" and WAVE not in part.frames:
        raise ValueError(f"arch={arch} reads the wave; name it among features=[wave,logmel40]")
    if arch != "temporal" and len(frames) != 1:
        raise ValueError(
            f"arch={arch} reads one feature set of frames, but features= names {frames}; take "
            "features=[wave,logmel40]"
        )
    wanted = {"fused": [WAVE, *frames], "spatial": frames, "temporal": [WAVE]}[arch]
    return waves.cut(
        {name: part.frames[name] for name in wanted},
        longest=own["longest"],
        shortest=own["floor"],
        tail=own["tail"],
    )


def _bins(part: Part, own: Mapping[str, Any]) -> int:
    """Values a frame of what the network reads beside the wave."""
    frames = [name for name in part.frames if name != WAVE and own["arch"] != "temporal"]
    return sum(int(part.frames[name].values.shape[1]) for name in frames)


def _collate(own: Mapping[str, Any]) -> Any:
    return functools.partial(
        waves.collate,
        floor=own["floor"],
        pre_emphasis=own["pre_emphasis"] or 0.0,
        norm=own["wave_norm"] or "given",
    )


def _network(
    *, classes: int, bins: int, own: Mapping[str, Any], config: Any = None
) -> SpatialTemporal:
    """`config`: of an encoder whose weights are filled in later, so that none are loaded."""
    from trainables.networks.spatial_temporal import SpatialTemporal

    encoder = None if own["ssl"] is None else encoder_training.encoder(own, config)
    return SpatialTemporal(
        classes, encoder=encoder, bins=bins, pool=own["pool"] or "mean", width=own["width"]
    )


def _predictor(trained: NetworkState) -> Callable[[Part], NDArray[np.float32]]:
    own, shape = trained.params, trained.info["network"]
    return encoder_training.clip_predictor(
        trained,
        cut=functools.partial(_pieces, own=own),
        build=functools.partial(
            _network,
            classes=len(trained.classes),
            bins=shape["bins"],
            own=own,
            config=shape["encoder"],
        ),
        collate=_collate(own),
        bucket=own["bucket"],
    )


METHOD = Method(
    name="label_correction",
    summary="labels of ambiguous clips corrected by a teacher, on a spatial-temporal network",
    params=PARAMS,
    graph=_graph,
    needs=_needs,
    notes=lambda setting: () if setting["arch"] == "spatial" else encoder_training.notes(setting),
    features=("wave", "logmel40"),
    inputs=("frames",),
    paper="Gan, Zhou, Wang, Zhu, Jain, Štruc: Optimizing ambiguous speech emotion recognition "
    "through spatial-temporal parallel network with label correction strategy (2025)",
    export=Exporter(
        _predictor, several=lambda setting: "votes" in STRATEGIES[setting["strategy"]].needs
    ),
)
