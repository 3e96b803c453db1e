"""Label strategies: what a network is trained towards. Each returns [n, K] float32 targets.

Plain functions of tensors that never change their arguments, usable with any network and loss.
`STRATEGIES` says what each needs, and `build` picks one by name, so that the strategy is a
dimension which a space can search. This module is read by processes that only plan: torch is
imported by the functions that call it.

Numbers of equations are those of Ahn et al. 2024 (RDLR, Sensors 24, 4111) unless another paper
is named.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from torch import Tensor

__all__ = [
    "STRATEGIES",
    "Strategy",
    "bdsl",
    "build",
    "correction",
    "dhl",
    "gsl",
    "hard",
    "label_smoothing",
    "lr",
    "multi_label",
    "self_kd",
    "soft",
    "unigram_smoothing",
    "wdsl",
    "wrong",
]


def hard(y: Tensor, k: int) -> Tensor:
    """One-hot targets: [n] class indices -> [n, k] of zeros and ones."""
    import torch

    return torch.nn.functional.one_hot(y, k).to(torch.float32)


def _voted(votes: Tensor) -> Tensor:
    """Votes as float32, each row with at least one."""
    import torch

    votes = votes.to(torch.float32)
    empty = (votes.sum(dim=-1) <= 0).nonzero().flatten().tolist()
    if empty:
        raise ValueError(
            f"each row needs at least one vote, but {len(empty)} of {len(votes)} have none "
            f"(the first is row {empty[0]}); drop them before"
        )
    return votes


def soft(votes: Tensor) -> Tensor:
    """The share of raters for each class ("soft label", Steidl et al. 2005): rows of sum one.

    Args:
        votes: [n, K] counts >= 0; a row without a vote has no soft label

    Raises:
        ValueError: a row without a vote
    """
    votes = _voted(votes)
    return votes / votes.sum(dim=-1, keepdim=True)


def multi_label(votes: Tensor, target_norm: Literal["none", "sum1"] = "sum1") -> Tensor:
    """Every class that got a vote counts alike (multi-hot, Gan et al. 2025).

    Args:
        votes: [n, K] counts >= 0
        target_norm: "none" leaves ones, so that a row sums to 1 .. K and its weight in the loss
            grows with its ambiguity; "sum1" divides by the number of classes voted for

    Raises:
        ValueError: a row without a vote
    """
    import torch

    marks = (_voted(votes) > 0).to(torch.float32)
    if target_norm == "none":
        return marks
    if target_norm == "sum1":
        return marks / marks.sum(dim=-1, keepdim=True)
    raise ValueError(f"target_norm must be 'none' or 'sum1', but got {target_norm!r}")


def label_smoothing(target: Tensor, gamma: float) -> Tensor:
    """Eq. 9: (1 - gamma) y + gamma / K. [n, K] -> [n, K]; gamma in 0 .. 1."""
    return (1.0 - gamma) * target + gamma / target.shape[-1]


def unigram_smoothing(target: Tensor, prior: Tensor, gamma: float) -> Tensor:
    """(1 - gamma) y + gamma * prior (Huang et al. 2020, cited with eq. 9).

    Args:
        target: [n, K]
        prior: [K] class distribution of the training part, sum one
        gamma: 0 .. 1
    """
    return (1.0 - gamma) * target + gamma * prior.to(target.dtype)


def wrong(predictions: Tensor, y: Tensor) -> Tensor:
    """[n] bool: where the pre-trained model errs, argmax(^y_i) != argmax(y_i) in eq. 10.

    Args:
        predictions: [n, K] probabilities (or logits) of the pre-trained model in eval mode
        y: [n] class indices
    """
    return predictions.argmax(dim=-1) != y


def lr(base: Tensor, mask: Tensor, gamma: float) -> Tensor:
    """Eq. 10, labelling reliability: smooth by gamma the rows that the mask marks, and only those.

    Args:
        base: [n, K] one-hot targets, or smoothed ones for LS + LR (the paper smooths those again)
        mask: [n] bool, where the pre-trained model errs (`wrong`)
        gamma: 0 .. 1

    Returns:
        [n, K], a new tensor; `base` is left as it was
    """
    import torch

    return torch.where(mask[:, None], label_smoothing(base, gamma), base)


def self_kd(predictions: Tensor) -> Tensor:
    """Self-distillation (section 3.1): the pre-trained model's output is the target. [n, K]."""
    import torch

    return predictions.to(torch.float32).clone()


def dhl(predictions: Tensor) -> Tensor:
    """Deep hard label (deep self-learning): one-hot of the prediction's maximum. [n, K]."""
    return hard(predictions.argmax(dim=-1), predictions.shape[-1])


def bdsl(predictions: Tensor) -> Tensor:
    """Basic deep self-learning: each row's own previous prediction. [n, K]; `wdsl` at alpha 0."""
    return self_kd(predictions)


def wdsl(predictions: Tensor, target: Tensor, alpha: float) -> Tensor:
    """Weighted deep self-learning: (1 - alpha) q + alpha y. [n, K]; alpha in 0 .. 1."""
    return (1.0 - alpha) * self_kd(predictions) + alpha * target


def gsl(predictions: Tensor, group: Tensor) -> Tensor:
    """Group self-learning: each row gets the mean prediction of its group (its utterance).

    Args:
        predictions: [n, K]
        group: [n] group indices 0 .. G-1
    """
    q = self_kd(predictions)
    groups = int(group.max()) + 1
    sums = q.new_zeros(groups, q.shape[-1]).index_add(0, group, q)
    sizes = q.new_zeros(groups).index_add(0, group, q.new_ones(len(q)))
    return (sums / sizes.clamp_min(1)[:, None])[group]


def correction(
    marks: Tensor, predictions: Tensor, weight: float, mode: Literal["soft", "hard"] = "soft"
) -> Tensor:
    """Label correction (Gan et al. 2025): (1 - lambda) m + lambda q.

    Args:
        marks: [n, K] multi-label targets m, as `multi_label` gives them
        predictions: [n, K] probabilities of the teacher
        weight: lambda, 0 .. 1; 0 needs no teacher
        mode: q is the teacher's softmax ("soft") or the one-hot of its maximum ("hard")
    """
    if mode not in ("soft", "hard"):
        raise ValueError(f"mode must be 'soft' or 'hard', but got {mode!r}")
    q = self_kd(predictions) if mode == "soft" else dhl(predictions)
    return (1.0 - weight) * marks + weight * q


@dataclass(frozen=True)
class Strategy:
    """A label strategy by name: what it is made from, and which parameters of `build` it reads."""

    summary: str
    make: Callable[..., Tensor]
    needs: frozenset[str] = frozenset()
    """any of 'votes', 'predictions', 'group': optional arguments of `build` that it cannot miss"""
    params: tuple[str, ...] = ()
    """the parameters of `build` that change its targets"""


def _prior(y: Tensor, k: int) -> Tensor:
    return hard(y, k).mean(dim=0)


def _ls_lr(
    y: Tensor, k: int, predictions: Tensor, gamma: float, smoothing: float, lr_base: str
) -> Tensor:
    import torch

    mask = wrong(predictions, y)
    smoothed = label_smoothing(hard(y, k), smoothing)
    if lr_base == "smoothed":
        return lr(smoothed, mask, gamma)
    if lr_base == "onehot":
        # The public code's way: rows that are wrong start again from their one-hot label.
        return torch.where(mask[:, None], label_smoothing(hard(y, k), gamma), smoothed)
    raise ValueError(f"lr_base must be 'smoothed' or 'onehot', but got {lr_base!r}")


_P = frozenset({"predictions"})
_V = frozenset({"votes"})

STRATEGIES: dict[str, Strategy] = {
    "hard": Strategy("one-hot labels", lambda y, k: hard(y, k)),
    "soft": Strategy("share of raters for each class", lambda votes: soft(votes), _V),
    "multi_label": Strategy(
        "every class with a vote counts alike",
        lambda votes, target_norm: multi_label(votes, target_norm),
        _V,
        ("target_norm",),
    ),
    "label_smoothing": Strategy(
        "one-hot mixed with the uniform distribution (LS, eq. 9)",
        lambda y, k, smoothing: label_smoothing(hard(y, k), smoothing),
        params=("smoothing",),
    ),
    "unigram": Strategy(
        "one-hot mixed with the class prior of the training part",
        lambda y, k, smoothing: unigram_smoothing(hard(y, k), _prior(y, k), smoothing),
        params=("smoothing",),
    ),
    "lr": Strategy(
        "smoothed where a pre-trained model errs (LR, eq. 10)",
        lambda y, k, predictions, gamma: lr(hard(y, k), wrong(predictions, y), gamma),
        _P,
        ("gamma",),
    ),
    "ls_lr": Strategy(
        "label smoothing everywhere, and more where a pre-trained model errs (LS + LR)",
        _ls_lr,
        _P,
        ("gamma", "smoothing", "lr_base"),
    ),
    "self_kd": Strategy(
        "the pre-trained model's output (Self-KD)", lambda predictions: self_kd(predictions), _P
    ),
    "bdsl": Strategy(
        "each row's own previous prediction (BDSL)", lambda predictions: bdsl(predictions), _P
    ),
    "dhl": Strategy("one-hot of the prediction (DHL)", lambda predictions: dhl(predictions), _P),
    "wdsl": Strategy(
        "mix of prediction and one-hot label (WDSL)",
        lambda y, k, predictions, wdsl_alpha: wdsl(predictions, hard(y, k), wdsl_alpha),
        _P,
        ("wdsl_alpha",),
    ),
    "gsl": Strategy(
        "mean prediction of the utterance's rows (GSL)",
        lambda predictions, group: gsl(predictions, group),
        frozenset({"predictions", "group"}),
    ),
    "correction_soft": Strategy(
        "mix of multi-label and prediction (label correction, soft)",
        lambda votes, predictions, correction_lambda, target_norm: correction(
            multi_label(votes, target_norm), predictions, correction_lambda, "soft"
        ),
        _P | _V,
        ("correction_lambda", "target_norm"),
    ),
    "correction_hard": Strategy(
        "mix of multi-label and predicted class (label correction, hard)",
        lambda votes, predictions, correction_lambda, target_norm: correction(
            multi_label(votes, target_norm), predictions, correction_lambda, "hard"
        ),
        _P | _V,
        ("correction_lambda", "target_norm"),
    ),
}
"""name -> strategy. `build` calls `make` with the arguments that its signature names."""


def build(strategy: str, *, y: Tensor, k: int, **given: Any) -> Tensor:
    """The targets [n, k] of a strategy by name.

    Args:
        strategy: a name in STRATEGIES
        y: [n] class indices
        k: number of classes
        given: whatever the strategy reads of votes [n, k], predictions [n, k], group [n], gamma,
            smoothing, lr_base, target_norm, wdsl_alpha, correction_lambda; the rest is ignored,
            None counts as absent

    Raises:
        KeyError: unknown strategy
        ValueError: something that the strategy needs is absent, or its value is impossible
    """
    import inspect

    chosen = STRATEGIES[strategy]
    have = {"y": y, "k": k, **{name: value for name, value in given.items() if value is not None}}
    takes = inspect.signature(chosen.make).parameters
    missing = [name for name in takes if name not in have]
    if missing:
        raise ValueError(f"the strategy {strategy!r} needs {missing}, but they were not given")
    return chosen.make(**{name: have[name] for name in takes})
