"""The key `precision`: what it pins, what it leaves alone, and what `auto` measures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from raysearch.errors import BadInput
from raysearch.study import Study, dump, load_study, precision
from raysearch.study.space import Space
from trainables import rdlr


def study(tmp_path: Path, *words: str, space: str = "rdlr") -> Study:
    return load_study([f"space={space}", f"home={tmp_path / 'home'}", *words], cwd=tmp_path)


def pins(one: Study) -> Mapping[str, object]:
    return one.search_space().constants()


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """Milliseconds that a calibration finds, on a processor that has what it takes."""
    found = {"fp32": 20.0, "bf16": 10.0}
    monkeypatch.setattr(precision, "_processor", lambda: "flags: avx512f avx512_bf16")
    method = replace(rdlr.METHOD, calibrate=lambda: dict(found))
    monkeypatch.setattr(rdlr, "METHOD", method)
    return found


def test_it_pins_every_training_of_a_study(tmp_path: Path) -> None:
    half = study(tmp_path, "precision=bf16")
    assert pins(half)["precision"] == pins(half)["pretrained_precision"] == "bf16"
    assert half.id != study(tmp_path).id
    assert half == study(tmp_path, "params.precision=bf16")
    (tmp_path / "again.yaml").write_text(dump(half))
    assert study(tmp_path, space="again.yaml") == half


@pytest.mark.parametrize("word", ["fp32", "float32", "null"])
def test_a_study_in_float32_is_the_same_with_and_without_the_word(
    tmp_path: Path, word: str
) -> None:
    assert study(tmp_path, f"precision={word}") == study(tmp_path)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["precision=half"], "precision must be one of fp32, bf16, fp16, auto"),
        (["precision=bf16", "params.precision=fp32"], "params.precision=fp32"),
        (["precision=bf16", "params.lrr=1"], "lrr"),
    ],
)
def test_what_cannot_be_is_told(tmp_path: Path, words: list[str], told: str) -> None:
    with pytest.raises(BadInput, match=told):
        study(tmp_path, *words)
    with pytest.raises(BadInput, match=r"precision=auto.*method=classical"):
        study(tmp_path, "precision=auto", space="classical")


def test_auto_takes_what_is_faster_here_and_measures_once(
    tmp_path: Path, steps: dict[str, float]
) -> None:
    first = study(tmp_path, "precision=auto")
    assert first.id == study(tmp_path, "precision=bf16").id
    assert any("bf16, 10.0 ms a step" in note for note in first.notes)
    steps["bf16"] = 30.0
    assert study(tmp_path, "precision=auto") == first, "the same command is the same study"
    elsewhere = study(tmp_path / "other", "precision=auto")
    assert elsewhere.id == study(tmp_path).id
    assert any("bf16 is not faster" in note for note in elsewhere.notes)
    on_cards = study(tmp_path, "precision=auto", "gpus=1")
    assert on_cards.id == study(tmp_path).id
    assert any("GPUs" in note for note in on_cards.notes)


def test_auto_without_the_processor_measures_nothing(
    tmp_path: Path, steps: dict[str, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(precision, "_processor", lambda: "flags: avx2")
    one = study(tmp_path, "precision=auto")
    assert one.id == study(tmp_path).id
    assert any("no avx512_bf16" in note for note in one.notes)
    assert not (tmp_path / "home").exists()


def test_a_search_over_precisions_is_left_alone(tmp_path: Path) -> None:
    one = study(tmp_path, "params.precision={choice: [fp32, bf16]}")
    assert "precision" in Space.parse(one.params)[0].searched()
