"""What methods on waves share: the parameters of an encoder and of a training, and that training.

A network reads pieces of clips. A piece has its clip's target, and a clip's probabilities are the
mean over its pieces. A method brings its own cutting, collating and network; its module keeps the
speech encoder, where it has one, as `ssl`.

Torch is imported inside functions: processes that only plan read the parameters here.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from trainables import waves
from trainables.embedding import embedding
from trainables.stage import NetworkState, Param, Part, StageInputs

if TYPE_CHECKING:
    from torch import Tensor, nn
    from transformers import PreTrainedModel

    from trainables.epochs import Fit
    from trainables.networks.encoders import SSL
    from trainables.rows import Collate

CHECKPOINT_SECONDS = 20.0
"""at least so long between two checkpoints of a training, which are written after epochs"""
WAVE = "wave"
TINY = "tiny"


@dataclass(frozen=True)
class Weights(Param):
    """A model by name; one that is named as a folder must be there."""

    def problem(self, name: str, value: Any) -> str | None:
        told = super().problem(name, value)
        if told is not None or not is_path(value):
            return told
        if not (Path(value).expanduser() / "config.json").is_file():
            return (
                f"{name} must be tiny, a hub name, or a folder with config.json and weights, but "
                f"there is no {value}/config.json"
            )
        return None


_ENCODER: dict[str, Param] = {
    "ssl": Weights(
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
    "pre_emphasis": Param(0.97, "of the wave that the encoder hears", low=0.0, high=1.0),
    "wave_norm": Param(
        "given",
        "level of the wave: as `normalise` gives it, or mean 0 and deviation 1 by piece",
        ("given", "piece"),
    ),
    "ssl_lr_scale": Param(1.0, "the encoder's step size over the others'", low=0.0, high=100.0),
    "checkpointing": Param(
        False, "recompute the transformer's activations: less memory, a third more time"
    ),
}
_TRAINING: dict[str, Param] = {
    "class_weight": Param(
        "none",
        "'inverse' frequency of the classes in the stage's own targets (mean one), on each entry "
        "of a target, or 'none'",
        ("none", "inverse"),
    ),
    "clip_score": Param(
        "mean",
        "a clip's score: mean of its pieces' probabilities, or of their logarithms",
        ("mean", "mean_log"),
    ),
    "batch": Param(16, "pieces a step", low=2, high=4096),
    "lr": Param(1e-5, "Adam's step size", low=1e-7, high=1.0),
    "weight_decay": Param(0.0, "Adam's L2 term", low=0.0, high=1.0),
    "epochs": Param(100, "epochs at most", low=1, high=10000),
    "patience": Param(
        8, "epochs without a better validation UA until the end", low=1, high=10000
    ),
    "precision": Param("fp32", "of the network's sums; fp16 needs a GPU", ("fp32", "bf16", "fp16")),
    "accumulate": Param(1, "parts that a step's batch is passed in", low=1, high=4096),
    "clip_norm": Param(0.0, "longest gradient; 0: any", low=0.0, high=1e6),
}  # fmt: skip


NAMES = (*_ENCODER, *_TRAINING, "ssl_digest")
"""The parameters of a stage that trains so: those that `declared` gives, and the digest of the
encoder's files, which is no parameter of a method."""


def declared(**defaults: tuple[Any, str]) -> dict[str, Param]:
    """The parameters of an encoder and of a training, as a method declares them.

    Args:
        defaults: name -> (the method's own default, what its help says of that, or "")
    """
    shared = _ENCODER | _TRAINING
    own = {}
    for name, (default, remark) in defaults.items():
        told = f"{shared[name].help} ({remark})" if remark else shared[name].help
        own[name] = replace(shared[name], default=default, help=told)
    return shared | own


# --- Identity -------------------------------------------------------------------------------


def encoder_settings(own: Mapping[str, Any]) -> dict[str, Any]:
    """`own` with the encoder's parameters that have no effect made alike, and `ssl_digest`.

    That is of the files of a folder, so that other weights in the same folder are another stage;
    None where the encoder is named otherwise.
    """
    made = {**own, "ssl_digest": None}
    if is_path(own["ssl"]):
        made["ssl_digest"] = digest(Path(own["ssl"]).expanduser())
    if made["ssl_digest"] is not None or own["ssl"] == TINY:
        made["ssl_revision"] = None
    if own["ssl_train"] == "none":
        made |= {"layerdrop": 0.0, "mask_time": 0.0, "ssl_lr_scale": None, "checkpointing": False}
    return made


def without_encoder(own: Mapping[str, Any]) -> dict[str, Any]:
    """`own` for a network that hears no wave."""
    return {**own, "ssl_digest": None, **dict.fromkeys(_ENCODER)}


def like(params: Mapping[str, Param], own: Mapping[str, Any]) -> dict[str, Any]:
    """`own` with each number of its parameter's kind: 0 and 0.0 must not differ in a key."""
    return {name: params[name].typed(v) if name in params else v for name, v in own.items()}


def is_path(name: str) -> bool:
    """Whether a model is named as a folder or file of this machine."""
    return name.startswith(("/", ".", "~"))


def digest(place: Path) -> str:
    """Of the names and contents of a folder's files, or of a file. "missing" where none is."""
    if place.is_file():
        files = [place]
    elif place.is_dir():
        files = sorted(path for path in place.iterdir() if path.is_file())
    else:
        return "missing"
    stamp = tuple((p.name, p.stat().st_size, p.stat().st_mtime_ns) for p in files)
    return _content(place if place.is_dir() else place.parent, stamp)


@functools.cache
def _content(folder: Path, stamp: tuple[tuple[str, int, int], ...]) -> str:
    """Read once while the files' sizes and times stay: a space has many settings."""
    whole = hashlib.sha256()
    for name, _, _ in stamp:
        with (folder / name).open("rb") as file:
            whole.update(f"{name}\0{hashlib.file_digest(file, 'sha256').hexdigest()}\0".encode())
    return whole.hexdigest()


def check_digest(name: str, place: str, planned: str | None) -> None:
    """Raises ValueError where a path holds other files than a setting's digest says."""
    if planned is not None and digest(Path(place).expanduser()) != planned:
        what = "file" if Path(place).expanduser().is_file() else "folder"
        raise ValueError(
            f"the {what} {name}={place} holds other files than when the study was planned, or is "
            "not on this machine; put them back, or start the study again"
        )


def notes(setting: Mapping[str, Any]) -> tuple[str, ...]:
    """What a study must tell of its encoder."""
    if setting["ssl"] != TINY:
        return ()
    return (
        "params.ssl=tiny is a small encoder with untrained weights: scores made with it say "
        "nothing about the method; name a hub model or a folder",
    )


# --- One training ---------------------------------------------------------------------------


def encoder(own: Mapping[str, Any], config: dict[str, Any] | None = None) -> SSL:
    """The speech encoder that a setting names.

    Args:
        own: values of `declared`'s parameters, and `ssl_digest`
        config: of `encoder_config`, for an encoder whose weights are filled in later: nothing is
            read or fetched

    Raises:
        ValueError: it cannot be loaded, or its folder holds other files than the setting's digest
            says
    """
    from trainables.networks.encoders import SSL, of_config

    return SSL(
        _pretrained(own) if config is None else of_config(config),
        train=own["ssl_train"],
        mask_time=own["mask_time"],
        checkpointing=bool(own["checkpointing"]),
    )


def _pretrained(own: Mapping[str, Any]) -> PreTrainedModel:
    from trainables.networks.encoders import load

    check_digest("ssl", own["ssl"], own["ssl_digest"])
    return load(own["ssl"], layerdrop=own["layerdrop"], revision=own["ssl_revision"] or "main")


def encoder_config(own: Mapping[str, Any]) -> dict[str, Any] | None:
    """What `encoder` builds an encoder of a setting from without its weights; None without one."""
    if own["ssl"] is None:
        return None
    found: dict[str, Any] = json.loads(_pretrained(own).config.to_json_string(use_diff=False))
    return found


def fit_clips(
    inputs: StageInputs,
    train: Part,
    target: NDArray[np.float32],
    predict: Mapping[str, Part],
    own: Mapping[str, Any],
    *,
    cut: Callable[[Part], waves.Pieces],
    build: Callable[[], nn.Module],
    collate: Collate,
    bucket: int = 0,
) -> tuple[Fit, dict[str, NDArray[Any]], int]:
    """Train a network on pieces of clips, towards the targets of these.

    Args:
        inputs: the fold; its validation part stops the training
        train: the clips to learn from
        target: [n, K] of these clips
        predict: parts whose clips are to be predicted
        own: values of `declared`'s parameters
        cut: a part -> the pieces that the network reads
        build, collate, bucket: of `loop.Training`; the module maps a batch to logits, by a `head`

    Returns:
        what the loop gave, the clips' probabilities [n, K] of the parts asked for (with them,
        where `test` is one, `embedding_test`, what the head's last layer is given for its clips,
        means over their pieces), and the number of pieces trained on

    Raises:
        ValueError: no labelled validation clips
        NonFinite: the training diverged
    """
    import torch

    from trainables.loop import Training, fit
    from trainables.losses import inverse_frequency, target_loss

    validation = inputs.validation
    if not inputs.refit and (validation.y is None or not len(validation)):
        raise ValueError("a training needs labelled clips in its validation part")
    pieces = cut(train)
    others = {name: cut(part) for name, part in predict.items() if len(part)}
    held = others["validation"] if "validation" in others else cut(validation)
    rows = target[pieces.clip]
    weights = None
    if own["class_weight"] == "inverse":
        weights = inverse_frequency(torch.as_tensor(rows.sum(axis=0))).numpy()
    k = len(inputs.classes)
    fitted = fit(
        Training(
            build=build,
            forward=_forward,
            infer=_infer,
            loss=functools.partial(target_loss, weights=weights),
            score=functools.partial(
                waves.clip_scores,
                y=np.array(validation.y),
                pieces=_map_of(held),
                how=own["clip_score"],
                k=k,
            ),
            train={**pieces.streams, "target": rows},
            validation={} if inputs.refit else dict(held.streams),
            predict={name: dict(part.streams) for name, part in others.items()},
            embed={"test": "head"} if "test" in others else {},
            batch=own["batch"],
            lr=own["lr"],
            lr_scale={} if own["ssl_lr_scale"] in (None, 1.0) else {"ssl.": own["ssl_lr_scale"]},
            weight_decay=own["weight_decay"],
            epochs=own["epochs"],
            patience=own["patience"],
            checkpoint_every=1,
            checkpoint_seconds=CHECKPOINT_SECONDS,
            **inputs.training,
            collate=collate,
            bucket=bucket,
            precision=own["precision"],
            accumulate=own["accumulate"],
            clip_norm=own["clip_norm"],
        )
    )
    clips = {name: np.zeros((len(part), k), np.float32) for name, part in predict.items()}
    clips |= {
        name: waves.over_clips(probabilities, others[name], own["clip_score"])
        for name, probabilities in fitted.probabilities.items()
    }
    layers = embedding({n: waves.over_clips(x, others[n]) for n, x in fitted.layers.items()})
    return fitted, {**clips, **layers}, len(pieces)


def clip_predictor(
    trained: NetworkState,
    *,
    cut: Callable[[Part], waves.Pieces],
    build: Callable[[], nn.Module],
    collate: Collate,
    bucket: int = 0,
) -> Callable[[Part], NDArray[np.float32]]:
    """What `fit_clips` trained as a function: a part -> its clips' probabilities [n, K].

    Args:
        trained: of a stage whose parameters are values of `declared`'s
        cut, build, collate, bucket: of `fit_clips`
    """
    from trainables.passes import predictor

    own = trained.params
    run = predictor(
        build=build,
        weights=trained.weights,
        infer=_infer,
        collate=collate,
        bucket=bucket,
        batch=own["batch"],
        precision=own["precision"],
    )

    def predict(part: Part) -> NDArray[np.float32]:
        pieces = cut(part)
        return waves.over_clips(run(dict(pieces.streams)), pieces, own["clip_score"])

    return predict


def facts(fitted: Fit, own: Mapping[str, Any]) -> dict[str, Any]:
    """What an artifact's `info` tells of a training: curves, epochs, and the encoder's weights."""
    told = fitted.facts
    if own.get("ssl") is not None:
        told["weights"] = f"{TINY}, untrained" if own["ssl"] == TINY else own["ssl"]
    return told


def _map_of(pieces: waves.Pieces) -> waves.Pieces:
    """Which piece is of which clip, without the audio, for what travels to workers."""
    return waves.Pieces({}, pieces.clip, pieces.clips)


def _infer(module: nn.Module, rows: Mapping[str, Tensor]) -> Tensor:
    return module(rows)


def _forward(module: nn.Module, rows: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {"logits": module(rows)}
