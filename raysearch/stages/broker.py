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
import math
import os
import re
import resource
import shutil
import signal
import socket
import sys
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import ray
from numpy.typing import NDArray
from ray.exceptions import (
    OutOfMemoryError,
    RayActorError,
    RayError,
    RayTaskError,
)
from ray.util.scheduling_strategies import (
    NodeAffinitySchedulingStrategy,
    PlacementGroupSchedulingStrategy,
)

from raysearch.errors import StoreFailed, one_line
from raysearch.stages import Call, Dataset, Runtime, execute
from raysearch.stages.store import Damaged, Provenance, Store
from trainables.stage import CURVE, Artifact

NAMESPACE = "raysearch"
# Ray's documented way to leave the caller's placement group; its annotation forbids it
_NO_GROUP = PlacementGroupSchedulingStrategy(placement_group=None)  # type: ignore[arg-type]
_KEPT = 64
"""parents' artifacts kept in Ray's object store, so that settings sharing a teacher read it once"""
_EVERY = 1.0
"""seconds between two reports of one stage that is watched at every epoch"""


_GRACE = 5.0
"""seconds in which a stage told to stop does so itself; after them its process is killed"""
_PAUSES = (1.0, 4.0, 12.0)
"""seconds before each further try of a stage whose worker was lost; a dead node is seen by then"""
_LOOK = 0.2
"""seconds between two looks at a stage that another Ray cluster's broker has claimed"""
_TRACE = 40
"""lines of a failed stage's traceback that are kept"""
_PATIENCE = 3600.0
"""seconds after which such a stage is run here all the same: its broker may be stopped for good"""


class StageFailed(Exception):
    """A stage raised, died or took too long.

    Args:
        reason: in one line.
        trace: the last lines of what it said, as of a traceback; '' where there is none.
    """

    def __init__(self, reason: str, trace: str = "") -> None:
        super().__init__(reason, trace)  # both, so that it comes whole through a pickle
        self.trace = trace

    def __str__(self) -> str:
        return str(self.args[0])


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
    curve: tuple[float, ...] = ()
    """validation scores by epoch, where the scored stage's artifact has them"""


@dataclass(frozen=True)
class Watch:
    """Which epochs of a scored stage are worth a message while it trains."""

    first: int
    """nothing is said before this epoch"""
    factor: float | None
    """then at first * factor, first * factor^2, ...; None: about once a second"""


@dataclass
class _Flight:
    task: asyncio.Task[Any]
    waiters: int = 0
    told: list[tuple[int, float]] = field(default_factory=list)
    """(epoch, score) so far, epochs ascending"""


@dataclass
class _Running:
    """A stage's task, and the clock of its time limit."""

    ref: Any
    clock: asyncio.TimerHandle | None = None
    overdue: bool = False
    """whether its worker was killed for it"""

    def cut(self) -> None:
        self.overdue = True
        ray.cancel(self.ref, force=True)

    def stop(self) -> None:
        if self.clock is not None:
            self.clock.cancel()


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
    watch: Watch | None
    scored: str
    """key of the last stage, the one that is watched"""
    touched: dict[str, Provenance] = field(default_factory=dict)
    ran: list[str] = field(default_factory=list)


class _Broker:
    def __init__(self, uri: str, scratch: str | None) -> None:
        self._store = Store(uri)
        self._scratch = scratch
        self._flights: dict[str, _Flight] = {}
        self._failures: dict[str, tuple[str, str]] = {}
        self._running: dict[str, _Running] = {}
        self._parents: OrderedDict[str, Any] = OrderedDict()
        self._notes: list[str] = []
        self._heard = asyncio.Condition()

    async def fold(
        self,
        calls: Sequence[Call],
        study: str,
        runtime: Runtime,
        data: Any,
        watch: Watch | None = None,
    ) -> FoldOutcome:
        """Compute or find one fold's stages; where it is watched, `news` tells its epochs.

        Raises:
            StageFailed: with the reason, for the stage and all that hangs on it.
            StoreFailed: where the store cannot be written.
        """
        demand = _Demand(
            {call.key: call for call in calls}, study, runtime, data, watch, calls[-1].key
        )
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
            curve=tuple(final.artifact.info.get("curves", {}).get(CURVE, ())) if watch else (),
        )

    async def epochs(self, key: str, told: Sequence[tuple[int, float]]) -> None:
        """A stage in flight reports (epoch, score). Epochs told again, by a retry, are dropped."""
        async with self._heard:
            flight = self._flights.get(key)
            if flight is not None:
                last = flight.told[-1][0] if flight.told else 0
                flight.told += [one for one in told if one[0] > last]
                self._heard.notify_all()

    async def news(self, seen: Mapping[str, int]) -> dict[str, list[tuple[int, float]]]:
        """Reports on stages in flight beyond the epochs `seen`; returns once there is one."""
        async with self._heard:
            while True:
                flights = {key: self._flights[key] for key in seen if key in self._flights}
                news = {
                    key: fresh
                    for key, flight in flights.items()
                    if (fresh := [one for one in flight.told if one[0] > seen[key]])
                }
                if news:
                    return news
                await self._heard.wait()

    async def began(self, key: str, timeout: float) -> None:
        """A stage that was given a time limit starts, in seconds, now that it has a core.

        Its worker stops it at the limit. That cannot reach into compiled code which never
        returns, so this is the second line.
        """
        running = self._running.get(key)
        if running is not None:
            running.stop()
            clock = asyncio.get_running_loop()
            running.clock = clock.call_later(timeout + _GRACE, running.cut)

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
            flight = started = _Flight(asyncio.ensure_future(self._produce(key, demand)))
            self._flights[key] = started
            started.task.add_done_callback(lambda _: self._landed(key, started))
        flight.waiters += 1
        try:
            made: _Made = await asyncio.shield(flight.task)
        except asyncio.CancelledError:
            if flight.waiters == 1 and not flight.task.done():
                flight.task.cancel()  # nobody waits for it any more
                self._landed(key, flight)  # and nobody may join it
            raise
        finally:
            flight.waiters -= 1
        demand.touched[key] = made.provenance
        if made.ran and mine:
            demand.ran.append(key)
        return made

    def _landed(self, key: str, flight: _Flight) -> None:
        if self._flights.get(key) is flight:
            del self._flights[key]

    async def _produce(self, key: str, demand: _Demand) -> _Made:
        found = await self._load(key)
        if found is not None:
            return _Made(*found, ran=False)
        if key in self._failures:
            raise StageFailed(*self._failures[key])
        call = demand.calls[key]
        made = await self._all(call.needs, demand)
        refs = [
            self._parent(need, one.artifact) for need, one in zip(call.needs, made, strict=True)
        ]
        async with self._claimed(key):
            found = await self._load(key)
            if found is not None:  # another cluster has made it while we waited for its claim
                return _Made(*found, ran=False)
            artifact, provenance = await self._run(call, demand, refs)
            try:
                await asyncio.to_thread(self._store.put, key, artifact, provenance)
            except OSError as error:
                raise StoreFailed(f"{self._store.uri} cannot be written: {error}") from error
        if self._scratch is not None:  # its checkpoints have served
            await asyncio.to_thread(shutil.rmtree, Path(self._scratch, key), ignore_errors=True)
        return _Made(artifact, provenance, ran=True)

    async def _all(self, keys: Sequence[str], demand: _Demand) -> list[_Made]:
        """What is under all of these keys; where one fails, the others are given up."""
        tasks = [asyncio.ensure_future(self._get(key, demand)) for key in keys]
        try:
            return await asyncio.gather(*tasks)
        except Exception:  # cancellation reaches them through `gather`
            for task in tasks:
                task.cancel()
            raise

    @contextlib.asynccontextmanager
    async def _claimed(self, key: str) -> AsyncIterator[None]:
        """Hold the store's claim on a key, so that no other cluster's broker makes it too."""
        until = time.monotonic() + _PATIENCE
        try:
            while not await asyncio.to_thread(self._store.claim, key):
                if time.monotonic() > until:
                    break
                await asyncio.sleep(_LOOK)
        except OSError as error:
            raise StoreFailed(f"{self._store.uri} cannot be written: {error}") from error
        try:
            yield
        finally:
            self._store.release(key)

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
        self, call: Call, demand: _Demand, refs: list[Any]
    ) -> tuple[Artifact, Provenance]:
        runtime = demand.runtime
        group = runtime.workers > 1
        scratch = None if self._scratch is None else str(Path(self._scratch, call.key))
        me = ray.get_runtime_context().current_actor
        teller = None
        if demand.watch is not None and call.key == demand.scored:
            teller = _Teller(me, call.key, demand.watch)
        for pause in (*_PAUSES, None):
            ref = _run_stage.options(
                name=f"{call.name}@{call.fold}",
                # a worker group brings its own resources; the task that starts it only waits
                num_cpus=0 if group else runtime.cpus,
                num_gpus=0 if group else runtime.gpus,
                # outside the placement group of whichever trial asked first
                scheduling_strategy=_NO_GROUP,
                # lost workers are counted here: Ray itself repeats what ran out of memory for ever
                max_retries=0,
            ).remote(
                call,
                demand.study,
                runtime,
                demand.data,
                scratch,
                teller,
                None if runtime.timeout is None else me,
                *refs,
            )
            running = self._running[call.key] = _Running(ref)
            try:
                result: tuple[Artifact, Provenance] = await ref
                return result
            except asyncio.CancelledError:
                _give_up(ref)
                raise
            except RayTaskError as error:
                reason, trace = _reason(call, error.cause), _last_lines(str(error))
                break
            except RayError as error:
                reason, trace = f"stage {call.name!r}: {_loss(error)}", _last_lines(str(error))
                if running.overdue and runtime.timeout is not None:
                    reason = _reason(call, _late(runtime.timeout))
                    break
            finally:
                running.stop()
                if self._running.get(call.key) is running:
                    del self._running[call.key]
            if pause is not None:
                await asyncio.sleep(pause)
        self._failures[call.key] = reason, trace
        raise StageFailed(reason, trace)


def _give_up(ref: Any) -> None:
    """Stop a task that nobody waits for: politely, then for certain."""
    ray.cancel(ref)
    asyncio.get_running_loop().call_later(_GRACE, lambda: ray.cancel(ref, force=True))


def _loss(error: RayError) -> str:
    """What became of a worker that was lost at every try, in plain words."""
    times = f"at each of {len(_PAUSES) + 1} tries"
    if isinstance(error, OutOfMemoryError):
        return (
            f"its node ran out of memory {times}; give stages more room (a larger cpus= runs "
            "fewer at once) or a limit (memory=)"
        )
    return (
        f"its worker process was lost {times} ({type(error).__name__}): it crashed in compiled "
        "code, or was killed, perhaps for memory"
    )


def _late(seconds: float) -> TimeoutError:
    return TimeoutError(f"it took longer than timeout={seconds:g} s")


def _reason(call: Call, cause: BaseException) -> str:
    return f"stage {call.name!r}: {type(cause).__name__}: {one_line(cause)}"


def _last_lines(text: str) -> str:
    """The end of what a failing stage said, without the colours of a terminal."""
    lines = re.sub(r"\x1b\[[0-9;]*m", "", text).strip().splitlines()
    return "\n".join(lines[-_TRACE:])[-_TRACE * 200 :]


@contextlib.contextmanager
def _limited(seconds: float | None) -> Iterator[None]:
    """Raise TimeoutError in this process's main thread, where Ray runs tasks, after so long."""
    if seconds is None:
        yield
        return

    def stop(number: int, frame: FrameType | None) -> None:
        raise _late(seconds)

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


_NO_MEMORY = ("allocate memory", "not enough memory", "bad_alloc", "start new thread")
"""how torch and Python say, in a RuntimeError, that memory has run out"""


@contextlib.contextmanager
def _within(gigabytes: float | None) -> Iterator[None]:
    """Let this process's own memory grow by so much and no more; what is mapped or shared is free.

    Raises:
        MemoryError: where it is not enough, with the limit's name.
    """
    if gigabytes is None:
        yield
        return
    if sys.platform != "linux":
        raise RuntimeError(f"memory={gigabytes:g} can be kept on Linux alone; leave it out")
    soft, hard = before = resource.getrlimit(resource.RLIMIT_DATA)
    wanted = _private_bytes() + int(gigabytes * 1e9)
    known = [limit for limit in (soft, hard, wanted) if limit != resource.RLIM_INFINITY]
    try:
        try:
            resource.setrlimit(resource.RLIMIT_DATA, (min(known), hard))
            yield
        finally:  # before anything else asks for memory
            resource.setrlimit(resource.RLIMIT_DATA, before)
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, MemoryError) or any(words in str(error) for words in _NO_MEMORY):
            raise MemoryError(f"it needed more than memory={gigabytes:g} GB") from None
        raise


def _private_bytes() -> int:
    """What RLIMIT_DATA counts of this process: private and writable memory."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmData:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("/proc/self/status has no VmData")


class _Teller:
    """A stage's `on_epoch`: sends epochs to the broker when they are due, and never waits.

    It travels with the stage to its worker, and with a worker group to the group's first worker.
    """

    def __init__(self, broker: Any, key: str, watch: Watch) -> None:
        self._broker = broker
        self._key = key
        self._factor = watch.factor
        self._due = float(watch.first)
        self._waiting: list[tuple[int, float]] = []
        self._sent = -math.inf

    def __call__(self, epoch: int, score: float) -> None:
        self._waiting.append((epoch, float(score)))
        now = time.monotonic()
        if epoch < self._due or (self._factor is None and now - self._sent < _EVERY):
            return
        while self._factor is not None and self._due <= epoch:
            self._due *= self._factor
        self._broker.epochs.remote(self._key, self._waiting)
        self._waiting, self._sent = [], now


_held: dict[str, Dataset] = {}
"""the dataset that this worker last ran a stage on, by reference"""


def _dataset(ref: Any) -> Dataset:
    """The study's data, taken from Ray's store once a worker."""
    name = ref.hex()
    if name not in _held:
        _held.clear()
        _held[name] = ray.get(ref)
    return _held[name]


@ray.remote(num_cpus=1)
def _run_stage(
    call: Call,
    study: str,
    runtime: Runtime,
    data: list[Any],
    scratch: str | None,
    teller: _Teller | None,
    broker: Any,
    *needs: Artifact,
) -> tuple[Artifact, Provenance]:
    started = time.monotonic()
    device = "cuda" if runtime.gpus > 0 else "cpu"
    if broker is not None:
        broker.began.remote(call.key, runtime.timeout)
    parents, across = call.sorted_out(needs)
    with _limited(runtime.timeout), _within(runtime.memory):
        made = execute(
            call,
            _dataset(data[0]),
            parents,
            runtime,
            device,  # type: ignore[arg-type]
            None if scratch is None else Path(scratch),
            teller,
            across,
        )
    seconds = time.monotonic() - started
    return made, Provenance(
        study, call.name, round(seconds, 4), device, socket.gethostname(), time.time()
    )


_Actor = ray.remote(max_restarts=-1, max_task_retries=-1, num_cpus=0)(_Broker)
_AT_ONCE = 10_000
"""folds that may wait at once"""


def connect(uri: str, *, scratch: str | None = None, node: str | None = None) -> Any:
    """The handle of the store's broker, which is created where there is none.

    Args:
        uri: the store.
        scratch: the folder of stages' checkpoints.
        node: the driver's node, where the disk of a local store is, and so its broker; None is
            this one.

    Raises:
        RayError: where the broker is lost again and again.
    """
    name = f"broker-{hashlib.sha256(uri.encode()).hexdigest()[:16]}"
    options: dict[str, Any] = {"name": name, "namespace": NAMESPACE, "get_if_exists": True}
    options["max_concurrency"] = _AT_ONCE
    if Store(uri).local:
        here = node or ray.get_runtime_context().get_node_id()
        options["scheduling_strategy"] = NodeAffinitySchedulingStrategy(here, soft=False)
    for pause in (0.5, 2.0, 5.0, None):
        broker: Any = _Actor.options(**options).remote(uri, scratch)
        try:
            ray.get(broker.pid.remote())
            return broker
        except RayActorError:  # it was going as we found it
            if pause is None:
                raise
            time.sleep(pause)


def repairs(broker: Any) -> list[str]:
    """What the broker had to mend since this was last asked, as plain sentences."""
    try:
        notes: list[str] = ray.get(broker.notes.remote(), timeout=10)
    except RayError:  # it is gone, and what it had to say with it
        return []
    return notes
