"""A forest as arrays says what scikit-learn's forest says."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.ensemble import RandomForestClassifier

from raysearch.stages.store import Provenance, decode, encode
from trainables import forest
from trainables.stage import Artifact


def grown(seed: int, n: int, classes: list[int], trees: int = 30) -> RandomForestClassifier:
    """On rows that lie on a coarse grid, so that many are equal and leaves are mixed."""
    rng = np.random.default_rng(seed)
    y = rng.choice(classes, n)
    x = np.round(rng.normal(size=(n, 6)) + 0.7 * y[:, None], 1)
    return RandomForestClassifier(n_estimators=trees, random_state=seed).fit(x, y)


def reference(result: RandomForestClassifier, x: np.ndarray, k: int) -> np.ndarray:
    whole = np.zeros((len(x), k))
    whole[:, result.classes_] = result.predict_proba(x)
    return whole


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("classes", [[0, 1, 2, 3], [0, 3], [1, 2, 3]])
def test_it_agrees_with_scikit_learn(seed: int, classes: list[int]) -> None:
    result = grown(seed, 150, classes)
    x = np.round(np.random.default_rng(seed + 100).normal(size=(400, 6)) * 2, 1)
    actual = forest.probabilities(forest.arrays_of(result, 5), x)
    assert actual.shape == (400, 5)
    np.testing.assert_allclose(actual, reference(result, x, 5), atol=1e-6)
    assert len(np.unique(actual[:, classes[0]])) > 10


def test_rows_at_a_threshold_go_left_as_they_do_there() -> None:
    """Rows of which a feature is a node's threshold, or a float32 beside it, and such float64 as
    only rounding to float32 puts on the other side."""
    result = grown(0, 200, [0, 1, 2])
    rows = []
    for tree in (each.tree_ for each in result.estimators_):
        inner = np.flatnonzero(tree.children_left >= 0)
        for feature, threshold in zip(tree.feature[inner], tree.threshold[inner], strict=True):
            near = np.float32(threshold)
            for value in (
                threshold,
                near,
                np.nextafter(near, np.float32(9)),
                np.nextafter(near, np.float32(-9)),
                np.nextafter(threshold, 9.0),
                np.nextafter(threshold, -9.0),
            ):
                row = np.zeros(6)
                row[feature] = value
                rows.append(row)
    x = np.array(rows)
    actual = forest.probabilities(forest.arrays_of(result, 3), x)
    np.testing.assert_allclose(actual, reference(result, x, 3), atol=1e-6)
    strict = forest.arrays_of(result, 3)
    strict["threshold"] = np.nextafter(strict["threshold"], -9.0)
    assert np.abs(forest.probabilities(strict, x) - actual).max() > 0.01, "the rows tell < from <="


def test_trees_of_a_single_leaf_and_of_one_class() -> None:
    x = np.zeros((9, 6))
    same = RandomForestClassifier(n_estimators=3, random_state=0).fit(x, np.arange(9) % 3)
    actual = forest.probabilities(forest.arrays_of(same, 3), x)
    np.testing.assert_allclose(actual, reference(same, x, 3), atol=1e-6)
    one = RandomForestClassifier(n_estimators=3, random_state=0).fit(x, np.full(9, 2))
    np.testing.assert_array_equal(forest.probabilities(forest.arrays_of(one, 3), x)[:, 2], 1.0)


def test_it_travels_as_an_artifact() -> None:
    result = grown(3, 80, [0, 1, 2])
    arrays = forest.arrays_of(result, 3)
    before, _ = decode(encode(Artifact(arrays), Provenance("s", "utterance")))
    x = np.random.default_rng(0).normal(size=(20, 6))
    np.testing.assert_array_equal(
        forest.probabilities(before.arrays, x), forest.probabilities(arrays, x)
    )
    assert forest.probabilities(arrays, x[:0]).shape == (0, 3)
