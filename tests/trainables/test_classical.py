"""Classifiers: they say what scikit-learn alone says, and travel without a pickle."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skops.io
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import GridSearchCV, GroupKFold
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, LinearSVC

from tests.contracts.method_contract import (
    NOTHING,
    CanonicalContract,
    Case,
    Effect,
    ExportedContract,
)
from trainables import classical, classifier_files
from trainables.classical import GRIDS, METHOD
from trainables.stage import Artifact, Part

K = 3
BOOSTED = {"model": "boosting", "rounds": 3, "leaves": 4}
FOREST = {"model": "forest", "trees": 5}


def clips(n: int, seed: int, labelled: bool = True) -> Part:
    """Six speakers' rows of 5 features that lie at other places for each of the three classes."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % K
    votes = np.full((n, K), 1.0, np.float32)
    votes[np.arange(n), y] = 3
    x = rng.normal(size=(n, 5)) + 1.2 * np.eye(5)[y] + 3
    return Part(
        ids=np.array([f"{seed}-{i}" for i in range(n)], dtype=str),
        x=x.astype(np.float32),
        speaker=np.arange(n) // K % 6 + 10 * seed,
        corpus=np.zeros(n, np.int64),
        y=y if labelled else None,
        votes=votes if labelled else None,
    )


def inputs() -> dict[str, Part]:
    nothing = clips(3, 9).take(NOTHING)
    return {
        "train": clips(72, 0),
        "validation": clips(30, 1),
        "test": clips(24, 2, labelled=False),
        "unlabelled": replace(nothing, y=None, votes=None),
        "undecided": nothing,
    }


SVM = {"model": "svm_rbf"}
CASE = Case(
    METHOD,
    inputs,
    SVM,
    effects=(
        Effect("C", {"model": "knn"}, {"model": "logistic"}),
        Effect("C", {"inner": 3}, {"inner": 0}),
        Effect("rbf_gamma", {"model": "svm_linear"}, {"inner": 3}),
        Effect("strategy", {"model": "knn"}, {}, ("hard", "soft")),
        Effect("class_weight", {"resample": "over"}, {}),
        Effect("class_weight", {"model": "knn"}, {"resample": "over", "strategy": "soft"}),
        Effect("resample", {"strategy": "soft"}, {}),
        Effect("neighbours", {"model": "knn", "inner": 2}, {"model": "knn"}),
        Effect("min_leaf", {}, {"model": "forest"}),
        Effect("learning_rate", {"model": "boosting", "inner": 2}, {"model": "boosting"}),
        Effect("inner", {"model": "majority"}, {}, (2, 3)),
        Effect("inner_by", {"calibration": "none"}, {"calibration": "none", "inner": 2}),
        Effect("inner_by", {"model": "logistic"}, {"model": "svm_linear"}),
        Effect("fit_on", {"model": "majority"}, {}),
    ),
    canonical=classical.canonical,
    models=(
        {"model": "majority"},
        {"model": "logistic", "strategy": "soft", "inner": 3},
        {"model": "svm_linear", "calibration": "none"},
        {"model": "svm_rbf", "resample": "smote", "calibration": "isotonic"},
        {"model": "knn", "resample": "under", "inner": 2},
        {**FOREST, "calibration": "sigmoid"},
        {**BOOSTED, "class_weight": "none"},
    ),
)


class TestClassicalContract(CanonicalContract, ExportedContract):
    @pytest.fixture
    def case(self) -> Case:
        return CASE


def run(parts: dict[str, Part] | None = None, **setting: Any) -> Artifact:
    return CASE.run(setting, parts)["fit"]


# --- What scikit-learn alone says ------------------------------------------------------------

BALANCED = {"class_weight": "balanced"}
ORACLES: list[tuple[dict[str, Any], Any]] = [
    ({"model": "logistic", "C": 0.1}, LogisticRegression(C=0.1, max_iter=5000, **BALANCED)),
    ({"model": "svm_linear", "C": 0.1}, LinearSVC(C=0.1, random_state=3, **BALANCED)),
    ({"model": "svm_rbf", "C": 10.0}, SVC(C=10.0, gamma="scale", break_ties=True, **BALANCED)),
    ({"model": "knn", "neighbours": 7}, KNeighborsClassifier(7)),
    (
        {**FOREST, "class_weight": "none"},
        RandomForestClassifier(5, random_state=3),
    ),
    (
        {**BOOSTED, "class_weight": "none"},
        HistGradientBoostingClassifier(
            max_iter=3, max_leaf_nodes=4, early_stopping=False, random_state=3
        ),
    ),
]


def unbalanced() -> dict[str, Part]:
    parts = inputs()
    rows = np.flatnonzero((np.arange(72) % K != 2) | (np.arange(72) % 4 == 0))
    return parts | {"train": parts["train"].take(rows)}


@pytest.mark.parametrize(("setting", "alone"), ORACLES, ids=lambda x: str(x)[:24])
@pytest.mark.parametrize("fit_on", ["train", "train+validation"])
def test_it_predicts_what_scikit_learn_alone_predicts(
    setting: dict[str, Any], alone: Any, fit_on: str
) -> None:
    parts = unbalanced()
    train, validation, test = (parts[name] for name in ("train", "validation", "test"))
    arrays = run(parts, fit_on=fit_on, **setting).arrays
    whole = train if fit_on == "train" else train.join(validation)
    for part, lesson in ((test, whole), (validation, train)):
        model = make_pipeline(StandardScaler(), alone).fit(lesson.x.astype(float), lesson.y)
        name = "test" if part is test else "validation"
        guess = model.predict(part.x.astype(float))
        np.testing.assert_array_equal(arrays[name].argmax(axis=1), guess)
        if hasattr(model, "predict_proba"):
            probabilities = model.predict_proba(part.x.astype(float))
            np.testing.assert_allclose(arrays[name], probabilities, atol=2e-4)


def test_the_majority_class_is_that_of_the_training_part() -> None:
    parts = unbalanced()
    assert set(run(parts, model="majority").arrays["test"].argmax(axis=1)) == {0}


def test_inner_folds_choose_what_a_grid_search_chooses() -> None:
    parts = unbalanced()
    train = parts["train"]
    artifact = run(parts, model="svm_rbf", inner=3, fit_on="train", calibration="none")
    search = GridSearchCV(
        make_pipeline(StandardScaler(), SVC(class_weight="balanced")),
        {"svc__C": list(GRIDS["svm_rbf"]["C"])},
        scoring="balanced_accuracy",
        cv=GroupKFold(3),
    ).fit(train.x.astype(float), train.y, groups=train.speaker)
    assert artifact.info["chosen"] == {"C": search.best_params_["svc__C"]}
    guess = search.predict(parts["test"].x.astype(float))
    assert (artifact.arrays["test"].argmax(axis=1) == guess).mean() > 0.95


def test_soft_targets_are_the_cross_entropy_of_logistic_regression() -> None:
    """At the minimum of sum_i -t_i log p_i + |W|^2 / 2C the gradient is zero."""
    parts = inputs()
    setting = {"model": "logistic", "strategy": "soft", "class_weight": "none", "fit_on": "train"}
    artifacts = CASE.run(setting, parts, keep_weights=True)
    data = artifacts["fit"].arrays["weights/skops"].tobytes()
    model = skops.io.loads(data)
    z = model.named_steps["scale"].transform(parts["train"].x.astype(float))
    weights = model.named_steps["classifier"].coef_
    votes = parts["train"].votes
    assert votes is not None
    target = votes / votes.sum(axis=1, keepdims=True)
    p = model.predict_proba(parts["train"].x.astype(float))
    gradient = (p - target).T @ z + weights
    assert np.abs(gradient).max() < 2e-2 < np.abs(weights).max()


def many(parts: dict[str, Part]) -> tuple[dict[str, Part], np.ndarray]:
    """The same with a test part of 600 clips, and their classes."""
    truth = clips(600, 2).y
    assert truth is not None
    return parts | {"test": clips(600, 2, labelled=False)}, truth


def test_a_temperature_never_changes_the_class_and_lowers_the_surprise() -> None:
    parts, truth = many(inputs())
    setting = {"model": "knn", "neighbours": 1}
    plain, calm = (run(parts, calibration=how, **setting) for how in ("none", "temperature"))
    for name in ("validation", "test"):
        np.testing.assert_array_equal(
            plain.arrays[name].argmax(axis=1), calm.arrays[name].argmax(axis=1)
        )
    surprise = [
        -np.log(np.maximum(one.arrays["test"][np.arange(600), truth], 1e-6)).mean()
        for one in (plain, calm)
    ]
    assert surprise[1] < surprise[0]


@pytest.mark.parametrize("resample", ["over", "smote", "under"])
def test_resampling_helps_a_rare_class(resample: str) -> None:
    parts, truth = many(inputs())
    parts["train"] = parts["train"].take(np.r_[np.flatnonzero(truth[:72] != 2), 2:21:3])
    setting = {"model": "logistic", "class_weight": "none", "fit_on": "train"}
    plain, even = (
        run(parts, **setting, **more).arrays["test"].argmax(axis=1)
        for more in ({}, {"resample": resample})
    )
    assert (even == 2).sum() > (plain == 2).sum()
    assert balanced_accuracy_score(truth, even) > balanced_accuracy_score(truth, plain)


# --- What it refuses, and what it says --------------------------------------------------------


def test_inner_folds_need_speakers() -> None:
    parts = inputs()
    alone = parts["train"]
    parts["train"] = replace(alone, speaker=np.zeros(len(alone), np.int64))
    with pytest.raises(ValueError, match="inner_by=utterance"):
        run(parts, fit_on="train")
    assert run(parts, fit_on="train", inner_by="utterance").info["clips"] == len(alone)
    parts["train"] = replace(alone, speaker=(np.asarray(alone.y) == 2).astype(np.int64))
    with pytest.raises(ValueError, match="without a clip of class number"):
        run(parts, fit_on="train")


def test_clips_without_a_vote_are_left_out_of_targets_made_of_votes() -> None:
    parts = inputs()
    votes = parts["train"].votes
    assert votes is not None
    bare = votes.copy()
    bare[:5] = 0
    parts["train"] = replace(parts["train"], votes=bare)
    info = run(parts, model="logistic", strategy="soft", fit_on="train").info
    assert (info["clips"], info["dropped"]) == (67, 5)


def test_a_model_that_takes_no_weights_says_so() -> None:
    notes = METHOD.notes(METHOD.resolve({"model": "knn", "strategy": "soft"}))
    assert len(notes) == 1
    assert "model=knn" in notes[0]
    assert METHOD.needs(METHOD.resolve({"model": "knn", "strategy": "soft"})) == frozenset()
    assert METHOD.needs(METHOD.resolve({"strategy": "soft"})) == {"votes"}


def test_a_fit_that_did_not_converge_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline = classical._pipeline

    def hasty(*words: Any) -> Any:
        return pipeline(*words).set_params(classifier__max_iter=1)

    assert run(model="logistic").info["converged"]
    monkeypatch.setattr(classical, "_pipeline", hasty)
    assert not run(model="logistic").info["converged"]


def test_no_torch_is_loaded_for_hard_labels() -> None:
    script = (
        "import sys, numpy as np\n"
        "import raysearch.stages.worker\n"
        "from trainables.classical import METHOD\n"
        "from trainables.stage import Part, StageInputs\n"
        "n, rng = np.arange(40), np.random.default_rng(0)\n"
        "x = rng.normal(size=(40, 4)).astype(np.float32)\n"
        "part = Part(n.astype(str), x, n % 4, 0 * n, n // 4 % 2)\n"
        "(node,) = METHOD.graph(METHOD.resolve({}))\n"
        "inputs = StageInputs(('a', 'b'), part, part, part, part, part, {}, 3)\n"
        "assert node.run(inputs, **node.params).arrays['test'].shape == (40, 2)\n"
        "print('torch' in sys.modules)\n"
    )
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=root
    )
    assert done.stdout.split() == ["False"]


# --- What a model's file may hold -------------------------------------------------------------


def exported(**setting: Any) -> Any:
    return CASE.state(CASE.nodes(**setting), CASE.run(setting, keep_weights=True))


def with_bytes(state: Any, data: bytes) -> Any:
    return replace(state, weights={"skops": np.frombuffer(data, np.uint8)})


def test_another_scikit_learn_is_refused() -> None:
    state = exported(model="logistic")
    old = replace(state, info={**state.info, "sklearn": "1.2.3"})
    with pytest.raises(ImportError, match=r"fitted by scikit-learn 1\.2\.3"):
        classical.predictor(old)


def test_a_file_of_anything_else_is_refused() -> None:
    state = exported(model="logistic")
    with pytest.raises(ValueError, match="damaged"):
        classical.predictor(with_bytes(state, b"no archive"))
    with pytest.raises(ValueError, match="Path"):
        classical.predictor(with_bytes(state, skops.io.dumps({"path": Path("x")})))
    with pytest.raises(ValueError, match="damaged"):
        classical.predictor(with_bytes(state, skops.io.dumps({"a": 1})))


@pytest.mark.parametrize("setting", [FOREST, BOOSTED], ids=["forest", "boosting"])
@pytest.mark.parametrize("place", ["child", "feature"])
def test_trees_that_point_nowhere_are_refused(setting: dict[str, Any], place: str) -> None:
    state = exported(**setting)
    trusted = sorted(classifier_files._TRUSTED)
    model = skops.io.loads(state.weights["skops"].tobytes(), trusted=trusted)
    classifier = model.named_steps["classifier"]
    if setting is BOOSTED:
        nodes = classifier._predictors[0][0].nodes
        nodes["left" if place == "child" else "feature_idx"][0] = 10_000
    else:
        tree = classifier.estimators_[0].tree_
        whole = tree.__getstate__()
        name = "left_child" if place == "child" else "feature"
        whole["nodes"][name][0] = 10_000
        tree.__setstate__(whole)
    with pytest.raises(ValueError, match="a node names one that is not there"):
        classical.predictor(with_bytes(state, skops.io.dumps(model)))
