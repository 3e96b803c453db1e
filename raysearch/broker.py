"""The broker: one Ray actor that runs each stage once cluster-wide and persists what it made.

Trials ask it for folds. It looks in the store, joins a stage already in flight, or runs it as a
task on whatever node has room, and writes the result under its key. It owns the stages'
references, so its death loses only stages in flight; it may be restarted or re-created at any
moment, since all it knows is in the store.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import shutil
import signal
import socket
import time
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import ray
from numpy.typing import NDArray
from ray.exceptions import RayError, RayTaskError
from ray.util.scheduling_strategies import (
    NodeAffinitySchedulingStrategy,
    PlacementGroupSchedulingStrategy,
)

from raysearch.errors import StoreFailed
from raysearch.stages import Call, Dataset, Runtime, execute
from raysearch.store import Damaged, Provenance, Store
from trainables.stage import Artifact

__all__ = ["FoldOutcome", "StageFailed", "StoreFailed", "connect", "repairs"]

NAMESPACE = "raysearch"
# Ray's documented way to leave the caller's placement group; its annotation forbids it
_NO_GROUP = PlacementGroupSchedulingStrategy(placement_group=None)  # type: ignore[arg-type]
_KEPT = 64
"""parents' artifacts kept in Ray's object store, so that settings sharing a teacher read it once"""


class StageFailed(Exception):
    """A stage raised, died or took too long: its reason in one line."""


@dataclass(frozen=True)
class FoldOutcome:
    """What came of one fold of one trial."""

    validation: NDArray[np.float32]
    """[n, K] class probabilities"""
    test: NDArray[np.float32]
    uses: tuple[tuple[str, str, bool], ...]
    """(stage, key, made by this study), parents first"""
    ran: tuple[str, ...]
    """keys computed for this very demand"""
    seconds: float


@dataclass
class _Flight:
    task: asyncio.Task[Any]
    waiters: int = 0


@dataclass(frozen=True)
class _Made:
    artifact: Artifact
    provenance: Provenance
    ran: bool


@dataclass
class _Demand:
    """What one fold asks for, and what was computed on its behalf."""

    calls: Mapping[str, Call]
    study: str
    runtime: Runtime
    data: Any
    """[ObjectRef of the Dataset], in a list so that Ray hands it on unresolved"""
    touched: dict[str, Provenance] = field(default_factory=dict)
    ran: list[str] = field(default_factory=list)


class _Broker:
    def __init__(self, uri: str, scratch: str | None) -> None:
        self._store = Store(uri)
        self._scratch = scratch
        self._flights: dict[str, _Flight] = {}
        self._failures: dict[str, str] = {}
        self._parents: OrderedDict[str, Any] = OrderedDict()
        self._notes: list[str] = []

    async def fold(
        self, calls: Sequence[Call], study: str, runtime: Runtime, data: Any
    ) -> FoldOutcome:
        """Compute or find one fold's stages.

        Raises:
            StageFailed: with the reason, for the stage and all that hangs on it.
            StoreFailed: where the store cannot be written.
        """
        demand = _Demand({call.key: call for call in calls}, study, runtime, data)
        final = await self._get(calls[-1].key, demand)
        uses = []
        for call in calls:
            known = demand.touched.get(call.key)
            if known is None:  # an ancestor that nobody had to open
                known = await asyncio.to_thread(self._store.provenance, call.key)
            uses.append((call.name, call.key, known is not None and known.study == study))
        return FoldOutcome(
            validation=final.artifact.arrays["validation"],
            test=final.artifact.arrays["test"],
            uses=tuple(uses),
            ran=tuple(demand.ran),
            seconds=sum(demand.touched[key].seconds for key in demand.ran),
        )

    async def notes(self) -> list[str]:
        """Plain sentences about repairs since the last call."""
        notes, self._notes = self._notes, []
        return notes

    async def pid(self) -> int:
        return os.getpid()

    async def _get(self, key: str, demand: _Demand) -> _Made:
        flight = self._flights.get(key)
        mine = flight is None
        if flight is None:
            flight = _Flight(asyncio.ensure_future(self._produce(key, demand)))
            self._flights[key] = flight
            flight.task.add_done_callback(lambda _: self._flights.pop(key, None))
        flight.waiters += 1
        try:
            made: _Made = await asyncio.shield(flight.task)
        except asyncio.CancelledError:
            if flight.waiters == 1 and not flight.task.done():
                flight.task.cancel()  # nobody waits for it any more
            raise
        finally:
            flight.waiters -= 1
        demand.touched[key] = made.provenance
        if made.ran and mine:
            demand.ran.append(key)
        return made

    async def _produce(self, key: str, demand: _Demand) -> _Made:
        found = await self._load(key)
        if found is not None:
            return _Made(*found, ran=False)
        if key in self._failures:
            raise StageFailed(self._failures[key])
        call = demand.calls[key]
        roles = list(call.parents)
        made = await asyncio.gather(*(self._get(call.parents[role], demand) for role in roles))
        refs = [
            self._parent(call.parents[role], one.artifact)
            for role, one in zip(roles, made, strict=True)
        ]
        artifact, provenance = await self._run(call, demand, roles, refs)
        try:
            await asyncio.to_thread(self._store.put, key, artifact, provenance)
        except OSError as error:
            raise StoreFailed(f"{self._store.uri} cannot be written: {error}") from error
        if self._scratch is not None:  # its checkpoints have served
            await asyncio.to_thread(shutil.rmtree, Path(self._scratch, key), ignore_errors=True)
        return _Made(artifact, provenance, ran=True)

    async def _load(self, key: str) -> tuple[Artifact, Provenance] | None:
        try:
            return await asyncio.to_thread(self._store.get, key)
        except Damaged as damage:
            self._notes.append(
                f"artifact {key[:12]} in {self._store.uri} is damaged ({damage}); "
                "it is computed again"
            )
            await asyncio.to_thread(self._store.discard, key)
            return None
        except OSError as error:
            raise StoreFailed(f"{self._store.uri} cannot be read: {error}") from error

    def _parent(self, key: str, artifact: Artifact) -> Any:
        ref = self._parents.pop(key, None)
        if ref is None:
            ref = ray.put(artifact)
        self._parents[key] = ref
        while len(self._parents) > _KEPT:
            self._parents.popitem(last=False)
        return ref

    async def _run(
        self, call: Call, demand: _Demand, roles: list[str], refs: list[Any]
    ) -> tuple[Artifact, Provenance]:
        runtime = demand.runtime
        group = runtime.workers > 1
        scratch = None if self._scratch is None else str(Path(self._scratch, call.key))
        ref = _run_stage.options(
            name=f"{call.name}@{call.fold}",
            # a worker group brings its own resources; the task that starts it only waits
            num_cpus=0 if group else runtime.cpus,
            num_gpus=0 if group else runtime.gpus,
            # outside the placement group of whichever trial asked first
            scheduling_strategy=_NO_GROUP,
        ).remote(call, demand.study, runtime, demand.data[0], scratch, roles, *refs)
        try:
            result: tuple[Artifact, Provenance] = await ref
            return result
        except asyncio.CancelledError:
            ray.cancel(ref)
            raise
        except RayTaskError as error:
            reason = _reason(call, error.cause)
            self._failures[call.key] = reason
            raise StageFailed(reason) from None
        except RayError as error:
            raise StageFailed(
                f"stage {call.name!r}: its worker was lost: {type(error).__name__}: "
                f"{str(error).strip().splitlines()[0]}"
            ) from None


def _reason(call: Call, cause: BaseException) -> str:
    text = str(cause).strip().splitlines()
    return f"stage {call.name!r}: {type(cause).__name__}: {text[0] if text else 'no message'}"


@contextlib.contextmanager
def _limited(seconds: float | None) -> Iterator[None]:
    """Raise TimeoutError in this process's main thread, where Ray runs tasks, after so long."""
    if seconds is None:
        yield
        return

    def stop(number: int, frame: FrameType | None) -> None:
        raise TimeoutError(f"it took longer than timeout={seconds:g} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@ray.remote(num_cpus=1)
def _run_stage(
    call: Call,
    study: str,
    runtime: Runtime,
    dataset: Dataset,
    scratch: str | None,
    roles: list[str],
    *parents: Artifact,
) -> tuple[Artifact, Provenance]:
    started = time.monotonic()
    device = "cuda" if runtime.gpus > 0 else "cpu"
    with _limited(runtime.timeout):
        made = execute(
            call,
            dataset,
            dict(zip(roles, parents, strict=True)),
            runtime,
            device,  # type: ignore[arg-type]
            None if scratch is None else Path(scratch),
        )
    seconds = time.monotonic() - started
    return made, Provenance(
        study, call.name, round(seconds, 4), device, socket.gethostname(), time.time()
    )


_Actor = ray.remote(max_restarts=-1, max_task_retries=-1, num_cpus=0)(_Broker)
_AT_ONCE = 10_000
"""folds that may wait at once"""


def connect(uri: str, *, scratch: str | None = None) -> Any:
    """The handle of the store's broker, which is created where there is none.

    A broker of a local store runs on the driver's node, where the store's disk is.
    """
    name = f"broker-{hashlib.sha256(uri.encode()).hexdigest()[:16]}"
    options: dict[str, Any] = {"name": name, "namespace": NAMESPACE, "get_if_exists": True}
    options["max_concurrency"] = _AT_ONCE
    if Store(uri).local:
        here = ray.get_runtime_context().get_node_id()
        options["scheduling_strategy"] = NodeAffinitySchedulingStrategy(here, soft=False)
    broker: Any = _Actor.options(**options).remote(uri, scratch)
    ray.get(broker.pid.remote())
    return broker


def repairs(broker: Any) -> list[str]:
    """What the broker had to mend since this was last asked, as plain sentences."""
    try:
        notes: list[str] = ray.get(broker.notes.remote(), timeout=10)
    except RayError:  # it is gone, and what it had to say with it
        return []
    return notes
