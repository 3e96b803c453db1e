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


class _Squeeze(nn.Module):
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
            layers.append(_Squeeze(inner, max(1, before // 4)))
        layers.append(conv_bn(inner, after, 1, activation=None, norm=norm))
        self.branch = nn.Sequential(*layers)
        self.residual = before == after and stride == 1
        self.depth_drop = depth_drop if self.residual else 0.0

    def forward(self, x: Tensor) -> Tensor:
        made = self.branch(x)
        if not self.residual:
            return made
        if self.training and self.depth_drop > 0:
            kept = torch.rand(len(x), 1, 1, 1, device=x.device) >= self.depth_drop
            made = made * (kept / (1.0 - self.depth_drop))
        return x + made


class InvertedNetwork(nn.Module):
    """A 3 x 3 convolution of stride 2, stages of inverted residuals, a 1 x 1 convolution, the head.

    Args:
        classes: K
        channels: of the input
        stages: in order
        stem, top: channels of the first and the last convolution
        width: multiplies the channels of stem and stages; `top` is given as it shall be
        dropout: rate before the last layer
        depth_drop: rate of leaving out residual branches, growing from 0 at the first block
        squeeze, activation: of all blocks
        momentum, eps: of batch normalisation, in torch's sense
    """

    def __init__(
        self,
        classes: int,
        *,
        channels: int,
        stages: tuple[Stage, ...],
        stem: int,
        top: int,
        width: float,
        dropout: float,
        depth_drop: float,
        squeeze: bool,
        activation: type[nn.Module],
        momentum: float,
        eps: float,
    ) -> None:
        super().__init__()
        norm = batch_norm(momentum, eps)
        before = scale_channels(stem, width)
        layers: list[nn.Module] = [
            conv_bn(channels, before, 3, stride=2, activation=activation, norm=norm)
        ]
        total = sum(stage.blocks for stage in stages)
        for stage in stages:
            for block in range(stage.blocks):
                after = scale_channels(stage.channels, width)
                layers.append(
                    InvertedResidual(
                        before,
                        after,
                        kernel=stage.kernel,
                        stride=stage.stride if block == 0 else 1,
                        expansion=stage.expansion,
                        squeeze=squeeze,
                        depth_drop=depth_drop * (len(layers) - 1) / total,
                        activation=activation,
                        norm=norm,
                    )
                )
                before = after
        layers.append(conv_bn(before, top, 1, activation=activation, norm=norm))
        self.features = nn.Sequential(*layers)
        self.head = Head(top, classes, dropout)
        init(self)

    def forward(self, x: Tensor) -> Tensor:
        """x [B, channels, 64, frames] -> logits [B, K]."""
        return self.head(self.features(x))
