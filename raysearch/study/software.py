"""Which software a study ran with."""

from __future__ import annotations

import sys
from importlib import metadata

DISTRIBUTION = "raysearch-ser"
"""What pip knows raysearch by: its plain name belongs to others on the package index."""


def version() -> str:
    """The version of raysearch; of a source tree that is not installed "0+uninstalled"."""
    try:
        return metadata.version(DISTRIBUTION)
    except metadata.PackageNotFoundError:
        return "0+uninstalled"


def versions() -> dict[str, str]:
    """Versions of raysearch, Python and what raysearch stands on; "missing" where one is not."""
    names = ("ray", "optuna", "mlflow", "torch", "transformers", "opensmile", "scikit-learn")
    numbers = {"raysearch": version(), "python": sys.version.split()[0]}
    for name in (*names, "pandas", "numpy"):
        try:
            numbers[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            numbers[name] = "missing"
    return numbers
