"""Deep self-learning: targets by iteration, what leaks in which mode, which stages are shared."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import pytest

from raysearch import stages
from raysearch.stages.folds import divide
from tests.contracts.method_contract import CanonicalContract, Case, Effect, TrainedContract
from trainables import segment_training, segments, self_learning
from trainables.self_learning import METHOD
from trainables.stage import Artifact, NetworkState, Part, Sequences, StageInputs, weights_of

K, SPEAKERS, CLIPS, BANDS, FOLDS = 3, 4, 36, 32, 4
CLASSES = ("a", "b", "c")
SMALL = {
    "backbone": "mobilenet_v2",
    "width": 1 / 16,
    "hop": 8,
    "segment": 16,
    "bn_momentum": 0.5,
    "epochs": 2,
    "patience": 2,
    "batch": 16,
    "lr": 1e-2,
    "inner_folds": 2,
    "trees": 5,
}

NOTHING = [Artifact({}, {})]
"""in place of a parent that is not looked at"""


@cache
def dataset() -> stages.Dataset:
    """Clips whose bands say the class, the shortest of less than one segment."""
    rng = np.random.default_rng(0)
    y = np.arange(CLIPS) % K
    speaker = np.arange(CLIPS) // K % SPEAKERS
    lengths = rng.integers(10, 60, CLIPS)
    rows = []
    for row in range(CLIPS):
        frames = rng.normal(size=(lengths[row], BANDS))
        frames[:, y[row] * 8 : y[row] * 8 + 8] += 2.0
        rows.append(frames.astype(np.float32))
    table = pd.DataFrame(
        {
            "id": [f"u{row:03}" for row in range(CLIPS)],
            "speaker": [f"s{one}" for one in speaker],
            "session": "",
            "corpus": "c",
            "label": [CLASSES[one] for one in y],
        }
    )
    frames = {"logmel64": Sequences(np.concatenate(rows), np.cumsum([0, *lengths]))}
    return stages.Dataset(
        ids=table["id"].to_numpy(dtype=str),
        x=np.zeros((CLIPS, 0), np.float32),
        y=y,
        votes=None,
        speaker=speaker,
        corpus=np.zeros(CLIPS, np.int64),
        classes=CLASSES,
        folds=divide(table, CLASSES, protocol="kfold", folds=FOLDS),
        normalise="fold",
        frames=frames,
        moments={name: stages.Moments.of(each) for name, each in frames.items()},
    )


def parts() -> dict[str, Part]:
    """Those of the first fold, as they are."""
    data = dataset()
    whole = Part(data.ids, data.x, data.speaker, data.corpus, data.y, frames=data.frames)
    fold = data.folds[0]
    nothing = whole.take(np.zeros(0, np.int64))
    return {
        "train": whole.take(fold.train),
        "validation": whole.take(fold.validation),
        "test": dataclasses.replace(whole.take(fold.test), y=None),
        "unlabelled": dataclasses.replace(nothing, y=None),
        "undecided": nothing,
    }


EFFECTS = (
    Effect("wdsl_alpha", {"strategy": "bdsl"}, {}, (0.1, 0.2)),
    Effect("inner_folds", {"mode": "paper"}, {}, (2, 3)),
    Effect("inner_by", {"mode": "paper"}, {}),
    Effect("mode", {"iterations": 0, "utterance": "mean"}, {}),
    Effect("trees", {"utterance": "mean"}, {}),
    Effect("growth", {}, {"backbone": "densenet22"}),
    Effect("width", {"backbone": "densenet22"}, {}),
    Effect("bn_momentum", {"vgg_norm": False}, {}),
    Effect("vgg_norm", {"backbone": "mobilenet_v2"}, {}),
    Effect("smoothing", {}, {"strategy": "label_smoothing"}),
)
MODEL = {
    "backbone": "vgg19",
    "vgg_norm": True,
    "vgg_hidden": 16,
    "segment": 32,
    "lr": 3e-3,
    "dropout": 0,
    "epochs": 3,
    "patience": 3,
}
"""a network that learns in so few steps: constant predictions would be no test"""
CASE = Case(
    METHOD,
    parts,
    SMALL | MODEL,
    EFFECTS,
    self_learning.canonical,
    models=(
        {"strategy": "hard", "iterations": 0},
        {"strategy": "dhl", "iterations": 2, "utterance": "mean"},
        {"strategy": "gsl"},
    ),
    classes=CLASSES,
)


class TestSelfLearningContract(CanonicalContract, TrainedContract):
    @pytest.fixture
    def case(self) -> Case:
        return CASE


def calls(data: stages.Dataset, fold: int, setting: dict[str, Any]) -> list[stages.Call]:
    where = stages.context(data, [f"audio-{i}" for i in range(CLIPS)], ["logmel64-1"], 0)
    return stages.calls(METHOD, METHOD.resolve(SMALL | setting), fold, where)


def run(
    setting: dict[str, Any],
    data: stages.Dataset | None = None,
    fold: int = 0,
    result: dict[str, Artifact] | None = None,
) -> dict[str, Artifact]:
    """The stages of one fold, by name, and of whichever others it asks for, as a worker runs them;
    `made` keeps them by key."""
    data = data or dataset()
    result = {} if result is None else result
    own = {}
    for call in calls(data, fold, setting):
        if call.key not in result:
            needs = [result[key] for key in call.needs]
            result[call.key] = stages.execute(call, data, needs, stages.Runtime())
            json.dumps(result[call.key].info, allow_nan=False)
        if call.fold == fold:
            own[call.name] = result[call.key]
    return own


def labelled(data: stages.Dataset, rows: np.ndarray) -> stages.Dataset:
    """The same data with other labels in these rows."""
    y = data.y.copy()
    y[rows] = (y[rows] + 1) % K
    return dataclasses.replace(data, y=y)


def keys(setting: dict[str, Any], fold: int = 0, data: stages.Dataset | None = None) -> list[str]:
    return [call.key for call in calls(data or dataset(), fold, setting)]


# Which stages a setting asks for


def wishes(*settings: dict[str, Any]) -> Counter[str]:
    """Distinct stages of these settings over all folds, by name."""
    data = dataset()
    names = {
        call.key: call.name
        for setting in settings
        for fold in range(len(data.folds))
        for call in calls(data, fold, setting)
    }
    return Counter(names.values())


def test_inner_folds_beyond_what_they_divide_are_no_setting_of_their_own() -> None:
    nested = {"mode": "nested", "inner_by": "speaker"}
    data = dataset()
    speakers = len(set(data.speaker[data.folds[0].train].tolist()))
    clips = len(data.folds[0].train)
    more = keys(nested | {"inner_folds": speakers + 1})
    assert keys(nested | {"inner_folds": speakers}) == more
    by_clips = [nested | {"inner_by": "utterance", "inner_folds": n} for n in (clips, clips + 1)]
    assert keys(by_clips[0]) == keys(by_clips[1]) != more


PAPER = {"mode": "paper"}


def test_table_2_is_three_iterations_of_each_network_once_a_fold() -> None:
    grid = [
        PAPER | {"strategy": "bdsl", "backbone": name, "iterations": t}
        for name in ("efficientnet_b0", "mobilenet_v2", "densenet22", "vgg19")
        for t in (0, 1, 2)
    ]
    trainings = {f"iteration_{t}": 4 * FOLDS for t in (0, 1, 2)}
    assert wishes(*grid) == trainings | {"utterance": 12 * FOLDS}


def test_table_3_branches_from_one_iteration_0() -> None:
    grid = [PAPER | {"strategy": name} for name in ("hard", "gsl", "dhl", "bdsl")]
    assert wishes(*grid) == {"iteration_0": FOLDS, "iteration_1": 3 * FOLDS, "utterance": 4 * FOLDS}


def test_table_4_is_ten_trainings_of_iteration_1_and_one_of_iteration_0() -> None:
    grid = [PAPER | {"strategy": "wdsl", "wdsl_alpha": step / 10} for step in range(11)]
    outer = {"iteration_0": FOLDS, "iteration_1": 10 * FOLDS, "utterance": 11 * FOLDS}
    assert wishes(*grid) == outer
    inner = [one | {"mode": "nested"} for one in grid]
    assert wishes(*inner) == outer | {"inner_0": FOLDS, "inner_1": 10 * FOLDS}


def test_a_later_iteration_goes_on_from_the_earlier_ones() -> None:
    for mode in ("paper", "nested"):
        one, two = (set(keys({"mode": mode, "iterations": n})) for n in (1, 2))
        both = {call.name for call in calls(dataset(), 0, {"mode": mode}) if call.key in one & two}
        reference = {"iteration_0", "iteration_1"} if mode == "paper" else {"inner_0", "inner_1"}
        assert both == reference


def test_iteration_0_is_one_in_both_modes() -> None:
    mean = {"utterance": "mean", "iterations": 0}
    assert keys(PAPER | mean) == keys({"mode": "nested"} | mean)
    paper, inner = (set(keys({"mode": mode, "iterations": 0})) for mode in ("paper", "nested"))
    (shared,) = {c.name for c in calls(dataset(), 0, {"iterations": 0}) if c.key in paper & inner}
    assert shared == "iteration_0"


@pytest.mark.parametrize("mode", ["paper", "nested"])
def test_alpha_0_is_bdsl_and_alpha_1_is_hard_and_no_iteration(mode: str) -> None:
    wdsl = {"mode": mode, "strategy": "wdsl"}
    none, all_ = wdsl | {"wdsl_alpha": 0}, wdsl | {"wdsl_alpha": 1.0}
    assert keys(none) == keys({"mode": mode, "strategy": "bdsl"})
    assert keys(none) == keys({"mode": mode, "strategy": "self_kd"})
    hard = {"mode": mode, "strategy": "hard", "iterations": 3}
    assert keys(all_) == keys(hard) == keys({"mode": mode, "strategy": "gsl", "iterations": 0})
    assert keys(wdsl | {"wdsl_alpha": 0.2}) not in (keys(none), keys(all_))


def test_every_strategy_it_serves_has_a_graph() -> None:
    for name in METHOD.params["strategy"].choices or ():
        needs = self_learning.STRATEGIES[name].needs
        actual = {call.name for call in calls(dataset(), 0, {"strategy": name, "gamma": 0.5})}
        assert ("iteration_1" in actual) == ("predictions" in needs)
        assert METHOD.needs(METHOD.resolve({"strategy": name})) == needs & {"votes"}


# What leaks


@pytest.mark.parametrize("utterance", ["forest", "mean"])
@pytest.mark.parametrize("inner_by", ["utterance", "speaker"])
def test_nested_knows_nothing_of_held_out_labels(utterance: str, inner_by: str) -> None:
    setting = {"mode": "nested", "utterance": utterance, "inner_by": inner_by, "iterations": 2}
    for fold in range(FOLDS):
        other = labelled(dataset(), dataset().folds[fold].test)
        assert keys(setting, fold) == keys(setting, fold, other)
        for call in calls(dataset(), fold, setting):
            assert call.fold == fold
            assert not call.across


def test_in_paper_mode_held_out_labels_reach_training_through_other_folds() -> None:
    others = dataset().folds[0].test
    other = labelled(dataset(), others)
    setting = PAPER | {"strategy": "bdsl", "epochs": 1, "utterance": "mean"}
    inner = setting | {"mode": "nested"}
    a, b = run(setting), run(setting, other)
    # the network of iteration 0 on the fold itself has not heard of them
    np.testing.assert_array_equal(a["iteration_0"].arrays["test"], b["iteration_0"].arrays["test"])
    for name in ("iteration_1", "utterance"):
        assert not np.array_equal(a[name].arrays["test"], b[name].arrays["test"])
    c, d = run(inner), run(inner, other)
    for name, result in c.items():
        for array, values in result.arrays.items():
            np.testing.assert_array_equal(values, d[name].arrays[array])
    # no stage is handed a label of its own fold's test part: they came with others' predictions
    for call in calls(dataset(), 0, setting):
        inputs = stages.inputs_of(call, dataset(), NOTHING * len(call.needs), stages.Runtime())
        assert inputs.test.y is None
        assert set(call.across) == ({"before"} if call.name == "iteration_1" else set())


def test_a_study_that_may_run_a_leaking_setting_says_so() -> None:
    from raysearch.study.space import Space
    from raysearch.tuning.cautions import _across_folds

    def told(**params: Any) -> str:
        examples = Space.parse(params)[0].typed(METHOD).examples()
        return _across_folds(METHOD, [METHOD.resolve(one) for one in examples])

    warning = told(mode="paper")
    assert warning.startswith("mode=paper: labels of the held-out utterances reach training")
    assert warning.endswith("compare mode=nested")
    assert told(mode={"choice": ["nested", "paper"]}) == warning
    assert told(mode="nested") == told() == ""
    assert told(mode="paper", iterations=0, utterance="mean") == ""
    assert told(mode="paper", iterations={"choice": [0, 1]}, utterance="mean") == warning


# Targets and divisions


class Told:
    """What each training was given."""

    def __init__(self) -> None:
        self.each: list[dict[str, Any]] = []

    def __call__(self, inputs: Any, train: Part, target: Any, predict: Any, own: Any) -> Any:
        from trainables.optimisation import Fit

        self.each.append({"inputs": inputs, "train": train, "target": target, "predict": predict})
        cut = segments.cut(
            {"train": train.frames["logmel64"]}
            | {name: part.frames["logmel64"] for name, part in predict.items()},
            length=own["segment"],
            hop=own["hop"],
        )
        probabilities = {name: told_of(part, cut.counts[name]) for name, part in predict.items()}
        return Fit(probabilities, {"validation_ua": [0.5]}, 1, 0.5, 1), cut


def told_of(part: Part, counts: np.ndarray) -> np.ndarray:
    """Made-up probabilities of an utterance's segments, by its id alone."""
    rows = [
        np.random.default_rng(int(str(name)[1:])).dirichlet(np.ones(K), count)
        for name, count in zip(part.ids, counts, strict=True)
    ]
    return np.concatenate(rows).astype(np.float32)


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Told:
    actual = Told()
    monkeypatch.setattr(segment_training, "fit", actual)
    return actual


@pytest.mark.parametrize("mode", ["paper", "nested"])
@pytest.mark.parametrize("strategy", ["bdsl", "wdsl", "gsl", "dhl"])
def test_targets_of_an_iteration(told: Told, mode: str, strategy: str) -> None:
    run({"mode": mode, "strategy": strategy, "wdsl_alpha": 0.25, "utterance": "mean"})
    first, last = told.each[0], told.each[-1]
    one_hot = np.eye(K)[first["train"].y]
    counts = segments.count(first["train"].frames["logmel64"], length=16, hop=8)
    np.testing.assert_array_equal(first["target"], np.repeat(one_hot, counts, axis=0))
    train = last["train"]
    data = dataset()
    np.testing.assert_array_equal(train.ids, data.ids[data.folds[0].train])
    counts = segments.count(train.frames["logmel64"], length=16, hop=8)
    q = told_of(train, counts)  # whoever predicted it, row for row its own
    of = np.repeat(np.arange(len(train)), counts)
    reference = {
        "bdsl": q,
        "wdsl": 0.75 * q + 0.25 * np.eye(K)[train.y[of]],
        "dhl": np.eye(K)[q.argmax(axis=1)],
        "gsl": np.concatenate([np.repeat(q[of == u].mean(0)[None], n, 0)
                               for u, n in enumerate(counts)]),
    }  # fmt: skip
    np.testing.assert_allclose(last["target"], reference[strategy], atol=1e-6)


@pytest.mark.parametrize("by", ["utterance", "speaker"])
def test_no_utterance_is_on_both_sides_of_an_inner_fold(told: Told, by: str) -> None:
    run({"mode": "nested", "inner_by": by, "inner_folds": 3, "iterations": 2})
    data = dataset()
    fold = data.folds[0]
    inner = [one for one in told.each if "held" in one["predict"]]
    assert len(inner) == 3 * 3
    outside = set(data.ids[np.concatenate([fold.test, fold.validation])].tolist())
    for start in (0, 3, 6):
        others = [set(one["predict"]["held"].ids.tolist()) for one in inner[start : start + 3]]
        assert sum(map(len, others)) == len(set.union(*others)) == len(fold.train)
        for one, left in zip(inner[start : start + 3], others, strict=True):
            lesson = set(one["train"].ids.tolist())
            assert not lesson & (left | outside)
            assert lesson | left == set(data.ids[fold.train].tolist())
            if by == "speaker":
                speakers = one["predict"]["held"].speaker
                assert not np.isin(one["train"].speaker, speakers).any()
    # the division is of the clips: it is the same in every iteration
    sides = [frozenset(one["predict"]["held"].ids.tolist()) for one in inner]
    assert len(set(sides)) == 3
    assert len({one["inputs"].seed for one in inner}) == 9


def test_predictions_across_folds_are_those_of_the_fold_that_tests_the_utterance() -> None:
    ids = np.array(["x", "y", "z"])
    frames = {"logmel64": Sequences(np.zeros((60, 4), np.float32), np.array([0, 10, 40, 60]))}

    def part(rows: list[int]) -> Part:
        index = np.array(rows, dtype=np.int64)
        zeros = np.zeros(3, np.int64)
        return Part(ids, np.zeros((3, 0), np.float32), zeros, zeros, zeros, frames=frames).take(
            index
        )

    def artifact(names: list[str], counts: list[int], value: float) -> Artifact:
        total = sum(counts)
        test = np.full((total, K), value, np.float32) + np.arange(total, dtype=np.float32)[:, None]
        return Artifact({"test": test, "test_counts": np.array(counts)}, {"ids": names})

    across = (
        artifact(["y", "x", "y"], [2, 1, 2], 0.0),  # y again, from statistics of few clips
        artifact(["z"], [1], 100.0),
        artifact(["x"], [1], 10.0),  # selected here, tested there
    )
    empty = part([])
    inputs = StageInputs(
        classes=CLASSES, train=part([2, 0, 1]), validation=empty, test=empty, unlabelled=empty,
        undecided=empty, parents={}, seed=0, across={"before": across},
    )  # fmt: skip
    probabilities, counts = self_learning._outside(inputs, "before")
    assert counts.tolist() == [1, 1, 2]
    assert probabilities[:, 0].tolist() == [100.0, 6.0, 0.0, 1.0]
    short = dataclasses.replace(inputs, across={"before": across[:1]})
    with pytest.raises(ValueError, match="first is z"):
        self_learning._outside(short, "before")


def test_a_forest_learns_from_what_networks_said_of_clips_they_were_not_trained_on(
    told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sklearn.ensemble import RandomForestClassifier

    seen: list[tuple[Any, Any]] = []

    def fit(self: Any, x: Any, y: Any) -> Any:
        seen.append((x, y))
        return real(self, x, y)

    real = RandomForestClassifier.fit
    monkeypatch.setattr(RandomForestClassifier, "fit", fit)
    data = dataset()
    for mode in ("paper", "nested"):
        run({"mode": mode})
        train = data.folds[0].train
        ((x, y),) = seen
        seen.clear()
        np.testing.assert_array_equal(y, data.y[train])
        part = told.each[-1]["train"] if mode == "paper" else None
        lengths = data.frames["logmel64"].lengths[train]
        counts = np.maximum(0, lengths - 16) // 8 + 1
        named = dataclasses.replace(part or told.each[0]["train"], ids=data.ids[train])
        reference = segments.statistics(told_of(named, counts), counts)
        np.testing.assert_array_equal(x, reference)


def test_trees_are_pinned() -> None:
    assert METHOD.params["trees"].default == 100
    assert calls(dataset(), 0, {"trees": 100})[-1].params == {"trees": 100}


# That it trains


@pytest.mark.parametrize(
    "setting",
    [
        {"mode": "paper"},
        {"mode": "nested", "inner_by": "speaker"},
        {"mode": "paper", "backbone": "efficientnet_b0", "strategy": "gsl", "utterance": "mean"},
        {"mode": "nested", "backbone": "densenet22", "growth": 2, "iterations": 0},
        {"backbone": "vgg19", "segment": 32, "vgg_hidden": 8, "iterations": 0,
         "utterance": "mean"},
    ],
)  # fmt: skip
def test_it_trains(setting: dict[str, Any]) -> None:
    data = dataset()
    result = run(setting)["utterance"]
    for name, n in (
        ("validation", len(data.folds[0].validation)),
        ("test", len(data.folds[0].test)),
    ):
        assert result.arrays[name].shape == (n, K)
        np.testing.assert_allclose(result.arrays[name].sum(axis=1), 1, rtol=1e-5)
    curves = result.info["curves"]
    assert {"loss", "validation_ua", "validation_wa", "lr"} <= set(curves)
    assert len(curves["loss"]) == result.info["epochs"]


@pytest.mark.slow
def test_it_tells_the_classes_apart() -> None:
    setting = {"backbone": "densenet22", "growth": 2, "iterations": 0, "utterance": "mean"}
    result = run(setting | {"epochs": 6, "patience": 6, "hop": 4})
    data = dataset()
    guess = result["utterance"].arrays["test"].argmax(axis=1)
    assert np.mean(guess == data.y[data.folds[0].test]) > 0.7  # the bands say the class


def test_what_is_missing_is_told() -> None:
    data = dataset()
    with pytest.raises(ValueError, match="needs votes"):
        run({"strategy": "soft"}, data)
    two = dataclasses.replace(
        data,
        frames={**data.frames, "other": data.frames["logmel64"]},
        moments={**data.moments, "other": data.moments["logmel64"]},
    )
    with pytest.raises(ValueError, match="features=logmel64"):
        run({}, two)
    with pytest.raises(ValueError, match="segments of 32 frames"):
        run({"backbone": "vgg19", "iterations": 0, "utterance": "mean"}, data)
    call = calls(data, 0, {"iterations": 0, "utterance": "mean"})[0]
    with pytest.raises(ValueError, match="workers=2"):
        stages.execute(call, data, (), stages.Runtime(workers=2))


def test_votes_make_targets_too() -> None:
    votes = np.eye(K, dtype=np.float32)[dataset().y] * 2
    votes[:, 0] += 1
    votes[dataset().folds[0].train[0]] = 0  # nobody voted
    data = dataclasses.replace(dataset(), votes=votes)
    result = run({"strategy": "soft", "epochs": 1, "utterance": "mean"}, data)
    assert set(result) == {"iteration_0", "utterance"}
    assert 0 < result["iteration_0"].info["target_entropy"] < np.log(K)


@pytest.mark.slow
def test_a_model_of_paper_mode_predicts_what_the_stages_predicted() -> None:
    own = MODEL | {"strategy": "bdsl", "mode": "paper", "iterations": 2}
    data, result = dataset(), dict[str, Artifact]()
    keeps = stages.Use(keep_weights=True)
    run(own, result=result)
    wishes = calls(data, 0, own)
    by_key = {call.key: call for call in wishes}
    last = wishes[-1]
    assert METHOD.export is not None
    (role,) = METHOD.export.keeps
    network = by_key[last.parents[role]]
    assert (network.name, network.fold) == ("iteration_2", 0)

    def again(call: stages.Call) -> Artifact:
        needs = [result[key] for key in call.needs]
        return stages.execute(dataclasses.replace(call, use=keeps), data, needs, stages.Runtime())

    before = again(network)
    np.testing.assert_array_equal(before.arrays["test"], result[network.key].arrays["test"])
    result[network.key] = before
    whole = again(last)
    beneath = NetworkState(network.params, weights_of(before.arrays), before.info, CLASSES)
    trained = NetworkState(
        last.params, weights_of(whole.arrays), whole.info, CLASSES, parents={role: beneath}
    )
    test = stages.inputs_of(network, data, NOTHING * len(network.needs), stages.Runtime()).test
    ids = METHOD.export.predictor(trained)(test)
    np.testing.assert_allclose(ids, result[last.key].arrays["test"], atol=1e-5)
    assert np.ptp(ids, axis=0).max() > 0.02
