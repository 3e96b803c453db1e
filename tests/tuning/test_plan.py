"""`plan` from the command line: how many settings a grid has, and how many stages they ask for."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from raysearch.cli.main import main

SPACE = """\
method: rdlr
corpus: {name: manifest}
features: [egemaps]
params:
  strategy: {choice: [hard, lr]}
  gamma: {grid: [0.5, 0.6, 0.7]}
  lr: {grid: [0.001, 0.01]}
sampler: grid
tracking: false
"""


def planned(capsys: pytest.CaptureFixture[str], tones: Path, *words: str) -> str:
    assert main(["plan", "space=grid.yaml", f"corpus.root={tones}", *words]) == 0
    return capsys.readouterr().out


def test_a_grid_counts_a_parameter_only_where_it_has_an_effect(
    tones: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Under hard labels gamma has none: 2 points there, and 3 × 2 under label relaxation."""
    monkeypatch.chdir(tmp_path)
    Path("grid.yaml").write_text(SPACE)
    plan = planned(capsys, tones, "trials=30")
    assert "settings  8 wanted, 0 done, 8 to run" in plan
    assert re.search(r"student: 40 \(0 stored\)", plan), "8 settings of 5 folds"
    assert "the space has" not in plan
    plan = planned(capsys, tones, "trials=5")
    assert "settings  5 wanted, 0 done, 5 to run" in plan
    assert "the space has 8 points and trials=5 runs the first 5; trials=8 runs" in plan
