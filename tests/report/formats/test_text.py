"""The report on a terminal: a screen first, which also ends `tune`, then all else."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from raysearch.cli.reports import report as report_command
from raysearch.errors import BadInput
from raysearch.report import Report, to_text
from raysearch.report.formats.text import render_screen
from tests.support.study_folders import report_of, write_study

Write = Callable[..., Path]
CAUTIONS = [f"Caution {n}: " + "the scores say nothing about people. " * n for n in (1, 2, 3, 1)]
SPACE = {
    "strategy": {"choice": ["hard", "ls", "lr"]},
    "batch": {"grid": [16, 32]},
    "lr": {"choice": [0.1, 0.2]},
}


def study(folder: Path, trials: int = 24, **options: object) -> Path:
    """Strategies of 8 settings a value, batches and rates of 12; the demo's worst case of words."""
    rng = np.random.default_rng(0)
    params = [
        {"strategy": ["hard", "ls", "lr"][c % 3], "batch": [16, 32][c % 2], "lr": [0.1, 0.2][c % 2]}
        | {f"a_parameter_of_a_long_name_{i}": 0.123456 * i for i in range(6)}
        for c in range(trials)
    ]
    scores = rng.uniform(0.4, 0.9, (trials, 10, 4))
    return write_study(
        folder,
        scores,
        params=params,
        space=SPACE,
        facts={"notes": CAUTIONS, "simulated": ["speech", "votes"]},
        corpus={"name": ["demo"], "classes": ["neutral", "happy", "sad", "angry"]},
        features=["is10"],
        **options,
    )


@pytest.fixture
def report(tmp_path: Path) -> Report:
    return report_of(study(tmp_path / "study"))


def test_the_screen_is_one(report: Report) -> None:
    lines = render_screen(report).splitlines()
    assert len(lines) <= 31  # and four for the commands that follow
    assert max(map(len, lines)) <= 100
    text = " ".join(" ".join(lines).split())
    for part in (
        "Method rdlr on demo: 100 clips, 4 classes (neutral, happy, sad, angry).",
        "10 folds, leave one speaker out; 24 trials (24 complete)",
        "Honest result:",
        "Quote honest:",
        "Best setting",
        f"Trial {report.best_trial} (validation UA",
        "What the search says of the strategy",
    ):
        assert part in text, part


@pytest.mark.parametrize("width", [80, 100, 160])
def test_warnings_take_three_lines_at_most_and_the_gravest_is_whole(
    report: Report, width: int
) -> None:
    lines = render_screen(report, width).splitlines()
    result = next(i for i, line in enumerate(lines) if line.startswith("Result"))
    first = next(i for i, line in enumerate(lines) if line.startswith("  ! "))
    assert result - 1 - first <= 3
    cautions = " ".join(" ".join(lines[first:result]).split())
    assert "synthetic" in cautions
    assert re.search("more cautions.*: the report has all of them", cautions)


def test_few_warnings_are_all_on_the_screen(write: Write) -> None:
    folder = write(np.full((2, 4, 4), 0.5), facts={"notes": ["One.", "Two.", "Three."]})
    screen, text = render_screen(report_of(folder)), to_text(report_of(folder))
    assert [line for line in screen.splitlines() if line.startswith("  ! ")] == [
        "  ! One.",
        "  ! Two.",
        "  ! Three.",
    ]
    assert "more caution" not in screen
    assert "What the scores do not say" not in text


@pytest.mark.parametrize("width", [80, 100])
def test_a_report_opens_with_the_screen_and_has_every_warning(report: Report, width: int) -> None:
    screen, text = render_screen(report, width), to_text(report, width)
    same = screen.replace("the report has all of them", "all of them stand below")
    assert text.startswith(same)
    words = " ".join(text.split())
    assert len(report.warnings) > 3
    assert all(" ".join(line.split()) in words.replace("! ", "") for line in report.warnings)


def test_what_no_figure_stands_without_is_named_on_the_screen(write: Write) -> None:
    plain = [f"Caution {i} is long enough to fill a line of the screen, or nearly." for i in "123"]
    notes = [
        *plain,
        "The speech is synthetic, and this sentence takes two lines of the screen: " + "x " * 40,
        "params.ssl=tiny is a small encoder with untrained weights, and this takes two: "
        + "y " * 40,
        "labels of the held-out utterances reach training through other folds' models: "
        + "z " * 40,
    ]
    lines = render_screen(report_of(write(np.full((2, 4, 4), 0.5), facts={"notes": notes})))
    cautions = " ".join(lines[: lines.index("Result")].split())
    assert "The speech is synthetic" in cautions
    assert "! 5 more cautions, of untrained weights, test labels in training too:" in cautions


def test_a_strategy_that_helps_is_told_in_two_sentences(write: Write) -> None:
    rng = np.random.default_rng(1)
    table = np.clip(0.5 + rng.normal(0, 0.02, (12, 10, 4)), 0, 1)
    table[0::3] += 0.2
    params = [{"strategy": ["hard", "ls", "lr"][c % 3]} for c in range(12)]
    report = report_of(write(table, params=params, space={"strategy": SPACE["strategy"]}))
    lines = report.section("strategy").before
    assert [line.split(" scores ")[0] for line in lines] == ["strategy=hard"] * 2
    assert all("points higher than strategy=l" in line for line in lines)


def test_few_settings_a_value_are_told_and_stand_in_one_table(write: Write) -> None:
    table = np.random.default_rng(2).uniform(0.4, 0.9, (4, 6, 4))
    params = [{"strategy": "ab"[c % 2], "batch": [1, 2][c // 2], "gamma": c} for c in range(4)]
    space = {"strategy": {"choice": ["a", "b"]}, "batch": {"grid": [1, 2]}}
    report = report_of(write(table, params=params, space=space))
    assert "Settings tried: " in report.section("strategy").before[1]
    joint = report.section("parameters").table
    assert joint is not None
    assert sorted(map(tuple, joint.frame[["parameter", "value", "settings"]].to_numpy())) == [
        ("batch", "1", 2),
        ("batch", "2", 2),
        ("strategy", "a", 2),
        ("strategy", "b", 2),
    ]
    (pair,) = [p for one in report.comparisons if one.parameter == "batch" for p in one.pairs]
    row = joint.frame[joint.frame["value"] == pair.b.removeprefix("batch=")].iloc[0]
    assert row["difference"] == pytest.approx(-pair.difference.mean)
    assert row["interval"] == pytest.approx((-pair.difference.high, -pair.difference.low))  # type: ignore[operator]
    thin = {"compare_batch", "compare_strategy"}
    assert thin <= {section.name for section in report.sections}
    assert not thin & {section.name for section in report.brief().sections}


def test_parameters_with_many_settings_a_value_keep_their_sections(report: Report) -> None:
    names = {section.name for section in report.brief().sections}
    assert {"compare_strategy", "compare_batch", "compare_lr"} <= names
    assert "parameters" not in names


@pytest.fixture
def home(tmp_path: Path) -> Path:
    study(tmp_path / "home" / "studies" / "rdlr-demo-1", trials=4)
    return tmp_path / "home"


def test_the_command_leaves_details_to_those_who_ask(home: Path, tmp_path: Path) -> None:
    brief, full = (report_command([f"home={home}", *words]) for words in ([], ["full=true"]))
    assert "Values of the parameters" in brief
    assert "batch: each value against" not in brief
    assert "batch: each value against" in full
    report_command([f"home={home}", f"out={tmp_path / 'out'}"])
    assert (tmp_path / "out" / "compare_batch.csv").exists()
    assert '"compare_batch"' in report_command([f"home={home}", "format=json"])
    with pytest.raises(BadInput, match="full must be true or false"):
        report_command([f"home={home}", "full=1"])
