"""Extraction on a Ray cluster: plain tasks of one core each, bounded in number."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from raysearch.data.features.extractor import Chunk, ChunkResult


def ray_chunks(
    function: Callable[[Chunk], ChunkResult], chunks: Iterable[Chunk]
) -> Iterator[ChunkResult]:
    """Run the chunks as Ray tasks and give their results as they finish, in any order.

    The chunks carry their audio's bytes, so a node without the corpus works. At most two chunks a
    core of the cluster are in flight, so the corpus is never in memory as a whole. Ray must have
    been started.
    """
    import ray

    task = ray.remote(num_cpus=1, scheduling_strategy="DEFAULT", max_retries=3)(function)
    bound = max(2, 2 * int(ray.cluster_resources().get("CPU", 1)))
    waiting = iter(chunks)
    flying: list[ray.ObjectRef] = []
    try:
        while True:
            while len(flying) < bound and (chunk := next(waiting, None)) is not None:
                flying.append(task.remote(chunk.packed()))
            if not flying:
                return
            ready, flying = ray.wait(flying, num_returns=1)
            yield from ray.get(ready)
    finally:
        for reference in flying:
            ray.cancel(reference)
