"""Clusters that are not there: one sentence at once, before Ray would wait for minutes."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from raysearch.cluster import membership
from raysearch.cluster.connection import connection
from raysearch.errors import BadInput, ClusterFailed

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("how", ["file", "RAY_ADDRESS", "announced"])
def test_a_cluster_that_does_not_answer_is_one_line_at_once(
    tmp_path: Path, dead: str, how: str
) -> None:
    cluster, more = "auto", {}
    if how == "file":
        (tmp_path / "cluster.yaml").write_text(f"address: {dead}")
        cluster = str(tmp_path / "cluster.yaml")
    elif how == "RAY_ADDRESS":
        more = {"RAY_ADDRESS": dead}
    else:
        (tmp_path / "ray").mkdir()
        (tmp_path / "ray" / "ray_current_cluster").write_text(dead)
        more = {"RAY_TMPDIR": str(tmp_path)}
    script = (
        "import sys, time; from pathlib import Path\n"
        "from raysearch.cluster.connection import connection\n"
        "from raysearch.errors import ClusterFailed\n"
        f"began = time.monotonic()\ntry:\n    connection({cluster!r}, "
        "Path('ray.log')).__enter__()\n"
        "except ClusterFailed as error: print(error)\nprint('ray' in sys.modules)\n"
    )
    began = time.monotonic()
    others = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env={**others, "PYTHONPATH": str(ROOT), **more},
        capture_output=True,
        text=True,
    )
    sentence, imported = done.stdout.splitlines()
    assert f"no Ray cluster answers at {dead}" in sentence
    assert imported == "False", "asked before Ray, which would wait for minutes"
    assert time.monotonic() - began < 60  # a bound against hanging


class FakeInit:
    """Ray's `init` on a busy machine: it fails so many times."""

    def __init__(self, failures: int) -> None:
        self.failures = failures
        self.tries = 0

    def __call__(self, **options: object) -> None:
        self.tries += 1
        if self.tries <= self.failures:
            raise RuntimeError("The current node timed out during startup.\n  raylet.out: ...")


@pytest.mark.parametrize(("failures", "tries"), [(0, 1), (1, 2), (2, 2)])
def test_a_start_that_fails_is_tried_again_and_then_said_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failures: int, tries: int
) -> None:
    init, log = FakeInit(failures), tmp_path / "ray.log"
    monkeypatch.setattr("ray.init", init)
    if failures < 2:
        with connection("local", log):
            pass
    else:
        with (
            pytest.raises(ClusterFailed, match=r"two tries: RuntimeError: .* timed out") as caught,
            connection("local", log),
        ):
            pass
        assert "run the same command again" in str(caught.value)
        assert "\n" not in str(caught.value)
    assert init.tries == tries


@pytest.mark.parametrize(
    ("address", "socket_answers", "here"),
    [("127.0.0.1", True, True), ("127.0.0.1", False, False), ("192.0.2.1", True, False)],
)
def test_a_machine_is_a_node_where_a_raylet_answers(
    monkeypatch: pytest.MonkeyPatch, address: str, socket_answers: bool, here: bool
) -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as folder, socket.socket(socket.AF_UNIX) as raylet:
        if socket_answers:
            raylet.bind(f"{folder}/raylet")
            raylet.listen()
        node = SimpleNamespace(node_manager_address=address, raylet_socket_name=f"{folder}/raylet")
        monkeypatch.setattr(membership, "_alive", lambda address: [node])
        with (
            contextlib.nullcontext()
            if here
            else pytest.raises(BadInput, match=r"at 10\.0\.0\.7:6379 but is no node of it")
        ):
            membership.check_membership("10.0.0.7:6379", patience=0.0)


def test_what_rays_own_processes_say_goes_to_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from ray._private import worker

    monkeypatch.setattr("ray.init", FakeInit(0))
    with connection("local", tmp_path / "ray.log"):
        line = "A worker died or was killed while executing a task"
        worker.print_to_stdstream({"lines": [line], "pid": "raylet", "is_err": False}, False)
    assert "".join(capsys.readouterr()) == ""
    assert f"(raylet) {line}" in (tmp_path / "ray.log").read_text()
