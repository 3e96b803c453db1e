"""MobileNetV2 (Sandler et al. 2018, table 2) for segments of log-mel bands."""

from __future__ import annotations

from torch import nn

from trainables.networks.inverted import InvertedNetwork, Stage


class MobileNetV2(InvertedNetwork):
    """Inverted residuals with linear bottlenecks, ReLU6, global mean, one linear layer.

    3,504,872 weights. A width below 1 leaves the last convolution its 1280, as published.
    """

    stages = (
        Stage(1, 16, 1, 1, 3),
        Stage(6, 24, 2, 2, 3),
        Stage(6, 32, 3, 2, 3),
        Stage(6, 64, 4, 2, 3),
        Stage(6, 96, 3, 1, 3),
        Stage(6, 160, 3, 2, 3),
        Stage(6, 320, 1, 1, 3),
    )
    squeeze = False
    activation = nn.ReLU6

    @classmethod
    def top_channels(cls, width: float) -> int:
        return super().top_channels(max(width, 1.0))
