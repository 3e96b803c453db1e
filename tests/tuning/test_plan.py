"""`plan` from the command line: how many settings a grid has, and how many stages they ask for."""

from __future__ import annotations

import csv
import re
import shutil
from pathlib import Path

import pytest

from raysearch.cli.main import main
from raysearch.study import load_study
from raysearch.study.folder import StudyFolder
from raysearch.tuning.prepare import prepare

SPACE = """\
method: rdlr
corpus: {name: manifest}
features: [egemaps]
params:
  strategy: {choice: [hard, lr]}
  gamma: {grid: [0.5, 0.6, 0.7]}
  lr: {grid: [0.001, 0.01]}
sampler: grid
tracking: false
"""


def planned(capsys: pytest.CaptureFixture[str], tones: Path, *words: str) -> str:
    assert main(["plan", "space=grid.yaml", f"corpus.root={tones}", *words]) == 0
    return capsys.readouterr().out


def test_a_grid_counts_a_parameter_only_where_it_has_an_effect(
    tones: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Under hard labels gamma has none: 2 points there, and 3 × 2 under label relaxation."""
    monkeypatch.chdir(tmp_path)
    Path("grid.yaml").write_text(SPACE)
    plan = planned(capsys, tones, "trials=30")
    assert "settings  8 wanted, 0 done, 8 to run" in plan
    assert re.search(r"student: 40 \(0 stored\)", plan), "8 settings of 5 folds"
    assert "the space has" not in plan
    plan = planned(capsys, tones, "trials=5")
    assert "settings  5 wanted, 0 done, 5 to run" in plan
    assert "the space has 8 points and trials=5 runs the first 5; trials=8 runs" in plan


def test_a_grid_counts_values_that_train_the_same_on_every_fold_once(
    tones: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Weights of one corpus weigh nothing; 36 training clips are one batch of 64 or of 4096."""
    monkeypatch.chdir(tmp_path)
    grids = "  lambda_w: {grid: [0, 1, 4]}\n  batch: {grid: [16, 64, 4096]}\nsampler"
    Path("grid.yaml").write_text(SPACE.replace("sampler", grids).replace("[hard, lr]", "[hard]"))
    plan = planned(capsys, tones)
    assert "settings  4 wanted, 0 done, 4 to run" in plan, "2 step sizes, 2 batches"


def test_speakers_who_lack_classes_are_counted(
    tones: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("grid.yaml").write_text(SPACE)
    assert "folds test clips of fewer" not in planned(capsys, tones)
    corpus = shutil.copytree(tones, tmp_path / "few")
    lacks = {"s0": ("neutral", "sad"), "s2": ("angry", "sad"), "s4": ("neutral",)}
    with (tones / "manifest.csv").open(newline="") as file:
        rows = list(csv.reader(file))
    with (corpus / "manifest.csv").open("w", newline="") as file:
        csv.writer(file).writerows(row for row in rows if row[1] not in lacks.get(row[2], ()))
    plan = " ".join(planned(capsys, corpus, "normalise=speaker").split())
    assert "3 of 5 folds test clips of fewer than 3 classes (2 of one alone)" in plan
    assert (
        "the report's headline is the UA of all clips pooled; objective=pooled_ua chooses" in plan
    )
    assert "normalise=speaker: 2 of 5 speakers have clips of one class alone" in plan
    plan = " ".join(planned(capsys, corpus, "objective=pooled_ua").split())
    assert "3 of 5 folds test" in plan
    assert "objective=pooled_ua chooses" not in plan
    assert "normalise=speaker:" not in plan


def test_a_corpus_that_has_changed_is_refused_as_tune_refuses_it(
    tones: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("grid.yaml").write_text(SPACE)
    shutil.copytree(tones, "speech")
    words = ["space=grid.yaml", "corpus.root=speech"]
    study = load_study(words, cwd=tmp_path)
    before = {"fingerprint": prepare(study).fingerprint}
    StudyFolder.of(study).begin(study, "[]", before).close()
    assert main(["plan", *words]) == 0
    table = Path("speech", "manifest.csv")
    table.write_text(table.read_text().replace("angry", "happy"))
    capsys.readouterr()
    assert main(["plan", *words]) == 2
    assert "was begun on other data" in capsys.readouterr().err
