"""Label strategies: what a network is trained towards. Each returns [n, K] float32 targets.

Plain functions of tensors that never change their arguments, usable with any network and loss.
`STRATEGIES` says what each needs, and `build` picks one by name, so that the strategy is a
dimension which a space can search. This module is read by processes that only plan: torch is
imported by the functions that call it.

Numbers of equations are those of Ahn et al. 2024 (RDLR, Sensors 24, 4111) unless another paper
is named.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from trainables.labels import B, C
from trainables.stage import Array, Param, Setting

if TYPE_CHECKING:
    from torch import Tensor


def hard(y: Tensor, k: int) -> Tensor:
    """One-hot targets: [n] class indices -> [n, k] of zeros and ones."""
    import torch

    return torch.nn.functional.one_hot(y, k).to(torch.float32)


def _counts(votes: Tensor) -> Tensor:
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
    votes = _counts(votes)
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

    marks = (_counts(votes) > 0).to(torch.float32)
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
    """Self-distillation (section 3.1): the pre-trained model's output is the target. [n, K].

    It is basic deep self-learning too (BDSL, Mao et al. 2021), `wdsl` at alpha 0.
    """
    import torch

    return predictions.to(torch.float32).clone()


def dhl(predictions: Tensor) -> Tensor:
    """Deep hard label (deep self-learning): one-hot of the prediction's maximum. [n, K]."""
    return hard(predictions.argmax(dim=-1), predictions.shape[-1])


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


def partial_correction(
    base: Tensor, blend: Tensor, sets: Tensor, correct: Literal["C", "B+C"] = "C"
) -> Tensor:
    """Which rows label correction changes: S_C, or S_B and S_C (Gan et al. 2025, section 3.3).

    Args:
        base: [n, K] one-hot targets; those of corrected rows are not read
        blend: [n, K] of `correction`
        sets: [n] codes of `labels.partition`; S_A keeps its one-hot target always
        correct: the sets whose rows get `blend`
    """
    import torch

    if correct not in ("C", "B+C"):
        raise ValueError(f"correct must be 'C' or 'B+C', but got {correct!r}")
    rows = sets == C
    if correct == "B+C":
        rows = rows | (sets == B)
    return torch.where(rows[:, None], blend, base)


@dataclass(frozen=True)
class Strategy:
    """A label strategy by name: what it is made from, and which parameters of `build` it reads."""

    summary: str
    make: Callable[..., Tensor]
    needs: frozenset[str] = frozenset()
    """any of 'votes', 'sets', 'predictions', 'group': optional arguments of `build` that it cannot
    miss"""
    params: tuple[str, ...] = ()
    """the parameters of `build` that change its targets"""
    undecided: bool = False
    """whether it gives a target to rows without a label (y = -1) and with votes"""


def _prior(y: Tensor, k: int) -> Tensor:
    return hard(y, k).mean(dim=0)


def _ls_lr(
    y: Tensor, k: int, predictions: Tensor, gamma: float, smoothing: float, lr_base: str
) -> Tensor:
    import torch

    mask = wrong(predictions, y)
    base = label_smoothing(hard(y, k), smoothing)
    if lr_base == "smoothed":
        return lr(base, mask, gamma)
    if lr_base == "onehot":
        # The public code's way: rows that are wrong start again from their one-hot label.
        return torch.where(mask[:, None], label_smoothing(hard(y, k), gamma), base)
    raise ValueError(f"lr_base must be 'smoothed' or 'onehot', but got {lr_base!r}")


def _without_correction(
    y: Tensor, k: int, votes: Tensor, sets: Tensor, target_norm: Any, correct: Any
) -> Tensor:
    return partial_correction(
        hard(y.clamp_min(0), k), multi_label(votes, target_norm), sets, correct
    )


def _with_correction(
    y: Tensor,
    k: int,
    votes: Tensor,
    sets: Tensor,
    predictions: Tensor,
    correction_lambda: float,
    correct: Any,
    target_norm: Any,
    mode: Literal["soft", "hard"],
) -> Tensor:
    marks = multi_label(votes, target_norm)
    blend = correction(marks, predictions, correction_lambda, mode)
    return partial_correction(hard(y.clamp_min(0), k), blend, sets, correct)


_P = frozenset({"predictions"})
_V = frozenset({"votes"})
_S = frozenset({"sets"})

STRATEGIES: dict[str, Strategy] = {
    "hard": Strategy("one-hot labels", hard),
    "soft": Strategy("share of raters for each class", soft, _V, undecided=True),
    "multi_label": Strategy(
        "every class with a vote counts alike",
        lambda votes, target_norm: multi_label(votes, target_norm),
        _V,
        ("target_norm",),
        undecided=True,
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
    "self_kd": Strategy("the pre-trained model's output (Self-KD)", self_kd, _P),
    "bdsl": Strategy("each row's own previous prediction (BDSL)", self_kd, _P),
    "dhl": Strategy("one-hot of the prediction (DHL)", dhl, _P),
    "wdsl": Strategy(
        "mix of prediction and one-hot label (WDSL)",
        lambda y, k, predictions, wdsl_alpha: wdsl(predictions, hard(y, k), wdsl_alpha),
        _P,
        ("wdsl_alpha",),
    ),
    "gsl": Strategy(
        "mean prediction of the utterance's rows (GSL)",
        gsl,
        frozenset({"predictions", "group"}),
    ),
    "uncorrected": Strategy(
        "multi-label of the rows that label correction would change (lambda 0), one-hot elsewhere",
        _without_correction,
        _V | _S,
        ("target_norm", "correct"),
        undecided=True,
    ),
    "correction_soft": Strategy(
        "mix of multi-label and prediction for ambiguous rows (label correction, soft)",
        functools.partial(_with_correction, mode="soft"),
        _P | _V | _S,
        ("correction_lambda", "target_norm", "correct"),
        undecided=True,
    ),
    "correction_hard": Strategy(
        "mix of multi-label and predicted class for ambiguous rows (label correction, hard)",
        functools.partial(_with_correction, mode="hard"),
        _P | _V | _S,
        ("correction_lambda", "target_norm", "correct"),
        undecided=True,
    ),
}
"""name -> strategy. `build` calls `make` with the arguments that its signature names."""


PARAMS: dict[str, Param] = {
    "gamma": Param(
        0.5,
        "smoothing of the labels that the mask model gets wrong, eq. 10 (paper: "
        "0.2 to 0.8); for lr, ls_lr",
        low=0.0,
        high=1.0,
    ),
    "smoothing": Param(
        0.1,
        "smoothing of every label, eq. 9 (paper: 0.1); for label_smoothing, unigram, ls_lr",
        low=0.0,
        high=1.0,
    ),
    "lr_base": Param(
        "smoothed",
        "what ls_lr smooths again: 'smoothed' labels (paper) or the 'onehot' (public code)",
        ("smoothed", "onehot"),
    ),
    "target_norm": Param(
        "sum1", "multi-label targets: ones ('none') or rows of sum one ('sum1')", ("none", "sum1")
    ),
    "wdsl_alpha": Param(
        0.2, "share of the one-hot label, the rest is the prediction; for wdsl", low=0.0, high=1.0
    ),
    "correction_lambda": Param(
        0.5,
        "share of the prediction, the rest is the multi-label; for "
        "correction_soft, correction_hard",
        low=0.0,
        high=1.0,
    ),
    "correct": Param(
        "C",
        "what label correction changes: clips without a dominant class (C), or those with one and "
        "other votes too (B+C); for correction_soft, correction_hard, uncorrected",
        ("C", "B+C"),
    ),
}
"""Parameters of strategies, as methods declare them."""


def declare(
    *available: str, default: str, help: str = "label strategy: what a network is trained towards"
) -> dict[str, Param]:
    """The parameters of a method's targets: `strategy`, and those of the strategies it serves.

    Args:
        available: what the method has of a strategy's `needs`
        default, help: of `strategy`
    """
    names = [name for name, one in STRATEGIES.items() if one.needs <= set(available)]
    reads = {name for rule in names for name in STRATEGIES[rule].params}
    return {
        "strategy": Param(default, help, tuple(names)),
        **{name: param for name, param in PARAMS.items() if name in reads},
    }


def canonical(own: Setting) -> dict[str, Any]:
    """`strategy` and PARAMS of settings that give the same targets, made the same.

    The strategy becomes the simplest that gives these targets, and a parameter without effect None
    (a value of its own, where only some values of another leave it without).

    Args:
        own: `strategy` and those of PARAMS that the method has, and whatever else
    """
    strategy = _simplest(own)
    reads = STRATEGIES[strategy].params
    params = {name: own[name] if name in reads else None for name in PARAMS if name in own}
    if strategy.startswith("correction_") and params["correction_lambda"] == 1:
        params["target_norm"] = PARAMS["target_norm"].default  # no multi-label is left in the mix
    return {"strategy": strategy} | params


def several(setting: Setting) -> bool:
    """Whether a target of the setting's `strategy` may hold several classes."""
    return "votes" in STRATEGIES[setting["strategy"]].needs


def _simplest(own: Setting) -> str:
    strategy = str(own["strategy"])
    if strategy == "bdsl" or (strategy == "wdsl" and own["wdsl_alpha"] == 0):
        return "self_kd"
    if strategy == "wdsl" and own["wdsl_alpha"] == 1:
        return "hard"
    if strategy.startswith("correction_") and own["correction_lambda"] == 0:
        return "uncorrected"
    if strategy == "lr" and own["gamma"] == 0:
        return "hard"
    if strategy == "ls_lr" and own["gamma"] == 0 and own["lr_base"] == "smoothed":
        strategy = "label_smoothing"
    if strategy == "ls_lr" and own["smoothing"] == 0:
        return "lr" if own["gamma"] else "hard"
    if strategy in ("label_smoothing", "unigram") and own["smoothing"] == 0:
        return "hard"
    return strategy


def build(strategy: str, *, y: Tensor, k: int, **columns: Any) -> Tensor:
    """The targets [n, k] of a strategy by name.

    Args:
        strategy: a name in STRATEGIES
        y: [n] class indices; -1 for rows without a label, where the strategy takes `undecided`
        k: number of classes
        columns: whatever the strategy reads of votes [n, k], sets [n] (codes of
            `labels.partition`), predictions [n, k], group [n] and PARAMS; the rest is ignored, and
            None counts as absent

    Raises:
        KeyError: unknown strategy
        ValueError: something that the strategy needs is absent, or its value is impossible
    """
    import inspect

    rule = STRATEGIES[strategy]
    have = {"y": y, "k": k, **{name: value for name, value in columns.items() if value is not None}}
    takes = inspect.signature(rule.make).parameters
    missing = [name for name, p in takes.items() if name not in have and p.default is p.empty]
    if missing:
        raise ValueError(f"the strategy {strategy!r} needs {missing}, but they were not given")
    return rule.make(**{name: have[name] for name in takes if name in have})


def of_setting(
    own: Setting, *, y: NDArray[np.int64], k: int, **columns: Array | None
) -> NDArray[np.float32]:
    """The targets [n, k] that a stage's parameters ask for: `build` with arrays of numpy.

    Args:
        own: `strategy`, and those of PARAMS that the stage has
        y, k, columns: of `build`
    """
    import torch

    arrays = {n: torch.tensor(values) for n, values in columns.items() if values is not None}
    params = {name: own.get(name) for name in PARAMS}
    target: NDArray[np.float32] = build(
        own["strategy"], y=torch.tensor(y), k=k, **arrays, **params
    ).numpy()
    return target
