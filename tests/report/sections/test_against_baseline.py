"""A report with a baseline: the figures of `compare`, in every format, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import yaml

from raysearch.cli.reports import report as report_command
from raysearch.errors import BadInput
from raysearch.report import build, to_plain, to_text
from raysearch.report import compare as paired
from raysearch.study.folder import StudyFolder
from raysearch.study.record import Record
from tests.report.test_compare import CORPUS, one_setting
from tests.support.study_folders import read_study, write_study

A, B = [0.7, 0.8, 0.6, 0.9, 0.75], [0.65, 0.7, 0.62, 0.8, 0.6]


def in_home(home: Path, name: str, test: list[float], corpus: dict[str, object]) -> Path:
    return write_study(home / "studies" / name, one_setting(test), corpus=corpus)


@pytest.fixture
def studies(tmp_path: Path) -> tuple[Path, Path]:
    return in_home(tmp_path, "net", A, CORPUS), in_home(tmp_path, "svm", B, CORPUS)


def name_baseline(folder: Path, name: str) -> Record:
    """The study, whose file now names a baseline."""
    file = StudyFolder(folder).configuration_file
    file.write_text(yaml.safe_dump({**yaml.safe_load(file.read_text()), "baseline": name}))
    return read_study(folder)


def test_a_report_has_the_difference_that_compare_has(studies: tuple[Path, Path]) -> None:
    first, second = map(read_study, studies)
    assert "baseline" not in [one.name for one in build(first).sections]
    report = build(name_baseline(studies[0], studies[1].name))
    (family,) = [one for one in report.comparisons if one.name == "baseline"]
    want = paired.build(first, second).comparisons[0].pairs[0].difference
    assert family.pairs[0].difference == want
    section = report.section("baseline")
    assert section.opening, "it is on the screen that ends tune"
    assert section.table is not None
    row = section.table.frame.iloc[0]
    assert (row["a"], row["b"]) == pytest.approx((np.mean(A), np.mean(B)))
    text = " ".join(to_text(report).split())
    assert f"Against the baseline {second.name}" in text
    assert "5 of 5 and 5" in text
    assert "baseline" in to_plain(report)["tables"]


def test_the_command_takes_a_baseline(studies: tuple[Path, Path]) -> None:
    home, words = studies[0].parent.parent, [f"study={studies[0].name}", "format=json"]
    plain = json.loads(report_command([*words, f"home={home}", f"baseline={studies[1].name}"]))
    pairs = {one["name"]: one["pairs"] for one in plain["comparisons"]}
    assert pairs["baseline"][0]["difference"] == pytest.approx(np.mean(A) - np.mean(B))
    for name, said in (("nothing", "baseline=nothing"), (studies[0].name, "the study itself")):
        with pytest.raises(BadInput, match=said):
            report_command([*words, f"home={home}", f"baseline={name}"])


def test_studies_that_cannot_be_paired_are_refused(
    studies: tuple[Path, Path], tmp_path: Path
) -> None:
    in_home(tmp_path, "other", B, {"name": ["ravdess"], "classes": ["low", "high"]})
    with pytest.raises(BadInput, match="differ in their corpora"):
        build(read_study(studies[0]).against(tmp_path, "other"))


def test_a_baseline_that_is_gone_is_told(studies: tuple[Path, Path]) -> None:
    record = name_baseline(studies[0], "gone")
    assert record.baseline is None
    assert "no comparison with a baseline: baseline=gone" in record.notes[-1]
