"""Groups of clips by what is known of their speakers: whether a study serves all of them alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from raysearch.errors import BadInput, near
from raysearch.selection import RECALL, WORST_GROUP

if TYPE_CHECKING:
    import pandas as pd

Members = Mapping[str, NDArray[np.bool_]]
"""by group, as "sex=female", [N] which rows of the corpus table are of it"""

ATTRIBUTES = ("sex", "age", "language")
"""columns that make groups where a study names none"""
LEAST = 2
"""speakers that make a group: of one alone, nobody knows what is the group's"""
_SPAN = 10
"""years that ages are grouped by"""


def groups_of(table: pd.DataFrame, columns: Sequence[str] = ()) -> dict[str, NDArray[np.bool_]]:
    """The groups of labelled clips, columns and values in order.

    A column makes groups where it has two values or more, each of at least two speakers; clips
    without a value, and of a value that one speaker has, are in none. Ages are taken by decades.

    Args:
        table: the corpus table.
        columns: those to take; () for those of `ATTRIBUTES` that the table has.

    Raises:
        BadInput: the table has no such column.
    """
    for name in columns:
        if name not in table:
            there = [x for x in ATTRIBUTES if x in table]
            like = near(name, map(str, table.columns))
            raise BadInput(
                f"groups={name}: the corpus has no column {name!r}{like}; of "
                f"{', '.join(ATTRIBUTES)} it has {', '.join(there) or 'none'}"
            )
    labelled = (table["label"] != "").to_numpy()
    groups: dict[str, NDArray[np.bool_]] = {}
    for name in columns or [x for x in ATTRIBUTES if x in table]:
        values = np.array([_value(name, x) for x in table[name].tolist()], dtype=object)
        inside = {x: (values == x) & labelled for x in sorted(set(values.tolist()) - {""})}
        speakers = table["speaker"]
        large = {x: rows for x, rows in inside.items() if speakers[rows].nunique() >= LEAST}
        if len(large) > 1:
            groups |= {f"{name}={x}": rows for x, rows in large.items()}
    return groups


def _value(column: str, x: object) -> str:
    """A cell as a group's name; "" where nothing is known."""
    text = "" if x is None or x != x else str(x).strip()
    if column == "age" and text:
        try:
            years = int(float(text))
        except ValueError:
            return text  # a bracket that the corpus itself gives
        start = years // _SPAN * _SPAN
        return f"{start} to {start + _SPAN - 1}" if years >= 0 else ""
    return text


def check_objectives(names: Sequence[str], classes: Sequence[str], groups: Members) -> None:
    """Refuse objectives that this corpus cannot serve.

    Raises:
        BadInput: a class that the study does not have; a worst group where there are none.
    """
    for name in names:
        label = name.removeprefix(RECALL)
        if label != name and label not in classes:
            raise BadInput(
                f"objective={name}: the study has no class {label!r}{near(label, classes)}; its "
                f"classes are {', '.join(classes)}"
            )
        if name == WORST_GROUP and not groups:
            raise BadInput(
                f"objective={name} needs groups of two speakers or more each, but the corpus has "
                f"no column {' or '.join(ATTRIBUTES)} that makes two of them; add such a column to "
                "the manifest, name other columns by groups=, or choose another objective"
            )
