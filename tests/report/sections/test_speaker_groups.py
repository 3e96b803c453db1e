"""UA by group in a report, recomputed by scikit-learn."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sklearn import metrics as sk

from raysearch.report import to_text
from raysearch.selection import pooled_gap
from tests.support.scored_study import CLASSES, Scored, write_scored
from tests.support.study_folders import report_of, speakers


def ua(scored: Scored, c: int, who: np.ndarray) -> float:
    guess = scored.p[c, who].argmax(axis=-1).ravel()
    return float(sk.recall_score(scored.y[who].ravel(), guess, average="macro"))


def counts(scored: Scored, c: int, who: np.ndarray) -> np.ndarray:
    """Confusions [6, 3, 3] of some speakers' clips, by fold."""
    guess = scored.p[c].argmax(axis=-1)
    tables = [sk.confusion_matrix(scored.y[f], guess[f], labels=range(3)) for f in range(6)]
    return np.array([table * who[f] for f, table in enumerate(tables)])


def test_ua_by_group_and_the_gap_with_its_interval(tmp_path: Path) -> None:
    scored = write_scored(tmp_path / "study")
    report = report_of(scored.folder)
    section = report.section("groups")
    frame = section.table.frame.set_index("group")
    best = report.best_trial
    assert best is not None
    for name, who in (("female", scored.female), ("male", ~scored.female)):
        assert frame.loc[name, "selected"] == pytest.approx(ua(scored, best, who))
        assert frame.loc[name, "baseline"] == pytest.approx(ua(scored, 0, who))
        assert (frame.loc[name, "clips"], frame.loc[name, "held_out"]) == (3 * 24, 3)
    if len(set(report.estimates.honest_choices)) == 1:
        gap = pooled_gap(
            counts(scored, best, scored.female), counts(scored, best, ~scored.female), speakers(6)
        )
        assert f"a gap of {abs(100 * gap.mean):.1f} points (95 % interval" in section.before[0]
    assert section.before[0].startswith("sex: ")
    assert section.plots[0].name == "groups"


def test_the_worst_group_and_a_class_choose_settings(tmp_path: Path) -> None:
    names = ["worst_group_ua", "recall_sad"]
    scored = write_scored(tmp_path / "study", objective=names, settings=6, seed=3)
    report = report_of(scored.folder)
    # all six speakers validate once, so validation over all folds is the table of all clips
    worst = [min(ua(scored, c, w) for w in (scored.female, ~scored.female)) for c in range(6)]
    assert report.best_trial == int(np.argmax(worst))
    sad = CLASSES.index("sad")
    front = report.section("pareto").table.frame.set_index("trial")
    for c, row in front.iterrows():
        guess = scored.p[c].argmax(axis=-1).ravel()
        recall = sk.recall_score(scored.y.ravel(), guess, labels=[sad], average=None)[0]
        assert row["val_recall_sad"] == pytest.approx(recall)
        assert row["val_worst_group_ua"] == pytest.approx(worst[c])
    text = " ".join(to_text(report).split())
    assert "the best validation UA of the worst group" in text
    assert f"worst group: {100 * max(worst):.1f} % validation UA" in text


def test_a_study_without_groups_has_no_such_section(tmp_path: Path) -> None:
    from tests.report.test_scoring import random_table
    from tests.support.study_folders import write_study

    table = random_table(np.random.default_rng(0), 2, 4)
    names = [one.name for one in report_of(write_study(tmp_path / "s", table)).sections]
    assert "groups" not in names
    assert "calibration" not in names  # nor what an older ledger lacks
