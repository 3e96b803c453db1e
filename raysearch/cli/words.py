"""The keys of a command, and the words that give them values: one declaration reads and prints."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from raysearch.errors import BadInput, near


@dataclass(frozen=True)
class Key:
    """One key of a command.

    Attributes:
        name: what stands before the `=`.
        meaning: what the value does, as the help prints it.
        example: a value, or a name in capitals that stands for one.
        default: the value where no word gives one.
        required: whether a word must give one.
        repeated: whether several words may give one; the value is then the list of them all.
    """

    name: str
    meaning: str
    example: str
    default: Any = None
    required: bool = False
    repeated: bool = False


def read_words(words: Sequence[str], keys: Sequence[Key]) -> dict[str, Any]:
    """The value of every key, read from words `key=value`.

    Args:
        words: as on the command line; each is split at its first `=`, and its value is YAML.
        keys: all that the command takes.

    Raises:
        BadInput: with every word that is no key=value, is unknown, comes twice or is no YAML, and
            every required key without a word.
    """
    known = {key.name: key for key in keys}
    values: dict[str, Any] = {key.name: [] if key.repeated else key.default for key in keys}
    problems: list[str] = []
    names = set()
    for word in words:
        name, equals, text = word.partition("=")
        if not equals:
            problems.append(f"{word!r} is not key=value{_takes(known)}")
        elif name not in known:
            problems.append(f"{word} is unknown{near(name, known)}{_takes(known)}")
        elif name in names and not known[name].repeated:
            problems.append(f"{name} is given twice; give it once")
        else:
            try:
                value = yaml.safe_load(text)
            except yaml.YAMLError:
                problems.append(f"{word}: the value is not YAML; quote it")
            else:
                values[name] = [*values[name], value] if known[name].repeated else value
        names.add(name)
    problems += [
        f"{key.name} must be given, as in {key.name}={key.example}: {key.meaning}"
        for key in keys
        if key.required and key.name not in names
    ]
    if problems:
        raise BadInput(problems)
    return values


def _takes(known: dict[str, Key]) -> str:
    return f"; the keys are {', '.join(known)}" if known else "; no keys are taken"
