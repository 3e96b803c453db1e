"""What a parameter may be set to, and how values and settings are compared and written."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import TypeGuard

from raysearch.data.section import FrozenDict

Scalar = bool | int | float | str

NEEDS: Mapping[str, str] = FrozenDict(
    votes="rater votes", unlabelled="an unlabelled corpus", corpora="two or more corpora"
)
"""what a parameter may need of the data, and how to say it"""


NAME = "_name"
"""the reserved key that gives an enqueued setting a name"""


def canonical(setting: Mapping[str, object]) -> str:
    """One text a setting, whatever the order of its parameters and whether it writes 1 or 1.0."""
    plain = {
        name: float(value) if is_number(value) else value
        for name, value in setting.items()
        if name != NAME
    }
    return json.dumps(plain, sort_keys=True, separators=(",", ":"))


def same(a: object, b: object) -> bool:
    """Equality that keeps true and 1 apart."""
    return bool(a == b) and isinstance(a, bool) == isinstance(b, bool)


def member(value: object, values: Sequence[object]) -> bool:
    return any(same(value, item) for item in values)


def is_number(value: object) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def shown(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"{value:g}" if isinstance(value, float) else str(value)
