"""The spatial network on log-mel frames (Gan et al. 2025)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

CHANNELS = (16, 32, 64, 128)
POOLED = 3


class SpatialCNN(nn.Module):
    """Four 3 x 3 convolutions with ReLU, 2 x 2 average pooling after the first three, global mean.

    The paper prints its sizes in a picture only; these have the 0.1 M weights that its total leaves
    (97 k). Padding takes no part: it is 0 before every convolution, as behind the end of a row that
    is alone, and means count the frames that exist.

    Args:
        bins: D, frequencies a frame
        width: multiplies the channels 16-32-64-128
    """

    def __init__(self, bins: int, width: float = 1.0) -> None:
        super().__init__()
        sizes = [max(1, round(size * width)) for size in CHANNELS]
        self.convolutions = nn.ModuleList(
            nn.Conv2d(before, after, 3, padding=1)
            for before, after in zip([1, *sizes[:-1]], sizes, strict=True)
        )
        for convolution in self.convolutions:
            # He's, for ReLU: torch's default leaves a fifth of the signal after four layers.
            assert isinstance(convolution, nn.Conv2d)
            nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu")
            assert convolution.bias is not None
            nn.init.zeros_(convolution.bias)
        self.bins = bins
        self.outputs = sizes[-1]

    def forward(self, mel: Tensor, frames: Tensor) -> Tensor:
        """mel [n, L, D] and the frames [n] of each row (1 .. L) -> [n, outputs]."""
        step = 2**POOLED
        mel = F.pad(mel, (0, -mel.shape[2] % step, 0, -mel.shape[1] % step))
        x = mel[:, None]
        here = torch.arange(x.shape[2], device=x.device) < frames[:, None]
        there = torch.arange(x.shape[3], device=x.device) < self.bins
        # [n, 1, L, D]: 1 where a frame exists; after pooling, the share of a cell that does
        share = (here[:, None, :, None] & there).to(x.dtype)
        for number, convolution in enumerate(self.convolutions):
            x = F.relu(convolution(x * (share > 0)))
            if number < POOLED:
                x = x * share
                share = F.avg_pool2d((share > 0).to(x.dtype), 2)
                x = F.avg_pool2d(x, 2) / share.clamp_min(0.25)
                share = (share > 0).to(x.dtype)
        return (x * share).sum(dim=(2, 3)) / share.sum(dim=(2, 3))
