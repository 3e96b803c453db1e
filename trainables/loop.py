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
from pathlib import Path
from typing import Any

from trainables.optimisation import Fit, train_epochs
from trainables.passes import NonFinite
from trainables.training import Training as Training


def fit(training: Training) -> Fit:
    """Train until validation stops improving, and predict with the best epoch's weights.

    Raises:
        NonFinite: a loss term or a prediction is not finite
    """
    import ray.train
    from ray.train.torch import TorchTrainer

    def train_loop_per_worker() -> Any:
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
        except ray.train.WorkerGroupError as error:
            for failure in error.worker_failures.values():
                for cause in (failure, getattr(failure, "cause", None), failure.__cause__):
                    if isinstance(cause, NonFinite):
                        raise NonFinite(*cause.args) from error
            raise
