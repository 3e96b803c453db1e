"""Studies made of tables of scores, whole or cut short."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.study_folders import write_study

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a study of a name of its own; the arguments are those of `write_study`."""
    count = 0

    def study(scores: np.ndarray, **options: Any) -> Path:
        nonlocal count
        count += 1
        return write_study(tmp_path / f"study-{count}", scores, **options)

    return study
