"""raysearch from Python: words, frames and figures; nothing heavy before it is asked for."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import raysearch
from raysearch import api
from raysearch.errors import BadInput, StudyFailed
from raysearch.study import load_study
from raysearch.study.folder import StudyFolder
from tests.support.study_folders import report_of, write_study

ROOT = Path(__file__).resolve().parents[1]


def test_the_import_is_light() -> None:
    code = (
        "import sys, raysearch; dir(raysearch)\n"
        "print(sorted({n.split('.')[0] for n in sys.modules} & set(sys.argv[1].split())))"
    )
    heavy = "ray mlflow torch optuna pandas numpy matplotlib pydantic"
    done = subprocess.run(
        [sys.executable, "-c", code, heavy], capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert done.stdout.strip() == "[]"


def test_what_the_package_offers() -> None:
    assert raysearch.tune is api.tune
    assert raysearch.load is api.load
    assert raysearch.Result is api.Result
    with pytest.raises(AttributeError, match="no attribute 'tunes'"):
        raysearch.tunes  # noqa: B018


def test_keywords_are_the_words_of_a_command(tmp_path: Path) -> None:
    loaded = load_study(
        api._as_words(
            {
                "space": "rdlr",
                "corpus": {
                    "name": ["emodb", "ravdess"],
                    "root": {"emodb": tmp_path, "ravdess": tmp_path},
                },
                "params": {"gamma": {"float": [0.1, 0.9]}, "batch": np.int64(32)},
                "validation__select": 1,
                "trials": 7,
                "quiet": True,
                "description": "it's 1: yes, #no",
            }
        ),
        cwd=tmp_path,
    )
    words = [
        "space=rdlr", "corpus.name=[emodb,ravdess]", f"corpus.root.emodb={tmp_path}",
        f"corpus.root.ravdess={tmp_path}",
        "params.gamma={float: [0.1, 0.9]}", "params.batch=32", "validation.select=1", "trials=7",
        "quiet=true", "description='it''s 1: yes, #no'",
    ]  # fmt: skip
    assert loaded == load_study(words, cwd=tmp_path)
    assert loaded.description == "it's 1: yes, #no"


def test_bad_words_are_told_as_on_the_command_line(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="trails"):
        raysearch.tune("rdlr", trails=3, home=tmp_path)
    with pytest.raises(BadInput, match="holds no study"):
        raysearch.load("x", home=tmp_path)


@pytest.fixture
def result(tmp_path: Path) -> api.Result:
    scores = 0.4 + 0.5 * np.random.default_rng(0).random((5, 6, 4))
    folder = tmp_path / "home" / "studies" / "rdlr-demo-0a1b2c3d"
    write_study(folder, scores, params=[{"gamma": 0.1 * c, "batch": 16 * c} for c in range(5)])
    return raysearch.load("rdlr-demo", home=tmp_path / "home")


def test_frames_hold_what_the_report_says(result: api.Result) -> None:
    report = report_of(result.folder)
    assert result.best == report.best
    assert report.estimates is not None
    table = result.estimates
    assert list(table.index) == ["honest", "nested", "selected", "oracle"]
    for name in table.index:
        for metric in ("ua", "wa"):
            one = getattr(report.estimates, name)[metric]
            assert table.loc[name, metric] == one.mean
            assert table.loc[name, f"{metric}_low"] == one.low
    trials, folds = result.trials, result.folds
    assert len(trials) == sum(report.states.values())
    assert set(folds["fold"]) == set(report.folds)
    best = folds[folds["trial"] == report.best_trial]
    assert best["test_ua"].mean() == pytest.approx(trials.loc[report.best_trial, "test_ua"])
    assert table.loc["selected", "ua"] == pytest.approx(best["test_ua"].mean())
    for name, value in report.best.items():
        assert trials.loc[report.best_trial, f"params.{name}"] == value
    assert report.study in str(result)
    assert "| honest" in result._repr_markdown_()


def test_pictures_show_the_frames(result: api.Result, tmp_path: Path) -> None:
    plot: Any = result.plot_estimates().plot
    np.testing.assert_allclose([mark.mean for mark in plot.marks], 100 * result.estimates["ua"])
    plot = result.plot_heatmap().plot
    table = result.folds.pivot(index="trial", columns="fold", values="test_ua")
    table = 100 * table[list(result.report.folds)].to_numpy()
    np.testing.assert_allclose(np.sort(plot.values, axis=0), np.sort(table, axis=0))
    plot = result.plot_curve("gamma").plot
    assert plot.lines[0].x == pytest.approx([0.0, 0.1, 0.2, 0.3, 0.4])
    picture = result.plot_curve("gamma")
    assert picture._repr_png_()[:4] == b"\x89PNG"
    assert picture.figure().axes
    picture.save(tmp_path / "curve.svg")
    assert (tmp_path / "curve.svg").read_bytes().startswith(b"<?xml")
    with pytest.raises(BadInput, match=r"curve\.pdf must end in \.png or \.svg"):
        picture.save(tmp_path / "curve.pdf")
    assert {"estimates", "curve_gamma", "folds_by_setting"} <= set(result.plots)


def test_pictures_that_there_are_not(result: api.Result) -> None:
    with pytest.raises(BadInput, match=r"no picture 'curve_gama' \(did you mean 'curve_gamma'"):
        result.plot_curve("gama")


@pytest.mark.parametrize(
    ("outcome", "error"),
    [
        ({"interrupted": True, "failure": ""}, KeyboardInterrupt),
        ({"interrupted": False, "failure": "no trial is complete"}, StudyFailed),
    ],
)
def test_how_a_run_without_result_ends(
    outcome: dict[str, Any], error: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("raysearch.tuning.run.tune", lambda *args: SimpleNamespace(**outcome))
    with pytest.raises(error):
        raysearch.tune("rdlr", quiet=True)


def test_it_may_be_called_in_a_thread(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Words are read and results made where no signal handler can be installed."""
    done_outcome = SimpleNamespace(interrupted=False, failure="", folder=StudyFolder(tmp_path))
    monkeypatch.setattr("raysearch.tuning.run.tune", lambda *args: done_outcome)
    results: list[api.Result] = []
    thread = threading.Thread(target=lambda: results.append(raysearch.tune("rdlr", quiet=True)))
    thread.start()
    thread.join(60)
    assert [one.folder for one in results] == [tmp_path]
