"""The section of noise: its figures beside scipy's, its picture and its files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from raysearch.report import NoiseLevel, NoiseTest, build, to_text
from raysearch.report.figures import png
from raysearch.report.formats.directory import tables
from raysearch.report.plots import Curves
from raysearch.study.folder import StudyFolder
from raysearch.study.record import Record
from tests.support.scored_study import write_scored


def report_of(folder: Path, protocol: str = "loso"):  # type: ignore[no-untyped-def]
    made = write_scored(folder, settings=2, clips=40, protocol=protocol)
    record = Record.read(StudyFolder(made.folder))
    best = build(record).best_trial
    other = tuple(record.rows_of(1 - best))  # stands for what noise leaves of the best one
    conditions = (NoiseLevel("pink", 20.0, other), NoiseLevel("pink", 0.0, other))
    test = NoiseTest((*conditions, NoiseLevel("street", 0.0, other)), ("a note of the networks",))
    return record, record.rows_of(best), other, build(record, noise=test)


def test_means_intervals_and_losses(tmp_path: Path) -> None:
    _, base, other, report = report_of(tmp_path / "study")
    section = report.section("noise")
    frame = section.table.frame
    assert list(frame["noise"]) == ["none", "pink", "pink", "street"]
    assert list(frame["snr"]) == [None, 20, 0, 0]
    a = np.array([row.scores["test_ua"] for row in base])
    b = np.array([row.scores["test_ua"] for row in other])
    for line, x in ((frame.iloc[0], a), (frame.iloc[1], b)):
        low, high = stats.t.interval(0.95, 5, x.mean(), stats.sem(x))
        assert (line["ua"], *line["interval"]) == pytest.approx((x.mean(), low, high))
    want = stats.ttest_rel(b, a)
    line = frame.iloc[1]
    assert line["difference"] == pytest.approx((b - a).mean())
    assert line["range"] == pytest.approx(tuple(want.confidence_interval()))
    assert "a note of the networks" in section.after
    text = " ".join(to_text(report).split())
    assert "pink at 0 dB and no noise" in text or "than no noise" in text


def test_picture_and_files(tmp_path: Path) -> None:
    _, base, _, report = report_of(tmp_path / "study")
    (plot,) = report.section("noise").plots
    assert isinstance(plot, Curves)
    assert [line.label for line in plot.lines] == ["pink", "street"]
    assert plot.lines[0].x == (0.0, 20.0)
    assert plot.level is not None
    assert plot.level.mean == pytest.approx(100 * np.mean([row.scores["test_ua"] for row in base]))
    assert png(plot, dpi=40).startswith(b"\x89PNG")
    files = dict(tables(report))
    assert files["noise.csv"].count("\n") == 5
    assert files["noise_folds.csv"].count("\n") == 1 + 4 * 6


def test_given_parts_have_intervals_over_their_speakers(tmp_path: Path) -> None:
    record, base, other, _ = report_of(tmp_path / "study", "split")
    # a fold that noise made perfect, so that the loss cannot be zero for every speaker
    test = NoiseTest((NoiseLevel("pink", 0.0, tuple(replace(row) for row in other)),))
    section = build(record, noise=test).section("noise")
    line = section.table.frame.iloc[1]
    assert line["range"] is not None
    assert any("test speakers, by the cluster bootstrap" in text for text in section.after)
    gap = np.mean([row.scores["test_ua"] for row in other])
    gap -= np.mean([row.scores["test_ua"] for row in base])
    assert line["difference"] == pytest.approx(gap)
