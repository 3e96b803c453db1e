"""Ray itself: a local cluster of this process, quiet and private, or one that is running."""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import shutil
import sys
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path

__all__ = ["connected"]

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


@contextlib.contextmanager
def connected(cluster: str, log: Path) -> Iterator[None]:
    """Ray, started or joined on entry and left on exit.

    Args:
        cluster: 'local' starts Ray in this process's name alone and ends it on exit; 'auto' joins
            the running cluster (RAY_ADDRESS, or the one on this machine).
        log: a file for what Ray and Tune have to say.
    """
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    if cluster == "local" and "ray" not in sys.modules and "RAY_AUTH_MODE" not in os.environ:
        # A token of this session alone: closed to others, and none is left in the user's folder.
        # Ray reads these when it is imported.
        os.environ["RAY_AUTH_MODE"] = "token"
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
    import ray

    _noise_to(log)
    temporary = None
    with warnings.catch_warnings():
        # Ray announces changes of its own defaults as FutureWarnings
        warnings.simplefilter("ignore")
        if cluster == "local":
            # socket paths may not exceed 107 bytes: a short folder of our own, not the home
            temporary = tempfile.mkdtemp(prefix="rs-", dir="/tmp")
            # without this a stale file of a dead cluster is believed
            ray.init(
                address="local",
                num_cpus=os.cpu_count(),
                include_dashboard=False,
                log_to_driver=False,
                configure_logging=False,
                namespace="raysearch",
                _temp_dir=temporary,
            )
        else:
            ray.init(
                address="auto",
                log_to_driver=False,
                configure_logging=False,
                namespace="raysearch",
            )
    try:
        yield
    finally:
        ray.shutdown()
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)


def _noise_to(log: Path) -> None:
    """What Ray's and Tune's loggers say goes to a file, not to the user's screen."""
    log.parent.mkdir(parents=True, exist_ok=True)
    handler = logging.FileHandler(log, delay=True)
    handler.setFormatter(logging.Formatter("%(asctime)s %(name)s %(levelname)s %(message)s"))
    for name in ("ray", "ray.tune", "ray.train", "ray.data"):
        logger = logging.getLogger(name)
        for old in list(logger.handlers):
            logger.removeHandler(old)
        logger.addHandler(handler)
        logger.propagate = False
        logger.setLevel(logging.INFO)
