"""Groups of speakers: whole speakers, like classes, and what is proposed."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raysearch.errors import BadInput
from raysearch.stages.folds import divide
from raysearch.stages.grouping import joined, whole_groups

CLASSES = ("angry", "sad")


def one_class_speakers(speakers: int = 16) -> pd.DataFrame:
    rows = [
        {"id": f"c/{s:02}-{n}", "corpus": "c", "speaker": f"c/{s:02}", "session": str(s // 2)}
        | {"label": CLASSES[s % 2]}
        for s in range(speakers)
        for n in range(4)
    ]
    return pd.DataFrame(rows)


@settings(max_examples=25, deadline=None)
@given(count=st.integers(2, 6), seed=st.integers(0, 20))
def test_speakers_stay_whole_and_the_order_of_rows_does_not_matter(count: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    speakers = np.array([f"s{i:02}" for i in rng.integers(0, 14, 160)])
    labels = rng.choice(["a", "b", "c"], 160)
    groups = joined(speakers, labels, count)
    assert set(groups.tolist()) == {f"group-{i:02}" for i in range(count)}
    pairs = set(zip(speakers.tolist(), groups.tolist(), strict=True))
    assert len(pairs) == len(set(speakers.tolist()))
    order = rng.permutation(160)
    assert joined(speakers[order], labels[order], count).tolist() == groups[order].tolist()


def test_each_group_of_speakers_of_one_class_has_every_class() -> None:
    frame = one_class_speakers()
    assert all(frame["label"].iloc[fold.test].nunique() == 1 for fold in divide(frame, CLASSES))
    folds = divide(frame, CLASSES, group=4)
    assert [fold.name for fold in folds] == [f"group-{i:02}" for i in range(4)]
    for fold in folds:
        assert frame["label"].iloc[fold.test].nunique() == 2
        assert frame["speaker"].iloc[fold.test].nunique() == 4
        assert fold.test_groups == {fold.name}
        sides = [set(frame["speaker"].iloc[r]) for r in (fold.train, fold.validation, fold.test)]
        assert sum(map(len, sides)) == len(set.union(*sides)) == 16


def test_sessions_are_joined_too_and_their_clips_without_a_label_are_held_out() -> None:
    frame = one_class_speakers()
    extra = frame.iloc[::4].assign(id=lambda x: "u" + x["id"], label="")
    whole = pd.concat([frame, extra], ignore_index=True)
    for fold in divide(whole, CLASSES, protocol="loseso", group=4):
        held = set(whole["session"].iloc[np.r_[fold.test, fold.validation]])
        assert len(held) == 4
        assert not held & set(whole["session"].iloc[fold.unlabelled])
        assert len(fold.unlabelled) == 8


def test_the_groups_that_are_proposed() -> None:
    frame = one_class_speakers()
    units, labels = (frame[name].to_numpy(dtype=str) for name in ("speaker", "label"))
    assert whole_groups(units, labels, 2, 3) == 8
    assert whole_groups(units, labels, 3, 3) is None, "no group has a class that nobody speaks"


def test_groups_that_cannot_be() -> None:
    frame = one_class_speakers()
    with pytest.raises(BadInput, match=r"protocol\.group=17 joins .* there are only 16"):
        divide(frame, CLASSES, group=17)
    with pytest.raises(BadInput, match=r"protocol\.group=2: at least 3 groups are needed"):
        divide(frame, CLASSES, group=2)
    assert len(divide(frame, CLASSES, group=2, validation="share")) == 2
