"""A home that was moved: MLflow's own client finds its files where the home lies now."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from raysearch.tracking.client import connect, database_to_read, default_uri, locked
from raysearch.tracking.relocation import relocate


def test_the_addresses_of_a_moved_home_lead_to_its_files(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "a new #1"
    old.mkdir()
    client = connect(default_uri(old), old)
    place = (old / "mlartifacts" / "raysearch" / "study").as_uri()
    experiment = client.create_experiment("raysearch/study", place)
    other = client.create_experiment("somebody's", "s3://bucket/mlartifacts/x")
    run = client.create_run(experiment).info.run_id
    client.log_text(run, "all of it", "report.txt")
    assert relocate(old / "mlflow.db", old) == 0

    shutil.move(old, new)
    with locked(default_uri(new)):
        pass
    client = connect(default_uri(new), new)
    assert Path(client.download_artifacts(run, "report.txt")).read_text() == "all of it"
    assert client.get_run(run).info.artifact_uri.startswith((new / "mlartifacts").as_uri())
    assert client.get_experiment(other).artifact_location == "s3://bucket/mlartifacts/x"
    assert relocate(new / "mlflow.db", new) == 0
    assert relocate(tmp_path / "absent.db", new) == 0


def test_a_home_that_may_only_be_read_is_read_from_a_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mlartifacts").mkdir()
    client = connect(default_uri(tmp_path), tmp_path)
    client.create_experiment("raysearch/study", "file:///before/mlartifacts/raysearch/study")
    before = (tmp_path / "mlflow.db").read_bytes()
    ask = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: path != tmp_path and ask(path, mode))
    with database_to_read(tmp_path) as folder:
        assert folder != tmp_path
        with locked(default_uri(folder)):
            pass
        location = connect(default_uri(folder), folder).search_experiments()[0].artifact_location
        assert location == (tmp_path / "mlartifacts/raysearch/study").as_uri()
    assert not folder.exists()
    assert (tmp_path / "mlflow.db").read_bytes() == before
