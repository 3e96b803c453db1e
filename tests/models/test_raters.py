"""A model of one rater's perception: whose it is, and where that is said."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from raysearch.cli.main import main
from raysearch.errors import BadInput
from raysearch.models.export import _lines, _name
from raysearch.models.model import Model, Sound, _load_pyfunc, constants_of, perception
from raysearch.models.registering import _description
from raysearch.models.source import source_of

Write = Callable[..., Model]
RATER, OTHERS = 0, 1
"""trials of the study"""


@pytest.fixture
def model(perceived: Path, write: Write) -> Model:
    return write(perceived, "refit", RATER, "E2")


def test_a_study_of_several_raters_asks_whose(perceived: Path, study: Path) -> None:
    with pytest.raises(BadInput) as told:
        source_of(perceived, "selected")
    assert str(told.value) == (
        f"study {perceived.name} has 2 target raters, and a model is of one's perception; "
        "name one of E1, E2, as in rater=E1"
    )
    with pytest.raises(BadInput, match=r"rater=E3 is no target rater of .*target raters are E1"):
        source_of(perceived, "selected", "E3")
    with pytest.raises(BadInput, match=r"rater=E1 says whose .* learns the labels .*leave it out"):
        source_of(study, "selected", "E1")


def test_the_command_takes_the_word_and_refuses_without_it(
    perceived: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [f"study={perceived.name}", f"home={perceived.parent.parent}", "to=/nowhere/model"]
    assert main(["export", *words]) == 2
    err = capsys.readouterr().err
    assert "name one of E1, E2, as in rater=E1" in err
    assert "Traceback" not in err
    assert main(["export", *words, "rater=E9"]) == 2
    assert "rater=E9 is no target rater" in capsys.readouterr().err


def test_the_only_rater_need_not_be_named(perceived: Path, monkeypatch: Any) -> None:
    from raysearch.models import source

    found = source._rater
    seen = []

    def one(study: str, inputs: Any, asked: str | None) -> str:
        from dataclasses import replace

        folds = tuple(fold for fold in inputs.folds if fold.rater == "E2")
        seen.append(found(study, replace(inputs, folds=folds), asked))
        return seen[-1]

    monkeypatch.setattr(source, "_rater", one)
    assert source_of(perceived, RATER).rater == "E2"
    assert seen == ["E2"]


def test_two_raters_models_are_no_versions_of_one() -> None:
    assert _name("corater-demo-1", "") == "corater-demo-1"
    assert _name("corater-demo-1", "demo/E 1") == "corater-demo-1-demo-E-1"


def test_facts_name_the_rater_and_the_classes(perceived: Path, model: Model) -> None:
    facts = model.facts
    assert facts["rater"] == {"name": "E2", "clips": 27}
    assert facts["task"] == {"name": "valence", "kind": "classes", "low": 3.0, "high": 3.0}
    assert facts["classes"] == ["low", "middle", "high"]
    assert (facts["clips"], facts["thresholds"]) == (36, None)
    # what to expect is of that rater's folds alone
    source = source_of(perceived, RATER, "E2")
    assert source.report.estimates is not None
    every = source.report.estimates.honest["ua"].values
    assert [source.inputs.folds[row.index].rater for row in source.rows] == ["E2"] * 3
    assert facts["expected"]["ua"] == pytest.approx(np.mean(every[3:]))
    assert facts["expected"]["ua"] != pytest.approx(np.mean(every), abs=1e-4)
    low, high = facts["expected"]["interval"]
    assert low < facts["expected"]["ua"] < high


def test_what_is_told_says_whose_perception_it_is(perceived: Path, model: Model) -> None:
    whose = "as the rater E2 hears valence in the levels low, middle, high"
    assert perception(model.facts) == whose
    lines = list(_lines("here", model.facts, source_of(perceived, RATER, "E2")))
    assert "trained on all 36 rated clips" in lines[0]
    assert lines[1] == f"it judges {whose}; E2 rated 27 clips"
    assert any("honest estimate over the folds of E2" in line for line in lines)
    assert f"refit on all speakers, {whose}; honest" in _description(model.facts)
    assert perception({"classes": ["sad"], "task": None, "rater": None}) == ""
    assert perception({"classes": ["sad"]}) == "", "facts of an earlier raysearch"
    assert constants_of({}) == {}


def test_a_model_of_the_others_says_that_the_rater_taught_it_nothing(
    perceived: Path, write: Write
) -> None:
    for how in ("refit", "ensemble"):
        notes = write(perceived, how, OTHERS, "E2").facts["notes"]
        assert any("model=others_h has learnt no rating of its rater" in note for note in notes)


def test_every_answer_says_it(model: Model, few: Path, capsys: Any) -> None:
    words = ["predict", f"model={model.folder}", str(few / "s0_00.wav"), str(few / "s1_01.wav")]
    assert main([*words, "format=csv"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert list(rows[0]) == ["file", "rater", "task", "label", "low", "middle", "high"]
    assert [(row["rater"], row["task"]) for row in rows] == [("E2", "valence")] * 2
    assert main([*words, "format=json"]) == 0
    clips = json.loads(capsys.readouterr().out)["clips"]
    assert [(clip["rater"], clip["task"]) for clip in clips] == [("E2", "valence")] * 2
    assert set(clips[0]["probabilities"]) == {"low", "middle", "high"}
    assert main(words) == 0
    head, first, _ = capsys.readouterr().out.splitlines()
    assert head.split() == ["file", "rater", "task", "label", "low", "middle", "high"]
    assert first.split()[1:3] == ["E2", "valence"]


def test_answers_over_http_say_it_too(model: Model, few: Path) -> None:
    data = (few / "s0_00.wav").read_bytes()
    found = _load_pyfunc(str(model.folder)).predict(pd.DataFrame({"audio": [data]}))
    assert list(found) == ["low", "middle", "high", "label", "rater", "task"]
    assert found["rater"].tolist() == ["E2"]
    want = model.hear([Sound("a", data)]).probabilities
    np.testing.assert_allclose(found[["low", "middle", "high"]], want, atol=1e-6)
