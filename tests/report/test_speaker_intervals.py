"""Given parts: the estimates' intervals are the cluster bootstrap over their test speakers."""

from __future__ import annotations

from pathlib import Path

import pytest
from scipy import stats

from raysearch.report import build, to_text
from raysearch.report.compare import build as compare
from raysearch.study.folder import StudyFolder
from raysearch.study.record import Record
from tests.support.scored_study import write_scored


def test_intervals_of_given_parts_are_over_their_test_speakers(tmp_path: Path) -> None:
    study = write_scored(tmp_path / "study", settings=1, clips=40, protocol="split")
    report = build(Record.read(StudyFolder(study.folder)))
    assert report.estimates is not None
    wa = report.estimates.honest["wa"]
    # the same four speakers in each part, with ten clips each, so that a draw's accuracy is the
    # mean of its speakers' own. One draw in 256 has the worst speaker alone, and t with three
    # degrees of freedom asks for less than that
    right = (study.p[0].argmax(-1) == study.y).reshape(6, 10, 4).mean(axis=(0, 1))
    assert (wa.mean, wa.low, wa.high) == pytest.approx((right.mean(), right.min(), right.max()))
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


def test_settings_are_compared_over_test_speakers(tmp_path: Path) -> None:
    """One test part: its speakers have as many clips, so WA's difference is a paired t test."""
    made = write_scored(
        tmp_path / "study", settings=2, clips=40, protocol="split", folds=1, objective="wa"
    )
    report = build(Record.read(StudyFolder(made.folder)))
    settings = report.comparisons[0]
    pair = settings.pairs[0]
    # settings by number, as trial 0 may be the better or the worse one
    one, other = (int(name.split()[1]) for name in (pair.a, pair.b))
    right = (made.p[:, 0].argmax(-1) == made.y).reshape(2, 10, 4).mean(axis=1)
    want = stats.ttest_rel(right[one], right[other])
    assert pair.difference.mean == pytest.approx((right[one] - right[other]).mean())
    assert (pair.difference.n, pair.difference.speakers) == (4, True)
    assert pair.difference.p == pytest.approx(want.pvalue, rel=0.1)
    # every speaker of the one part is female, so there is no gap to another group
    assert "a gap of" not in to_text(report)
    text = " ".join(to_text(report).split())
    assert "Differences over test speakers, paired." in text
    assert "four test speakers" in pair.sentence
    words = " ".join(report.section("meaning").after)
    assert "with one test part there is no choice across folds" in words
    assert "speaker to speaker" not in text
    assert "test part to test part" not in text


def test_a_score_that_does_not_add_up_is_compared_over_parts(tmp_path: Path) -> None:
    made = write_scored(tmp_path / "study", protocol="split", objective="nll")
    report = build(Record.read(StudyFolder(made.folder)))
    assert not any(pair.difference.speakers for pair in report.comparisons[0].pairs)
    assert "Differences over test parts, paired." in to_text(report)


def test_two_studies_are_compared_over_their_test_speakers(tmp_path: Path) -> None:
    records = [
        Record.read(
            StudyFolder(
                write_scored(
                    tmp_path / str(n), settings=1, clips=40, protocol="split", folds=1, seed=n
                ).folder
            )
        )
        for n in (0, 1)
    ]
    report = compare(*records)
    (pair,) = report.comparisons[0].pairs
    assert (pair.difference.n, pair.difference.speakers) == (4, True)
    assert "4 test speakers, by the cluster bootstrap" in " ".join(to_text(report).split())
