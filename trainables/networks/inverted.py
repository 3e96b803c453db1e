"""Networks of inverted residuals: what MobileNetV2 and EfficientNet share."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from trainables.networks.convolutions import Head, Norm, batch_norm, conv_bn, init, scale_channels


class Stage(NamedTuple):
    """Blocks of one resolution."""

    expansion: int
    channels: int
    blocks: int
    stride: int
    """of the first block"""
    kernel: int


class _SqueezeExcitation(nn.Module):
    """Squeeze and excitation (Hu et al. 2018): channels weighed by what their means say."""

    def __init__(self, channels: int, inner: int) -> None:
        super().__init__()
        self.down = nn.Conv2d(channels, inner, 1)
        self.up = nn.Conv2d(inner, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        weights = nn.functional.silu(self.down(x.mean(dim=(2, 3), keepdim=True)))
        return x * torch.sigmoid(self.up(weights))


class InvertedResidual(nn.Module):
    """Expand by 1 x 1, filter each channel, project by 1 x 1 without activation.

    Args:
        before, after: channels; equal ones with stride 1 are joined by a residual
        kernel, stride: of the depthwise convolution
        expansion: of the channels between; 1 leaves the first convolution out
        squeeze: squeeze and excitation, of a quarter of the block's input channels
        depth_drop: in training, the share of rows whose branch is left out
        activation, norm: see `conv_bn`
    """

    def __init__(
        self,
        before: int,
        after: int,
        *,
        kernel: int,
        stride: int,
        expansion: int,
        squeeze: bool = False,
        depth_drop: float = 0.0,
        activation: type[nn.Module] = nn.SiLU,
        norm: Norm,
    ) -> None:
        super().__init__()
        inner = before * expansion
        layers: list[nn.Module] = []
        if expansion != 1:
            layers.append(conv_bn(before, inner, 1, activation=activation, norm=norm))
        layers.append(
            conv_bn(
                inner, inner, kernel, stride=stride, groups=inner, activation=activation, norm=norm
            )
        )
        if squeeze:
            layers.append(_SqueezeExcitation(inner, max(1, before // 4)))
        layers.append(conv_bn(inner, after, 1, activation=None, norm=norm))
        self.branch = nn.Sequential(*layers)
        self.residual = before == after and stride == 1
        self.depth_drop = depth_drop if self.residual else 0.0

    def forward(self, x: Tensor) -> Tensor:
        branch = self.branch(x)
        if not self.residual:
            return branch
        if self.training and self.depth_drop > 0:
            present = torch.rand(len(x), 1, 1, 1, device=x.device) >= self.depth_drop
            branch = branch * (present / (1.0 - self.depth_drop))
        return x + branch


class InvertedNetwork(nn.Module):
    """A 3 x 3 convolution of stride 2, stages of inverted residuals, a 1 x 1 convolution, the head.

    A subclass names its family's sizes. All its `activation`s are one, and it has `squeeze` in all
    blocks or in none. With three channels, a thousand classes and width 1 it has as many weights as
    are published.

    Args:
        classes: K
        channels: of the input
        width: multiplies the channels of stem and stages
        dropout: multiplies the published rates: `rate` before the last layer, and 0 to
            `depth_rate`, growing from block to block, of leaving out a residual branch
        momentum, eps: of batch normalisation, in torch's sense
    """

    stages: tuple[Stage, ...]
    stem, top = 32, 1280
    """channels of the first and the last convolution"""
    rate, depth_rate = 0.2, 0.0
    squeeze: bool
    activation: type[nn.Module]

    def __init__(
        self,
        classes: int,
        *,
        channels: int = 1,
        width: float = 1.0,
        dropout: float = 1.0,
        momentum: float = 0.01,
        eps: float = 1e-3,
    ) -> None:
        super().__init__()
        norm = batch_norm(momentum, eps)
        before = scale_channels(self.stem, width)
        layers: list[nn.Module] = [
            conv_bn(channels, before, 3, stride=2, activation=self.activation, norm=norm)
        ]
        total = sum(stage.blocks for stage in self.stages)
        for stage in self.stages:
            after = scale_channels(stage.channels, width)
            for block in range(stage.blocks):
                layers.append(
                    InvertedResidual(
                        before,
                        after,
                        kernel=stage.kernel,
                        stride=stage.stride if block == 0 else 1,
                        expansion=stage.expansion,
                        squeeze=self.squeeze,
                        depth_drop=self.depth_rate * dropout * (len(layers) - 1) / total,
                        activation=self.activation,
                        norm=norm,
                    )
                )
                before = after
        top = self.top_channels(width)
        layers.append(conv_bn(before, top, 1, activation=self.activation, norm=norm))
        self.features = nn.Sequential(*layers)
        self.head = Head(top, classes, self.rate * dropout)
        init(self)

    @classmethod
    def top_channels(cls, width: float) -> int:
        """Channels of the last convolution."""
        return scale_channels(cls.top, width)

    def forward(self, x: Tensor) -> Tensor:
        """x [B, channels, 64, frames] -> logits [B, K]."""
        return self.head(self.features(x))
