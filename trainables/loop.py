"""The one training loop: a Ray Train `train_loop_per_worker`, and the only file that names it.

`fit` trains a module on arrays. With one worker Ray Train runs the loop in this process (its
local mode: same code, no cluster, under a millisecond); with N it starts a worker group (gloo on
CPU, nccl on CUDA). The loop itself asks torch.distributed alone how many it is.

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

__all__ = ["Fitted", "NonFinite", "Refresh", "batches", "fit"]

log = logging.getLogger(__name__)

Arrays = Mapping[str, NDArray[Any]]
Rows = Mapping[str, Tensor]
EVAL_ROWS = 4096
"""rows a pass when only scoring"""
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
    best_score: float
    epochs: int
    """epochs trained, until the patience ended or the limit was reached"""
    weights: dict[str, Tensor] | None = None
    """state of the best epoch, on the CPU, where `keep_weights` asked for it"""


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
    seed: int
    threads: int
    device: Literal["cpu", "cuda"]
    scratch: Path | None
    checkpoint_every: int
    checkpoint_seconds: float
    keep_weights: bool


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
    seed: int = 0,
    threads: int = 1,
    workers: int = 1,
    device: Literal["cpu", "cuda"] = "cpu",
    scratch: Path | None = None,
    checkpoint_every: int = 0,
    checkpoint_seconds: float = 0.0,
    keep_weights: bool = False,
) -> Fitted:
    """Train with Adam until validation stops improving, and predict with the best epoch's weights.

    Args:
        build: makes the module; called once a worker, right after seeding
        forward: (module, rows) -> outputs by name, one row each; `rows` holds `train`'s columns
            (or `side`'s) for a slice of the batch
        infer: (module, rows) -> logits [n, K], in eval mode without gradient
        loss: (module, outputs, rows, side outputs, side rows) -> terms by name, scalars; all of
            the global batch. The side mappings are empty where there is no side stream
        score: validation probabilities [n, K] -> values by name; needs `monitor`, to be maximised
        train: columns [n, ...] by name
        validation: columns [n, ...] that `infer` reads
        predict: parts to predict in the end, each with the columns that `infer` reads
        side: columns of a second stream (unlabelled speech), drawn from in a shuffled round
        side_batch: rows of the side stream a step
        refresh: called after each epoch with eval-mode probabilities of all training rows; what
            it returns replaces training columns. Where there is none, that pass is saved
        monitor: the entry of `score` that stops the training and steers the learning rate
        batch: rows a step, over all workers; a last batch of one row joins the one before it
        lr: Adam's step size, > 0
        lr_scale: parameter name -> factor on `lr` for it alone
        weight_decay: Adam's L2 term
        epochs: at most, >= 1
        patience: epochs without a new best score until the end, >= 1
        plateau_patience, plateau_factor: ReduceLROnPlateau on `monitor`; factor 1 leaves the step
            size as it is
        seed: of initial weights, dropout and shuffling
        threads: torch's threads in each worker; part of the result's last digits
        workers: 1 runs here; N starts N Ray Train workers of `threads` CPUs (or one GPU) each,
            all of which must see `scratch`
        device: where to train
        scratch: folder for checkpoints; what lies there is gone on from
        checkpoint_every: epochs between checkpoints; 0 for none
        checkpoint_seconds: and at least this long between them
        keep_weights: give back the best weights too

    Raises:
        NonFinite: a loss term or a prediction is not finite
        ValueError: nothing to train on, or an argument outside its range
    """
    rows = _length(train, "train")
    _length(validation, "validation")
    for name, value, floor in (
        ("batch", batch, 1),
        ("epochs", epochs, 1),
        ("patience", patience, 1),
        ("threads", threads, 1),
        ("workers", workers, 1),
    ):
        if value < floor:
            raise ValueError(f"{name} must be at least {floor}, but got {value!r}")
    if not lr > 0:
        raise ValueError(f"lr must be above 0, but got {lr!r}")
    if side_batch > 0 and (side is None or _length(side, "side") == 0):
        raise ValueError(f"side_batch={side_batch} needs a side stream with rows, but got none")
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
        seed=seed,
        threads=threads,
        device=device,
        scratch=scratch,
        checkpoint_every=checkpoint_every,
        checkpoint_seconds=checkpoint_seconds,
        keep_weights=keep_weights,
    )
    return _launch(job, workers)


def _length(columns: Arrays, name: str) -> int:
    lengths = {len(column) for column in columns.values()}
    if len(lengths) != 1 or 0 in lengths:
        raise ValueError(
            f"{name} needs columns of one length above 0, but got the lengths {sorted(lengths)}"
        )
    return lengths.pop()


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


# --- Workers --------------------------------------------------------------------------------


def _workers() -> int:
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def _rank() -> int:
    return dist.get_rank() if _workers() > 1 else 0


def _cuts(rows: int) -> list[int]:
    """Bounds of each worker's slice of `rows` rows; slices differ by one row at most."""
    n = _workers()
    return [rows * i // n for i in range(n + 1)]


def _exchange(own: Tensor, rows: int) -> Tensor:
    """All workers' slices [own rows, ...] as one [rows, ...]."""
    cuts = _cuts(rows)
    sizes = [b - a for a, b in itertools.pairwise(cuts)]
    padded = own.new_zeros((max(sizes), *own.shape[1:]))
    padded[: len(own)] = own
    parts = [torch.empty_like(padded) for _ in sizes]
    dist.all_gather(parts, padded)
    return torch.cat([part[:size] for part, size in zip(parts, sizes, strict=True)])


class _Gather(torch.autograd.Function):
    """`_exchange` with gradient.

    Every worker computes the same loss from the gathered rows, so the gradient of a worker's own
    rows is already complete there. It is multiplied by the number of workers because gradients
    of parameters are averaged afterwards; a parameter that the loss reads directly (a proxy) has
    the same gradient on every worker, and the average leaves it alone.
    """

    @staticmethod
    def forward(ctx: Any, own: Tensor, rows: int) -> Tensor:
        ctx.rows = rows
        return _exchange(own, rows)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        cuts = _cuts(ctx.rows)
        return grads[0][cuts[_rank()] : cuts[_rank() + 1]] * _workers(), None


def _gathered(outputs: dict[str, Tensor], rows: int) -> dict[str, Tensor]:
    if _workers() == 1:
        return outputs
    # In the order of names: collectives must come in one order everywhere.
    return {name: _Gather.apply(outputs[name], rows) for name in sorted(outputs)}


def _average_gradients(module: nn.Module) -> None:
    if _workers() == 1:
        return
    grads = [p.grad for p in module.parameters() if p.grad is not None]
    flat = torch.cat([g.flatten() for g in grads])
    dist.all_reduce(flat)
    flat /= _workers()
    for grad, part in zip(grads, flat.split([g.numel() for g in grads]), strict=True):
        grad.copy_(part.view_as(grad))


# --- The loop -------------------------------------------------------------------------------


def batches(rows: int, size: int) -> list[tuple[int, int]]:
    """Bounds of batches of `size` rows; a last one of a single row joins the one before it.

    A batch of one row has no batch statistics, and pair losses say nothing about it.

    Example:
        >>> batches(9, 4)
        [(0, 4), (4, 9)]
        >>> batches(10, 4)
        [(0, 4), (4, 8), (8, 10)]
    """
    starts = list(range(0, rows, size))
    if len(starts) > 1 and rows - starts[-1] == 1:
        starts.pop()
    return list(zip(starts, [*starts[1:], rows], strict=True))


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


def _tensors(columns: Arrays, device: torch.device) -> dict[str, Tensor]:
    # Ray hands out read-only views; torch warns about those, and nothing here writes to them.
    return {
        name: torch.as_tensor(np.require(column, requirements=["C", "W"]), device=device)
        for name, column in columns.items()
    }


def _probabilities(
    infer: Callable[[Any, Rows], Tensor], module: nn.Module, rows: Rows
) -> NDArray[np.float32]:
    """Eval-mode softmax [n, K] of all rows; each worker does its share and all get the whole."""
    total = len(next(iter(rows.values())))
    cuts = _cuts(total)
    start, stop = cuts[_rank()], cuts[_rank() + 1]
    module.eval()
    with torch.inference_mode():
        parts = [
            infer(module, {name: c[a : min(a + EVAL_ROWS, stop)] for name, c in rows.items()})
            for a in range(start, stop, EVAL_ROWS)
        ] or [infer(module, {name: column[:0] for name, column in rows.items()})]
        own = torch.softmax(torch.cat(parts).float(), dim=-1)
        whole = _exchange(own, total) if _workers() > 1 else own
        return whole.cpu().numpy()


def _optimiser(job: _Job, module: nn.Module) -> torch.optim.Optimizer:
    scaled = dict(job.lr_scale)
    groups: list[dict[str, Any]] = [{"params": [], "lr": job.lr}]
    for name, parameter in module.named_parameters():
        if name in scaled:
            groups.append({"params": [parameter], "lr": job.lr * scaled.pop(name)})
        else:
            groups[0]["params"].append(parameter)
    if scaled:
        raise ValueError(f"lr_scale names unknown parameters {sorted(scaled)}")
    return torch.optim.Adam(groups, lr=job.lr, weight_decay=job.weight_decay, fused=True)


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
        if _rank() > 0:
            # Weights start alike; dropout must not.
            torch.manual_seed(job.seed + _rank())
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
        self.rows = _tensors(job.train, device)
        self.side_rows = _tensors(job.side, device)
        self.side: _Side | None = None
        if self.side_rows:
            side_total = len(next(iter(self.side_rows.values())))
            self.side = _Side(side_total, job.side_batch, self.generator)
        self.validation = _tensors(job.validation, device)
        self.epoch = 0
        self.curves: dict[str, list[float]] = {}
        self.best: dict[str, Tensor] = {}
        self.best_epoch, self.best_score = 0, -math.inf
        self.refreshed: dict[str, Tensor] = {}
        self.saved = time.monotonic()

    def whole(self) -> Fitted:
        self._restore()
        while self.epoch < self.job.epochs and self.epoch - self.best_epoch < self.job.patience:
            self._one_epoch()
            self._save()
        self.module.load_state_dict(self.best)
        parts = {
            name: _probabilities(self.job.infer, self.module, _tensors(columns, self.device))
            for name, columns in self.job.predict.items()
            if len(next(iter(columns.values())))
        }
        for name, values in parts.items():
            self._check_predictions(name, values)
        kept = {name: value.cpu() for name, value in self.best.items()}
        return Fitted(
            probabilities=parts,
            curves=self.curves,
            best_epoch=self.best_epoch,
            best_score=self.best_score,
            epochs=self.epoch,
            weights=kept if self.job.keep_weights else None,
        )

    def _one_epoch(self) -> None:
        job = self.job
        self.epoch += 1
        values = {"lr": float(self.optimiser.param_groups[0]["lr"])}
        values |= self._steps()
        probabilities = _probabilities(job.infer, self.module, self.validation)
        self._check_predictions("validation", probabilities)
        values |= {name: float(value) for name, value in job.score(probabilities).items()}
        score = values[job.monitor]
        if not math.isfinite(score):
            raise NonFinite(f"{job.monitor} is {score} after epoch {self.epoch}")
        if job.refresh is not None:
            fresh = job.refresh(_probabilities(job.infer, self.module, self.rows))
            self.refreshed = _tensors(fresh.columns, self.device)
            self.rows |= self.refreshed
            values |= fresh.curves
        for name, value in values.items():
            self.curves.setdefault(name, []).append(value)
        self.plateau.step(score)
        if score > self.best_score:
            self.best_epoch, self.best_score = self.epoch, score
            self.best = copy.deepcopy(self.module.state_dict())

    def _steps(self) -> dict[str, float]:
        """One pass over the training rows; the mean of each loss term, weighted by rows."""
        self.module.train()
        total = len(next(iter(self.rows.values())))
        order = torch.randperm(total, generator=self.generator)
        sums: dict[str, float] = {}
        for start, stop in batches(total, self.job.batch):
            terms = self._step(order[start:stop])
            for name, value in terms.items():
                sums[name] = sums.get(name, 0.0) + value * (stop - start)
        means = {name: value / total for name, value in sums.items()}
        return {"loss": sum(means.values())} | {f"loss_{n}": v for n, v in means.items()}

    def _step(self, index: Tensor) -> dict[str, float]:
        outputs, rows = self._pass(self.rows, index)
        side_outputs: dict[str, Tensor] = {}
        side_rows: dict[str, Tensor] = {}
        if self.side is not None:
            side_outputs, side_rows = self._pass(self.side_rows, self.side.next())
        terms = self.job.loss(self.module, outputs, rows, side_outputs, side_rows)
        stacked = torch.stack(list(terms.values()))
        values = dict(zip(terms, stacked.detach().tolist(), strict=True))
        if not all(map(math.isfinite, values.values())):
            told = ", ".join(f"{name} = {value:g}" for name, value in values.items())
            raise NonFinite(f"the loss is not finite in epoch {self.epoch}: {told}")
        self.optimiser.zero_grad(set_to_none=True)
        stacked.sum().backward()
        _average_gradients(self.module)
        self.optimiser.step()
        return values

    def _pass(self, columns: Rows, index: Tensor) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Outputs and columns of the whole batch `index`; this worker runs its share alone."""
        index = index.to(self.device)
        rows = {name: column.index_select(0, index) for name, column in columns.items()}
        own = rows
        if _workers() > 1:
            cuts = _cuts(len(index))
            share = slice(cuts[_rank()], cuts[_rank() + 1])
            own = {name: column[share] for name, column in rows.items()}
        return _gathered(self.job.forward(self.module, own), len(index)), rows

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
        if _workers() > 1:
            # The first worker's clock decides, or some would wait in a gather for others.
            told = [due]
            dist.broadcast_object_list(told, src=0)
            due = told[0]
        if not due:
            return
        if _workers() > 1:
            random = [None] * _workers()
            dist.all_gather_object(random, self._random())
        self.saved = time.monotonic()
        if _rank() > 0:
            return
        state = {
            "epoch": self.epoch,
            "module": self.module.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "plateau": self.plateau.state_dict(),
            "generator": self.generator.get_state(),
            "random": random,
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
        if len(state["random"]) != _workers():
            # Another number of workers shares no dropout masks; the start is the same for all.
            log.info("%s is of %d workers; starting anew", path, len(state["random"]))
            return
        self.epoch = state["epoch"]
        self.module.load_state_dict(state["module"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.plateau.load_state_dict(state["plateau"])
        self.generator.set_state(state["generator"])
        random = state["random"][_rank()]
        torch.set_rng_state(random[0])
        if self.device.type == "cuda" and len(random) > 1:
            torch.cuda.set_rng_state(random[1], self.device)
        if self.side is not None:
            self.side.order = state["side"]
        self.refreshed = {n: c.to(self.device) for n, c in state["refreshed"].items()}
        self.rows |= self.refreshed
        self.curves = state["curves"]
        self.best = {n: v.to(self.device) for n, v in state["best"].items()}
        self.best_epoch, self.best_score = state["best_epoch"], state["best_score"]
