"""CA-MSER (Zou et al. 2022, Speech emotion recognition with co-attention based multi-level acoustic
information), after its public code: the network that MS-EmoBoost grew from."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from trainables.networks.encoders import SSL
from trainables.networks.guides import HIDDEN, Guides, audible_states, enhance


class CAMSER(nn.Module):
    """The enhance states through a layer of 128, beside both guides: 384 - 128 - 128 - K.

    Its guides have no attention, and their vector a ReLU. The dropout of 0.1 before each layer is
    inferred; the published sizes fix the rest.

    Args:
        classes: K
        encoder: gives as many states as `guides` weighs
        guides: MFCC and spectrogram both
        hidden: size of what a guide gives, and of the layers
        dropout: before each layer
    """

    def __init__(
        self,
        classes: int,
        encoder: SSL,
        guides: Guides,
        *,
        hidden: int = HIDDEN,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.ssl = encoder
        self.guides = guides
        self.wave = nn.Sequential(
            nn.Dropout(dropout), nn.Linear(encoder.outputs, hidden), nn.ReLU()
        )
        self.head = nn.Sequential(
            nn.Dropout(dropout),
            nn.Linear(guides.outputs + hidden, hidden),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
            nn.Linear(hidden, classes),
        )

    def forward(self, rows: Mapping[str, Tensor]) -> Tensor:
        """`wave` [n, T], `wave_length`, `mfcc`, `spectrogram` of a batch -> logits [n, K]."""
        states, _ = audible_states(self.ssl, rows)
        guides, vector = self.guides(rows)
        return self.head(torch.cat([guides, self.wave(enhance(vector, states))], dim=1))
