"""Segments and what they say of an utterance, against plain loops."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainables import segments
from trainables.stage import Sequences


def sequences(lengths: list[int], seed: int = 0) -> Sequences:
    """Frames that tell their utterance (column 0) and their place in it (column 1)."""
    rng = np.random.default_rng(seed)
    rows = []
    for row, length in enumerate(lengths):
        own = rng.normal(size=(length, 4))
        own[:, 0], own[:, 1] = row, np.arange(length)
        rows.append(own)
    starts = np.cumsum([0, *lengths]).astype(np.int64)
    return Sequences(np.concatenate(rows).astype(np.float32), starts)


@settings(max_examples=60, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 40), min_size=1, max_size=6),
    length=st.integers(1, 20),
    hop=st.integers(1, 25),
)
def test_segments_are_slices_of_one_utterance_each(
    lengths: list[int], length: int, hop: int
) -> None:
    rows = sequences(lengths)
    cut = segments.cut({"a": rows, "b": rows}, length=length, hop=hop)
    for part in ("a", "b"):
        own_rows = cut.rows(part)
        batch = segments.collate({"segment": [own_rows[i] for i in range(len(own_rows))]})
        actual = batch["segment"].numpy()
        reference = []
        for own in (rows[i] for i in range(len(rows))):
            if len(own) < length:  # one, lengthened by each band's least value
                reference.append(np.vstack([own, *[own.min(axis=0)] * (length - len(own))]))
                continue
            reference += [own[at : at + length] for at in range(0, len(own) - length + 1, hop)]
        assert actual.shape == (len(reference), 1, 4, length)
        np.testing.assert_array_equal(actual[:, 0].transpose(0, 2, 1), np.stack(reference))
        assert cut.counts[part].sum() == len(reference)
        np.testing.assert_array_equal(
            cut.counts[part], segments.count(rows, length=length, hop=hop)
        )
        owner = segments.owners(cut.counts[part])
        assert owner.clips == len(lengths)
        np.testing.assert_array_equal(owner.clip, actual[:, 0, 0, 0].astype(int))


def test_frames_are_kept_once() -> None:
    rows = sequences([100, 200])
    assert len(segments.cut({"a": rows}, length=32, hop=1).frames) == 300
    with pytest.raises(ValueError, match="utterance 1 of the a part has no frames"):
        segments.cut({"a": sequences([3, 0, 2])}, length=2, hop=1)


def percentile(values: list[float], share: float) -> float:
    """By linear interpolation between the ranks, as scikit-learn's and NumPy's default."""
    in_order = sorted(values)
    at = share * (len(in_order) - 1)
    low = math.floor(at)
    high = min(low + 1, len(in_order) - 1)
    return in_order[low] + (at - low) * (in_order[high] - in_order[low])


@pytest.mark.parametrize("counts", [[1], [2, 7, 1], [30, 3]])
def test_eight_statistics_a_class(counts: list[int]) -> None:
    rng = np.random.default_rng(1)
    p = rng.dirichlet(np.ones(3), sum(counts))
    actual = segments.statistics(p, counts)
    assert actual.shape == (len(counts), 24)
    start = 0
    for row, n in enumerate(counts):
        for k in range(3):
            own = p[start : start + n, k].tolist()
            reference = [sum(own) / n]
            reference += [percentile(own, share) for share in (0.01, 0.99, 0.25, 0.5, 0.75)]
            reference += [sum(one > 0.2 for one in own) / n, sum(one > 0.3 for one in own) / n]
            np.testing.assert_allclose(actual[row, 8 * k : 8 * k + 8], reference, rtol=1e-6)
        start += n
    with pytest.raises(ValueError, match="cannot be"):
        segments.statistics(p, [*counts, 1])


def test_statistics_at_their_limits() -> None:
    one_hot = np.eye(2)[np.zeros(5, int)]
    assert segments.statistics(one_hot, [5])[0].tolist() == [1.0] * 8 + [0.0] * 8
    even = np.full((4, 5), 0.2)  # at the threshold, not above it
    np.testing.assert_allclose(
        segments.statistics(even, [4])[0].reshape(5, 8), [[0.2] * 6 + [0, 0]] * 5, rtol=1e-6
    )
