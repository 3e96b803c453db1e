"""What a section of a study is made of: keys with a meaning, a rule and an example, all frozen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, NoReturn

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

Tree = dict[str, Any]
"""a mapping as YAML and JSON have it"""


class FrozenDict(dict[str, Any]):
    """A dict that refuses every change. Unlike a mapping proxy it pickles, copies and compares."""

    def _refuse(self, *args: object, **kwargs: object) -> NoReturn:
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


def freeze(value: object) -> Any:
    """`value` with every mapping and list in it frozen (lists become tuples)."""
    if isinstance(value, Mapping):
        return FrozenDict({str(key): freeze(item) for key, item in value.items()})
    if isinstance(value, list | tuple):
        return tuple(freeze(item) for item in value)
    return value


def thaw(value: object) -> Any:
    """A plain copy of `value`: dicts and lists, as JSON and YAML know them."""
    if isinstance(value, Mapping):
        return {str(key): thaw(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [thaw(item) for item in value]
    return value


def names(value: object) -> Any:
    """A list of names, frozen; one name is a list of one."""
    return (value,) if isinstance(value, str) else freeze(value)


Names = Annotated[tuple[Annotated[str, Field(min_length=1)], ...], BeforeValidator(names)]
"""one name, or a list of them"""
Texts = Annotated[dict[str, str], BeforeValidator(freeze)]
Anything = Annotated[dict[str, Any], BeforeValidator(freeze)]


def key(default: object, help: str, rule: str, example: str, **limits: Any) -> Any:
    """A field: its default, what it means, the rule its value must keep, and an example value."""
    extra: dict[str, Any] = {"rule": rule, "example": example}
    return Field(default, description=help, json_schema_extra=extra, **limits)


class ConfigSection(BaseModel):
    """Keys of a study that belong together. Others are refused, and nothing can be changed."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, validate_default=True)

    def model_post_init(self, context: object) -> None:
        # pydantic copies mappings into plain dicts; what a study hands out must stay as it is
        for name in type(self).model_fields:
            value = getattr(self, name)
            if isinstance(value, dict | tuple):
                self.__dict__[name] = freeze(value)
