"""The folders `spaces` and `cluster`, wherever raysearch lies: installed, or a source checkout."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parents[1]


def resource(name: str) -> Path:
    """The folder of files that come with raysearch, by its name in the repository.

    An installed raysearch, and the copy that travels to cluster nodes, hold it in `files/`. Only a
    source checkout has it beside the package: beside an installed package, a folder of that name
    is somebody else's.
    """
    inside = _PACKAGE / "files" / name
    checkout = _PACKAGE.parent
    is_source = not inside.is_dir() and (checkout / "pyproject.toml").is_file()
    return checkout / name if is_source else inside
