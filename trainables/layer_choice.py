"""Layers of an encoder by number: `all`, `last`, or as in 4-8 and 0+6+9-12.

Layer 0 is the input of the transformer, layer i the states after its i-th layer.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from trainables.stage import Param

ALL, LAST = "all", "last"
_RANGE = re.compile(r"(\d{1,3})(?:-(\d{1,3}))?")
GRAMMAR = "all, last, or numbers as in 4-8 and 0+6+9-12, without spaces"


@dataclass(frozen=True)
class LayerChoice(Param):
    """A choice of layers as one text."""

    def problem(self, name: str, value: Any) -> str | None:
        problem = super().problem(name, value)
        if problem is not None:
            return problem
        try:
            canonical_layers(value)
        except ValueError as error:
            return f"{name}: {error}"
        return None


def canonical_layers(text: str) -> str:
    """The same choice in its shortest form.

    Example:
        >>> canonical_layers("6+4-5+5")
        '4-6'

    Raises:
        ValueError: the text names no layers
    """
    if text in (ALL, LAST):
        return text
    numbers = _numbers(text)
    first = [n for n in numbers if n - 1 not in numbers]
    end = [n for n in numbers if n + 1 not in numbers]
    return "+".join(str(a) if a == b else f"{a}-{b}" for a, b in zip(first, end, strict=True))


def layer_numbers(text: str, count: int) -> list[int]:
    """The numbers of the layers chosen, ascending, of an encoder that gives `count` of them.

    Raises:
        ValueError: the text names no layers, or one that the encoder does not have
    """
    if text == ALL:
        return list(range(count))
    if text == LAST:
        return [count - 1]
    numbers = _numbers(text)
    if numbers[-1] >= count:
        raise ValueError(
            f"layers={text} names layer {numbers[-1]}, but this encoder has 0 (the input of its "
            f"transformer) to {count - 1}"
        )
    return numbers


def _numbers(text: str) -> list[int]:
    numbers: set[int] = set()
    for part in text.split("+"):
        match = _RANGE.fullmatch(part)
        low, high = (match[1], match[2] or match[1]) if match else ("1", "0")
        if int(low) > int(high):
            raise ValueError(f"layers are {GRAMMAR}, but got {text!r}")
        numbers |= set(range(int(low), int(high) + 1))
    return sorted(numbers)
