"""A study before it is checked: dictionaries in dictionaries, whose keys are written with dots."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from raysearch.data.section import Tree
from raysearch.errors import one_line
from raysearch.study.schema import NESTED, SHORT


def spell_out(key: str, value: object) -> list[tuple[str, Any]]:
    """A key and its value with `corpus=emodb` and the like spelt out in full."""
    if key in NESTED and isinstance(value, Mapping):
        return [(f"{key}.{name}", item) for name, item in value.items()]
    if key == "tracking" and isinstance(value, bool):
        return [("tracking.enabled", value)]
    return [(SHORT.get(key, key), value)]


def put(tree: Tree, key: str, value: object) -> str | None:
    """Set a dotted key; returns the part of it that is no mapping, where there is one."""
    *above, last = key.split(".")
    for depth, name in enumerate(above, start=1):
        below = tree.setdefault(name, {})
        if not isinstance(below, dict):
            return ".".join(above[:depth])
        tree = below
    tree[last] = value
    return None


def override(tree: Tree, values: Mapping[str, object], problems: list[str]) -> None:
    """Set every dotted key of `values`."""
    if "corpus.name" in values and isinstance(tree.get("corpus"), dict):
        tree["corpus"].pop("root", None)  # folders of another corpus, and what named its study
        options = tree["corpus"].get("options")
        if isinstance(options, dict):
            options.pop("name", None)
    for key, value in values.items():
        obstacle = put(tree, key, value)
        if obstacle is not None:
            problems.append(
                f"{key} cannot be set, because {obstacle} is one value; give {obstacle} as a whole"
            )


def take_open(tree: Tree, prefix: str = "") -> list[str]:
    """Take the keys whose value is `???` out of `tree`; returns them dotted."""
    keys = []
    for name, value in list(tree.items()):
        if isinstance(value, dict):
            keys += take_open(value, f"{prefix}{name}.")
        elif value == "???":
            del tree[name]
            keys.append(prefix + name)
    return keys


def value_at(tree: Mapping[str, object], key: str) -> Any:
    """The value of a dotted key; None where there is none."""
    value: Any = tree
    for part in key.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


# -- in messages -------------------------------------------------------------------------------
def in_short(value: object) -> str:
    """A value as Python writes it, at most 120 characters."""
    text = repr(value)
    return text if len(text) <= 120 else text[:117] + "..."


def first_line(error: Exception) -> str:
    """What a YAML or OmegaConf error says, on one line."""
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None)
    if problem and mark is not None:
        return f"{problem}, line {mark.line + 1}, column {mark.column + 1}"
    first, *_ = str(error).splitlines() or [type(error).__name__]  # OmegaConf adds lines
    return one_line(first)
