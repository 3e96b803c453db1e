"""Studies on a head and two workers that see neither the corpus nor the driver's code."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]

FAR = ("space=far.yaml", "cluster=cluster.yaml", "tracking.enabled=false")


@pytest.mark.long
def test_a_study_runs_on_nodes_without_the_corpus_and_without_its_code(
    cluster: Any, speech: Path
) -> None:
    done = cluster.run("tune", *FAR, f"corpus.root={speech}", "home=here")
    assert done.returncode == 0, done.stderr
    assert "honest" in done.stdout
    assert "Traceback" not in done.stderr
    listed = cluster.run("status", "home=here").stdout
    assert "done: 4 of 4 trials, 12 folds, best validation" in listed


def test_checkpoints_on_workers_go_with_their_stages(cluster: Any, speech: Path) -> None:
    """Those of stages that are stored, that failed, and that took too long."""
    words = (*FAR, f"corpus.root={speech}", "home=far", "params.shrink=0.5", "quiet=true")
    places = cluster.seen_by_workers(cluster.folder / "far" / "scratch")
    done = cluster.run("tune", *words, "trials=1")
    assert done.returncode == 0, done.stderr
    assert [place for place in places if place.exists()], "none was ever made there"
    assert not [path for place in places for path in place.glob("*")]
    for failing in (("params.fail_at=0.5",), ("timeout=2", "params.delay=4")):
        failed = cluster.run("tune", *words, *failing, "trials=1")
        assert failed.returncode == 1, failed.stdout
        assert not [path for place in places for path in place.glob("*")]


def test_a_driver_on_a_machine_that_is_no_node_is_told_so(
    cluster: Any, speech: Path, tmp_path: Path
) -> None:
    """It reaches the head's port and no raylet: Ray itself would end it in C++."""
    home = tmp_path / "runs"
    words = (*FAR, f"corpus.root={speech}", f"home={home}", "quiet=true")
    elsewhere = ["unshare", "-m", "sh", "-c", f'mount -t tmpfs none {cluster.temporary} && "$@"']
    done = subprocess.run(
        [*elsewhere, "sh", sys.executable, "-m", "raysearch", "tune", *words],
        cwd=cluster.folder,
        env=cluster.environment(),
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 2, done.stderr
    (line,) = done.stderr.splitlines()
    assert f"reaches the Ray cluster at 127.0.0.1:{cluster.port} but is no node of it" in line
    assert not list(home.glob("studies/*/lease.json")), "it let go of its study"


def test_a_submitted_study_is_followed_stopped_and_goes_on(cluster: Any, speech: Path) -> None:
    words = (*FAR, f"corpus.root={speech}", "params.delay=0.7")
    sent = cluster.run("submit", *words, "trials=200")  # not over before it is stopped
    assert sent.returncode == 0, sent.stderr
    job = re.search(r"job=(\S+) cluster=", sent.stdout)[1]  # type: ignore[index]
    home = re.search(r"home on the cluster is (\S+)", sent.stdout)[1]  # type: ignore[index]
    study = re.search(r"study (\S+),", sent.stdout)[1]  # type: ignore[index]
    end = time.monotonic() + 60
    stored = Path(home, "store", "stages")
    while len(list(stored.glob("*/*.safetensors"))) < 4:
        assert time.monotonic() < end, follow(cluster, job, until=("running", "failed"))
        time.sleep(0.1)
    began = time.monotonic()
    stopped = cluster.run("stop", f"job={job}", "cluster=cluster.yaml")
    assert stopped.returncode == 0, stopped.stderr
    assert f"job {job}: stopped" in stopped.stdout
    assert time.monotonic() - began < 60
    said = cluster.run("status", f"job={job}", "cluster=cluster.yaml").stdout
    assert "interrupted; nothing is lost" in said, said
    assert not Path(home, "studies", study, "lease.json").exists(), "it closed its study"
    before = {path: path.stat().st_mtime_ns for path in stored.glob("*/*.safetensors")}
    again = cluster.run("submit", *words, "trials=8")
    job = re.search(r"job=(\S+) cluster=", again.stdout)[1]  # type: ignore[index]
    state = follow(cluster, job, until=("succeeded", "failed"))
    assert f"job {job}: succeeded" in state, state
    told = cluster.run("status", f"study={study}", f"home={home}").stdout
    trials = int(re.search(r"done: (\d+) of \1 trials", told)[1])  # type: ignore[index]
    assert trials >= 8
    now = {path: path.stat().st_mtime_ns for path in stored.glob("*/*.safetensors")}
    assert {path: now[path] for path in before} == before, "nothing was computed twice"
    assert len(now) == 3 + trials * 3
    assert job in cluster.run("status", "cluster=cluster.yaml").stdout
    ended = cluster.run("stop", f"job={job}", "cluster=cluster.yaml")
    assert "had ended before: succeeded" in ended.stdout


def follow(cluster: Any, job: str, until: tuple[str, ...], seconds: float = 100) -> str:
    end = time.monotonic() + seconds
    while True:
        done = cluster.run("status", f"job={job}", "cluster=cluster.yaml", "lines=40")
        assert done.returncode == 0, done.stderr
        said: str = done.stdout
        if any(f": {state}," in said for state in until):
            return said
        assert time.monotonic() < end, said
        time.sleep(0.5)


@pytest.mark.parametrize("token", ["none", "another"])
def test_who_has_not_the_token_is_refused(
    cluster: Any, speech: Path, tmp_path: Path, token: str
) -> None:
    """By the cluster itself and by its Jobs API; told in one line."""
    text = f"address: 127.0.0.1:{cluster.port}\ndashboard: http://127.0.0.1:{cluster.dashboard}\n"
    if token == "another":
        (tmp_path / "token").write_text("0" * 64)
        text += "token_file: token\n"
    (tmp_path / "closed.yaml").write_text(text)
    where = f"cluster={tmp_path / 'closed.yaml'}"
    asked = cluster.run("status", where, HOME=str(tmp_path))
    assert asked.returncode == 1, asked.stdout
    assert len(asked.stderr.splitlines()) == 1, asked.stderr
    assert "token" in asked.stderr
    if token == "none":
        words = (
            "space=far.yaml",
            f"corpus.root={speech}",
            f"home={tmp_path / 'runs'}",
            "quiet=true",
        )
        joined = cluster.run("tune", *words, "tracking.enabled=false", where, HOME=str(tmp_path))
        assert joined.returncode == 1, joined.stdout
        assert "could not be joined" in joined.stderr
        assert "Traceback" not in joined.stderr
