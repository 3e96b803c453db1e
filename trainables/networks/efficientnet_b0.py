"""EfficientNet-B0 (Tan and Le 2019, table 1) for segments of log-mel bands."""

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

__all__ = ["EfficientNetB0"]

STAGES = ((1, 16, 1, 1, 3), (6, 24, 2, 2, 3), (6, 40, 2, 2, 5), (6, 80, 3, 2, 3), (6, 112, 3, 1, 5),
          (6, 192, 4, 2, 5), (6, 320, 1, 1, 3))  # fmt: skip
"""(expansion, channels, blocks, stride of the first, kernel) as published"""
STEM, TOP = 32, 1280
DROPOUT = 0.2
DEPTH_DROP = 0.2


class EfficientNetB0(nn.Module):
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
        super().__init__()
        norm = batch_norm(momentum, eps)
        before = scaled(STEM, width)
        layers: list[nn.Module] = [conv_bn(channels, before, 3, stride=2, norm=norm)]
        total = sum(blocks for _, _, blocks, _, _ in STAGES)
        made = 0
        for expansion, size, blocks, stride, kernel in STAGES:
            for block in range(blocks):
                after = scaled(size, width)
                layers.append(
                    InvertedResidual(
                        before,
                        after,
                        kernel=kernel,
                        stride=stride if block == 0 else 1,
                        expansion=expansion,
                        squeeze=True,
                        depth_drop=DEPTH_DROP * dropout * made / total,
                        norm=norm,
                    )
                )
                before = after
                made += 1
        top = scaled(TOP, width)
        layers.append(conv_bn(before, top, 1, norm=norm))
        self.features = nn.Sequential(*layers)
        self.head = Head(top, classes, DROPOUT * dropout)
        init(self)

    def forward(self, x: Tensor) -> Tensor:
        """x [B, channels, 64, frames] -> logits [B, K]."""
        return self.head(self.features(x))
