"""Label correction on the spatial-temporal network (Gan et al. 2025, "000").

Two stages a fold. `teacher` trains on clips whose votes agree (S_A, or S_A and S_B) and predicts
all training clips, those without a label too. `student` trains on S_A, S_B and S_C towards targets
that mix a clip's votes with the teacher's prediction. The teacher knows nothing of lambda, of soft
or hard, or of which sets are corrected, so a sweep over them trains it once a fold; with lambda 0
there is none.

A network reads pieces of at most 7 s. A piece has its clip's target, and a clip's probabilities are
the mean over its pieces.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from trainables import augmentation, encoder_training, fitting, targets, waves
from trainables.encoder_training import WAVE, ClipNetwork, facts
from trainables.fitting import equals
from trainables.labels import A, have_votes, labels_of, partition
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
    weight_arrays,
)
from trainables.targets import STRATEGIES
from trainables.weight_files import identity

if TYPE_CHECKING:
    from collections.abc import Callable

    from trainables.networks.spatial_temporal import SpatialTemporal


def _divides(own: Setting) -> bool:
    """Whether the student's rows or targets depend on S_A, S_B and S_C."""
    return "sets" in STRATEGIES[own["strategy"]].needs or own["train_on"] != "A+B"


TARGETS: dict[str, Param] = {
    **targets.declare(
        "votes",
        "sets",
        "predictions",
        default="correction_soft",
        help="label strategy: what the student is trained towards (paper: correction_soft, "
        "correction_hard, uncorrected; hard for its baselines)",
    ),
    "dominant": Param(
        "label",
        "what makes a class dominant in the votes and so divides S_A, S_B and S_C: the clip's "
        "label, the most votes, or more than half of them",
        ("label", "plurality", "majority"),
        matters=_divides,
    ),
    "least": Param(
        1, "votes that a clip needs to be in any set", low=1, high=1000, matters=_divides
    ),
    "train_on": Param(
        "auto",
        "sets the student learns from; auto: all that the strategy gives targets to",
        ("auto", "A", "A+B", "C", "A+B+C"),
    ),
}
"""Parameters of the student's targets."""
TRAINING: dict[str, Param] = {
    **encoder_training.declare(
        class_weight=("inverse", ""),
        pre_emphasis=(0.97, "paper: yes; CA-MSER: 0.97"),
        wave_norm=("checkpoint", "paper: by speaker, which is given"),
        batch=(16, "paper: 16"),
        lr=(1e-5, "paper: 1e-5"),
        ssl_lr_scale=(1.0, "paper: 1"),
        weight_decay=(5e-4, "paper: 5e-4"),
        epochs=(100, "paper: 100"),
        patience=(8, "paper: 8"),
        patience_steps=(120, ""),
    ),
    # Network
    "arch": Param("fused", "both inputs, or one of them alone", ("fused", "spatial", "temporal")),
    "pool": Param(
        "mean",
        "pooling of the temporal pyramid (paper: unsaid)",
        ("mean", "max"),
        matters=equals("arch", "fused", "temporal"),
    ),
    "width": Param(1.0, "multiplies the spatial network and the head", low=1 / 16, high=8.0),
    # Audio
    "longest": Param(7.0, "seconds of a piece (paper: 7)", low=0.5, high=60.0),
    "floor": Param(
        1.5, "seconds that a shorter piece is lengthened to (paper: 1.5)", low=0.1, high=10.0
    ),
    "tail": Param(
        "pad",
        "a last piece shorter than floor is padded and counts in full (pad, paper), or joins the "
        "piece before it (merge)",
        ("merge", "pad"),
    ),
    **fitting.steps(bucket=(16, "")),
    **augmentation.declare(
        wave=equals("arch", "fused", "temporal"), frames=equals("arch", "fused", "spatial")
    ),
}
"""Parameters of one training, whatever its targets."""
FIT = (*TRAINING, "ssl_digest")
TEACHER = ("lr", "epochs", "patience", "patience_steps")
"""Those of TRAINING that the teacher has of its own."""
PARAMS: dict[str, Param] = {
    **TARGETS,
    **TRAINING,
    "teacher_train": Param("A+B", "sets the teacher learns from", ("A", "A+B")),
    "teacher": Param(
        "in_sample",
        "predictions by a teacher that was trained on the clip (in_sample, paper), or by one "
        "trained on other speakers (crossfit)",
        ("in_sample", "crossfit"),
    ),
    "teacher_folds": Param(5, "groups of speakers for crossfit", low=2, high=1000),
    **fitting.again("teacher", TRAINING, TEACHER),
}


def canonical(setting: Setting) -> dict[str, Any]:
    """The student's parameters, with those that have no effect set to None.

    Settings that train the same thing get the same stage key: soft and hard correction with lambda
    0 are one, and the encoder's settings do not matter to the spatial network.

    Args:
        setting: every parameter of the method
    """
    own = fitting.pick([*TARGETS, *TRAINING], setting)
    own |= {"ssl_digest": None, **targets.canonical(own)}
    if own["arch"] == "spatial":
        own = encoder_training.without_encoder(own)
    if own["train_on"] == "auto":
        own["train_on"] = "A+B+C" if STRATEGIES[own["strategy"]].undecided else "A+B"
    nothing_to_correct = {"A": ("C", "B+C"), "A+B": ("C",)}.get(own["train_on"], ())
    if own["correct"] in nothing_to_correct:
        own |= targets.canonical({**setting, "strategy": "hard"})
    own = fitting.settle(PARAMS, own)
    return own | identity(own, "ssl")


def _graph(setting: Setting) -> tuple[Node, ...]:
    own = canonical(setting)
    undecided = ("undecided",) if _divides(own) else ()
    parts = ("train", "validation", "test", *undecided)
    last = Node("student", student, own, parts=parts, group=True)
    if "predictions" not in STRATEGIES[own["strategy"]].needs:
        return (last,)
    # Where the labels divide, S_A and S_B are all clips with a label: one teacher whatever divides
    # the student's.
    own_rule = own["dominant"] is not None and (own["dominant"] != "label" or own["least"] > 1)
    divides = setting["teacher_train"] == "A" or own_rule
    first = {
        **fitting.pick(FIT, own),
        **fitting.second("teacher", TEACHER, setting),
        "train_on": setting["teacher_train"],
        "dominant": setting["dominant"] if divides else None,
        "least": setting["least"] if divides else None,
        "crossfit": int(setting["teacher_folds"]) if setting["teacher"] == "crossfit" else None,
    }
    before = Node(
        "teacher",
        teacher,
        fitting.typed(PARAMS, first),
        parts=("train", "validation", "undecided"),
        group=True,
    )
    return (before, replace(last, parents={"teacher": "teacher"}))


def _in_fold(node: Node, facts: FoldFacts) -> dict[str, Any]:
    """A node's parameters on a fold: there are no more groups than speakers."""
    own = dict(node.params)
    if own.get("crossfit") is not None:
        clips = facts.parts["train"].join(facts.parts["undecided"])
        own["crossfit"] = min(own["crossfit"], len(clips.speakers))
    return own


def _needs(setting: Setting) -> frozenset[str]:
    own = canonical(setting)
    needs = STRATEGIES[own["strategy"]].needs
    teacher_divides = "predictions" in needs and setting["teacher_train"] == "A"
    if "votes" in needs or _divides(own) or teacher_divides:
        return frozenset({"votes"})
    return frozenset()


# --- Stages ---------------------------------------------------------------------------------


@takes(*TARGETS, *FIT)
def student(inputs: StageInputs, own: Setting) -> Artifact:
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
    own = encoder_training.settle_wave_norm(own)
    strategy, train_on = own["strategy"], own["train_on"]
    needs = STRATEGIES[strategy].needs
    every = _pool(inputs, own["dominant"], own["least"])
    within = every.within(train_on)
    keep = within & have_votes(every.part, strategy) if "votes" in needs else within
    _check_targets(every.label[keep], own)
    rows = np.flatnonzero(keep)
    predictions = None
    if "predictions" in needs:
        predictions = fitting.lessons(inputs.parents["teacher"])[rows]
    part = every.part.take(rows)
    target = targets.of_setting(
        own,
        y=every.label[rows],
        k=len(inputs.classes),
        votes=part.votes,
        sets=every.sets[rows],
        predictions=predictions,
    )
    bins = _bins(part, own)
    result, clips, pieces = encoder_training.fit_clips(
        inputs,
        part,
        target,
        {"validation": inputs.validation, "test": inputs.test},
        own,
        _clip_network(own, len(inputs.classes), bins),
    )
    info = facts(result, own) | {
        "sets": every.counts,
        "clips": len(rows),
        "pieces": pieces,
        "dropped": int((within & ~keep).sum()),
        "target_mass": [float(value) for value in target.sum(axis=0)],
    }
    if result.weights is not None:
        info["network"] = {
            "bins": _bins(part, own),
            "wave_norm": own["wave_norm"],
            "encoder": encoder_training.encoder_config(own),
        }
    return Artifact(arrays={**clips, **weight_arrays(result.weights)}, info=info)


def _check_targets(label: NDArray[np.int64], own: Setting) -> None:
    """See that the strategy gives each of these clips a target.

    Raises:
        ValueError: it gives one of them none, or there is no clip
    """
    strategy, train_on = own["strategy"], own["train_on"]
    if not STRATEGIES[strategy].undecided and (label < 0).any():
        others = [n for n in PARAMS["strategy"].choices or () if STRATEGIES[n].undecided]
        raise ValueError(
            f"the strategy {strategy!r} gives clips without a dominant class no target, but "
            f"train_on={train_on} holds some; take train_on=A+B, or one of {others}"
        )
    if not len(label):
        raise ValueError(f"no training clip is in train_on={train_on} and can have a target")


@takes("train_on", "dominant", "least", "crossfit", *FIT)
def teacher(inputs: StageInputs, own: Setting) -> Artifact:
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
    own = encoder_training.settle_wave_norm(own)
    every = _pool(inputs, own["dominant"], own["least"])
    lesson = every.within(own["train_on"])

    def fit(here: StageInputs, away: fitting.Rows, predict: Mapping[str, Part]) -> fitting.Outcome:
        left_out = np.concatenate([away["train"], away["undecided"]])[: len(lesson)]
        rows = np.flatnonzero(lesson & ~left_out)
        if not len(rows):
            raise ValueError(f"no training clip is in teacher_train={own['train_on']}")
        part, k = every.part.take(rows), len(here.classes)
        target = np.eye(k, dtype=np.float32)[every.label[rows]]
        network = _clip_network(own, k, _bins(part, own))
        result, clips, _ = encoder_training.fit_clips(here, part, target, predict, own, network)
        return clips, facts(result, own)

    groups = fitting.speaker_groups(
        inputs,
        np.concatenate([inputs.train.speaker, inputs.undecided.speaker]),
        own["crossfit"],
        option="teacher=crossfit",
        instead="teacher=in_sample",
    )
    artifact = fitting.teach(inputs, groups, fit)
    return replace(artifact, info={**artifact.info, "learnt_from": int(lesson.sum())})


# --- Clips and their sets -------------------------------------------------------------------


@dataclass(frozen=True)
class _Pool:
    """All clips of the training speakers: the labelled ones first, then the undecided."""

    part: Part
    sets: NDArray[np.int8]
    """[n] codes of `labels.partition`"""
    label: NDArray[np.int64]
    """[n] the class of clips in S_A and S_B, -1 elsewhere"""
    counts: Mapping[str, int]
    by_votes: bool

    def within(self, names: str) -> NDArray[np.bool_]:
        """The clips of sets such as "A+B"."""
        if not self.by_votes:
            return self.label >= 0
        codes = {"A": 0, "B": 1, "C": 2}
        return np.isin(self.sets, [codes[name] for name in names.split("+")])


def _pool(inputs: StageInputs, dominant: str | None, least: int | None) -> _Pool:
    """The division of a fold's training clips; without a rule every labelled clip is in S_A or S_B.

    `dominant` None: nothing asks for the division, and the clips without a label are not used.
    """
    train, undecided = inputs.train, inputs.undecided
    y = labels_of(train)
    if dominant is None:
        return _Pool(train, np.full(len(train), A, np.int8), y, {"A+B": len(train)}, False)
    if train.votes is None:
        raise ValueError(
            "the sets S_A, S_B and S_C are of raters' votes, but this corpus has none; take "
            "votes=simulate, or a strategy without votes and train_on=A+B"
        )
    part = train if not len(undecided) else train.join(undecided)
    assert part.votes is not None
    assert part.y is not None
    rule: Any = dominant
    division = partition(
        part.votes, outside=part.outside, label=part.y, dominant=rule, least=float(least or 1)
    )
    return _Pool(part, division.part, division.dominant, dict(division.counts), True)


# --- One training ---------------------------------------------------------------------------


def _clip_network(
    own: Setting, classes: int, bins: int, config: Setting | None = None
) -> ClipNetwork:
    """`config`: of an encoder whose weights are filled in later, so that none are loaded."""
    return ClipNetwork(
        cut=functools.partial(_pieces, own=own),
        build=functools.partial(_network, dict(own), classes, bins, config),
        collate=functools.partial(
            waves.collate,
            floor=own["floor"],
            pre_emphasis=own["pre_emphasis"] or 0.0,
            norm=own["wave_norm"] or "given",
        ),
    )


def _pieces(part: Part, own: Setting) -> waves.Pieces:
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
    names = {"fused": [WAVE, *frames], "spatial": frames, "temporal": [WAVE]}[arch]
    return waves.cut(
        {name: part.frames[name] for name in names},
        longest=own["longest"],
        shortest=own["floor"],
        tail=own["tail"],
    )


def _bins(part: Part, own: Setting) -> int:
    """Values a frame of what the network reads beside the wave."""
    frames = [name for name in part.frames if name != WAVE and own["arch"] != "temporal"]
    return sum(int(part.frames[name].values.shape[1]) for name in frames)


def _network(own: Setting, classes: int, bins: int, config: Setting | None) -> SpatialTemporal:
    from trainables.networks.spatial_temporal import SpatialTemporal

    encoder = None if own["ssl"] is None else encoder_training.encoder(own, config)
    return SpatialTemporal(
        classes, encoder=encoder, bins=bins, pool=own["pool"] or "mean", width=own["width"]
    )


def _predictor(state: NetworkState) -> Callable[[Part], NDArray[np.float32]]:
    shape = state.info["network"]
    own = {**state.params, "wave_norm": shape["wave_norm"]}
    network = _clip_network(own, len(state.classes), shape["bins"], shape["encoder"])
    return encoder_training.clip_predictor(state, network)


METHOD = Method(
    name="label_correction",
    summary="labels of ambiguous clips corrected by a teacher, on a spatial-temporal network",
    params=PARAMS,
    graph=_graph,
    in_fold=_in_fold,
    needs=_needs,
    inherits={f"teacher_{name}": name for name in TEACHER},
    notes=lambda setting: () if setting["arch"] == "spatial" else encoder_training.notes(setting),
    features=("wave", "logmel40"),
    inputs=("frames",),
    paper="Gan, Zhou, Wang, Zhu, Jain, Štruc: Optimizing ambiguous speech emotion recognition "
    "through spatial-temporal parallel network with label correction strategy (2025)",
    export=Exporter(_predictor, several=targets.several),
)
