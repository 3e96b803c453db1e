"""Checkpoints on the disks of other nodes than the broker's: nobody else would remove them there.

A disk that all nodes share (a home on NFS) has the broker's own checkpoints. They are left: the
executor removes what has served, and what was interrupted goes on from them.
"""

from __future__ import annotations

import asyncio
import shutil
import uuid
from collections.abc import Collection, Iterable
from pathlib import Path

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

_PAUSE = 15.0
"""seconds after a stage's end, so that one that was given up is dead by then (it has 5)"""
_PATIENCE = 10.0
"""seconds that a node is waited for; what one that is gone has is gone too"""


class FarCheckpoints:
    """Which nodes may have checkpoints of which stage, in one event loop.

    Args:
        scratch: the folder of all stages' checkpoints, on every node.
        flights: stages that run now, by their keys, as they come and go.
    """

    def __init__(self, scratch: Path, flights: Collection[str]) -> None:
        self._scratch = scratch
        self._flights = flights
        self._nodes: dict[str, set[str]] = {}
        self._timer: asyncio.TimerHandle | None = None

    def begin(self, key: str, nodes: Iterable[str]) -> None:
        """A stage runs on these nodes, by their ids; it may have ended already."""
        self._nodes.setdefault(key, set()).update(nodes)
        self.land(key)

    def land(self, key: str) -> None:
        """A stage has ended, however it did: what it left elsewhere is removed a little later."""
        if key in self._nodes and key not in self._flights and self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(_PAUSE, lambda: asyncio.ensure_future(self.remove()))

    async def remove(self) -> None:
        """Remove the checkpoints of all stages that have ended."""
        self._timer = None
        by_node: dict[str, list[Path]] = {}
        for key in [key for key in self._nodes if key not in self._flights]:
            for node in self._nodes.pop(key):
                by_node.setdefault(node, []).append(self._scratch / key)
        if not by_node:
            return
        mark = self._scratch / f".{uuid.uuid4().hex}"
        try:
            await asyncio.to_thread(_touch, mark)
            refs = [_on(node, folders, mark) for node, folders in by_node.items()]
            await asyncio.wait_for(asyncio.gather(*refs, return_exceptions=True), _PATIENCE)
        except (OSError, TimeoutError):
            return  # without the mark nothing tells whose disk it is; or a node is gone
        finally:
            mark.unlink(missing_ok=True)


def other_nodes() -> set[str]:
    """The ids of all nodes but this one."""
    here = ray.get_runtime_context().get_node_id()
    return {node["NodeID"] for node in ray.nodes() if node["Alive"]} - {here}


def _touch(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()


def _on(node: str, folders: list[Path], mark: Path) -> ray.ObjectRef:
    """Remove folders on a node."""
    where = NodeAffinitySchedulingStrategy(node, soft=False)
    return _remove.options(scheduling_strategy=where).remote(folders, mark)


@ray.remote(num_cpus=0, max_retries=0)
def _remove(folders: list[Path], mark: Path) -> None:
    if mark.exists():  # this node's disk is the broker's
        return
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)
