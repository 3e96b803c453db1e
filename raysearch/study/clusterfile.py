"""A cluster file: which Ray cluster, how to be let in, and what it needs. `cluster=FILE` reads it.

    address: 10.0.0.5:6379              # of the head; this machine must be one of its nodes
    dashboard: http://127.0.0.1:8265    # for submit, status and stop
    token_file: ~/.ray/auth_token       # relative to this file
    home: /shared/raysearch             # where submitted studies keep their results, over there
    store: s3://bucket/raysearch        # where artifacts are kept
    corpora: {emodb: /shared/emodb}     # folders of speech over there; others travel with submit
    pip: [my-package==1.2]              # installed for the study's processes
    env: {OMP_NUM_THREADS: "1"}         # set for the study's processes; no logins, for Ray logs it

Every key may be left out.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

import yaml

from raysearch.data.section import Tree
from raysearch.errors import BadInput, near, one_line
from raysearch.study.plain_text import user_path
from raysearch.study.resources import resource

_ADDRESS = re.compile(r"(\[[0-9a-fA-F:]+\]|[A-Za-z0-9._-]+):(\d{1,5})")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SECRET = re.compile(r"PASSWORD|SECRET|TOKEN|ACCESS_KEY|CREDENTIAL", re.IGNORECASE)
"""names of variables whose values are logins"""


@dataclass(frozen=True)
class ClusterFile:
    """What `cluster=` names: a file read, or with all defaults the running cluster (auto)."""

    path: Path | None = None
    address: str | None = None
    """host:port of the head's GCS; None where Ray finds it"""
    dashboard: str | None = None
    """http(s)://host:port of the Jobs API; None where Ray's usual one is meant"""
    token_file: Path | None = None
    home: str | None = None
    store: str | None = None
    corpora: Mapping[str, str] = field(default_factory=dict)
    pip: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)


def read_cluster(name: str) -> ClusterFile:
    """The cluster that `cluster=NAME` means: 'auto', or the path of a cluster file.

    Raises:
        BadInput: with everything that is wrong with the file.
    """
    if name == "auto":
        return ClusterFile()
    path = Path(name)
    problems: list[str] = []
    values = _check(path, _load(path), problems)
    if "token_file" in values:
        values["token_file"] = path.parent / user_path(values["token_file"])
        problem = _token_problem(values["token_file"])
        if problem:
            problems.append(f"{path}: {problem}")
    problems += [
        f"{path}: env must hold no login, but names {name}, which Ray would write into its logs: "
        "leave it out, and let the cluster have a login of its own (a role of the machine, "
        "~/.aws/credentials, or the variable where ray start runs)"
        for name in values.get("env", {})
        if _SECRET.search(name)
    ]
    if problems:
        raise BadInput(problems)
    if "pip" in values:
        values["pip"] = tuple(values["pip"])
    return ClusterFile(path=path, **values)


def _load(path: Path) -> dict[object, object]:
    """What a cluster file holds, unchecked."""
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BadInput(
            f"cluster={path}: there is no such file; give local, auto, or the path of a cluster "
            f"file, such as a copy of {resource('cluster') / 'example.yaml'}"
        ) from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise BadInput(f"the cluster file {path} cannot be read: {one_line(error)}") from None
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise BadInput(
            f"the cluster file {path} must be a mapping of keys, as in home: /shared/runs"
        )
    return tree


def _check(path: Path, tree: Mapping[object, object], problems: list[str]) -> Tree:
    """The values that keep the rules of their keys."""
    values: Tree = {}
    for key, value in tree.items():
        if not isinstance(key, str) or key not in _CHECKS:
            problems.append(
                f"{path}: there is no key {key!r}{near(str(key), _CHECKS)}; the keys are "
                f"{', '.join(_CHECKS)}"
            )
        elif value is not None:
            check, rule = _CHECKS[key]
            if check(value):
                values[key] = value
            else:
                problems.append(f"{path}: {key} must be {rule}, but got {value!r}")
    return values


def _token_problem(path: Path) -> str:
    try:
        token = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        return (
            f"token_file {path} cannot be read ({getattr(error, 'strerror', None) or error}); it "
            "is the file that the cluster's nodes have (ray get-auth-token --generate makes one)"
        )
    return "" if token else f"token_file {path} is empty"


# -- what each key must be ---------------------------------------------------------------------
def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _is_address(value: object) -> bool:
    parts = _ADDRESS.fullmatch(value) if isinstance(value, str) else None
    return parts is not None and 0 < int(parts[2]) < 65536


def _is_url(value: object) -> bool:
    if not isinstance(value, str):
        return False
    try:
        parts = urlsplit(value)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _is_absolute(value: object) -> bool:
    return isinstance(value, str) and PurePosixPath(value).is_absolute()


def _is_store(value: object) -> bool:
    return isinstance(value, str) and ("://" in value or _is_absolute(value))


def _is_roots(value: object) -> bool:
    return isinstance(value, dict) and all(
        isinstance(name, str) and _is_absolute(root) for name, root in value.items()
    )


def _is_texts(value: object) -> bool:
    return isinstance(value, list) and all(_is_text(item) for item in value)


def _is_variables(value: object) -> bool:
    return isinstance(value, dict) and all(
        isinstance(name, str) and _VARIABLE.fullmatch(name) and isinstance(item, str)
        for name, item in value.items()
    )


_CHECKS: dict[str, tuple[Callable[[object], bool], str]] = {
    "address": (
        _is_address,
        "HOST:PORT of the head, of whose cluster this machine is a node (from any other machine, "
        "submit by dashboard:; Ray Client's ray:// cannot hold a study)",
    ),
    "dashboard": (_is_url, "the URL of the head's dashboard, as in http://127.0.0.1:8265"),
    "token_file": (_is_text, "the path of a file"),
    "home": (_is_absolute, "an absolute folder on the cluster"),
    "store": (_is_store, "a URI or an absolute folder"),
    "corpora": (_is_roots, "a mapping from corpora to absolute folders on the cluster"),
    "pip": (_is_texts, "a list of requirements"),
    "env": (_is_variables, "a mapping from variables to texts (quote numbers)"),
}
