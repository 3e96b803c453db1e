"""A study becomes a model: its networks say what the study's said, and bad input is told."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.special import softmax
from sklearn.metrics import log_loss

from raysearch.data.features.extract import local_chunks
from raysearch.errors import BadInput
from raysearch.models import archive, source
from raysearch.models import export as exporting
from raysearch.models import refit as refitting
from raysearch.models.archive import best_threshold
from raysearch.models.model import Model, Sound
from raysearch.models.registering import check_names
from raysearch.models.source import source_of
from raysearch.stages import Call, LocalExecutor
from raysearch.stages.methods import method as find_method
from raysearch.stages.store import Store, decode
from raysearch.study import load_study
from raysearch.study.folder import store_of
from raysearch.study.ledger import Ledger
from raysearch.tuning.prepare import prepare

Write = Callable[..., Model]


@pytest.mark.parametrize(
    "kind",
    [
        "study",
        pytest.param("by_speaker", marks=pytest.mark.slow),
        pytest.param("frames", marks=pytest.mark.slow),
    ],
)
def test_a_folds_network_says_of_files_what_it_said_in_the_study(
    kind: str, write: Write, sounds: list[Sound], tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    folder: Path = request.getfixturevalue(kind)
    model = write(folder, "ensemble")
    assert len(model.facts["members"]) == 5
    study = load_study([f"space={folder / 'study.yaml'}"], cwd=tmp_path)
    inputs = prepare(study)
    # the network that never heard speaker s2, alone
    fold = next(f for f in inputs.folds if f.name.endswith("s2"))
    model.facts["members"] = [m for m in model.facts["members"] if m["fold"] == fold.name]
    stored = Store(store_of(study)).get(model.facts["members"][0]["key"])
    assert stored is not None
    names = [Path(path).name for path in inputs.corpus.table["path"].iloc[fold.test]]
    want = dict(zip(names, stored[0].arrays["test"][: len(fold.test)], strict=True))
    heard = model.hear(sounds)
    assert not heard.failures
    made = dict(zip([sound.name for sound in sounds], heard.probabilities, strict=True))
    assert set(made) == set(want)
    for name, row in want.items():
        np.testing.assert_allclose(made[name], row, atol=1e-5)


class Idle(LocalExecutor):
    """Runs no stage: what is not in the store is missing."""

    def run_stage(self, call: Call, demand: Any, needs: Any) -> Any:
        raise AssertionError(f"{call.name} was made before")


def test_a_refit_trains_all_clips_for_the_median_best_epoch(
    study: Path, model: Model, write: Write
) -> None:
    source = source_of(study, "selected")
    best: dict[str, list[int]] = {"pretrained": [], "student": []}
    for row in source.rows:
        for use in row.stages:
            stored = source.store.get(use.key)
            assert stored is not None
            runs = stored[0].info.get("runs", [stored[0].info])
            best[use.name] += [run["best_epoch"] for run in runs]
    assert [len(epochs) for epochs in best.values()] == [5, 5]
    want = {name: sorted(epochs)[2] for name, epochs in best.items()}
    (member,) = model.facts["members"]
    assert member["epochs"] == want
    assert model.facts["clips"] == 60
    # made once: a second export trains nothing
    again = write(study, executor=Idle(source.store))
    assert again.facts["members"] == model.facts["members"]


def test_a_refit_is_another_network_than_any_folds(
    study: Path, model: Model, write: Write, sounds: list[Sound]
) -> None:
    both = [model.hear(sounds).probabilities, write(study, "ensemble").hear(sounds).probabilities]
    for made in both:
        np.testing.assert_allclose(made.sum(axis=1), 1.0, atol=1e-5)
    assert np.abs(both[0] - both[1]).max() > 1e-3


def test_facts_say_how_it_was_made(study: Path, model: Model) -> None:
    facts = model.facts
    assert facts["study"] == study.name
    assert (facts["how"], facts["normalise"], facts["thresholds"]) == ("refit", "fold", None)
    assert facts["classes"] == ["neutral", "sad", "angry"]
    assert [one["name"] for one in facts["features"]] == ["egemaps"]
    assert 0 <= facts["estimates"]["honest"]["ua"] <= 1
    assert facts["params"]["gamma"] == 0.7


def test_probabilities_at_the_temperature_that_fits_the_folds_validation_clips(
    study: Path, write: Write, sounds: list[Sound]
) -> None:
    source = source_of(study, "selected")
    parts, labels = [], []
    for row in source.rows:
        stored = source.store.get(row.stages[-1].key)
        assert stored is not None
        parts.append(stored[0].arrays["validation"].astype(np.float64))
        labels.append(source.inputs.corpus.codes[source.inputs.folds[row.index].validation])
    p, y = np.concatenate(parts), np.concatenate(labels)

    def loss(log: float) -> float:
        return float(log_loss(y, softmax(np.log(p) / np.exp(log), axis=1), labels=range(3)))

    best = minimize_scalar(loss, bounds=(-3, 3), method="bounded", options={"xatol": 1e-8})
    temperature = archive.temperature(source)
    assert temperature == pytest.approx(np.exp(best.x), rel=1e-3)
    plain, warm = write(study), write(study, temperature=temperature)
    assert (plain.facts["temperature"], warm.facts["temperature"]) == (None, temperature)
    before, after = (model.hear(sounds).probabilities for model in (plain, warm))
    want = softmax(np.log(np.maximum(before, 1e-12)) / temperature, axis=1)
    np.testing.assert_allclose(after, want, atol=1e-5)
    assert plain.names(before) == warm.names(after)


def test_a_named_trial(study: Path, write: Write) -> None:
    other = 1 - source_of(study, "selected").trial.number
    model = write(study, "refit", other)
    assert model.facts["trial"] == other


@pytest.mark.parametrize("setting", [7, "best", True, -1])
def test_a_setting_that_is_none(study: Path, setting: Any) -> None:
    with pytest.raises(BadInput, match=f"setting={setting} must be selected or the number"):
        source_of(study, setting)


def copied(study: Path, tmp_path: Path) -> Path:
    home = tmp_path / "home"
    shutil.copytree(study.parent.parent, home)
    return home / "studies" / study.name


def test_a_study_without_a_complete_trial(study: Path, tmp_path: Path) -> None:
    folder = copied(study, tmp_path)
    ledger = Ledger(folder / "ledger.sqlite", write=True)
    for number in (0, 1):
        ledger.finish_trial(number, "failed", reason="told to")
    ledger.close()
    with pytest.raises(BadInput, match=r"no complete trial to export \(trials: 2 failed\)"):
        source_of(folder, "selected")


def test_an_unfinished_study_is_exported_and_says_so(make: Any, write: Write) -> None:
    folder = make("seed=3", "sampler=random", "params.gamma={float: [0.5, 0.9]}", trials=1)
    model = write(folder)
    assert any("1 of 2 trials had ended" in note for note in model.facts["notes"])


def test_a_corpus_that_changed(study: Path, tmp_path: Path) -> None:
    folder = copied(study, tmp_path)
    ledger = Ledger(folder / "ledger.sqlite", write=True)
    ledger.set_fact("fingerprint", "another")
    ledger.close()
    with pytest.raises(BadInput, match="begun on other data"):
        source_of(folder, "selected")


def test_artifacts_that_are_gone(study: Path, tmp_path: Path, write: Write) -> None:
    folder = copied(study, tmp_path)
    shutil.rmtree(folder.parent.parent / "store" / "stages")
    with pytest.raises(BadInput, match=r"not in the store .* any more"):
        write(folder)


def test_code_that_changed_gives_no_fold_networks(
    study: Path, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("raysearch.stages.keys.source_digest", lambda module: "other")
    with pytest.raises(BadInput, match=r"has changed since study .* take how=refit"):
        write(study, "ensemble")


def test_a_method_without_an_exporter(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dataclasses import replace

    found = find_method

    def without(name: str) -> Any:
        method = found(name)
        return replace(method, export=None) if name == "rdlr" else method

    monkeypatch.setattr(source, "find_method", without)
    with pytest.raises(BadInput, match=r"rdlr cannot be exported.*label_correction"):
        source_of(study, "selected")


def test_a_refit_cuts_its_step_size_after_the_folds_median(make: Any, write: Write) -> None:
    words = ("params.plateau_factor=0.5", "params.plateau_patience=0", "params.strategy=hard")
    folder = make(*words, "params.lr=0.01", "params.epochs=12", "trials=1")
    source = source_of(folder, "selected")
    falls, best = [], []
    for row in source.rows:
        stored = source.store.get(row.stages[-1].key)
        assert stored is not None
        info = stored[0].info
        steps = np.array(info["curves"]["lr"])[: info["best_epoch"]]
        falls.append((np.flatnonzero(np.diff(steps) < 0) + 1).tolist())
        best.append(info["best_epoch"])
    firsts = sorted(each[0] for each in falls if each)
    assert len(firsts) >= 3, "three of the five folds cut theirs before their best epoch"
    model = write(folder)
    (member,) = model.facts["members"]
    assert member["epochs"] == {"student": sorted(best)[2]}
    told = decode((model.folder / member["file"]).read_bytes())[0].info
    cuts = told["params"]["cuts"]
    assert cuts[0] == round(np.median(firsts))
    assert 2 * sum(len(each) >= len(cuts) for each in falls) >= 5
    assert 2 * sum(len(each) > len(cuts) for each in falls) < 5
    steps = np.array(told["stage"]["curves"]["lr"])
    want = [0.01 * 0.5 ** sum(cut < epoch for cut in cuts) for epoch in range(1, len(steps) + 1)]
    np.testing.assert_allclose(steps, want)
    assert steps[-1] < steps[0]


@pytest.mark.parametrize(
    ("trainings", "cuts"),
    [
        ([], []),
        ([([1, 1, 1], 3)], []),
        ([([1, 0.1, 0.1], 3)], [1]),
        ([([1, 1, 0.1], 2)], []),  # after its best epoch
        ([([1, 0.1, 0.01], 3), ([1, 1, 1, 0.1], 4)], [2, 2]),
        ([([1, 0.1], 2), ([1, 1], 2), ([1, 1], 2)], []),  # one in three
    ],
)
def test_cuts_that_half_of_the_trainings_have(
    trainings: list[tuple[list[float], int]], cuts: list[int]
) -> None:
    runs = [{"curves": {"lr": lr}, "best_epoch": best} for lr, best in trainings]
    found = refitting._as_the_folds({"epochs": 9, "cuts": None}, runs)
    assert found.get("cuts", []) == cuts
    assert "cuts" not in refitting._as_the_folds({"epochs": 9}, runs)


def test_step_sizes_that_a_refit_cannot_cut_alike_are_told() -> None:
    method = find_method("rdlr")
    assert method.export is not None
    assert method.export.notes(method.resolve({})) == ()
    (note,) = method.export.notes(method.resolve({"plateau_factor": 0.1}))
    assert "plateau_factor=0.1" in note


@pytest.mark.parametrize(
    ("name", "alias", "told"),
    [
        ("a/b", "champion", "name='a/b'"),
        ("a:b", "champion", "name='a:b'"),
        ("", "champion", "name=''"),
        ("a", "latest", "alias='latest'"),
        ("a", "v1", "looks like a version"),
        ("a", "x y", "alias='x y'"),
    ],
)
def test_names_that_mlflow_would_refuse(name: str, alias: str, told: str) -> None:
    check_names("rdlr-emodb-0a1b2c3d", "champion")
    with pytest.raises(BadInput, match=told):
        check_names(name, alias)


def test_a_place_that_is_taken(study: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="exists already"):
        exporting.export(study, to=tmp_path)
    with pytest.raises(BadInput, match="takes no name"):
        exporting.export(study, to=tmp_path / "new", name="x")


# -- thresholds --------------------------------------------------------------------------------
def f1(scores: np.ndarray, marks: np.ndarray, threshold: float) -> float:
    said = scores >= threshold
    return float(2 * (said & marks).sum() / (said.sum() + marks.sum()))


@pytest.mark.parametrize("seed", range(20))
def test_the_threshold_is_the_best_of_all(seed: int) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, 12, 40).astype(np.float32) / 12  # with ties
    marks = rng.random(40) < 0.2 + 0.6 * scores
    found = best_threshold(scores, marks)
    best = max(f1(scores, marks, t) for t in np.linspace(0, 1, 241))
    assert f1(scores, marks, found) == pytest.approx(best)


def test_thresholds_at_the_ends() -> None:
    scores = np.array([0.1, 0.2, 0.6, 0.8], np.float32)
    assert best_threshold(scores, np.zeros(4, bool)) == 1.0
    assert best_threshold(scores, np.ones(4, bool)) == pytest.approx(0.05)
    assert best_threshold(scores, scores > 0.5) == pytest.approx(0.4)


def test_a_model_of_votes_names_every_class_above_its_threshold(make: Any, write: Write) -> None:
    folder = make("votes=simulate", "params.strategy=soft", "params.lr=0.01", "trials=1")
    model = write(folder)
    assert model.thresholds is not None
    assert set(model.thresholds) == set(model.classes)
    source = source_of(folder, "selected")
    with pytest.raises(BadInput, match="temperature=fitted is for models that name one class"):
        archive.temperature(source)
    votes = source.inputs.dataset(run_chunks=local_chunks).votes
    assert votes is not None
    for k, name in enumerate(model.classes):
        scores, marks = [], []
        for row in source.rows:
            stored = source.store.get(row.stages[-1].key)
            assert stored is not None
            scores.append(stored[0].arrays["validation"][:, k])
            marks.append(votes[source.inputs.folds[row.index].validation, k] > 0)
        best = max(
            f1(np.concatenate(scores), np.concatenate(marks), t) for t in np.linspace(0, 1, 501)
        )
        made = f1(np.concatenate(scores), np.concatenate(marks), model.thresholds[name])
        assert made == pytest.approx(best, abs=0.01)
        assert made >= best - 1e-9
    assert "votes" in model.facts["simulated"]
