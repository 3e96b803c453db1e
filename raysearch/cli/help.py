"""The help of a command: an example, and each key with its meaning and its default."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Iterable
from pathlib import PurePath

from raysearch.cli.commands import HEADINGS, SPACE, Command
from raysearch.cli.words import Key

_COLUMN = 30
"""where the meanings begin"""
_WIDEST = 100
_HARD_SPACE = "\u00a0"

_VALUES = "A word is key=value. Names, paths and addresses are what you type."
_YAML = (
    "Other values are YAML: true or false, null for none, [a,b] for a list, '{a: 1}' for a "
    "mapping, in quotes where the shell would read it."
)
_OF_A_STUDY = (
    "A key takes its value from the command line, else from the file that space= names, else it "
    "has its default."
)


def help_text(command: Command) -> str:
    """What stands below the summary in `COMMAND --help`."""
    lines = ["example:", f"  {command.example}"]
    if not command.keys and not command.study:
        return "\n".join(lines)
    lines += ["", *_wrap(f"{_VALUES} {_YAML}" if command.study else _VALUES)]
    if command.keys:
        lines += ["", "keys:", *_table(command.keys)]
    if command.study:
        lines += ["", *_wrap(_OF_A_STUDY)]
        for heading, keys in study_keys(command).items():
            lines += ["", f"{heading}:", *_table(keys)]
    return "\n".join(lines)


def study_keys(command: Command) -> dict[str, list[Key]]:
    """The keys of a study that a command takes, by their heading."""
    from raysearch.study.schema import FIELDS, SHORT, extra_of

    short = {full: name for name, full in SHORT.items()}
    groups: dict[str, list[Key]] = {}
    for heading, names in HEADINGS.items():
        for full, info in FIELDS.items():
            section = full.partition(".")[0]
            if section not in names or section not in command.study:
                continue
            name, meaning = short.get(full, full), info.description or ""
            if full in short:
                meaning += f" (short for {full})"
            default = None if info.is_required() else info.get_default(call_default_factory=True)
            if name == "space" and name not in command.required:
                default = SPACE
            example = str(extra_of(info)["example"])
            key = Key(name, meaning, example, default, required=name in command.required)
            groups.setdefault(heading, []).append(key)
        order = {name: i for i, name in enumerate(names)}
        if heading in groups:
            groups[heading].sort(key=lambda key: order[key.name.partition(".")[0]])
    return groups


def shown(value: object) -> str:
    """A value as a word on the command line gives it."""
    if value is None or value in ((), [], {}, ""):
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list | tuple) and len(value) == 1:
        return shown(value[0])  # one name stands for a list of it
    if isinstance(value, list | tuple):
        return f"[{','.join(shown(item) for item in value)}]"
    if isinstance(value, str | PurePath):
        return str(value)
    return str(value)


def _table(keys: Iterable[Key]) -> list[str]:
    return [line for key in keys for line in _rows(key)]


def _rows(key: Key) -> list[str]:
    default = "required" if key.required else f"default: {shown(key.default)}"
    word = f"  {key.name}={key.example}"
    unbroken = f"[{default}]".replace(" ", _HARD_SPACE)
    lines = [
        line.replace(_HARD_SPACE, " ") for line in _wrap(f"{key.meaning} {unbroken}", " " * _COLUMN)
    ]
    if len(word) > _COLUMN - 2:
        return [word, *lines]
    return [word.ljust(_COLUMN) + lines[0][_COLUMN:], *lines[1:]]


def _wrap(sentence: str, indent: str = "") -> list[str]:
    width = max(60, min(_WIDEST, shutil.get_terminal_size().columns))
    return textwrap.wrap(
        sentence,
        width,
        initial_indent=indent,
        subsequent_indent=indent,
        break_on_hyphens=False,
        break_long_words=False,
    )
