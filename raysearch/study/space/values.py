"""What a parameter may be set to, and how values and settings are compared and written."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn


class FrozenDict(dict[str, Any]):
    """A dict that refuses every change. Unlike a mapping proxy it pickles, copies and compares."""

    def _refuse(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise TypeError("this mapping is frozen; make a dict of it to change a copy")

    __setitem__ = __delitem__ = _refuse
    update = clear = pop = popitem = setdefault = _refuse
    __ior__ = _refuse

    def __reduce__(self) -> tuple[Any, ...]:
        return FrozenDict, (dict(self),)

    def __copy__(self) -> FrozenDict:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> FrozenDict:
        return self


def freeze(value: Any) -> Any:
    """`value` with every mapping and list in it frozen (lists become tuples)."""
    if isinstance(value, Mapping):
        return FrozenDict({str(key): freeze(item) for key, item in value.items()})
    if isinstance(value, list | tuple):
        return tuple(freeze(item) for item in value)
    return value


def thaw(value: Any) -> Any:
    """A plain copy of `value`: dicts and lists, as JSON and YAML know them."""
    if isinstance(value, Mapping):
        return {str(key): thaw(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [thaw(item) for item in value]
    return value


Scalar = bool | int | float | str

NEEDS: Mapping[str, str] = FrozenDict(
    votes="rater votes", unlabelled="an unlabelled corpus", corpora="two or more corpora"
)
"""what a parameter may need of the data, and how to say it"""


NAME = "_name"
"""the reserved key that gives an enqueued setting a name"""


def canonical(setting: Mapping[str, Any]) -> str:
    """One text a setting, whatever the order of its parameters and whether it writes 1 or 1.0."""
    plain = {
        name: float(value) if is_number(value) else value
        for name, value in setting.items()
        if name != NAME
    }
    return json.dumps(plain, sort_keys=True, separators=(",", ":"))


def same(a: Any, b: Any) -> bool:
    """Equality that keeps true and 1 apart."""
    return bool(a == b) and isinstance(a, bool) == isinstance(b, bool)


def member(value: Any, values: Sequence[Any]) -> bool:
    return any(same(value, item) for item in values)


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def shown(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"{value:g}" if isinstance(value, float) else str(value)
