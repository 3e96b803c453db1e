"""How clips divide by the agreement of their raters."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from raysearch.data.corpora import plurality, vote_partition
from raysearch.data.corpora.cremad import voice_votes

counts = st.integers(0, 12).flatmap(lambda n: arrays(np.int64, (n, 4), elements=st.integers(0, 6)))


def test_the_real_votes_divide_as_published(shared_data: Path) -> None:
    votes = voice_votes(shared_data / "cremad" / "tabulatedVotes.csv")
    assert len(votes) == 7442
    assert votes.to_numpy().sum() == 68568
    totals = votes.sum(axis=1)
    assert (totals.min(), totals.max()) == (4, 12)
    parts = vote_partition(votes.to_numpy())
    assert (parts.unanimous, parts.majority, parts.plurality, parts.tie) == (383, 4629, 1786, 644)
    assert parts.none == 0
    assert (plurality(votes.to_numpy()) >= 0).sum() == 7442 - 644


def test_each_kind_once() -> None:
    votes = np.array([[5, 0, 0], [3, 1, 0], [2, 1, 1], [2, 2, 0], [0, 0, 0]])
    parts = vote_partition(votes)
    found = (parts.unanimous, parts.majority, parts.plurality, parts.tie, parts.none)
    assert found == (1, 1, 1, 1, 1)
    assert plurality(votes).tolist() == [0, 0, 0, -1, -1]


@given(counts)
def test_the_kinds_add_up_and_ignore_the_order_of_classes(votes: np.ndarray) -> None:
    parts = vote_partition(votes)
    total = parts.unanimous + parts.majority + parts.plurality + parts.tie + parts.none
    assert total == len(votes)
    assert parts == vote_partition(votes[:, ::-1])
    assert int((plurality(votes) < 0).sum()) == parts.tie + parts.none


@pytest.mark.parametrize(
    ("votes", "message"),
    [
        (np.array([["3", "x"]]), "must be numbers"),
        (np.array([1.0, 2.0]), r"\[N, K\]"),
        (np.array([[1.0, np.nan]]), "finite"),
        (np.array([[1, -1]]), "0 or more"),
    ],
)
def test_votes_of_the_wrong_kind(votes: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        vote_partition(votes)
