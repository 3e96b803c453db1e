"""The spatial-temporal network of Gan et al. 2025, its halves, and their fusion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from trainables.networks.encoders import SSL
from trainables.networks.pyramid import LEVELS, pyramid_pool
from trainables.networks.spatial import SpatialCNN

HIDDEN = 128


class SpatialTemporal(nn.Module):
    """A speech encoder's states, pooled over time, weighed by what a CNN sees in log-mel frames.

    fused: f_t = pyramid_pool(SSL(wave)) [n, 126, D]; w = ReLU(f_s W + b) [n, 126];
    logits = MLP(w . f_t), of the sizes D - 128 - 128 - K with ReLU (eq. 16 mis-sizes its second).
    temporal: the MLP on the mean of the 126 rows. spatial: one linear layer on f_s.

    Args:
        classes: K
        encoder: for fused and temporal
        bins: frequencies of the frames, for fused and spatial
        pool, levels: of `pyramid_pool`
        width: multiplies the CNN's channels and the MLP's hidden layers
    """

    def __init__(
        self,
        classes: int,
        *,
        encoder: SSL | None = None,
        bins: int = 0,
        pool: Literal["mean", "max"] = "mean",
        levels: Sequence[int] = LEVELS,
        width: float = 1.0,
    ) -> None:
        super().__init__()
        if encoder is None and not bins:
            raise ValueError("a network needs an encoder, frames (bins > 0), or both")
        self.pool: Literal["mean", "max"] = pool
        self.levels = tuple(levels)
        self.ssl = encoder
        self.cnn = SpatialCNN(bins, width) if bins else None
        self.weigh: nn.Linear | None = None
        if encoder is None:
            assert self.cnn is not None
            self.head: nn.Module = nn.Linear(self.cnn.outputs, classes)
            return
        if self.cnn is not None:
            self.weigh = nn.Linear(self.cnn.outputs, sum(self.levels))
        hidden = max(1, round(HIDDEN * width))
        self.head = nn.Sequential(
            nn.Linear(encoder.outputs, hidden),
            nn.ReLU(),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
            nn.Linear(hidden, classes),
        )

    def forward(self, rows: Mapping[str, Tensor]) -> Tensor:
        """`wave`, `wave_length`, `mel`, `mel_length` of a batch -> logits [n, K]."""
        spatial = None if self.cnn is None else self.cnn(rows["mel"], rows["mel_length"])
        if self.ssl is None:
            return self.head(spatial)
        states, frames = self.ssl(rows["wave"], rows["wave_length"])
        temporal = pyramid_pool(states, frames, self.levels, self.pool)
        if self.weigh is None:
            return self.head(temporal.mean(dim=1))
        weights = torch.relu(self.weigh(spatial))
        return self.head((weights[:, None].to(temporal.dtype) @ temporal)[:, 0])
