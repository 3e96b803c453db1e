"""Ray itself: a local cluster of this process, quiet and private, or one that is running."""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import signal
import socket
import sys
import threading
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from raysearch.cluster.code_copy import copy_code
from raysearch.cluster.membership import check_membership
from raysearch.errors import ClusterFailed, one_line
from raysearch.stages.temporary import temporary_folder
from raysearch.study.clusterfile import ClusterFile, read_cluster
from raysearch.study.logs import LogFile

_QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DEDUP_LOGS": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_TRAIN_V2_ENABLED": "1",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "1000000",
    "TUNE_MAX_PENDING_TRIALS_PG": "64",
    "TUNE_WARN_THRESHOLD_S": "60",
    "RAY_AIR_NEW_OUTPUT": "0",
}
_WORKERS = ("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "RAY_TRAIN_V2_ENABLED")
"""those that the processes of a cluster that others started must have too"""
_LOOPBACK = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"
"""0 keeps Ray to loopback, as on macOS and Windows; else it listens on every interface, whatever
address it is given"""
_PATIENCE = 5.0
"""seconds to wait for a connection; Ray itself would wait for minutes"""


@contextlib.contextmanager
def connection(cluster: str, log: Path, modules: Sequence[str] = ()) -> Iterator[None]:
    """Ray, started or joined on entry and left on exit.

    Args:
        cluster: 'local' starts Ray in this process's name alone, on loopback, and ends it on exit;
            'auto' joins the running cluster (RAY_ADDRESS, or the one on this machine); else the
            path of a cluster file.
        log: a file for what Ray and Tune have to say.
        modules: modules of one's own code that a cluster's nodes need, beside raysearch.

    Raises:
        ClusterFailed: where the cluster cannot be started or reached, or does not let us in.
        BadInput: where the cluster file is wrong, or the code is too large to travel.
    """
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    with contextlib.ExitStack() as stack:
        if cluster == "local":
            options = _start(stack)
        else:
            options = _join(stack, read_cluster(cluster), modules)
        import ray

        _log_to(log)
        stack.enter_context(_without_lines_of_raylet())
        before = signal.getsignal(signal.SIGTERM)
        joins = cluster != "local"
        with (
            warnings.catch_warnings(),
            _standard_error_to(log) if joins else contextlib.nullcontext(),
        ):
            # Ray announces changes of its own defaults as FutureWarnings
            warnings.simplefilter("ignore")
            if joins and not _in_job():  # the driver of a job runs on a node
                check_membership(options["address"])
            _init(cluster, log, options)
        stack.callback(ray.shutdown)
        if callable(before) and threading.current_thread() is threading.main_thread():
            # Ray takes SIGTERM for itself and would leave without closing the study
            signal.signal(signal.SIGTERM, before)
        yield


def _init(cluster: str, log: Path, options: dict[str, Any]) -> None:
    """Let Ray start or join a cluster; on a busy machine its own start may need a second try.

    Raises:
        ClusterFailed: with what went wrong and what to do.
    """
    import ray

    for last in (False, True):
        try:
            ray.init(log_to_driver=False, configure_logging=False, namespace="raysearch", **options)
            return
        except Exception as error:  # gRPC's, Ray's and Python's own, by what is wrong
            if cluster != "local":
                raise ClusterFailed(_reason(cluster, error)) from error
            ray.shutdown()  # what it had started
            if last:
                raise ClusterFailed(
                    f"Ray did not start on this machine, at two tries: {type(error).__name__}: "
                    f"{one_line(error)}; the machine may be too busy, or short of memory or of "
                    f"room in /tmp: run the same command again later (Ray's own words: {log})"
                ) from error


def _start(stack: contextlib.ExitStack) -> dict[str, Any]:
    """What `ray.init` needs to start a cluster of our own; sets what Ray reads at its import."""
    if "ray" not in sys.modules:
        if "RAY_AUTH_MODE" not in os.environ:
            # A token of this session alone: closed to others, none left in the user's folder
            os.environ["RAY_AUTH_MODE"] = "token"
            os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
        os.environ.setdefault(_LOOPBACK, "0")
    # socket paths may not exceed 107 bytes: a short folder of our own, not the home
    temporary = stack.enter_context(temporary_folder("rs-", "/tmp"))
    return {
        "address": "local",  # without this a stale file of a dead cluster is believed
        "num_cpus": os.cpu_count(),
        "include_dashboard": False,
        "_temp_dir": str(temporary),
    }


def _join(
    stack: contextlib.ExitStack, place: ClusterFile, modules: Sequence[str]
) -> dict[str, Any]:
    """What `ray.init` needs to join a cluster, with our code in the study's processes."""
    _authenticate(place)
    address = place.address or os.environ.get("RAY_ADDRESS") or "auto"
    if "://" in address:
        raise ClusterFailed(
            f"RAY_ADDRESS={address}: a study's driver must be a node of its cluster; from any "
            "other machine use submit, with the cluster's dashboard: in a cluster file"
        )
    head, source = (address, "") if address != "auto" else _running_head()
    if head is not None:
        host, _, port = head.rpartition(":")
        _check_head(host.strip("[]"), int(port) if port.isdigit() else 0, source)
    options: dict[str, Any] = {"address": address}
    if not _in_job():  # a job's processes have its environment, and our code in it
        folder = stack.enter_context(temporary_folder("raysearch-code-"))
        copy_code(folder, modules)
        options["runtime_env"] = {"working_dir": str(folder), **environment(place)}
    return options


def _running_head() -> tuple[str | None, str]:
    """The address that `ray start` wrote down on this machine, and which file holds it.

    Without the file, Ray looks for running heads itself.
    """
    file = Path(os.environ.get("RAY_TMPDIR", "/tmp"), "ray", "ray_current_cluster")
    try:
        return file.read_text().strip(), f", which {file} names"
    except OSError:
        return None, ""


def _check_head(host: str, port: int, source: str) -> None:
    """Ask before Ray does: it would wait for minutes, and then end this process."""
    problem = _unreachable(host, port)
    if problem:
        raise ClusterFailed(
            f"no Ray cluster answers at {host}:{port}{source} ({problem}); is its head running "
            "(ray start --head), and is this the port of its GCS?"
        )
    if host in ("localhost", "127.0.0.1", "::1") and "ray" not in sys.modules:
        # Ray puts this machine's outer address in place of a loopback one; where the head listens
        # on loopback alone, it must be told not to
        outer = _outer_address()
        if outer is None or _unreachable(outer, port):
            os.environ.setdefault(_LOOPBACK, "0")


def _outer_address() -> str | None:
    """The address of this machine that Ray would take for it; nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("8.8.8.8", 80))
            return str(probe.getsockname()[0])
        except OSError:
            return None


def environment(place: ClusterFile) -> dict[str, Any]:
    """Ray's runtime environment for a study's processes, beside the code."""
    env: dict[str, Any] = {
        "env_vars": {**{name: _QUIET[name] for name in _WORKERS}, **place.env},
    }
    if place.pip:
        env["pip"] = list(place.pip)
    return env


def _in_job() -> bool:
    """Whether this process is the driver of a submitted job."""
    return "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ


def _authenticate(place: ClusterFile) -> None:
    """Let Ray use the token of a cluster file; before Ray is imported, since it reads it then."""
    if place.token_file is not None:
        os.environ["RAY_AUTH_MODE"] = "token"
        os.environ["RAY_AUTH_TOKEN_PATH"] = str(place.token_file.absolute())
        os.environ.pop("RAY_AUTH_TOKEN", None)  # it would go before the file


def _unreachable(host: str, port: int) -> str:
    """'' where something answers at host:port within a few seconds, else why not."""
    try:
        with socket.create_connection((host, port), timeout=_PATIENCE):
            return ""
    except (OSError, OverflowError) as error:
        return str(getattr(error, "strerror", None) or error)


def _dashboard_of(place: ClusterFile) -> str:
    """The URL of a cluster's Jobs API: the file's, or Ray's usual one."""
    return place.dashboard or os.environ.get("RAY_API_SERVER_ADDRESS") or "http://127.0.0.1:8265"


def jobs_client(place: ClusterFile) -> Any:
    """Ray's client of the Jobs API.

    Raises:
        ClusterFailed: where it does not answer, or does not let us in.
    """
    url = _dashboard_of(place)
    _authenticate(place)
    parts = urlsplit(url)
    problem = _unreachable(
        parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
    )
    if problem:
        raise ClusterFailed(
            f"no dashboard answers at {url} ({problem}); give dashboard: in a cluster file (or "
            "RAY_API_SERVER_ADDRESS), and see that the head runs with ray[default] installed; it "
            "listens on the head's loopback, so from elsewhere forward the port: "
            "ssh -L 8265:127.0.0.1:8265 HEAD"
        )
    from ray.exceptions import RayError
    from ray.job_submission import JobSubmissionClient

    # the second sets a level of its own
    for name in ("ray", "ray.dashboard.modules.dashboard_sdk"):
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        return JobSubmissionClient(url)
    except (RuntimeError, OSError, ValueError, RayError) as error:
        raise ClusterFailed(_reason(url, error)) from error


def _reason(cluster: str, error: Exception) -> str:
    """What went wrong, in one line that names the cluster and the remedy."""
    text = one_line(error)
    if isinstance(error, ConnectionError) and "could not find any running" in text.lower():
        return (
            f"cluster={cluster}: no Ray cluster runs on this machine, and RAY_ADDRESS is not set; "
            "start one (ray start --head), or use cluster=local"
        )
    return (
        f"cluster={cluster} could not be joined: {type(error).__name__}: {text} (the token must be "
        "the cluster's, in token_file:, RAY_AUTH_TOKEN or ~/.ray/auth_token; Python and Ray must "
        "be of the same version there)"
    )


@contextlib.contextmanager
def _standard_error_to(log: Path) -> Iterator[None]:
    """What compiled code writes to the screen in the block goes to a log.

    Ray's libraries tell there that a cluster does not let us in, before they have a log of theirs.
    """
    sys.stderr.flush()
    before = os.dup(2)
    try:
        with open(log, "ab") as file:
            os.dup2(file.fileno(), 2)
        yield
    finally:
        sys.stderr.flush()
        os.dup2(before, 2)
        os.close(before)


@contextlib.contextmanager
def _without_lines_of_raylet() -> Iterator[None]:
    """What Ray's own processes tell a driver (a node that died, say) goes to the log.

    Ray prints it on standard output, whatever `log_to_driver` says.
    """
    from ray._private import worker

    def write(data: dict[str, Any], ignore_prefix: bool) -> None:
        for line in data["lines"]:
            logging.getLogger("ray").warning("(%s) %s", data["pid"], line)

    before = worker.print_to_stdstream
    worker.print_to_stdstream = write
    try:
        yield
    finally:
        worker.print_to_stdstream = before


def _log_to(log: Path) -> None:
    """What Ray's and Tune's loggers say goes to a file, not to the user's screen."""
    log.parent.mkdir(parents=True, exist_ok=True)
    handler = LogFile(log)
    for name in ("ray", "ray.tune", "ray.train", "ray.data"):
        logger = logging.getLogger(name)
        for old in list(logger.handlers):
            logger.removeHandler(old)
        logger.addHandler(handler)
        logger.propagate = False
        logger.setLevel(logging.INFO)
