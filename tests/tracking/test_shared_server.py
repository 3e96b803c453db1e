"""A server as `mlflow/` runs it: PostgreSQL, logins, two people at once, a restart between."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from servers import ADMIN, SharedServer, postgres, postgres_missing

from raysearch.errors import BadInput
from raysearch.tracking import server

ROOT = Path(__file__).resolve().parents[2]
TRIALS = 6
LOGINS = {"anna": "anna-has-a-password", "bert": "bert-has-a-password"}

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

if postgres_missing():
    pytest.skip(postgres_missing(), allow_module_level=True)
pytest.importorskip("flask_wtf", reason="needs MLflow's logins: pip install 'mlflow[auth]'")

DRIVER = f"""
    import os, sys, time
    sys.path[:0] = [{str(ROOT)!r}, {str(ROOT / "tests" / "tracking")!r}]
    from pathlib import Path
    from synthetic import SyntheticStudy
    from raysearch.study.ledger import FAILED
    from raysearch.study.space import Space
    from raysearch.tracking.optuna_mirror import OptunaMirror
    home, name, uri, optuna = sys.argv[1:]
    study = SyntheticStudy(Path(home), name)
    domains = Space.parse({{"gamma": {{"float": [0.2, 0.8], "step": 0.1}}}})[0].domains
    mirror = OptunaMirror(optuna, name, study.record.instance, domains)
    writer = study.writer(study.mlflow(uri), mirror)
    writer.start()
    for trial in range(len(study.ledger.trials()), {TRIALS}):
        study.begin(trial, 2)
        writer.changed(trial)
        time.sleep(0.5)
        if trial == 2:
            extra = {{"trace": "Traceback: it was told to fail"}}
            study.ledger.finish_trial(trial, FAILED, reason="it was told to fail", extra=extra)
        else:
            study.more(trial, range(2, 4))
            study.complete(trial)
        writer.changed(trial)
        print(trial, flush=True)
    writer.end(study.ending())
    print(writer.close(200), writer.away)
"""


@pytest.fixture(scope="module")
def sockets() -> Iterator[Path]:
    with postgres() as folder:
        yield folder


def drive(home: Path, who: str, uri: str, optuna: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(DRIVER), str(home), f"of-{who}", uri, optuna],
        env={
            **os.environ,
            "MLFLOW_TRACKING_USERNAME": who,
            "MLFLOW_TRACKING_PASSWORD": LOGINS[who],
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def login(monkeypatch: pytest.MonkeyPatch, name: str, password: str) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", name)
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", password)


def test_two_drivers_and_a_server_that_is_killed_between(
    sockets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import optuna
    from mlflow.tracking import MlflowClient

    made = SharedServer(tmp_path, sockets)
    database = f"postgresql+psycopg://mlflow@/optuna?host={sockets}"
    made.start()
    try:
        login(monkeypatch, *ADMIN)
        for name, password in LOGINS.items():
            made.post("users/create", username=name, password=password)
        drivers = {who: drive(tmp_path / who, who, made.uri, database) for who in LOGINS}
        for driver in drivers.values():
            assert driver.stdout is not None
            for trial in range(3):
                assert driver.stdout.readline() == f"{trial}\n"
        made.kill()
        made.start()
        for who, driver in drivers.items():
            output = driver.communicate(timeout=250)[0]  # but for what readline has taken
            assert output.splitlines()[-1] == "[] {}", who
            assert "Traceback" not in output

        client = MlflowClient(made.uri)
        before = {who: runs_of(client, who) for who in LOGINS}
        for who, runs in before.items():
            kinds = Counter(run.data.tags["raysearch.kind"] for run in runs)
            assert kinds == {"study": 1, "trial": TRIALS, "fold": 4}, who
            assert Counter(run.info.status for run in runs) == {
                "FINISHED": len(runs) - 1,
                "FAILED": 1,
            }
            (failed,) = [run for run in runs if run.info.status == "FAILED"]
            assert failed.data.tags["raysearch.reason"] == "it was told to fail"
            names = {item.path for item in client.list_artifacts(failed.info.run_id)}
            assert "failure.txt" in names
            assert failed.info.artifact_uri.startswith("mlflow-artifacts:/"), "through the server"

        # the same command again: nothing twice, in neither
        again = drive(tmp_path / "anna", "anna", made.uri, database)
        assert again.communicate(timeout=150)[0] == "[] {}\n"
        assert {run.info.run_id for run in runs_of(client, "anna")} == {
            run.info.run_id for run in before["anna"]
        }
        storage = optuna.storages.RDBStorage(database)
        names = optuna.get_all_study_names(storage)
        assert sorted(name.split()[0] for name in names) == ["of-anna", "of-bert"]
        for name in names:
            trials = optuna.load_study(study_name=name, storage=storage).trials
            assert [trial.number for trial in trials] == list(range(TRIALS)), name
            states = Counter(trial.state.name for trial in trials)
            assert states == {"COMPLETE": TRIALS - 1, "FAIL": 1}
            assert len(trials[0].intermediate_values) == 4

        storage.engine.dispose()

        # who is let in, and where
        login(monkeypatch, "bert", LOGINS["bert"])
        assert server.ask(made.uri, tmp_path, "of-bert") == []
        assert server.ask(made.uri, tmp_path, "not-run-yet") == []
        with pytest.raises(BadInput, match="does not let bert write the experiment raysearch/of-a"):
            server.ask(made.uri, tmp_path, "of-anna")
        made.post(
            "users/permissions/grant",
            version=3,
            username="bert",
            resource_type="experiment",
            resource_id=before["anna"][0].info.experiment_id,
            permission="EDIT",
        )
        assert server.ask(made.uri, tmp_path, "of-anna") == [], "as the README says"
        login(monkeypatch, "bert", "a-wrong-password")
        with pytest.raises(BadInput, match="does not accept the login of 'bert'"):
            server.ask(made.uri, tmp_path, "of-bert")
        logs = "".join(path.read_text() for path in tmp_path.rglob("mlflow.log"))
        assert logs
        assert not [word for word in LOGINS.values() if word in logs]
    finally:
        made.kill()


def runs_of(client: Any, who: str) -> list[Any]:
    experiment = client.get_experiment_by_name(f"raysearch/of-{who}")
    return list(client.search_runs([experiment.experiment_id], max_results=1000))


def test_a_password_in_the_environments_address_reaches_no_file(
    sockets: Path, tmp_path: Path, make_study: Callable[..., Any]
) -> None:
    """PostgreSQL as MLflow's own database, its address in the environment, and it goes away."""
    study = make_study(home=tmp_path)
    study.whole(0)
    secret = "hunter2"
    uri = f"postgresql+psycopg://mlflow:{secret}@/mlflow?host={tmp_path / 'nowhere'}"
    writer = study.writer(study.mlflow(uri))
    writer.start()
    writer.end(study.ending())
    (sentence,) = writer.close(15)
    assert "postgresql+psycopg://…@/mlflow" in sentence
    assert secret not in sentence + str(writer.away)
    files = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert any(path.name == "mlflow.log" for path in files)
    assert [path for path, data in files.items() if secret.encode() in data] == []
