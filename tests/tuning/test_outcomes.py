"""Every test clip's outcome: it recomputes what the report prints, and is kept."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics as sk

import raysearch
from raysearch.cli.main import main
from raysearch.errors import BadInput
from raysearch.report import to_plain
from raysearch.selection import KINDS
from raysearch.selection.measures import ece_of, reliability, scaled
from raysearch.stages.store import Store
from raysearch.study.folder import StudyFolder, store_of
from raysearch.study.record import Record
from raysearch.tuning import outcomes
from tests.support.study_folders import report_of
from tests.support.whole_study import run

SUPPORT = Path(__file__).resolve().parents[1] / "support"
SPACE = """\
method: toy_method:METHOD
corpus: {name: manifest}
features: [egemaps]
params:
  shrink: {grid: [0, 0.3, 0.6]}
  noise: 0.6
sampler: grid
trials: 3
enqueue: [{shrink: 0.3}]
votes: simulate
seeds: 2
tracking: false
quiet: true
"""


@pytest.fixture(scope="module")
def study(tones: Path, tmp_path_factory: pytest.TempPathFactory) -> StudyFolder:
    home = tmp_path_factory.mktemp("outcomes")
    (home / "toy.yaml").write_text(SPACE)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(SUPPORT))
        return StudyFolder(run(home, "space=toy.yaml", f"corpus.root={tones}"))


@pytest.fixture(scope="module")
def frame(study: StudyFolder) -> pd.DataFrame:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(SUPPORT))
        return outcomes.predictions(study)


def of_choice(frame: pd.DataFrame, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities and labels."""
    columns = [c for c in frame if c.startswith(f"{name}.")]
    classes = [c.partition(".")[2] for c in columns]
    p = frame[columns].to_numpy(dtype=np.float64)
    return p / p.sum(axis=1, keepdims=True), frame["label"].map(classes.index).to_numpy()


def test_predictions_recompute_every_estimate(study: StudyFolder, frame: pd.DataFrame) -> None:
    estimates = to_plain(report_of(study.path))["estimates"]
    for kind in KINDS:
        folds = {}
        for key, part in frame.groupby(["fold", "seed"], sort=False):
            p, y = of_choice(part, kind)
            label, guess = part["label"], part[kind]
            assert (p.argmax(axis=1) == [sorted_classes(frame).index(x) for x in guess]).all()
            folds[key] = {
                "ua": sk.balanced_accuracy_score(label, guess),
                "wa": sk.accuracy_score(label, guess),
                "macro_f1": sk.f1_score(label, guess, average="macro"),
                "kappa": sk.cohen_kappa_score(label, guess),
                "nll": sk.log_loss(y, p, labels=range(3)),
                "brier": sk.brier_score_loss(y, p, labels=range(3), scale_by_half=False),
            }
        means = pd.DataFrame(folds).mean(axis=1)
        for metric, value in means.items():
            assert estimates[kind][metric] == pytest.approx(value, abs=1e-6), (kind, metric)


def sorted_classes(frame: pd.DataFrame) -> list[str]:
    return [c.partition(".")[2] for c in frame if c.startswith("honest.")]


def test_predictions_recompute_calibration_and_classes(
    study: StudyFolder, frame: pd.DataFrame
) -> None:
    report = report_of(study.path)
    rows = report.section("calibration").table.frame.set_index(["setting", "probabilities"])
    for name in ("honest", "selected", "baseline"):
        p, y = of_choice(frame, name)
        assert rows.loc[(name, "1"), "ece"] == pytest.approx(ece_of(reliability(p, y)), abs=1e-6)
        after = np.concatenate(
            [scaled(row[None], t) for row, t in zip(p, frame[f"{name}_temperature"], strict=True)]
        )
        ece = ece_of(reliability(after, y))
        assert rows.loc[(name, "fitted"), "ece"] == pytest.approx(ece, abs=1e-6)
    classes = report.section("classes").table.frame.set_index("class")
    labels = sorted_classes(frame)
    for metric, score in (("recall", sk.recall_score), ("f1", sk.f1_score)):
        each = score(frame["label"], frame["selected"], labels=labels, average=None)
        assert classes.loc[labels, metric].to_list() == pytest.approx(each)


def test_a_row_says_what_a_clip_is(frame: pd.DataFrame) -> None:
    assert len(frame) == 60 * 2
    assert not frame.duplicated(["clip", "seed"]).any()
    assert (frame["fold"] == frame["speaker"]).all()
    assert "session" not in frame  # nobody has one
    votes = frame[[c for c in frame if c.startswith("votes.")]]
    assert votes.shape[1] == 3
    assert (votes.sum(axis=1) > 0).all()
    assert set(frame["baseline_trial"]) == {0}
    assert frame["honest_trial"].isin([0, 1, 2]).all()


@pytest.mark.parametrize("members", [1, 2])
def test_mean_is_of_the_settings_that_are_best_by_validation(
    study: StudyFolder, members: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.syspath_prepend(str(SUPPORT))
    shutil.copytree(study.home, tmp_path / "home")
    copy = StudyFolder(tmp_path / "home" / "studies" / study.name)
    monkeypatch.setattr(outcomes, "_MEMBERS", members)
    frame = outcomes.predictions(copy)
    trials = raysearch.load(copy.name, home=copy.home).trials
    best = trials["value"].sort_values(ascending=False).index[:members]
    record, store = Record.read(copy), Store(store_of(copy.study("quiet=true")))
    for (fold, seed), part in frame.groupby(["fold", "seed"], sort=False):
        each = []
        for trial in best:
            stages = record.cells[trial, fold].stages
            key = stages[(seed + 1) * len(stages) // 2 - 1].key
            p = store.get(key)[0].arrays["test"][: len(part)]
            each.append(p / p.sum(axis=1, keepdims=True))
        columns = [f"mean.{name}" for name in record.classes]
        assert part[columns].to_numpy() == pytest.approx(np.mean(each, axis=0), abs=1e-6)


def test_predictions_are_kept_and_need_no_corpus_then(
    study: StudyFolder, frame: pd.DataFrame, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(outcomes, "prepare", None)
    pd.testing.assert_frame_equal(outcomes.predictions(study), frame)
    result = raysearch.load(study.name, home=study.home)
    pd.testing.assert_frame_equal(result.predictions, frame)
    assert main(["report", f"study={study.name}", f"home={study.home}", f"out={tmp_path}"]) == 0
    read = pd.read_csv(tmp_path / "predictions.csv")
    pd.testing.assert_frame_equal(read, frame, check_dtype=False, atol=1e-7)
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "predictions.parquet"), frame)


def test_what_the_store_lost_is_told(
    study: StudyFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(SUPPORT))
    shutil.copytree(study.home, tmp_path / "home")
    copy = StudyFolder(tmp_path / "home" / "studies" / study.name)
    copy.predictions_file.unlink(missing_ok=True)
    for path in (tmp_path / "home" / "store").rglob("*.safetensors"):
        if "features" not in path.parts:
            path.unlink()
    lost = outcomes.predictions(copy)
    assert lost["honest.sad"].isna().all()
    assert (lost["honest"] == "").all()
    assert "predictions lack the probabilities of honest of" in outcomes.incomplete(lost)


def test_a_study_without_a_result_has_none(tmp_path: Path) -> None:
    from tests.support.study_folders import write_study

    folder = StudyFolder(write_study(tmp_path / "s", np.full((1, 3, 4), np.nan)))
    with pytest.raises(BadInput, match="no complete trial"):
        outcomes.predictions(folder)
