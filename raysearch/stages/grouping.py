"""Speakers, or sessions, joined into groups, which have the classes that each alone may lack."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from raysearch.errors import BadInput

MOST = 10
"""groups that are proposed: more say no more, and cost more"""


def joined(units: NDArray[np.str_], labels: NDArray[np.str_], count: int) -> NDArray[np.str_]:
    """[n] the group of each clip, group-00 and so on.

    Groups have like shares of the classes, and so like sizes, as far as whole units allow
    (scikit-learn's `StratifiedGroupKFold`; its `GroupKFold`, by size alone, where a class has fewer
    clips than there are groups). No seed matters, and no order of rows.

    Args:
        units: [n] the speaker, or session, of each clip.
        labels: [n] its class.
        count: of groups, at least 2.

    Raises:
        BadInput: there are fewer units.
    """
    from sklearn.model_selection import GroupKFold, StratifiedGroupKFold

    there = len(set(units.tolist()))
    if there < count:
        raise BadInput(
            f"protocol.group={count} joins what is held out into groups, but there are only "
            f"{there}; lower it, or leave it out"
        )
    stratified = np.unique(labels, return_counts=True)[1].min() >= count
    divider = StratifiedGroupKFold(count) if stratified else GroupKFold(count)
    order = np.lexsort((labels, units))
    groups = np.empty(len(units), dtype="<U8")
    for index, (_, test) in enumerate(divider.split(order, labels[order], units[order])):
        groups[order[test]] = f"group-{index:02d}"
    return groups


def whole_groups(
    units: NDArray[np.str_], labels: NDArray[np.str_], classes: int, least: int
) -> int | None:
    """The most groups, up to ten, that all have every class; None where there are none.

    Args:
        units, labels: as for `joined`.
        classes: how many there are.
        least: groups that a study needs.
    """
    for count in range(min(MOST, len(set(units.tolist()))), least - 1, -1):
        groups = joined(units, labels, count)
        if all(len(set(labels[groups == x])) == classes for x in set(groups.tolist())):
            return count
    return None
