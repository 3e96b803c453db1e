"""The network that reads a segment: built from a setting, in training and in a model."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from trainables import segments
from trainables.stage import NetworkState, Sequences

if TYPE_CHECKING:
    from torch import Tensor, nn


def build(*, classes: int, bands: int, own: Mapping[str, Any]) -> nn.Module:
    """A network of segments [n, 1, bands, frames] -> logits [n, classes].

    Args:
        classes: K
        bands: values of a frame
        own: `backbone`, its parameters, and `segment`, the frames

    Raises:
        ValueError: vgg19 on segments that are too short for it
    """
    import torch

    made = _backbone(classes, bands, own)
    # twice as fast on a CPU, for the depthwise convolutions
    moved: nn.Module = made.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return moved


def _backbone(classes: int, bands: int, own: Mapping[str, Any]) -> nn.Module:
    norm = {"momentum": own["bn_momentum"], "eps": own["bn_eps"]}
    if own["backbone"] == "mobilenet_v2":
        from trainables.networks.mobilenet_v2 import MobileNetV2

        return MobileNetV2(classes, width=own["width"], dropout=own["dropout"], **norm)
    if own["backbone"] == "efficientnet_b0":
        from trainables.networks.efficientnet_b0 import EfficientNetB0

        return EfficientNetB0(classes, width=own["width"], dropout=own["dropout"], **norm)
    if own["backbone"] == "densenet22":
        from trainables.networks.densenet22 import DenseNet

        return DenseNet(classes, growth=own["growth"], **norm)
    from trainables.networks.vgg19 import STRIDE, VGG19

    if own["segment"] < STRIDE or bands < STRIDE:
        raise ValueError(
            f"vgg19 halves a segment five times and needs segments of {STRIDE} frames and bands, "
            f"but gets {own['segment']} frames of {bands}; take params.segment={STRIDE} or more"
        )
    if not own["vgg_norm"]:
        norm = {}
    return VGG19(
        classes,
        width=own["width"],
        hidden=own["vgg_hidden"],
        last=(bands // STRIDE, own["segment"] // STRIDE),
        dropout=own["dropout"],
        norm=own["vgg_norm"],
        **norm,
    )


def infer(module: nn.Module, rows: Mapping[str, Tensor]) -> Tensor:
    made: Tensor = module(rows["segment"])
    return made


def forward(module: nn.Module, rows: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {"logits": module(rows["segment"])}


def reader(
    trained: NetworkState,
) -> Callable[[Sequences], tuple[NDArray[np.float32], NDArray[np.int64]]]:
    """What a trained network says of utterances' frames: rows -> the probabilities [S, K] of their
    segments, utterance by utterance, and the segments of each [n].

    Args:
        trained: its parameters are those of `build`, `segment`, `hop` and `batch`; its info has
            `bands`
    """
    from scipy.special import softmax

    from trainables.passes import loaded, read

    own = trained.params
    module = loaded(
        functools.partial(
            build, classes=len(trained.classes), bands=trained.info["bands"], own=dict(own)
        ),
        trained.weights,
    )

    def said(rows: Sequences) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        cut = segments.cut({"all": rows}, length=own["segment"], hop=own["hop"])
        logits = read(
            module,
            infer=infer,
            columns={"start": cut.starts["all"]},
            collate=functools.partial(segments.collate, frames=cut.frames, length=own["segment"]),
            eval_batch=2 * own["batch"],
        )
        return softmax(logits, axis=1), cut.counts["all"]

    return said
