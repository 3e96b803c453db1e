"""Clusters that are not there: one sentence at once, before Ray would wait for minutes."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

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
