"""VGG19 (Simonyan and Zisserman 2014, configuration E) for segments of log-mel bands."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from trainables.networks.convolutions import batch_norm, init, scale_channels

STAGES = ((64, 2), (128, 2), (256, 4), (512, 4), (512, 4))
"""(channels, convolutions) between two max poolings"""
HIDDEN = 4096
STRIDE = 32
"""of the input to one point of the last map"""
DROPOUT = 0.5


class VGG19(nn.Module):
    """Sixteen 3 x 3 convolutions, five max poolings, three linear layers; no normalisation.

    With three channels, a thousand classes, width 1 and a last map of 7 x 7 it has the 143,667,240
    weights that are published.

    Args:
        classes: K
        channels: of the input
        width: multiplies all channels
        hidden: units of the two hidden layers (published: 4096; for segments unsaid)
        last: height and width of the last map: a 32nd of the input's
        dropout: multiplies the published rate (0.5) of the hidden layers
        norm: batch normalisation after each convolution, which the published network lacks
        momentum, eps: of that, in torch's sense
    """

    def __init__(
        self,
        classes: int,
        *,
        channels: int = 1,
        width: float = 1.0,
        hidden: int = HIDDEN,
        last: tuple[int, int] = (2, 1),
        dropout: float = 1.0,
        norm: bool = False,
        momentum: float = 0.01,
        eps: float = 1e-3,
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before = channels
        for size, convolutions in STAGES:
            after = scale_channels(size, width)
            for _ in range(convolutions):
                layers.append(nn.Conv2d(before, after, 3, padding=1))
                if norm:
                    layers.append(batch_norm(momentum, eps)(after))
                layers.append(nn.ReLU())
                before = after
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        self.head = nn.Sequential(
            nn.Linear(before * last[0] * last[1], hidden),
            nn.ReLU(),
            nn.Dropout(DROPOUT * dropout),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
            nn.Dropout(DROPOUT * dropout),
            nn.Linear(hidden, classes),
        )
        init(self)

    def forward(self, x: Tensor) -> Tensor:
        """x [B, channels, 64, frames] -> logits [B, K]."""
        return self.head(torch.flatten(self.features(x), 1))
