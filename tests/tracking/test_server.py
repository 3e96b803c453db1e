"""A real tracking server that goes away and comes back."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from servers import Server

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def test_a_server_away_for_some_seconds_costs_nothing(
    make_study: Callable[..., Any], tmp_path: Path, wait_until: Callable[..., None]
) -> None:
    server = Server(tmp_path)
    study = make_study(home=tmp_path / "home")
    server.start()
    tracker = study.tracker(uri=server.uri)
    try:
        tracker.start()
        study.whole(0)
        tracker.changed(0)
        time.sleep(8)
        server.kill()
        for trial in range(1, 5):
            study.whole(trial)
            start = time.perf_counter()
            tracker.changed(trial)
            assert time.perf_counter() - start < 0.05
        wait_until(lambda: bool(tracker.trouble), 60)
        time.sleep(3)
        server.start()
        closing = study.closing()
        tracker.finish(closing)
        assert tracker.close(150) == []
        assert tracker.trouble == ""

        from mlflow.tracking import MlflowClient

        client = MlflowClient(server.uri)
        experiment = client.get_experiment_by_name(f"raysearch/{study.facts.id}")
        runs = client.search_runs([experiment.experiment_id])
        kinds = [run.data.tags["raysearch.kind"] for run in runs]
        assert (kinds.count("study"), kinds.count("trial"), kinds.count("fold")) == (1, 5, 4)
        assert {run.info.status for run in runs} == {"FINISHED"}
        fold = next(run for run in runs if run.data.tags["raysearch.kind"] == "fold")
        names = {item.path for item in client.list_artifacts(fold.info.run_id)}
        assert {"confusion.png", "confusion.json"} <= names
    finally:
        tracker.close(0.1)
        server.kill()
