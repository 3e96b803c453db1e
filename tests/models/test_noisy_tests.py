"""Test clips with noise: by the folds' own networks, computed once, and scored as the study is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score

from raysearch.data import noise
from raysearch.data.noise import NoisyClip, Recording
from raysearch.models import noisy_tests
from raysearch.models.model import Sound
from raysearch.models.noisy_tests import noise_test
from raysearch.report import NoiseTest
from raysearch.study.folder import StudyFolder
from raysearch.study.record import Record
from raysearch.tuning.prepare import prepare
from tests.models.conftest import written
from tests.support.whole_study import run

NUMBERS = """\
method: attributes
corpus: {name: manifest}
features: [egemaps]
task: {name: [valence, arousal], kind: continuous}
objective: ccc
params: {width: 0.125, epochs: 3, batch: 16, lr: {choice: [0.01]}}
sampler: grid
trials: 1
tracking: false
quiet: true
"""


@pytest.fixture(scope="session")
def numbers(few: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of valence and arousal of the tones of three speakers."""
    home = tmp_path_factory.mktemp("numbers")
    table = (few / "manifest.csv").read_text().splitlines()
    rows = [f"{table[0]},valence,arousal"]
    rows += [f"{row},{1 + n % 5},{1 + n * n % 7}" for n, row in enumerate(table[1:])]
    (few / "numbers.csv").write_text("\n".join(rows) + "\n")
    (home / "numbers.yaml").write_text(NUMBERS)
    return run(home, "space=numbers.yaml", f"corpus.root={few / 'numbers.csv'}")


def tried(folder: Path, snr: float, *kinds: str) -> NoiseTest:
    return noise_test(folder, (snr,), kinds or ("pink", "babble"), lambda text: None)


@pytest.mark.parametrize(
    "kind",
    [
        "numbers",
        pytest.param("by_speaker", marks=pytest.mark.slow),
        pytest.param("frames", marks=pytest.mark.slow),
        pytest.param("perceived", marks=pytest.mark.slow),
    ],
)
def test_without_noise_each_fold_scores_what_it_scored_in_the_study(
    kind: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of the road but the mixing: networks, features, statistics, labels, raters."""
    folder: Path = request.getfixturevalue(kind)
    monkeypatch.setattr(noise, "mixed", lambda clean, noise, snr: clean)
    record = Record.read(StudyFolder(folder))
    for condition in tried(folder, 51.0).conditions:
        rows = {row.fold: row for row in record.rows_of(condition.rows[0].trial)}
        assert [row.fold for row in condition.rows] == [fold.name for fold in record.folds]
        for row in condition.rows:
            for name, value in row.scores.items():
                assert value == pytest.approx(rows[row.fold].scores[name], abs=1e-4), name


@pytest.mark.parametrize("kind", ["study", pytest.param("by_speaker", marks=pytest.mark.slow)])
def test_a_models_own_road_says_the_same_of_the_noisy_sound(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """`export how=ensemble`, one fold's network alone, hears sound files with the same noise."""
    folder: Path = request.getfixturevalue(kind)
    inputs = prepare(StudyFolder(folder).study("quiet=true"))
    fold = inputs.folds[2]
    table = inputs.corpus.table.iloc[fold.test]
    clips = [
        NoisyClip(Recording(digest, path), "pink", 5.0)
        for digest, path in zip(table["audio"], table["path"], strict=True)
    ]
    model = written(folder, tmp_path / "model", "ensemble")
    model.facts["members"] = [m for m in model.facts["members"] if m["fold"] == fold.name]
    sounds = [Sound(str(n), clip.sound(), "somebody") for n, clip in enumerate(clips)]
    heard = model.hear(sounds)
    assert not heard.failures
    row = next(x for x in tried(folder, 5.0, "pink").conditions[0].rows if x.fold == fold.name)
    truth = inputs.corpus.codes[fold.test]
    want = balanced_accuracy_score(truth, heard.probabilities.argmax(axis=1))
    assert row.scores["test_ua"] == pytest.approx(want)
    p = heard.probabilities[np.arange(len(truth)), truth].astype(np.float64)
    assert row.scores["test_nll"] == pytest.approx(-np.log(p).mean(), abs=1e-4)


@pytest.mark.slow
def test_the_same_command_again_computes_nothing(
    study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words: list[str] = []
    first = noise_test(study, (9.0, 3.0), ("babble",), words.append)
    assert words[0].startswith("120 clips with noise are heard: egemaps")

    def never(*_: object, **__: object) -> object:
        raise AssertionError("computed again")

    for name in ("fold_member", "_mixed", "_predicted"):
        monkeypatch.setattr(noisy_tests, name, never)
    words.clear()
    assert noise_test(study, (9.0, 3.0), ("babble",), words.append) == first
    assert not words
    loud, quiet = (condition.rows for condition in reversed(first.conditions))
    assert [row.scores for row in loud] != [row.scores for row in quiet]
