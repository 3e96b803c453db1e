"""Which stages take a worker group, what its processes may use, and how many groups start."""

from __future__ import annotations

import asyncio
import dataclasses

import pytest

from raysearch.stages import bundles
from raysearch.stages.running import Runtime
from trainables.corater import METHOD as CORATER
from trainables.self_learning import METHOD as SELF_LEARNING

GROUP = Runtime(workers=3, gpus=1.0, memory=4.0)


def test_a_stage_that_trains_no_network_with_the_group_runs_in_one_process() -> None:
    nodes = {
        node.name: node.group for node in CORATER.graph(CORATER.resolve({"model": "fusion_hs"}))
    }
    assert nodes == {"others_h": True, "others_s": True, "rater": True, "fusion": False}
    assert not SELF_LEARNING.graph(SELF_LEARNING.resolve({}))[-1].group


def test_memory_counts_all_processes_of_a_group() -> None:
    assert GROUP.share == 1.0
    assert (GROUP.workers + 1) * GROUP.share == GROUP.memory
    assert dataclasses.replace(GROUP, workers=1).share == 4.0
    assert Runtime(workers=3).share is None


@pytest.mark.parametrize("room", [1, 2])
def test_no_more_groups_start_than_there_is_room_for(
    room: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bundles, "_room", lambda runtime: room)
    inside, most, finished = 0, 0, 0

    async def stage(gate: bundles.GroupGate, fails: bool) -> None:
        nonlocal inside, most, finished
        async with gate.place(GROUP):
            inside += 1
            most = max(most, inside)
            await asyncio.sleep(0.001)
            inside -= 1
            finished += 1
            if fails:
                raise ValueError

    async def everyone() -> None:
        gate = bundles.GroupGate()
        stages = [stage(gate, number % 3 == 0) for number in range(20)]
        await asyncio.gather(*stages, return_exceptions=True)

    asyncio.run(everyone())
    assert most == room
    assert finished == 20
