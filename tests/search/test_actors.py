"""Tune's actors where trials end sooner than an actor starts, on a real local Ray."""

from __future__ import annotations

import importlib
import os
from pathlib import Path

import pytest

from raysearch.cluster.connection import connection
from raysearch.search import tune as search

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::ResourceWarning")]
SUPPORT = Path(__file__).resolve().parents[1] / "support"


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_actors_come_up_and_are_used_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(SUPPORT))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(SUPPORT), str(SUPPORT.parents[1])]))
    log = tmp_path / "starts"
    with connection("local", tmp_path / "ray.log"):
        tune = importlib.import_module("ray.tune")
        trainable = importlib.import_module("slow_start").SlowStart
        tuner = tune.Tuner(
            tune.with_resources(trainable, {"cpu": 0, "memory": 50 * 2**20}),
            param_space={"log": str(log), "x": tune.uniform(0, 1)},
            tune_config=tune.TuneConfig(num_samples=60, max_concurrent_trials=3, reuse_actors=True),
            run_config=tune.RunConfig(
                storage_path=str(tmp_path / "tune"),
                verbose=0,
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
            ),
        )
        with search._actors_may_start():
            found = tuner.fit()
        assert (len(found), found.num_errors) == (60, 0)
        logs = Path(importlib.import_module("ray._private.worker")._global_node.get_logs_dir_path())
        processes = len(list(logs.glob("python-core-worker-*")))
    # three actors, and what Ray starts beforehand; without the rule one process a trial, or nearly
    assert 3 <= processes <= 12
