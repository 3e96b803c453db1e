from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raysearch.errors import BadInput
from raysearch.stages.folds import Fold, divide
from raysearch.stages.inner_folds import inner_folds
from tests.stages.test_folds import CLASSES, table

WHO = ("loso", "loseso", "loco", "kfold", "pairs")


def inner(data: Any, most: int | None = None, **rule: Any) -> tuple[tuple[Fold, ...], ...]:
    folds = divide(data, CLASSES, **rule)
    return inner_folds(folds, lambda turn: divide(data, CLASSES, turn=turn, **rule), most)


@settings(max_examples=20, deadline=None)
@given(
    speakers=st.integers(5, 8),
    corpora=st.integers(2, 3),
    protocol=st.sampled_from(WHO),
    rule=st.sampled_from([("next", 1, 0), ("next", 2, 0), ("next", 1, 1), ("share", 1, 1)]),
    share=st.sampled_from([0.2, 0.34]),
    most=st.sampled_from([None, 2]),
    seed=st.integers(0, 3),
)
def test_no_inner_fold_hears_what_its_search_is_for(
    speakers: int,
    corpora: int,
    protocol: str,
    rule: tuple[str, int, int],
    share: float,
    most: int | None,
    seed: int,
) -> None:
    data = table(speakers, 6, corpora, unlabelled=3)
    words = {"protocol": protocol, "share": share, "seed": seed, "folds": 4}
    words |= dict(zip(("validation", "speakers", "select"), rule, strict=True))
    if protocol == "loco" or protocol == "pairs":
        words["select"] = 0
    folds = divide(data, CLASSES, **words)  # type: ignore[arg-type]
    searches = inner(data, most, **words)
    assert len(searches) == len(folds)
    for fold, each in zip(folds, searches, strict=True):
        assert [one.index for one in each] == list(range(len(each)))
        assert len({one.name for one in each}) == len(each)
        if most is not None:
            assert len(each) <= most
        # the first is the study's own, so that its stages are the study's
        for part in ("name", "drawn_as", "train", "validation", "select", "test", "unlabelled"):
            assert np.array_equal(getattr(each[0], part), getattr(fold, part))
        heard: set[int] = set()
        for one in each:
            assert np.array_equal(one.test, fold.test)
            rest = np.concatenate([one.train, one.validation, one.select, one.unlabelled])
            assert not set(rest.tolist()) & set(fold.test.tolist())
            assert len(one.validation)
            assert not heard & set(one.validation.tolist()), "each validates in one inner fold"
            heard |= set(one.validation.tolist())
            if protocol == "loso":
                who = data["speaker"].to_numpy()
                parts = [set(who[x].tolist()) for x in (one.train, one.validation, one.select)]
                assert not parts[0] & (parts[1] | parts[2])
                assert not set(who[fold.test].tolist()) & set.union(*parts)


def test_leaving_one_speaker_out_every_other_one_validates() -> None:
    data = table(5)
    for each in inner(data):
        others = {f"c0/s{s}" for s in range(5)} - {each[0].name}
        assert set.union(*(set(fold.val_groups) for fold in each)) == others
        assert [len(fold.val_groups) for fold in each] == [1] * 4


def test_a_class_that_only_two_speakers_have_is_told_with_the_option() -> None:
    data = table(4)
    data.loc[~data["speaker"].isin(["c0/s0", "c0/s2"]), "label"] = CLASSES[0]
    divide(data, CLASSES)
    with pytest.raises(BadInput, match=r"search\.outer=true lets others validate, and then fold"):
        inner(data)
