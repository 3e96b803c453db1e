"""Methods by name: the packaged ones, third parties' entry points, and `module:ATTRIBUTE`.

And `plugins`, what third parties add to corpora and features by entry points.

A third party's method is one file and one line: a `Method` object, and an entry point

    [project.entry-points."raysearch.methods"]
    my_method = "my_package.my_method:METHOD"

Without a package of one's own, `method=my_module:METHOD` names the object itself.
"""

from __future__ import annotations

import ast
import importlib
import importlib.metadata
import importlib.util
import pkgutil
from contextlib import AbstractContextManager
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

import trainables
from raysearch.errors import BadInput, any_error_as, near, one_line
from trainables.stage import Method

GROUP = "raysearch.methods"
"""the entry-point group that third parties' methods come in by"""

_ATTRIBUTE = "METHOD"

Kind = TypeVar("Kind")


def plugins(group: str, kind: type[Kind]) -> dict[str, Kind]:
    """What third parties register in an entry-point group, by name.

    Raises:
        BadInput: an entry point cannot be imported, or gives something else than a `kind`.
    """
    by_name: dict[str, Kind] = {}
    for name, point in _entry_points(group).items():
        where = _place(point)
        with _import_of(f"{group} {name!r}", where):
            plugin = point.load()
        if not isinstance(plugin, kind):
            raise BadInput(
                f"{group} {name!r}: {where} must be of type {kind.__name__}, but is a "
                f"{type(plugin).__name__}; mend that package, or remove it"
            )
        by_name[name] = plugin
    return by_name


def methods() -> tuple[str, ...]:
    """The names that `method` knows, sorted; dotted names of one's own come on top."""
    return tuple(sorted({*_packaged(), *_entry_points(GROUP)}))


def method(name: str) -> Method:
    """The method called `name`.

    Args:
        name: a packaged method ("rdlr"), an entry point of the group `raysearch.methods`, a
            `module:ATTRIBUTE`, or a module that holds a `METHOD`.

    Raises:
        BadInput: nothing goes by that name, it cannot be imported, or it is not a `Method`.
    """
    if name in _packaged():
        return _loaded(name, f"trainables.{name}", _ATTRIBUTE)
    points = _entry_points(GROUP)
    if name in points:
        return _from_entry_point(name, points[name])
    module, colon, attribute = name.partition(":")
    if colon and module and attribute:
        return _loaded(name, module, attribute)
    if "." in name and not name.startswith(".") and not name.endswith("."):
        return _loaded(name, name, _ATTRIBUTE)
    names = methods()
    raise BadInput(
        f"there is no method {name!r}{near(name, names)}; known methods are "
        f"{', '.join(names) or 'none'}, and your own is named as method=module:ATTRIBUTE"
    )


@lru_cache(maxsize=1)
def _packaged() -> frozenset[str]:
    """Modules of `trainables` that assign METHOD. They are read, not imported: some need torch."""
    names = set()
    for info in pkgutil.iter_modules(trainables.__path__):
        spec = importlib.util.find_spec(f"trainables.{info.name}")
        if not info.ispkg and spec is not None and spec.origin and _assigns(Path(spec.origin)):
            names.add(info.name)
    return frozenset(names)


def _assigns(path: Path) -> bool:
    if path.suffix != ".py":
        return False
    text = path.read_text(encoding="utf-8")
    if _ATTRIBUTE not in text:
        return False
    for node in ast.parse(text).body:
        targets = node.targets if isinstance(node, ast.Assign) else []
        if isinstance(node, ast.AnnAssign):
            targets = [node.target]
        if any(isinstance(target, ast.Name) and target.id == _ATTRIBUTE for target in targets):
            return True
    return False


def _entry_points(group: str) -> dict[str, importlib.metadata.EntryPoint]:
    return {point.name: point for point in importlib.metadata.entry_points(group=group)}


def _place(point: importlib.metadata.EntryPoint) -> str:
    package = point.dist.name if point.dist is not None else "an unnamed package"
    return f"the entry point {point.value!r} of {package}"


def _from_entry_point(name: str, point: importlib.metadata.EntryPoint) -> Method:
    where = _place(point)
    with _import_of(f"method {name!r}", where):
        thing = point.load()
    return _as_method(name, where, getattr(thing, _ATTRIBUTE, thing))


def _loaded(name: str, module: str, attribute: str) -> Method:
    where = f"module {module!r}"
    with _import_of(f"method {name!r}", where):
        holder = importlib.import_module(module)
    if not hasattr(holder, attribute):
        names = sorted(key for key, value in vars(holder).items() if isinstance(value, Method))
        raise BadInput(
            f"method {name!r}: {where} has no {attribute!r}{near(attribute, names)}; "
            f"the methods in it are {', '.join(names) or 'none'}"
        )
    return _as_method(name, f"{attribute} in {where}", getattr(holder, attribute))


def _import_of(what: str, where: str) -> AbstractContextManager[None]:
    """Whatever fails while the block imports a module is bad input."""
    return any_error_as(
        lambda error: BadInput(
            f"{what}: {where} could not be imported "
            f"({type(error).__name__}: {one_line(error)}); "
            "check the name, and that its package is installed here"
        )
    )


def _as_method(name: str, where: str, thing: object) -> Method:
    if not isinstance(thing, Method):
        raise BadInput(
            f"method {name!r}: {where} must be a trainables.stage.Method, "
            f"but is a {type(thing).__name__}"
        )
    return thing
