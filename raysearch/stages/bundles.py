"""What one stage asks of a cluster, and how many the cluster has room for."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence

from raysearch.stages.running import Runtime

Resources = Mapping[str, float]
"""a node's resources in all, by Ray's names: CPU, GPU"""


def bundles(runtime: Runtime) -> list[dict[str, float]]:
    """What one stage asks for: a dictionary for each of its processes, which is on one node."""
    if runtime.workers == 1:
        return [{"CPU": runtime.cpus, "GPU": runtime.gpus}]
    each = {"GPU": 1.0} if runtime.gpus > 0 else {"CPU": float(runtime.threads)}
    return [each] * runtime.workers


def stages_at_once(runtime: Runtime, nodes: Sequence[Resources]) -> int:
    """How many stages the nodes have room for side by side, by CPUs, GPUs and worker groups; 1 at
    least."""
    request = bundles(runtime)
    return max(1, sum(times(request[0], node) for node in nodes) // len(request))


def times(bundle: Mapping[str, float], node: Resources) -> int:
    """How often a bundle fits a node."""
    counts = [int(node.get(name, 0.0) / n + 1e-9) for name, n in bundle.items() if n > 0]
    return min(counts, default=0)


_LOOK = 5.0
"""seconds between two looks at a cluster that may have grown"""


class GroupGate:
    """Lets so many stages start a worker group at once as the cluster has room for groups.

    The process that starts a group has no resources of its own, so Ray bounds it by nothing:
    without the gate every stage that waits would have one.
    """

    def __init__(self) -> None:
        self._inside = 0
        self._news = asyncio.Condition()

    @contextlib.asynccontextmanager
    async def place(self, runtime: Runtime) -> AsyncIterator[None]:
        """Wait for a group's place; a stage without a group needs none."""
        if runtime.workers == 1:
            yield
            return
        async with self._news:
            while self._inside >= await asyncio.to_thread(_room, runtime):
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._news.wait(), _LOOK)
            self._inside += 1
        try:
            yield
        finally:
            async with self._news:
                self._inside -= 1
                self._news.notify()


def _room(runtime: Runtime) -> int:
    """How many such stages the cluster that this process has joined has room for."""
    import ray

    return stages_at_once(runtime, [node["Resources"] for node in ray.nodes() if node["Alive"]])
