"""What a person needs to know of this machine when something does not work."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

from raysearch.errors import BadInput, RaysearchError
from raysearch.stages.temporary import temporary_folder
from raysearch.study.software import version

_PACKAGES = (
    "ray",
    "optuna",
    "mlflow",
    "torch",
    "torchaudio",
    "transformers",
    "opensmile",
    "espeakng-loader",
    "scikit-learn",
    "pandas",
    "numpy",
)


def doctor(words: Sequence[str]) -> int:
    """Print what this machine has; 1 where something keeps raysearch from running."""
    if words:
        raise BadInput(f"doctor takes no words, but got {' '.join(words)!r}")
    lines = [f"raysearch {version()}"]
    bad = False
    for package in _PACKAGES:
        try:
            lines.append(f"  {package:<16} {metadata.version(package)}")
        except metadata.PackageNotFoundError:
            lines.append(f"  {package:<16} missing: pip install {package}")
            bad = True
    for check in (_devices, _torchaudio, _ray, _stale_cluster, _token, _temporary, _mlflow_folder):
        text, wrong = check()
        lines.append(("! " if wrong else "  ") + text)
        bad = bad or wrong
    lines.append("something is wrong, see the lines with !" if bad else "all is well")
    print("\n".join(lines))
    return 1 if bad else 0


def _devices() -> tuple[str, bool]:
    try:
        import torch
    except ImportError as error:
        return f"torch cannot be imported: {error}", True
    cores = os.cpu_count()
    if not torch.cuda.is_available():
        return f"devices: {cores} CPU cores, no CUDA device (torch {torch.__version__})", False
    names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return f"devices: {cores} CPU cores, CUDA: {', '.join(names)}", False


def _torchaudio() -> tuple[str, bool]:
    try:
        import torchaudio  # noqa: F401
    except (ImportError, OSError, RuntimeError, AttributeError) as error:
        return (
            f"torchaudio: its extension does not load ({type(error).__name__}); its transforms "
            "are pure PyTorch and can be used without it",
            False,
        )
    return "torchaudio: its extension loads", False


def _ray() -> tuple[str, bool]:
    try:
        import ray
    except ImportError as error:
        return f"Ray cannot be imported: {error}", True
    from raysearch.cluster.connection import connection

    try:
        with (
            temporary_folder("raysearch-doctor-") as folder,
            connection("local", folder / "ray.log"),
        ):

            @ray.remote
            def answer() -> int:
                return 42

            if ray.get(answer.remote(), timeout=60) != 42:
                return "Ray: a task gave a wrong answer", True
            cpus = ray.cluster_resources().get("CPU", 0)
    except (RaysearchError, ray.exceptions.RayError, OSError, RuntimeError, ValueError) as error:
        return f"Ray: a local cluster does not start: {error}", True
    return f"Ray: a local cluster starts, {cpus:g} CPUs", False


def _stale_cluster() -> tuple[str, bool]:
    """A file of a dead cluster makes ray.init slow or fail for those who believe it."""
    path = Path(os.environ.get("RAY_TMPDIR", "/tmp")) / "ray" / "ray_current_cluster"
    if not path.is_file():
        return "Ray: no other cluster is announced on this machine", False
    address = path.read_text().strip()
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=2):
            return f"Ray: a cluster runs at {address} (cluster=auto uses it)", False
    except (OSError, ValueError):
        return f"Ray: {path} names a dead cluster at {address}; remove the file", True


def _token() -> tuple[str, bool]:
    mode = os.environ.get("RAY_AUTH_MODE", "token (by default)")
    path = Path(os.environ.get("RAY_AUTH_TOKEN_PATH", Path.home() / ".ray" / "auth_token"))
    where = (
        "in RAY_AUTH_TOKEN"
        if os.environ.get("RAY_AUTH_TOKEN")
        else (f"in {path}" if path.is_file() else "none yet; cluster=local makes one a session")
    )
    return f"Ray: authentication mode {mode}, token {where}", False


def _temporary() -> tuple[str, bool]:
    free = shutil.disk_usage("/tmp").free / 2**30
    shm = shutil.disk_usage("/dev/shm").free / 2**30 if Path("/dev/shm").is_dir() else 0.0
    text = f"room: /tmp {free:.1f} GiB, /dev/shm {shm:.1f} GiB (Ray's object store)"
    return (text + "; Ray needs some GiB in /tmp", True) if free < 1 else (text, False)


def _mlflow_folder() -> tuple[str, bool]:
    """A folder named mlflow that holds Python shadows the package."""
    folder = Path.cwd() / "mlflow"
    if any(folder.glob("*.py")):
        return f"MLflow: {folder} holds .py files and hides the package; move them", True
    return "MLflow: not hidden by a folder", False
