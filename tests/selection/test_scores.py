"""The table of scores: what an objective is of folds, which way is better, who may use it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from raysearch.selection import METRICS, OBJECTIVES, SCORED, Score, is_objective
from raysearch.study.ledger import FoldRow

COUNTS = [[[3, 1], [0, 2]], [[1, 1], [2, 2]], [[0, 0], [1, 4]]]


def folds(**metric: list[float]) -> list[FoldRow]:
    """Three folds, the last without a clip of the first class and of the group "f"."""
    groups: list[Any] = [
        {"sex=f": {"val": [[3, 0], [0, 1]]}, "sex=m": {"val": [[0, 1], [0, 1]]}},
        {"sex=f": {"val": [[1, 0], [0, 0]]}, "sex=m": {"val": [[0, 1], [2, 2]]}},
        {"sex=m": {"val": COUNTS[2]}},
    ]
    scores = [{f"val_{name}": x[f] for name, x in metric.items()} for f in range(3)]
    return [
        FoldRow(0, f"f{f}", f, scores[f], [], 0.0, (), COUNTS[f], (), groups[f]) for f in range(3)
    ]


def test_clips_are_pooled_for_every_metric_of_counts() -> None:
    rows = folds()
    whole = np.sum(COUNTS, axis=0)
    for name, metric in METRICS.items():
        if metric.needs == "counts":
            assert Score(f"pooled_{name}").of(rows) == pytest.approx(float(metric.of(whole)))


def test_the_recall_of_a_class_is_of_all_clips() -> None:
    assert Score("recall_sad", ("happy", "sad")).of(folds()) == pytest.approx(8 / 11)
    assert Score("recall_happy", ("happy", "sad")).of(folds()[2:]) == 0  # no clip, no recall


def test_the_worst_group_is_the_one_of_the_lowest_ua() -> None:
    male = (0 / 2 + 7 / 10) / 2
    assert Score("worst_group_ua").of(folds()) == pytest.approx(male)
    assert Score("worst_group_ua").of(folds()[:1]) == pytest.approx(0.5)  # of m; f has 1.0


def test_the_worst_quarter_is_where_a_loss_is_highest() -> None:
    rows = folds(nll=[0.5, 2.0, 1.0], ua=[0.5, 0.2, 0.9])
    assert Score("worst_nll").of(rows) == 2.0
    assert Score("worst_ua").of(rows) == 0.2
    assert Score("nll").of(rows) == pytest.approx(3.5 / 3)
    assert list(Score("nll").merit([1.0, 2.0])) == [-1.0, -2.0]
    assert list(Score("worst_ua").merit([1.0, 2.0])) == [1.0, 2.0]


@pytest.mark.parametrize("name", OBJECTIVES)
def test_a_row_says_what_it_is_and_who_may_use_it(name: str) -> None:
    score = Score(name)
    assert is_objective(name)
    assert score.metric in SCORED
    assert score.row.heading in score.words + " " + score.heading
    assert score.row.ends[0] < score.row.ends[1]
    # a race stops by means of fractions that are to be high
    assert score.raced == (name in ("ua", "wa", "macro_f1", "kappa", "ccc"))


def test_what_is_no_objective() -> None:
    for name in ("ece", "worst_ece", "f1", "recall_", "pooled_nll", "loss"):
        assert not is_objective(name)
    assert is_objective("recall_sad")


def test_the_page_of_scores_has_every_metric() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "scores.md").read_text()
    for name, metric in METRICS.items():
        (row,) = [line for line in page.splitlines() if line.startswith(f"| `{name}` |")]
        assert f"| {'higher' if metric.higher else 'lower'} | " in row
        assert row.endswith(f"| {'yes' if metric.raced else 'no'} |")
