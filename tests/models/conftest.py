"""Small whole studies, run in this process: no Ray, no MLflow."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from raysearch.data.features.extract import local_chunks
from raysearch.models import archive
from raysearch.models.model import Model, Sound
from raysearch.models.refit import ensemble, refit
from raysearch.models.source import source_of
from raysearch.stages import LocalExecutor
from tests.support.whole_study import run

SPACE = """\
method: rdlr
corpus: {name: manifest}
features: [egemaps]
params:
  strategy: lr
  gamma: 0.7
  width: 0.03125
  pretrained_width: 0.03125
  lr: {choice: [0.003, 0.01]}
  pretrained_lr: 0.01
  batch: 16
  pretrained_batch: 16
  epochs: 8
  pretrained_epochs: 5
sampler: grid
trials: 2
tracking: false
quiet: true
"""

Make = Callable[..., Path]


@pytest.fixture(scope="session")
def make(tones: Path, tmp_path_factory: pytest.TempPathFactory) -> Make:
    """Runs a study on the tones; all share the features."""
    homes: list[Path] = []

    def one(*words: str, trials: int | None = None) -> Path:
        home = tmp_path_factory.mktemp("home")
        (home / "small.yaml").write_text(SPACE)
        if homes:
            shutil.copytree(homes[0] / "store" / "features", home / "store" / "features")
        homes.append(home)
        return run(home, "space=small.yaml", f"corpus.root={tones}", *words, trials=trials)

    return one


@pytest.fixture(scope="session")
def study(make: Make) -> Path:
    """Normalised with statistics of the training part."""
    return make()


@pytest.fixture(scope="session")
def by_speaker(make: Make) -> Path:
    """Normalised by speaker."""
    return make("normalise=speaker", "speaker_clips=[4,8]")


FRAMES = """\
method: label_correction
corpus: {name: manifest}
features: [wave, logmel40]
params:
  strategy: hard
  ssl: tiny
  width: 0.25
  lr: {choice: [0.001]}
  batch: 16
  epochs: 2
sampler: grid
trials: 1
tracking: false
quiet: true
"""


@pytest.fixture(scope="session")
def frames(tones: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a network on waves and log-mel frames, normalised by speaker."""
    home = tmp_path_factory.mktemp("frames")
    (home / "frames.yaml").write_text(FRAMES)
    return run(home, "space=frames.yaml", f"corpus.root={tones}", "normalise=speaker")


SEGMENTS = """\
method: self_learning
corpus: {name: manifest}
features: [logmel64]
params:
  mode: nested
  strategy: wdsl
  wdsl_alpha: 0.2
  inner_folds: 2
  utterance: {choice: [forest, mean]}
  trees: 20
  backbone: vgg19
  vgg_norm: true
  vgg_hidden: 16
  dropout: 0
  width: 0.0625
  hop: 12
  bn_momentum: 0.5
  batch: 16
  lr: 0.003
  epochs: 4
  patience: 4
sampler: grid
trials: 2
tracking: false
quiet: true
"""


@pytest.fixture(scope="session")
def few(tones: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tones of three speakers."""
    folder = tmp_path_factory.mktemp("few")
    lines = (tones / "manifest.csv").read_text().splitlines()
    kept = [lines[0], *(line for line in lines[1:] if line[:2] in ("s0", "s1", "s2"))]
    (folder / "manifest.csv").write_text("\n".join(kept) + "\n")
    for line in kept[1:]:
        shutil.copy(tones / line.partition(",")[0], folder)
    return folder


@pytest.fixture(scope="session")
def segments(few: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of deep self-learning within the training parts, with a forest and with a mean."""
    home = tmp_path_factory.mktemp("segments")
    (home / "segments.yaml").write_text(SEGMENTS)
    return run(home, "space=segments.yaml", f"corpus.root={few}")


@pytest.fixture(scope="session")
def leaking(segments: Path, few: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of deep self-learning as published: labels come from other folds' networks."""
    home = tmp_path_factory.mktemp("leaking")
    (home / "segments.yaml").write_text(SEGMENTS)
    shutil.copytree(segments.parent.parent / "store" / "features", home / "store" / "features")
    words = ("params.mode=paper", "params.utterance=forest", "trials=1")
    return run(home, "space=segments.yaml", f"corpus.root={few}", *words)


@pytest.fixture(scope="session")
def rated(few: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, of which three in four raters each say how pleasant they are."""
    folder = tmp_path_factory.mktemp("rated")
    lines = ["file,speaker,rater,valence"]
    for number, file in enumerate(sorted(few.glob("*.wav"))):
        shutil.copy(file, folder)
        for place, rater in enumerate(("E1", "E2", "E3", "E4")):
            if place == number % 4:
                continue
            value = (1, 3, 5)[number % 3] if (number + 5 * place) % 7 else 3
            lines.append(f"{file.name},{file.name[:2]},{rater},{value}")
    (folder / "manifest.csv").write_text("\n".join(lines) + "\n")
    return folder


RATERS = """\
method: corater
corpus: {name: manifest}
features: [emobase-frames]
task: {name: valence}
raters: {targets: [E1, E2]}
params:
  model: {choice: [rater, others_h, fusion_hs]}
  percent: 80
  width: 0.125
  lr: 0.03
  batch: 8
  epochs: 8
  fusion_lr: 0.03
  fusion_epochs: 9
sampler: grid
trials: 3
tracking: false
quiet: true
"""


@pytest.fixture(scope="session")
def perceived(rated: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of two raters' perception."""
    home = tmp_path_factory.mktemp("perceived")
    (home / "raters.yaml").write_text(RATERS)
    return run(home, "space=raters.yaml", f"corpus.root={rated}")


def written(
    folder: Path,
    place: Path,
    how: str = "refit",
    setting: str | int = "selected",
    rater: str | None = None,
    executor: LocalExecutor | None = None,
    temperature: float | None = None,
) -> Model:
    """A model's own folder, made as `export` makes it, without MLflow's around it."""
    source = source_of(folder, setting, rater)
    data = source.inputs.dataset(run_chunks=local_chunks)
    make = {"refit": refit, "ensemble": ensemble}[how]
    members = make(source, executor or source.executor(), data, lambda text: None)
    place.mkdir()
    archive.write(place, source, data, how, members, temperature)  # type: ignore[arg-type]
    return Model(place)


@pytest.fixture(scope="session")
def model(study: Path, tmp_path_factory: pytest.TempPathFactory) -> Model:
    """A refit, normalised with statistics of all speakers."""
    return written(study, tmp_path_factory.mktemp("model") / "data")


@pytest.fixture(scope="session")
def speaker_model(by_speaker: Path, tmp_path_factory: pytest.TempPathFactory) -> Model:
    """A refit, normalised by speaker."""
    return written(by_speaker, tmp_path_factory.mktemp("model") / "data")


Write = Callable[..., Model]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def one(
        folder: Path,
        how: str = "refit",
        setting: str | int = "selected",
        rater: str | None = None,
        executor: LocalExecutor | None = None,
        temperature: float | None = None,
    ) -> Model:
        place = tmp_path / f"data-{len(list(tmp_path.glob('data-*')))}"
        return written(folder, place, how, setting, rater, executor, temperature)

    return one


@pytest.fixture
def sounds(tones: Path) -> list[Sound]:
    """All clips of speaker s2."""
    files = sorted(tones.glob("s2_*.wav"))
    assert len(files) == 12
    return [Sound(file.name, file.read_bytes(), "s2") for file in files]
