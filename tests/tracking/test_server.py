"""What a study is told by a server that would refuse it, before anything runs.

A web server of a few lines stands in for the answers; `test_shared_server.py` asks a real MLflow.
"""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from raysearch.errors import BadInput
from raysearch.tracking import server

EXPERIMENT = {"experiment": {"experiment_id": "7", "name": "x", "lifecycle_stage": "active"}}


class Answers(http.server.ThreadingHTTPServer):
    """Answers GET and POST as a test sets."""

    get: tuple[int, str] = (200, json.dumps(EXPERIMENT))
    post: tuple[int, str] = (200, "{}")
    requests: list[str]

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(http.server.BaseHTTPRequestHandler):
    server: Answers

    def _answer(self, code: int, text: str) -> None:
        self.server.requests.append(f"{self.command} {self.path.split('?')[0]}")
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.send_response(code)
        if 300 <= code < 400:
            self.send_header("Location", text)
        self.send_header("Content-Length", str(len(text.encode())))
        self.end_headers()
        self.wfile.write(text.encode())

    def do_GET(self) -> None:
        self._answer(*self.server.get)

    def do_POST(self) -> None:
        self._answer(*self.server.post)

    def log_message(self, format: str, *args: object) -> None: ...


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> Iterator[Answers]:
    for name in ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    answers = Answers(("127.0.0.1", 0), Handler)
    answers.requests = []
    thread = threading.Thread(target=answers.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield answers
    answers.shutdown()
    thread.join()
    answers.server_close()


def test_a_server_that_takes_the_study_is_asked_and_no_more(
    answers: Answers, tmp_path: Path
) -> None:
    assert server.ask(answers.uri, tmp_path, "x") == []
    assert answers.requests == [
        "GET /api/2.0/mlflow/experiments/get-by-name",
        "POST /api/2.0/mlflow/experiments/set-experiment-tag",
    ]
    answers.requests.clear()
    answers.get = (404, json.dumps({"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "no"}))
    assert server.ask(answers.uri, tmp_path, "x") == [], "a study that nobody has run yet"
    assert len(answers.requests) == 1, "nothing is made before the study is known to be right"


@pytest.mark.parametrize(
    ("get", "post", "words"),
    [
        ((401, "no"), None, ["asks for a login (401)", "MLFLOW_TRACKING_USERNAME"]),
        ((403, "Permission denied"), None, ["(403)", "EDIT", "raysearch/x", "seed="]),
        (None, (403, "Permission denied"), ["(403)", "EDIT", "raysearch/x", "seed="]),
        (
            (403, "Invalid Host header - possible DNS rebinding attack detected"),
            None,
            ["--allowed-hosts", "127.0.0.1:"],
        ),
        ((308, "https://127.0.0.1/"), None, ["wants https", "https://127.0.0.1:"]),
        ((400, "Client sent an HTTP request to an HTTPS server."), None, ["wants https"]),
        ((404, "nothing here"), None, ["no MLflow tracking server"]),
        ((200, "<html>hello</html>"), None, ["no MLflow tracking server"]),
    ],
)
def test_one_that_refuses_is_bad_input_that_says_what_to_set(
    answers: Answers,
    tmp_path: Path,
    get: tuple[int, str] | None,
    post: tuple[int, str] | None,
    words: list[str],
) -> None:
    answers.get, answers.post = get or answers.get, post or answers.post
    with pytest.raises(BadInput) as caught:
        server.ask(answers.uri, tmp_path, "x")
    (problem,) = caught.value.problems
    assert all(word in problem for word in words), problem
    assert answers.uri.removeprefix("http") in problem


def test_a_wrong_login_names_the_user_and_no_password(
    answers: Answers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "anna")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "hunter2")
    answers.get = (401, "no")
    with pytest.raises(BadInput, match="does not accept the login of 'anna'") as caught:
        server.ask(answers.uri, tmp_path, "x")
    assert "hunter2" not in str(caught.value)
    assert "hunter2" not in "".join(p.read_text() for p in tmp_path.glob("*.log"))


def test_https_where_http_is_spoken(answers: Answers, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="does not speak https: say http://"):
        server.ask(answers.uri.replace("http", "https"), tmp_path, "x")


def test_one_that_is_away_or_ill_is_a_note_and_the_study_goes_on(
    answers: Answers, tmp_path: Path
) -> None:
    (note,) = server.ask("http://127.0.0.1:9", tmp_path, "x")
    assert "does not answer (connection refused): the study goes on" in note
    answers.get = (502, "bad gateway")
    (note,) = server.ask(answers.uri, tmp_path, "x")
    assert "502" in note
    assert "the study goes on" in note


def test_a_password_in_the_open_is_a_note(
    answers: Answers, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "hunter2")
    assert server.ask(answers.uri, tmp_path, "x") == [], "this machine hears no stranger"
    monkeypatch.setenv("http_proxy", answers.uri)  # it answers for the host that is far away
    (note,) = server.ask("http://mlflow.example.org:5000", tmp_path, "x")
    assert "not encrypted" in note
    monkeypatch.setenv("https_proxy", answers.uri)
    (note,) = server.ask("https://mlflow.example.org", tmp_path, "x")
    assert "encrypted" not in note


def test_a_database_without_a_driver_is_named(tmp_path: Path) -> None:
    assert server.driver_problem("k", "sqlite:////x.db") is None
    problem = server.driver_problem("tracking.optuna", "mysql+oursql_missing://me:pw@h/d")
    assert problem is not None
    assert "tracking.optuna=mysql+oursql_missing://…@h/d" in problem
    missing = server.driver_problem("tracking.uri", "mssql+pymssql://h/d")
    assert missing is not None
    assert "pip install pymssql" in missing
