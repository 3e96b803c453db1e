"""Whether a tracking server would take a study, asked before anything of the study runs.

A server that does not answer is no reason to wait: the study goes on and MLflow is brought up to
it later. A server that answers and refuses (no login, a wrong one, somebody else's experiment,
http where it speaks https) would refuse to the end, so that is bad input.
"""

from __future__ import annotations

import os
import socket
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from raysearch.errors import BadInput
from raysearch.study.addresses import shown
from raysearch.tracking.client import connect, experiment_name, failures
from raysearch.tracking.writer import brief

_PATIENCE = 5.0
"""seconds for the first packet from a server that may be away"""
_LOGIN = (
    "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN, or write "
    "them into ~/.mlflow/credentials"
)
_GO_WITHOUT = "tracking=false goes without it"


def ask(uri: str, home: Path, study: str) -> list[str]:
    """Ask the server at `uri` for the study's experiment, and whether it may be written.

    Args:
        uri: a tracking URI; for anything but http(s) only its database's driver is looked for.
        home: where MLflow's log goes.
        study: the study's id.

    Returns:
        Sentences to print: that it does not answer now, or that passwords travel in the open.

    Raises:
        BadInput: it answers, and would refuse what the study writes.
    """
    if not uri.startswith(("http://", "https://")):
        problem = driver_problem("tracking.uri", uri)
        if problem:
            raise BadInput(problem)
        return []
    why = _unreachable(uri) or _refusal(uri, home, study)
    return [away(f"MLflow at {uri}", why)] if why else list(_in_the_open(uri))


def away(name: str, why: str) -> str:
    """What a person is told of a system that cannot be written now."""
    return (
        f"{name} does not answer ({why}): the study goes on, and is written there as soon as it "
        "does"
    )


def driver_problem(key: str, uri: str) -> str | None:
    """Why no database of this kind can be reached from here: its driver is not installed."""
    if uri.startswith(("sqlite", "databricks")):
        return None
    import sqlalchemy

    try:
        sqlalchemy.make_url(uri).get_dialect().import_dbapi()
    except ModuleNotFoundError as error:
        package = "'psycopg[binary]'" if error.name == "psycopg" else error.name
        return (
            f"{key}={shown(uri)} needs the Python package {error.name}, which is not installed: "
            f"pip install {package}, or name a driver that is, as in postgresql+psycopg2://…"
        )
    except (sqlalchemy.exc.SQLAlchemyError, ValueError) as error:
        return f"{key}={shown(uri)} is no database address that SQLAlchemy knows: {brief(error)}"
    return None


def _unreachable(uri: str) -> str:
    """Why not even a connection can be made, in a few words; '' where it can."""
    if urllib.request.getproxies():
        return ""  # it need not be reachable from here
    parts = urlsplit(uri)
    try:
        port = parts.port or (443 if parts.scheme == "https" else 80)
        with socket.create_connection((parts.hostname or "", port), timeout=_PATIENCE):
            return ""
    except ValueError:
        raise BadInput(f"tracking.uri={uri} has no proper port; give https://HOST:PORT") from None
    except OSError as error:
        return brief(error)


def _refusal(uri: str, home: Path, study: str) -> str:
    """Why MLflow cannot answer for the study, in a few words; '' where it would take it.

    Raises:
        BadInput: it is there and refuses.
    """
    client = connect(uri, home)
    try:
        experiment = client.get_experiment_by_name(experiment_name(study))
        if experiment is not None and experiment.lifecycle_stage == "active":
            # a tag that every study sets: who may set it may write the rest
            client.set_experiment_tag(
                experiment.experiment_id, "mlflow.experimentKind", "custom_model_development"
            )
    except failures() as error:
        problem = _login_problem(error, uri, study) or _address_problem(error, uri)
        if problem:
            raise BadInput(problem) from None
        return brief(error)
    return ""


def _login_problem(error: Exception, uri: str, study: str) -> str:
    """What to do about a login that is absent, wrong, or may not write; '' for other errors."""
    code = getattr(error, "error_code", "")
    user = os.environ.get("MLFLOW_TRACKING_USERNAME", "")
    if code == "UNAUTHENTICATED":
        what = f"does not accept the login of {user!r}" if user else "asks for a login"
        return f"MLflow at {uri} {what} (401): {_LOGIN}; {_GO_WITHOUT}"
    if "Invalid Host header" in str(error):
        return (
            f"MLflow at {uri} does not answer to that name (403): its --allowed-hosts must list "
            f"{urlsplit(uri).netloc}"
        )
    if code == "PERMISSION_DENIED":
        return (
            f"MLflow at {uri} does not let {user or 'this login'} write the experiment "
            f"{experiment_name(study)} (403), which is somebody else's: ask them or an "
            f"administrator for EDIT on it, or use another seed=; {_GO_WITHOUT}"
        )
    return ""


def _address_problem(error: Exception, uri: str) -> str:
    """What is wrong with an address at which no MLflow answers so; '' for other errors."""
    causes = list(_causes(error))
    names = {type(cause).__name__ for cause in causes}
    text = str(error)
    if "SSLCertVerificationError" in names:
        return (
            f"the certificate of {uri} is not trusted here ({brief(causes[-1])}): set "
            "MLFLOW_TRACKING_SERVER_CERT_PATH to the certificate of whoever signed it"
        )
    if "SSLError" in names:
        return (
            f"what answers at {uri} does not speak https: say http://, or give the port of the "
            "proxy that does"
        )
    if any(mark in text for mark in ("error code 30", "HTTP request to an HTTPS", "to HTTPS port")):
        return f"MLflow at {uri} wants https: say https://{urlsplit(uri).netloc}"
    if (
        getattr(error, "error_code", "") == "ENDPOINT_NOT_FOUND"
        or "error code 404" in text
        or "valid JSON format" in text
    ):
        return (
            f"what answers at {uri} is no MLflow tracking server: look at the host, the port and "
            "the path"
        )
    return ""


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """An error and what is behind it, the first cause last."""
    while error is not None:
        yield error
        inside = [arg for arg in error.args if isinstance(arg, BaseException)]
        reason = getattr(error, "reason", None)  # urllib3 keeps causes so
        error = (
            error.__cause__
            or error.__context__
            or (reason if isinstance(reason, BaseException) else None)
            or (inside[0] if inside else None)
        )


def _in_the_open(uri: str) -> Iterator[str]:
    host = urlsplit(uri).hostname or ""
    secrets = ("MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN")
    near = host in ("localhost", "::1") or host.startswith("127.")
    if uri.startswith("http://") and not near and any(os.environ.get(name) for name in secrets):
        yield f"{uri} is not encrypted: passwords and results can be read on the way; use https"
