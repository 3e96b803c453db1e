"""The methods that tests of the engine run keep to the contract of methods."""

from __future__ import annotations

import numpy as np
import pytest

from tests.contracts.method_contract import Case, MethodContract
from tests.support import epochs_method, toy_method
from trainables.stage import Part


def part(seed: int, n: int, *, labels: bool = True) -> Part:
    y = np.arange(n) % 3
    return Part(
        ids=np.array([f"{seed}-{i}" for i in range(n)], dtype=str),
        x=(np.random.default_rng(seed).normal(size=(n, 6)) + np.eye(6)[y]).astype(np.float32),
        speaker=np.arange(n) // 3 % 4,
        corpus=np.zeros(n, np.int64),
        y=y if labels else None,
    )


def parts() -> dict[str, Part]:
    return {
        "train": part(0, 24),
        "validation": part(1, 12),
        "test": part(2, 9, labels=False),
        "unlabelled": part(3, 0, labels=False),
        "undecided": part(4, 0),
    }


TOY = Case(toy_method.METHOD, parts)
EPOCHS = Case(epochs_method.METHOD, parts, small={"quality": 1.0, "epochs": 2})
"""of less than full quality, predictions would have noise by row"""


class TestToyMethod(MethodContract):
    @pytest.fixture
    def case(self) -> Case:
        return TOY


class TestEpochsMethod(MethodContract):
    @pytest.fixture
    def case(self) -> Case:
        return EPOCHS
