"""Loss terms against independent implementations in float64, numeric gradients and limits."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from trainables import losses, targets

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from pytorch_metric_learning.losses import ContrastiveLoss, ProxyAnchorLoss

N, K, E = 9, 4, 6
Array = NDArray[np.float64]


def draw(seed: int = 0, n: int = N, k: int = K) -> tuple[Tensor, Tensor, Tensor]:
    """Logits [n, k], labels [n], targets [n, k] in float64."""
    g = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(n, k, generator=g, dtype=torch.float64)
    y = torch.randint(k, (n,), generator=g)
    target = torch.softmax(torch.randn(n, k, generator=g, dtype=torch.float64), -1)
    return logits, y, target


def softmax(z: Array) -> Array:
    e = np.exp(z - z.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def numeric(f: Callable[[Array], float], x: Array, h: float = 1e-6) -> Array:
    """Central differences of a scalar function."""
    gradient = np.zeros_like(x)
    for i in np.ndindex(*x.shape):
        up, down = x.copy(), x.copy()
        up[i] += h
        down[i] -= h
        gradient[i] = (f(up) - f(down)) / (2 * h)
    return gradient


def gradient(f: Callable[[Tensor], Tensor], x: Tensor) -> tuple[float, Array]:
    x = x.clone().requires_grad_()
    value = f(x)
    value.backward()
    assert x.grad is not None
    return value.item(), x.grad.numpy()


# Cross entropy, class weights, corpus weights


def np_cross_entropy(z: Array, t: Array, w: Array, beta: Array) -> float:
    total = 0.0
    for i in range(len(z)):
        log_p = z[i] - math.log(sum(math.exp(v) for v in z[i]))
        total -= w[i] * sum(beta[k] * t[i, k] * log_p[k] for k in range(len(beta)))
    return total / len(z)


def test_cross_entropy_is_equation_5_in_value_and_gradient() -> None:
    logits, _, target = draw()
    w = torch.linspace(0.5, 2.0, N, dtype=torch.float64)
    beta = torch.tensor([0.5, 1.0, 2.0, 0.7], dtype=torch.float64)
    value, grad = gradient(lambda z: losses.cross_entropy(z, target, w, beta), logits)

    def oracle(z: Array) -> float:
        return np_cross_entropy(z, target.numpy(), w.numpy(), beta.numpy())

    assert value == pytest.approx(oracle(logits.numpy()), rel=1e-12)
    np.testing.assert_allclose(grad, numeric(oracle, logits.numpy()), atol=1e-8)


def test_index_and_probability_targets_are_on_one_scale() -> None:
    """Trap 10: torch divides by the sum of weights for indices, by n for probabilities."""
    logits, y, _ = draw()
    beta = losses.inverse_frequency(torch.bincount(y, minlength=K)).double()
    ours = losses.cross_entropy(logits, targets.hard(y, K).double(), None, beta)
    by_index = torch.nn.functional.cross_entropy(logits, y, weight=beta, reduction="sum") / N
    assert float(ours) == pytest.approx(float(by_index))
    soft = torch.nn.functional.cross_entropy(logits, targets.hard(y, K).double(), weight=beta)
    assert float(ours) == pytest.approx(float(soft))


def test_losses_take_logits() -> None:
    """Trap 11: adding a constant to the logits of a row changes nothing."""
    logits, _, target = draw()
    moved = logits + torch.arange(N, dtype=torch.float64)[:, None]
    for loss in (
        losses.cross_entropy,
        losses.relative_difficulty,
        lambda z, t: losses.focal(z, t, 2.0),
        lambda z, t: losses.pseudo_label(z),
    ):
        assert float(loss(moved, target)) == pytest.approx(float(loss(logits, target)))


def test_class_weights_are_inverse_frequencies_of_mean_one() -> None:
    y = torch.tensor([0] * 6 + [1] * 3 + [3])
    weights = losses.inverse_frequency(torch.bincount(y, minlength=4))
    assert float(weights[y].mean()) == pytest.approx(1.0)
    assert float(weights[0] * 6) == pytest.approx(float(weights[1] * 3))
    assert float(weights[3]) == pytest.approx(6 * float(weights[0]))
    assert float(weights[2]) == 1.0


def np_corpus_weights(u: Array, power: float) -> Array:
    raw = np.array([(1 - v) ** power for v in u])
    return raw / (raw.sum() / len(raw))


@settings(deadline=None)
@given(st.lists(st.floats(0, 0.99), min_size=1, max_size=6), st.floats(0, 6))
def test_corpus_weights_are_equation_6(accuracy: list[float], power: float) -> None:
    u = np.array(accuracy)
    result = losses.corpus_weights(torch.tensor(u), power).numpy()
    np.testing.assert_allclose(result, np_corpus_weights(u, power), rtol=1e-9)
    assert result.mean() == pytest.approx(1.0)
    if power > 0.01 and u.max() - u.min() > 0.01:
        assert result[u.argmin()] > result[u.argmax()]  # not 1 everywhere: trap 5


def test_corpus_weights_at_their_limits() -> None:
    assert losses.corpus_weights(torch.tensor([0.3]), 4.0).tolist() == [1.0]
    assert losses.corpus_weights(torch.tensor([1.0, 1.0]), 2.0).tolist() == [1.0, 1.0]
    assert losses.corpus_weights(torch.tensor([0.2, 0.9]), 0.0).tolist() == [1.0, 1.0]
    assert losses.corpus_weights(torch.tensor([1.0, 0.5]), 2.0).tolist() == [0.0, 2.0]
    assert losses.corpus_weights(torch.tensor([0.998, 0.998]), 16.0).tolist() == [1.0, 1.0]
    nearly = losses.corpus_weights(torch.tensor([0.998, 0.996]), 16.0)  # 0.002^16 is no float32
    np.testing.assert_allclose(nearly, [2 / (1 + 2**16), 2 / (1 + 2**-16)], rtol=1e-3)


def test_corpus_weighted_gradient() -> None:
    logits, y, _ = draw()
    corpus = torch.tensor([0, 0, 0, 1, 1, 1, 2, 2, 2])
    u = np.array([0.9, 0.5, 0.2])
    w = np_corpus_weights(u, 3.0)[corpus.numpy()]
    one_hot = targets.hard(y, K).double()
    weight = losses.corpus_weights(torch.tensor(u), 3.0)[corpus]
    value, grad = gradient(lambda z: losses.cross_entropy(z, one_hot, weight), logits)

    def oracle(z: Array) -> float:
        return np_cross_entropy(z, one_hot.numpy(), w, np.ones(K))

    assert value == pytest.approx(oracle(logits.numpy()), rel=1e-12)
    np.testing.assert_allclose(grad, numeric(oracle, logits.numpy()), atol=1e-8)
    exact = w[:, None] * (softmax(logits.numpy()) - one_hot.numpy()) / N
    np.testing.assert_allclose(grad, exact, atol=1e-12)


# Relative difficulty


def np_relative_difficulty(z: Array, t: Array, alpha: float, delta: float) -> float:
    p = softmax(z)
    s = [p[i] @ t[i] / (np.linalg.norm(p[i]) * np.linalg.norm(t[i])) for i in range(len(z))]
    return math.log(sum(math.exp(-alpha * (v - delta)) for v in s) / len(s))


@pytest.mark.parametrize(("alpha", "delta"), [(1.0, 0.0), (4.0, 0.2), (0.5, -0.3)])
@pytest.mark.parametrize("one_hot", [True, False])
def test_relative_difficulty_is_equation_7(alpha: float, delta: float, one_hot: bool) -> None:
    logits, y, target = draw(3)
    if one_hot:
        target = targets.hard(y, K).double()
    value, grad = gradient(lambda z: losses.relative_difficulty(z, target, alpha, delta), logits)

    def oracle(z: Array) -> float:
        return np_relative_difficulty(z, target.numpy(), alpha, delta)

    assert value == pytest.approx(oracle(logits.numpy()), rel=1e-12)
    np.testing.assert_allclose(grad, numeric(oracle, logits.numpy()), atol=1e-8)


def test_relative_difficulty_gradient_is_equation_8() -> None:
    """Chain rule by hand: eq. 8 times the derivative of each cosine."""
    logits, y, _ = draw(5)
    one_hot = targets.hard(y, K).double()
    alpha, delta = 2.0, 0.1
    _, grad = gradient(lambda z: losses.relative_difficulty(z, one_hot, alpha, delta), logits)
    p = softmax(logits.numpy())
    norm = np.linalg.norm(p, axis=1)
    hit = p[np.arange(N), y]
    h = np.exp(-alpha * (hit / norm - delta))
    outer = -alpha * h / h.sum()
    by_p = one_hot.numpy() / norm[:, None] - hit[:, None] * p / norm[:, None] ** 3
    by_z = p * (by_p - (by_p * p).sum(1, keepdims=True))
    np.testing.assert_allclose(grad, outer[:, None] * by_z, atol=1e-12)


def test_every_row_counts_in_the_relative_difficulty() -> None:
    """Trap 1: the public code compares row 0's prediction with every label."""
    logits, _, target = draw(1)
    base = float(losses.relative_difficulty(logits, target))
    for row in range(N):
        other = logits.clone()
        other[row, 0] += 3.0
        assert float(losses.relative_difficulty(other, target)) != pytest.approx(base, abs=1e-6)


@settings(deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 20), st.integers(2, 7))
def test_relative_difficulty_lies_between_minus_one_and_zero(seed: int, n: int, k: int) -> None:
    """Trap 2: negative is right."""
    logits, _, target = draw(seed, n, k)
    value = float(losses.relative_difficulty(logits.float(), target.float()))
    assert -1.0 - 1e-6 <= value <= 1e-6
    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
    again = losses.relative_difficulty(logits[order].float(), target[order].float())
    assert float(again) == pytest.approx(value, abs=1e-6)


def test_relative_difficulty_at_its_limits() -> None:
    eye = torch.eye(3)
    assert float(losses.relative_difficulty(50 * eye, eye)) == pytest.approx(-1.0)
    assert float(losses.relative_difficulty(50 * eye.roll(1, 0), eye)) == pytest.approx(0.0)
    assert math.isfinite(float(losses.relative_difficulty(50 * eye.roll(1, 0), eye, 500.0, 1.0)))
    smooth = targets.label_smoothing(eye, 0.3)
    assert float(losses.relative_difficulty(50 * eye, smooth)) > -1.0  # cos 1 is out of reach
    half = losses.relative_difficulty(eye.half(), eye.half())
    assert half.dtype == torch.float32


def test_the_hardest_row_gets_the_largest_share() -> None:
    logits = torch.tensor([[3.0, 0.0], [0.5, 0.0], [-1.0, 0.0]], dtype=torch.float64)
    target = torch.tensor([[1.0, 0.0]] * 3, dtype=torch.float64)
    cosine = torch.nn.functional.cosine_similarity(torch.softmax(logits, -1), target)
    share = torch.softmax(-cosine, 0)
    assert share.argmax() == 2
    _, grad = gradient(lambda z: losses.relative_difficulty(z, target), logits)
    assert (grad[:, 0] < 0).all()  # every row is pushed to its class


# Reconstruction, pseudo-labels, focal


def test_reconstruction_is_to_be_minimised_and_its_reductions_differ_by_the_width() -> None:
    """Trap 4: equation 12's minus sign is a slip, and sum is D times mean."""
    g = torch.Generator().manual_seed(0)
    x, near = torch.randn(5, 7, generator=g), torch.randn(5, 7, generator=g)
    mean, total = (
        float(losses.reconstruction_error(x, near, how).mean()) for how in ("mean", "sum")
    )
    assert total == pytest.approx(float(((x - near) ** 2).sum() / 5))
    assert total == pytest.approx(7 * mean)
    assert float(losses.reconstruction_error(x, x).mean()) == 0.0
    value, grad = gradient(
        lambda d: losses.reconstruction_error(x.double(), d, "sum").mean(), near.double()
    )
    np.testing.assert_allclose(grad, 2 * (near - x).double().numpy() / 5, atol=1e-12)
    assert value > 0
    with pytest.raises(ValueError, match="reduction"):
        losses.reconstruction_error(x, near, "max").mean()  # type: ignore[arg-type]


def test_pseudo_labels_are_all_ones_and_not_normalised() -> None:
    """Trap 6."""
    logits, _, _ = draw()
    uniform = torch.full_like(logits, 1 / K)
    ours = float(losses.pseudo_label(logits))
    assert ours == pytest.approx(K * float(losses.cross_entropy(logits, uniform)))
    flat = torch.zeros_like(logits)
    assert float(losses.pseudo_label(flat)) == pytest.approx(K * math.log(K))
    assert ours > K * math.log(K)
    one = torch.tensor([1.0, 0, 0, 0], dtype=torch.float64)
    want = -torch.log_softmax(logits, -1)[:, 0].mean()
    assert float(losses.pseudo_label(logits, one)) == pytest.approx(float(want))


def np_focal(z: Array, t: Array, gamma: float) -> float:
    p = softmax(z)
    return float(-(t * (1 - p) ** gamma * np.log(p)).sum() / len(z))


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_focal_in_value_and_gradient(gamma: float) -> None:
    """Trap 12: the gradient flows through the focusing factor."""
    logits, _, target = draw(2)
    value, grad = gradient(lambda z: losses.focal(z, target, gamma), logits)

    def oracle(z: Array) -> float:
        return np_focal(z, target.numpy(), gamma)

    assert value == pytest.approx(oracle(logits.numpy()), rel=1e-10)
    np.testing.assert_allclose(grad, numeric(oracle, logits.numpy()), atol=1e-8)


def test_focal_limits() -> None:
    logits, _, target = draw(4)
    w, beta = torch.rand(N).double(), torch.rand(K).double()
    plain = losses.cross_entropy(logits, target, w, beta)
    assert float(losses.focal(logits, target, 0.0, w, beta)) == pytest.approx(float(plain))
    _, grad = gradient(lambda z: losses.focal(z, torch.eye(3), 0.5), 200 * torch.eye(3))
    assert np.isfinite(grad).all()


# Metric losses


def embeddings(seed: int, n: int = 12, k: int = 3) -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(seed)
    return torch.randn(n, E, generator=g).double(), torch.randint(k, (n,), generator=g)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("margin", [0.2, 0.5, 1.5])
def test_contrastive_agrees_with_pytorch_metric_learning(seed: int, margin: float) -> None:
    x, y = embeddings(seed)
    value, grad = gradient(lambda e: losses.contrastive(e, y, margin), x)
    theirs = ContrastiveLoss(pos_margin=0, neg_margin=margin)
    expected, expected_grad = gradient(lambda e: theirs(e, y), x)
    assert value == pytest.approx(expected, rel=1e-6)
    np.testing.assert_allclose(grad, expected_grad, atol=1e-6)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("alpha", "delta"), [(32.0, 0.1), (4.0, 0.0)])
def test_proxy_anchor_agrees_with_pytorch_metric_learning(
    seed: int, alpha: float, delta: float
) -> None:
    x, y = embeddings(seed)
    y[y == 1] = 0  # a proxy without rows
    theirs = ProxyAnchorLoss(3, E, margin=delta, alpha=alpha).double()
    proxies = theirs.proxies.detach().clone().requires_grad_()
    value, grad = gradient(lambda e: losses.proxy_anchor(e, proxies, y, alpha, delta), x)
    expected, expected_grad = gradient(lambda e: theirs(e, y), x)
    assert value == pytest.approx(expected, rel=1e-6)
    np.testing.assert_allclose(grad, expected_grad, atol=1e-6)
    assert proxies.grad is not None
    np.testing.assert_allclose(proxies.grad, theirs.proxies.grad, atol=1e-6)


def test_metric_losses_at_their_limits() -> None:
    same = torch.ones(4, E)
    one_class = torch.zeros(4, dtype=torch.int64)
    value, grad = gradient(lambda e: losses.contrastive(e, one_class), same)
    assert value == pytest.approx(0.0, abs=1e-3)
    assert np.isfinite(grad).all()
    apart = torch.eye(4, E)
    assert float(losses.contrastive(apart, torch.arange(4), 1.0)) == 0.0
    for n in (1, 4):  # two classes, of which one is absent; large scales do not overflow
        result = losses.proxy_anchor(
            10 * apart[:n], torch.eye(2, E), torch.zeros(n, dtype=torch.int64), 1000.0
        )
        assert torch.isfinite(result)


def test_losses_batch_under_vmap() -> None:
    """No branches on data: several trainings can be one batch on one device."""
    stacks = [draw(s) for s in range(3)]
    z, t = torch.stack([s[0] for s in stacks]), torch.stack([s[2] for s in stacks])
    for loss in (
        losses.cross_entropy,
        losses.relative_difficulty,
        lambda a, b: losses.focal(a, b, 2.0),
    ):
        together = torch.func.vmap(loss)(z, t)
        apart = torch.stack([loss(a, b) for a, b in zip(z, t, strict=True)])
        torch.testing.assert_close(together, apart)
