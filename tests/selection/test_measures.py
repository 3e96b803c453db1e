"""Measures of predictions against scikit-learn and audmetric, to 1e-6, and their limiting cases."""

from __future__ import annotations

import math

import audmetric
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import softmax
from sklearn import metrics as sk
from sklearn.calibration import calibration_curve

from raysearch.selection import measures as own
from trainables.metrics import confusion

K = 4
Drawn = tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]]


@pytest.fixture(params=range(8))
def drawn(request: pytest.FixtureRequest) -> Drawn:
    """Probabilities, labels and guesses; in every second draw no clip is of the last class."""
    rng = np.random.default_rng(request.param)
    y = rng.integers(0, K - request.param % 2, 60)
    logits = 2 * rng.normal(size=(60, K)) + 2 * np.eye(K)[y]
    p = softmax(logits, axis=1)
    return p, y, p.argmax(axis=1)


def test_scores_of_counts(drawn: Drawn) -> None:
    _, y, guess = drawn
    counts = confusion(y, guess, K)
    there = sorted(set(y.tolist()))
    names = list(map(str, range(K)))
    words = ([str(x) for x in y], [str(x) for x in guess])
    recall = audmetric.recall_per_class(*words, labels=names)
    f1 = audmetric.fscore_per_class(*words, labels=names)
    assert own.wa_of(counts) == pytest.approx(sk.accuracy_score(y, guess), abs=1e-9)
    assert own.wa_of(counts) == pytest.approx(audmetric.accuracy(*words), abs=1e-9)
    assert own.ua_of(counts) == pytest.approx(
        sk.recall_score(y, guess, labels=there, average="macro"), abs=1e-9
    )
    assert own.macro_f1_of(counts) == pytest.approx(
        sk.f1_score(y, guess, labels=there, average="macro"), abs=1e-9
    )
    assert own.kappa_of(counts) == pytest.approx(sk.cohen_kappa_score(y, guess), abs=1e-9)
    for c in there:
        assert own.class_recalls(counts)[c] == pytest.approx(recall[str(c)], abs=1e-6)
        assert own.class_f1(counts)[c] == pytest.approx(f1[str(c)], abs=1e-6)
    if len(there) == K:
        assert own.ua_of(counts) == pytest.approx(
            audmetric.unweighted_average_recall(*words), abs=1e-6
        )
        assert own.macro_f1_of(counts) == pytest.approx(
            audmetric.unweighted_average_fscore(*words), abs=1e-6
        )


def test_scores_of_probabilities(drawn: Drawn) -> None:
    p, y, _ = drawn
    assert own.nll_of(p, y) == pytest.approx(sk.log_loss(y, p, labels=range(K)), abs=1e-6)
    assert own.brier_of(p, y) == pytest.approx(
        sk.brier_score_loss(y, p, labels=range(K), scale_by_half=False), abs=1e-6
    )


def test_the_calibration_error_is_that_of_scikit_learns_curve(drawn: Drawn) -> None:
    p, y, guess = drawn
    confidence = p.max(axis=1)
    right, mean = calibration_curve(guess == y, confidence, n_bins=own.BINS, strategy="uniform")
    counts = np.histogram(confidence, np.linspace(0, 1, own.BINS + 1))[0]
    expected = (counts[counts > 0] * abs(right - mean)).sum() / len(y)
    bins = own.reliability(p, y)
    assert own.ece_of(bins) == pytest.approx(expected, abs=1e-6)
    halves = own.reliability(p[:25], y[:25]) + own.reliability(p[25:], y[25:])
    np.testing.assert_allclose(halves, bins)


def test_the_temperature_is_that_of_a_general_minimiser(drawn: Drawn) -> None:
    p, y, guess = drawn

    def loss(log: float) -> float:
        return float(sk.log_loss(y, softmax(np.log(p) / math.exp(log), axis=1), labels=range(K)))

    best = minimize_scalar(loss, bounds=(-3, 3), method="bounded", options={"xatol": 1e-9})
    temperature = own.fit_temperature(p, y)
    assert temperature == pytest.approx(math.exp(best.x), rel=1e-4)
    after = own.scaled(p, temperature)
    np.testing.assert_allclose(after, softmax(np.log(p) / temperature, axis=1), atol=1e-12)
    assert (after.argmax(axis=1) == guess).all()
    assert own.nll_of(after, y) <= own.nll_of(p, y)


def test_temperatures_have_ends() -> None:
    sure = np.array([[0.9, 0.1], [0.2, 0.8]])
    assert own.fit_temperature(sure, np.array([0, 1])) == pytest.approx(0.05)
    assert own.fit_temperature(sure, np.array([1, 0])) == pytest.approx(20)
    np.testing.assert_allclose(own.scaled(sure, 1.0), sure)


def test_limiting_cases() -> None:
    perfect, one = np.eye(3) * 5, np.diag([4.0, 0, 0])
    assert own.ua_of(perfect) == own.macro_f1_of(perfect) == own.kappa_of(perfect) == 1
    # all of one class: chance explains everything
    assert own.kappa_of(one) == 0
    assert np.isnan(own.kappa_of(np.zeros((3, 3))))
    assert np.isnan(own.ua_of(np.zeros((2, 3, 3)))).all()
    # a class that is predicted and does not occur is no class of the mean
    assert own.macro_f1_of([[2, 2], [0, 0]]) == pytest.approx(2 / 3)
    both = np.stack([perfect, one])
    assert own.ua_of(both).tolist() == [1, 1]
    assert own.nll_of([[0.0, 1.0]], np.array([0])) == pytest.approx(-math.log(1e-12))
    assert own.brier_of([[0.0, 1.0]], np.array([0])) == 2
    assert np.isnan(own.ece_of(np.zeros((own.BINS, 3))))


def test_scores_of_classes_that_do_not_exclude_each_other_become_distributions() -> None:
    p = own.distributions([[0.9, 0.9], [0.0, 0.0], [0.1, 0.3]])
    np.testing.assert_allclose(p, [[0.5, 0.5], [0.5, 0.5], [0.25, 0.75]])
