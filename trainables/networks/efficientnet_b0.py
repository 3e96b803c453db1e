"""EfficientNet-B0 (Tan and Le 2019, table 1) for segments of log-mel bands."""

from __future__ import annotations

from torch import nn

from trainables.networks.convolutions import scale_channels
from trainables.networks.inverted import InvertedNetwork, Stage

STAGES = (
    Stage(1, 16, 1, 1, 3),
    Stage(6, 24, 2, 2, 3),
    Stage(6, 40, 2, 2, 5),
    Stage(6, 80, 3, 2, 3),
    Stage(6, 112, 3, 1, 5),
    Stage(6, 192, 4, 2, 5),
    Stage(6, 320, 1, 1, 3),
)
"""as published"""
STEM, TOP = 32, 1280
DROPOUT = 0.2
DEPTH_DROP = 0.2


class EfficientNetB0(InvertedNetwork):
    """Inverted residuals with squeeze and excitation, SiLU, stochastic depth.

    With three channels, a thousand classes and width 1 it has the 5,288,548 weights that are
    published.

    Args:
        classes: K
        channels: of the input
        width: multiplies all channels, the last convolution's too
        dropout: multiplies the published rates: 0.2 before the last layer, and 0 to 0.2, growing
            from block to block, of leaving out a residual branch
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
            top=scale_channels(TOP, width),
            width=width,
            dropout=DROPOUT * dropout,
            depth_drop=DEPTH_DROP * dropout,
            squeeze=True,
            activation=nn.SiLU,
            momentum=momentum,
            eps=eps,
        )
