"""Values of words that are paths, addresses or names: they mean what they say, whatever YAML is.

YAML would cut `home=runs #2` at its `#`, make a date of `home=2024-11-30`, a number of
`study=123456` and a truth of the class `yes`.
"""

from __future__ import annotations

import os
from typing import Any

import yaml


def plain_text(text: str) -> str | None:
    """The text that a word's value stands for.

    Args:
        text: what follows the `=`. A value in quotes, as Python and YAML write them, is what the
            quotes hold.

    Returns:
        The text; None where it is empty or `null`.
    """
    if text in ("", "null"):
        return None
    if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"":
        try:
            inside = yaml.safe_load(text)
        except yaml.YAMLError:
            return text
        return inside if isinstance(inside, str) else text
    return text


def plain_names(text: str) -> Any:
    """One text, or where brackets hold them a list or a mapping of texts.

    Raises:
        yaml.YAMLError: what the brackets hold is no YAML.
    """
    if text[:1] in ("[", "{") and text[-1:] in ("]", "}"):
        return _texts(yaml.compose(text, yaml.SafeLoader))
    return plain_text(text)


def _texts(node: yaml.Node | None) -> Any:
    """What a node of YAML holds, with every value in it as the text that stands there."""
    if isinstance(node, yaml.SequenceNode):
        return [_texts(item) for item in node.value]
    if isinstance(node, yaml.MappingNode):
        return {str(_texts(key)): _texts(item) for key, item in node.value}
    return None if node is None else node.value


def plain_path(text: str) -> str | None:
    """A path as it is typed; `~` at its beginning stands for the user's folder."""
    path = plain_text(text)
    return None if path is None else user_path(path)


def user_path(path: str) -> str:
    """A path with the folder of the user, or of the user named behind it, in place of `~`."""
    return os.path.expanduser(path)
