"""raysearch: which label strategy and loss really helps, on speakers the model never heard."""

from importlib import metadata

__all__ = ["__version__"]

try:
    __version__ = metadata.version("raysearch")
except metadata.PackageNotFoundError:  # a source tree that is not installed
    __version__ = "0+uninstalled"
