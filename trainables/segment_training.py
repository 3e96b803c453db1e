"""One training of deep self-learning: a network that reads segments, one by one.

Torch is imported inside functions: processes that only plan import this module.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from trainables import fitting, segments, waves
from trainables.stage import NetworkState, Part, Sequences, Setting, StageInputs

if TYPE_CHECKING:
    from torch import Tensor, nn

    from trainables.optimisation import Fit


def frames_of(part: Part) -> Sequences:
    """[n] rows of [L, D], the one feature set of frames.

    Raises:
        ValueError: there are several, or none
    """
    if len(part.frames) != 1:
        raise ValueError(
            f"self_learning reads one feature set of frames, but features= names "
            f"{sorted(part.frames)}; take features=logmel64"
        )
    return next(iter(part.frames.values()))


def fit(
    inputs: StageInputs,
    train: Part,
    target: NDArray[np.float32],
    predict: Mapping[str, Part],
    own: Setting,
) -> tuple[Fit, segments.Segments]:
    """Train one network on the segments of utterances and predict those of the parts asked for.

    Args:
        inputs: the fold; its validation part stops the training
        train: the utterances to learn from
        target: [S, K] of their segments, utterance by utterance
        predict: parts to predict, by name
        own: parameters of `self_learning.TRAINING`

    Returns:
        what the loop gave, and the segments of all parts, `train` among them

    Raises:
        ValueError: labels or frames are not there, or several workers share batch norm
        NonFinite: the training diverged
    """
    y = fitting.stop_labels(inputs)
    if inputs.workers > 1 and own["bn_momentum"] is not None:
        raise ValueError(
            f"workers={inputs.workers}: each worker would normalise its own share of a batch, and "
            "the result would depend on their number; take workers=1 (folds run side by side)"
        )
    parts = {"train": train, "validation": inputs.validation, **predict}
    cut = segments.cut(
        {name: frames_of(part) for name, part in parts.items()},
        length=own["segment"],
        hop=own["hop"],
    )
    k, bands = len(inputs.classes), cut.frames.shape[1]
    result = fitting.fit(
        inputs,
        {**own, "bucket": 0},
        build=functools.partial(build, classes=k, bands=bands, own=dict(own)),
        infer=infer,
        score=functools.partial(
            waves.clip_scores, y=y, pieces=segments.owners(cut.counts["validation"]), k=k
        ),
        train={"segment": cut.rows("train"), "target": target},
        validation={"segment": cut.rows("validation")},
        predict={name: {"segment": cut.rows(name)} for name in predict},
        collate=segments.collate,
    )
    return result, cut


def build(*, classes: int, bands: int, own: Setting) -> nn.Module:
    """A network of segments [n, 1, bands, frames] -> logits [n, classes].

    Args:
        classes: K
        bands: values of a frame
        own: `backbone`, its parameters, and `segment`, the frames

    Raises:
        ValueError: vgg19 on segments that are too short for it
    """
    import torch

    network = _backbone(classes, bands, own)
    # twice as fast on a CPU, for the depthwise convolutions
    fast: nn.Module = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return fast


def _backbone(classes: int, bands: int, own: Setting) -> nn.Module:
    norm = {"momentum": own["bn_momentum"], "eps": own["bn_eps"]}
    if own["backbone"] == "densenet22":
        from trainables.networks.densenet22 import DenseNet

        return DenseNet(classes, growth=own["growth"], **norm)
    scale = {"width": own["width"], "dropout": own["dropout"]}
    if own["backbone"] == "compact":
        from trainables.networks.compact import Compact

        return Compact(classes, **scale, **norm)
    if own["backbone"] == "mobilenet_v2":
        from trainables.networks.mobilenet_v2 import MobileNetV2

        return MobileNetV2(classes, **scale, **norm)
    if own["backbone"] == "efficientnet_b0":
        from trainables.networks.efficientnet_b0 import EfficientNetB0

        return EfficientNetB0(classes, **scale, **norm)
    from trainables.networks.vgg19 import STRIDE, VGG19

    if own["segment"] < STRIDE or bands < STRIDE:
        raise ValueError(
            f"vgg19 halves a segment five times and needs segments of {STRIDE} frames and bands, "
            f"but gets {own['segment']} frames of {bands}; take params.segment={STRIDE} or more"
        )
    last = (bands // STRIDE, own["segment"] // STRIDE)
    plain = {"hidden": own["vgg_hidden"], "last": last, "norm": own["vgg_norm"]}
    return VGG19(classes, **plain, **scale, **(norm if own["vgg_norm"] else {}))


def infer(module: nn.Module, rows: Mapping[str, Tensor]) -> Tensor:
    logits: Tensor = module(rows["segment"])
    return logits


def reader(
    state: NetworkState,
) -> Callable[[Sequences], tuple[NDArray[np.float32], NDArray[np.int64]]]:
    """What a trained network says of utterances' frames: rows -> the probabilities [S, K] of their
    segments, utterance by utterance, and the segments of each [n].

    Args:
        state: its parameters are those of `build`, `segment`, `hop` and `batch`; its info has
            `bands`
    """
    from scipy.special import softmax

    from trainables.passes import read, restore

    own = state.params
    module = restore(
        functools.partial(
            build, classes=len(state.classes), bands=state.info["bands"], own=dict(own)
        ),
        state.weights,
    )

    def run(rows: Sequences) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        cut = segments.cut({"all": rows}, length=own["segment"], hop=own["hop"])
        logits = read(
            module,
            infer=infer,
            columns={"segment": cut.rows("all")},
            collate=segments.collate,
            eval_batch=2 * own["batch"],
        )
        return softmax(logits, axis=1), cut.counts["all"]

    return run
