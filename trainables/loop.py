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
has its own generator, and the caller's random state is left as it was. A CUDA card repeats its
results only where `Training.cuda` says so.
"""

from __future__ import annotations

import contextlib
import logging
import tempfile
from pathlib import Path
from typing import Any

from trainables.memory import memory_limit
from trainables.optimisation import Fit, train_epochs
from trainables.training import Training as Training


def load_libraries() -> None:
    """Load what `fit` uses, so that the first training of a process need not wait for it."""
    from ray.train.torch import TorchTrainer  # noqa: F401


def fit(training: Training) -> Fit:
    """Train until validation stops improving, and predict with the best epoch's weights.

    Raises:
        NonFinite: a loss term or a prediction is not finite
        Exception: whatever else a worker raised, or Ray's error of a worker that was lost
    """
    import ray.train
    from ray.train.torch import TorchTrainer

    def train_loop_per_worker() -> Any:
        if training.workers == 1:  # its own process has the limit
            return train_epochs(training)
        with memory_limit(training.memory):
            return train_epochs(training)

    # Ray announces its local mode at every fit; a search has thousands.
    noisy = logging.getLogger("ray.train.v2.api.config")
    level = noisy.level
    with contextlib.ExitStack() as stack:
        stack.callback(noisy.setLevel, level)
        noisy.setLevel(logging.WARNING)
        if training.workers == 1:
            trainer = TorchTrainer(
                train_loop_per_worker, scaling_config=ray.train.ScalingConfig(num_workers=0)
            )
        else:
            # Nothing is reported through Ray Train's storage, but it insists on a folder that
            # all workers see.
            folder = training.scratch or Path(stack.enter_context(tempfile.TemporaryDirectory()))
            on_gpu = training.device == "cuda"
            trainer = TorchTrainer(
                train_loop_per_worker,
                scaling_config=ray.train.ScalingConfig(
                    num_workers=training.workers,
                    use_gpu=on_gpu,
                    resources_per_worker={"GPU": 1} if on_gpu else {"CPU": training.threads},
                ),
                run_config=ray.train.RunConfig(
                    name="fit", storage_path=str(Path(folder).absolute() / "ray-train")
                ),
            )
        try:
            result: Any = trainer.fit()
            return result.return_value
        except ray.train.TrainingFailedError as error:
            raise cause_of(error) from error


def cause_of(error: Exception) -> Exception:
    """What a worker group failed of, without what Ray Train wraps it in.

    What the training itself raised goes before the loss of a worker: where one worker fails, the
    others are lost with it.
    """
    failures = list(getattr(error, "worker_failures", {}).values())
    controller = getattr(error, "controller_failure", None)
    causes = [_innermost(each) for each in [*failures, *([controller] if controller else [])]]
    own = [each for each in causes if not type(each).__module__.startswith("ray.")]
    return next(iter([*own, *causes]), error)


def _innermost(error: Exception) -> Exception:
    """The error that Ray and Ray Train have wrapped, through as many wrappings as there are."""
    inner: Any = error
    while True:
        wrapped = getattr(inner, "_base_exc", None) or getattr(inner, "cause", None)
        if not isinstance(wrapped, Exception):
            return inner
        inner = wrapped
