"""The words of a command: key=value pairs, checked against the keys that it takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from raysearch.errors import BadInput, near


def options(words: Sequence[str], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a command's words, `defaults` where not given.

    Raises BadInput for a word that is no key=value, or a key that is not among `defaults`.
    """
    values = dict(defaults)
    problems = []
    for word in words:
        name, equals, value = word.partition("=")
        if not equals:
            problems.append(f"{word!r} is not key=value")
        elif name not in defaults:
            known = f"the keys are {', '.join(defaults)}" if defaults else "no keys are taken"
            problems.append(f"{name}={value} is unknown{near(name, defaults)}; {known}")
        else:
            try:
                values[name] = yaml.safe_load(value)
            except yaml.YAMLError:
                problems.append(f"{name}={value}: the value is not YAML; quote it")
    if problems:
        raise BadInput(problems)
    return values
