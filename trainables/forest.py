"""A random forest as arrays: what travels of one that scikit-learn has fitted, without a pickle.

The nodes of all trees lie end to end. A row goes left where its feature is at most the node's
threshold, compared as scikit-learn does: the row in float32, the threshold in float64. A leaf is
its own child, so that a row which has arrived stays.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from trainables.stage import Array

if TYPE_CHECKING:
    from sklearn.ensemble import RandomForestClassifier


def arrays_of(forest: RandomForestClassifier, classes: int) -> dict[str, Array]:
    """A fitted forest as arrays.

    Args:
        forest: fitted to class indices in 0 .. K - 1, perhaps not to all of them
        classes: K

    Returns:
        `roots` [trees] the first node of each; of all nodes `left`, `right` [nodes] and `feature`
        [nodes], `threshold` [nodes], and `value` [nodes, K], the shares of the classes among the
        training rows that came there
    """
    trees = [each.tree_ for each in forest.estimators_]
    starts = np.cumsum([0, *(tree.node_count for tree in trees)])
    here = [np.arange(tree.node_count) for tree in trees]
    inner = [tree.children_left >= 0 for tree in trees]

    def children(side: str) -> NDArray[np.int32]:
        each = [
            start + np.where(goes_on, getattr(tree, side), own)
            for start, goes_on, tree, own in zip(starts[:-1], inner, trees, here, strict=True)
        ]
        return np.concatenate(each).astype(np.int32)

    feature = np.concatenate([tree.feature for tree in trees])
    counts = np.concatenate([tree.value[:, 0] for tree in trees])
    value = np.zeros((len(feature), classes))
    value[:, forest.classes_] = counts / counts.sum(axis=1, keepdims=True)
    return {
        "roots": starts[:-1].astype(np.int32),
        "left": children("children_left"),
        "right": children("children_right"),
        "feature": np.maximum(feature, 0).astype(np.int32),
        "threshold": np.concatenate([tree.threshold for tree in trees]),
        "value": value,
    }


def probabilities(arrays: Mapping[str, Array], x: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
    """Class probabilities [n, K] of rows [n, D]: the mean over trees of their leaves' shares.

    Args:
        arrays: of `arrays_of`
        x: finite
    """
    rows = np.asarray(x, dtype=np.float32)
    each = np.arange(len(rows))
    at = np.repeat(arrays["roots"][:, None], len(rows), axis=1)
    while True:
        left = rows[each, arrays["feature"][at]] <= arrays["threshold"][at]
        below = np.where(left, arrays["left"][at], arrays["right"][at])
        if np.array_equal(below, at):
            return arrays["value"][at].mean(axis=0).astype(np.float32)
        at = below
