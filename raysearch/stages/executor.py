"""The executor: runs the stage graph of a fold.

An executor is asked for a fold (`Demand`). It looks in the store, joins a stage that is already
running, or runs it, and writes its artifact under its key. Only how one stage is run differs:
`LocalExecutor` runs it in this process (an export, a test, a notebook), `broker.Broker` as a Ray
task on whatever node has room (a search).
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import shutil
import socket
import time
import traceback
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from raysearch.errors import RaysearchError, one_line
from raysearch.stages.dataset import Dataset
from raysearch.stages.keys import Call
from raysearch.stages.limits import is_transient
from raysearch.stages.running import Runtime, execute
from raysearch.stages.store import Damaged, Provenance, Store
from trainables.stage import Artifact, curve_of

Data = TypeVar("Data")
Result = TypeVar("Result")

_LOOK = 0.2
"""seconds between two looks at a stage that another process has claimed"""
_PATIENCE = 3600.0
"""seconds after which a stage is run although it is claimed: its process may be stopped for good"""
_TRACE = 40
"""lines of a failed stage's traceback that are kept"""


class StageFailed(RaysearchError):
    """A stage raised, died or took too long.

    Args:
        reason: in one line.
        trace: the last lines of the traceback; '' where there is none.
        limits: how it ran, where it failed for memory, time or a lost process, so that it may
            succeed at another time or with more room; None where the setting itself is at fault.
    """

    def __init__(self, reason: str, trace: str = "", limits: Runtime | None = None) -> None:
        super().__init__(reason, trace, limits)  # all, so that it comes whole through a pickle
        self.trace = trace
        self.limits = limits

    def holds_for(self, runtime: Runtime) -> bool:
        """Whether a stage that runs so would fail too."""
        return self.limits is None or runtime.within(self.limits)

    def __str__(self) -> str:
        return str(self.args[0])


@dataclass(frozen=True)
class Watch:
    """Which epochs of a scored stage are worth a message while it trains."""

    first: int
    """no message before this epoch"""
    factor: float | None
    """then at first * factor, first * factor^2, ...; None: about once a second"""


@dataclass(frozen=True)
class Demand(Generic[Data]):
    """What is asked of an executor: the stages of one fold of one setting."""

    calls: Sequence[Call]
    """parents first, the scored one last"""
    study: str
    runtime: Runtime
    data: Data
    """the study's `Dataset`; for the broker, its reference in Ray's object store"""
    watch: Watch | None = None
    """of the scored stage; the broker passes its epochs on"""


@dataclass(frozen=True)
class FoldOutcome:
    """What a fold of a setting gave."""

    validation: NDArray[np.float32]
    """[n, K] class probabilities"""
    test: NDArray[np.float32]
    """[m, K] class probabilities"""
    uses: tuple[tuple[str, str, bool], ...]
    """(stage, key, computed by this study), parents first"""
    new: tuple[str, ...]
    """keys of the stages that were computed for this demand"""
    seconds: float
    """that these took"""
    curve: tuple[float, ...] = ()
    """validation scores by epoch, where the fold was watched and the scored stage has them"""
    best_epoch: int | None = None
    """of the scored stage's training, counted from 1, where it has one"""
    last_epoch: int | None = None
    """that this training might have reached"""


@dataclass(frozen=True)
class Product:
    """What lies under a key, and whether it was computed just now."""

    artifact: Artifact
    provenance: Provenance
    new: bool


@dataclass
class Flight:
    """A stage that is being looked up or run, and how many wait for it."""

    task: asyncio.Task[Product]
    waiters: int = 0
    epochs: list[tuple[int, float]] = field(default_factory=list)
    """(epoch, score) so far, epochs ascending"""


@dataclass
class _Job(Generic[Data]):
    """A demand, and what was read and computed for it."""

    demand: Demand[Data]
    calls: Mapping[str, Call]
    provenance: dict[str, Provenance] = field(default_factory=dict)
    new: list[str] = field(default_factory=list)


class Executor(ABC, Generic[Data]):
    """Runs stage graphs over a store. One event loop at a time may use it.

    Args:
        store: where artifacts lie.
        scratch: the folder of stages' checkpoints; None where they make none.
    """

    def __init__(self, store: Store, scratch: Path | None = None) -> None:
        self._store = store
        self._scratch = scratch
        self._flights: dict[str, Flight] = {}
        self._failures: dict[str, StageFailed] = {}
        self._repairs: list[str] = []

    async def forget_failures(self) -> None:
        """Run again what failed for memory, time or a lost process, when it is demanded again."""
        self._failures = {k: each for k, each in self._failures.items() if each.limits is None}

    @abstractmethod
    async def _run(
        self, call: Call, demand: Demand[Data], needs: Sequence[Artifact]
    ) -> tuple[Artifact, Provenance]:
        """Run one stage on the artifacts of `call.needs`. Raises StageFailed."""

    async def fold(self, demand: Demand[Data]) -> FoldOutcome:
        """Compute or read the stages of one fold.

        Raises:
            StageFailed: with the reason, for the stage and all that hangs on it.
            StoreFailed: the store cannot be read or written.
        """
        job = _job(demand)
        final = (await self._product(demand.calls[-1].key, job)).artifact
        uses = []
        for call in demand.calls:
            owner = job.provenance.get(call.key)
            if owner is None:  # an ancestor that nobody had to open
                owner = await asyncio.to_thread(self._store.provenance, call.key)
            uses.append((call.name, call.key, owner is not None and owner.study == demand.study))
        curve = curve_of(final.info) if demand.watch is not None else ()
        limits = [
            c.params["epochs"] for c in demand.calls if isinstance(c.params.get("epochs"), int)
        ]
        return FoldOutcome(
            validation=final.arrays["validation"],
            test=final.arrays["test"],
            uses=tuple(uses),
            new=tuple(job.new),
            seconds=sum(job.provenance[key].seconds for key in job.new),
            curve=tuple(curve),
            best_epoch=final.info.get("best_epoch"),
            last_epoch=cast("int", limits[-1]) if limits else None,
        )

    async def artifacts(self, demand: Demand[Data], keys: Sequence[str]) -> list[Artifact]:
        """What lies under these keys of a demand's stages, computed where it is not there.

        Raises:
            StageFailed, StoreFailed: as `fold`.
        """
        return [one.artifact for one in await self._products(keys, _job(demand))]

    async def _product(self, key: str, job: _Job[Data]) -> Product:
        """What is under a key: read, computed, or awaited where another demand computes it.

        Raises:
            StageFailed: within the limits of this demand; what failed within narrower ones, those
                of another study, is run again.
        """
        while True:
            try:
                return await self._awaited(key, job)
            except StageFailed as failure:
                if failure.holds_for(job.demand.runtime):
                    raise

    async def _awaited(self, key: str, job: _Job[Data]) -> Product:
        flight = self._flights.get(key)
        mine = flight is None
        if flight is None:
            flight = started = Flight(asyncio.ensure_future(self._produce(key, job)))
            self._flights[key] = started
            started.task.add_done_callback(lambda _: self._land(key, started))
        flight.waiters += 1
        try:
            product = await asyncio.shield(flight.task)
        except asyncio.CancelledError:
            if flight.waiters == 1 and not flight.task.done():
                flight.task.cancel()  # nobody waits for it any more
                self._land(key, flight)  # and nobody may join it
            raise
        finally:
            flight.waiters -= 1
        job.provenance[key] = product.provenance
        if product.new and mine:
            job.new.append(key)
        return product

    def _land(self, key: str, flight: Flight) -> None:
        if self._flights.get(key) is flight:
            del self._flights[key]

    async def _products(self, keys: Sequence[str], job: _Job[Data]) -> list[Product]:
        """What is under all of these keys; where one fails, the others are given up."""
        tasks = [asyncio.ensure_future(self._product(key, job)) for key in keys]
        try:
            return await asyncio.gather(*tasks)
        finally:  # a task that has ended takes no notice
            for task in tasks:
                task.cancel()

    async def _produce(self, key: str, job: _Job[Data]) -> Product:
        product = await self._load(key)
        if product is not None:
            return product
        failure = self._failures.get(key)
        if failure is not None and failure.holds_for(job.demand.runtime):
            raise StageFailed(*failure.args)
        call = job.calls[key]
        needs = [one.artifact for one in await self._products(call.needs, job)]
        async with self._claim(key):
            product = await self._load(key)
            if product is not None:  # another process has made it while this one waited
                return product
            try:
                artifact, provenance = await self._run(call, job.demand, needs)
                if call is job.demand.calls[-1] and not call.use.refit:
                    _check_scores(call, artifact)
            except StageFailed as failure:
                self._failures[key] = failure
                if failure.limits is None:
                    await self._remove_checkpoints(key)
                raise
            await asyncio.to_thread(self._store.put, key, artifact, provenance)
        await self._remove_checkpoints(key)
        return Product(artifact, provenance, new=True)

    async def _remove_checkpoints(self, key: str) -> None:
        """Those of a stage that is stored, or will fail again."""
        if self._scratch is not None:
            await asyncio.to_thread(shutil.rmtree, self._scratch / key, ignore_errors=True)

    @contextlib.asynccontextmanager
    async def _claim(self, key: str) -> AsyncIterator[None]:
        """Hold the store's claim on a key, so that no other process makes it too."""
        until = time.monotonic() + _PATIENCE
        while not await self._try_claim(key):
            if time.monotonic() > until:
                break
            await asyncio.sleep(_LOOK)
        try:
            yield
        finally:
            self._store.release(key)

    async def _try_claim(self, key: str) -> bool:
        """Claim a key; who is cancelled meanwhile leaves no claim behind."""
        attempt = asyncio.ensure_future(asyncio.to_thread(self._store.claim, key))

        def release(_: asyncio.Future[bool]) -> None:
            # a new flight of this process shares the claim, and releases it when it lands
            if attempt.exception() is None and key not in self._flights:
                self._store.release(key)

        try:
            return await asyncio.shield(attempt)
        except asyncio.CancelledError:
            attempt.add_done_callback(release)
            raise

    async def _load(self, key: str) -> Product | None:
        try:
            entry = await asyncio.to_thread(self._store.get, key)
        except Damaged as damage:
            self._repairs.append(
                f"artifact {key[:12]} in {self._store.uri} is damaged ({damage}); "
                "it is computed again"
            )
            await asyncio.to_thread(self._store.discard, key)
            return None
        return None if entry is None else Product(*entry, new=False)


def _job(demand: Demand[Data]) -> _Job[Data]:
    return _Job(demand, {call.key: call for call in demand.calls})


class LocalExecutor(Executor[Dataset]):
    """Runs stages in this process, one after the other."""

    def run_fold(self, demand: Demand[Dataset]) -> FoldOutcome:
        """`fold`, waited for."""
        return _wait(lambda: self.fold(demand))

    def run_artifacts(self, demand: Demand[Dataset], keys: Sequence[str]) -> list[Artifact]:
        """`artifacts`, waited for."""
        return _wait(lambda: self.artifacts(demand, keys))

    async def _run(
        self, call: Call, demand: Demand[Dataset], needs: Sequence[Artifact]
    ) -> tuple[Artifact, Provenance]:
        return self.run_stage(call, demand, needs)

    def run_stage(
        self, call: Call, demand: Demand[Dataset], needs: Sequence[Artifact]
    ) -> tuple[Artifact, Provenance]:
        """Run one stage.

        Raises:
            StageFailed: it raised.
        """
        scratch = None if self._scratch is None else self._scratch / call.key
        try:
            runtime = demand.runtime.of(call)
            return timed(call, demand.study, runtime, demand.data, needs, scratch)
        except Exception as error:  # whatever a stage may raise
            trace = last_lines(traceback.format_exc())
            limits = demand.runtime if is_transient(error) else None
            raise StageFailed(reason(call, error), trace, limits) from error


def timed(
    call: Call,
    study: str,
    runtime: Runtime,
    data: Dataset,
    needs: Sequence[Artifact],
    scratch: Path | None = None,
    on_epoch: Callable[[int, float], None] | None = None,
) -> tuple[Artifact, Provenance]:
    """Run one stage in this process: its artifact, and who made it in how many seconds."""
    start = time.monotonic()
    artifact = execute(call, data, needs, runtime, scratch, on_epoch)
    seconds = round(time.monotonic() - start, 4)
    host = socket.gethostname()
    return artifact, Provenance(study, call.name, seconds, runtime.computing, host, time.time())


def reason(call: Call, error: BaseException) -> str:
    """Why a stage failed, in one line."""
    return f"stage {call.name!r}: {type(error).__name__}: {one_line(error)}"


def _check_scores(call: Call, artifact: Artifact) -> None:
    """Refuse what the last stage of a graph returned, where it cannot be scored."""
    for part in ("validation", "test"):
        array = artifact.arrays.get(part)
        if array is None or array.ndim != 2:
            shape = "none" if array is None else f"an array of shape {array.shape}"
            raise StageFailed(
                f"stage {call.name!r} is scored and must return arrays[{part!r}], class "
                f"probabilities [n, K], but returned {shape}"
            )


def last_lines(text: str) -> str:
    """The end of a failed stage's traceback, without the colours of a terminal."""
    lines = re.sub(r"\x1b\[[0-9;]*m", "", text).strip().splitlines()
    return "\n".join(lines[-_TRACE:])[-_TRACE * 200 :]


def _wait(coroutine: Callable[[], Coroutine[None, None, Result]]) -> Result:
    """The result of a coroutine, from code that is none.

    It runs in a thread of its own where this one has an event loop already, as in a notebook.
    """

    def run() -> Result:
        with asyncio.Runner() as runner:
            # not `runner.run`, which lets no Ctrl-C interrupt a stage
            return runner.get_loop().run_until_complete(coroutine())

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return run()
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(run).result()
