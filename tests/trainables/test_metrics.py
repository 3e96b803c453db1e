"""Scores against scikit-learn, and the rule for absent classes."""

from __future__ import annotations

import doctest
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, confusion_matrix, recall_score

from trainables import metrics

K = 5
LABELS = st.lists(st.tuples(st.integers(0, K - 1), st.integers(0, K - 1)), min_size=1, max_size=60)


@settings(deadline=None)
@given(LABELS)
def test_scores_agree_with_sklearn(pairs: list[tuple[int, int]]) -> None:
    y, guess = np.array(pairs).T
    present = np.unique(y)
    ua = recall_score(y, guess, labels=present, average="macro", zero_division=0)
    assert metrics.unweighted_accuracy(y, guess, K) == pytest.approx(ua)
    assert metrics.weighted_accuracy(y, guess, K) == pytest.approx(accuracy_score(y, guess))
    table = confusion_matrix(y, guess, labels=range(K))
    assert metrics.confusion(y, guess, K) == table.tolist()


def test_a_predicted_class_that_does_not_occur_is_no_recall_of_zero() -> None:
    assert metrics.unweighted_accuracy([0, 0, 1, 1], [0, 2, 1, 1], 3) == 0.75


def test_corpora_are_scored_apart() -> None:
    y, guess = [0, 1, 0, 1, 1], [0, 1, 1, 1, 1]
    assert metrics.corpus_accuracy(y, guess, [0, 0, 3, 3, 3], 2) == {0: 1.0, 3: 0.5}


@pytest.mark.parametrize(
    ("y", "guess", "told"),
    [
        ([], [], "none"),
        ([0, 1], [0], "shapes"),
        ([0, 3], [0, 0], "0..2"),
        ([0, 1], [0, -1], "0..2"),
        ([0.5, 1.0], [0, 1], "class indices"),
    ],
)
def test_impossible_input_is_refused(y: list[float], guess: list[float], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        metrics.unweighted_accuracy(y, guess, 3)


def test_examples_in_docstrings_hold() -> None:
    assert doctest.testmod(metrics).failed == 0


def test_planning_modules_import_no_torch() -> None:
    code = (
        "import sys, trainables.stage, trainables.metrics, trainables.rdlr, trainables.targets;"
        "sys.exit('torch' in sys.modules or 'ray' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
