"""A probe on the layers of a speech encoder: their learned weighted sum, a pooling, and an MLP."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trainables.networks.hearing import Hearing
from trainables.networks.pyramid import pyramid_pool

Pool = Literal["mean", "attention", "statistics", "pyramid"]


class LayerSum(nn.Module):
    """sum_l softmax(a)_l x_l, a learned from 0 (Yang et al. 2021, SUPERB, section 3).

    Args:
        layers: L
        norm: each state goes through a layer norm without weights first, as in s3prl's
            `upstream_feature_normalize`
    """

    def __init__(self, layers: int, norm: bool = False) -> None:
        super().__init__()
        self.scores = nn.Parameter(torch.zeros(layers))
        self.norm = norm

    @property
    def shares(self) -> Tensor:
        """[L], of sum one"""
        return torch.softmax(self.scores, dim=0)

    def forward(self, layers: Sequence[Tensor]) -> Tensor:
        """L states [n, T, D] of any precision -> float32 [n, T, D]."""
        whole = None
        for share, states in zip(self.shares, layers, strict=True):
            x = F.layer_norm(states.float(), states.shape[-1:]) if self.norm else states.float()
            whole = share * x if whole is None else whole + share * x
        assert whole is not None  # an encoder has a layer
        return whole


class ProbeOutputs(NamedTuple):
    """What one pass gives."""

    logits: Tensor
    """[n, K], before the softmax, or numbers"""
    embedding: Tensor
    """[n, E], what the last linear layer is given"""


class Probe(nn.Module):
    """Weighted sum, pooling over a row's own frames, and hidden layers with ReLU and dropout.

    Args:
        size: D of the states
        outputs: K
        layers: L that are summed
        encoder: gives the states; None where they come as they are
        chosen: which layers of the encoder are summed
        norm: of `LayerSum`
        pool: mean over frames; attention, softmax(W x) over frames (Safari et al. 2020, as in
            SUPERB); statistics, mean and standard deviation (Snyder et al. 2018); or the mean over
            the bins of the temporal pyramid (Gan et al. 2025)
        hidden: units of a hidden layer
        depth: hidden layers; 0 leaves a linear probe
        dropout: share of hidden units dropped
        proxies: of `MLP`
    """

    def __init__(
        self,
        size: int,
        outputs: int,
        *,
        layers: int = 1,
        encoder: Hearing | None = None,
        chosen: Sequence[int] = (),
        norm: bool = False,
        pool: Pool = "mean",
        hidden: int = 256,
        depth: int = 1,
        dropout: float = 0.0,
        proxies: bool = False,
    ) -> None:
        super().__init__()
        self.ssl = encoder
        self.chosen = tuple(chosen)
        self.pool = pool
        self.sum = LayerSum(layers, norm)
        self.attention = nn.Linear(size, 1) if pool == "attention" else None
        width = size * (2 if pool == "statistics" else 1)
        parts: list[nn.Module] = []
        for _ in range(depth):
            parts += [nn.Linear(width, hidden), nn.ReLU(), nn.Dropout(dropout)]
            width = hidden
        self.head = nn.Sequential(*parts, nn.Linear(width, outputs))
        self.proxies: nn.Parameter | None = None
        if proxies:
            self.proxies = nn.Parameter(torch.empty(outputs, width))
            nn.init.kaiming_normal_(self.proxies, mode="fan_out")

    def forward(self, rows: dict[str, Tensor]) -> ProbeOutputs:
        """`states` [n, T, L, D] (or `wave` [n, T] where there is an encoder) and `length` [n]."""
        if self.ssl is not None:
            every, frames = self.ssl(rows["wave"], rows["length"])
            layers = [every[number] for number in self.chosen]
        else:
            layers, frames = list(rows["states"].unbind(dim=2)), rows["length"]
        pooled = self._pool(self.sum(layers), frames)
        embedding: list[Tensor] = [pooled]
        for part in list(self.head)[:-1]:
            embedding.append(part(embedding[-1]))
        # the whole head, so that a hook on its last layer sees what it is given
        return ProbeOutputs(self.head[-1](embedding[-1]), embedding[-1])

    def _pool(self, states: Tensor, frames: Tensor) -> Tensor:
        """[n, T, D] -> [n, D or 2 D], of the first `frames` states of each row."""
        here = (torch.arange(states.shape[1], device=states.device) < frames[:, None])[..., None]
        if self.pool == "pyramid":
            return pyramid_pool(states * here, frames).mean(dim=1)
        if self.attention is not None:
            scores = self.attention(states).masked_fill(~here, -torch.inf)
            return (torch.softmax(scores, dim=1) * states).sum(dim=1)
        count = frames[:, None].to(states.dtype)
        mean = (states * here).sum(dim=1) / count
        if self.pool == "mean":
            return mean
        variance = ((states - mean[:, None]) * here).square().sum(dim=1) / count
        return torch.cat([mean, torch.sqrt(variance + 1e-7)], dim=1)
