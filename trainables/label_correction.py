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
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from trainables import audio, targets
from trainables.metrics import validation_scores
from trainables.stage import Artifact, Method, Node, Param, Part, StageInputs
from trainables.targets import STRATEGIES
from trainables.votes import A, partition

if TYPE_CHECKING:
    from torch import Tensor

    from trainables.loop import Fitted
    from trainables.networks.spatial_temporal import SpatialTemporal

__all__ = ["METHOD", "canonical", "student", "teacher"]

SERVED = tuple(name for name, s in STRATEGIES.items() if "group" not in s.needs)
"""Strategies of this method: those that need no groups of segments, as a row is a clip."""
CHECKPOINT_SECONDS = 20.0
"""at least so long between two checkpoints of a training, which are written after epochs"""
WAVE = "wave"


@dataclass(frozen=True)
class _Weights(Param):
    """A model by name; one that is named as a folder must be there."""

    def problem(self, name: str, value: Any) -> str | None:
        told = super().problem(name, value)
        if told is not None or not _is_folder(value):
            return told
        if not (Path(value).expanduser() / "config.json").is_file():
            return (
                f"{name} must be tiny, a hub name, or a folder with config.json and weights, but "
                f"there is no {value}/config.json"
            )
        return None


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
    "class_weight": Param(
        "inverse",
        "'inverse' frequency of the classes in the stage's own targets (mean one), on each entry "
        "of a target, or 'none'",
        ("none", "inverse"),
    ),
    # Network
    "arch": Param("fused", "both inputs, or one of them alone", ("fused", "spatial", "temporal")),
    "ssl": _Weights(
        "facebook/wav2vec2-base",
        "speech encoder: a hub name, a local folder, or tiny (small, untrained)",
    ),
    "ssl_revision": Param("main", "commit or branch of a hub name"),
    "ssl_train": Param(
        "all",
        "what of the encoder is trained: all, the transformer without the convolutions that read "
        "the wave, or none",
        ("all", "transformer", "none"),
    ),
    "layerdrop": Param(
        0.0, "share of the encoder's layers that a step leaves out", low=0.0, high=0.9
    ),
    "mask_time": Param(
        0.05, "share of the encoder's states hidden in training (SpecAugment)", low=0.0, high=0.9
    ),
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
    "pre_emphasis": Param(0.97, "of the wave (paper: yes; CA-MSER: 0.97)", low=0.0, high=1.0),
    "wave_norm": Param(
        "given",
        "level of the wave: as `normalise` gives it (paper: by speaker), or mean 0 and deviation 1 "
        "by piece",
        ("given", "piece"),
    ),
    "clip_score": Param(
        "mean",
        "a clip's score: mean of its pieces' probabilities, or of their logarithms",
        ("mean", "mean_log"),
    ),
    # Optimiser
    "batch": Param(16, "pieces a step (paper: 16)", low=2, high=4096),
    "lr": Param(1e-5, "Adam's step size (paper: 1e-5)", low=1e-7, high=1.0),
    "ssl_lr_scale": Param(
        1.0, "the encoder's step size over the others' (paper: 1)", low=0.0, high=100.0
    ),
    "weight_decay": Param(5e-4, "Adam's L2 term (paper: 5e-4)", low=0.0, high=1.0),
    "epochs": Param(100, "epochs at most (paper: 100)", low=1, high=10000),
    "patience": Param(
        8, "epochs without a better validation UA until the end (paper: 8)", low=1, high=10000
    ),
    "bucket": Param(
        16, "batches whose pieces are sorted by length together; 0: none", low=0, high=100000
    ),
    "precision": Param("fp32", "of the network's sums; fp16 needs a GPU", ("fp32", "bf16", "fp16")),
    "accumulate": Param(1, "parts that a step's batch is passed in", low=1, high=4096),
    "clip_norm": Param(0.0, "longest gradient; 0: any", low=0.0, high=1e6),
    "checkpointing": Param(
        False, "recompute the transformer's activations: less memory, a third more time"
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
FIT = (
    "class_weight", "arch", "ssl", "ssl_revision", "ssl_digest", "ssl_train", "layerdrop",
    "mask_time", "pool", "width", "longest", "floor", "tail", "pre_emphasis", "wave_norm",
    "clip_score", "batch", "lr", "ssl_lr_scale", "weight_decay", "epochs", "patience", "bucket",
    "precision", "accumulate", "clip_norm", "checkpointing",
)  # fmt: skip
"""Parameters of one training, whatever its targets. `ssl_digest` is no parameter of the method: it
is that of the folder's files, so that other weights in the same folder are another stage."""


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
    return {n: _like(PARAMS[n].default, v) if n in PARAMS else v for n, v in own.items()}


def _training(setting: Mapping[str, Any]) -> dict[str, Any]:
    own = {name: setting[name] for name in FIT if name != "ssl_digest"}
    own["ssl_digest"] = None
    if own["arch"] == "spatial":
        for name in ("ssl", "ssl_revision", "ssl_train", "layerdrop", "mask_time", "pool",
                     "pre_emphasis", "wave_norm", "ssl_lr_scale", "checkpointing"):  # fmt: skip
            own[name] = None
        return own
    if _is_folder(own["ssl"]):
        own["ssl_digest"] = _digest(Path(own["ssl"]).expanduser())
    if own["ssl_digest"] is not None or own["ssl"] == "tiny":
        own["ssl_revision"] = None
    if own["ssl_train"] == "none":
        own["layerdrop"], own["mask_time"], own["ssl_lr_scale"] = 0.0, 0.0, None
        own["checkpointing"] = False
    return own


def _like(default: Any, value: Any) -> Any:
    # Whole and broken numbers of one value are one setting: 0 and 0.0 must not differ in a key.
    if value is None or isinstance(default, str | bool):
        return value
    return type(default)(value)


def _divides(own: Mapping[str, Any]) -> bool:
    """Whether the student's rows or targets depend on S_A, S_B and S_C."""
    needs = STRATEGIES[own["strategy"]].needs
    return "sets" in needs or own["train_on"] != "A+B"


def _is_folder(name: str) -> bool:
    return name.startswith(("/", ".", "~"))


def _digest(folder: Path) -> str:
    """Of the names and contents of a folder's files. "missing" where there is none."""
    if not folder.is_dir():
        return "missing"
    files = sorted(path for path in folder.iterdir() if path.is_file())
    stamp = tuple((p.name, p.stat().st_size, p.stat().st_mtime_ns) for p in files)
    return _content(folder, stamp)


@functools.cache
def _content(folder: Path, stamp: tuple[tuple[str, int, int], ...]) -> str:
    """Read once while the files' sizes and times stay: a space has many settings."""
    whole = hashlib.sha256()
    for name, _, _ in stamp:
        with (folder / name).open("rb") as file:
            whole.update(f"{name}\0{hashlib.file_digest(file, 'sha256').hexdigest()}\0".encode())
    return whole.hexdigest()


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
    first = {n: _like(PARAMS[n].default, v) if n in PARAMS else v for n, v in first.items()}
    before = Node("teacher", teacher, first, parts=("train", "validation", "undecided"))
    return (before, replace(last, parents={"teacher": "teacher"}))


def _needs(setting: Mapping[str, Any]) -> frozenset[str]:
    own = canonical(setting)
    needs = STRATEGIES[own["strategy"]].needs
    teacher_divides = "predictions" in needs and setting["teacher_train"] == "A"
    if "votes" in needs or _divides(own) or teacher_divides:
        return frozenset({"votes"})
    return frozenset()


# --- Stages ---------------------------------------------------------------------------------


def student(
    inputs: StageInputs,
    *,
    strategy: str,
    gamma: float | None,
    smoothing: float | None,
    lr_base: str | None,
    target_norm: str | None,
    wdsl_alpha: float | None,
    correction_lambda: float | None,
    correct: str | None,
    dominant: str | None,
    least: int | None,
    train_on: str,
    class_weight: str,
    arch: str,
    ssl: str | None,
    ssl_revision: str | None,
    ssl_digest: str | None,
    ssl_train: str | None,
    layerdrop: float | None,
    mask_time: float | None,
    pool: str | None,
    width: float,
    longest: float,
    floor: float,
    tail: str,
    pre_emphasis: float | None,
    wave_norm: str | None,
    clip_score: str,
    batch: int,
    lr: float,
    ssl_lr_scale: float | None,
    weight_decay: float,
    epochs: int,
    patience: int,
    bucket: int,
    precision: str,
    accumulate: int,
    clip_norm: float,
    checkpointing: bool | None,
) -> Artifact:
    """Train towards the strategy's targets and predict validation and test.

    Parameters are those of METHOD; None where they have no effect (`canonical`).

    Returns:
        arrays `validation` and `test` [n, K] clips' probabilities; info `curves`, `best_epoch`,
        `epochs`, `best_validation_ua`, `sets` (clips of S_A, S_B, S_C and of none before
        `train_on`), `clips` and `pieces` that were trained on, `target_mass` by class (the sum of
        the targets of clips), `dropped` (clips without a vote) and `weights` of the encoder

    Raises:
        ValueError: votes, predictions or frames that the setting needs are not there
        NonFinite: the training diverged
    """
    own = {name: value for name, value in locals().items() if name != "inputs"}
    import torch

    every = _pool(inputs, dominant, least)
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
    info = _facts(fitted, own) | {
        "sets": every.counts,
        "clips": len(rows),
        "pieces": pieces,
        "dropped": dropped,
        "target_mass": [float(value) for value in target.sum(axis=0)],
    }
    return Artifact(arrays=clips, info=info)


def teacher(
    inputs: StageInputs,
    *,
    train_on: str,
    dominant: str | None,
    least: int | None,
    crossfit: int | None,
    class_weight: str,
    arch: str,
    ssl: str | None,
    ssl_revision: str | None,
    ssl_digest: str | None,
    ssl_train: str | None,
    layerdrop: float | None,
    mask_time: float | None,
    pool: str | None,
    width: float,
    longest: float,
    floor: float,
    tail: str,
    pre_emphasis: float | None,
    wave_norm: str | None,
    clip_score: str,
    batch: int,
    lr: float,
    ssl_lr_scale: float | None,
    weight_decay: float,
    epochs: int,
    patience: int,
    bucket: int,
    precision: str,
    accumulate: int,
    clip_norm: float,
    checkpointing: bool | None,
) -> Artifact:
    """Train on one-hot labels of S_A (and S_B) and predict every training clip, in eval mode.

    Args:
        inputs: a fold
        train_on: "A" or "A+B"
        dominant, least: rules of the division; None where it does not matter
        crossfit: None predicts the clips it was trained on too, as the paper does: its predictions
            for S_B are then memorised labels. A number divides the training speakers into so many
            groups (fewer where there are fewer speakers) and predicts each by a model trained on
            the others, stopped by the same validation part

    Other parameters are those of METHOD.

    Returns:
        arrays `train` and `undecided` [n, K] in row order; info `flagged`, the share of labelled
        clips that it gets wrong, and for each training its curves and best epoch

    Raises:
        ValueError: frames or votes are not there, or crossfit with a single training speaker
        NonFinite: the training diverged
    """
    own = {name: value for name, value in locals().items() if name != "inputs"}
    parts = {"train": inputs.train, "undecided": inputs.undecided}
    every = _pool(inputs, dominant, least)
    learnt = every.within(train_on)
    k = len(inputs.classes)
    arrays = {name: np.zeros((len(part), k), np.float32) for name, part in parts.items()}
    runs = []
    for number, held in enumerate(_groups(inputs, crossfit)):
        here = inputs
        if crossfit is not None:
            # One scratch folder a training: each has its own checkpoint.
            scratch = None if inputs.scratch is None else inputs.scratch / f"group-{number}"
            seed = int(np.random.SeedSequence([inputs.seed, number]).generate_state(1)[0])
            here = replace(inputs, seed=seed, scratch=scratch)
            away = np.concatenate([~held["train"], ~held["undecided"]])[: len(learnt)]
            learn = np.flatnonzero(learnt & away)
        else:
            learn = np.flatnonzero(learnt)
        if not len(learn):
            raise ValueError(f"no training clip is in teacher_train={train_on}")
        part = every.part.take(learn)
        asked = {n: p.take(held[n]) for n, p in parts.items() if held[n].any()}
        target = np.eye(k, dtype=np.float32)[every.label[learn]]
        fitted, clips, _ = _fit(here, part, target, asked, own)
        for name, probabilities in clips.items():
            arrays[name][held[name]] = probabilities
        runs.append(_facts(fitted, own))
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
    order = np.random.default_rng(inputs.seed).permutation(speakers)
    return [
        {name: np.isin(part.speaker, group) for name, part in parts.items()}
        for group in np.array_split(order, min(crossfit, len(speakers)))
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
    part = train if not len(undecided) else train.joined(undecided)
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


def _facts(fitted: Fitted, own: Mapping[str, Any]) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "curves": fitted.curves,
        "best_epoch": fitted.best_epoch,
        "best_validation_ua": fitted.best_score,
        "epochs": fitted.epochs,
    }
    if own["ssl"] is not None:
        facts["weights"] = "tiny, untrained" if own["ssl"] == "tiny" else own["ssl"]
    return facts


# --- One training ---------------------------------------------------------------------------


def _fit(
    inputs: StageInputs,
    train: Part,
    target: NDArray[np.float32],
    predict: Mapping[str, Part],
    own: Mapping[str, Any],
) -> tuple[Fitted, dict[str, NDArray[np.float32]], int]:
    """Train one network. Returns what the loop gave, the clips' probabilities of the parts asked
    for, and the number of pieces trained on."""
    import torch

    from trainables.loop import fit
    from trainables.losses import inverse_frequency, target_loss

    validation = inputs.validation
    if validation.y is None or not len(validation):
        raise ValueError("a training needs labelled clips in its validation part")
    pieces = _pieces(train, own)
    others = {name: _pieces(part, own) for name, part in predict.items() if len(part)}
    held = others["validation"] if "validation" in others else _pieces(validation, own)
    rows = target[pieces.clip]
    weights = None
    if own["class_weight"] == "inverse":
        weights = inverse_frequency(torch.as_tensor(rows.sum(axis=0))).numpy()
    k = len(inputs.classes)
    collate: Any = functools.partial(
        audio.collate,
        floor=own["floor"],
        pre_emphasis=own["pre_emphasis"] or 0.0,
        norm=own["wave_norm"] or "given",
    )
    scale = {} if own["ssl_lr_scale"] in (None, 1.0) else {"ssl.": own["ssl_lr_scale"]}
    bins = [int(s.values.shape[1]) for name, s in pieces.streams.items() if name != WAVE]
    fitted = fit(
        build=functools.partial(_network, classes=k, bins=sum(bins), own=dict(own)),
        forward=_forward,
        infer=_infer,
        loss=functools.partial(target_loss, weights=weights),
        score=functools.partial(
            _score, y=np.array(validation.y), pieces=_map_of(held), how=own["clip_score"], k=k
        ),
        train={**pieces.streams, "target": rows},
        validation=dict(held.streams),
        predict={name: dict(part.streams) for name, part in others.items()},
        batch=own["batch"],
        lr=own["lr"],
        lr_scale=scale,
        weight_decay=own["weight_decay"],
        epochs=own["epochs"],
        patience=own["patience"],
        seed=inputs.seed,
        threads=inputs.threads,
        workers=inputs.workers,
        device=inputs.device,
        scratch=inputs.scratch,
        checkpoint_every=1,
        checkpoint_seconds=CHECKPOINT_SECONDS,
        on_epoch=inputs.on_epoch,
        collate=collate,
        bucket=own["bucket"],
        precision=own["precision"],
        accumulate=own["accumulate"],
        clip_norm=own["clip_norm"],
    )
    clips = {name: np.zeros((len(part), k), np.float32) for name, part in predict.items()}
    clips |= {
        name: audio.over_clips(probabilities, others[name], own["clip_score"])
        for name, probabilities in fitted.probabilities.items()
    }
    return fitted, clips, len(pieces)


def _pieces(part: Part, own: Mapping[str, Any]) -> audio.Pieces:
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
    return audio.cut(
        {name: part.frames[name] for name in wanted},
        longest=own["longest"],
        shortest=own["floor"],
        tail=own["tail"],
    )


def _map_of(pieces: audio.Pieces) -> audio.Pieces:
    """Which piece is of which clip, without the audio, for what travels to workers."""
    return audio.Pieces({}, pieces.clip, pieces.clips)


def _network(*, classes: int, bins: int, own: Mapping[str, Any]) -> SpatialTemporal:
    from trainables.networks.spatial_temporal import SpatialTemporal
    from trainables.networks.ssl import SSL, load

    encoder = None
    if own["ssl"] is not None:
        if own["ssl_digest"] is not None:
            found = _digest(Path(own["ssl"]).expanduser())
            if found != own["ssl_digest"]:
                raise ValueError(
                    f"the folder ssl={own['ssl']} holds other files than when the study was "
                    "planned, or is not on this machine; put them back, or start the study again"
                )
        model = load(own["ssl"], layerdrop=own["layerdrop"], revision=own["ssl_revision"] or "main")
        encoder = SSL(
            model,
            train=own["ssl_train"],
            mask_time=own["mask_time"],
            checkpointing=bool(own["checkpointing"]),
        )
    return SpatialTemporal(
        classes, encoder=encoder, bins=bins, pool=own["pool"] or "mean", width=own["width"]
    )


def _infer(module: SpatialTemporal, rows: Mapping[str, Tensor]) -> Tensor:
    return module(rows)


def _forward(module: SpatialTemporal, rows: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {"logits": module(rows)}


def _score(
    probabilities: NDArray[np.float32],
    *,
    y: NDArray[np.int64],
    pieces: audio.Pieces,
    how: Any,
    k: int,
) -> dict[str, float]:
    """UA and WA of validation clips, and the mean of -log p of their label."""
    clips = audio.over_clips(probabilities, pieces, how)
    return validation_scores(clips, y, k)


METHOD = Method(
    name="label_correction",
    summary="labels of ambiguous clips corrected by a teacher, on a spatial-temporal network",
    params=PARAMS,
    graph=_graph,
    needs=_needs,
    features=("wave", "logmel40"),
    inputs=("frames",),
    paper="Gan, Zhou, Wang, Zhu, Jain, Štruc: Optimizing ambiguous speech emotion recognition "
    "through spatial-temporal parallel network with label correction strategy (2025)",
)
