"""The digest of a stage's source and of all that it imports."""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib
import json
import sys
from pathlib import Path


@functools.cache
def source_digest(module: str) -> str:
    """Digest of a module's code and of all it imports from its own package and `trainables`.

    Comments, layout and docstrings do not count, so that editing them computes nothing anew.
    """
    digests: dict[str, str] = {}
    waiting = [module]
    tops = {module.partition(".")[0], "trainables"}
    while waiting:
        name = waiting.pop()
        if name in digests:
            continue
        path = _file(name)
        if path is None:
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        digests[name] = _code(path)
        package = name if path.name == "__init__.py" else name.rpartition(".")[0]
        waiting += [other for other in _imports(tree, package) if other.partition(".")[0] in tops]
    if module not in digests:
        raise LookupError(f"the source of {module} cannot be found, so its stages have no key")
    return hashlib.sha256(json.dumps(sorted(digests.items())).encode()).hexdigest()


@functools.cache
def own_digest(modules: tuple[str, ...]) -> str:
    """Digest of these modules' code alone, without what they import."""
    digests = {name: _code(path) for name in modules if (path := _file(name)) is not None}
    if len(digests) != len(modules):
        raise LookupError(f"the source of {sorted(set(modules) - set(digests))} cannot be found")
    return hashlib.sha256(json.dumps(sorted(digests.items())).encode()).hexdigest()


def _code(path: Path) -> str:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return hashlib.sha256(ast.dump(_without_docstrings(tree)).encode()).hexdigest()


def _file(module: str) -> Path | None:
    """The file of a module, found without importing it where its package's folder is known."""
    top, _, rest = module.partition(".")
    loaded = sys.modules.get(top) or importlib.import_module(top)
    if not rest:
        return Path(loaded.__file__) if loaded.__file__ else None
    for folder in getattr(loaded, "__path__", ()):
        base = Path(folder, *rest.split("."))
        for path in (base.with_suffix(".py"), base / "__init__.py"):
            if path.is_file():
                return path
    return None


def _imports(tree: ast.AST, package: str) -> list[str]:
    names: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*above, base] if base else above)
            names += [base, *(f"{base}.{alias.name}" for alias in node.names)]
    with_parents: list[str] = []
    for name in names:
        pieces = name.split(".")
        with_parents += [".".join(pieces[: i + 1]) for i in range(len(pieces))]
    return with_parents


def _without_docstrings(tree: ast.Module) -> ast.Module:
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            node.body = [
                item
                for item in node.body
                if not (
                    isinstance(item, ast.Expr)
                    and isinstance(item.value, ast.Constant)
                    and isinstance(item.value.value, str)
                )
            ]
    return tree
