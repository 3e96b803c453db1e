"""Loss terms: plain functions of tensors, without state and without branches on data.

All are to be minimised, take logits rather than probabilities, and return a scalar in nats (or
without unit, where noted). n is the number of rows of the *global* batch: terms that compare rows
(relative difficulty, contrastive, Proxy-Anchor) mean something else on a part of a batch, which
is why `loop` gathers the rows of all workers first.

Numbers of equations are those of Ahn et al. 2024 (RDLR, Sensors 24, 4111).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F


def _weigh(entries: Tensor, weight: Tensor | None, class_weight: Tensor | None) -> Tensor:
    """Mean over rows of sum_k class_weight_k * entries_ik, each row times its weight."""
    if class_weight is not None:
        entries = entries * class_weight
    rows = entries.sum(dim=-1)
    return (rows if weight is None else rows * weight).mean()


def cross_entropy(
    logits: Tensor, target: Tensor, weight: Tensor | None = None, class_weight: Tensor | None = None
) -> Tensor:
    """Eq. 5: -(1/n) sum_i w_i sum_k beta_k t_ik log softmax(logits_i)_k, in nats, >= 0.

    The class weight acts on each entry of the target, and the sum is divided by n (not by the sum
    of weights), so that one-hot and soft targets are on one scale; for one-hot targets this is
    the paper's w_i beta_i y_i . log F(x_i).

    Args:
        logits: [n, K], not softmax
        target: [n, K] target distribution, usually rows of sum one
        weight: [n] weight of each row (corpus-wise weights), or None for 1
        class_weight: [K] weight of each class, or None for 1
    """
    return _weigh(-target * F.log_softmax(logits, dim=-1), weight, class_weight)


def target_loss(
    module: Any,
    outputs: Mapping[str, Tensor],
    rows: Mapping[str, Tensor],
    side_outputs: Mapping[str, Tensor],
    side_rows: Mapping[str, Tensor],
    *,
    weights: NDArray[np.float32] | None,
) -> dict[str, Tensor]:
    """`cross_entropy` of the logits with the rows' `target`, alone, as `loop.fit` asks for a loss.

    In the probability form whatever the targets are: -(1/n) sum_i sum_k beta_k t_ik log p_ik (Gan
    et al. 2025, eqs. 5 and 9; Song et al. 2025, eq. 14 with the softmax of eq. 13 inside; Mao et
    al. 2021, eq. 5, which is eqs. 7, 9, 11 and 13 by its targets).

    Args:
        outputs: `logits` [n, K]
        rows: `target` [n, K]
        weights: [K] beta, or None for 1
    """
    logits = outputs["logits"]
    beta = None if weights is None else torch.as_tensor(weights, device=logits.device)
    return {"ce": cross_entropy(logits, rows["target"], class_weight=beta)}


def focal(
    logits: Tensor,
    target: Tensor,
    gamma: float,
    weight: Tensor | None = None,
    class_weight: Tensor | None = None,
) -> Tensor:
    """Focal loss (Lin et al. 2017): cross entropy with each entry times (1 - p_ik)^gamma, >= 0.

    -(1/n) sum_i w_i sum_k beta_k t_ik (1 - p_ik)^gamma log p_ik. For one-hot targets it is the
    paper's; for soft ones each class's share is focused by that class's own probability. The
    gradient flows through the focusing factor too (public code detaches it). gamma = 0 is
    `cross_entropy`.

    Args:
        logits, target: [n, K]
        gamma: focusing exponent, >= 0
        weight: [n] or None
        class_weight: [K] or None
    """
    log_p = F.log_softmax(logits, dim=-1)
    # Through expm1, because 1 - exp(log_p) is exactly 0 once p rounds to 1, and the power's
    # gradient there is infinite for gamma < 1.
    miss = (-torch.expm1(log_p)).clamp_min(torch.finfo(logits.dtype).tiny)
    return _weigh(-target * miss**gamma * log_p, weight, class_weight)


def inverse_frequency(mass: Tensor) -> Tensor:
    """beta of eq. 5: inverse class frequency with mean one over what is counted. [K] float32, > 0.

    beta_c = n / (K' n_c), n_c the mass of class c (rows, or the sum of a column of soft targets), n
    all of it and K' the classes that have any. The papers give no formula; this one leaves the mean
    loss where it was. A class without mass has no frequency: it weighs 1, which matters only for
    targets that give it some nevertheless.

    Args:
        mass: [K], of the *training* rows alone
    """
    counts = mass.to(torch.float32)
    present = counts > 0
    weights = counts.sum() / (present.sum() * torch.where(present, counts, 1.0))
    return torch.where(present, weights, torch.ones_like(weights))


def corpus_weights(accuracy: Tensor, exponent: float) -> Tensor:
    """Eq. 6: corpus-wise weights w_c = (1 - U_c)^lambda / mean_d (1 - U_d)^lambda. [C], mean one.

    The paper prints d_i as the index inside the sum, which would make every weight 1; the sum
    runs over corpora. A single corpus weighs 1. When every corpus is perfect the ratio is 0/0 and
    the weights are 1, as at the start.

    Args:
        accuracy: [C] unweighted accuracy U of each training corpus, fractions in 0 .. 1
        exponent: lambda_W >= 0; 0 gives ones
    """
    hard = (1.0 - accuracy).clamp_min(0.0)
    top = hard.max()
    # Of the hardest corpus first, so that a large exponent cannot underflow all of them.
    share = torch.where(top > 0, hard / top.clamp_min(torch.finfo(hard.dtype).tiny), 1.0)
    power = share**exponent
    return power / power.mean()


def relative_difficulty(
    logits: Tensor, target: Tensor, alpha: float = 1.0, delta: float = 0.0, eps: float = 1e-8
) -> Tensor:
    """Eq. 7: log (1/n sum_i exp(-alpha (s_i - delta))), s_i = cos(softmax(logits_i), target_i).

    Row by row: each prediction meets its own target. Its gradient in s_i is
    -alpha exp(-alpha (s_i - delta)) / sum_j exp(-alpha (s_j - delta)) (eq. 8), a softmax over the
    batch, largest for the hardest rows. Negative values are right: with alpha = 1 and delta = 0
    it lies in [-1, 0]. Computed in float32 at least; without unit.

    Args:
        logits, target: [n, K]; targets non-negative and not all zero
        alpha: scale > 0
        delta: margin
        eps: floor of the product of norms in the cosine
    """
    wide = torch.promote_types(logits.dtype, torch.float32)
    p, t = F.softmax(logits.to(wide), dim=-1), target.to(wide)
    norms = torch.linalg.vector_norm(p, dim=-1) * torch.linalg.vector_norm(t, dim=-1)
    cosine = (p * t).sum(dim=-1) / norms.clamp_min(eps)
    # The mean as a logsumexp, so that a large alpha cannot overflow.
    powers = -alpha * (cosine - delta)
    return torch.logsumexp(powers, dim=0) - torch.log(powers.new_tensor(float(len(powers))))


def reconstruction_error(
    x: Tensor, decoded: Tensor, reduction: Literal["mean", "sum"] = "mean"
) -> Tensor:
    """Each row's share of eq. 12 with its sign put right, +||x_i - H(F'(x_i))||^2: [n], >= 0.

    The mean over the rows is the loss.

    Args:
        x, decoded: [n, D]
        reduction: over the D entries. "sum" is the equation; "mean" divides by D, which rescales
            lambda_AE by D (1582 for IS10). The paper does not say which its lambdas belong to.

    Raises:
        ValueError: another reduction
    """
    squares = (x - decoded) ** 2
    if reduction == "sum":
        return squares.sum(dim=-1)
    if reduction == "mean":
        return squares.mean(dim=-1)
    raise ValueError(f"reduction must be 'mean' or 'sum', but got {reduction!r}")


def pseudo_label(logits: Tensor, target: Tensor | None = None) -> Tensor:
    """Eq. 13: -(1/m) sum_i ~y . log softmax(logits_i) on unlabelled rows, in nats.

    The paper's pseudo-label is the all-ones vector, which sums to K and is not normalised here:
    the term is K times a uniform-target cross entropy, so at least K log K.

    Args:
        logits: [m, K] of the unlabelled rows
        target: [K] or [m, K]; None for ones
    """
    log_p = F.log_softmax(logits, dim=-1)
    return -(log_p if target is None else target * log_p).sum(dim=-1).mean()


def _mean_of_positive(values: Tensor, where: Tensor) -> Tensor:
    """Mean of the positive values among those selected; 0 where there is none."""
    positive = torch.where(where & (values > 0), values, 0.0)
    return positive.sum() / (positive > 0).sum().clamp_min(1)


def contrastive(embedding: Tensor, y: Tensor, margin: float = 0.5) -> Tensor:
    """Contrastive loss (Chopra et al. 2005; Hadsell et al. 2006 without the squares), >= 0.

    mean of d_ij over pairs of one class + mean of max(0, margin - d_ij) over pairs of two, each
    mean over its non-zero entries; d_ij is the Euclidean distance of embeddings on the unit
    sphere, 0 .. 2. This is `ContrastiveLoss(neg_margin=margin)` of pytorch-metric-learning, which
    Proxy-Anchor's authors use as their baseline with 0.5; the paper names no margin.

    Args:
        embedding: [n, E]
        y: [n] class indices
        margin: distance at which a pair of two classes costs nothing, 0 .. 2
    """
    unit = F.normalize(embedding, dim=-1)
    distance = torch.cdist(unit, unit)
    same = y[:, None] == y[None, :]
    others = ~torch.eye(len(y), dtype=torch.bool, device=y.device)
    pull = _mean_of_positive(distance, same & others)
    return pull + _mean_of_positive(margin - distance, ~same)


def proxy_anchor(
    embedding: Tensor, proxies: Tensor, y: Tensor, alpha: float = 32.0, delta: float = 0.1
) -> Tensor:
    """Eq. 3, Proxy-Anchor (Kim et al. 2020), >= 0.

    1/|P+| sum_{p in P+} log(1 + sum_{z of p} exp(-alpha (s(z,p) - delta)))
    + 1/|P| sum_p log(1 + sum_{z not of p} exp(alpha (s(z,p) + delta))), s the cosine, P+ the
    proxies whose class occurs in the batch. Computed through logsumexp, so no alpha overflows.

    Args:
        embedding: [n, E]
        proxies: [K, E], learned along with the network
        y: [n] class indices, 0 .. K-1
        alpha: scale > 0 (the authors' code: 32)
        delta: margin (the authors' code: 0.1)
    """
    cosine = F.normalize(embedding, dim=-1) @ F.normalize(proxies, dim=-1).T
    of = F.one_hot(y, len(proxies)).to(torch.bool)
    nothing = cosine.new_tensor(float("-inf"))
    zero = cosine.new_zeros(1, len(proxies))
    near = torch.where(of, -alpha * (cosine - delta), nothing)
    far = torch.where(of, nothing, alpha * (cosine + delta))
    # log(1 + sum exp(a)) = logsumexp(0, a); a class without rows gives log 1 = 0.
    pull = torch.logsumexp(torch.cat([zero, near]), dim=0)
    push = torch.logsumexp(torch.cat([zero, far]), dim=0)
    present = of.any(dim=0).sum().clamp_min(1)
    return pull.sum() / present + push.mean()


# --- Numbers --------------------------------------------------------------------------------


def concordance(
    prediction: Tensor, target: Tensor, weight: Tensor | None = None, eps: float = 1e-8
) -> Tensor:
    """1 - CCC, the mean over attributes, in 0 .. 2 (Lin 1989; as a loss: Weninger et al. 2016).

    CCC = 2 cov(p, t) / (var p + var t + (mean p - mean t)^2) over the rows of the batch.

    Args:
        prediction, target: [n, A]
        weight: [n] of each row in the means, variances and covariance, or None for 1
        eps: added to the denominator, so that a batch of one value has CCC 0
    """
    w = torch.ones(len(target), 1, device=target.device) if weight is None else weight[:, None]
    w = w / w.sum()
    p, t = (w * prediction).sum(0), (w * target).sum(0)
    dp, dt = prediction - p, target - t
    apart = (w * dp * dp).sum(0) + (w * dt * dt).sum(0) + (p - t) ** 2
    return (1.0 - 2.0 * (w * dp * dt).sum(0) / (apart + eps)).mean()


def squared_error(prediction: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
    """(1/n) sum_i w_i mean_a (p_ia - t_ia)^2, >= 0. Arguments as of `concordance`."""
    rows = ((prediction - target) ** 2).mean(dim=-1)
    return (rows if weight is None else rows * weight).mean()
