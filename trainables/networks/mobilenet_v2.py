"""MobileNetV2 (Sandler et al. 2018, table 2) for segments of log-mel bands."""

from __future__ import annotations

from torch import nn

from trainables.networks.convolutions import scale_channels
from trainables.networks.inverted import InvertedNetwork, Stage

STAGES = (
    Stage(1, 16, 1, 1, 3),
    Stage(6, 24, 2, 2, 3),
    Stage(6, 32, 3, 2, 3),
    Stage(6, 64, 4, 2, 3),
    Stage(6, 96, 3, 1, 3),
    Stage(6, 160, 3, 2, 3),
    Stage(6, 320, 1, 1, 3),
)
"""as published"""
STEM, TOP = 32, 1280
DROPOUT = 0.2


class MobileNetV2(InvertedNetwork):
    """Inverted residuals with linear bottlenecks, ReLU6, global mean, one linear layer.

    With three channels, a thousand classes and width 1 it has the 3,504,872 weights that are
    published.

    Args:
        classes: K
        channels: of the input
        width: multiplies all channels, but leaves the last convolution its 1280 where it is below
            1, as published
        narrow_top: multiply those too
        dropout: multiplies the published rate (0.2) before the last layer
        momentum, eps: of batch normalisation, in torch's sense
    """

    def __init__(
        self,
        classes: int,
        *,
        channels: int = 1,
        width: float = 1.0,
        dropout: float = 1.0,
        momentum: float = 0.01,
        eps: float = 1e-3,
    ) -> None:
        super().__init__(
            classes,
            channels=channels,
            stages=STAGES,
            stem=STEM,
            top=scale_channels(TOP, max(width, 1.0)),
            width=width,
            dropout=DROPOUT * dropout,
            depth_drop=0.0,
            squeeze=False,
            activation=nn.ReLU6,
            momentum=momentum,
            eps=eps,
        )
