"""The networks of co-rater training (Chou and Lee 2020): a BLSTM with attention, and their fusion.

The pooling is the weighted pooling of Mirsamadi et al. 2017 (eqs. 1 and 2).
"""

from __future__ import annotations

import itertools
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

DENSE, RECURRENT, LAST = 256, 128, 256
FUSED = (256, 128, 256)


def _size(units: int, width: float) -> int:
    return max(1, round(units * width))


class AttentionPool(nn.Module):
    """z = sum_t a_t y_t with a_t = exp(u . y_t) / sum over the frames of exp(u . y).

    One learned vector u weighs the frames of a clip; padding has no weight.

    Args:
        inputs: H, size of a frame
    """

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.score = nn.Linear(inputs, 1, bias=False)

    def forward(self, frames: Tensor, lengths: Tensor) -> Tensor:
        """[n, T, H] frames and [n] lengths in 1 .. T -> [n, H]."""
        scores = self.score(frames)[..., 0].float()
        beyond = torch.arange(frames.shape[1], device=frames.device) >= lengths[:, None]
        weights = torch.softmax(scores.masked_fill(beyond, -torch.inf), dim=1)
        return (weights[:, None].to(frames.dtype) @ frames)[:, 0]


class BLSTMOutputs(NamedTuple):
    """What one pass gives."""

    logits: Tensor
    """[n, K], before the softmax"""
    hidden: Tensor
    """[n, E], the last hidden layer after its ReLU, before its dropout"""


class BLSTM(nn.Module):
    """D - dense 256, ReLU - BLSTM 128 - attention - dense 256, ReLU - K (section 3.1, figure 1a).

    Dropout behind every layer but the last. Halve `width` for the sizes used on NNIME.

    Args:
        inputs: D, size of a frame
        classes: K
        dropout: 0 .. 1
        width: multiplies the size of every hidden layer; 1 is the paper's for IEMOCAP
        units: whether the BLSTM's 128 are of each direction, or of both together (the paper does
            not say)
    """

    def __init__(
        self,
        inputs: int,
        classes: int,
        *,
        dropout: float = 0.5,
        width: float = 1.0,
        units: Literal["each", "both"] = "each",
    ) -> None:
        super().__init__()
        if units not in ("each", "both"):
            raise ValueError(f"units must be 'each' or 'both', but got {units!r}")
        recurrent = _size(RECURRENT, width if units == "each" else width / 2)
        self.first = nn.Linear(inputs, _size(DENSE, width))
        self.recurrent = nn.LSTM(
            self.first.out_features, recurrent, batch_first=True, bidirectional=True
        )
        self.pool = AttentionPool(2 * recurrent)
        self.last = nn.Linear(2 * recurrent, _size(LAST, width))
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(self.last.out_features, classes)

    def forward(self, frames: Tensor, lengths: Tensor) -> BLSTMOutputs:
        """[n, T, D] frames, padded behind, and [n] lengths in 1 .. T."""
        inner = self.dropout(torch.relu(self.first(frames)))
        # packed: the backward direction must begin at a clip's own end, not in its padding
        packed = nn.utils.rnn.pack_padded_sequence(
            inner, lengths.cpu(), batch_first=True, enforce_sorted=False
        )
        states, _ = nn.utils.rnn.pad_packed_sequence(
            self.recurrent(packed)[0], batch_first=True, total_length=frames.shape[1]
        )
        pooled = self.dropout(self.pool(states, lengths))
        hidden = torch.relu(self.last(pooled))
        return BLSTMOutputs(self.head(self.dropout(hidden)), hidden)


class Fusion(nn.Module):
    """Hidden vectors side by side - three times (dense, batch norm, ReLU, dropout) - K.

    Layers of 256, 128 and 256 units (sections 2.2.4 and 3.1, figure 1c).

    Args:
        inputs: size of the concatenated vectors
        classes: K
        dropout: 0 .. 1
        width: as for `BLSTM`
    """

    def __init__(
        self, inputs: int, classes: int, *, dropout: float = 0.5, width: float = 1.0
    ) -> None:
        super().__init__()
        sizes = [inputs, *(_size(units, width) for units in FUSED)]
        layers: list[nn.Module] = []
        for before, after in itertools.pairwise(sizes):
            layers += [nn.Linear(before, after), nn.BatchNorm1d(after), nn.ReLU()]
            layers.append(nn.Dropout(dropout))
        self.layers = nn.Sequential(*layers, nn.Linear(sizes[-1], classes))

    def forward(self, vectors: Tensor) -> Tensor:
        """[n, inputs] -> logits [n, K]."""
        logits: Tensor = self.layers(vectors)
        return logits
