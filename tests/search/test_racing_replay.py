"""The replay benchmark: its tables, its simulation, its command."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from scipy import stats

COMMAND = Path(__file__).resolve().parents[1] / "benchmarks" / "racing_replay.py"


@pytest.fixture(scope="module")
def replay() -> ModuleType:
    spec = importlib.util.spec_from_file_location("racing_replay", COMMAND)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["racing_replay"] = module
    spec.loader.exec_module(module)
    return module


def stored(replay: ModuleType, folder: Path) -> tuple[Path, np.ndarray]:
    full = replay.simulated(np.random.default_rng(0), 6, settings=8)
    path = folder / "table.csv"
    scores = {name: full for name in replay.COLUMNS}
    replay.write_table(path, [f"s{i}" for i in range(8)], [f"f{i}" for i in range(6)], scores)
    return path, full


def test_tables_come_back(replay: ModuleType, tmp_path: Path) -> None:
    path, full = stored(replay, tmp_path)
    table, settings, folds = replay.read_table(path, "test_wa")
    np.testing.assert_allclose(table, full, atol=1e-6)
    assert settings[7] == "s7"
    assert folds == [f"f{i}" for i in range(6)]


def test_a_table_with_a_hole_is_refused(replay: ModuleType, tmp_path: Path) -> None:
    path, _ = stored(replay, tmp_path)
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
    with pytest.raises(SystemExit, match="1 of 48 cells"):
        replay.read_table(path)


def test_off_runs_everything_and_finds_the_best(replay: ModuleType) -> None:
    full = replay.simulated(np.random.default_rng(1), 5, settings=9)
    assert replay.own("off")(full, 4, 0) == (45, int(full.mean(axis=1).argmax()))


@pytest.mark.parametrize("name", ["mixed", "wilcoxon", "optuna"])
def test_rules_save_runs(replay: ModuleType, name: str) -> None:
    full = replay.simulated(np.random.default_rng(2), 10, settings=12)
    full[::2] -= 0.15
    made = replay.optuna_wilcoxon if name == "optuna" else replay.own(name)
    runs, chosen = made(full, 3, 0)
    assert 12 + 10 <= runs < full.size
    assert chosen % 2 == 1


@pytest.mark.parametrize("n", [4, 9, 10])
def test_optunas_p_values_are_scipys(replay: ModuleType, n: int) -> None:
    rng = np.random.default_rng(n)
    for values in (rng.normal(size=n), rng.integers(-3, 4, n), rng.integers(-2, 1, n)):
        d = np.asarray(values) / 8
        there = stats.wilcoxon(d, alternative="less", zero_method="zsplit").pvalue
        assert replay.less(d) == pytest.approx(there, abs=1e-12)


def test_the_command(
    replay: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, _ = stored(replay, tmp_path)
    words = ["--table", str(path), "--repeats", "2", "--rules", "mixed", "off", "smac"]
    assert replay.main([*words, "--smac", "/bin/false", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [r["rule"] for r in told["results"]] == ["mixed", "off"]
    assert told["results"][1]["saved"] == 0.0
    assert told["results"][1]["within"] == 1.0
    assert "smac: skipped" in told["missing"][0]
    assert replay.main(words[:-1]) == 0
    assert "8 settings x 6 folds" in capsys.readouterr().out
