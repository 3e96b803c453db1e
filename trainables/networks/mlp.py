"""The five-layer network of Ahn et al. 2024 (section 3.2), with its decoder and proxies."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

HIDDEN = (1024, 1024, 512, 512)
ENCODER_LAYERS = 2


class MLPOutputs(NamedTuple):
    """What one pass gives."""

    logits: Tensor
    """[n, K], before the softmax"""
    embedding: Tensor
    """[n, E], the last hidden layer after its ReLU, before its dropout"""
    reconstruction: Tensor | None
    """[n, D] where asked for"""


class MLP(nn.Module):
    """D - 1024 - 1024 - 512 - 512 - K, ReLU and dropout after each hidden layer.

    Args:
        inputs: D, number of features
        classes: K
        dropout: share of hidden units dropped in training, 0 .. 1
        width: multiplies the size of every hidden layer; 1 is the paper's
        decoder_layers: 0 for no decoder; 3 for the paper's 1024-1024-D with ReLU between; 2 for
            the public code's 1024-D without activation. It reads the encoder, the first two layers
        proxies: True adds one learned vector a class, [K, E], for the Proxy-Anchor loss
    """

    def __init__(
        self,
        inputs: int,
        classes: int,
        *,
        dropout: float = 0.5,
        width: float = 1.0,
        decoder_layers: int = 0,
        proxies: bool = False,
    ) -> None:
        super().__init__()
        sizes = [max(1, round(size * width)) for size in HIDDEN]
        layers: list[nn.Sequential] = []
        for before, after in zip([inputs, *sizes[:-1]], sizes, strict=True):
            layers.append(nn.Sequential(nn.Linear(before, after), nn.ReLU()))
        self.encoder = nn.ModuleList(layers[:ENCODER_LAYERS])
        self.middle = nn.ModuleList(layers[ENCODER_LAYERS:])
        if not 0.0 <= dropout < 1.0:
            raise ValueError(f"dropout must lie in 0 .. 1, below 1, but got {dropout!r}")
        self.dropout = dropout
        self.head = nn.Linear(sizes[-1], classes)
        # Built last, so that a seed gives one classifier with and without them.
        self.decoder = _decoder(sizes[ENCODER_LAYERS - 1], inputs, decoder_layers)
        self.proxies: nn.Parameter | None = None
        if proxies:
            self.proxies = nn.Parameter(torch.empty(classes, sizes[-1]))
            nn.init.kaiming_normal_(self.proxies, mode="fan_out")

    def forward(self, x: Tensor, *, reconstruct: bool = False) -> MLPOutputs:
        """x [n, D] -> MLPOutputs; `reconstruct` needs a decoder."""
        for layer in self.encoder:
            x = self._drop(layer(x))
        code = x
        embedding = x
        for layer in self.middle:
            embedding = layer(x)
            x = self._drop(embedding)
        output = None
        if reconstruct:
            if self.decoder is None:
                raise ValueError("reconstruct=True needs decoder_layers to be 2 or 3, but it is 0")
            output = self.decoder(code)
        return MLPOutputs(self.head(x), embedding, output)

    def _drop(self, x: Tensor) -> Tensor:
        # Inverted dropout as nn.Dropout's, from uniform numbers: its Bernoulli generator takes
        # four times as long on a CPU, 8 % of a whole training.
        if not self.training or self.dropout == 0.0:
            return x
        return x * ((torch.rand_like(x) >= self.dropout) * (1.0 / (1.0 - self.dropout)))


def _decoder(code: int, inputs: int, layers: int) -> nn.Sequential | None:
    if layers == 0:
        return None
    if layers == 2:
        return nn.Sequential(nn.Linear(code, code), nn.Linear(code, inputs))
    if layers == 3:
        return nn.Sequential(
            nn.Linear(code, code),
            nn.ReLU(),
            nn.Linear(code, code),
            nn.ReLU(),
            nn.Linear(code, inputs),
        )
    raise ValueError(f"decoder_layers must be 0, 2 or 3, but got {layers!r}")
