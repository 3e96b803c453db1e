"""DenseNet of 22 layers (Huang et al. 2017) for segments of log-mel bands."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from trainables.networks.convolutions import Head, Norm, batch_norm, init

BLOCKS = 3
STEM = 16


class _Dense(nn.Module):
    """Normalise, ReLU, 3 x 3 convolution, and all that came before beside it."""

    def __init__(self, before: int, growth: int, norm: Norm) -> None:
        super().__init__()
        self.norm = norm(before)
        self.conv = nn.Conv2d(before, growth, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, self.conv(torch.relu(self.norm(x)))], dim=1)


class DenseNet(nn.Module):
    """The published network without bottlenecks or compression: L = 3 (layers a block) + 4.

    The paper on self-learning names neither growth nor blocks of its "DenseNet22"; this is the
    published family {L, k} with three blocks of (L - 4) / 3 layers and a first convolution of 16
    channels at full resolution. With three channels and ten classes, L = 40 and k = 12 have the
    1.0 M weights that are published.

    Args:
        classes: K
        channels: of the input
        layers: L, 3 n + 4
        growth: k, channels that each layer adds
        momentum, eps: of batch normalisation, in torch's sense
    """

    def __init__(
        self,
        classes: int,
        *,
        channels: int = 1,
        layers: int = 22,
        growth: int = 12,
        momentum: float = 0.01,
        eps: float = 1e-3,
    ) -> None:
        super().__init__()
        if layers < 7 or (layers - 4) % BLOCKS:
            raise ValueError(f"layers must be 3 n + 4 (7, 10, ..., 22), but got {layers!r}")
        norm = batch_norm(momentum, eps)
        size = STEM
        parts: list[nn.Module] = [nn.Conv2d(channels, size, 3, padding=1, bias=False)]
        for block in range(BLOCKS):
            for _ in range((layers - 4) // BLOCKS):
                parts.append(_Dense(size, growth, norm))
                size += growth
            parts += [norm(size), nn.ReLU()]
            if block < BLOCKS - 1:
                parts += [nn.Conv2d(size, size, 1, bias=False), nn.AvgPool2d(2)]
        self.features = nn.Sequential(*parts)
        self.head = Head(size, classes, 0.0)
        init(self)

    def forward(self, x: Tensor) -> Tensor:
        """x [B, channels, 64, frames] -> logits [B, K]."""
        return self.head(self.features(x))
