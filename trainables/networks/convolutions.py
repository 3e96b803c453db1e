"""What the convolutional networks for segments share: blocks, the head, initial weights."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

Norm = Callable[[int], nn.Module]
"""makes the normalisation of so many channels"""


def batch_norm(momentum: float, eps: float) -> Norm:
    """Batch normalisation in torch's sense: TensorFlow's momentum of 0.99 is 0.01 here."""
    return functools.partial(nn.BatchNorm2d, eps=eps, momentum=momentum)


def scale_channels(channels: int, width: float) -> int:
    """`channels` times `width`, to the next multiple of 8 that loses at most a tenth.

    Example:
        >>> scale_channels(24, 1.0), scale_channels(24, 0.5), scale_channels(320, 0.25)
        (24, 16, 80)
    """
    exact = channels * width
    multiple = max(8, int(exact + 4) // 8 * 8)
    return multiple if multiple >= 0.9 * exact else multiple + 8


def conv_bn(
    before: int,
    after: int,
    kernel: int,
    *,
    stride: int = 1,
    groups: int = 1,
    activation: type[nn.Module] | None = nn.SiLU,
    norm: Norm,
) -> nn.Sequential:
    """Convolution without bias, batch normalisation, activation (None: linear)."""
    layers: list[nn.Module] = [
        nn.Conv2d(before, after, kernel, stride, kernel // 2, groups=groups, bias=False),
        norm(after),
    ]
    if activation is not None:
        layers.append(activation())
    return nn.Sequential(*layers)


class Head(nn.Module):
    """Mean over bands and time, dropout, one linear layer."""

    def __init__(self, channels: int, classes: int, dropout: float) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(channels, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(self.dropout(x.mean(dim=(2, 3))))


def init(module: nn.Module) -> None:
    """He's normal weights by fan-out for convolutions, 1 / sqrt(fan-in) uniform for linear ones.

    He et al. 2015, eq. 14: a deviation of sqrt(2 / fan-out). An input channel of a convolution in
    groups reaches the output channels of its own group alone, which torch's fan-out does not know.
    """
    for part in module.modules():
        if isinstance(part, nn.Conv2d):
            nn.init.kaiming_normal_(part.weight, mode="fan_out")
            with torch.no_grad():
                part.weight.mul_(math.sqrt(part.groups))
            if part.bias is not None:
                nn.init.zeros_(part.bias)
        elif isinstance(part, nn.Linear):
            bound = 1.0 / math.sqrt(part.in_features)
            nn.init.uniform_(part.weight, -bound, bound)
            nn.init.zeros_(part.bias)
