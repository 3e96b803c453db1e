"""What is said of a study: differences, optimism, warnings; each as a newcomer reads it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from raysearch.report import sentences, to_text
from raysearch.report.scoring import Scores, score
from raysearch.selection import compare
from raysearch.study.folder import StudyFolder
from raysearch.study.record import Record
from tests.support.scored_study import write_scored
from tests.support.study_folders import report_of, speakers

STRATEGIES = ("hard", "soft", "lr")
Write = Callable[..., Path]


def test_differences() -> None:
    b = np.linspace(0.5, 0.8, 10)
    noise = np.tile([0.05, -0.05], 5)
    ten = speakers(10)
    assert sentences.difference(compare(b + 0.01 + noise, b, ten), "lr", "hard").startswith(
        "lr and hard: no difference that ten speakers can show (+1.0 points, 95 % interval −2.8"
    )
    up = sentences.difference(
        compare(b + 0.05 + noise / 10, b, ten), "lr", "hard", p=0.03, unit="sessions"
    )
    assert up.startswith("lr scores 5.0 points higher than hard (95 % interval +4.6 to +5.4;")
    assert up.endswith("p = 0.030 after Holm's correction).")
    down = sentences.difference(compare(b - 0.04 + noise / 10, b, ten), "lr", "hard")
    assert "4.0 points lower" in down


@pytest.mark.parametrize(
    ("best", "sentence"),
    [
        ((), None),
        ((1, 4, 5, 5, 6, 9), None),
        ((1, 1, 5, 5, 6, 9), "The first epoch was the best of 2 of 6 trainings of the selected"),
        ((2, 10, 10, 10, 6, 9), "The last epoch allowed was the best of 3 of 6 trainings"),
    ],
    ids=["no epochs", "one of six", "first", "last"],
)
def test_best_epochs_that_crowd_are_a_warning(
    tmp_path: Path, best: tuple[int, ...], sentence: str | None
) -> None:
    study = write_scored(tmp_path / "study", best_epochs=best)
    record = Record.read(StudyFolder(study.folder))
    lines = [line for line in sentences.warnings(record, score(record)) if "epoch" in line]
    assert [line.startswith(str(sentence)) for line in lines] == [True] * (sentence is not None)


def test_one_fold_shows_no_difference() -> None:
    text = sentences.difference(compare([0.6], [0.5], speakers(1)), "lr", "hard")
    assert text == "lr and hard: one fold cannot show a difference."


def test_a_difference_without_spread_is_said_and_not_tested(write: Write) -> None:
    table = np.full((2, 3, 4), 0.6)
    table[0] += 0.1
    (family,) = report_of(write(table)).comparisons
    assert family.pairs[0].p is None
    assert sentences.comparison(family, "speakers") == (
        "trial 0 and trial 1: the difference is +10.0 points for each of three speakers. Without "
        "a spread there is no interval and no test.",
    )


def test_nothing_to_show() -> None:
    assert sentences.no_difference("hard", ["ls", "lr"], 10) == (
        "hard and each of ls, lr: no difference that ten speakers can show."
    )


def made_of(write: Write, ua: list[list[float]], wa: list[list[float]]) -> Scores:
    """Two settings whose validation scores know which is better for which speaker."""
    test = np.stack([np.array(ua), np.array(wa)], axis=-1)
    validation = np.roll(np.array(ua), -1, axis=1)[..., None].repeat(2, axis=-1)
    scores = score(Record.read(StudyFolder(write(np.concatenate([validation, test], axis=-1)))))
    assert scores is not None
    return scores


@pytest.mark.parametrize(
    ("ua", "wa", "text"),
    [
        (
            0.02,
            0.013,
            "choosing on the test scores (oracle) would claim 2.0 points UA and 1.3 points WA more",
        ),
        (
            -0.007,
            0.0,
            "here honest is 0.7 points UA above the oracle, as it may take another setting for "
            "every speaker, and the oracle has one for all",
        ),
        (
            0.02,
            -0.007,
            "choosing on the test scores (oracle) would claim 2.0 points UA more; honest is 0.7 "
            "points WA above the oracle, as it may take another setting for every speaker",
        ),
        (0.0, 0.0004, "here choosing on the test scores (oracle) would claim no more"),
    ],
)
def test_a_negative_optimism_does_not_read_as_an_error(
    write: Write, ua: float, wa: float, text: str
) -> None:
    scores = made_of(write, [[0.5, 0.6]] * 2, [[0.5, 0.6]] * 2)
    estimates = replace(scores.estimates, optimism={"ua": ua, "wa": wa})
    assert sentences.optimism(replace(scores, estimates=estimates)) == f"Quote honest: {text}."


def test_one_setting_has_no_optimism(write: Write) -> None:
    scores = made_of(write, [[0.5, 0.6, 0.7]], [[0.5, 0.6, 0.7]])
    assert "nothing to choose" in sentences.optimism(scores)


def test_figures_have_their_interval_within_what_a_score_can_be(write: Write) -> None:
    scores = made_of(write, [[0.1, 0.9, 1.0, 1.0]], [[0.5] * 4])
    assert sentences.figure("ua", scores.estimates.honest["ua"]).endswith(" to 100.0)")
    assert sentences.honest_figures(scores.estimates, scores.shown).startswith(
        "honest estimate: UA 75.0 % ("
    )
    assert "WA 50.0 % (50.0 to 50.0)" in sentences.honest_figures(scores.estimates, scores.shown)
    alone = made_of(write, [[0.5]], [[0.25]])
    assert (
        sentences.honest_figures(alone.estimates, alone.shown)
        == "honest estimate: UA 50.0 %, WA 25.0 %"
    )


@pytest.mark.parametrize("unit", ["speaker", "session"])
def test_every_estimate_has_a_meaning(unit: str) -> None:
    words = sentences.meanings(unit, f"{unit}s")
    assert list(words) == ["honest", "nested", "selected", "oracle", "optimism"]
    assert unit in words["honest"]


@pytest.mark.parametrize("unjudged", [0, 2, 4])
def test_where_no_fold_can_judge_another_nested_is_not_called_poorer(
    write: Write, unjudged: int
) -> None:
    """As under loco, where each fold validates on speakers of every corpus that it does not test,
    and as in some folds of validation=share."""
    folder = write(
        np.random.default_rng(0).uniform(0.4, 0.7, (3, 4, 4)),
        params=[{"strategy": name} for name in STRATEGIES],
        space={"strategy": {"choice": list(STRATEGIES)}},
    )
    folds = json.loads((folder / "folds.json").read_text())
    names = [fold["name"] for fold in folds]
    for fold in folds:  # all of the first, and none of the others
        fold["val_groups"] = [n for n in names[:unjudged] if n != fold["name"]] or ["else"]
    (folder / "folds.json").write_text(json.dumps(folds))
    report = report_of(folder)
    assert report.estimates is not None
    assert report.estimates.unjudged == unjudged
    text = " ".join(to_text(report).split())
    assert ("in the others a poorer way" in text) == (unjudged == 2)
    assert ("but a poorer way to choose" in text) == (unjudged == 0)
    assert ("The same as honest here, by construction" in text) == (unjudged == 4)
    assert ("in which that speaker had no part" in text) == (unjudged < 4)
    if unjudged == 4:
        assert report.estimates.honest == report.estimates.nested


def test_warnings_are_sentences_the_gravest_first(write: Write) -> None:
    notes = ["no sentence is shared", "a01.wav is left out.", "validation.select=1: kept apart"]
    folder = write(
        np.full((1, 4, 4), 0.5),
        facts={"notes": notes, "simulated": ["votes", "speech"]},
        normalise="speaker",
        protocol={"name": "kfold"},
    )
    record = Record.read(StudyFolder(folder))
    words = [line.split()[1] for line in sentences.warnings(record, None)[:4]]
    assert words == ["speech", "raters'", "are", "divide"]
    assert sentences.warnings(record, None)[4:] == (
        "No sentence is shared.",
        "a01.wav is left out.",
        "validation.select=1: kept apart.",
    )


def test_a_simulation_that_the_corpus_tells_itself_is_told_once(write: Write) -> None:
    notes = ["The speech is synthetic (espeak-ng)."]
    folder = write(np.full((1, 4, 4), 0.5), facts={"notes": notes, "simulated": ["speech"]})
    assert sentences.warnings(Record.read(StudyFolder(folder)), None) == tuple(notes)


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        ({"flip": 0.2}, "20.0 % of the labels in training made wrong on purpose"),
        (
            {"flip": 0.2, "kind": "confusable", "confusion": {"sad": "happy", "happy": ["sad"]}},
            "20.0 % of the labels happy and sad in training made wrong on purpose",
        ),
        ({"flip": 0.0, "kind": "uniform", "confusion": {}}, ""),
    ],
)
def test_planted_labels_stand_in_the_headline(
    write: Write, labels: dict[str, object], words: str
) -> None:
    line = report_of(write(np.full((1, 3, 4), 0.5), labels=labels)).headline[0]
    assert (words in line) if words else "on purpose" not in line
