"""Synthetic studies in a home of their module, and waiting."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from synthetic import SyntheticStudy


@pytest.fixture(scope="module")
def shared_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One home for a module: making MLflow's database takes seconds."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture
def make_study(shared_home: Path, request: pytest.FixtureRequest) -> Callable[..., SyntheticStudy]:
    """Makes studies of their own names in the shared home."""

    def make(home: Path | None = None, folds: int = 4) -> SyntheticStudy:
        name = f"rdlr-{request.node.name.replace('_', '-')[:60]}"
        return SyntheticStudy(home or shared_home, name, folds)

    return make


@pytest.fixture
def wait_until() -> Callable[..., None]:
    """Waits until something holds, and fails after 30 s."""

    def wait(holds: Callable[[], bool], seconds: float = 30) -> None:
        until = time.monotonic() + seconds
        while not holds():
            assert time.monotonic() < until, "waited in vain"
            time.sleep(0.05)

    return wait
