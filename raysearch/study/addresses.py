"""Addresses of servers and databases: whether they can be used, and without their passwords.

A study's words, its `study.yaml` and MLflow's tags are read by many, so no password may stand in
them. What a person's own environment holds is read when it is needed and written nowhere.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from raysearch.errors import QUERY_SECRET, BadInput

SERVER = "server"
"""in place of an address: the one that the environment names"""
TRACKING_VARIABLE = "MLFLOW_TRACKING_URI"
OPTUNA_VARIABLE = "RAYSEARCH_OPTUNA_STORAGE"
_EXAMPLES = {
    TRACKING_VARIABLE: "https://mlflow.example.org",
    OPTUNA_VARIABLE: "postgresql://raysearch@db.example.org/optuna",
}


def _user_info(uri: str) -> str:
    """What stands before the host: 'me:secret', or ''. A '/' in a password does not hide it."""
    if "://" not in uri:
        return ""
    rest = uri.split("://", 1)[1]
    path = rest.partition("?")[0]
    # a password may hold a '?' that nobody escaped
    return (path if "@" in path or ":" not in path.partition("/")[0] else rest).rpartition("@")[0]


def has_password(uri: str) -> bool:
    """Whether an address holds a secret: 'user:password@' or 'password=' in its query.

    To a web server the bare 'something@' is one too: tokens are written so.
    """
    user = _user_info(uri)
    web = uri.startswith(("http://", "https://"))
    return ":" in user or bool(web and user) or QUERY_SECRET.search(uri) is not None


def shown(uri: str) -> str:
    """An address fit to be printed: without the password it may hold."""
    user = _user_info(uri)
    if user and has_password(f"{uri.split('://', 1)[0]}://{user}@"):
        uri = uri.replace(f"{user}@", "…@", 1)
    return QUERY_SECRET.sub(r"\1…", uri)


def named(key: str, uri: str, variable: str, environment: Mapping[str, str] | None = None) -> str:
    """The address that a key stands for: its own, or, for 'server', the environment's.

    Raises:
        BadInput: the environment does not name one.
    """
    if uri != SERVER:
        return uri
    address = (os.environ if environment is None else environment).get(variable, "").strip()
    if not address:
        raise BadInput(
            f"{key}=server is the address that the environment variable {variable} holds, and it "
            f"is not set; set it, or write the address itself, as in {key}={_EXAMPLES[variable]}"
        )
    return address


def uri_problem(uri: str, key: str = "tracking.uri") -> str | None:
    """Why `uri` cannot be a tracking URI, as one sentence, or None. Imports and asks nothing."""
    scheme = uri.split(":", 1)[0] if "://" in uri or uri.startswith("databricks") else ""
    word = f"{key}={shown(uri)!r}"
    if scheme in ("", "file"):
        return (
            f"{word} is a folder, and MLflow no longer tracks in folders: "
            "give sqlite:////absolute/path/mlflow.db or http://host:port"
        )
    known = ("http", "https", "sqlite", "postgresql", "mysql", "mssql", "databricks")
    if scheme.split("+")[0] not in known:
        return f"{word} has an unknown scheme {scheme!r}: use one of {list(known)}"
    if scheme in ("http", "https") and has_password(uri):
        return (
            f"{word} holds a login, which MLflow would write into its log: take it out, and set "
            "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN"
        )
    return None
