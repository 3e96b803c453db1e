"""Networks for segments: published sizes, shapes, and what batch normalisation is set to."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from trainables.networks.compact import Compact
from trainables.networks.convolutions import batch_norm, init, scale_channels
from trainables.networks.densenet22 import DenseNet
from trainables.networks.efficientnet_b0 import EfficientNetB0
from trainables.networks.inverted import InvertedResidual
from trainables.networks.mobilenet_v2 import MobileNetV2
from trainables.networks.vgg19 import VGG19


def weights(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def shapes(build: Callable[[], nn.Module]) -> nn.Module:
    with torch.device("meta"):
        return build()


def test_sizes_are_the_published_ones() -> None:
    """Those of the originals on ImageNet, which torchvision's documentation prints too."""
    assert weights(shapes(lambda: MobileNetV2(1000, channels=3))) == 3_504_872
    assert weights(shapes(lambda: EfficientNetB0(1000, channels=3))) == 5_288_548
    vgg: dict[str, Any] = {"channels": 3, "last": (7, 7)}
    assert weights(shapes(lambda: VGG19(1000, **vgg))) == 143_667_240
    assert weights(shapes(lambda: VGG19(1000, norm=True, **vgg))) == 143_678_248


def dense(layers: int, growth: int, classes: int, channels: int) -> int:
    """Weights of DenseNet {L, k} without bottlenecks or compression, layer by layer."""
    size, total = 16, 9 * channels * 16
    for block in range(3):
        for _ in range((layers - 4) // 3):
            total += 2 * size + 9 * size * growth
            size += growth
        total += 2 * size + (size * size if block < 2 else 0)
    return total + (size + 1) * classes


def test_densenets_weights_are_those_of_its_formula() -> None:
    assert weights(shapes(lambda: DenseNet(7))) == dense(22, 12, 7, 1)
    forty = weights(shapes(lambda: DenseNet(10, channels=3, layers=40)))
    assert forty == dense(40, 12, 10, 3)
    assert round(forty / 1e6, 1) == 1.0  # Huang et al. 2017, table 2
    convolutions = [m for m in DenseNet(7, growth=2).modules() if isinstance(m, nn.Conv2d)]
    assert len(convolutions) + 1 == 22  # with the last linear layer
    with pytest.raises(ValueError, match="3 n \\+ 4"):
        DenseNet(7, layers=23)


def test_the_compact_network_hears_a_segment_at_full_resolution() -> None:
    """Weights by hand: 3 x 3 x 1-32-32-64-64-128, two a channel of batch norm, the last layer."""
    sizes = (1, 32, 32, 64, 64, 128)
    convolutions = sum(9 * a * b + 2 * b for a, b in itertools.pairwise(sizes))
    assert weights(shapes(lambda: Compact(7))) == convolutions + 128 * 7 + 7
    first, second = [m for m in Compact(7).modules() if isinstance(m, nn.Conv2d)][:2]
    x = torch.zeros(1, 1, 64, 32)
    assert second(first(x)).shape == (1, 32, 64, 32)


NETWORKS: dict[str, Callable[..., nn.Module]] = {
    "mobilenet_v2": lambda **more: MobileNetV2(5, width=1 / 8, **more),
    "efficientnet_b0": lambda **more: EfficientNetB0(5, width=1 / 8, **more),
    "densenet22": lambda **more: DenseNet(5, growth=2, **more),
    "compact": lambda **more: Compact(5, width=1 / 8, **more),
    "vgg19": lambda **more: VGG19(5, width=1 / 8, hidden=8, norm=True, **more),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_a_segment_becomes_logits(name: str) -> None:
    torch.manual_seed(0)
    module = NETWORKS[name]()
    x = torch.randn(4, 1, 64, 32)
    result = module(x)
    assert result.shape == (4, 5)
    result.square().mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in module.parameters())
    module.eval()
    with torch.inference_mode():
        whole, alone = module(x), module(x[:1])
        last = module.to(memory_format=torch.channels_last)(x)  # type: ignore[call-overload]
    torch.testing.assert_close(whole[:1], alone, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(whole, last, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", NETWORKS)
def test_momentum_and_eps_reach_every_normalisation(name: str) -> None:
    module = NETWORKS[name](momentum=0.25, eps=0.125)
    norms = [part for part in module.modules() if isinstance(part, nn.BatchNorm2d)]
    assert norms
    assert {(part.momentum, part.eps) for part in norms} == {(0.25, 0.125)}
    default = [p for p in NETWORKS[name]().modules() if isinstance(p, nn.BatchNorm2d)]
    # TensorFlow's 0.99 and 1e-3
    assert {(part.momentum, part.eps) for part in default} == {(0.01, 1e-3)}


def test_momentum_is_the_new_batchs_share() -> None:
    """TensorFlow: running = 0.99 running + 0.01 batch."""
    norm = batch_norm(0.01, 1e-3)(1)
    x = torch.tensor([3.0, 5.0]).reshape(2, 1, 1, 1)
    norm(x)
    torch.testing.assert_close(norm.running_mean, torch.tensor([0.01 * 4.0]))
    torch.testing.assert_close(norm.running_var, torch.tensor([0.99 + 0.01 * 2.0]))


def test_a_residual_joins_what_has_one_shape_and_is_left_out_at_random() -> None:
    block: dict[str, Any] = {"kernel": 3, "expansion": 2, "norm": batch_norm(0.1, 1e-3)}
    assert not InvertedResidual(8, 8, stride=2, **block).residual
    assert not InvertedResidual(8, 16, stride=1, **block).residual
    torch.manual_seed(1)
    module = InvertedResidual(8, 8, stride=1, depth_drop=0.5, squeeze=True, **block)
    x = torch.randn(400, 8, 4, 4)
    left_out = (module(x) == x).flatten(1).all(dim=1)
    assert 0.4 < left_out.float().mean() < 0.6
    module.eval()
    torch.testing.assert_close(module(x), x + module.branch(x))


@pytest.mark.parametrize(
    ("channels", "width", "reference"),
    [(32, 1.0, 32), (24, 0.5, 16), (16, 0.25, 8), (96, 0.35, 32), (32, 1.4, 48), (16, 1 / 16, 8)],
)
def test_channels_are_multiples_of_8_that_lose_at_most_a_tenth(
    channels: int, width: float, reference: int
) -> None:
    result = scale_channels(channels, width)
    assert result == reference
    assert result % 8 == 0
    assert result >= 0.9 * channels * width


@pytest.mark.parametrize("name", ["mobilenet_v2", "efficientnet_b0", "vgg19"])
def test_dropout_can_be_taken_away(name: str) -> None:
    torch.manual_seed(0)
    x = torch.randn(4, 1, 64, 32)
    still, moving = NETWORKS[name](dropout=0.0), NETWORKS[name]()
    torch.testing.assert_close(still(x), still(x))
    assert not torch.equal(moving(x), moving(x))


@pytest.mark.parametrize(("groups", "reach"), [(1, 64 * 9), (4, 16 * 9), (64, 9)])
def test_first_weights_count_the_outputs_that_an_input_reaches(groups: int, reach: int) -> None:
    """He et al. 2015: a deviation of sqrt(2 / outputs that one input reaches)."""
    torch.manual_seed(0)
    layer = nn.Conv2d(64, 64, 3, groups=groups)
    init(layer)
    assert layer.weight.std().item() == pytest.approx((2 / reach) ** 0.5, rel=0.1)
    assert layer.bias is not None
    assert not layer.bias.any()
