"""How a card computes: torch's modes, which can be set and asked for without a card."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from trainables import passes
from trainables.stage import Cuda


def state() -> dict[str, Any]:
    backends = torch.backends
    return {
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "benchmark": backends.cudnn.benchmark,
        "products": backends.cuda.matmul.fp32_precision,
        "convolutions": backends.cudnn.conv.fp32_precision,
        "recurrences": backends.cudnn.rnn.fp32_precision,
    }


@pytest.mark.parametrize("exact", [True, False])
def test_modes_hold_inside_and_are_put_back(exact: bool) -> None:
    before = state()
    digits = "ieee" if exact else "tf32"
    with passes.modes(Cuda(deterministic=exact, benchmark=not exact, tf32=not exact)):
        assert state() == {
            "deterministic": exact,
            "benchmark": not exact,
            "products": digits,
            "convolutions": digits,
            "recurrences": digits,
        }
    assert state() == before
    with pytest.raises(ZeroDivisionError), passes.modes(Cuda(deterministic=True)):
        raise ZeroDivisionError
    assert state() == before


def test_what_has_no_deterministic_algorithm_says_what_to_do() -> None:
    where, values = torch.tensor([0, 0]), torch.tensor([1.0, 2.0])
    with (
        pytest.raises(RuntimeError, match=r"^put_ .*deterministic_algorithms=false"),
        passes.modes(Cuda(deterministic=True)),
    ):
        torch.zeros(2).put_(where, values)
    with passes.modes(Cuda()):
        torch.zeros(2).put_(where, values)


def test_the_cpu_has_no_modes() -> None:
    before = state()
    with passes.quiet_corner(1, torch.device("cpu"), Cuda(deterministic=True, tf32=False)):
        assert state() == before
