"""A real tracking server that goes away and comes back."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from servers import Server

from raysearch.tracking.client import experiment_name

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def test_a_server_away_for_some_seconds_costs_nothing(
    make_study: Callable[..., Any], tmp_path: Path, wait_until: Callable[..., None]
) -> None:
    server = Server(tmp_path)
    study = make_study(home=tmp_path / "home")
    server.start()
    runs = study.mlflow(server.uri)
    writer = study.writer(runs)
    try:
        writer.start()
        study.whole(0)
        writer.changed(0)
        wait_until(lambda: runs.count() == 1, 60)  # trial 0; the study itself is running
        server.kill()
        for trial in range(1, 5):
            study.whole(trial)
            start = time.perf_counter()
            writer.changed(trial)
            assert time.perf_counter() - start < 0.05
        wait_until(lambda: bool(writer.away), 60)
        server.start()
        writer.end(study.ending())
        assert writer.close(150) == []
        assert writer.away == {}

        from mlflow.tracking import MlflowClient

        client = MlflowClient(server.uri)
        experiment = client.get_experiment_by_name(experiment_name(study.name))
        there = client.search_runs([experiment.experiment_id])
        kinds = Counter(run.data.tags["raysearch.kind"] for run in there)
        assert kinds == {"study": 1, "trial": 5, "fold": 4}
        assert {run.info.status for run in there} == {"FINISHED"}
        assert runs.count() == 10
        fold = next(run for run in there if run.data.tags["raysearch.kind"] == "fold")
        names = {item.path for item in client.list_artifacts(fold.info.run_id)}
        assert {"confusion.png", "confusion.json"} <= names
    finally:
        writer.close(0.1)
        server.kill()
