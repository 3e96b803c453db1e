"""EfficientNet-B0 (Tan and Le 2019, table 1) for segments of log-mel bands."""

from __future__ import annotations

from torch import nn

from trainables.networks.inverted import InvertedNetwork, Stage


class EfficientNetB0(InvertedNetwork):
    """Inverted residuals with squeeze and excitation, SiLU, stochastic depth. 5,288,548 weights."""

    stages = (
        Stage(1, 16, 1, 1, 3),
        Stage(6, 24, 2, 2, 3),
        Stage(6, 40, 2, 2, 5),
        Stage(6, 80, 3, 2, 3),
        Stage(6, 112, 3, 1, 5),
        Stage(6, 192, 4, 2, 5),
        Stage(6, 320, 1, 1, 3),
    )
    depth_rate = 0.2
    squeeze = True
    activation = nn.SiLU
