"""What one training is asked: a module, its data, and how it is trained.

Losses compare rows of the whole batch, so whatever is a batch here is one over all workers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from trainables.augmentation import Augmentation
from trainables.fitting import steps_of
from trainables.passes import Link, Precision
from trainables.rows import Arrays, Collate, Infer, Rows, length
from trainables.stage import FAST, Array, Cuda, Sequences

Optimiser = Literal["adam", "adamax"]


class Forward(Protocol):
    """One pass in training: rows of a batch -> named outputs, each [rows, ...]."""

    def __call__(self, module: Any, rows: Rows) -> dict[str, Tensor]: ...


class LossTerms(Protocol):
    """Outputs of the global (and the side) batch -> named terms, whose sum is minimised."""

    def __call__(
        self, module: Any, outputs: Rows, rows: Rows, side_outputs: Rows, side_rows: Rows
    ) -> dict[str, Tensor]: ...


@dataclass(frozen=True)
class Refresh:
    """What a hook after an epoch gives back."""

    columns: Mapping[str, Array] = field(default_factory=dict)
    """training columns that replace those of the same name from the next epoch on"""
    curves: Mapping[str, float] = field(default_factory=dict)
    """further values to record for this epoch"""


@dataclass(frozen=True, kw_only=True)
class Steps:
    """How the steps of a training go: the arguments that methods declare as parameters.

    A parameter of one of these names is that argument (`fitting.fit`).
    """

    batch: int = 64
    """rows a step; a last batch of one row joins the one before it"""
    bucket: int = 16
    """with `collate`, batches are formed by length within `bucket` of them at a time (`by_length`);
    0 forms them of any lengths"""
    accumulate: int = 1
    """a step's batch is passed through the network in so many parts, and their gradients added; the
    same step where the loss is a mean over rows"""

    optimiser: Optimiser = "adam"
    """Adam, or Adamax (the largest gradient so far in place of their second moment)"""
    lr: float = 2e-4
    """the optimiser's step size, > 0"""
    weight_decay: float = 0.0
    """the optimiser's L2 term"""
    adam_eps: float = 1e-8
    """Adam's term in the denominator (Keras: 1e-7)"""
    clip_norm: float = 0.0
    """gradients longer than this (L2, over all parameters) are cut to it; 0 for never"""
    epochs: int = 100
    """at most, >= 1"""
    patience: int = 5
    """epochs without a new best score until the end, >= 1"""
    patience_steps: int = 0
    """and at least so many steps without one: where an epoch has few steps, `patience` epochs end
    a training before it has begun"""
    plateau_patience: int = 2
    """of ReduceLROnPlateau on `monitor`"""
    plateau_factor: float = 1.0
    """by which it cuts the step size; 1 leaves it as it is"""
    cuts: Sequence[int] = ()
    """the step size is multiplied by `plateau_factor` after each of these epochs too, whatever the
    score"""
    decay: float = 1.0
    """the step size is multiplied by this, in (0, 1], every `decay_every` epochs, whatever the
    score"""
    decay_every: int = 1
    precision: Precision = "fp32"
    """bf16 and fp16 run the network under autocast (fp16 on CUDA alone, with a scaled loss);
    weights and losses stay float32"""


@dataclass(frozen=True, kw_only=True)
class Training(Steps):
    """The arguments of `loop.fit`, as they travel to its workers.

    Raises:
        ValueError: nothing to train on, or an argument outside its range
    """

    build: Callable[[], nn.Module]
    """makes the module; called once a worker, right after seeding"""
    infer: Infer
    """(module, rows) -> logits [n, K]; for predictions in eval mode and without gradient"""
    link: Link = "softmax"
    """from these logits to predictions: their softmax, or they themselves where numbers are
    predicted"""
    forward: Forward | None = None
    """(module, rows) -> outputs by name, one row each; `rows` holds `train`'s columns (or `side`'s)
    for a slice of the batch. None: `logits`, of `infer`"""
    loss: LossTerms
    """(module, outputs, rows, side outputs, side rows) -> terms by name, scalars; all of the global
    batch. The side mappings are empty where there is no side stream"""
    score: Callable[[NDArray[np.float32]], Mapping[str, float]]
    """validation probabilities [n, K] -> values by name; needs `monitor`, to be maximised"""
    monitor: str = "validation_ua"
    """the entry of `score` that stops the training and steers the learning rate"""

    train: Arrays
    """columns [n, ...] by name; with `collate` also `Sequences` of n rows"""
    validation: Arrays
    """columns [n, ...] that `infer` reads. Without columns there is no validation: the training
    ends after `epochs`, whose last weights are the best, no plateau cuts the step size, and `score`
    and `on_epoch` are not called"""
    predict: Mapping[str, Arrays]
    """parts to predict in the end, each with the columns that `infer` reads"""
    embed: Mapping[str, str] = field(default_factory=dict)
    """part of `predict` -> name of a layer of the module, which `infer` calls once: what that layer
    is given [n, E] comes back too, of a Sequential its last layer"""
    augment: Augmentation | None = None
    """what rows of `train` undergo in the steps, anew in every epoch; no others do, and not where
    `refresh` reads them"""
    side: Arrays = field(default_factory=dict)
    """columns of a second stream (unlabelled speech), drawn from in a shuffled round"""
    side_batch: int = 0
    """rows of the side stream a step; 0: there is none"""
    refresh: Callable[[NDArray[np.float32]], Refresh] | None = None
    """called after each epoch with eval-mode probabilities of all training rows; what it returns
    replaces training columns. Where there is none, that pass is saved"""
    collate: Collate | None = None
    """makes the tensors of a batch; asked for where a column is `Sequences`. The rows then stay
    where they are and only batches go to the device. `loss` is given the arrays of the whole batch,
    `forward` and `infer` what `collate` made of this worker's share"""

    eval_batch: int = 0
    """with `collate`, rows a pass when only scoring; 0 for twice `batch`"""
    lr_scale: Mapping[str, float] = field(default_factory=dict)
    """parameter name -> factor on `lr` for it alone; a name that ends in "." means all parameters
    of that module"""
    seed: int = 0
    """of initial weights, dropout and shuffling"""
    threads: int = 1
    """torch's threads in each worker; part of the result's last digits"""
    workers: int = 1
    """1 runs here; N starts N Ray Train workers of `threads` CPUs (or one GPU) each, all of which
    must see `scratch`"""
    device: Literal["cpu", "cuda"] = "cpu"
    cuda: Cuda = FAST
    """how a card computes"""
    memory: float | None = None
    """GB (10^9 bytes) that each of several workers may add to what it holds; None: any number"""
    scratch: Path | None = None
    """folder for checkpoints; what lies there is gone on from"""
    checkpoint_every: int = 0
    """epochs between checkpoints; 0 for none"""
    checkpoint_seconds: float = 0.0
    """and at least this long between them"""
    keep_weights: bool = False
    """give back the best weights too"""
    on_epoch: Callable[[int, float], None] | None = None
    """told (epoch from 1, its `monitor`) after each epoch, by the first worker alone; a training
    that goes on from a checkpoint tells the epochs before it once more"""

    def __post_init__(self) -> None:
        length(self.train, "train")
        if self.validation:
            length(self.validation, "validation")
        for name, floor in _FLOORS.items():
            if getattr(self, name) < floor:
                raise ValueError(
                    f"{name} must be at least {floor}, but got {getattr(self, name)!r}"
                )
        if not self.lr > 0:
            raise ValueError(f"lr must be above 0, but got {self.lr!r}")
        if not 0 < self.decay <= 1:
            raise ValueError(f"decay must lie in 0 .. 1, above 0, but got {self.decay!r}")
        if self.side_batch > 0 and (not self.side or length(self.side, "side") == 0):
            raise ValueError(
                f"side_batch={self.side_batch} needs a side stream with rows, but got none"
            )
        if self.side_batch > 0 and (self.collate is not None or self.accumulate > 1):
            raise ValueError("a side stream goes with neither collate nor accumulate > 1")
        if self.optimiser not in ("adam", "adamax"):
            raise ValueError(f"optimiser must be adam or adamax, but got {self.optimiser!r}")
        half = self.precision == "fp16" and self.device == "cpu"
        if half or self.precision not in ("fp32", "bf16", "fp16"):
            raise ValueError(
                f"precision must be fp32, bf16 or, on CUDA, fp16, but got {self.precision!r} on "
                f"{self.device}"
            )
        if self.collate is None:
            for columns in (self.train, self.validation, *self.predict.values()):
                ragged = [name for name, c in columns.items() if isinstance(c, Sequences)]
                if ragged:
                    raise ValueError(f"the columns {ragged} are ragged and need collate")

    @property
    def step(self) -> int:
        """Rows a step: `batch`, or all there are."""
        return min(self.batch, length(self.train, "train"))

    @property
    def wait(self) -> int:
        """Epochs without a new best score until the end: `patience`, in steps if need be."""
        steps = steps_of(length(self.train, "train"), self.step)
        return max(self.patience, -(-self.patience_steps // steps))


_FLOORS = {
    "batch": 1,
    "epochs": 1,
    "patience": 1,
    "patience_steps": 0,
    "threads": 1,
    "workers": 1,
    "bucket": 0,
    "eval_batch": 0,
    "accumulate": 1,
    "clip_norm": 0,
    "decay_every": 1,
}
