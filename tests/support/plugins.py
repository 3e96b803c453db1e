"""A third party's package, for the length of a test."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

import pytest


def install(
    monkeypatch: pytest.MonkeyPatch, folder: Path, group: str, plugins: Mapping[str, object]
) -> None:
    """Install a package whose entry points in `group` are these objects, by name."""
    module = ModuleType("a_third_party")
    for number, plugin in enumerate(plugins.values()):
        setattr(module, f"PLUGIN_{number}", plugin)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    about = folder / f"{module.__name__}-1.0.dist-info"
    about.mkdir(parents=True, exist_ok=True)
    (about / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {module.__name__}\nVersion: 1.0\n"
    )
    points = (f"{name} = {module.__name__}:PLUGIN_{i}" for i, name in enumerate(plugins))
    (about / "entry_points.txt").write_text("\n".join([f"[{group}]", *points]) + "\n")
    if str(folder) not in sys.path:
        monkeypatch.syspath_prepend(folder)
