"""What a study of the method probe reads, stores and refuses, before a stage runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from raysearch.errors import BadInput
from raysearch.study import Study, load_study
from raysearch.tuning.plan import plan
from raysearch.tuning.prepare import prepare

WORDS = ("space=probe", "corpus=manifest", "params.ssl=tiny")


def study_of(folder: Path, home: Path, *words: str) -> Study:
    return load_study([*WORDS, f"corpus.root={folder}", f"home={home}", *words], cwd=folder)


def test_the_plan_says_what_the_layers_will_take(tones: Path, tmp_path: Path) -> None:
    study = study_of(tones, tmp_path)
    assert study.features == ("layers:tiny@layers=all",)
    # 60 clips of 9600 samples: 28 states each, 3 layers, 32 values, 2 bytes
    line = "layers:tiny@layers=all: 1,680 × 3 × 32 values of float16, 322.6 kB to store"
    assert plan(study).features == (line,)
    assert f"features  {line}" in plan(study).text()
    fewer = study_of(tones, tmp_path, "params.layers=1-2")
    assert fewer.features == ("layers:tiny@layers=1-2",)
    assert "1,680 × 2 × 32" in plan(fewer).text()
    assert study_of(tones, tmp_path, "params.ssl_train=lora").features == ("wave@level=recorded",)


def test_what_has_no_effect_or_no_sense_is_refused(tones: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"normalise=speaker has no effect on features=layers:tiny"):
        prepare(study_of(tones, tmp_path, "normalise=speaker"))
    with pytest.raises(BadInput, match=r"params\.layers says what is stored"):
        study_of(tones, tmp_path, "params.layers={choice: [all, last]}")
    with pytest.raises(BadInput, match=r"makes targets of the kind continuous, but task\.kind"):
        prepare(study_of(tones, tmp_path, "params.strategy=mean"))


def test_attributes_have_their_own_strategy_and_loss_where_a_study_says_nothing(
    tones: Path, tmp_path: Path
) -> None:
    (tmp_path / "mine.yaml").write_text("method: probe\nparams: {ssl: tiny}\n")
    words = ("space=mine.yaml", "corpus=manifest", f"corpus.root={tones}", f"home={tmp_path}")
    numbers = ("task={name: valence, kind: continuous}", "objective=ccc")
    study = load_study([*words, *numbers], cwd=tmp_path)
    assert study.params["strategy"] == "mean"
    assert study.params["loss"] == "ccc"
    assert "strategy" not in load_study(list(words), cwd=tmp_path).params
