"""Ratings against one another, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from raysearch.data.corpora import Ratings, distances


def ratings(codes: list[list[int]]) -> Ratings:
    table = np.array(codes, dtype=np.int64)
    names = tuple("ABCD"[: table.shape[1]])
    return Ratings(names, table, np.zeros(table.shape, dtype=bool))


def test_distances_of_a_rater_from_the_others() -> None:
    # B, C, D: all 0; two of 1 and one 2; a tie of 1 and 2; one rating alone; A silent
    codes = [[0, 0, 0, 0], [2, 1, 1, 2], [1, 1, 2, -1], [0, 0, -1, -1], [-1, 0, 0, 0]]
    majority, shares = distances(ratings(codes), "A", 3)
    # agreement, and (0, -1, 1) beside it; the tie has no majority
    assert majority == pytest.approx(np.sqrt(2 / 6))
    # 0; (0, -2/3, 2/3); (0, 1/2, -1/2)
    assert shares == pytest.approx(np.sqrt((2 * (2 / 3) ** 2 + 2 * 0.5**2) / 9))


def test_distances_where_nobody_else_says_enough() -> None:
    codes = [[0, 0, -1], [1, 1, 2]]
    assert distances(ratings(codes), "A", 3)[0] is None
    assert distances(ratings(codes[:1]), "A", 3) == (None, None)
