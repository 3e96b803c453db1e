"""Calibration in a report, recomputed by scikit-learn from the probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from scipy.special import softmax
from sklearn import metrics as sk

from raysearch.report import to_text
from raysearch.report.figures import svg
from raysearch.report.plots import Reliability
from raysearch.selection.measures import fit_temperature
from tests.support.scored_study import Scored, write_scored
from tests.support.study_folders import report_of


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory) -> Scored:
    return write_scored(tmp_path_factory.mktemp("calibration") / "study")


def ece(p: np.ndarray, y: np.ndarray) -> float:
    """By a loop over the bins."""
    confidence, right = p.max(axis=1), p.argmax(axis=1) == y
    total = 0.0
    for low in np.arange(15) / 15:
        inside = (confidence > low) & (confidence <= low + 1 / 15)
        if inside.any():
            total += inside.mean() * abs(right[inside].mean() - confidence[inside].mean())
    return total


def log_losses(y: np.ndarray, p: Sequence[np.ndarray]) -> list[float]:
    """Of each fold; rows of float32 are made to sum to 1 first."""
    whole = [x / x.sum(axis=1, keepdims=True) for x in np.asarray(p, dtype=np.float64)]
    return [sk.log_loss(*pair, labels=range(3)) for pair in zip(y, whole, strict=True)]


def losses(scored: Scored, c: int) -> dict[str, list[np.ndarray]]:
    """By kind, the probabilities [n, 3] of each fold of a trial, before and after."""
    after = []
    for f in range(6):
        other = (f + 1) % 6
        t = fit_temperature(scored.p[c, other], scored.y[other])
        after.append(softmax(np.log(scored.p[c, f].astype(float)) / t, axis=1))
    whole = scored.p[c].astype(float)
    whole /= whole.sum(axis=-1, keepdims=True)
    return {"1": list(whole), "fitted": after}


def test_losses_and_the_calibration_error_before_and_after(scored: Scored) -> None:
    report = report_of(scored.folder)
    frame = report.section("calibration").table.frame.set_index(["setting", "probabilities"])
    assert report.best_trial is not None
    for name, c in (("selected", report.best_trial), ("baseline", 0)):
        for when, parts in losses(scored, c).items():
            row = frame.loc[(name, when)]
            nll = log_losses(scored.y, parts)
            brier = [
                sk.brier_score_loss(y, p, labels=range(3), scale_by_half=False)
                for y, p in zip(scored.y, parts, strict=True)
            ]
            assert row["nll"] == pytest.approx(np.mean(nll), abs=1e-6)
            assert row["brier"] == pytest.approx(np.mean(brier), abs=1e-6)
            interval = stats.t.interval(0.95, 5, np.mean(nll), stats.sem(nll))
            assert row["nll_interval"] == pytest.approx(interval, abs=1e-6)
            assert row["ece"] == pytest.approx(
                ece(np.concatenate(parts), scored.y.ravel()), abs=1e-6
            )
    plain, after = (frame.loc[("selected", when)] for when in losses(scored, 0))
    assert after["nll"] < plain["nll"]


def test_the_diagram_has_every_test_clip(scored: Scored) -> None:
    (plot,) = report_of(scored.folder).section("calibration").plots
    assert isinstance(plot, Reliability)
    assert [panel.bins[:, 0].sum() for panel in plot.panels] == [6 * 24] * 2
    assert b"T = 1: ECE" in svg(plot)


def test_the_values_of_the_strategy_have_accuracy_and_calibration(scored: Scored) -> None:
    report = report_of(scored.folder)
    frame = report.section("calibration_values").table.frame.set_index("value")
    assert set(frame.index) == {"soft", "hard"}
    # the one setting of "hard" is its choice in every fold
    nll = log_losses(scored.y, scored.p[1])
    assert frame.loc["hard", "nll"] == pytest.approx(np.mean(nll), abs=1e-6)
    text = " ".join(to_text(report).split())
    assert "Calibration of the values of strategy" in text
    levels = {level.name: level.score for level in report.comparisons[-1].levels}
    assert frame["ua"].to_dict() == pytest.approx(levels)


def test_a_study_may_look_for_the_lowest_loss(tmp_path: Path) -> None:
    scored = write_scored(tmp_path / "study", objective="nll", settings=4)
    report = report_of(scored.folder)
    nll = np.array([log_losses(scored.y, scored.p[c]) for c in range(4)])
    assert report.best_trial == nll.mean(axis=1).argmin()
    assert report.metrics == ("nll", "ua")
    e = report.estimates
    assert e is not None
    assert e.oracle["nll"].mean == pytest.approx(nll.mean(axis=1).min(), abs=1e-6)
    assert e.oracle["nll"].mean <= e.honest["nll"].mean
    assert e.optimism["nll"] == pytest.approx(e.honest["nll"].mean - e.oracle["nll"].mean)
    # the honest choice of a fold: the lowest mean loss over the folds that it had no part in
    for f, c in enumerate(e.honest_choices):
        over = [g for g in range(6) if g != f and (g + 1) % 6 != f]
        validation = np.roll(nll, -1, axis=1)
        assert c == validation[:, over].mean(axis=1).argmin()
    text = " ".join(to_text(report).split())
    assert f"Honest result: {e.honest['nll'].mean:.3f} NLL on speakers" in text
    assert "searched for the best mean validation NLL" in text
    assert "% NLL" not in text
