"""The epochs of one training: steps, scores, the best weights, and going on after an interruption.

Every worker runs `train_epochs`; it asks torch.distributed alone how many there are.
"""

from __future__ import annotations

import copy
import functools
import itertools
import logging
import math
import os
import time
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor, nn

from trainables import workers
from trainables.augmentation import Augmenter
from trainables.memory import reuse_memory
from trainables.passes import NonFinite, cast, probabilities_of, quiet_corner, with_layer
from trainables.rows import Arrays, Batch, Dense, Ragged, Rows, tensors
from trainables.training import LossTerms, Training

log = logging.getLogger(__name__)

STATE = "checkpoint.pt"


@dataclass(frozen=True)
class Fit:
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


def _device(job: Training) -> torch.device:
    if job.device == "cpu":
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise ValueError("device='cuda' needs a CUDA device, but torch sees none here")
    # Ray gives each worker its own visible card(s); the first is its own.
    return torch.device("cuda", torch.cuda.current_device())


def _table(job: Training, columns: Arrays, device: torch.device) -> Dense | Ragged:
    if job.collate is None:
        return Dense(columns, device)
    return Ragged(columns, device, job.collate, job.bucket, job.eval_batch or 2 * job.step)


def _optimiser(job: Training, module: nn.Module) -> torch.optim.Optimizer:
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


def _placed(loss: LossTerms, device: torch.device) -> LossTerms:
    """A loss whose arrays (class weights) are on the device once, and not sent at each step."""
    if not isinstance(loss, functools.partial):
        return loss
    arrays = {n: v for n, v in loss.keywords.items() if isinstance(v, np.ndarray)}
    return functools.partial(loss, **tensors(arrays, device))


class _Side:
    """Rounds through the side stream, reshuffled at each, `size` rows a step."""

    def __init__(
        self, rows: int, size: int, generator: torch.Generator, device: torch.device
    ) -> None:
        self.rows, self.size, self.generator = rows, size, generator
        self.order = torch.empty(0, dtype=torch.int64, device=device)

    def next(self) -> Tensor:
        while len(self.order) < self.size:
            fresh = torch.randperm(self.rows, generator=self.generator)
            self.order = torch.cat([self.order, fresh.to(self.order.device)])
        batch, self.order = self.order[: self.size], self.order[self.size :]
        return batch


def train_epochs(job: Training) -> Fit:
    """The train_loop_per_worker."""
    reuse_memory()
    device = _device(job)
    # where batches are of many shapes, cuDNN would time its algorithms at almost every step
    cuda = replace(job.cuda, benchmark=job.cuda.benchmark and job.collate is None)
    with quiet_corner(job.threads, device, cuda):
        return _Run(job, device).whole()


class _Run:
    """One training on one worker: the state between epochs, and how it is saved."""

    def __init__(self, job: Training, device: torch.device) -> None:
        self.job, self.device = job, device
        torch.manual_seed(job.seed)
        self.module = job.build().to(device)
        if workers.rank() > 0:
            # Weights start alike; dropout must not.
            torch.manual_seed(job.seed + workers.rank())
        self.generator = torch.Generator().manual_seed(job.seed)
        self.optimiser = _optimiser(job, self.module)
        self.loss = _placed(job.loss, device)
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
        self.augmenter = (
            None if job.augment is None else Augmenter(job.augment, job.train, job.seed)
        )
        self.side: _Side | None = None
        if job.side_batch > 0:
            self.side_rows = Dense(job.side, device)
            self.side = _Side(self.side_rows.total, job.side_batch, self.generator, device)
        self.validation = _table(job, job.validation, device) if job.validation else None
        self.epoch = 0
        self.curves: dict[str, list[float]] = {}
        self.best: dict[str, Tensor] = {}
        self.best_epoch, self.best_score = 0, -math.inf
        self.refreshed: dict[str, Tensor] = {}
        self.last_save = time.monotonic()
        self.stepping = 0.0

    def whole(self) -> Fit:
        self._restore()
        for epoch, score in enumerate(self.curves.get(self.job.monitor, ()), start=1):
            self._tell(epoch, score)
        while self.epoch < self.job.epochs and (
            self.validation is None or self.epoch - self.best_epoch < self.job.wait
        ):
            self._one_epoch()
            self._save()
        self.module.load_state_dict(self.best)
        parts, layers = {}, {}
        for name, columns in self.job.predict.items():
            if not len(next(iter(columns.values()))):
                continue
            table, layer = _table(self.job, columns, self.device), self.job.embed.get(name)
            how = (self.module, table, self.job.infer, self.job.precision)
            link = self.job.link
            if layer is None:
                parts[name] = probabilities_of(*how, link)
            else:
                parts[name], layers[name] = with_layer(*how, layer, link)
            self._check_predictions(name, parts[name])
        weights = {name: value.cpu() for name, value in self.best.items()}
        idle = self.rows.idle if isinstance(self.rows, Ragged) else 0.0
        return Fit(
            probabilities=parts,
            layers=layers,
            curves=self.curves,
            best_epoch=self.best_epoch,
            best_score=None if self.validation is None else self.best_score,
            epochs=self.epoch,
            weights=weights if self.job.keep_weights else None,
            busy=1.0 - idle / self.stepping if self.stepping > 0 else 1.0,
        )

    def _one_epoch(self) -> None:
        job = self.job
        self.epoch += 1
        values = {"lr": float(self.optimiser.param_groups[0]["lr"])}
        values |= self._steps()
        score: float | None = None
        if self.validation is not None:
            probabilities = probabilities_of(
                self.module, self.validation, job.infer, job.precision, job.link
            )
            self._check_predictions("validation", probabilities)
            values |= {name: float(value) for name, value in job.score(probabilities).items()}
            score = values[job.monitor]
            if not math.isfinite(score):
                raise NonFinite(f"{job.monitor} is {score} after epoch {self.epoch}")
        if job.refresh is not None:
            probabilities = probabilities_of(
                self.module, self.rows, job.infer, job.precision, job.link
            )
            fresh = job.refresh(probabilities)
            self.refreshed = tensors(fresh.columns, self.device)
            self.rows.replace(self.refreshed)
            values |= fresh.curves
        for name, value in values.items():
            self.curves.setdefault(name, []).append(value)
        if score is not None:
            self.plateau.step(score)
        factor = job.plateau_factor ** list(job.cuts).count(self.epoch)
        if self.epoch % job.decay_every == 0:
            factor *= job.decay
        for group in self.optimiser.param_groups:
            group["lr"] *= factor
        if score is None:
            if self.epoch == job.epochs:
                self._keep_weights()
            return
        if score > self.best_score:
            self.best_score = score
            self._keep_weights()
        self._tell(self.epoch, score)

    def _keep_weights(self) -> None:
        """Those of this epoch are the best so far."""
        self.best_epoch, state = self.epoch, self.module.state_dict()
        if not self.best:
            self.best = copy.deepcopy(state)
            return
        for name, value in state.items():  # into the memory that is there: no page is new
            self.best[name].copy_(value)

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
            for index in self.rows.batches(self.generator, self.job.step)
        ]
        losses: list[tuple[int, dict[str, Tensor]]] = []
        draws = None if self.augmenter is None else self.augmenter.epoch(self.epoch)
        batches = self.rows.each(itertools.chain.from_iterable(plan), draws)
        for parts in plan:
            rows = sum(map(len, parts))
            for _ in parts:
                batch = next(batches)
                losses.append((batch.total, self._backward(batch, batch.total / rows)))
            self._update()
        means = self._means(losses)
        self.stepping += time.perf_counter() - start
        return {"loss": sum(means.values())} | {f"loss_{n}": v for n, v in means.items()}

    def _means(self, losses: list[tuple[int, dict[str, Tensor]]]) -> dict[str, float]:
        """The mean of each loss term over an epoch, weighted by rows: (rows, terms) by batch.

        The host reads all of them at once, here: a card that is asked at each step waits for it.
        """
        read = iter(torch.stack([x for _, terms in losses for x in terms.values()]).tolist())
        sums: dict[str, float] = {}
        for rows, terms in losses:
            values = {name: next(read) for name in terms}
            if not all(map(math.isfinite, values.values())):
                terms_now = ", ".join(f"{name} = {value:g}" for name, value in values.items())
                raise NonFinite(f"the loss is not finite in epoch {self.epoch}: {terms_now}")
            for name, value in values.items():
                sums[name] = sums.get(name, 0.0) + value * rows
        return {name: value / self.rows.total for name, value in sums.items()}

    def _backward(self, batch: Batch, share: float) -> dict[str, Tensor]:
        """Add the gradients of a batch, which is `share` of the rows of its step; its losses."""
        outputs = self._outputs(batch)
        side_outputs: dict[str, Tensor] = {}
        side_rows: Rows = {}
        if self.side is not None:
            side = self.side_rows.take(self.side.next())
            side_outputs, side_rows = self._outputs(side), side.rows
        terms = self.loss(self.module, outputs, batch.rows, side_outputs, side_rows)
        losses = torch.stack(list(terms.values()))
        self.scaler.scale(losses.sum() * share if share != 1.0 else losses.sum()).backward()
        return dict(zip(terms, losses.detach().unbind(), strict=True))

    def _update(self) -> None:
        """One step of the optimiser with the gradients there are."""
        workers.average_gradients(self.module, agree=self.job.collate is not None)
        if self.job.clip_norm > 0:
            self.scaler.unscale_(self.optimiser)
            torch.nn.utils.clip_grad_norm_(self.module.parameters(), self.job.clip_norm)
        self.scaler.step(self.optimiser)
        self.scaler.update()
        self.optimiser.zero_grad(set_to_none=True)

    def _outputs(self, batch: Batch) -> dict[str, Tensor]:
        """Outputs for the whole batch; this worker runs its share alone."""
        with cast(self.job.precision, self.device):
            if self.job.forward is None:
                outputs = {"logits": self.job.infer(self.module, batch.own)}
            else:
                outputs = self.job.forward(self.module, batch.own)
        if self.job.precision != "fp32":
            outputs = {n: o.float() if o.is_floating_point() else o for n, o in outputs.items()}
        if batch.count == 0:
            outputs = {name: output[:0] for name, output in outputs.items()}
        return workers.gather(outputs, batch.total)

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
        due = time.monotonic() - self.last_save >= job.checkpoint_seconds
        if workers.count() > 1:
            # The first worker's clock decides, or some would wait in a gather for others.
            vote = [due]
            dist.broadcast_object_list(vote, src=0)
            due = vote[0]
        if not due:
            return
        if workers.count() > 1:
            random = [None] * workers.count()
            dist.all_gather_object(random, self._random())
        self.last_save = time.monotonic()
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
            self.side.order = state["side"].to(self.device)
        self.refreshed = {n: c.to(self.device) for n, c in state["refreshed"].items()}
        self.rows.replace(self.refreshed)
        self.curves = state["curves"]
        self.best = {n: v.to(self.device) for n, v in state["best"].items()}
        self.best_epoch, self.best_score = state["best_epoch"], state["best_score"]
