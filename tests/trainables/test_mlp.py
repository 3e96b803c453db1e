"""The network's shapes, its parts, and one classifier from one seed."""

from __future__ import annotations

import pytest
import torch

from trainables.networks import MLP


def test_shapes_are_the_papers() -> None:
    net = MLP(1582, 4, decoder_layers=3, proxies=True)
    linear = [m for m in net.modules() if isinstance(m, torch.nn.Linear)]
    sizes = [(m.in_features, m.out_features) for m in linear]
    classifier = [(1582, 1024), (1024, 1024), (1024, 512), (512, 512), (512, 4)]
    assert sizes == [*classifier, (1024, 1024), (1024, 1024), (1024, 1582)]
    out = net(torch.randn(3, 1582), reconstruct=True)
    assert out.logits.shape == (3, 4)
    assert out.embedding.shape == (3, 512)
    assert (out.embedding >= 0).all()
    assert out.reconstruction is not None
    assert out.reconstruction.shape == (3, 1582)
    assert net.proxies is not None
    assert net.proxies.shape == (4, 512)


def test_code_decoder_has_two_layers_without_activation() -> None:
    net = MLP(20, 4, width=1 / 64, decoder_layers=2)
    assert net.decoder is not None
    assert [type(m) for m in net.decoder] == [torch.nn.Linear] * 2


def test_reconstruction_only_on_demand_and_only_with_a_decoder() -> None:
    net = MLP(20, 4, width=1 / 64)
    assert net(torch.randn(2, 20)).reconstruction is None
    with pytest.raises(ValueError, match="decoder_layers"):
        net(torch.randn(2, 20), reconstruct=True)


def test_extras_do_not_change_the_classifier_of_a_seed() -> None:
    torch.manual_seed(0)
    plain = MLP(20, 4, width=1 / 32).eval()
    torch.manual_seed(0)
    rich = MLP(20, 4, width=1 / 32, decoder_layers=3, proxies=True).eval()
    x = torch.randn(5, 20)
    assert torch.equal(plain(x).logits, rich(x).logits)


def test_dropout_keeps_the_mean_and_is_off_in_eval() -> None:
    net = MLP(20, 4, dropout=0.3)
    x = torch.ones(400, 500)
    dropped = net._drop(x)
    assert float((dropped == 0).float().mean()) == pytest.approx(0.3, abs=0.01)
    assert float(dropped.mean()) == pytest.approx(1.0, abs=0.01)
    assert torch.equal(net.eval()._drop(x), x)


@pytest.mark.parametrize("bad", [{"dropout": 1.0}, {"dropout": -0.1}, {"decoder_layers": 1}])
def test_impossible_sizes(bad: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(bad))):
        MLP(20, 4, **bad)  # type: ignore[arg-type]
