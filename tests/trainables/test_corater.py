"""Co-rater training: who learns from whose ratings, what is shared, and what stays as it was."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.contracts.method_contract import Case, Effect, TrainedContract
from trainables import blstm_training
from trainables.blstm_training import pool_frames
from trainables.corater import METHOD, MODELS
from trainables.labels import share_of, vote_counts
from trainables.passes import read, restore
from trainables.stage import Artifact, Node, Part, Sequences, StageInputs

K, R, TARGET = 3, 5, 1
SMALL = {"width": 1 / 16, "epochs": 3, "fusion_epochs": 3, "batch": 8, "lr": 1e-2, "every": 2}


pytestmark = pytest.mark.usefixtures("one_thread")


def part(seed: int, n: int, *, ratings: bool = True) -> Part:
    """Frames that say a clip's class, and ratings by four of five raters each."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % K
    rows = [
        (rng.normal(size=(rng.integers(6, 14), 4)) + 2 * np.eye(4)[y[i]]).astype(np.float32)
        for i in range(n)
    ]
    starts = np.cumsum([0, *map(len, rows)]).astype(np.int64)
    values = np.concatenate(rows) if rows else np.zeros((0, 4), np.float32)
    codes = np.where(rng.random((n, R)) < 0.3, (y[:, None] + 1) % K, y[:, None])
    codes[np.arange(n), rng.integers(0, R, n)] = -1
    own = np.zeros((n, R), dtype=bool)
    own[:, R - 1] = codes[:, R - 1] >= 0  # the last rater speaks every clip
    return Part(
        ids=np.array([f"u{i:03}" for i in range(n)]),
        x=np.zeros((n, 0), np.float32),
        speaker=np.zeros(n, np.int64),
        corpus=np.zeros(n, np.int64),
        ratings=codes if ratings else None,
        own=own if ratings else None,
        frames={"emobase-frames": Sequences(values, starts)},
    )


def seen(one: Part, whose: str) -> Part:
    """What the engine hands out: the ratings of others masked."""
    if one.ratings is None or one.own is None or whose == "all":
        return one
    if whose == "none":
        return replace(one, ratings=None, own=None)
    hidden = np.arange(R) == TARGET if whose == "others" else np.arange(R) != TARGET
    codes = np.where(hidden, -1, one.ratings)
    return replace(one, ratings=codes, own=one.own & (codes >= 0))


def parts(**changes: Part) -> dict[str, Part]:
    empty = part(0, 0, ratings=False)
    return {
        "train": part(1, 40),
        "validation": part(2, 15),
        "test": part(3, 11, ratings=False),
        "unlabelled": empty,
        "undecided": empty,
    } | changes


EFFECTS = (
    Effect("percent", {"model": "others_s"}, {"model": "rater"}, (50.0, 100.0)),
    Effect("least", {"model": "rater"}, {"model": "others_h"}, (2, 3)),
    Effect("self_ratings", {"model": "rater"}, {"model": "others_s"}),
    Effect("fusion_lr", {"model": "rater"}, {"model": "fusion_s"}),
)
CASE = Case(
    METHOD,
    parts,
    SMALL,
    EFFECTS,
    models=({"model": "others_h"}, {"model": "rater"}, {"model": "fusion_hs"}),
    classes=tuple("lmh"),
    extra={"raters": tuple("abcde"), "target": TARGET},
    view=seen,
)


class TestCoraterContract(TrainedContract):
    @pytest.fixture
    def case(self) -> Case:
        return CASE


def fold(whose: str, parents: dict[str, Artifact] | None = None, **changes: Part) -> StageInputs:
    """What a stage of a fold is handed, whatever its node names."""
    given = {name: seen(one, whose) for name, one in parts(**changes).items()}
    return StageInputs(classes=CASE.classes, parents=parents or {}, seed=7, **given, **CASE.extra)


def nodes(**setting: Any) -> dict[str, Node]:
    return {node.name: node for node in CASE.nodes(**setting)}


def run(model: str, **setting: Any) -> dict[str, Artifact]:
    return CASE.run({"model": model, **setting})


# --- The graph ------------------------------------------------------------------------------


def test_every_model_is_made_of_its_parts() -> None:
    for model, parts in MODELS.items():
        actual = nodes(model=model)
        last = list(actual)[-1]
        assert set(actual) == {*parts, *(["fusion"] if len(parts) > 1 else [])}
        assert last == (parts[0] if len(parts) == 1 else "fusion")
        assert set(actual[last].parents) == (set(parts) if len(parts) > 1 else set())
    assert METHOD.per_rater


def test_others_are_handed_no_rating_of_the_target_and_the_rater_no_other() -> None:
    actual = nodes(model="fusion_hs")
    assert {name: node.ratings for name, node in actual.items()} == {
        "others_h": "others",
        "others_s": "others",
        "rater": "target",
        "fusion": "none",
    }
    assert actual["fusion"].parts == ()


def test_others_are_shared_by_shares_and_fusions_and_the_rater_by_fusions() -> None:
    every = [
        nodes(model=model, percent=percent, fusion_lr=lr)
        for model in MODELS
        for percent in (50, 100, 100.0)
        for lr in (1e-3, 1e-2)
    ]
    count = {
        name: {str((dict(f[name].params), dict(f[name].parents))) for f in every if name in f}
        for name in ("others_h", "others_s", "rater")
    }
    assert {name: len(actual) for name, actual in count.items()} == {
        "others_h": 1,
        "others_s": 1,
        "rater": 2,
    }


# --- Ratings --------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 3), min_size=1, max_size=60), st.integers(0, 5))
def test_shares_are_stratified_seeded_and_nested(labels: list[int], seed: int) -> None:
    y = np.array(labels)
    half, most, whole = (share_of(y, percent, seed) for percent in (50, 75, 100))
    assert whole.tolist() == list(range(len(y)))
    assert set(half) <= set(most) <= set(whole)
    for c in np.unique(y):
        assert (y[half] == c).sum() == -(-(y == c).sum() // 2)
    assert half.tolist() == share_of(y, 50, seed).tolist()
    assert half.tolist() == sorted(half.tolist())


def test_another_seed_draws_another_share() -> None:
    y = np.arange(200) % 2
    assert share_of(y, 50, 0).tolist() != share_of(y, 50, 1).tolist()


def test_votes_are_counted_and_self_ratings_left_out_where_asked() -> None:
    one = seen(part(1, 30), "others")
    assert one.ratings is not None
    every, without = vote_counts(one, K), vote_counts(one, K, "leave")
    for row in range(30):
        given = [c for r, c in enumerate(one.ratings[row]) if c >= 0 and r != TARGET]
        assert every[row].tolist() == [given.count(c) for c in range(K)]
        mine = int(one.ratings[row, R - 1])
        assert without[row].sum() == every[row].sum() - (mine >= 0)


def test_frames_are_averaged_by_three_and_the_rest_by_itself() -> None:
    frames = np.arange(14, dtype=np.float32).reshape(7, 2)
    actual = pool_frames(frames, 3)
    reference = [frames[:3].mean(axis=0), frames[3:6].mean(axis=0), frames[6]]
    np.testing.assert_allclose(actual, reference)
    np.testing.assert_array_equal(pool_frames(frames, 1), frames)


def with_ties() -> Part:
    """Every second clip's other raters are two against two."""
    one = part(1, 40)
    assert one.ratings is not None
    codes = np.full_like(one.ratings, 0)
    codes[:, TARGET] = 2
    codes[::2, :1], codes[::2, 2] = 1, 1
    codes[1::2] = np.arange(20)[:, None] % K
    return replace(one, ratings=codes)


def test_ties_are_dropped_for_the_majority_and_kept_as_shares() -> None:
    actual = {
        name: node.run(fold("others", train=with_ties()), **node.params)
        for name, node in nodes(model="fusion_hs").items()
        if node.ratings == "others"
    }
    hard, soft = actual["others_h"].info, actual["others_s"].info
    assert (hard["clips"], hard["ties"]) == (20, 20)
    assert (soft["clips"], soft["ties"]) == (40, 20)
    assert sum(hard["target_mass"]) == pytest.approx(20)
    assert soft["target_mass"] == pytest.approx([10 + 7, 10 + 7, 6], abs=1.01)


def test_clips_with_too_few_other_ratings_train_nobody() -> None:
    node = nodes(model="others_s", least=4)["others_s"]
    info = node.run(fold("others"), **node.params).info
    one = seen(part(1, 40), "others")
    assert info["clips"] == int((vote_counts(one, K).sum(axis=1) >= 4).sum()) < 40
    node = nodes(model="others_s", least=5)["others_s"]
    with pytest.raises(ValueError, match="least=5"):
        node.run(fold("others"), **node.params)


def test_others_refuse_the_targets_ratings() -> None:
    node = nodes(model="others_s")["others_s"]
    with pytest.raises(AssertionError, match="target's ratings"):
        node.run(fold("all"), **node.params)


# --- Training -------------------------------------------------------------------------------


def test_it_trains_and_the_fusion_takes_the_raters_rows() -> None:
    whole, half = run("fusion_hs"), run("fusion_hs", percent=50)
    for name in ("others_h", "others_s"):
        np.testing.assert_array_equal(whole[name].arrays["test"], half[name].arrays["test"])
    one = seen(part(1, 40), "target")
    assert one.ratings is not None
    mine = one.ratings[:, TARGET]
    rows, some = whole["rater"].arrays["chosen"], half["rater"].arrays["chosen"]
    assert rows.tolist() == np.flatnonzero(mine >= 0).tolist()
    assert set(some) < set(rows)
    for result in (whole, half):
        share = result["rater"].arrays["chosen"]
        np.testing.assert_array_equal(result["rater"].arrays["label"], mine[share])
        assert result["fusion"].info["clips"] == result["rater"].info["clips"] == len(share)
        assert result["rater"].info["rated"] == len(rows)
        for name, count in (("validation", 15), ("test", 11)):
            probabilities = result["fusion"].arrays[name]
            assert probabilities.shape == (count, K)
            np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)


def test_a_fusion_changes_no_submodel() -> None:
    """It reads their stored vectors; neither these nor what they say changes."""
    result = run("fusion_s")
    before = copy.deepcopy({name: dict(result[name].arrays) for name in ("others_s", "rater")})
    last = nodes(model="fusion_s", fusion_lr=0.1)["fusion"]
    last.run(fold("none", {name: result[name] for name in ("others_s", "rater")}), **last.params)
    for name, arrays in before.items():
        for key, values in arrays.items():
            np.testing.assert_array_equal(values, result[name].arrays[key])


def test_submodels_are_read_frozen_in_eval_mode() -> None:
    """With dropout of 0.5, a model left in train mode would give other vectors each time."""
    one = part(5, 9)
    modes: list[bool] = []

    def build() -> torch.nn.Module:
        torch.manual_seed(0)
        return blstm_training.network(4, K, {"dropout": 0.5, "width": 1 / 16, "units": "each"})

    def infer(module: Any, rows: Any) -> torch.Tensor:
        modes.append(module.training or any(p.requires_grad for p in module.parameters()))
        return blstm_training.infer(module, rows)

    weights = build().state_dict()
    with torch.no_grad():
        weights["last.weight"] += 1.0
    copy_of_weights = copy.deepcopy(weights)
    actual = read(
        restore(build, weights),
        infer=infer,
        columns={"frames": one.frames["emobase-frames"]},
        collate=lambda rows: blstm_training.collate(rows, every=2),
        eval_batch=4,
    )
    assert modes == [False] * 3
    module = build()
    module.load_state_dict(copy_of_weights)
    module.eval()
    for row in range(9):
        alone = blstm_training.collate({"frames": [one.frames["emobase-frames"][row]]}, every=2)
        with torch.no_grad():
            reference = blstm_training.infer(module, alone)[0].numpy()  # type: ignore[arg-type]
        np.testing.assert_allclose(actual[row], reference, rtol=1e-4, atol=1e-5)
    for name, value in copy_of_weights.items():
        torch.testing.assert_close(weights[name], value)


def test_a_last_batch_of_one_clip_breaks_no_batch_norm() -> None:
    result = run("fusion_s", batch=8)
    mine = dict(result["rater"].arrays)
    keep = np.arange(17)  # two batches of 8, and one clip
    mine |= {name: mine[name][keep] for name in ("chosen", "label", "hidden_train")}
    last = nodes(model="fusion_s", batch=8)["fusion"]
    parents = {"others_s": result["others_s"], "rater": Artifact(mine)}
    actual = last.run(fold("none", parents), **last.params)
    assert np.isfinite(actual.arrays["test"]).all()
    single = {name: mine[name][:1] for name in ("chosen", "label", "hidden_train")}
    alone = {**parents, "rater": Artifact(mine | single)}
    with pytest.raises(ValueError, match="2 ratings of the target or more, but has 1"):
        last.run(fold("none", alone), **last.params)


def test_it_learns_what_the_raters_hear() -> None:
    result = run("fusion_hs", epochs=25, fusion_epochs=30, width=0.25, fusion_lr=1e-2)
    y = np.arange(11) % K
    for name in ("others_h", "others_s", "fusion"):
        assert (result[name].arrays["test"].argmax(axis=1) == y).mean() > 0.8


def test_what_is_missing_is_said() -> None:
    node = nodes(model="rater")["rater"]
    bare = fold("none", **{name: part(1, 20, ratings=False) for name in ("train", "validation")})
    with pytest.raises(ValueError, match="target rater's ratings are not there"):
        node.run(bare, **node.params)
    two = part(1, 20)
    two = replace(two, frames=dict(two.frames) | {"mfcc40": two.frames["emobase-frames"]})
    with pytest.raises(ValueError, match="features=emobase-frames"):
        node.run(fold("target", train=two), **node.params)
