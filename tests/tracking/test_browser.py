"""MLflow's own UI in a real browser, on a home that a tracker wrote."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from raysearch.study.wording import percent
from raysearch.tracking.client import default_uri, experiment_name
from raysearch.tracking.ui import ui

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(400),
    pytest.mark.filterwarnings("ignore:The ..noload.. loader strategy"),
]

if not (shutil.which("chromium") or shutil.which("chromium-browser")):
    pytest.skip("needs Debian's chromium, which is not installed", allow_module_level=True)
pytest.importorskip("websocket", reason="needs the package websocket-client")


def test_study_trials_folds_curves_and_matrices_are_visible(
    make_study: Callable[..., Any], tmp_path: Path
) -> None:
    from browser import Browser
    from mlflow.tracking import MlflowClient
    from servers import free_port

    study = make_study(home=tmp_path)
    study.whole(0, 1, 2)
    study.begin(3, folds=2)
    study.fail(3, "the loss of fold demo/v02 is not finite")
    runs = study.mlflow()
    writer = study.writer(runs)
    writer.start()
    ending = study.ending()
    writer.end(ending)
    assert writer.close(100) == []
    honest = f"{percent(ending.report.estimates.honest['ua'].mean)} %"

    shots = Path(os.environ.get("RAYSEARCH_SCREENSHOTS") or tmp_path / "shots")
    shots.mkdir(parents=True, exist_ok=True)
    client = MlflowClient(default_uri(tmp_path))
    experiment = client.get_experiment_by_name(experiment_name(study.name)).experiment_id
    ids = {run.info.run_name: run.info.run_id for run in client.search_runs([experiment])}
    best = ending.report.best_trial
    kind = "workflowType=machine_learning"
    port = free_port()
    base = f"http://127.0.0.1:{port}/"

    def address(run: str, tab: str = "") -> str:
        return f"{base}#/experiments/{experiment}/runs/{ids[run]}{tab}?{kind}"

    expander = "[col-id*='Run Name'] button"
    with ui(tmp_path, port=port, wait=120), Browser(tmp_path / "profile") as page:
        # The table: one study, which unfolds into its trials, and the selected into its folds.
        page.open(base + runs.page)
        text = page.wait_for(f"study {study.name}", "val_ua", "honest_ua", "gamma", honest)
        assert "trial 000" not in text
        click = (
            "(name => { const row = [...document.querySelectorAll('.ag-row')].find("
            "r => r.innerText.includes(name)); const at = row && row.querySelector("
            f'"{expander}"); if (at) at.click(); return Boolean(at); }})'
        )
        page.wait_true(f"{click}('study ')")
        page.wait_for("trial 000", "trial 001", "trial 002", "trial 003", "selected")
        page.wait_true(f"{click}('selected')")
        page.wait_for(f"{study.speakers[0]} · trial {best:03d}")
        page.shoot(shots / "runs.png")

        page.open(address(f"study {study.name}"))
        page.wait_for("Honest result", honest, "The speech is synthetic:", "3 complete, 1 failed")
        page.shoot(shots / "study.png")

        more = "[...document.querySelectorAll('*')].find(e => e.innerText == 'Show more')"
        page.run(f"{more}.click()")
        page.wait_for("no difference that four speakers can show", "report.html")

        # what the study's run keeps: the report, all trials as a table, figures
        page.open(address(f"study {study.name}", "/artifacts/trials.json"))
        page.wait_for("report.html", "figures", "tables", "command.txt", "study.yaml", "gamma")
        page.shoot(shots / "trials.png")
        page.open(address(f"study {study.name}", "/artifacts/figures/estimates.png"))
        page.wait_true("[...document.images].some(i => i.naturalWidth > 300)")
        page.shoot(shots / "figure.png")

        # the trials alone, best first, and charts that compare them
        alone = runs.page.replace("ShareKey=raysearch", "ShareKey=raysearch-trials")
        page.open(base + alone)
        text = page.wait_for("trial 000", "trial 001", "trial 002", "val_ua", "gamma", "lambda_rd")
        assert f"study {study.name}" not in text
        page.open(base + alone + "&compareRunsMode=CHART")
        page.wait_for("Trials\n(", "trial 001")
        page.wait_true("document.querySelectorAll('.js-plotly-plot').length > 1")
        page.shoot(shots / "charts.png")

        page.open(address("trial 003"))
        page.wait_for("Failed after 2 of 4 folds", "is not finite")
        page.shoot(shots / "failed-trial.png")

        page.open(address(f"trial {best:03d} · selected", "/artifacts/folds.json"))
        page.wait_for("test_ua", *study.speakers)
        page.shoot(shots / "folds.png")

        fold = f"{study.speakers[0]} · trial {best:03d}"
        page.open(address(fold, "/model-metrics"))
        page.wait_for("train_loss", "val_ua", "epoch")
        page.wait_true("document.querySelectorAll('.js-plotly-plot .scatterlayer path').length > 0")
        page.shoot(shots / "curves.png")

        page.open(address(fold, "/artifacts/confusion.png"))
        page.wait_for("confusion.png")
        page.wait_true("[...document.images].some(i => i.naturalWidth > 300)")
        page.shoot(shots / "matrix.png")
