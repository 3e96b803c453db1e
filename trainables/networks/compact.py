"""A compact network of plain convolutions, for segments of log-mel bands on small corpora."""

from __future__ import annotations

from torch import Tensor, nn

from trainables.networks.convolutions import Head, batch_norm, conv_bn, init, scale_channels

BLOCKS = ((32, 32), (64, 64), (128,))
"""channels of the 3 x 3 convolutions; resolution halves between blocks"""
DROPOUT = 0.3


class Compact(nn.Module):
    """Five 3 x 3 convolutions, the first two at full resolution, and a linear layer on their mean.

    A network of this project, not of a paper. The published backbones halve a segment of 64 bands
    and 32 frames in their first convolution and were made for photographs; on some hundreds of
    utterances this one learns more in less time.

    Args:
        classes: K
        channels: of the input
        width: multiplies the channels
        dropout: multiplies the dropout of 0.3 before the last layer
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
        parts: list[nn.Module] = []
        for block in BLOCKS:
            if parts:
                parts.append(nn.MaxPool2d(2))
            for size in block:
                after = scale_channels(size, width)
                parts.append(conv_bn(channels, after, 3, activation=nn.ReLU, norm=norm))
                channels = after
        self.features = nn.Sequential(*parts)
        self.head = Head(channels, classes, min(1.0, DROPOUT * dropout))
        init(self)

    def forward(self, x: Tensor) -> Tensor:
        """x [B, channels, bands, frames] -> logits [B, K]."""
        return self.head(self.features(x))
