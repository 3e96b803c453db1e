"""Declaring and settling parameters, and training so that each clip is predicted from outside."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from trainables import fitting
from trainables.fitting import above, equals, where
from trainables.stage import Artifact, Param, Part, StageInputs

K = 2
PARAMS = {
    "loss": Param("ce", "loss", ("ce", "focal")),
    **where(equals("loss", "focal"), focal_gamma=Param(2.0, "exponent")),
    "weight": Param(0.0, "weight"),
    **where(above("weight"), scale=Param(1, "scale")),
}


def test_a_parameter_without_effect_is_none_and_numbers_have_one_type() -> None:
    own = {"loss": "ce", "focal_gamma": 1, "weight": 0, "scale": 3.0, "digest": "d"}
    assert fitting.settle(PARAMS, own) == {
        "loss": "ce", "focal_gamma": None, "weight": 0.0, "scale": None, "digest": "d",
    }  # fmt: skip
    both = fitting.settle(PARAMS, own | {"loss": "focal", "weight": 1})
    assert (both["focal_gamma"], both["weight"], both["scale"]) == (1.0, 1.0, 3)
    assert isinstance(both["focal_gamma"], float)
    assert isinstance(both["scale"], int)


def test_a_rule_reads_what_was_written_and_not_what_was_blanked() -> None:
    """c matters where b is above 0, whether or not b itself matters."""
    chain = {
        "a": Param(0.0, "a"),
        **where(above("a"), b=Param(1.0, "b")),
        **where(above("b"), c=Param(1.0, "c")),
    }
    own = fitting.settle(chain, {"a": 0.0, "b": 1.0, "c": 2.0})
    assert own == {"a": 0.0, "b": None, "c": 2.0}


def test_a_method_has_its_own_default_and_remark() -> None:
    params = fitting.steps(lr=(0.5, "paper: 0.5"), epochs=(7, ""))
    assert list(params) == ["lr", "epochs"]
    assert (params["lr"].default, params["lr"].low) == (0.5, fitting.STEPS["lr"].low)
    assert params["lr"].help == f"{fitting.STEPS['lr'].help} (paper: 0.5)"
    assert params["epochs"].help == fitting.STEPS["epochs"].help


def test_a_second_training_repeats_the_parameters_of_the_first() -> None:
    twins = fitting.again("teacher", PARAMS, ("weight", "scale"), weight=0.5)
    assert list(twins) == ["teacher_weight", "teacher_scale"]
    assert twins["teacher_weight"].default == 0.5
    assert twins["teacher_scale"].help == "as scale"
    assert twins["teacher_scale"].matters is None
    setting = {"weight": 1.0, "teacher_weight": 2.0, "teacher_scale": 3}
    assert fitting.second("teacher", ("weight", "scale"), setting) == {"weight": 2.0, "scale": 3}


# Trainings that predict what they have not learnt from


def part(speaker: list[int], labels: bool = True) -> Part:
    n = len(speaker)
    return Part(
        ids=np.array([f"u{i}" for i in range(n)], dtype=str),
        x=np.arange(n, dtype=np.float32)[:, None],
        speaker=np.array(speaker, dtype=np.int64),
        corpus=np.zeros(n, np.int64),
        y=np.arange(n) % K if labels else np.full(n, -1),
    )


def inputs(train: Part, undecided: Part) -> StageInputs:
    nothing = part([])
    return StageInputs(
        classes=("a", "b"), train=train, validation=nothing, test=nothing, unlabelled=nothing,
        undecided=undecided, parents={}, seed=5,
    )  # fmt: skip


class Trainings:
    """One training after another: each says its number of the clips that it is to predict."""

    def __init__(self) -> None:
        self.seeds: list[int] = []
        self.learnt: list[set[int]] = []

    def __call__(
        self, here: StageInputs, away: fitting.Rows, predict: Mapping[str, Part]
    ) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        number = float(len(self.seeds))
        self.seeds.append(here.seed)
        self.learnt.append(set(here.train.speaker[~away["train"]].tolist()))
        heard = set(np.concatenate([one.speaker for one in predict.values()]).tolist())
        arrays = {name: np.full((len(one), K), number, np.float32) for name, one in predict.items()}
        return arrays, {"curves": {}, "heard": sorted(heard)}


def test_each_speaker_is_predicted_by_a_training_without_it() -> None:
    stage = inputs(part([0, 0, 1, 2, 2, 3]), part([3, 9, 0], labels=False))
    groups = fitting.speaker_groups(
        stage, stage.train.speaker, 3, option="teacher=crossfit", instead="teacher=in_sample"
    )
    fit = Trainings()
    artifact = fitting.teach(stage, groups, fit)
    assert len(set(fit.seeds)) == 3
    for number, run in enumerate(artifact.info["runs"]):
        assert not fit.learnt[number] & set(run["heard"])
    for name, one in (("train", stage.train), ("undecided", stage.undecided)):
        of = artifact.arrays[name][:, 0].astype(int)
        assert all(
            one.speaker[row] in artifact.info["runs"][n]["heard"] for row, n in enumerate(of)
        )
    assert artifact.arrays["undecided"][1, 0] == 0  # nobody learns from speaker 9: the first
    assert fitting.lessons(artifact).shape == (9, K)
    assert "curves" not in artifact.info


def test_one_training_predicts_what_it_has_learnt_from() -> None:
    stage = inputs(part([0, 1]), part([]))
    fit = Trainings()
    artifact = fitting.teach(stage, None, fit)
    assert (fit.seeds, fit.learnt) == ([5], [{0, 1}])
    assert set(artifact.arrays) == {"train"}
    assert artifact.info["flagged"] == 0.5  # equal probabilities name the first class
    assert artifact.info["curves"] == {}


def test_a_clip_of_several_rows_gets_all_of_them() -> None:
    stage = inputs(part([0, 1, 2]), part([]))
    groups = [{"train": np.array([True, False, True])}, {"train": np.array([False, True, False])}]

    def fit(
        here: StageInputs, away: fitting.Rows, predict: Mapping[str, Part]
    ) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        rows = np.repeat(predict["train"].x, predict["train"].speaker + 1, axis=0)
        return {"train": np.repeat(rows, K, axis=1)}, {}

    arrays, _ = fitting.cross_fit(stage, groups, fit, sizes={"train": np.array([1, 2, 3])})
    assert arrays["train"][:, 0].tolist() == [0, 1, 1, 2, 2, 2]


def test_a_single_speaker_cannot_be_left_out() -> None:
    stage = inputs(part([4, 4]), part([]))
    with pytest.raises(ValueError, match=r"two training speakers .* has 1; take a=b"):
        fitting.speaker_groups(stage, stage.train.speaker, 3, option="c=d", instead="a=b")
    with pytest.raises(ValueError, match="inner_by=speaker"):
        fitting.inner_folds(stage.train, 2, "speaker")


def test_lessons_are_of_the_training_part_first() -> None:
    arrays = {"undecided": np.ones((1, K), np.float32), "train": np.zeros((2, K), np.float32)}
    assert fitting.lessons(Artifact(arrays))[:, 0].tolist() == [0, 0, 1]


def test_inner_folds_deal_out_every_class() -> None:
    ids = np.array([f"u{i}" for i in range(50)])
    y = np.repeat([0, 1, 2], [20, 17, 13])
    fold = fitting.stratify(ids, y, 5)
    assert np.bincount(fold).tolist() == [10] * 5
    for k, n in enumerate((20, 17, 13)):
        sizes = np.bincount(fold[y == k], minlength=5)
        assert sizes.sum() == n
        assert sizes.max() - sizes.min() <= 1
    order = np.random.default_rng(0).permutation(50)
    np.testing.assert_array_equal(fitting.stratify(ids[order], y[order], 5), fold[order])


def test_groups_are_dealt_out_whole() -> None:
    groups = np.array([3, 3, 1, 7, 7, 7, 5])
    dealt = fitting.deal(groups, 3, seed=1)
    assert sorted(np.concatenate(dealt).tolist()) == [1, 3, 5, 7]
    assert [len(each) for each in dealt] == [2, 1, 1]
    assert len(fitting.deal(groups, 9, seed=1)) == 4
