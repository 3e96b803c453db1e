"""The search in Optuna's storage, read back by Optuna."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest
import yaml
from optuna.trial import TrialState

from raysearch.study.ledger import PRUNED
from raysearch.study.space import Space
from raysearch.tracking.optuna_mirror import OptunaMirror
from raysearch.tracking.projection import Ending
from raysearch.tracking.writer import Update

SPACE, _ = Space.parse(
    {
        "gamma": {"float": [0.2, 0.8], "step": 0.1},
        "lambda_rd": {"choice": [0, 0.01, 0.1]},
        "strategy": "lr",
    }
)


@pytest.fixture
def uri(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'optuna.db'}"


def mirror_of(study: Any, uri: str) -> OptunaMirror:
    return OptunaMirror(uri, study.name, study.record.instance, SPACE.domains)


def update(study: Any, numbers: set[int] | None = None, ending: Ending | None = None) -> Update:
    return Update(study.record, numbers, ending or Ending())


def read(mirror: OptunaMirror, uri: str) -> optuna.Study:
    return optuna.load_study(study_name=mirror.study_name, storage=uri)


def test_every_state_is_there_with_its_values(make_study: Callable[..., Any], uri: str) -> None:
    study = make_study(home=Path(uri.removeprefix("sqlite:///")).parent)
    study.whole(0)
    study.begin(1, folds=2)
    study.ledger.finish_trial(1, PRUNED, value=0.61, reason="it cannot win any more")
    study.begin(2, folds=1)
    study.fail(2, "stage 'fit': ValueError: not finite")
    study.begin(3, folds=3)
    study.ledger.add_trial(4, {"gamma": 0.25, "lambda_rd": 0.01, "other": "x"}, "enqueued")
    mirror = mirror_of(study, uri)
    mirror.write(update(study, ending=replace(study.ending(), status="RUNNING")))

    copy = read(mirror, uri)
    assert [t.state for t in copy.trials] == [
        TrialState.COMPLETE,
        TrialState.PRUNED,
        TrialState.FAIL,
        TrialState.RUNNING,
        TrialState.RUNNING,
    ]
    for trial, row in zip(copy.trials, study.ledger.trials(), strict=True):
        assert trial.number == row.number
        rows = study.ledger.folds(row.number)
        steps = {r.index: r.scores["val_ua"] for r in rows}
        assert trial.intermediate_values == steps | ({4: 0.61} if row.number == 1 else {})
        assert trial.datetime_start.timestamp() == pytest.approx(row.started, abs=1)
    assert copy.trials[0].value == pytest.approx(study.ledger.trials()[0].value)
    assert copy.trials[0].params == {"gamma": 0.2, "lambda_rd": 0.01}
    assert copy.trials[1].value == 0.61
    assert copy.trials[1].user_attrs["reason"] == "it cannot win any more"
    assert copy.trials[2].user_attrs["reason"] == "stage 'fit': ValueError: not finite"
    assert copy.trials[3].user_attrs["folds"] == "3 of 4"
    outside = copy.trials[4]
    assert outside.params == {"lambda_rd": 0.01}, "0.25 is no step of gamma's domain"
    assert (outside.user_attrs["gamma"], outside.user_attrs["other"]) == (0.25, "x")
    assert copy.best_trial.number == 0
    assert copy.metric_names == ["val_ua"]
    assert copy.user_attrs["result"].startswith("honest estimate: UA ")
    assert copy.user_attrs["corpus"] == "demo"
    assert mirror.count() == 3, "of the five trials"


def test_a_restart_goes_on_without_doubles(make_study: Callable[..., Any], uri: str) -> None:
    """Interrupted, killed, extended: the numbers stay, and what waits goes on."""
    study = make_study(home=Path(uri.removeprefix("sqlite:///")).parent)
    study.begin(0, folds=2)
    first = mirror_of(study, uri)
    first.write(update(study, {0}))
    first.write(update(study, ending=Ending("KILLED", "interrupted by the user")))
    (trial,) = read(first, uri).trials
    assert trial.state == TrialState.WAITING
    assert trial.user_attrs["reason"] == "interrupted by the user"

    study.more(0, range(2, 4))
    study.begin(1)
    study.begin(2)
    second = mirror_of(study, uri)
    second.write(update(study, {2}))
    states = [t.state for t in read(second, uri).trials]
    assert states == [TrialState.WAITING, TrialState.RUNNING, TrialState.RUNNING], (
        "trial 2 needs trial 1 before it; trial 0 was not asked for"
    )
    second.write(update(study))
    assert read(second, uri).trials[0].state == TrialState.RUNNING
    study.complete(0)
    second.forget()  # as after an error
    for _ in range(2):
        second.write(update(study))
    copy = read(second, uri).trials
    assert [t.state for t in copy] == [TrialState.COMPLETE, *[TrialState.RUNNING] * 2]
    assert len(copy[0].intermediate_values) == 4
    assert copy[0].number == 0
    assert len(optuna.get_all_study_names(uri)) == 1

    study.ledger.set_fact("instance", "another ledger of the same study")
    other = mirror_of(study, uri)
    assert (other.count(), second.count()) == (0, 1)
    other.write(update(study))
    assert len(optuna.get_all_study_names(uri)) == 2
    assert len(read(second, uri).trials) == 3


def test_several_objectives(make_study: Callable[..., Any], uri: str) -> None:
    study = make_study(home=Path(uri.removeprefix("sqlite:///")).parent)
    study.begin(0, folds=4)
    values = {"ua": 0.7, "worst_ua": 0.4}
    study.ledger.finish_trial(0, "complete", 0.7, "", {"values": values})
    configuration = study.folder.configuration() | {"objective": ["ua", "worst_ua"]}
    study.folder.configuration_file.write_text(yaml.safe_dump(configuration))
    mirror = mirror_of(study, uri)
    mirror.write(update(study))
    copy = read(mirror, uri)
    assert copy.trials[0].values == [0.7, 0.4]
    assert copy.metric_names == ["val_ua", "val_worst_ua"]
    assert [d.name for d in copy.directions] == ["MAXIMIZE", "MAXIMIZE"]


def test_its_name_shows_no_password() -> None:
    mirror = OptunaMirror("postgresql://me:hunter2@host/db", "x", "12345678", SPACE.domains)
    assert mirror.name == "Optuna's storage at postgresql://…@host/db"


def test_optuna_dashboard_shows_it(make_study: Callable[..., Any], uri: str) -> None:
    import io
    import json

    dashboard = pytest.importorskip("optuna_dashboard", reason="needs optuna-dashboard")
    study = make_study(home=Path(uri.removeprefix("sqlite:///")).parent)
    study.whole(0)
    study.begin(1, folds=2)
    study.ledger.finish_trial(1, PRUNED, value=0.61, reason="it cannot win any more")
    mirror = mirror_of(study, uri)
    mirror.write(update(study))
    app = dashboard.wsgi(uri)

    def get(path: str) -> Any:
        said: list[str] = []
        environ = {
            **{"REQUEST_METHOD": "GET", "PATH_INFO": path, "SERVER_NAME": "x", "SERVER_PORT": "80"},
            **{"wsgi.input": io.BytesIO(), "wsgi.errors": io.StringIO(), "wsgi.url_scheme": "http"},
            "QUERY_STRING": "",
        }
        body = b"".join(app(environ, lambda status, headers, *more: said.append(status)))
        assert said[0].startswith("200"), body
        return json.loads(body)

    (summary,) = get("/api/studies")["study_summaries"]
    assert summary["study_name"] == mirror.study_name
    trials = get(f"/api/studies/{summary['study_id']}")["trials"]
    assert [trial["state"] for trial in trials] == ["Complete", "Pruned"]
    assert [step["step"] for step in trials[1]["intermediate_values"]] == [0, 1, 4]
