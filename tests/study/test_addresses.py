"""Addresses: which can be used, which hold a secret, and none that shows one."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from raysearch.errors import BadInput, without_passwords
from raysearch.study import dump, load_study
from raysearch.study.addresses import (
    OPTUNA_VARIABLE,
    TRACKING_VARIABLE,
    has_password,
    named,
    shown,
    uri_problem,
)
from raysearch.study.logs import LogFile

SECRET = "hunter2"


@pytest.mark.parametrize(
    "uri",
    [
        f"postgresql://me:{SECRET}@host/db",
        f"postgresql://me:pa/{SECRET}@host/db",
        f"postgresql://me:pa?{SECRET}@host/db",
        f"postgresql://me:p@{SECRET}@host:5432/db",
        f"postgresql+psycopg://host/db?user=me&password={SECRET}&x=1",
        f"https://me:{SECRET}@host:5000",
        f"https://{SECRET}@host",
    ],
)
def test_a_secret_is_seen_and_never_shown(uri: str) -> None:
    assert has_password(uri)
    assert SECRET not in shown(uri)
    assert "host" in shown(uri)


@pytest.mark.parametrize(
    "uri",
    [
        "http://host:5000",
        "https://host/path",
        "sqlite:////a/b.db",
        "postgresql://me@host:5432/db?application_name=a@b",
        "postgresql+psycopg:///db?host=/run/postgresql",
        "server",
    ],
)
def test_what_holds_no_secret_is_shown_as_it_is(uri: str) -> None:
    assert not has_password(uri)
    assert shown(uri) == uri


def test_messages_and_logs_of_other_systems_lose_their_passwords(tmp_path: Path) -> None:
    text = f"no connection to 'postgresql://me:{SECRET}@host/db?password={SECRET}', sorry"
    assert without_passwords(text) == "no connection to 'postgresql://…@host/db?password=…', sorry"
    log = LogFile(tmp_path / "log")
    try:
        raise OSError(text)
    except OSError as error:
        trace = (type(error), error, error.__traceback__)
        log.emit(logging.LogRecord("x", 30, "f", 1, text, None, trace))
    log.close()
    assert "Traceback" in (tmp_path / "log").read_text()
    assert SECRET not in (tmp_path / "log").read_text()


@pytest.mark.parametrize(
    ("key", "variable"), [("tracking.uri", TRACKING_VARIABLE), ("tracking.optuna", OPTUNA_VARIABLE)]
)
def test_server_is_what_the_environment_names(key: str, variable: str) -> None:
    assert named(key, "sqlite:////x.db", variable, {}) == "sqlite:////x.db"
    assert named(key, "server", variable, {variable: " postgresql://h/d "}) == "postgresql://h/d"
    for environment in ({}, {variable: " "}):
        with pytest.raises(BadInput, match=rf"{key}=server .*{variable}"):
            named(key, "server", variable, environment)


def test_a_login_in_a_web_address_is_refused_wherever_it_comes_from() -> None:
    problem = uri_problem(f"https://me:{SECRET}@host")
    assert problem is not None
    assert "MLFLOW_TRACKING_PASSWORD" in problem
    assert SECRET not in problem


def test_a_study_is_written_down_without_passwords(tmp_path: Path) -> None:
    words = [
        "space=rdlr",
        f"tracking.uri=https://me:{SECRET}@host",
        f"tracking.optuna=postgresql://me:{SECRET}@host/db",
    ]
    with pytest.raises(BadInput) as caught:
        load_study(words, cwd=tmp_path)
    assert len(caught.value.problems) == 2
    assert SECRET not in str(caught.value)
    assert "tracking.uri=server" in caught.value.problems[0]
    assert "PGPASSWORD" in caught.value.problems[1]
    study = load_study(["space=rdlr", "tracking=server", "tracking.optuna=server"], cwd=tmp_path)
    assert (study.tracking.uri, study.tracking.optuna) == ("server", "server")
    assert study.id == load_study(["space=rdlr"], cwd=tmp_path).id
    (tmp_path / "again.yaml").write_text(dump(study))
    assert load_study(["space=again.yaml"], cwd=tmp_path) == study


def test_a_mirror_without_tracking_is_a_contradiction(tmp_path: Path) -> None:
    words = ["space=rdlr", "tracking.enabled=false", "tracking.optuna=sqlite:///x.db"]
    with pytest.raises(BadInput, match=r"tracking\.optuna=sqlite:///x\.db .* tracking=false"):
        load_study(words, cwd=tmp_path)


@pytest.mark.parametrize("uri", ["./mlruns", "file:///tmp/x", "ftp://host"])
def test_uris_that_mlflow_cannot_use_are_named(uri: str) -> None:
    assert repr(uri) in (uri_problem(uri) or "")


@pytest.mark.parametrize("uri", ["sqlite:////a/b.db", "http://h:1", "postgresql+psycopg2://h/d"])
def test_uris_that_it_can_use_pass(uri: str) -> None:
    assert uri_problem(uri) is None
