"""The command `clean`."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.filesize import decimal

from raysearch.cli.commands import COMMANDS
from raysearch.cli.words import read_words
from raysearch.study.housekeeping import Holding, holdings, remove


def clean(words: Sequence[str]) -> str:
    """What a home holds, and what of it no study needs; with now=true the latter is removed."""
    values = read_words(words, COMMANDS["clean"].keys)
    home = Path(values["home"])
    found = holdings(home)
    waste = list(_waste(found))
    lines = list(_table(found))
    if not waste:
        return "\n".join(
            [*lines, "", "nothing is left over: every study of this home needs the rest"]
        )
    total = decimal(sum(holding.wasted for holding in found))
    if values["now"]:
        remove(found)
        return "\n".join([*lines, "", f"removed {total}:", *waste])
    again = shlex.join(["python", "-m", "raysearch", "clean", f"home={home}", "now=true"])
    return "\n".join([*lines, "", f"no study needs {total}:", *waste, f"to remove it: {again}"])


def _table(found: Sequence[Holding]) -> Iterator[str]:
    width = max(len(holding.name) for holding in found)
    for holding in found:
        yield f"{holding.name:<{width}}  {decimal(holding.size):>9}  {holding.content}"


def _waste(found: Sequence[Holding]) -> Iterator[str]:
    for holding in found:
        if holding.waste:
            yield (
                f"  {holding.name}: {len(holding.waste)}, {decimal(holding.wasted)}, {holding.why}"
            )
