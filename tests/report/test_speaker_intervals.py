"""Given parts: the estimates' intervals are the cluster bootstrap over their test speakers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from raysearch.report import build
from raysearch.study.folder import StudyFolder
from raysearch.study.record import Record
from tests.support.scored_study import write_scored


def test_intervals_of_given_parts_are_over_their_test_speakers(tmp_path: Path) -> None:
    study = write_scored(tmp_path / "study", settings=1, clips=40, protocol="split")
    report = build(Record.read(StudyFolder(study.folder)))
    assert report.estimates is not None
    wa = report.estimates.honest["wa"]
    # four speakers of ten clips a part, each part drawn for itself: accuracies of the speakers
    right = (study.p[0].argmax(-1) == study.y).reshape(6, 10, 4).mean(axis=1)
    assert wa.mean == pytest.approx(right.mean())
    want = stats.bootstrap(
        tuple(right),
        lambda *parts, axis: np.mean([part.mean(axis=axis) for part in parts], axis=0),
        n_resamples=5000,
        method="percentile",
        rng=np.random.default_rng(0),
    ).confidence_interval
    assert wa.low == pytest.approx(want.low, abs=0.01)
    assert wa.high == pytest.approx(want.high, abs=0.01)
    assert any("cluster bootstrap over test speakers" in line for line in report.warnings)
    assert report.estimates.honest["nll"].low is None


def test_single_speakers_are_no_groups_of_the_report(tmp_path: Path) -> None:
    study = write_scored(tmp_path / "study", protocol="split")
    report = build(Record.read(StudyFolder(study.folder)))
    (groups,) = [section for section in report.sections if section.name == "groups"]
    assert groups.table is not None
    assert set(groups.table.frame["attribute"]) == {"sex"}


def test_folds_that_hold_out_speakers_keep_their_t_interval(tmp_path: Path) -> None:
    plain = build(Record.read(StudyFolder(write_scored(tmp_path / "a").folder)))
    column = write_scored(tmp_path / "b", protocol="column").folder
    given = build(Record.read(StudyFolder(column)))
    assert plain.estimates is not None
    assert given.estimates is not None
    assert plain.estimates.honest["ua"] == given.estimates.honest["ua"]
