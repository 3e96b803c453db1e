"""S_A, S_B and S_C: each rule on votes whose sets are known, and what no rule may change."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from trainables.labels import NONE, A, B, C, partition

# three classes of the study, then two that it does not have
CLIPS: list[tuple[list[int], list[int]]] = [
    ([8, 0, 0], [0, 0]),  # the paper's example of S_A
    ([7, 1, 0], [0, 0]),  # of S_B
    ([2, 2, 2], [0, 0]),  # of S_C
    ([2, 1, 1], [0, 0]),  # leads with one half
    ([2, 0, 0], [1, 0]),  # a vote outside
    ([1, 0, 0], [2, 0]),  # led from outside
    ([1, 0, 0], [1, 0]),  # tied with outside
    ([0, 0, 0], [3, 0]),  # no vote for a class of the study
    ([0, 0, 0], [0, 0]),
    ([1, 0, 0], [0, 0]),  # one vote
]
VOTES = np.array([inside for inside, _ in CLIPS], dtype=np.float32)
OUTSIDE = np.array([outside for _, outside in CLIPS], dtype=np.float32)
LABEL = np.array([0, 0, -1, 1, 0, -1, 2, -1, -1, 0])


@pytest.mark.parametrize(
    ("rules", "sets", "dominant"),
    [
        ({}, [A, B, C, B, B, C, C, NONE, NONE, A], [0, 0, -1, 0, 0, -1, -1, -1, -1, 0]),
        (
            {"dominant": "majority"},
            [A, B, C, C, B, C, C, NONE, NONE, A],
            [0, 0, -1, -1, 0, -1, -1, -1, -1, 0],
        ),
        (
            {"dominant": "label"},
            [A, B, C, B, B, C, B, NONE, NONE, A],
            [0, 0, -1, 1, 0, -1, 2, -1, -1, 0],
        ),
        (
            {"others": "ignore"},
            [A, B, C, B, A, A, A, NONE, NONE, A],
            [0, 0, -1, 0, 0, 0, 0, -1, -1, 0],
        ),
        (
            {"others": "drop"},
            [A, B, C, B, NONE, NONE, NONE, NONE, NONE, A],
            [0, 0, -1, 0, -1, -1, -1, -1, -1, 0],
        ),
        (
            {"least": 3},
            [A, B, C, B, B, C, NONE, NONE, NONE, NONE],
            [0, 0, -1, 0, 0, -1, -1, -1, -1, -1],
        ),
    ],
)
def test_each_rule(rules: dict[str, Any], sets: list[int], dominant: list[int]) -> None:
    actual = partition(VOTES, outside=OUTSIDE, label=LABEL, **rules)
    assert actual.part.tolist() == sets
    assert actual.dominant.tolist() == dominant
    assert actual.counts == {
        "A": sets.count(A),
        "B": sets.count(B),
        "C": sets.count(C),
        "none": sets.count(NONE),
    }


def test_the_real_votes_of_cremad(shared_data: Path) -> None:
    from raysearch.data.corpora.cremad import voice_votes

    votes = voice_votes(shared_data / "cremad" / "tabulatedVotes.csv")
    # published: unanimous 383, majority 4629, plurality at or below one half 1786, tie 644
    clear = partition(votes.to_numpy())
    assert clear.counts == {"A": 383, "B": 4629 + 1786, "C": 644, "none": 0}
    half = partition(votes.to_numpy(), dominant="majority")
    assert half.counts == {"A": 383, "B": 4629, "C": 1786 + 644, "none": 0}
    four = ["neutral", "happy", "sad", "angry"]
    rest = [name for name in votes.columns if name not in four]
    with_others = partition(votes[four].to_numpy(), outside=votes[rest].to_numpy())
    without_others = partition(votes[four].to_numpy(), others="ignore")
    assert with_others.counts["none"] == without_others.counts["none"]
    assert with_others.counts["A"] < without_others.counts["A"]
    assert with_others.counts["C"] > without_others.counts["C"]


counts = st.integers(0, 12).flatmap(lambda n: arrays(np.int64, (n, 4), elements=st.integers(0, 6)))
rules = st.fixed_dictionaries(
    {
        "dominant": st.sampled_from(["plurality", "majority"]),
        "others": st.sampled_from(["count", "ignore", "drop"]),
        "least": st.integers(1, 5),
    }
)


@given(counts, rules)
def test_no_rule_depends_on_the_order_of_classes_or_clips(
    votes: np.ndarray, rules: dict[str, Any]
) -> None:
    inside, outside = votes[:, :3], votes[:, 3:]
    actual = partition(inside, outside=outside, **rules)
    assert sum(actual.counts.values()) == len(votes)
    reordered = partition(inside[:, ::-1], outside=outside, **rules)
    assert (reordered.part == actual.part).all()
    assert (reordered.dominant == np.where(actual.dominant < 0, -1, 2 - actual.dominant)).all()
    backwards = partition(inside[::-1], outside=outside[::-1], **rules)
    assert (backwards.part[::-1] == actual.part).all()


@given(counts, rules)
def test_the_sets_nest(votes: np.ndarray, rules: dict[str, Any]) -> None:
    """Whoever leads with more than half leads; S_A does not know what makes a class dominant."""
    inside, outside = votes[:, :3], votes[:, 3:]
    clear = partition(inside, outside=outside, **{**rules, "dominant": "plurality"})
    half = partition(inside, outside=outside, **{**rules, "dominant": "majority"})
    assert (clear.where("A") == half.where("A")).all()
    assert (clear.where("A+B") >= half.where("A+B")).all()
    assert ((clear.part == NONE) == (half.part == NONE)).all()
    assert ((clear.dominant >= 0) == clear.where("A+B")).all()


def test_shares_of_votes_tie_as_whole_votes_do() -> None:
    thirds = np.array([[1 / 3 + 1 / 3 + 1 / 3, 1.0], [0.1 + 0.2, 0.3], [0.1 + 0.2, 0.0]])
    assert partition(thirds, least=0.3).part.tolist() == [C, C, A]


def test_which_sets() -> None:
    actual = partition(VOTES, outside=OUTSIDE)
    assert actual.where("A+B").sum() == actual.where("A").sum() + actual.where("B").sum()
    assert actual.where("C").sum() == actual.counts["C"]
    with pytest.raises(ValueError, match="but got 'D'"):
        actual.where("A+D")


def test_nothing_to_divide() -> None:
    assert partition(np.zeros((0, 3))).counts == {"A": 0, "B": 0, "C": 0, "none": 0}
    assert partition(np.zeros((2, 0))).counts == {"A": 0, "B": 0, "C": 0, "none": 2}


@pytest.mark.parametrize(
    ("votes", "other", "message"),
    [
        (np.array([["3", "x"]]), {}, "must be numbers"),
        (np.array([1.0, 2.0]), {}, r"\[N, K\]"),
        (np.array([[1.0, np.nan]]), {}, "votes must be finite"),
        (np.array([[1, 2]]), {"outside": np.array([[-1]])}, "outside must be finite and 0"),
        (np.array([[1, 2]]), {"outside": np.ones((2, 1))}, "the 1 rows of votes, but has 2"),
        (np.array([[1, 2]]), {"dominant": "most"}, "'majority' or 'label', but got 'most'"),
        (np.array([[1, 2]]), {"dominant": "label"}, "needs label"),
        (np.array([[1, 2]]), {"dominant": "label", "label": np.array([2])}, "from -1 to 1"),
        (np.array([[1, 2]]), {"others": "keep"}, "'ignore' or 'drop', but got 'keep'"),
    ],
)
def test_what_does_not_fit(votes: np.ndarray, other: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        partition(votes, **other)
