"""Models whose network spans several stages: deep self-learning, and co-rater training."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from raysearch.cluster.code_copy import copy_code, modules_of
from raysearch.models import archive
from raysearch.models.model import Model, Sound
from raysearch.models.source import Source, source_of
from raysearch.stages import Call, Dataset, Demand, LocalExecutor, Runtime, inputs_of
from raysearch.stages.methods import method as find_method
from raysearch.stages.store import Provenance, Store, decode
from raysearch.study.folder import StudyFolder
from raysearch.study.ledger import Ledger
from trainables.stage import WEIGHTS, Artifact

Write = Callable[..., Model]

FOREST, MEAN = 0, 1
RATER, OTHERS, FUSION = 0, 1, 2
"""trials of the studies in conftest.py"""
EVERY = [
    ("segments", FOREST, None),
    ("segments", MEAN, None),
    ("leaking", 0, None),
    ("perceived", RATER, "E2"),
    ("perceived", OTHERS, "E2"),
    ("perceived", FUSION, "E2"),
]


@pytest.fixture
def sounds(few: Path) -> list[Sound]:
    return [Sound(file.name, file.read_bytes()) for file in sorted(few.glob("*.wav"))]


Run = tuple[Call, Dataset, Sequence[Artifact]]
"""a stage, and what it is run with"""


class Recorder(LocalExecutor):
    """Remembers the stages that it runs."""

    def __init__(self, folder: Path) -> None:
        home = StudyFolder(folder).home
        super().__init__(Store(str(home / "store")), home / "scratch")
        self.runs: list[Run] = []

    def run_stage(
        self, call: Call, demand: Demand[Dataset], needs: Sequence[Artifact]
    ) -> tuple[Artifact, Provenance]:
        self.runs.append((call, demand.data, needs))
        return super().run_stage(call, demand, needs)

    @property
    def names(self) -> list[str]:
        return [call.name for call, _, _ in self.runs]


def stored(source: Source, key: str) -> Artifact:
    found = source.store.get(key)
    assert found is not None
    return found[0]


def best(source: Source) -> dict[str, list[int]]:
    """By stage, the best epochs of its trainings, each counted once."""
    keys = {key: name for row in source.rows for run in source.stages(row) for name, key in run}
    found: dict[str, list[int]] = {}
    for key, name in keys.items():
        info = stored(source, key).info
        found.setdefault(name, []).extend(run["best_epoch"] for run in info.get("runs", [info]))
    return found


@pytest.fixture
def anew(tmp_path: Path) -> Callable[[Path], Path]:
    """A copy of a study whose store has what the study made, and nothing that exports have."""

    def copy(folder: Path) -> Path:
        home = tmp_path / folder.name
        shutil.copytree(folder.parent.parent, home)
        ledger = Ledger(home / "studies" / folder.name / "ledger.sqlite")
        made = {use.key for row in ledger.folds() for use in row.stages}
        ledger.close()
        for file in (home / "store" / "stages").glob("*/*.safetensors"):
            if file.stem not in made:
                file.unlink()
        return home / "studies" / folder.name

    return copy


# -- a fold's networks -------------------------------------------------------------------------
@pytest.mark.parametrize(("kind", "trial", "rater"), EVERY)
def test_folds_networks_say_of_files_what_they_said_in_the_study(
    kind: str,
    trial: int,
    rater: str | None,
    write: Write,
    sounds: list[Sound],
    request: pytest.FixtureRequest,
) -> None:
    folder: Path = request.getfixturevalue(kind)
    model = write(folder, "ensemble", trial, rater)
    source = source_of(folder, trial, rater)
    members = list(model.facts["members"])
    assert len(members) == len(source.rows) == 3
    every = []
    for row, member in zip(source.rows, members, strict=True):
        model.facts["members"], model._members = [member], None
        fold = source.inputs.folds[row.index]
        assert (fold.name, fold.rater) == (member["fold"], rater or "")
        names = [Path(path).name for path in source.inputs.corpus.table["path"].iloc[fold.test]]
        want = stored(source, row.stages[-1].key).arrays["test"]
        assert not any(name.startswith(WEIGHTS) for name in stored(source, member["key"]).arrays)
        heard = model.hear([sound for sound in sounds if sound.name in names])
        assert not heard.failures
        order = [sorted(names).index(name) for name in names]
        np.testing.assert_allclose(heard.probabilities[order], want, atol=1e-5)
        every.append(want)
    assert np.ptp(np.concatenate(every), axis=0).min() > 0.1, "a constant would be no test"


def test_an_ensemble_trains_again_the_stages_whose_weights_travel_and_no_others(
    segments: Path, perceived: Path, write: Write, anew: Callable[[Path], Path]
) -> None:
    folder = anew(segments)
    recorder = Recorder(folder)
    write(folder, "ensemble", FOREST, executor=recorder)
    assert Counter(recorder.names) == {"iteration_1": 3, "utterance": 3}
    folder = anew(perceived)
    recorder = Recorder(folder)
    write(folder, "ensemble", FUSION, "E1", recorder)
    assert Counter(recorder.names) == {"others_h": 3, "others_s": 3, "rater": 3, "fusion": 3}
    # what lies beneath the fusion is a model by itself, and was kept
    recorder = Recorder(folder)
    write(folder, "ensemble", RATER, "E1", recorder)
    assert not recorder.runs


# -- a refit -----------------------------------------------------------------------------------
def test_a_refit_of_inner_folds_trains_each_stage_for_its_median(
    segments: Path, write: Write, anew: Callable[[Path], Path]
) -> None:
    folder = anew(segments)
    recorder = Recorder(folder)
    model = write(folder, "refit", FOREST, executor=recorder)
    source = source_of(folder, FOREST)
    epochs = best(source)
    assert {name: len(all_) for name, all_ in epochs.items()} == {
        "inner_0": 6, "inner_1": 6, "iteration_1": 3, "utterance": 3,
    }  # fmt: skip
    want = {n: max(1, round(float(np.median(e)))) for n, e in epochs.items() if n != "utterance"}
    (member,) = model.facts["members"]
    assert member["epochs"] == want
    assert sorted(recorder.names) == ["inner_0", "inner_1", "iteration_1", "utterance"]
    file = model.folder / member["file"]
    told = decode(file.read_bytes())[0].info["parents"]["network"]["stage"]
    assert told["epochs"] == want["iteration_1"]
    assert told["ids"] == [], "nothing is held out"
    for call, data, needs in recorder.runs:
        inputs = inputs_of(call, data, needs, Runtime())
        assert len(inputs.train) == 36
        assert len(inputs.validation) == len(inputs.test) == 0
    # the mean over the same network's segments trains no network again
    recorder = Recorder(folder)
    write(folder, "refit", MEAN, executor=recorder)
    assert recorder.names == ["utterance"]


def test_a_refit_of_the_published_procedure_learns_from_the_folds_of_the_study(
    leaking: Path, write: Write, anew: Callable[[Path], Path]
) -> None:
    folder = anew(leaking)
    recorder = Recorder(folder)
    model = write(folder, "refit", 0, executor=recorder)
    source = source_of(folder, 0)
    assert recorder.names == ["iteration_1", "utterance"]
    names = {key: name for row in source.rows for run in source.stages(row) for name, key in run}
    for (call, _, needs), role, of in zip(
        recorder.runs, ("before", "outside"), ("iteration_0", "iteration_1"), strict=True
    ):
        assert call.fold == 3, "one more than the study's"
        kept = [key for key, name in names.items() if name == of]
        assert set(call.across[role]) == set(kept)
        assert len(call.across[role]) == 3
        _, across = call.by_role(needs)
        for given, key in zip(across[role], call.across[role], strict=True):
            np.testing.assert_array_equal(given.arrays["test"], stored(source, key).arrays["test"])
    notes = [note for note in model.facts["notes"] if note.startswith("mode=paper")]
    assert any("a refit holds nothing out" in note for note in notes)
    assert any("on new speakers expect less" in note for note in notes)


def test_the_leak_is_told_of_an_ensemble_too_and_of_nothing_that_has_none() -> None:
    method = find_method("self_learning")
    assert method.export is not None
    told = [
        len(method.export.remarks(method.resolve(setting)))
        for setting in (
            {"mode": "paper"},
            {"mode": "paper", "iterations": 0, "utterance": "mean"},
            {"mode": "nested"},
        )
    ]
    assert told == [1, 0, 0]


@pytest.mark.parametrize("trial", [RATER, OTHERS, FUSION])
def test_a_refit_of_a_rater_learns_from_every_rated_clip_for_the_median_of_the_raters_folds(
    trial: int, perceived: Path, write: Write, anew: Callable[[Path], Path]
) -> None:
    folder = anew(perceived)
    recorder = Recorder(folder)
    model = write(folder, "refit", trial, "E2", recorder)
    source = source_of(folder, trial, "E2")
    assert [row.fold.rpartition("/")[2] for row in source.rows] == ["E2"] * 3
    want = {name: max(1, round(float(np.median(all_)))) for name, all_ in best(source).items()}
    (member,) = model.facts["members"]
    assert member["epochs"] == want
    assert member["fold"] == "every speaker/E2"
    assert len(recorder.runs) == len(want) > 0
    for call, data, needs in recorder.runs:
        inputs = inputs_of(call, data, needs, Runtime())
        if call.name == "fusion":
            assert call.params["epochs"] == want["fusion"]
            continue
        assert len(inputs.train) == 36
        assert sorted(inputs.train.ids) == list(inputs.train.ids)
        assert inputs.train.y is None
        assert inputs.train.ratings is not None
        assert inputs.target == 1
        given = (inputs.train.ratings >= 0).sum(axis=0).tolist()
        assert given == ([0, 27, 0, 0] if call.name == "rater" else [27, 0, 27, 27])


@pytest.mark.parametrize(("kind", "trial", "rater"), EVERY)
@pytest.mark.parametrize("how", ["refit", "ensemble"])
def test_the_same_export_is_made_once(
    kind: str,
    trial: int,
    rater: str | None,
    how: str,
    write: Write,
    sounds: list[Sound],
    request: pytest.FixtureRequest,
) -> None:
    folder: Path = request.getfixturevalue(kind)
    model = write(folder, how, trial, rater)
    said = model.hear(sounds[:3]).probabilities
    np.testing.assert_allclose(said.sum(axis=1), 1.0, atol=1e-5)
    recorder = Recorder(folder)
    again = write(folder, how, trial, rater, recorder)
    assert not recorder.runs
    assert again.facts["members"] == model.facts["members"]
    np.testing.assert_array_equal(again.hear(sounds[:3]).probabilities, said)


# -- on its own --------------------------------------------------------------------------------
@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "trial", "rater"), [("segments", FOREST, None), ("perceived", FUSION, "E1")]
)
def test_it_works_where_nothing_else_is(
    kind: str,
    trial: int,
    rater: str | None,
    write: Write,
    sounds: list[Sound],
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> None:
    folder: Path = request.getfixturevalue(kind)
    model = write(folder, "refit", trial, rater)
    code = tmp_path / "code"
    code.mkdir()
    copy_code(code, modules_of(source_of(folder, trial, rater).study))
    there = model.folder.rename(tmp_path / "there")
    given = [sound.data for sound in sounds[:4]]
    found = archive.try_alone(there, code, given)
    here = Model(there).hear([Sound(f"{i}", data) for i, data in enumerate(given)])
    np.testing.assert_allclose(found["probabilities"], here.probabilities, atol=1e-6)
    assert not {"ray", "mlflow", "optuna", "sklearn", "omegaconf"} & set(found["modules"])
