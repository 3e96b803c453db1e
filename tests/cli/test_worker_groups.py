"""Studies whose stages train in groups of workers, by the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(900)]
SPACE = """\
method: group_method:METHOD
corpus: {name: manifest}
features: [wave]
protocol: {name: kfold, folds: 3}
params: {lr: 1.0e-3, gigabytes: 1.0}
trials: 1
workers: 2
"""


def test_a_worker_short_of_memory_is_told_and_with_more_the_study_ends_whole(shell: Any) -> None:
    (shell.folder / "groups.yaml").write_text(SPACE)
    words = ("tune", "space=groups.yaml", f"corpus.root={shell.tones}", "quiet=true")
    # a third of it for each process: two workers, and the one that starts them
    short = shell.run(*words, "memory=1.5", timeout=400)
    assert short.code == 1, short.err
    assert "stage 'stage': MemoryError: it needed more than memory=0.5 GB" in short.err
    assert "Traceback" not in short.err
    whole = shell.run(*words, "memory=9", timeout=400)
    assert whole.code == 0, whole.err
    assert shell.report()["trials"]["complete"] == 1
    assert states(shell.folder / "runs") == {"FINISHED"}
    assert not list(shell.folder.glob("runs/scratch/*"))
    assert not list(shell.folder.glob("runs/studies/*/lease.json"))


def states(home: Path) -> set[str]:
    """Of all runs in a home's MLflow that are there now."""
    import sqlite3

    with sqlite3.connect(home / "mlflow.db") as database:
        rows = database.execute("select status from runs where lifecycle_stage = 'active'")
        return {str(status) for (status,) in rows}
