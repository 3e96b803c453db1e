"""Stages on GPUs, on a node of CPUs that declares two: a process belongs to its card."""

from __future__ import annotations

import importlib
import os
from pathlib import Path
from typing import Any

import pytest

from raysearch import stages
from raysearch.stages.store import Store
from tests.stages.test_executor import CLIPS, SUPPORT, dataset
from trainables.stage import Cuda

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::ResourceWarning")]
STAGES = 8


@pytest.fixture
def ray(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(SUPPORT))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(SUPPORT), str(SUPPORT.parents[1])]))
    ray = importlib.import_module("ray")
    ray.init(address="local", num_cpus=4, num_gpus=2, include_dashboard=False, log_to_driver=False)
    yield ray
    ray.shutdown()


def test_a_process_serves_one_stage_on_one_card(ray: Any, tmp_path: Path) -> None:
    from raysearch.stages.broker import connect

    method = importlib.import_module("card_method").METHOD
    data = dataset()
    where = stages.context(data, [f"{i}" for i in range(CLIPS)], ["x-1"], 0)
    broker, ref = connect(str(tmp_path / "store")), ray.put(data)
    calls = [
        stages.calls(method, method.resolve({"shift": float(i)}), 0, where) for i in range(STAGES)
    ]
    first = stages.calls(method, method.resolve({"shift": -1.0}), 0, where)
    on_cpu = stages.Demand(first, "study", stages.Runtime(), ref)
    ray.get(broker.fold.remote(on_cpu), timeout=60)
    runtime = stages.Runtime(cpus=0, gpus=1, cuda=Cuda(deterministic=True, tf32=False))
    demands = [stages.Demand(each, "study", runtime, ref) for each in calls]
    ray.get([broker.fold.remote(demand) for demand in demands], timeout=150)
    entries = [Store(str(tmp_path / "store")).get(each[-1].key) for each in calls]
    places = [entry[0].info for entry in entries if entry is not None]
    assert len({place["process"] for place in places}) == STAGES, "a process was used again"
    assert {place["card"] for place in places} == {"0", "1"}
    assert {place["device"] for place in places} == {"cuda"}
    assert all(place["deterministic"] for place in places)
    made = {entry[1].device for entry in entries if entry is not None}
    assert made == {"cuda deterministic benchmark"}
