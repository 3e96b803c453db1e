"""Scores of a fold against scores made by hand."""

from __future__ import annotations

from typing import Any

import audmetric
import numpy as np
import pytest
from sklearn import metrics as sk

from raysearch.search.scorer import Scorer
from raysearch.selection import Score
from raysearch.selection.measures import fit_temperature, reliability, scaled
from raysearch.stages import Answers, FoldOutcome, StageFailed
from raysearch.study.ledger import FoldRow


def outcome(validation: list[int], test: list[int], seconds: float = 1.0) -> FoldOutcome:
    """Of a method that is sure of these classes, of two."""
    eye = np.eye(2, dtype=np.float32)
    uses = (("student", "ab" * 32, True),)
    return FoldOutcome(eye[validation], eye[test], uses, ("ab" * 32,), seconds)


def scorer(speaker_clips: tuple[int, ...] = (), **answers: Any) -> Scorer:
    return Scorer(("s1",), (Answers(**answers),), ("a", "b"), speaker_clips)


def accuracies(row: FoldRow) -> tuple[float, ...]:
    return tuple(row.scores[name] for name in ("val_ua", "val_wa", "test_ua", "test_wa"))


def test_every_metric_is_scored_and_the_temperature_is_of_the_validation_part() -> None:
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 40)
    p = rng.dirichlet([1, 1], 40).astype(np.float32)
    judge = scorer(validation=y[:20], unseen=y[20:], selected=0, test=20)
    row = judge.row(0, 0, [FoldOutcome(p[:20], p[20:], (), (), 1.0)])
    for part, rows in (("val", slice(20)), ("test", slice(20, 40))):
        guess = p[rows].argmax(axis=1)
        assert row.scores[f"{part}_macro_f1"] == pytest.approx(
            sk.f1_score(y[rows], guess, average="macro")
        )
        assert row.scores[f"{part}_kappa"] == pytest.approx(sk.cohen_kappa_score(y[rows], guess))
        assert row.scores[f"{part}_nll"] == pytest.approx(sk.log_loss(y[rows], p[rows]), abs=1e-6)
    temperature = fit_temperature(p[:20], y[:20])
    assert row.scores["temperature"] == pytest.approx(temperature, abs=1e-6)
    after = scaled(p[20:], temperature)
    assert row.scores["test_nll_scaled"] == pytest.approx(sk.log_loss(y[20:], after), abs=1e-6)
    np.testing.assert_allclose(row.reliability["plain"], reliability(p[20:], y[20:]), atol=1e-5)
    np.testing.assert_allclose(row.reliability["scaled"], reliability(after, y[20:]), atol=1e-5)


def test_groups_have_their_part_of_the_counts() -> None:
    female = np.array([True, False, False])
    judge = scorer(
        validation=np.array([0, 1, 1]),
        unseen=np.array([1, 0, 0, 1]),
        selected=1,
        test=3,
        groups={"sex=f": (female, np.array([True, True, False, False]))},
    )
    row = judge.row(0, 0, [outcome([0, 0, 0], [0, 0, 1, 1])])
    # where there is a selection, it is the part that scores a setting
    assert row.groups == {"sex=f": {"val": [[0, 0], [1, 0]], "test": [[1, 0], [0, 0]]}}


def test_clips_that_the_rater_has_not_rated_are_not_scored() -> None:
    judge = scorer(
        (5,),
        validation=np.array([0, -1, 1]),
        unseen=np.array([1, -1, 0, 0] * 2),
        selected=0,
        test=4,
    )
    row = judge.row(0, 0, [outcome([0, 0, 0], [1, 0, 0, 1, 1, 1, 1, 1])])
    assert row.val_confusion == [[1, 0], [1, 0]]
    assert row.confusion == [[1, 1], [0, 1]]
    assert row.scores["val_ua"] == 0.5
    assert row.scores["test_ua"] == 0.75
    assert row.scores["test_ua_5_clips"] == 0.5


def test_where_there_is_a_selection_it_scores_the_setting() -> None:
    judge = scorer(
        validation=np.array([0, 1]), unseen=np.array([0, 0, 1, 1, 0]), selected=3, test=2
    )
    row = judge.row(3, 0, [outcome([1, 0], [0, 1, 1, 1, 0])])
    assert (row.trial, row.fold, row.index) == (3, "s1", 0)
    assert accuracies(row) == (0.75, pytest.approx(2 / 3), 1.0, 1.0)
    assert row.val_confusion == [[1, 1], [0, 1]]


def test_sets_of_test_clips_are_scored_by_themselves_where_the_fold_has_any() -> None:
    sets = {"A": np.array([True, True, False, False]), "B": np.zeros(4, dtype=bool)}
    judge = scorer(
        validation=np.array([0]), unseen=np.array([0, 1, 0, 1]), selected=0, test=4, sets=sets
    )
    scores = judge.row(0, 0, [outcome([0], [0, 0, 0, 1])]).scores
    assert scores["test_wa"] == 0.75
    assert (scores["test_wa_A"], scores["test_ua_A"]) == (0.5, 0.5)
    assert "test_wa_B" not in scores


def test_seeds_are_averaged_and_their_counts_summed() -> None:
    judge = scorer(validation=np.array([0, 1]), unseen=np.array([0, 1]), selected=0, test=2)
    row = judge.row(0, 0, [outcome([0, 1], [0, 1]), outcome([0, 0], [1, 0], 2.0)])
    assert accuracies(row) == (0.75, 0.75, 0.5, 0.5)
    assert np.sum(row.reliability["plain"], axis=0)[0] == 4
    assert row.confusion == [[1, 1], [1, 1]]
    assert row.seconds == 3.0
    assert len(row.stages) == 2
    assert [repeat["test_ua"] for repeat in row.repeats] == [1.0, 0.0]


def test_what_cannot_be_scored_fails_the_trial_with_its_reason() -> None:
    judge = scorer(validation=np.array([0, 1]), unseen=np.array([0, 1]), selected=0, test=2)
    with pytest.raises(StageFailed, match=r"fold 's1': .* test predictions of shape \(3, 2\)"):
        judge.row(0, 0, [outcome([0, 1], [0, 1, 1])])
    ill = outcome([0, 1], [0, 1])
    ill.validation[0, 0] = np.nan
    with pytest.raises(StageFailed, match="its validation scores are not finite"):
        judge.row(0, 0, [ill])


def test_numbers_have_sums_and_no_confusion() -> None:
    truth = np.array([[1.0, 2.0], [3.0, 4.0], [np.nan, np.nan], [5.0, 3.0]])
    guess = np.array([[1.5, 2.0], [2.5, 2.0], [9.0, 9.0], [4.0, 2.0]], np.float32)
    answers = {"validation": truth[:2], "unseen": truth, "selected": 0, "test": 4}
    one = Scorer(("s1",), (Answers(**answers, continuous=True),), ("valence", "dominance"), ())
    row = one.row(0, 0, [FoldOutcome(guess[:2], guess, (), (), 1.0)])
    assert row.confusion == []
    known = [0, 1, 3]
    expected = audmetric.concordance_cc(truth[known, 0], guess[known, 0])
    assert row.scores["test_ccc_valence"] == pytest.approx(expected)
    assert row.scores["test_ccc_dominance"] == 0  # it never varies
    assert row.scores["test_ccc"] == pytest.approx(expected / 2)
    assert row.scores["test_mae"] == pytest.approx(
        np.mean([sk.mean_absolute_error(truth[known, a], guess[known, a]) for a in (0, 1)])
    )
    # the CCC of folds together is of their summed tables
    assert Score("pooled_ccc").of([row, row]) == pytest.approx(row.scores["val_ccc"])
    assert Score("rmse").merit([1.0, 2.0]).tolist() == [-1.0, -2.0]
    seeds = one.row(0, 0, [FoldOutcome(guess[:2], guess, (), (), 1.0)] * 2)
    assert seeds.scores["test_ccc"] == pytest.approx(row.scores["test_ccc"])
    assert np.array(seeds.sums["test"])[0, 0] == 6
