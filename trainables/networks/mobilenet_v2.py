"""MobileNetV2 (Sandler et al. 2018, table 2) for segments of log-mel bands."""

from __future__ import annotations

from torch import Tensor, nn

from trainables.networks.convolutions import (
    Head,
    InvertedResidual,
    batch_norm,
    conv_bn,
    init,
    scaled,
)

__all__ = ["MobileNetV2"]

STAGES = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1),
          (6, 160, 3, 2), (6, 320, 1, 1))  # fmt: skip
"""(expansion, channels, blocks, stride of the first) as published"""
STEM, TOP = 32, 1280
DROPOUT = 0.2


class MobileNetV2(nn.Module):
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
        super().__init__()
        norm = batch_norm(momentum, eps)
        before = scaled(STEM, width)
        layers: list[nn.Module] = [
            conv_bn(channels, before, 3, stride=2, activation=nn.ReLU6, norm=norm)
        ]
        for expansion, size, blocks, stride in STAGES:
            for block in range(blocks):
                after = scaled(size, width)
                layers.append(
                    InvertedResidual(
                        before,
                        after,
                        kernel=3,
                        stride=stride if block == 0 else 1,
                        expansion=expansion,
                        activation=nn.ReLU6,
                        norm=norm,
                    )
                )
                before = after
        top = scaled(TOP, max(width, 1.0))
        layers.append(conv_bn(before, top, 1, activation=nn.ReLU6, norm=norm))
        self.features = nn.Sequential(*layers)
        self.head = Head(top, classes, DROPOUT * dropout)
        init(self)

    def forward(self, x: Tensor) -> Tensor:
        """x [B, channels, 64, frames] -> logits [B, K]."""
        return self.head(self.features(x))
