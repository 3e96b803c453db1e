"""What methods on waves share: the parameters of an encoder and of a training, and that training.

A network reads pieces of clips. A piece has its clip's target, and a clip's probabilities are the
mean over its pieces. A method brings its own cutting, collating and network; its module keeps the
speech encoder, where it has one, as `ssl`.

Torch is imported inside functions: processes that only plan read the parameters here.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from trainables import fitting, waves
from trainables.embedding import embedding
from trainables.fitting import CLASS_WEIGHT, equals, where
from trainables.metrics import validation_scores
from trainables.stage import Array, NetworkState, Param, Part, Setting, StageInputs
from trainables.weight_files import TINY, EncoderWeights, check_digest, is_path

if TYPE_CHECKING:
    from torch import Tensor, nn
    from transformers import PreTrainedModel

    from trainables.networks.encoders import SSL
    from trainables.optimisation import Fit
    from trainables.rows import Collate
    from trainables.training import Refresh

WAVE = waves.WAVE

ENCODER: dict[str, Param] = {
    "ssl": EncoderWeights(
        "facebook/wav2vec2-base",
        "speech encoder: a hub name, a local folder, or tiny (small, untrained)",
    ),
    "ssl_revision": Param(
        "main",
        "commit or branch of a hub name",
        matters=lambda own: own["ssl"] != TINY and not is_path(own["ssl"]),
    ),
    "ssl_train": Param(
        "all",
        "what of the encoder is trained: all, the transformer without the convolutions that read "
        "the wave, or none",
        ("all", "transformer", "none"),
    ),
    **where(
        equals("ssl_train", "all", "transformer"),
        layerdrop=Param(
            0.0, "share of the encoder's layers that a step leaves out", low=0.0, high=0.9
        ),
        mask_time=Param(
            0.05,
            "share of the encoder's states hidden in training (SpecAugment)",
            low=0.0,
            high=0.9,
        ),
        ssl_lr_scale=Param(1.0, "the encoder's step size over the others'", low=0.0, high=100.0),
        checkpointing=Param(
            False, "recompute the transformer's activations: less memory, a third more time"
        ),
    ),
    "pre_emphasis": Param(0.97, "of the wave that the encoder hears", low=0.0, high=1.0),
    "wave_norm": Param(
        "checkpoint",
        "level of the wave after pre-emphasis: as `normalise` gives it, mean 0 and deviation 1 by "
        "piece, or what the checkpoint's do_normalize says where the encoder has layer norms "
        "(given elsewhere)",
        ("checkpoint", "given", "piece"),
    ),
}
TRAINING: dict[str, Param] = {
    "class_weight": CLASS_WEIGHT,
    "clip_score": Param(
        "mean",
        "a clip's score: mean of its pieces' probabilities, or of their logarithms",
        ("mean", "mean_log"),
    ),
    **fitting.steps(
        batch=(16, ""),
        lr=(1e-5, ""),
        weight_decay=(0.0, ""),
        epochs=(100, ""),
        patience=(8, ""),
        patience_steps=(120, ""),
        precision=("fp32", ""),
        accumulate=(1, ""),
        clip_norm=(0.0, ""),
    ),
}


def declare(**defaults: tuple[Any, str]) -> dict[str, Param]:
    """The parameters of an encoder and of a training, as a method declares them.

    A stage that has them also takes `ssl_digest` (`weight_files.digest_of`), which is no parameter
    of the method: other weights in the same folder are another stage.

    Args:
        defaults: name -> (the method's own default, what its help says of that, or "")
    """
    every = ENCODER | TRAINING
    return every | fitting.declare(every, **defaults)


def without_encoder(own: Setting) -> dict[str, Any]:
    """`own` for a network that hears no wave."""
    return {**own, "ssl_digest": None, **dict.fromkeys(ENCODER)}


def notes(setting: Setting) -> tuple[str, ...]:
    """What a study must tell of its encoder."""
    if setting["ssl"] != TINY:
        return ()
    return (
        "params.ssl=tiny is a small encoder with untrained weights: scores made with it say "
        "nothing about the method; name a hub model or a folder",
    )


# --- One training ---------------------------------------------------------------------------


def encoder(own: Setting, config: Setting | None = None) -> SSL:
    """The speech encoder that a setting names.

    Args:
        own: values of `declare`'s parameters, and `ssl_digest`
        config: of `encoder_config`, for an encoder whose weights are filled in later: nothing is
            read or fetched

    Raises:
        ValueError: it cannot be loaded, or its folder holds other files than the setting's digest
            says
    """
    from trainables.networks.encoders import SSL, of_config

    return SSL(
        _load(own) if config is None else of_config(config),
        train=own["ssl_train"],
        mask_time=own["mask_time"] or 0.0,
        checkpointing=bool(own["checkpointing"]),
    )


def _load(own: Setting) -> PreTrainedModel:
    from trainables.networks.encoders import load

    check_digest("ssl", own["ssl"], own["ssl_digest"])
    drop, revision = own["layerdrop"] or 0.0, own["ssl_revision"] or "main"
    return load(own["ssl"], layerdrop=drop, revision=revision)


def settle_wave_norm(own: Setting) -> Setting:
    """`own` with the level of the wave that `wave_norm=checkpoint` stands for.

    Raises:
        ValueError: the checkpoint's files do not say it
    """
    from trainables.networks.encoders import wave_norm

    if own["wave_norm"] != "checkpoint":
        return own
    return {**own, "wave_norm": wave_norm(own["ssl"], own["ssl_revision"] or "main")}


def encoder_config(own: Setting) -> Setting | None:
    """What `encoder` builds an encoder of a setting from without its weights; None without one."""
    if own["ssl"] is None:
        return None
    config: Setting = json.loads(_load(own).config.to_json_string(use_diff=False))
    return config


@dataclass(frozen=True)
class ClipNetwork:
    """What a method on waves brings of its own."""

    cut: Callable[[Part], waves.Pieces]
    """a part -> the pieces that the network reads"""
    build: Callable[[], nn.Module]
    """of `training.Training`; the module maps a batch to logits, by a `head`"""
    collate: Collate | None
    """of `training.Training`; None where clips are rows of one length"""


@dataclass(frozen=True)
class Goal:
    """What a training of clips is towards, where it is not the cross entropy with classes."""

    columns: Mapping[str, Array]
    """of the clips [n, ...], for the loss, beside `target`"""
    score: Callable[[NDArray[np.float32]], Mapping[str, float]] | None
    """predictions of the validation part's clips -> values by name; None: UA and WA"""
    training: Mapping[str, Any]
    """other arguments of `training.Training`; its `refresh` knows clips, not pieces"""


def fit_clips(
    inputs: StageInputs,
    train: Part,
    target: NDArray[np.float32],
    predict: Mapping[str, Part],
    own: Setting,
    network: ClipNetwork,
    goal: Goal | None = None,
) -> tuple[Fit, dict[str, Array], int]:
    """Train a network on pieces of clips, towards the targets of these.

    Args:
        inputs: the fold; its validation part stops the training
        train: the clips to learn from
        target: [n, K] of these clips
        predict: parts whose clips are to be predicted
        own: values of `declare`'s parameters, and `bucket` where pieces differ in length
        network: of the method
        goal: what else it is towards than classes, by cross entropy

    Returns:
        what the loop gave, the clips' probabilities [n, K] of the parts asked for (with them,
        where `test` is one, `embedding_test`, what the head's last layer is given for its clips,
        means over their pieces), and the number of pieces trained on

    Raises:
        ValueError: no labelled validation clips
        NonFinite: the training diverged
    """
    k = len(inputs.classes)
    how: Literal["mean", "mean_log"] = own["clip_score"] or "mean"
    pieces = network.cut(train)
    others = {name: network.cut(part) for name, part in predict.items() if len(part)}
    stop = others["validation"] if "validation" in others else network.cut(inputs.validation)
    columns = {"target": target} | dict({} if goal is None else goal.columns)
    more = {"infer": _infer} | dict({} if goal is None else goal.training)
    if more.get("refresh") is not None:
        more["refresh"] = functools.partial(_by_piece, more["refresh"], clip=pieces.clip)
    lr_scale = {} if own["ssl_lr_scale"] in (None, 1.0) else {"ssl.": own["ssl_lr_scale"]}
    score: Any = None if goal is None else goal.score
    if score is None:
        score = functools.partial(validation_scores, y=fitting.stop_labels(inputs), k=k)
    result = fitting.fit(
        inputs,
        {"bucket": 0, **own},
        build=network.build,
        score=functools.partial(_of_clips, score=score, pieces=stop.without_streams(), how=how),
        train={**pieces.streams, **{n: column[pieces.clip] for n, column in columns.items()}},
        validation=dict(stop.streams),
        predict={name: dict(part.streams) for name, part in others.items()},
        embed={"test": "head"} if "test" in others else {},
        collate=network.collate,
        **more | {"lr_scale": lr_scale | more.get("lr_scale", {})},
    )
    clips = {name: np.zeros((len(part), k), np.float32) for name, part in predict.items()}
    clips |= {
        name: waves.over_clips(probabilities, others[name], how)
        for name, probabilities in result.probabilities.items()
    }
    layers = embedding({n: waves.over_clips(x, others[n]) for n, x in result.layers.items()})
    return result, {**clips, **layers}, len(pieces)


def _of_clips(
    predictions: NDArray[np.float32],
    *,
    score: Callable[[NDArray[np.float32]], Mapping[str, float]],
    pieces: waves.Pieces,
    how: Literal["mean", "mean_log"],
) -> Mapping[str, float]:
    """The scores of clips from the predictions of their pieces."""
    return score(waves.over_clips(predictions, pieces, how))


def _by_piece(
    refresh: Callable[[NDArray[np.float32]], Refresh],
    predictions: NDArray[np.float32],
    *,
    clip: NDArray[np.int64],
) -> Refresh:
    """What a hook gives for clips, for their pieces."""
    fresh = refresh(predictions)
    return replace(fresh, columns={n: column[clip] for n, column in fresh.columns.items()})


def clip_predictor(
    state: NetworkState,
    network: ClipNetwork,
    infer: Callable[[Any, Mapping[str, Tensor]], Tensor] | None = None,
    link: Literal["softmax", "identity"] = "softmax",
) -> Callable[[Part], NDArray[np.float32]]:
    """What `fit_clips` trained as a function: a part -> its clips' probabilities [n, K]."""
    from trainables.passes import predictor

    own = state.params
    run = predictor(
        build=network.build,
        weights=state.weights,
        infer=infer or _infer,
        link=link,
        collate=network.collate,
        bucket=own.get("bucket", 0),
        batch=own["batch"],
        precision=own["precision"],
    )

    def predict(part: Part) -> NDArray[np.float32]:
        pieces = network.cut(part)
        return waves.over_clips(run(dict(pieces.streams)), pieces, own["clip_score"] or "mean")

    return predict


def facts(result: Fit, own: Setting) -> dict[str, Any]:
    """What an artifact's `info` tells of a training: curves, epochs, and the encoder's weights."""
    if own["ssl"] is None:
        return result.facts
    return result.facts | {"weights": f"{TINY}, untrained" if own["ssl"] == TINY else own["ssl"]}


def _infer(module: nn.Module, rows: Mapping[str, Tensor]) -> Tensor:
    return module(rows)
