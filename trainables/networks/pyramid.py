"""Temporal pyramid pooling of rows of different lengths (Gan et al. 2025; Yu et al. 2019)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

LEVELS = (2, 4, 8, 16, 32, 64)
"""the paper's: 126 rows in all"""


def _edges(frames: Tensor, bins: int) -> tuple[Tensor, Tensor]:
    """First frame [n, bins] of each bin, and the one behind its last."""
    steps = torch.arange(bins, device=frames.device)
    first = (steps * frames[:, None]) // bins
    behind = ((steps + 1) * frames[:, None] + bins - 1) // bins
    return first, behind


def pyramid_pool(
    states: Tensor,
    frames: Tensor,
    levels: Sequence[int] = LEVELS,
    mode: Literal["mean", "max"] = "mean",
) -> Tensor:
    """Pool the first `frames` states of each row into bins, `levels` times.

    Bin i of a level of b bins holds the frames floor(i L / b) .. ceil((i + 1) L / b) - 1 of a row
    of L, as torch's adaptive pooling does: it is never empty, and neighbours share a frame where
    b does not divide L. Frames behind L, the padding, are in no bin.

    Args:
        states: [n, T, D]
        frames: [n] int64, L of each row, 1 .. T
        levels: bins of each level
        mode: of a bin's frames

    Returns:
        [n, sum of levels, D], the levels one after another
    """
    if mode == "mean":
        at = torch.arange(states.shape[1], device=states.device)
        weights = []
        for bins in levels:
            first, behind = _edges(frames, bins)
            inside = (at >= first[..., None]) & (at < behind[..., None])
            weights.append(inside / (behind - first)[..., None])
        # One product, whose padding is 0 times whatever lies there: finite values, by the networks.
        return torch.cat(weights, dim=1).to(states.dtype) @ states
    if mode != "max":
        raise ValueError(f"mode must be 'mean' or 'max', but got {mode!r}")
    maxima = []
    for bins in levels:
        first, behind = _edges(frames, bins)
        widest = int((behind - first).max())
        at = first[..., None] + torch.arange(widest, device=states.device)
        inside = at < behind[..., None]
        index = at.clamp_max(states.shape[1] - 1).flatten(1)[..., None]
        states_of_bin = states.gather(1, index.expand(-1, -1, states.shape[2]))
        states_of_bin = states_of_bin.unflatten(1, (bins, widest)).masked_fill(
            ~inside[..., None], -torch.inf
        )
        maxima.append(states_of_bin.amax(dim=2))
    return torch.cat(maxima, dim=1)
