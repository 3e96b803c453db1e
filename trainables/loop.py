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
import logging
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from trainables.epochs import Fitted, Forward, Job, Loss, Optimiser, Refresh, train_epochs
from trainables.passes import NonFinite, Precision
from trainables.rows import Arrays, Collate, Rows, length
from trainables.stage import Sequences

__all__ = ["fit"]


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
    cuts: Sequence[int] = (),
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
        cuts: the step size is multiplied by `plateau_factor` after each of these epochs too,
            whatever the score
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
    job = Job(
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
        cuts=tuple(cuts),
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


def _launch(job: Job, workers: int) -> Fitted:
    """Run the loop under Ray Train and return what its first worker returned."""
    import ray.train
    from ray.train.torch import TorchTrainer

    def train_loop_per_worker() -> Any:
        return train_epochs(job)

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
