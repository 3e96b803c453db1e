"""Temporary folders of processes that live, end, and are killed."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from raysearch.stages import temporary
from raysearch.stages.temporary import leftovers, sweep_leftovers, temporary_folder

ROOT = Path(__file__).resolve().parents[2]
HOLD = """
import sys, time
from raysearch.stages.temporary import temporary_folder
with temporary_folder("raysearch-held-", sys.argv[1]) as folder:
    print(folder, flush=True)
    time.sleep(60)
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(temporary, "temporary_places", lambda: [tmp_path])
    return tmp_path


def test_what_a_killed_process_leaves_is_swept_and_nothing_else(place: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(place)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    with process:
        assert process.stdout is not None
        folder = Path(process.stdout.readline().strip())
        old = time.time() - 3600
        os.utime(folder / ".owner", (old, old))
        assert leftovers() == [], "its process lives"
        process.kill()
        process.wait()
    (place / "raysearch-of-an-older-version").mkdir()
    (place / "rs-of-long-ago").mkdir()
    os.utime(place / "rs-of-long-ago", (old - 8 * 86400, old - 8 * 86400))
    (place / "others").mkdir()
    assert leftovers() == [folder, place / "rs-of-long-ago"]
    assert sweep_leftovers() == 2
    assert sorted(path.name for path in place.iterdir()) == [
        "others",
        "raysearch-of-an-older-version",
    ]


def test_a_folder_that_is_just_made_or_has_served_is_no_leftover(place: Path) -> None:
    with temporary_folder("rs-", str(place)) as folder:
        assert folder.is_dir()
        assert leftovers() == []
    assert list(place.iterdir()) == []
