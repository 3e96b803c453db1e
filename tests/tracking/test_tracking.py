"""MLflow as a projection of the ledger, on SQLite."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from raysearch.errors import BadInput
from raysearch.study.addresses import uri_problem
from raysearch.study.ledger import FAILED
from raysearch.tracking.runs import Tracker
from raysearch.tracking.storage import default_uri
from raysearch.tracking.ui import ui

# MLflow 3.17 uses what SQLAlchemy 2.1 deprecates; here the tests ask MLflow themselves.
pytestmark = pytest.mark.filterwarnings("ignore:The ..noload.. loader strategy")


def runs_of(study: Any) -> dict[tuple[str, str, str], Any]:
    """Every run of a study by (kind, trial, fold); a twin fails."""
    from mlflow.tracking import MlflowClient

    client = MlflowClient(default_uri(study.home))
    experiment = client.get_experiment_by_name(f"raysearch/{study.facts.id}")
    found: dict[tuple[str, str, str], Any] = {}
    for run in client.search_runs([experiment.experiment_id], max_results=5000):
        tags = run.data.tags
        key = (
            tags["raysearch.kind"],
            tags.get("raysearch.trial", ""),
            tags.get("raysearch.fold", ""),
        )
        assert key not in found, f"two runs for {key}"
        found[key] = run
    return found


def files_of(run: Any) -> set[str]:
    folder = Path(run.info.artifact_uri.removeprefix("file://"))
    return {path.name for path in folder.iterdir()} if folder.is_dir() else set()


def test_a_whole_study_is_nested_and_complete(
    make_study: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow.tracking import MlflowClient

    study = make_study()
    tracker = study.tracker()
    tracker.start()
    for trial in range(3):
        study.begin(trial)
        tracker.changed(trial)
        study.more(trial, range(4))
        tracker.changed(trial)
        if trial == 1:
            study.fail(trial, "the loss of fold demo/v02 is not finite")
        else:
            study.complete(trial)
        tracker.changed(trial)
    closing = study.closing()
    tracker.finish(closing)
    assert tracker.close(60) == []
    assert tracker.page.startswith("#/experiments/")

    runs = runs_of(study)
    assert len(runs) == 1 + 3 + 4
    top = runs["study", "", ""]
    assert top.info.status == "FINISHED"
    assert top.data.metrics["honest_ua"] == pytest.approx(0.70)
    assert set(closing.numbers) <= set(top.data.metrics)
    assert top.data.params["strategy"] == "lr"
    assert top.data.params["seed"] == "0"
    assert top.data.tags["raysearch.versions.torch"] == "2.13"
    assert top.data.tags["raysearch.simulated.speech"] == "yes"
    assert "synthetic" in top.data.tags["mlflow.note.content"]
    assert "70.0 %" in top.data.tags["mlflow.note.content"]
    assert top.inputs.dataset_inputs[0].dataset.name == "demo"
    assert {"study.yaml", "facts.json", "folds.csv", "report.md", "confusion.png"} <= files_of(top)

    trial = runs["trial", "0", ""]
    rows = study.ledger.folds(0)
    assert trial.data.tags["mlflow.parentRunId"] == top.info.run_id
    assert trial.data.params == {"gamma": "0.2", "lambda_rd": "0.01"}
    mean = sum(row.scores["val_ua"] for row in rows) / 4
    assert trial.data.metrics["val_ua"] == pytest.approx(mean, abs=1e-4)
    client = MlflowClient(default_uri(study.home))
    history = client.get_metric_history(trial.info.run_id, "fold/test_ua")
    assert [(m.step, m.value) for m in sorted(history, key=lambda m: m.step)] == [
        (row.index, row.scores["test_ua"]) for row in rows
    ]
    assert {"folds.json", "folds.csv", "confusion.json"} <= files_of(trial)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", default_uri(study.home))  # load_table asks there
    table = client.load_table(top.info.experiment_id, "folds.json", run_ids=[trial.info.run_id])
    assert list(table["fold"]) == study.names

    failed = runs["trial", "1", ""]
    assert failed.info.status == "FAILED"
    assert "not finite" in failed.data.tags["raysearch.reason"]
    assert "not finite" in failed.data.tags["mlflow.note.content"]
    assert "val_ua" not in failed.data.metrics

    best = str(closing.selected)
    assert runs["trial", best, ""].info.run_name.endswith("selected")
    fold = runs["fold", best, "demo/v00"]
    assert fold.data.tags["mlflow.parentRunId"] == runs["trial", best, ""].info.run_id
    curve = client.get_metric_history(fold.info.run_id, "epoch/val_ua")
    assert sorted(m.step for m in curve) == list(range(1, 13))
    assert {"confusion.png", "confusion.json"} <= files_of(fold)
    assert len({key for run in runs.values() for key in run.data.metrics}) < 60


def test_the_study_keeps_its_report_and_says_what_the_comparisons_say(
    make_study: Callable[..., Any],
) -> None:
    from mlflow.tracking import MlflowClient

    study = make_study()
    for trial in range(2):
        study.whole(trial)
    tracker = study.tracker()
    tracker.start()
    tracker.finish(study.closing(fold_runs=0))
    assert tracker.close(60) == []
    top = runs_of(study)["study", "", ""]
    folder = Path(top.info.artifact_uri.removeprefix("file://"))
    assert "Honest result" in (folder / "report.html").read_text()
    assert (folder / "figures" / "estimates.png").read_bytes().startswith(b"\x89PNG")
    assert (folder / "tables" / "estimates.csv").read_text().startswith("estimate,ua")
    assert (folder / "command.txt").read_text() == f"{study.facts.command}\n"
    assert (folder / "study.yaml").read_text() == study.facts.study_yaml
    table = json.loads((folder / "trials.json").read_text())
    assert table["columns"][:4] == ["trial", "state", "folds", "val_ua"]
    assert {"gamma", "lambda_rd"} <= set(table["columns"])
    assert [row[0] for row in table["data"]] == [0, 1]
    note = top.data.tags["mlflow.note.content"]
    assert "no difference that four speakers can show" in note
    assert "report.html" in note
    # the page of the trials alone is a search that MLflow's own client answers too
    client = MlflowClient(default_uri(study.home))
    experiment = client.get_experiment_by_name(f"raysearch/{study.facts.id}")
    view = json.loads(experiment.tags["mlflow.sharedViewState.raysearch-trials"])
    order = f"{view['orderByKey']} {'ASC' if view['orderByAsc'] else 'DESC'}"
    found = client.search_runs(
        [experiment.experiment_id], filter_string=view["searchFilter"], order_by=[order]
    )
    assert {run.data.tags["raysearch.kind"] for run in found} == {"trial"}
    scores = [run.data.metrics["val_ua"] for run in found]
    assert scores == sorted(scores, reverse=True)


def test_a_repeat_writes_nothing_and_an_extension_adds(make_study: Callable[..., Any]) -> None:
    study = make_study()
    study.whole(0)
    for _ in range(2):
        tracker = study.tracker()
        tracker.start()
        tracker.finish(study.closing())
        assert tracker.close(60) == []
    first = runs_of(study)

    study.whole(1)
    tracker = study.tracker()
    tracker.start()
    tracker.changed(1)
    tracker.finish(study.closing())
    assert tracker.close(60) == []
    then = runs_of(study)
    assert set(first) < set(then)
    assert then["study", "", ""].info.run_id == first["study", "", ""].info.run_id
    named = [r.info.run_name for k, r in then.items() if k[0] == "trial"]
    assert sum(name.endswith("selected") for name in named) == 1
    from mlflow.tracking import MlflowClient

    history = MlflowClient(default_uri(study.home)).get_metric_history(
        then["study", "", ""].info.run_id, "honest_ua"
    )
    assert sorted(m.step for m in history) == [1, 2], "one point each time the study was closed"


def test_ctrl_c_says_why_and_the_next_start_goes_on(
    make_study: Callable[..., Any], wait_until: Callable[..., None]
) -> None:
    study = make_study()
    study.whole(0)
    study.begin(1, folds=2)
    tracker = study.tracker()
    tracker.start()
    tracker.stop("stopped with Ctrl-C; the same command goes on")
    assert tracker.close(60) == []
    runs = runs_of(study)
    assert runs["study", "", ""].info.status == "KILLED"
    assert runs["trial", "1", ""].info.status == "KILLED"
    assert "Ctrl-C" in runs["trial", "1", ""].data.tags["raysearch.reason"]
    assert runs["trial", "0", ""].info.status == "FINISHED"

    tracker = study.tracker()
    tracker.start()
    wait_until(lambda: runs_of(study)["trial", "1", ""].info.status == "RUNNING")
    assert runs_of(study)["study", "", ""].info.status == "RUNNING"
    study.more(1, range(2, 4))
    study.complete(1)
    tracker.changed(1)
    tracker.finish(study.closing())
    assert tracker.close(60) == []
    again = runs_of(study)
    assert {run.info.status for run in again.values()} == {"FINISHED"}
    assert again["trial", "1", ""].info.run_id == runs["trial", "1", ""].info.run_id
    assert "raysearch.reason" not in again["trial", "1", ""].data.tags


def test_runs_that_were_lost_or_half_written_are_rebuilt(make_study: Callable[..., Any]) -> None:
    from mlflow.tracking import MlflowClient

    study = make_study()
    for trial in range(3):
        study.whole(trial)
    tracker = study.tracker()
    tracker.start()
    tracker.finish(study.closing())
    assert tracker.close(60) == []

    client = MlflowClient(default_uri(study.home))
    before = runs_of(study)
    client.delete_run(before["trial", "0", ""].info.run_id)
    half = before["trial", "1", ""].info.run_id
    client.delete_tag(half, "raysearch.written")
    client.update_run(half, status="RUNNING")
    twin = dict(before["trial", "2", ""].data.tags)
    twin.pop("raysearch.written")
    client.create_run(before["trial", "2", ""].info.experiment_id, tags=twin)

    tracker = study.tracker()
    tracker.start()
    tracker.finish(study.closing())
    assert tracker.close(60) == []
    after = runs_of(study)
    assert set(after) == set(before)
    assert {run.info.status for run in after.values()} == {"FINISHED"}
    assert after["trial", "1", ""].info.run_id == half
    assert after["trial", "2", ""].info.run_id == before["trial", "2", ""].info.run_id
    folds = {k: r for k, r in after.items() if k[0] == "fold"}
    for (_, trial, _), run in folds.items():
        parent = after["trial", trial, ""].info.run_id
        assert run.data.tags["mlflow.parentRunId"] == parent


def test_a_deleted_experiment_comes_back(make_study: Callable[..., Any]) -> None:
    from mlflow.tracking import MlflowClient

    study = make_study()
    study.whole(0)
    for _ in range(2):
        tracker = study.tracker()
        tracker.start()
        tracker.finish(study.closing())
        assert tracker.close(60) == []
        runs = runs_of(study)
        assert runs["trial", "0", ""].info.status == "FINISHED"
        client = MlflowClient(default_uri(study.home))
        client.delete_experiment(runs["study", "", ""].info.experiment_id)


def test_another_ledger_of_the_same_study_keeps_its_own_runs(
    make_study: Callable[..., Any],
) -> None:
    study = make_study()
    study.begin(0, folds=1)
    old = study.tracker()
    old.start()
    assert old.close(60) == []
    # The folder was deleted under it, and the study begun anew.
    study.instance = "another"
    tracker = study.tracker()
    tracker.start()
    tracker.stop("enough")
    assert tracker.close(60) == []
    from mlflow.tracking import MlflowClient

    client = MlflowClient(default_uri(study.home))
    experiment = client.get_experiment_by_name(f"raysearch/{study.facts.id}")
    found = client.search_runs([experiment.experiment_id])
    assert len(found) == 4
    assert {run.info.status for run in found} == {"KILLED"}
    lost = [r for r in found if r.data.tags["raysearch.ledger"] != "another"]
    assert all("ledger was deleted" in r.data.tags["raysearch.reason"] for r in lost)


def test_telling_it_costs_the_search_nothing(make_study: Callable[..., Any]) -> None:
    study = make_study()
    tracker = study.tracker()
    tracker.start()
    study.begin(0)
    times = []
    for _ in range(1000):
        start = time.perf_counter()
        tracker.changed(0)
        times.append(time.perf_counter() - start)
    assert sorted(times)[len(times) // 2] < 1e-3
    assert tracker.close(60) == []


def test_a_server_that_is_away_holds_up_nothing(
    make_study: Callable[..., Any], tmp_path: Path, wait_until: Callable[..., None]
) -> None:
    study = make_study(home=tmp_path)
    study.whole(0)
    tracker = study.tracker(uri="http://127.0.0.1:9")
    tracker.start()
    start = time.monotonic()
    tracker.changed(0)
    tracker.finish(study.closing())
    assert time.monotonic() - start < 0.1
    wait_until(lambda: bool(tracker.trouble))
    (sentence,) = tracker.close(0.2)
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
    tracker = study.tracker()
    tracker.start()
    tracker.stop("the disk is full", failed=True, files={"failure.txt": "OSError: no space"})
    assert tracker.close(60) == []
    runs = runs_of(study)
    trial = runs["trial", "0", ""]
    assert trial.info.status == "FAILED"
    assert trial.data.tags["raysearch.reason"] == "stage 'fit': not finite"
    assert "failure.txt" in trial.data.tags["mlflow.note.content"]
    folder = Path(trial.info.artifact_uri.removeprefix("file://"))
    assert (folder / "failure.txt").read_text() == f"stage 'fit': not finite\n\n{trace}\n"
    top = runs["study", "", ""]
    assert top.info.status == "FAILED"
    assert top.data.tags["raysearch.reason"] == "the disk is full"
    assert "the disk is full" in top.data.tags["mlflow.note.content"]
    assert "failure.txt" in files_of(top)
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
    tracker = study.tracker()
    tracker.start()
    tracker.stop("enough")
    sentences = tracker.close(60)
    assert len(sentences) == 1
    assert "trial 000" in sentences[0]
    assert runs_of(study)["trial", "1", ""].info.status == "FINISHED"


@pytest.mark.slow
def test_nothing_is_printed_and_the_root_logger_is_left_alone(tmp_path: Path) -> None:
    """A fresh database, in a fresh process: migrations are the noisiest moment."""
    root = Path(__file__).resolve().parents[2]
    script = f"""
        import logging, sys
        sys.path[:0] = [{str(root)!r}, {str(root / "tests" / "tracking")!r}]
        from pathlib import Path
        from conftest import MadeUp
        before = list(logging.getLogger().handlers)
        study = MadeUp(Path({str(tmp_path)!r}))
        study.whole(0)
        assert "mlflow" not in sys.modules, "imported at the top"
        tracker = study.tracker()
        tracker.start()
        tracker.finish(study.closing())
        assert tracker.close(60) == []
        assert logging.getLogger().handlers == before
        (handler,) = logging.getLogger("mlflow").handlers
        assert Path(handler.baseFilename).name == "mlflow.log"
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, timeout=100
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.slow
def test_kill_9_leaves_nothing_running(
    make_study: Callable[..., Any], wait_until: Callable[..., None]
) -> None:
    """The driver dies in the middle of writing; the next one closes and rebuilds."""
    study = make_study()
    root = Path(__file__).resolve().parents[2]
    script = f"""
        import sys, time
        sys.path[:0] = [{str(root)!r}, {str(root / "tests" / "tracking")!r}]
        from pathlib import Path
        from conftest import MadeUp
        study = MadeUp(Path({str(study.home)!r}), {study.facts.id!r})
        tracker = study.tracker()
        tracker.start()
        for trial in range(1000):
            if tracker.page:
                print("writing", flush=True)
            study.begin(trial, 2)
            tracker.changed(trial)
            study.more(trial, range(2, 4))
            study.complete(trial)
            tracker.changed(trial)
            time.sleep(0.02)
    """
    driver = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)], stdout=subprocess.PIPE, text=True
    )
    assert driver.stdout is not None
    try:
        # Asking before that would make the database a second time, at the same moment.
        assert driver.stdout.readline() == "writing\n"
        wait_until(lambda: len(runs_of(study)) > 8, 60)
    finally:
        os.kill(driver.pid, signal.SIGKILL)
        driver.communicate()
    tracker = study.tracker()
    tracker.start()
    tracker.finish(study.closing())
    assert tracker.close(100) == []
    runs = runs_of(study)
    states = {t.number: t.state for t in study.ledger.trials()}
    assert {k[1] for k in runs if k[0] == "trial"} == {str(n) for n in states}
    for (kind, trial, _), run in runs.items():
        ended = kind != "trial" or states[int(trial)] == "complete"
        assert run.info.status == ("FINISHED" if ended else "KILLED")


@pytest.mark.slow
def test_two_drivers_start_on_one_home_at_once(tmp_path: Path) -> None:
    root = Path(__file__).resolve().parents[2]
    script = f"""
        import sys
        sys.path[:0] = [{str(root)!r}, {str(root / "tests" / "tracking")!r}]
        from pathlib import Path
        from conftest import MadeUp
        study = MadeUp(Path({str(tmp_path)!r}), "study-" + sys.argv[1])
        study.whole(0)
        tracker = study.tracker()
        tracker.start()
        tracker.finish(study.closing())
        print(tracker.close(100))
    """
    drivers = [
        subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(script), name],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for name in "ab"
    ]
    assert [driver.communicate(timeout=110)[0] for driver in drivers] == ["[]\n", "[]\n"]
    assert "will be tried again" not in _log(tmp_path)


def _log(home: Path) -> str:
    path = home / "mlflow.log"
    return path.read_text() if path.exists() else ""


@pytest.mark.parametrize("uri", ["./mlruns", "file:///tmp/x", "ftp://host"])
def test_uris_that_mlflow_cannot_use_are_named(uri: str) -> None:
    assert repr(uri) in (uri_problem(uri) or "")


@pytest.mark.parametrize("uri", ["sqlite:////a/b.db", "http://h:1", "postgresql+psycopg2://h/d"])
def test_uris_that_it_can_use_pass(uri: str) -> None:
    assert uri_problem(uri) is None


def test_ui_without_a_database_or_a_port_is_bad_input(tmp_path: Path) -> None:
    import socket

    with pytest.raises(BadInput, match=r"mlflow\.db"), ui(tmp_path):
        pass
    (tmp_path / "mlflow.db").touch()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(BadInput, match="port="), ui(tmp_path, port=taken.getsockname()[1]):
            pass


def test_never_started_closes_at_once(tmp_path: Path, make_study: Callable[..., Any]) -> None:
    tracker: Tracker = make_study(home=tmp_path).tracker()
    assert tracker.close(1) == []
