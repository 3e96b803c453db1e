"""Whether a tracking server would take a study, asked before anything of the study runs.

A server that does not answer is no reason to wait: the study goes on and MLflow is brought up to
it later. One that answers and refuses (no login, a wrong one, somebody else's experiment, http
where it speaks https) would refuse to the end, so that is bad input.
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
from raysearch.tracking.storage import connect
from raysearch.tracking.writer import brief

_PATIENCE = 5.0
"""seconds for the first packet from a server that may be away"""
_WAYS = (
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

    Returns: sentences to print: that it does not answer now, or that passwords travel in the open.

    Raises:
        BadInput: it answers, and would refuse what the study writes.
    """
    if not uri.startswith(("http://", "https://")):
        problem = driver_problem("tracking.uri", uri)
        if problem:
            raise BadInput(problem)
        return []
    away = _unreachable(uri)
    if not away:
        try:
            away = _asked(uri, home, study)
        except Exception as error:
            away = _verdict(error, uri, study)
    if away:
        return [
            f"MLflow at {uri} does not answer ({away}): the study goes on, and is written there as "
            "soon as it does"
        ]
    return [*_in_the_open(uri)]


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
    except Exception as error:
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


def _asked(uri: str, home: Path, study: str) -> str:
    client = connect(uri, home)
    found = client.get_experiment_by_name(f"raysearch/{study}")
    if found is not None and found.lifecycle_stage == "active":
        # A tag that every study sets: who may set it may write the rest.
        client.set_experiment_tag(
            found.experiment_id, "mlflow.experimentKind", "custom_model_development"
        )
    return ""


def _verdict(error: Exception, uri: str, study: str) -> str:
    """Why the server is away, in a few words.

    Raises:
        BadInput: it is there and refuses.
    """
    chain = list(_chain(error))
    text = str(error)
    code = getattr(error, "error_code", "")
    user = os.environ.get("MLFLOW_TRACKING_USERNAME", "")
    if code == "UNAUTHENTICATED":
        what = f"does not accept the login of {user!r}" if user else "asks for a login"
        raise BadInput(f"MLflow at {uri} {what} (401): {_WAYS}; {_GO_WITHOUT}") from None
    if "Invalid Host header" in text:
        raise BadInput(
            f"MLflow at {uri} does not answer to that name (403): its --allowed-hosts must list "
            f"{urlsplit(uri).netloc}"
        ) from None
    if code == "PERMISSION_DENIED":
        raise BadInput(
            f"MLflow at {uri} does not let {user or 'this login'} write the experiment "
            f"raysearch/{study} (403), which is somebody else's: ask them or an administrator for "
            f"EDIT on it, or use another seed=; {_GO_WITHOUT}"
        ) from None
    if any(type(one).__name__ == "SSLCertVerificationError" for one in chain):
        raise BadInput(
            f"the certificate of {uri} is not trusted here ({brief(chain[-1])}): set "
            "MLFLOW_TRACKING_SERVER_CERT_PATH to the certificate of whoever signed it"
        ) from None
    if any(type(one).__name__ == "SSLError" for one in chain):
        raise BadInput(
            f"what answers at {uri} does not speak https: say http://, or give the port of the "
            "proxy that does"
        ) from None
    if any(mark in text for mark in ("error code 30", "HTTP request to an HTTPS", "to HTTPS port")):
        raise BadInput(f"MLflow at {uri} wants https: say https://{urlsplit(uri).netloc}") from None
    if code == "ENDPOINT_NOT_FOUND" or "error code 404" in text or "valid JSON format" in text:
        raise BadInput(
            f"what answers at {uri} is no MLflow tracking server: look at the host, the port and "
            "the path"
        ) from None
    return brief(error)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
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
