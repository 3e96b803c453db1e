"""The layers' shares in a report: by hand, and of probes alone."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from raysearch.errors import StoreFailed
from raysearch.report.sections.layer_weights import layer_weights, section
from trainables.stage import Artifact

SHARES = ({"0": 0.25, "1": 0.75}, {"0": 0.5, "1": 0.5})


class FakeStore:
    def __init__(self, *shares: Any) -> None:
        self.shares = shares

    def get(self, key: str) -> Any:
        shares = self.shares[int(key)]
        if shares is None:
            raise StoreFailed("away")
        return Artifact({"test": np.zeros(1)}, {"layer_weights": shares}), None


def record(method: str = "probe") -> Any:
    rows = [SimpleNamespace(fold=f"f{n}", stages=[SimpleNamespace(key=str(n))]) for n in range(2)]
    return SimpleNamespace(rows_of=lambda number: rows, configuration={"method": method})


def test_means_and_ends_over_the_folds() -> None:
    one = section(record(), 3, FakeStore(*SHARES))  # type: ignore[arg-type]
    assert one is not None
    assert one.table is not None
    rows = one.table.frame.set_index("layer")
    assert rows.loc["1", "mean"] == pytest.approx(0.625)
    assert tuple(rows.loc["0", ["min", "max"]]) == (0.25, 0.5)
    assert "trial 3 learnt, over 2 folds" in one.before[0]


def test_no_section_without_layers_or_store() -> None:
    assert section(record("rdlr"), 0, FakeStore(*SHARES)) is None  # type: ignore[arg-type]
    assert section(record(), 0, FakeStore({"last": 1.0}, {"last": 1.0})) is None  # type: ignore[arg-type]
    assert section(record(), 0, FakeStore(None, None)) is None  # type: ignore[arg-type]
    frame = layer_weights(record(), 0, FakeStore(None, SHARES[1]))  # type: ignore[arg-type]
    assert frame is not None
    assert list(frame["fold"]) == ["f1", "f1"]
