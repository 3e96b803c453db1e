"""What a Ray worker does for the broker: it runs one stage within its limits, and tells epochs."""

from __future__ import annotations

import importlib
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import ray

from raysearch.stages.dataset import Dataset
from raysearch.stages.executor import Watch, timed
from raysearch.stages.keys import Call
from raysearch.stages.limits import time_limit
from raysearch.stages.running import Runtime
from raysearch.stages.store import Provenance
from trainables.memory import memory_limit
from trainables.stage import Array, Artifact

if TYPE_CHECKING:
    from ray.actor import ActorHandle

_EVERY = 1.0
"""seconds between two messages of one stage that is watched at every epoch"""


class EpochSender:
    """A stage's `on_epoch`: sends epochs to the broker when they are due, and never waits.

    It travels with the stage to its worker, and with a worker group to the group's first worker.

    Args:
        broker: its handle.
        key: the stage's.
        watch: which epochs are due.
        clock: seconds, for tests.
    """

    def __init__(
        self,
        broker: ActorHandle,
        key: str,
        watch: Watch,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._broker = broker
        self._key = key
        self._factor = watch.factor
        self._due = float(watch.first)
        self._waiting: list[tuple[int, float]] = []
        self._clock = clock
        self._last = -math.inf

    def __call__(self, epoch: int, score: float) -> None:
        self._waiting.append((epoch, float(score)))
        now = self._clock()
        if epoch < self._due or (self._factor is None and now - self._last < _EVERY):
            return
        while self._factor is not None and self._due <= epoch:
            self._due *= self._factor
        self._broker.add_epochs.remote(self._key, self._waiting)
        self._waiting, self._last = [], now


@dataclass(frozen=True)
class Beginning:
    """Tells the broker that a stage has begun, where the broker has to know.

    Args:
        broker: its handle.
        node: its node.
    """

    broker: ActorHandle
    node: str

    def __call__(self, key: str, timeout: float | None) -> None:
        here = ray.get_runtime_context().get_node_id()
        if timeout is not None or here != self.node:
            self.broker.begin.remote(key, timeout, here)


_datasets: dict[str, Dataset] = {}
"""the dataset that this worker last ran a stage on, by reference"""


def _dataset(ref: ray.ObjectRef) -> Dataset:
    """The study's data, taken from Ray's store once a worker."""
    name = ref.hex()
    if name not in _datasets:
        _datasets.clear()
        data: Dataset = ray.get(ref)
        _datasets[name] = replace(data, origins={one: _Frames(ref, one) for one in data.frames})
    return _datasets[name]


@dataclass(frozen=True)
class _Frames:
    """An origin of frames: each node has the study's data in Ray's store, once for all processes.

    Ray Train puts all that a training is given into the store, once a training; a wave among it
    would be there again for each of the trainings that run side by side.
    """

    data: ray.ObjectRef
    name: str

    def __call__(self) -> Array:
        values: Array = _dataset(self.data).frames[self.name].values
        return values


def _run(
    call: Call,
    study: str,
    runtime: Runtime,
    data: list[ray.ObjectRef],
    scratch: Path | None,
    sender: EpochSender | None,
    begin: Beginning,
    *needs: Artifact,
) -> tuple[Artifact, Provenance]:
    """Run one stage.

    Args:
        call, study, runtime: of the demand.
        data: [reference of the Dataset]: in a list, so that Ray hands it on unread.
        scratch: the stage's folder for checkpoints.
        sender: where its epochs are watched.
        begin: tells the broker.
        needs: the artifacts of `call.needs`.
    """
    begin(call.key, runtime.timeout)
    with time_limit(runtime.timeout), memory_limit(runtime.share):
        return timed(call, study, runtime, _dataset(data[0]), needs, scratch, sender)


def _warm(module: str) -> None:
    """Import what trainings need, torch above all; a stage says itself what it lacks."""
    importlib.import_module(module).load_libraries()


def warm_up(processes: int, cpus: float) -> None:
    """Let the processes that stages will run in load torch, while the search itself starts.

    Args:
        processes: how many stages run at once.
        cpus: of each.
    """
    task = ray.remote(max_retries=0)(_warm).options(num_cpus=cpus)
    for _ in range(processes):
        task.remote("trainables.loop")


run_stage = ray.remote(num_cpus=1)(_run)
# CUDA binds a process to the cards that it saw first: a process used again would run stages on
# these, whatever card Ray gives it. Ray takes `max_calls` here alone, not among a call's options.
run_stage_on_card = ray.remote(num_cpus=1, num_gpus=1, max_calls=1)(_run)
