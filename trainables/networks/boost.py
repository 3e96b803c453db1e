"""MS-EmoBoost (Song et al. 2025): an encoder's states, weighed by what MFCC and spectrogram say."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from trainables.networks.encoders import SSL
from trainables.networks.guides import Guides, audible_states, enhance


class EmoBoost(nn.Module):
    """logits = linear(X_enh SSL(wave)) (eqs. 12 and 13, whose softmax is in the loss).

    Without guides it is the plain baseline: the linear layer on the mean of a clip's states. The
    paper does not say how its baselines were pooled.

    Args:
        classes: K
        encoder: gives as many states as `guides` weighs, for the clips it will hear
        guides: None for the baseline
    """

    def __init__(self, classes: int, encoder: SSL, guides: Guides | None = None) -> None:
        super().__init__()
        self.ssl = encoder
        self.guides = guides
        self.head = nn.Linear(encoder.outputs, classes)

    def forward(self, rows: Mapping[str, Tensor]) -> Tensor:
        """`wave` [n, T], `wave_length`, `mfcc`, `spectrogram` of a batch -> logits [n, K]."""
        states, frames = audible_states(self.ssl, rows)
        if self.guides is None:
            return self.head(states.sum(dim=1) / frames[:, None].to(states.dtype))
        _, vector = self.guides(rows)
        return self.head(enhance(vector, states))
