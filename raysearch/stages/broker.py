"""The broker: the executor of a search, one Ray actor a store.

Trials ask it for folds, and each stage is run once in the whole cluster. It owns the stages'
references, so its death loses only stages in flight; it may be restarted or re-created at any
moment, since all it knows is in the store.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray.actor import ActorHandle
from ray.exceptions import (
    OutOfMemoryError,
    RayActorError,
    RayError,
    RayTaskError,
)
from ray.experimental.internal_kv import _internal_kv_del, _internal_kv_get, _internal_kv_put
from ray.util.scheduling_strategies import (
    NodeAffinitySchedulingStrategy,
    PlacementGroupSchedulingStrategy,
)

from raysearch.stages.bundles import GroupGate
from raysearch.stages.executor import (
    Demand,
    Executor,
    Flight,
    FoldOutcome,
    StageFailed,
    last_lines,
    reason,
)
from raysearch.stages.far_checkpoints import FarCheckpoints, other_nodes
from raysearch.stages.keys import Call
from raysearch.stages.limits import is_transient, overrun
from raysearch.stages.outage import PATIENCE, telling
from raysearch.stages.remote import client_environment
from raysearch.stages.store import Provenance, Store, is_local
from raysearch.stages.worker import Beginning, EpochSender, run_stage, run_stage_on_card
from trainables.stage import Artifact

Epochs = list[tuple[int, float]]
"""(epoch, score), epochs ascending"""

NAMESPACE = "raysearch"
# Ray's documented way to leave the caller's placement group; its annotation forbids it
_NO_GROUP = PlacementGroupSchedulingStrategy(placement_group=None)  # type: ignore[arg-type]
_PARENTS = 64
"""parents' artifacts kept in Ray's object store, so that settings sharing a teacher read it once"""
_GRACE = 5.0
"""seconds in which a stage that is to stop does so itself; after them its process is killed"""
_PAUSES = (1.0, 4.0, 12.0)
"""seconds before each further try of a stage whose worker was lost; a dead node is seen by then"""


@dataclass
class _Task:
    """A stage's Ray task, and the clock of its time limit."""

    ref: ray.ObjectRef
    clock: asyncio.TimerHandle | None = None
    overdue: bool = False
    """whether its worker was killed for it"""

    def kill(self) -> None:
        self.overdue = True
        ray.cancel(self.ref, force=True)

    def stop_clock(self) -> None:
        if self.clock is not None:
            self.clock.cancel()


class Broker(Executor[ray.ObjectRef]):
    """Runs stages as Ray tasks. See `Executor`; the data of a demand is the Dataset's reference."""

    def __init__(self, uri: str, scratch: str | None, patience: float) -> None:
        os.environ.update(_shared_environment(uri))
        super().__init__(Store(uri, patience), None if scratch is None else Path(scratch))
        self._tasks: dict[str, _Task] = {}
        self._parents: OrderedDict[str, ray.ObjectRef] = OrderedDict()
        self._news = asyncio.Condition()
        self._groups = GroupGate()
        self._node = ray.get_runtime_context().get_node_id()
        self._far = None if self._scratch is None else FarCheckpoints(self._scratch, self._flights)

    async def fold(self, demand: Demand[ray.ObjectRef]) -> FoldOutcome:
        """As of any executor; where the demand has a `watch`, `epochs_after` tells its epochs."""
        return await super().fold(demand)

    async def add_epochs(self, key: str, epochs: Epochs) -> None:
        """Take epochs of a stage in flight. Those that a retry sends again are dropped."""
        async with self._news:
            flight = self._flights.get(key)
            if flight is not None:
                last = flight.epochs[-1][0] if flight.epochs else 0
                flight.epochs += [one for one in epochs if one[0] > last]
                self._news.notify_all()

    async def epochs_after(self, latest: Mapping[str, int]) -> dict[str, Epochs]:
        """Wait for epochs of stages in flight, each beyond the latest that the caller knows.

        Args:
            latest: by the stages' keys, the last known epoch; 0 where none is.
        """
        async with self._news:
            while True:
                news = {
                    key: fresh
                    for key, last in latest.items()
                    if key in self._flights
                    and (fresh := [one for one in self._flights[key].epochs if one[0] > last])
                }
                if news:
                    return news
                await self._news.wait()

    async def begin(self, key: str, timeout: float | None, node: str) -> None:
        """A stage has a core now, on some node: the clock of its time limit in seconds starts.

        Its worker stops it at the limit. That cannot reach into compiled code which never
        returns, so this is the second line.
        """
        if node != self._node and self._far is not None:
            self._far.begin(key, [node])
        task = self._tasks.get(key)
        if task is not None and timeout is not None:
            task.stop_clock()
            loop = asyncio.get_running_loop()
            task.clock = loop.call_later(timeout + _GRACE, task.kill)

    def _land(self, key: str, flight: Flight) -> None:
        super()._land(key, flight)
        if self._far is not None:
            self._far.land(key)

    async def tidy(self) -> None:
        """Remove what stages that have ended left on other nodes."""
        if self._far is not None:
            await self._far.remove()

    async def repairs(self) -> list[str]:
        """Plain sentences about repairs since the last call."""
        sentences, self._repairs = self._repairs, []
        return sentences

    async def trouble(self) -> str:
        """What a person must know of the store now; '' where it answers."""
        return self._store.trouble

    async def pid(self) -> int:
        return os.getpid()

    async def _run(
        self, call: Call, demand: Demand[ray.ObjectRef], needs: Sequence[Artifact]
    ) -> tuple[Artifact, Provenance]:
        refs = [self._parent(key, one) for key, one in zip(call.needs, needs, strict=True)]
        runtime = demand.runtime.of(call)
        async with self._groups.place(runtime):
            if runtime.workers > 1 and self._far is not None:
                self._far.begin(call.key, await asyncio.to_thread(other_nodes))
            return await self._tried(call, demand, refs)

    async def _tried(
        self, call: Call, demand: Demand[ray.ObjectRef], refs: list[ray.ObjectRef]
    ) -> tuple[Artifact, Provenance]:
        """Run a stage; where its worker is lost, some times."""
        limits = demand.runtime
        for pause in (*_PAUSES, None):
            task = self._tasks[call.key] = _Task(self._start(call, demand, refs))
            try:
                product: tuple[Artifact, Provenance] = await task.ref
                return product
            except asyncio.CancelledError:
                _give_up(task.ref)
                raise
            except RayTaskError as error:
                cause, trace = error.cause, last_lines(str(error))
                passing = isinstance(cause, RayError) or is_transient(cause)
                raise StageFailed(reason(call, cause), trace, limits if passing else None) from None
            except RayError as error:
                trace = last_lines(str(error))
                failure = StageFailed(f"stage {call.name!r}: {_loss(error)}", trace, limits)
                if task.overdue and limits.timeout is not None:
                    overdue = reason(call, overrun(limits.timeout))
                    raise StageFailed(overdue, trace, limits) from None
            finally:
                task.stop_clock()
                if self._tasks.get(call.key) is task:
                    del self._tasks[call.key]
            if pause is not None:
                await asyncio.sleep(pause)
        raise failure

    def _start(
        self, call: Call, demand: Demand[ray.ObjectRef], refs: list[ray.ObjectRef]
    ) -> ray.ObjectRef:
        runtime = demand.runtime.of(call)
        group = runtime.workers > 1
        me = ray.get_runtime_context().current_actor
        sender = None
        if demand.watch is not None and call.key == demand.calls[-1].key:
            sender = EpochSender(me, call.key, demand.watch)
        # the task that starts a worker group has no card of its own
        task = run_stage_on_card if runtime.gpus > 0 and not group else run_stage
        return task.options(
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
            [demand.data],
            None if self._scratch is None else self._scratch / call.key,
            sender,
            Beginning(me, self._node),
            *refs,
        )

    def _parent(self, key: str, artifact: Artifact) -> ray.ObjectRef:
        ref = self._parents.pop(key, None)
        if ref is None:
            ref = ray.put(artifact)
        self._parents[key] = ref
        while len(self._parents) > _PARENTS:
            self._parents.popitem(last=False)
        return ref


def _give_up(ref: ray.ObjectRef) -> None:
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


# -- the broker's handle ---------------------------------------------------------------------------
_Actor = ray.remote(max_restarts=-1, max_task_retries=-1, num_cpus=0)(Broker)
_AT_ONCE = 10_000
"""folds that may wait at once"""


def _name(uri: str) -> str:
    return f"broker-{hashlib.sha256(uri.encode()).hexdigest()[:16]}"


def _share_environment(uri: str) -> None:
    """Let the broker of a store elsewhere have the variables that this process is let in by.

    They lie in the memory of Ray's head alone: a runtime environment would be written into Ray's
    logs, and a broker that is made anew would not have them as arguments.
    """
    if not is_local(uri):
        _internal_kv_put(_name(uri).encode(), json.dumps(client_environment()).encode())


def _shared_environment(uri: str) -> dict[str, str]:
    found = None if is_local(uri) else _internal_kv_get(_name(uri).encode())
    environment: dict[str, str] = json.loads(found) if found else {}
    return environment


def _handle(uri: str, scratch: str | None, node: str | None, patience: float) -> Any:
    """The handle of the store's broker, which may not be up yet."""
    here = node or ray.get_runtime_context().get_node_id()
    return _Actor.options(
        name=_name(uri),
        namespace=NAMESPACE,
        get_if_exists=True,
        max_concurrency=_AT_ONCE,
        scheduling_strategy=NodeAffinitySchedulingStrategy(here, soft=False),
    ).remote(uri, scratch, patience)


def summon(uri: str, scratch: str, patience: float) -> Any:
    """Have a store's broker start while other things are done; it lives as long as the handle.

    On a cluster of our own alone: on others' the login of a store must go when the driver goes,
    which `serving` sees to. Arguments are as of `serving`, which waits for the broker.
    """
    _share_environment(uri)
    return _handle(uri, scratch, None, patience)


def connect(
    uri: str,
    *,
    scratch: str | None = None,
    node: str | None = None,
    patience: float = PATIENCE,
) -> Any:
    """The handle of the store's broker, which is created where there is none.

    Args:
        uri: the store.
        scratch: the folder of stages' checkpoints.
        node: the driver's node, where the disk of a local store is, and the files by which a user
            is let in elsewhere, and so the broker; None is this one.
        patience: seconds that a store which is away is waited for.

    Raises:
        RayError: where the broker is lost again and again.
    """
    for pause in (0.5, 2.0, 5.0, None):
        broker = _handle(uri, scratch, node, patience)
        try:
            ray.get(broker.pid.remote())
            return broker
        except RayActorError:  # it is just going away
            if pause is None:
                raise
            time.sleep(pause)


@contextmanager
def serving(uri: str, scratch: str, patience: float, say: Callable[[str], None]) -> Iterator[None]:
    """A store's broker while a driver works with it; what happens to the store is told.

    Args:
        uri: the store.
        scratch: the folder of stages' checkpoints.
        patience: seconds that a store which is away is waited for.
        say: shows a person a sentence.
    """
    _share_environment(uri)
    broker = connect(uri, scratch=scratch, patience=patience)
    ray.get(broker.forget_failures.remote())  # another study may have it from before
    try:
        with telling(Store(uri).place, lambda: _trouble(broker), say):
            yield
    finally:
        # one that does not answer is gone, with what it had to say; a cluster that is being ended
        # gives a driver 30 s in all
        with suppress(RayError):
            for sentence in ray.get(broker.repairs.remote(), timeout=10):
                say(sentence)
            ray.get(broker.tidy.remote(), timeout=15)
        if not is_local(uri):
            _internal_kv_del(_name(uri).encode())


def _trouble(broker: ActorHandle) -> str:
    """What a person must know of the broker's store now; '' where it answers."""
    try:
        return str(ray.get(broker.trouble.remote(), timeout=5))
    except (RayError, OSError):  # it is gone, or comes again
        return ""
