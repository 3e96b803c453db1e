"""MLflow as a projection of the ledger, on SQLite."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from raysearch.study.ledger import FAILED
from raysearch.study.wording import percent
from raysearch.tracking.client import default_uri, experiment_name
from raysearch.tracking.projection import Ending

# MLflow 3.17 uses what SQLAlchemy 2.1 deprecates; here the tests ask MLflow themselves.
pytestmark = pytest.mark.filterwarnings("ignore:The ..noload.. loader strategy")


def client_of(study: Any) -> Any:
    from mlflow.tracking import MlflowClient

    return MlflowClient(default_uri(study.home))


def experiment_of(study: Any) -> Any:
    return client_of(study).get_experiment_by_name(experiment_name(study.name))


def runs_of(study: Any) -> dict[tuple[str, str, str], Any]:
    """Every run of a study by (kind, trial, fold); a twin fails."""
    runs: dict[tuple[str, str, str], Any] = {}
    experiment = experiment_of(study).experiment_id
    for run in client_of(study).search_runs([experiment], max_results=5000):
        tags = run.data.tags
        key = (
            tags["raysearch.kind"],
            tags.get("raysearch.trial", ""),
            tags.get("raysearch.fold", ""),
        )
        assert key not in runs, f"two runs for {key}"
        runs[key] = run
    return runs


def write(study: Any, ending: Ending | None = None) -> Sequence[str]:
    """One session that writes all there is and ends; what could not be written."""
    writer = study.writer()
    writer.start()
    writer.end(ending or study.ending())
    return list(writer.close(60))


def folder_of(run: Any) -> Path:
    return Path(run.info.artifact_uri.removeprefix("file://"))


def files_of(run: Any) -> set[str]:
    folder = folder_of(run)
    return {path.name for path in folder.iterdir()} if folder.is_dir() else set()


def test_a_whole_study_is_nested_and_complete(
    make_study: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    study = make_study()
    runs_there = study.mlflow()
    writer = study.writer(runs_there)
    writer.start()
    for trial in range(3):
        study.begin(trial)
        writer.changed(trial)
        study.more(trial, range(4))
        writer.changed(trial)
        if trial == 1:
            study.fail(trial, "the loss of fold demo/v02 is not finite")
        else:
            study.complete(trial)
        writer.changed(trial)
    ending = study.ending()
    writer.end(ending)
    assert writer.close(60) == []
    assert runs_there.page.startswith("#/experiments/")

    runs = runs_of(study)
    assert len(runs) == 1 + 3 + 4
    top = runs["study", "", ""]
    assert top.info.status == "FINISHED"
    estimates = ending.report.estimates
    honest = estimates.honest["ua"]
    closing = {
        "honest_ua": honest.mean,
        "honest_ua_low": honest.low,
        "honest_ua_high": honest.high,
        "honest_ua_sd": honest.sd,
        "nested_wa": estimates.nested["wa"].mean,
        "selected_ua": estimates.selected["ua"].mean,
        "oracle_wa": estimates.oracle["wa"].mean,
        "optimism_ua": estimates.optimism["ua"],
        "stages_run": ending.report.stages_run,
        "trials_failed": 1,
        "val_ua": max(trial.value or 0 for trial in study.ledger.trials()),
    }
    metrics = {name: top.data.metrics[name] for name in closing}
    assert metrics == pytest.approx(closing, abs=1e-4)
    assert top.data.params["strategy"] == "lr"
    assert top.data.params["seed"] == "0"
    assert top.data.tags["raysearch.versions.torch"] == "2.13"
    assert top.data.tags["raysearch.simulated.speech"] == "yes"
    assert top.data.tags["raysearch.best_trial"] == str(ending.report.best_trial)
    assert f"UA {percent(honest.mean)} %" in top.data.tags["raysearch.result"]
    assert top.inputs.dataset_inputs[0].dataset.name == "demo"
    assert {"study.yaml", "facts.json", "folds.csv", "report.md", "confusion.png"} <= files_of(top)

    trial = runs["trial", "0", ""]
    rows = study.ledger.folds(0)
    assert trial.data.tags["mlflow.parentRunId"] == top.info.run_id
    assert trial.data.params == {"gamma": "0.2", "lambda_rd": "0.01"}
    mean = sum(row.scores["val_ua"] for row in rows) / 4
    assert trial.data.metrics["val_ua"] == pytest.approx(mean, abs=1e-4)
    client = client_of(study)
    history = client.get_metric_history(trial.info.run_id, "fold/test_ua")
    assert [(m.step, m.value) for m in sorted(history, key=lambda m: m.step)] == [
        (row.index, row.scores["test_ua"]) for row in rows
    ]
    assert {"folds.json", "folds.csv", "confusion.json"} <= files_of(trial)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", default_uri(study.home))  # load_table asks there
    table = client.load_table(top.info.experiment_id, "folds.json", run_ids=[trial.info.run_id])
    assert list(table["fold"]) == study.speakers

    failed = runs["trial", "1", ""]
    assert failed.info.status == "FAILED"
    assert "not finite" in failed.data.tags["raysearch.reason"]
    assert "not finite" in failed.data.tags["mlflow.note.content"]
    assert "val_ua" not in failed.data.metrics

    best = str(ending.report.best_trial)
    assert runs["trial", best, ""].info.run_name.endswith("selected")
    fold = runs["fold", best, "demo/v00"]
    assert fold.data.tags["mlflow.parentRunId"] == runs["trial", best, ""].info.run_id
    curve = client.get_metric_history(fold.info.run_id, "epoch/val_ua")
    assert sorted(m.step for m in curve) == list(range(1, 13))
    assert {"confusion.png", "confusion.json"} <= files_of(fold)
    assert len({key for run in runs.values() for key in run.data.metrics}) < 60


def test_the_study_keeps_its_report_and_its_pages(make_study: Callable[..., Any]) -> None:
    study = make_study()
    study.whole(0, 1)
    ending = study.ending(fold_runs=0)
    assert write(study, ending) == []
    folder = folder_of(runs_of(study)["study", "", ""])
    assert ending.report.section("estimates").before[0] in (folder / "report.html").read_text()
    assert (folder / "figures" / "estimates.png").read_bytes().startswith(b"\x89PNG")
    assert (folder / "tables" / "estimates.csv").read_text().startswith("estimate,ua")
    assert (folder / "command.txt").read_text() == f"{study.provenance.command}\n"
    assert (folder / "study.yaml").read_text() == study.provenance.study_yaml
    table = json.loads((folder / "trials.json").read_text())
    assert table["columns"][:4] == ["trial", "state", "folds", "val_ua"]
    assert {"gamma", "lambda_rd"} <= set(table["columns"])
    assert [row[0] for row in table["data"]] == [0, 1]
    # the page of the trials alone is a search that MLflow's own client answers too
    experiment = experiment_of(study)
    view = json.loads(experiment.tags["mlflow.sharedViewState.raysearch-trials"])
    order = f"{view['orderByKey']} {'ASC' if view['orderByAsc'] else 'DESC'}"
    runs = client_of(study).search_runs(
        [experiment.experiment_id], filter_string=view["searchFilter"], order_by=[order]
    )
    assert {run.data.tags["raysearch.kind"] for run in runs} == {"trial"}
    scores = [run.data.metrics["val_ua"] for run in runs]
    assert scores == sorted(scores, reverse=True)


@pytest.mark.slow
def test_a_repeat_writes_nothing_and_an_extension_adds(make_study: Callable[..., Any]) -> None:
    study = make_study()
    study.whole(0)
    assert write(study) == []
    first = runs_of(study)
    assert write(study) == []
    assert {key: run.info.run_id for key, run in runs_of(study).items()} == {
        key: run.info.run_id for key, run in first.items()
    }

    study.whole(1)
    assert write(study) == []
    then = runs_of(study)
    assert set(first) < set(then)
    assert then["study", "", ""].info.run_id == first["study", "", ""].info.run_id
    names = [run.info.run_name for key, run in then.items() if key[0] == "trial"]
    assert sum(name.endswith("selected") for name in names) == 1
    history = client_of(study).get_metric_history(then["study", "", ""].info.run_id, "honest_ua")
    assert sorted(m.step for m in history) == [1, 2], "one point each time the study was closed"


def test_ctrl_c_says_why_and_the_next_start_goes_on(
    make_study: Callable[..., Any], wait_until: Callable[..., None]
) -> None:
    study = make_study()
    study.whole(0)
    study.begin(1, folds=2)
    assert write(study, Ending("KILLED", "stopped with Ctrl-C; the same command goes on")) == []
    runs = runs_of(study)
    assert runs["study", "", ""].info.status == "KILLED"
    assert runs["trial", "1", ""].info.status == "KILLED"
    assert "Ctrl-C" in runs["trial", "1", ""].data.tags["raysearch.reason"]
    assert runs["trial", "0", ""].info.status == "FINISHED"

    writer = study.writer()
    writer.start()
    wait_until(lambda: runs_of(study)["trial", "1", ""].info.status == "RUNNING")
    assert runs_of(study)["study", "", ""].info.status == "RUNNING"
    study.more(1, range(2, 4))
    study.complete(1)
    writer.changed(1)
    writer.end(study.ending())
    assert writer.close(60) == []
    again = runs_of(study)
    assert {run.info.status for run in again.values()} == {"FINISHED"}
    assert again["trial", "1", ""].info.run_id == runs["trial", "1", ""].info.run_id
    assert "raysearch.reason" not in again["trial", "1", ""].data.tags


@pytest.mark.slow
def test_runs_that_were_lost_or_half_written_are_rebuilt(make_study: Callable[..., Any]) -> None:
    study = make_study()
    study.whole(0, 1, 2)
    assert write(study) == []
    client = client_of(study)
    before = runs_of(study)
    client.delete_run(before["trial", "0", ""].info.run_id)
    half = before["trial", "1", ""].info.run_id
    client.delete_tag(half, "raysearch.written")
    client.update_run(half, status="RUNNING")
    twin = dict(before["trial", "2", ""].data.tags)
    twin.pop("raysearch.written")
    client.create_run(before["trial", "2", ""].info.experiment_id, tags=twin)

    assert write(study) == []
    after = runs_of(study)
    assert set(after) == set(before)
    assert {run.info.status for run in after.values()} == {"FINISHED"}
    assert after["trial", "1", ""].info.run_id == half
    assert after["trial", "2", ""].info.run_id == before["trial", "2", ""].info.run_id
    parents = {
        run.data.tags["mlflow.parentRunId"]: after["trial", trial, ""].info.run_id
        for (kind, trial, _), run in after.items()
        if kind == "fold"
    }
    assert parents
    assert all(parent == run for parent, run in parents.items())


@pytest.mark.slow
def test_what_was_deleted_or_renamed_is_missed_and_comes_back(
    make_study: Callable[..., Any], tmp_path: Path
) -> None:
    study = make_study()
    study.whole(0, 1)
    assert study.mlflow().count() == 0
    assert write(study) == []
    whole = len(runs_of(study))
    assert study.mlflow().count() == whole == 1 + 2 + 4
    client, experiment = client_of(study), experiment_of(study).experiment_id

    client.delete_run(runs_of(study)["trial", "1", ""].info.run_id)
    assert study.mlflow().count() == whole - 1
    assert write(study) == []
    assert study.mlflow().count() == whole

    client.delete_experiment(experiment)
    assert study.mlflow().count() == 0
    assert write(study) == []
    assert (study.mlflow().count(), experiment_of(study).experiment_id) == (whole, experiment)

    client.rename_experiment(experiment, f"renamed by a person: {study.name}")
    assert study.mlflow().count() == 0
    assert write(study) == []
    assert study.mlflow().count() == whole

    client.update_run(runs_of(study)["study", "", ""].info.run_id, status="RUNNING")
    assert study.mlflow().count() == whole - 1, "one that runs is not whole"
    assert study.mlflow(f"sqlite:///{tmp_path / 'absent.db'}").count() == 0
    (tmp_path / "other.db").write_text("no database at all")
    assert study.mlflow(f"sqlite:///{tmp_path / 'other.db'}").count() == 0


def test_another_ledger_of_the_same_study_keeps_its_own_runs(
    make_study: Callable[..., Any],
) -> None:
    study = make_study()
    study.begin(0, folds=1)
    old = study.writer()
    old.start()
    assert old.close(60) == []
    # the folder was deleted under it, and the study begun anew
    study.ledger.set_fact("instance", "another")
    assert write(study, Ending("KILLED", "enough")) == []
    runs = client_of(study).search_runs([experiment_of(study).experiment_id])
    assert len(runs) == 4
    assert {run.info.status for run in runs} == {"KILLED"}
    reasons = {run.data.tags["raysearch.ledger"]: run.data.tags["raysearch.reason"] for run in runs}
    assert reasons == {
        "another": "enough",
        f"ledger-of-{study.name}": "its ledger was deleted",
    }


def test_a_server_that_is_away_holds_up_nothing(
    make_study: Callable[..., Any], tmp_path: Path, wait_until: Callable[..., None]
) -> None:
    study = make_study(home=tmp_path)
    study.whole(0)
    writer = study.writer(study.mlflow("http://127.0.0.1:9"))
    writer.start()
    writer.end(study.ending())
    wait_until(lambda: bool(writer.away))
    assert writer.away == {"MLflow at http://127.0.0.1:9": "connection refused"}
    (sentence,) = writer.close(0.2)
    assert "http://127.0.0.1:9" in sentence
    assert "nothing is lost" in sentence
    assert "connection refused" in sentence


def test_a_run_that_died_says_why(make_study: Callable[..., Any]) -> None:
    """A failed trial with its traceback, and a study that could not go on."""
    study = make_study()
    study.begin(0, folds=1)
    trace = "Traceback (most recent call last):\n  loop.py, line 7\nValueError: not finite"
    study.ledger.finish_trial(0, FAILED, reason="stage 'fit': not finite", extra={"trace": trace})
    study.begin(1, folds=2)
    assert write(study, Ending("FAILED", "the disk is full", trace="OSError: no space")) == []
    runs = runs_of(study)
    trial = runs["trial", "0", ""]
    assert trial.info.status == "FAILED"
    assert trial.data.tags["raysearch.reason"] == "stage 'fit': not finite"
    assert "failure.txt" in trial.data.tags["mlflow.note.content"]
    text = (folder_of(trial) / "failure.txt").read_text()
    assert text == f"stage 'fit': not finite\n\n{trace}\n"
    top = runs["study", "", ""]
    assert top.info.status == "FAILED"
    assert top.data.tags["raysearch.reason"] == "the disk is full"
    assert "the disk is full" in top.data.tags["mlflow.note.content"]
    assert (folder_of(top) / "failure.txt").read_text() == "OSError: no space"
    stopped = runs["trial", "1", ""]
    assert (stopped.info.status, stopped.data.tags["raysearch.reason"]) == (
        "KILLED",
        "the disk is full",
    )
    assert "failure.txt" not in files_of(stopped)


def test_a_run_that_mlflow_refuses_costs_only_itself(make_study: Callable[..., Any]) -> None:
    study = make_study()
    study.ledger.add_trial(0, {"a bad $ name": 1}, "enqueued")
    study.whole(1)
    sentences = write(study, Ending("KILLED", "enough"))
    assert len(sentences) == 1
    assert "trial 000" in sentences[0]
    assert runs_of(study)["trial", "1", ""].info.status == "FINISHED"


# -- drivers of their own --------------------------------------------------------------------------
def driver(script: str, *words: str) -> subprocess.Popen[str]:
    """Another process, which has `synthetic` at hand."""
    here = Path(__file__).parent
    head = f"import sys; sys.path[:0] = [{str(here.parents[1])!r}, {str(here)!r}]\n"
    return subprocess.Popen(
        [sys.executable, "-c", head + textwrap.dedent(script), *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def log_of(home: Path) -> str:
    path = home / "mlflow.log"
    return path.read_text() if path.exists() else ""


@pytest.mark.slow
def test_nothing_is_printed_and_the_root_logger_is_left_alone(tmp_path: Path) -> None:
    """A fresh database, in a fresh process: migrations are the noisiest moment."""
    script = """
        import logging
        from pathlib import Path
        from synthetic import SyntheticStudy
        before = list(logging.getLogger().handlers)
        study = SyntheticStudy(Path(sys.argv[1]))
        study.whole(0)
        assert "mlflow" not in sys.modules, "imported at the top"
        writer = study.writer()
        writer.start()
        writer.end(study.ending())
        assert writer.close(60) == []
        assert logging.getLogger().handlers == before
        (handler,) = logging.getLogger("mlflow").handlers
        assert Path(handler.baseFilename).name == "mlflow.log"
    """
    process = driver(script, str(tmp_path))
    output = process.communicate(timeout=100)[0]
    assert (process.returncode, output) == (0, "")


@pytest.mark.slow
def test_kill_9_leaves_nothing_running(
    make_study: Callable[..., Any], wait_until: Callable[..., None]
) -> None:
    """The driver dies in the middle of writing; the next one closes and rebuilds."""
    study = make_study()
    script = """
        import time
        from pathlib import Path
        from synthetic import SyntheticStudy
        study = SyntheticStudy(Path(sys.argv[1]), sys.argv[2])
        runs = study.mlflow()
        writer = study.writer(runs)
        writer.start()
        for trial in range(1000):
            if runs.page:
                print("writing", flush=True)
            study.begin(trial, 2)
            writer.changed(trial)
            study.more(trial, range(2, 4))
            study.complete(trial)
            writer.changed(trial)
            time.sleep(0.02)
    """
    process = driver(script, str(study.home), study.name)
    assert process.stdout is not None
    try:
        # asking before that would make the database a second time, at the same moment
        assert process.stdout.readline() == "writing\n"
        wait_until(lambda: len(runs_of(study)) > 8, 60)
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
    writer = study.writer()
    writer.start()
    writer.end(study.ending())
    assert writer.close(100) == []
    states = {t.number: t.state for t in study.ledger.trials()}
    assert len(states) > 3
    statuses = {int(k[1]): r.info.status for k, r in runs_of(study).items() if k[0] == "trial"}
    assert statuses == {
        number: "FINISHED" if state == "complete" else "KILLED" for number, state in states.items()
    }


@pytest.mark.slow
def test_two_drivers_start_on_one_home_at_once(tmp_path: Path) -> None:
    script = """
        from pathlib import Path
        from synthetic import SyntheticStudy
        study = SyntheticStudy(Path(sys.argv[1]), sys.argv[2])
        study.whole(0)
        writer = study.writer()
        writer.start()
        writer.end(study.ending())
        print(writer.close(100))
    """
    drivers = [driver(script, str(tmp_path), f"study-{name}") for name in "ab"]
    assert [process.communicate(timeout=110)[0] for process in drivers] == ["[]\n", "[]\n"]
    assert "will be tried again" not in log_of(tmp_path)
