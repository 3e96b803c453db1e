"""The keys of a command, and the words that give them values: one declaration reads and prints."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeGuard

import yaml

from raysearch.data.section import Tree
from raysearch.errors import BadInput, near
from raysearch.study.plain_text import plain_path, plain_text


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
        choices: all values that it may have, where they are texts that can be listed.
        path: whether it is a file or a folder, in which `~` stands for the user's folder.
        data: whether it may be a number or a list too, though it is a text where no word gives one.
        whole: whether a number must be a whole one.
        least: the least number.
        most: the greatest number.

    A value must be a number where the default is one, and true or false where the default is that.
    Any other value is a text, just as it is typed, unless the key is of `data`.
    """

    name: str
    meaning: str
    example: str
    default: object = None
    required: bool = False
    repeated: bool = False
    choices: tuple[str, ...] = ()
    path: bool = False
    data: bool = False
    whole: bool = True
    least: float = -math.inf
    most: float = math.inf

    def problem(self, value: object) -> str | None:
        """What is wrong with a value, or None."""
        if self.choices and value != self.default and value not in self.choices:
            return (
                f"{self.name}={value} is unknown{near(str(value), self.choices)}; it is one of "
                f"{', '.join(self.choices)}"
            )
        if isinstance(self.default, bool) and not isinstance(value, bool):
            return f"{self.name} must be true or false, but got {value!r}"
        if _is_number(self.default) and not self._is_in_range(value):
            return f"{self.name} must be {self._range()}, but got {value!r}"
        return None

    def _is_in_range(self, value: object) -> bool:
        if not _is_number(value) or (self.whole and not isinstance(value, int)):
            return False
        return self.least <= value <= self.most and math.isfinite(value)

    def _range(self) -> str:
        kind = "a whole number" if self.whole else "a number"
        if math.isfinite(self.most):
            return f"{kind} from {self.least:g} to {self.most:g}"
        return f"{kind} of at least {self.least:g}"


def _is_number(value: object) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def read_words(words: Sequence[str], keys: Sequence[Key]) -> Tree:
    """The value of every key, read from words `key=value`.

    Args:
        words: as on the command line; each is split at its first `=`.
        keys: all that the command takes.

    Raises:
        BadInput: with every word that is no key=value, is unknown, comes twice or is no YAML, and
            every required key without a word.
    """
    known = {key.name: key for key in keys}
    values: Tree = {key.name: [] if key.repeated else key.default for key in keys}
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
            value, problem = _value(known[name], text)
            values[name] = [*values[name], value] if known[name].repeated else value
            problems += [problem] if problem else []
        names.add(name)
    problems += [
        f"{key.name} must be given, as in {key.name}={key.example}: {key.meaning}"
        for key in keys
        if key.required and key.name not in names
    ]
    if problems:
        raise BadInput(problems)
    return values


def _value(key: Key, text: str) -> tuple[Any, str | None]:
    """The value that a text stands for, and what is wrong with it."""
    if key.path or not (key.data or isinstance(key.default, bool) or _is_number(key.default)):
        plain = plain_path(text) if key.path else plain_text(text)
        if plain is None and (key.required or key.default is not None):
            return None, f"{key.name} is empty; give a value, as in {key.name}={key.example}"
        return plain, key.problem(plain)
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        return None, f"{key.name}={text}: the value is not YAML; quote it"
    return value, key.problem(value)


def _takes(known: dict[str, Key]) -> str:
    return f"; the keys are {', '.join(known)}" if known else "; no keys are taken"
