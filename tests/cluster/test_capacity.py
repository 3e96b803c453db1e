"""Requests that no node can meet are refused before anything runs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from raysearch.cluster.capacity import has_autoscaler, shortage
from raysearch.stages.bundles import bundles, stages_at_once
from raysearch.stages.running import Runtime

ROOT = Path(__file__).resolve().parents[2]
SMALL, LARGE = {"CPU": 2.0, "memory": 1e9}, {"CPU": 16.0, "GPU": 1.0}


@pytest.mark.parametrize(
    ("runtime", "nodes"),
    [
        (Runtime(), [SMALL]),
        (Runtime(cpus=2.0), [SMALL]),
        (Runtime(cpus=0.1), [{"CPU": 1.0}]),
        (Runtime(cpus=16.0), [SMALL, LARGE]),
        (Runtime(gpus=0.25), [SMALL, LARGE]),
        (Runtime(workers=2), [SMALL]),
        (Runtime(workers=4, threads=4), [LARGE]),
        (Runtime(workers=6, threads=2), [SMALL, SMALL, {"CPU": 8.0}]),
        (Runtime(workers=2, gpus=1.0), [LARGE, LARGE]),
    ],
)
def test_what_fits(runtime: Runtime, nodes: list[dict[str, float]]) -> None:
    assert shortage(runtime, nodes) == ""


@pytest.mark.parametrize(
    ("runtime", "nodes", "stages"),
    [
        (Runtime(), [SMALL, LARGE], 18),
        (Runtime(cpus=0.5), [SMALL], 4),
        (Runtime(gpus=0.25), [SMALL, LARGE], 4),
        (Runtime(workers=4), [LARGE], 4),
        (Runtime(workers=4, threads=2), [LARGE], 2),
        (Runtime(workers=2, gpus=1.0), [LARGE, LARGE, LARGE], 1),
        (Runtime(cpus=64.0), [], 1),
    ],
)
def test_how_many_stages_run_side_by_side(
    runtime: Runtime, nodes: list[dict[str, float]], stages: int
) -> None:
    assert stages_at_once(runtime, nodes) == stages


@pytest.mark.parametrize(
    ("runtime", "nodes", "words", "most"),
    [
        (Runtime(cpus=64.0), [SMALL], "asks for 64 CPUs (cpus=64)", "1 with 2 CPUs"),
        (Runtime(gpus=1.0), [SMALL], "(gpus=1 and cpus=1)", "1 with 2 CPUs and 0 GPUs"),
        # both are there, on no node together
        (
            Runtime(cpus=8.0, gpus=1.0),
            [{"CPU": 8.0}, {"CPU": 8.0}, {"CPU": 1.0, "GPU": 1.0}],
            "asks for 8 CPUs and 1 GPU",
            "2 with 8 CPUs and 0 GPUs, 1 with 1 CPU and 1 GPU",
        ),
        (Runtime(workers=5), [SMALL], "5 times 1 CPU (workers=5 and threads=1)", "with 2 CPUs"),
        # 6 CPUs in all, and no two of them for a third process
        (Runtime(workers=3, threads=2), [{"CPU": 3.0}, {"CPU": 3.0}], "3 times 2", "2 with 3 CPUs"),
        (Runtime(workers=2, gpus=1.0), [LARGE], "2 times 1 GPU", "1 with 1 GPU"),
        # what is no group runs as in any study
        (Runtime(workers=2, cpus=64.0), [SMALL], "asks for 64 CPUs (cpus=64)", "with 2 CPUs"),
        (Runtime(), [], "cpus=1", "there is no node"),
    ],
)
def test_what_does_not_fit(
    runtime: Runtime, nodes: list[dict[str, float]], words: str, most: str
) -> None:
    problem = shortage(runtime, nodes)
    assert words in problem
    assert most in problem


def test_a_group_asks_for_a_bundle_a_worker() -> None:
    assert bundles(Runtime(cpus=2.0, gpus=0.5)) == [{"CPU": 2.0, "GPU": 0.5}]
    assert bundles(Runtime(workers=2, threads=3)) == [{"CPU": 3.0}, {"CPU": 3.0}]
    # Ray Train gives each worker a whole GPU
    assert bundles(Runtime(workers=2, gpus=0.5)) == [{"GPU": 1.0}, {"GPU": 1.0}]


@pytest.mark.parametrize(
    ("node_type", "reports", "autoscaler"),
    [
        # seen with `ray start --head` of Ray 2.60, without and with --autoscaling-config
        ("node_53fcd78321ea2124a21e2ceb804640bc20333c3097c1d8863be30e42", 0, False),
        ("ray.head.default", 0, True),
        ("node_53fcd78321ea2124a21e2ceb804640bc20333c3097c1d8863be30e42", 4, True),
    ],
)
def test_a_cluster_with_an_autoscaler_is_known(
    node_type: str, reports: int, autoscaler: bool
) -> None:
    report = {"active_nodes": {}, "node_type_mapping": {"53fcd783": node_type}}
    status = json.dumps({"autoscaler_report": report}).encode()
    assert has_autoscaler(status, reports) == autoscaler
    assert not has_autoscaler(None, 0)


@pytest.mark.parametrize("command", ["tune", "plan"])
def test_more_than_this_machine_has_is_refused_at_once(command: str, tmp_path: Path) -> None:
    much = 16 * (os.cpu_count() or 1)
    done = subprocess.run(
        [sys.executable, "-m", "raysearch", command, "space=rdlr", f"cpus={much}"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2, done.stderr
    assert f"a stage asks for {much} CPUs (cpus={much})" in done.stderr
    assert "cluster=" in done.stderr
    assert not (tmp_path / "runs").exists(), "nothing was written"
