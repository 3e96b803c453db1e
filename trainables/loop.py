"""The one training loop: a Ray Train `train_loop_per_worker`, and the only file that names it.

`fit` trains a module on arrays, or on rows of different lengths (`Sequences`) beside arrays, which
a function of the method collates batch by batch. With one worker Ray Train runs the loop in this
process (its local mode: same code, no cluster, under a millisecond); with N it starts a worker
group (gloo on CPU, nccl on CUDA). The loop itself asks torch.distributed alone how many it is.

N workers compute what one does. A global batch is cut into N slices, each worker passes its own
through the network, and the rows that come out are gathered, with gradient, before the loss is
taken, because losses such as the relative difficulty compare rows of the whole batch. Gradients
are then averaged. Losses agree with one worker's to rounding (1e-5 relative, without dropout;
dropout masks differ by worker).

One seed gives one result on one kind of machine, whatever its cores: threads are set, shuffling
has its own generator, and the caller's random state is left as it was.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import itertools
import logging
import math
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor, nn

from trainables import workers
from trainables.rows import Arrays, Collate, Dense, Ragged, Rows, Taken, length, tensors
from trainables.stage import Sequences

__all__ = [
    "Fitted",
    "NonFinite",
    "Refresh",
    "fit",
    "predictor",
    "read",
]

log = logging.getLogger(__name__)

Precision = Literal["fp32", "bf16", "fp16"]
Optimiser = Literal["adam", "adamax"]
STATE = "checkpoint.pt"


class NonFinite(ArithmeticError):
    """A loss or a prediction is NaN or infinite; the message names the epoch and the terms."""


class Forward(Protocol):
    """One pass in training: rows of a batch -> named outputs, each [rows, ...]."""

    def __call__(self, module: Any, rows: Rows) -> dict[str, Tensor]: ...


class Loss(Protocol):
    """Outputs of the global (and the side) batch -> named terms, whose sum is minimised."""

    def __call__(
        self, module: Any, outputs: Rows, rows: Rows, side_outputs: Rows, side_rows: Rows
    ) -> dict[str, Tensor]: ...


@dataclass(frozen=True)
class Refresh:
    """What a hook after an epoch gives back."""

    columns: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    """training columns that replace those of the same name from the next epoch on"""
    curves: Mapping[str, float] = field(default_factory=dict)
    """further values to record for this epoch"""


@dataclass(frozen=True)
class Fitted:
    """What training gave. All that it holds can be pickled."""

    probabilities: dict[str, NDArray[np.float32]]
    """[n, K] of each part asked for, by the weights of the best epoch"""
    curves: dict[str, list[float]]
    """a value an epoch: loss, each loss term, lr, what `score` and `refresh` returned"""
    best_epoch: int
    """counted from 1"""
    best_score: float | None
    """None where there was no validation part"""
    epochs: int
    """epochs trained, until the patience ended or the limit was reached"""
    weights: dict[str, Tensor] | None = None
    """state of the best epoch, on the CPU, where `keep_weights` asked for it"""
    layers: dict[str, NDArray[np.float32]] = field(default_factory=dict)
    """[n, E] of the parts that `embed` names, in the same pass"""
    busy: float = 1.0
    """share of the time of the training steps that was not spent waiting for rows; a fact about
    the machine, of no part in what a stage returns"""

    @property
    def facts(self) -> dict[str, Any]:
        """What an artifact's `info` tells of a training."""
        return {
            "curves": self.curves,
            "best_epoch": self.best_epoch,
            "best_validation_ua": self.best_score,
            "epochs": self.epochs,
        }


@dataclass(frozen=True)
class _Job:
    """The arguments of `fit`, as they travel to a worker."""

    build: Callable[[], nn.Module]
    forward: Forward
    infer: Callable[[Any, Rows], Tensor]
    loss: Loss
    score: Callable[[NDArray[np.float32]], Mapping[str, float]]
    monitor: str
    train: Arrays
    validation: Arrays
    predict: Mapping[str, Arrays]
    embed: Mapping[str, str]
    side: Arrays
    side_batch: int
    refresh: Callable[[NDArray[np.float32]], Refresh] | None
    batch: int
    lr: float
    lr_scale: Mapping[str, float]
    weight_decay: float
    epochs: int
    patience: int
    plateau_patience: int
    plateau_factor: float
    decay: float
    decay_every: int
    adam_eps: float
    seed: int
    threads: int
    device: Literal["cpu", "cuda"]
    scratch: Path | None
    checkpoint_every: int
    checkpoint_seconds: float
    keep_weights: bool
    on_epoch: Callable[[int, float], None] | None
    collate: Collate | None
    bucket: int
    eval_batch: int
    precision: Precision
    accumulate: int
    clip_norm: float
    optimiser: Optimiser


def fit(
    *,
    build: Callable[[], nn.Module],
    forward: Forward,
    infer: Callable[[Any, Rows], Tensor],
    loss: Loss,
    score: Callable[[NDArray[np.float32]], Mapping[str, float]],
    train: Arrays,
    validation: Arrays,
    predict: Mapping[str, Arrays],
    embed: Mapping[str, str] | None = None,
    side: Arrays | None = None,
    side_batch: int = 0,
    refresh: Callable[[NDArray[np.float32]], Refresh] | None = None,
    monitor: str = "validation_ua",
    batch: int = 64,
    lr: float = 2e-4,
    lr_scale: Mapping[str, float] | None = None,
    weight_decay: float = 0.0,
    epochs: int = 100,
    patience: int = 5,
    plateau_patience: int = 2,
    plateau_factor: float = 1.0,
    decay: float = 1.0,
    decay_every: int = 1,
    adam_eps: float = 1e-8,
    seed: int = 0,
    threads: int = 1,
    workers: int = 1,
    device: Literal["cpu", "cuda"] = "cpu",
    scratch: Path | None = None,
    checkpoint_every: int = 0,
    checkpoint_seconds: float = 0.0,
    keep_weights: bool = False,
    on_epoch: Callable[[int, float], None] | None = None,
    collate: Collate | None = None,
    bucket: int = 16,
    eval_batch: int = 0,
    precision: Precision = "fp32",
    accumulate: int = 1,
    clip_norm: float = 0.0,
    optimiser: Optimiser = "adam",
) -> Fitted:
    """Train until validation stops improving, and predict with the best epoch's weights.

    Args:
        build: makes the module; called once a worker, right after seeding
        forward: (module, rows) -> outputs by name, one row each; `rows` holds `train`'s columns
            (or `side`'s) for a slice of the batch
        infer: (module, rows) -> logits [n, K], in eval mode without gradient
        loss: (module, outputs, rows, side outputs, side rows) -> terms by name, scalars; all of
            the global batch. The side mappings are empty where there is no side stream
        score: validation probabilities [n, K] -> values by name; needs `monitor`, to be maximised
        train: columns [n, ...] by name; with `collate` also `Sequences` of n rows
        validation: columns [n, ...] that `infer` reads. Without columns there is no validation:
            the training ends after `epochs`, whose last weights are the best, no plateau cuts the
            step size, and `score` and `on_epoch` are not called
        predict: parts to predict in the end, each with the columns that `infer` reads
        embed: part of `predict` -> name of a layer of the module, which `infer` calls once: what
            that layer is given [n, E] comes back too, of a Sequential its last layer
        side: columns of a second stream (unlabelled speech), drawn from in a shuffled round
        side_batch: rows of the side stream a step
        refresh: called after each epoch with eval-mode probabilities of all training rows; what
            it returns replaces training columns. Where there is none, that pass is saved
        monitor: the entry of `score` that stops the training and steers the learning rate
        batch: rows a step, over all workers; a last batch of one row joins the one before it
        lr: the optimiser's step size, > 0
        lr_scale: parameter name -> factor on `lr` for it alone; a name that ends in "." means all
            parameters of that module
        weight_decay: the optimiser's L2 term
        epochs: at most, >= 1
        patience: epochs without a new best score until the end, >= 1
        plateau_patience, plateau_factor: ReduceLROnPlateau on `monitor`; factor 1 leaves the step
            size as it is
        decay, decay_every: the step size is multiplied by `decay`, in (0, 1], after every
            `decay_every` epochs, whatever the score
        adam_eps: Adam's term in the denominator (Keras: 1e-7)
        seed: of initial weights, dropout and shuffling
        threads: torch's threads in each worker; part of the result's last digits
        workers: 1 runs here; N starts N Ray Train workers of `threads` CPUs (or one GPU) each,
            all of which must see `scratch`
        device: where to train
        scratch: folder for checkpoints; what lies there is gone on from
        checkpoint_every: epochs between checkpoints; 0 for none
        checkpoint_seconds: and at least this long between them
        keep_weights: give back the best weights too
        on_epoch: told (epoch from 1, its `monitor`) after each epoch, by the first worker alone;
            a training that goes on from a checkpoint tells the epochs before it once more
        collate: makes the tensors of a batch; asked for where a column is `Sequences`. The rows
            then stay where they are and only batches go to the device. `loss` is given the arrays
            of the whole batch, `forward` and `infer` what `collate` made of this worker's share
        bucket: with `collate`, batches are formed by length within `bucket` of them at a time
            (`by_length`); 0 forms them of any lengths
        eval_batch: with `collate`, rows a pass when only scoring; 0 for twice `batch`
        precision: bf16 and fp16 run the network under autocast (fp16 on CUDA alone, with a scaled
            loss); weights and losses stay float32
        accumulate: a step's batch is passed through the network in so many parts, and their
            gradients added; the same step where the loss is a mean over rows
        clip_norm: gradients longer than this (L2, over all parameters) are cut to it; 0 for never
        optimiser: Adam, or Adamax (the largest gradient so far in place of their second moment)

    Raises:
        NonFinite: a loss term or a prediction is not finite
        ValueError: nothing to train on, or an argument outside its range
    """
    rows = length(train, "train")
    if validation:
        length(validation, "validation")
    for name, value, floor in (
        ("batch", batch, 1),
        ("epochs", epochs, 1),
        ("patience", patience, 1),
        ("threads", threads, 1),
        ("workers", workers, 1),
        ("bucket", bucket, 0),
        ("eval_batch", eval_batch, 0),
        ("accumulate", accumulate, 1),
        ("clip_norm", clip_norm, 0),
        ("decay_every", decay_every, 1),
    ):
        if value < floor:
            raise ValueError(f"{name} must be at least {floor}, but got {value!r}")
    if not lr > 0:
        raise ValueError(f"lr must be above 0, but got {lr!r}")
    if not 0 < decay <= 1:
        raise ValueError(f"decay must lie in 0 .. 1, above 0, but got {decay!r}")
    if side_batch > 0 and (side is None or length(side, "side") == 0):
        raise ValueError(f"side_batch={side_batch} needs a side stream with rows, but got none")
    if side_batch > 0 and (collate is not None or accumulate > 1):
        raise ValueError("a side stream goes with neither collate nor accumulate > 1")
    if optimiser not in ("adam", "adamax"):
        raise ValueError(f"optimiser must be adam or adamax, but got {optimiser!r}")
    if precision not in ("fp32", "bf16", "fp16") or (precision == "fp16" and device == "cpu"):
        raise ValueError(
            f"precision must be fp32, bf16 or, on CUDA, fp16, but got {precision!r} on {device}"
        )
    if collate is None:
        for columns in (train, validation, *predict.values()):
            ragged = [name for name, c in columns.items() if isinstance(c, Sequences)]
            if ragged:
                raise ValueError(f"the columns {ragged} are ragged and need collate")
    job = _Job(
        build=build,
        forward=forward,
        infer=infer,
        loss=loss,
        score=score,
        monitor=monitor,
        train=train,
        validation=validation,
        predict=predict,
        embed=dict(embed or {}),
        side=side if side is not None and side_batch > 0 else {},
        side_batch=side_batch,
        refresh=refresh,
        batch=min(batch, rows),
        lr=lr,
        lr_scale=dict(lr_scale or {}),
        weight_decay=weight_decay,
        epochs=epochs,
        patience=patience,
        plateau_patience=plateau_patience,
        plateau_factor=plateau_factor,
        decay=decay,
        decay_every=decay_every,
        adam_eps=adam_eps,
        seed=seed,
        threads=threads,
        device=device,
        scratch=scratch,
        checkpoint_every=checkpoint_every,
        checkpoint_seconds=checkpoint_seconds,
        keep_weights=keep_weights,
        on_epoch=on_epoch,
        collate=collate,
        bucket=bucket,
        eval_batch=eval_batch or 2 * min(batch, rows),
        precision=precision,
        accumulate=accumulate,
        clip_norm=clip_norm,
        optimiser=optimiser,
    )
    return _launch(job, workers)


def read(
    *,
    build: Callable[[], nn.Module],
    weights: Mapping[str, Tensor],
    infer: Callable[[Any, Rows], Tensor],
    columns: Arrays,
    collate: Collate,
    eval_batch: int = 128,
    threads: int = 1,
    device: Literal["cpu", "cuda"] = "cpu",
) -> NDArray[np.float32]:
    """What a trained module gives for rows [n, ...]: frozen, in eval mode and without gradients.

    Args:
        build: makes the module
        weights: its state, as `Fitted.weights` holds it
        infer: (module, rows) -> [n, ...], any outputs
        columns, collate, eval_batch, threads, device: as for `fit`
    """
    length(columns, "columns")
    place = torch.device(device)
    with _quiet_corner(threads, place), torch.inference_mode():
        module = build().to(place)
        module.load_state_dict(weights)
        module.eval().requires_grad_(False)
        table = Ragged(columns, place, collate, 0, eval_batch)
        return table.in_order(table.logits(functools.partial(infer, module))).cpu().numpy()


# --- Ray Train ------------------------------------------------------------------------------


def _launch(job: _Job, workers: int) -> Fitted:
    """Run the loop under Ray Train and return what its first worker returned."""
    import ray.train
    from ray.train.torch import TorchTrainer

    def train_loop_per_worker() -> Any:
        return _train(job)

    # Ray announces its local mode at every fit; a search has thousands.
    noisy = logging.getLogger("ray.train.v2.api.config")
    level = noisy.level
    with contextlib.ExitStack() as stack:
        stack.callback(noisy.setLevel, level)
        noisy.setLevel(logging.WARNING)
        if workers == 1:
            trainer = TorchTrainer(
                train_loop_per_worker, scaling_config=ray.train.ScalingConfig(num_workers=0)
            )
        else:
            # Nothing is reported through Ray Train's storage, but it insists on a folder that
            # all workers see.
            folder = job.scratch or Path(stack.enter_context(tempfile.TemporaryDirectory()))
            on_gpu = job.device == "cuda"
            trainer = TorchTrainer(
                train_loop_per_worker,
                scaling_config=ray.train.ScalingConfig(
                    num_workers=workers,
                    use_gpu=on_gpu,
                    resources_per_worker={"GPU": 1} if on_gpu else {"CPU": job.threads},
                ),
                run_config=ray.train.RunConfig(
                    name="fit",
                    storage_path=str(Path(folder).absolute() / "ray-train"),
                ),
            )
        try:
            result: Any = trainer.fit()
            return result.return_value
        except ray.train.WorkerGroupError as error:
            for failure in error.worker_failures.values():
                for cause in (failure, getattr(failure, "cause", None), failure.__cause__):
                    if isinstance(cause, NonFinite):
                        raise NonFinite(*cause.args) from error
            raise


# --- The loop -------------------------------------------------------------------------------


@contextlib.contextmanager
def _quiet_corner(threads: int, device: torch.device) -> Iterator[None]:
    """torch's threads set, and the caller's threads and random state put back afterwards."""
    before = torch.get_num_threads()
    cards = [torch.cuda.current_device()] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=cards):
        torch.set_num_threads(threads)
        try:
            yield
        finally:
            torch.set_num_threads(before)


def _device(job: _Job) -> torch.device:
    if job.device == "cpu":
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise ValueError("device='cuda' needs a CUDA device, but torch sees none here")
    # Ray gives each worker its own visible card(s); the first is its own.
    return torch.device("cuda", torch.cuda.current_device())


def _table(job: _Job, columns: Arrays, device: torch.device) -> Dense | Ragged:
    if job.collate is None:
        return Dense(columns, device)
    return Ragged(columns, device, job.collate, job.bucket, job.eval_batch)


def _cast(precision: Precision, device: torch.device) -> contextlib.AbstractContextManager[Any]:
    if precision == "fp32":
        return contextlib.nullcontext()
    dtype = torch.bfloat16 if precision == "bf16" else torch.float16
    return torch.autocast(device.type, dtype=dtype)


class _Pass(Protocol):
    """What a pass without gradient must know."""

    @property
    def infer(self) -> Callable[[Any, Rows], Tensor]: ...
    @property
    def precision(self) -> Precision: ...


@dataclass(frozen=True)
class _Use:
    """A trained network in use."""

    infer: Callable[[Any, Rows], Tensor]
    precision: Precision


def predictor(
    *,
    build: Callable[[], nn.Module],
    weights: Mapping[str, NDArray[Any]],
    infer: Callable[[Any, Rows], Tensor],
    collate: Collate | None = None,
    bucket: int = 16,
    batch: int = 64,
    precision: Precision = "fp32",
) -> Callable[[Arrays], NDArray[np.float32]]:
    """A trained network as a function: columns of n rows -> class probabilities [n, K].

    It runs in this process on one thread of the CPU, and needs no Ray.

    Args:
        build: makes the module, whose weights are replaced
        weights: its whole state, by name
        infer, collate, bucket, precision: as in `fit`
        batch: with `collate`, rows a pass

    Raises (the function that it gives):
        NonFinite: a prediction is NaN or infinite
        ValueError: no rows, or columns of unlike lengths
    """
    cpu = torch.device("cpu")
    with _quiet_corner(1, cpu):
        module = build()
    module.load_state_dict({n: torch.as_tensor(np.array(w)) for n, w in weights.items()})

    def predict(columns: Arrays) -> NDArray[np.float32]:
        length(columns, "what is predicted")
        table = (
            Dense(columns, cpu) if collate is None else Ragged(columns, cpu, collate, bucket, batch)
        )
        with _quiet_corner(1, cpu):
            made = _probabilities(_Use(infer, precision), module, table)
        bad = int((~np.isfinite(made)).any(axis=1).sum())
        if bad:
            raise NonFinite(f"{bad} of {len(made)} predictions are not finite")
        return made

    return predict


def _probabilities(job: _Pass, module: nn.Module, table: Dense | Ragged) -> NDArray[np.float32]:
    """Eval-mode softmax [n, K] of all rows; each worker does its share and all get the whole."""
    module.eval()
    with torch.inference_mode(), _cast(job.precision, table.device):
        own = table.logits(functools.partial(job.infer, module))
    with torch.inference_mode():
        return _whole(torch.softmax(own.float(), dim=-1), table)


def _whole(own: Tensor, table: Dense | Ragged) -> NDArray[np.float32]:
    """Every worker's rows [n, ...], in the order of the columns."""
    whole = workers.exchange(own, table.total) if workers.count() > 1 else own
    return table.in_order(whole).cpu().numpy()


def _with_layer(
    job: _Job, module: nn.Module, table: Dense | Ragged, name: str
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """`_probabilities`, and what the layer of that name was given [n, E] on the way."""
    seen: list[Tensor] = []

    def look(layer: nn.Module, given: tuple[Tensor, ...]) -> None:
        seen.append(given[0].float())

    layer = module.get_submodule(name)
    last = layer[-1] if isinstance(layer, nn.Sequential) else layer
    hook = last.register_forward_pre_hook(look)
    try:
        probabilities = _probabilities(job, module, table)
    finally:
        hook.remove()
    with torch.inference_mode():
        # a worker without rows passes one through the network and drops it
        share = workers.share(table.total)
        return probabilities, _whole(torch.cat(seen)[: share.stop - share.start], table)


def _optimiser(job: _Job, module: nn.Module) -> torch.optim.Optimizer:
    groups: dict[str, dict[str, Any]] = {"": {"params": [], "lr": job.lr}}
    for name, parameter in module.named_parameters():
        mine = (n for n in job.lr_scale if name == n or (n.endswith(".") and name.startswith(n)))
        own = next(mine, "")
        group = groups.setdefault(own, {"params": [], "lr": job.lr * job.lr_scale.get(own, 1.0)})
        group["params"].append(parameter)
    if unknown := set(job.lr_scale) - set(groups):
        raise ValueError(f"lr_scale names unknown parameters {sorted(unknown)}")
    parameters = list(groups.values())
    if job.optimiser == "adamax":
        return torch.optim.Adamax(
            parameters, lr=job.lr, eps=job.adam_eps, weight_decay=job.weight_decay
        )
    return torch.optim.Adam(
        parameters, lr=job.lr, eps=job.adam_eps, weight_decay=job.weight_decay, fused=True
    )


class _Side:
    """Rounds through the side stream, reshuffled at each, `size` rows a step."""

    def __init__(self, rows: int, size: int, generator: torch.Generator) -> None:
        self.rows, self.size, self.generator = rows, size, generator
        self.order = torch.empty(0, dtype=torch.int64)

    def next(self) -> Tensor:
        while len(self.order) < self.size:
            fresh = torch.randperm(self.rows, generator=self.generator)
            self.order = torch.cat([self.order, fresh])
        taken, self.order = self.order[: self.size], self.order[self.size :]
        return taken


def _train(job: _Job) -> Fitted:
    """The train_loop_per_worker."""
    device = _device(job)
    if device.type == "cuda":
        # cuBLAS needs this for repeatable sums; it is read when its first handle is made.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    with _quiet_corner(job.threads, device):
        return _Run(job, device).whole()


class _Run:
    """One training on one worker: the state between epochs, and how it is saved."""

    def __init__(self, job: _Job, device: torch.device) -> None:
        self.job, self.device = job, device
        torch.manual_seed(job.seed)
        self.module = job.build().to(device)
        if workers.rank() > 0:
            # Weights start alike; dropout must not.
            torch.manual_seed(job.seed + workers.rank())
        self.generator = torch.Generator().manual_seed(job.seed)
        self.optimiser = _optimiser(job, self.module)
        # torch refuses a factor of 1: without patience to lose, the step size stays.
        cuts = job.plateau_factor < 1.0
        self.plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(
            self.optimiser,
            mode="max",
            factor=job.plateau_factor if cuts else 0.1,
            patience=job.plateau_patience if cuts else job.epochs,
        )
        self.scaler = torch.amp.GradScaler(device.type, enabled=job.precision == "fp16")
        self.rows = _table(job, job.train, device)
        self.side: _Side | None = None
        if job.side:
            self.side_rows = Dense(job.side, device)
            self.side = _Side(self.side_rows.total, job.side_batch, self.generator)
        self.validation = _table(job, job.validation, device) if job.validation else None
        self.epoch = 0
        self.curves: dict[str, list[float]] = {}
        self.best: dict[str, Tensor] = {}
        self.best_epoch, self.best_score = 0, -math.inf
        self.refreshed: dict[str, Tensor] = {}
        self.saved = time.monotonic()
        self.stepping = 0.0

    def whole(self) -> Fitted:
        self._restore()
        for epoch, score in enumerate(self.curves.get(self.job.monitor, ()), start=1):
            self._tell(epoch, score)
        while self.epoch < self.job.epochs and (
            self.validation is None or self.epoch - self.best_epoch < self.job.patience
        ):
            self._one_epoch()
            self._save()
        self.module.load_state_dict(self.best)
        parts, layers = {}, {}
        for name, columns in self.job.predict.items():
            if not len(next(iter(columns.values()))):
                continue
            table = _table(self.job, columns, self.device)
            layer = self.job.embed.get(name)
            if layer is None:
                parts[name] = _probabilities(self.job, self.module, table)
            else:
                parts[name], layers[name] = _with_layer(self.job, self.module, table, layer)
            self._check_predictions(name, parts[name])
        kept = {name: value.cpu() for name, value in self.best.items()}
        waited = self.rows.waited if isinstance(self.rows, Ragged) else 0.0
        return Fitted(
            probabilities=parts,
            layers=layers,
            curves=self.curves,
            best_epoch=self.best_epoch,
            best_score=None if self.validation is None else self.best_score,
            epochs=self.epoch,
            weights=kept if self.job.keep_weights else None,
            busy=1.0 - waited / self.stepping if self.stepping > 0 else 1.0,
        )

    def _one_epoch(self) -> None:
        job = self.job
        self.epoch += 1
        values = {"lr": float(self.optimiser.param_groups[0]["lr"])}
        values |= self._steps()
        score: float | None = None
        if self.validation is not None:
            probabilities = _probabilities(job, self.module, self.validation)
            self._check_predictions("validation", probabilities)
            values |= {name: float(value) for name, value in job.score(probabilities).items()}
            score = values[job.monitor]
            if not math.isfinite(score):
                raise NonFinite(f"{job.monitor} is {score} after epoch {self.epoch}")
        if job.refresh is not None:
            fresh = job.refresh(_probabilities(job, self.module, self.rows))
            self.refreshed = tensors(fresh.columns, self.device)
            self.rows.replace(self.refreshed)
            values |= fresh.curves
        for name, value in values.items():
            self.curves.setdefault(name, []).append(value)
        if score is not None:
            self.plateau.step(score)
        if self.epoch % job.decay_every == 0:
            for group in self.optimiser.param_groups:
                group["lr"] *= job.decay
        if score is None:
            if self.epoch == job.epochs:
                self.best_epoch, self.best = self.epoch, copy.deepcopy(self.module.state_dict())
            return
        if score > self.best_score:
            self.best_epoch, self.best_score = self.epoch, score
            self.best = copy.deepcopy(self.module.state_dict())
        self._tell(self.epoch, score)

    def _tell(self, epoch: int, score: float) -> None:
        if self.job.on_epoch is not None and workers.rank() == 0:
            self.job.on_epoch(epoch, score)

    def _steps(self) -> dict[str, float]:
        """One pass over the training rows; the mean of each loss term, weighted by rows."""
        self.module.train()
        start = time.perf_counter()
        plan = [
            # a batch in `accumulate` parts, as far as it has rows for them
            index.tensor_split(min(self.job.accumulate, len(index)))
            for index in self.rows.batches(self.generator, self.job.batch)
        ]
        sums: dict[str, float] = {}
        taken = self.rows.each(itertools.chain.from_iterable(plan))
        for parts in plan:
            rows = sum(map(len, parts))
            for _ in parts:
                batch = next(taken)
                for name, value in self._backward(batch, batch.total / rows).items():
                    sums[name] = sums.get(name, 0.0) + value * batch.total
            self._update()
        self.stepping += time.perf_counter() - start
        means = {name: value / self.rows.total for name, value in sums.items()}
        return {"loss": sum(means.values())} | {f"loss_{n}": v for n, v in means.items()}

    def _backward(self, batch: Taken, share: float) -> dict[str, float]:
        """Add the gradients of a batch, which is `share` of the rows of its step."""
        outputs = self._outputs(batch)
        side_outputs: dict[str, Tensor] = {}
        side_rows: Rows = {}
        if self.side is not None:
            side = self.side_rows.take(self.side.next())
            side_outputs, side_rows = self._outputs(side), side.rows
        terms = self.job.loss(self.module, outputs, batch.rows, side_outputs, side_rows)
        stacked = torch.stack(list(terms.values()))
        values = dict(zip(terms, stacked.detach().tolist(), strict=True))
        if not all(map(math.isfinite, values.values())):
            told = ", ".join(f"{name} = {value:g}" for name, value in values.items())
            raise NonFinite(f"the loss is not finite in epoch {self.epoch}: {told}")
        self.scaler.scale(stacked.sum() * share if share != 1.0 else stacked.sum()).backward()
        return values

    def _update(self) -> None:
        """One step of the optimiser with the gradients there are."""
        workers.average_gradients(self.module, agree=self.job.collate is not None)
        if self.job.clip_norm > 0:
            self.scaler.unscale_(self.optimiser)
            torch.nn.utils.clip_grad_norm_(self.module.parameters(), self.job.clip_norm)
        self.scaler.step(self.optimiser)
        self.scaler.update()
        self.optimiser.zero_grad(set_to_none=True)

    def _outputs(self, batch: Taken) -> dict[str, Tensor]:
        """Outputs for the whole batch; this worker runs its share alone."""
        with _cast(self.job.precision, self.device):
            outputs = self.job.forward(self.module, batch.own)
        if self.job.precision != "fp32":
            outputs = {n: o.float() if o.is_floating_point() else o for n, o in outputs.items()}
        if batch.count == 0:
            outputs = {name: output[:0] for name, output in outputs.items()}
        return workers.gathered(outputs, batch.total)

    def _check_predictions(self, name: str, values: NDArray[np.float32]) -> None:
        bad = int((~np.isfinite(values)).any(axis=1).sum())
        if bad:
            raise NonFinite(
                f"{bad} of {len(values)} predictions on the {name} part are not finite after "
                f"epoch {self.epoch}"
            )

    # Checkpoints: the whole state, so that an interrupted run goes on as if it had not been.

    def _random(self) -> list[Tensor]:
        state = [torch.get_rng_state()]
        if self.device.type == "cuda":
            state.append(torch.cuda.get_rng_state(self.device))
        return state

    def _save(self) -> None:
        job = self.job
        if job.scratch is None or job.checkpoint_every <= 0 or self.epoch % job.checkpoint_every:
            return
        random: list[Any] = [self._random()]
        due = time.monotonic() - self.saved >= job.checkpoint_seconds
        if workers.count() > 1:
            # The first worker's clock decides, or some would wait in a gather for others.
            told = [due]
            dist.broadcast_object_list(told, src=0)
            due = told[0]
        if not due:
            return
        if workers.count() > 1:
            random = [None] * workers.count()
            dist.all_gather_object(random, self._random())
        self.saved = time.monotonic()
        if workers.rank() > 0:
            return
        state = {
            "epoch": self.epoch,
            "module": self.module.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "plateau": self.plateau.state_dict(),
            "generator": self.generator.get_state(),
            "random": random,
            "scaler": self.scaler.state_dict(),
            "side": self.side.order.clone() if self.side is not None else None,
            "refreshed": self.refreshed,
            "curves": self.curves,
            "best": self.best,
            "best_epoch": self.best_epoch,
            "best_score": self.best_score,
        }
        job.scratch.mkdir(parents=True, exist_ok=True)
        aside = job.scratch / f"{STATE}.{os.getpid()}"
        with aside.open("wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, job.scratch / STATE)

    def _restore(self) -> None:
        path = None if self.job.scratch is None else self.job.scratch / STATE
        if path is None or not path.is_file():
            return
        state = torch.load(path, map_location="cpu", weights_only=True)
        if len(state["random"]) != workers.count():
            # Another number of workers shares no dropout masks; the start is the same for all.
            log.info("%s is of %d workers; starting anew", path, len(state["random"]))
            return
        self.epoch = state["epoch"]
        self.module.load_state_dict(state["module"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.plateau.load_state_dict(state["plateau"])
        self.scaler.load_state_dict(state["scaler"])
        self.generator.set_state(state["generator"])
        random = state["random"][workers.rank()]
        torch.set_rng_state(random[0])
        if self.device.type == "cuda" and len(random) > 1:
            torch.cuda.set_rng_state(random[1], self.device)
        if self.side is not None:
            self.side.order = state["side"]
        self.refreshed = {n: c.to(self.device) for n, c in state["refreshed"].items()}
        self.rows.replace(self.refreshed)
        self.curves = state["curves"]
        self.best = {n: v.to(self.device) for n, v in state["best"].items()}
        self.best_epoch, self.best_score = state["best_epoch"], state["best_score"]
