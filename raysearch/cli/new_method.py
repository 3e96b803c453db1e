"""The command `new-method`: a method to begin with, its space and a test, from templates/."""

from __future__ import annotations

import importlib.util
import keyword
import re
from collections.abc import Sequence
from pathlib import Path
from string import Template

from raysearch.cli.commands import COMMANDS
from raysearch.cli.words import read_words
from raysearch.errors import BadInput
from raysearch.stages.methods import methods

_TEMPLATES = Path(__file__).parent / "templates"
_FILES = {"{name}.py": "method.txt", "{name}.yaml": "space.txt", "test_{name}.py": "test.txt"}
"""what is written -> the text it is made of"""


def new_method(words: Sequence[str]) -> str:
    """Write a method to begin with, and say how to run it."""
    names = [word for word in words if "=" not in word]
    values = read_words([word for word in words if "=" in word], COMMANDS["new-method"].keys)
    if len(names) != 1:
        raise BadInput(
            f"new-method takes one name, as in new-method my_method, but got {', '.join(names)}"
            if names
            else "new-method needs a name, as in python -m raysearch new-method my_method"
        )
    folder = Path(values["dir"])
    paths = write_method(names[0], folder)
    there = "" if folder.resolve() == Path.cwd() else f"cd {folder} && "
    return "\n".join(
        [
            *(f"wrote {path}" for path in paths),
            f"run it:  {there}python -m raysearch tune space=./{names[0]}.yaml",
            f"test it: {there}pytest test_{names[0]}.py",
        ]
    )


def write_method(name: str, folder: Path) -> list[Path]:
    """Write a method called `name` into `folder`: all of its three files, or none.

    Raises:
        BadInput: the name cannot be that of a module, or is one's that exists; the folder is not
            there or cannot be written to; one of the files is there already
    """
    _check(name, folder)
    texts = {
        folder / file.format(name=name): Template((_TEMPLATES / text).read_text(encoding="utf-8"))
        for file, text in _FILES.items()
    }
    written: list[Path] = []
    try:
        for path, text in texts.items():
            with path.open("x", encoding="utf-8") as file:
                written.append(path)
                file.write(text.substitute(name=name))
    except OSError as error:
        for path in written:
            path.unlink(missing_ok=True)
        raise BadInput(
            f"{error.filename or folder} cannot be written ({error.strerror}); "
            "nothing was; name another folder with dir=DIR"
        ) from error
    return written


def _check(name: str, folder: Path) -> None:
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name) or keyword.iskeyword(name):
        raise BadInput(
            f"a method's name must be that of a Python module (small letters, digits and _, as in "
            f"my_method), but got {name!r}"
        )
    if not folder.is_dir():
        raise BadInput(f"dir={folder} is no folder; make it first, or name another")
    there = [path for file in _FILES if (path := folder / file.format(name=name)).exists()]
    if there:
        raise BadInput(
            f"{' and '.join(map(str, there))} would be overwritten; take another name, or move "
            "what is there away"
        )
    if name in methods():
        raise BadInput(f"there is a method {name!r} already; take another name")
    if importlib.util.find_spec(name) is not None:
        raise BadInput(
            f"there is a Python module {name!r} already, which {name}.py would hide or be hidden "
            "by; take another name"
        )
