"""Stages of worker groups on a small cluster: what all of them read lies on a node once."""

from __future__ import annotations

import dataclasses
import importlib
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from raysearch import stages
from raysearch.stages.dataset import Moments
from raysearch.stages.store import Store
from tests.stages.test_executor import CLIPS, SUPPORT, dataset
from trainables.stage import Artifact, Sequences

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::ResourceWarning")]
SECONDS = 60
"""of each clip"""


@pytest.fixture
def ray(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(SUPPORT))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(SUPPORT), str(SUPPORT.parents[1])]))
    monkeypatch.setenv("RAY_TRAIN_V2_ENABLED", "1")
    ray = importlib.import_module("ray")
    ray.init(
        address="local",
        num_cpus=4,
        object_store_memory=600_000_000,
        include_dashboard=False,
        log_to_driver=False,
    )
    yield ray
    ray.shutdown()


def spoken() -> stages.Dataset:
    wave = np.random.default_rng(0).integers(-9000, 9000, CLIPS * SECONDS * 16000, np.int16)
    frames = Sequences(wave, np.arange(CLIPS + 1, dtype=np.int64) * SECONDS * 16000)
    return dataclasses.replace(
        dataset(), frames={"wave": frames}, moments={"wave": Moments.of(frames)}
    )


def test_groups_side_by_side_read_one_wave(ray: Any, tmp_path: Path) -> None:
    from raysearch.stages.broker import connect

    method, data = importlib.import_module("group_method").METHOD, spoken()
    where = stages.context(data, [f"{i}" for i in range(CLIPS)], ["x-1"], 0)
    broker, ref = connect(str(tmp_path / "store"), scratch=str(tmp_path / "scratch")), ray.put(data)
    calls = [stages.calls(method, method.resolve({}), fold, where) for fold in range(2)]
    runtime = stages.Runtime(workers=2)
    demands = [stages.Demand(each, "study", runtime, ref) for each in calls]
    ray.get([broker.fold.remote(demand) for demand in demands], timeout=240)
    artifacts = [entry_of(tmp_path, each[-1].key) for each in calls]
    most = max(value for one in artifacts for value in one.info["store"])
    wave = data.frames["wave"].values.nbytes
    assert wave < most < 1.2 * wave
    alone = stages.execute(calls[0][-1], data, (), stages.Runtime())
    np.testing.assert_allclose(artifacts[0].arrays["test"], alone.arrays["test"], rtol=1e-4)


def entry_of(folder: Path, key: str) -> Artifact:
    entry = Store(str(folder / "store")).get(key)
    assert entry is not None
    return entry[0]
