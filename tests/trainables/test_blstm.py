"""The BLSTM with attention pooling, and the fusion."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from trainables.networks.blstm import BLSTM, AttentionPool, Fusion


@pytest.fixture(autouse=True)
def one_seed() -> Iterator[None]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def test_attention_pooling_is_the_weighted_sum_of_a_softmax_over_time() -> None:
    pool = AttentionPool(5)
    frames = torch.randn(3, 7, 5)
    lengths = torch.tensor([7, 4, 1])
    actual = pool(frames, lengths).detach().numpy()
    u = pool.score.weight.detach().numpy()[0]
    for row, length in enumerate(lengths.tolist()):
        y = frames[row, :length].numpy().astype(np.float64)
        a = np.exp(y @ u)
        np.testing.assert_allclose(actual[row], (a / a.sum()) @ y, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(actual[2], frames[2, 0].numpy(), rtol=1e-6)


def test_a_flat_attention_is_the_mean() -> None:
    pool = AttentionPool(4)
    torch.nn.init.zeros_(pool.score.weight)
    frames = torch.randn(2, 6, 4)
    actual = pool(frames, torch.tensor([6, 3]))
    torch.testing.assert_close(actual[0], frames[0].mean(dim=0))
    torch.testing.assert_close(actual[1], frames[1, :3].mean(dim=0))


def test_padding_and_batch_mates_change_nothing() -> None:
    net = BLSTM(4, 3, width=0.1).eval()
    clips = [torch.randn(length, 4) for length in (9, 5, 2)]
    whole = torch.full((3, 12, 4), 1e3)  # whatever the padding holds
    for row, clip in enumerate(clips):
        whole[row, : len(clip)] = clip
    together = net(whole, torch.tensor([9, 5, 2]))
    for row, clip in enumerate(clips):
        alone = net(clip[None], torch.tensor([len(clip)]))
        torch.testing.assert_close(together.logits[row], alone.logits[0], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(together.hidden[row], alone.hidden[0], rtol=1e-4, atol=1e-5)


def test_the_sizes_are_the_papers() -> None:
    net = BLSTM(45, 3)
    assert net.first.weight.shape == (256, 45)
    assert net.recurrent.hidden_size == 128
    assert net.last.weight.shape == (256, 256)
    assert net.head.weight.shape == (3, 256)
    assert net(torch.zeros(2, 3, 45), torch.tensor([3, 2])).hidden.shape == (2, 256)
    both = BLSTM(45, 3, units="both")
    assert both.recurrent.hidden_size == 64
    assert both.last.weight.shape == (256, 128)
    half = BLSTM(45, 3, width=0.5)  # NNIME: 128, 64, 128
    assert (half.first.out_features, half.recurrent.hidden_size, half.last.out_features) == (
        128,
        64,
        128,
    )
    with pytest.raises(ValueError, match="units must be 'each' or 'both', but got 'all'"):
        BLSTM(45, 3, units="all")  # type: ignore[arg-type]


def test_the_fusion_is_dense_norm_relu_dropout_thrice() -> None:
    net = Fusion(768, 3)
    kinds = [type(layer).__name__ for layer in net.layers]
    assert kinds == ["Linear", "BatchNorm1d", "ReLU", "Dropout"] * 3 + ["Linear"]
    sizes = [layer.out_features for layer in net.layers if isinstance(layer, torch.nn.Linear)]
    assert sizes == [256, 128, 256, 3]
    assert all(layer.p == 0.5 for layer in net.layers if isinstance(layer, torch.nn.Dropout))
    assert net(torch.randn(4, 768)).shape == (4, 3)
