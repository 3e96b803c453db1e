"""Divisions that a corpus brings along, and pairs of corpora."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raysearch.errors import BadInput
from raysearch.stages.divisions import in_no_part, parts_of, sides
from raysearch.stages.folds import divide

CLASSES = ("happy", "sad")


def table(speakers: int = 8, corpora: Sequence[str] = ("c",), clips: int = 4) -> pd.DataFrame:
    rows = [
        {"id": f"{c}/{s}-{n}", "corpus": c, "speaker": f"{c}/{s}", "session": ""}
        | {"label": CLASSES[n % 2], "audio": f"{c}{s}{n}"}
        for c in corpora
        for s in range(speakers)
        for n in range(clips)
    ]
    return pd.DataFrame(rows)


def by_speaker(frame: pd.DataFrame, names: Mapping[int, str]) -> list[str]:
    return [names[int(s.rpartition("/")[2])] for s in frame["speaker"]]


def ids(frame: pd.DataFrame, rows: Any) -> set[str]:
    return set(frame["id"].to_numpy()[rows].tolist())


def test_a_split_is_taken_as_it_is_and_test_parts_are_scored_apart() -> None:
    frame = table()
    names = {0: "Train", 1: "Train", 2: "train", 3: "Development", 4: "Test1", 5: "Test2", 6: "",
             7: "Test1"}  # fmt: skip
    frame["split"] = by_speaker(frame, names)
    one, two = divide(frame, CLASSES, protocol="split")
    want = {
        name: {i for i, s in zip(frame["id"], frame["split"], strict=True) if s == name}
        for name in set(names.values())
    }
    assert (one.name, two.name) == ("Test1", "Test2")
    assert ids(frame, one.test) == want["Test1"]
    assert ids(frame, two.test) == want["Test2"]
    for fold in (one, two):
        assert ids(frame, fold.train) == want["Train"] | want["train"]
        assert ids(frame, fold.validation) == want["Development"]


def test_without_a_development_part_training_speakers_validate() -> None:
    frame = table()
    frame["split"] = by_speaker(frame, {s: "train" if s < 6 else "test" for s in range(8)})
    (fold,) = divide(frame, CLASSES, protocol="split", share=0.2)
    speakers = frame["speaker"].to_numpy()
    assert len(set(speakers[fold.validation])) == 1
    assert set(speakers[fold.validation]).isdisjoint(speakers[fold.train])
    assert set(speakers[fold.train]) | set(speakers[fold.validation]) == {
        f"c/{s}" for s in range(6)
    }


def test_clips_of_no_part_are_told_by_what_the_column_says() -> None:
    frame = table(speakers=6)
    names = {0: "train", 1: "train", 2: "dev", 3: "test", 4: "xyz", 5: ""}
    folds = divide(frame.assign(split=by_speaker(frame, names)), CLASSES, protocol="split")
    values = np.array(by_speaker(frame, names))
    labelled = np.ones(len(frame), dtype=bool)
    labelled[-1] = False
    (sentence,) = in_no_part(folds, values, labelled)
    assert "7 labelled clips are in no part and are not used ((empty) 3, xyz 4)" in sentence
    whole = np.where(np.isin(values, ["xyz", ""]), "train", values)
    folds = divide(frame.assign(split=whole), CLASSES, protocol="split")
    assert in_no_part(folds, whole, labelled) == []


def test_parts_have_any_names() -> None:
    frame = table()
    frame["part"] = by_speaker(frame, {s: "abcd"[s // 2] for s in range(8)})
    parts = {"train": ["a", "b"], "dev": ["c"], "test": ["d"]}
    (fold,) = divide(frame, CLASSES, protocol="split", column="part", parts=parts)
    assert set(frame["part"].to_numpy()[fold.train]) == {"a", "b"}
    assert set(frame["part"].to_numpy()[fold.validation]) == {"c"}


@pytest.mark.parametrize(
    ("values", "named", "message"),
    [
        (["train", "tost"], {}, "no value of the column is a part to test on"),
        (["train", "test"], {"test": ["tset"]}, "protocol.test=tset: the column has no such value"),
        (["train", "test"], {"dev": ["test"]}, "'test' of the column is in two parts"),
    ],
)
def test_parts_that_cannot_be(values: list[str], named: dict[str, list[str]], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        parts_of(np.array(values), named)


def test_a_column_that_is_not_there_is_named() -> None:
    with pytest.raises(BadInput, match="protocol=split reads the column 'split'"):
        divide(table(), CLASSES, protocol="split")


@given(st.lists(st.integers(0, 4), min_size=8, max_size=8).filter(lambda x: len(set(x) - {0}) > 2))
def test_folds_of_a_column_test_each_of_its_clips_once(places: list[int]) -> None:
    frame = table()
    frame["fold"] = by_speaker(frame, {s: str(p) if p else "" for s, p in enumerate(places)})
    folds = divide(frame, (), protocol="column")
    tested = [i for fold in folds for i in fold.test.tolist()]
    assert sorted(tested) == np.flatnonzero(frame["fold"] != "").tolist()
    for fold in folds:
        parts = [set(rows.tolist()) for rows in (fold.train, fold.validation, fold.test)]
        assert set.union(*parts) == set(range(len(frame)))
        assert sum(map(len, parts)) == len(frame)


def test_one_fold_of_a_column_is_validated_on_a_share() -> None:
    frame = table()
    frame["fold"] = by_speaker(frame, {s: "fold_1" if s < 2 else "" for s in range(8)})
    with pytest.raises(BadInput, match="validation=share validates on a share of the others"):
        divide(frame, CLASSES, protocol="column")
    (fold,) = divide(frame, CLASSES, protocol="column", validation="share")
    speakers = frame["speaker"].to_numpy()
    assert set(speakers[fold.test]) == {"c/0", "c/1"}
    assert len(set(speakers[fold.validation])) == 1


def test_what_is_on_two_sides_is_told_and_not_moved() -> None:
    frame = table(speakers=6)
    frame["fold"] = [str(n % 3) for n in range(len(frame))]
    frame.loc[1, "audio"] = frame.loc[0, "audio"]
    folds = divide(frame, CLASSES, protocol="column", validation="share")
    speakers, clips = sides(folds, frame)
    assert "speakers on two sides: in 3 of 3 folds, at most 6 test speakers" in speakers
    assert "clips on two sides: in 2 of 3 folds, at most 1 test clips" in clips
    apart = by_speaker(frame, {s: str(s % 3) for s in range(6)})
    assert len(sides(divide(frame.assign(fold=apart), CLASSES, protocol="column"), frame)) == 0


def test_pairs_train_on_one_corpus_and_test_on_another() -> None:
    frame = table(corpora=("a", "b", "c"))
    folds = {fold.name: fold for fold in divide(frame, CLASSES, protocol="pairs")}
    assert list(folds) == ["a-to-b", "a-to-c", "b-to-a", "b-to-c", "c-to-a", "c-to-b"]
    corpora = frame["corpus"].to_numpy()
    for name, fold in folds.items():
        trained, tested = name.split("-to-")
        assert set(corpora[fold.test]) == {tested}
        assert len(fold.test) == (corpora == tested).sum()
        assert set(corpora[np.concatenate([fold.train, fold.validation])]) == {trained}
    with pytest.raises(BadInput, match="there is one: a"):
        divide(table(corpora=("a",)), CLASSES, protocol="pairs")


def test_unlabelled_clips_of_a_given_part_train_nothing() -> None:
    frame = table()
    frame["split"] = by_speaker(frame, {s: "test" if s > 5 else "train" for s in range(8)})
    extra = frame.iloc[[0, -1]].assign(
        id=["u/0", "u/1"], label="", speaker=["u/0", "u/1"], audio=["u0", "u1"]
    )
    free = extra.assign(id=["u/2", "u/3"], speaker=["u/2", "u/3"], split="", audio=["u2", "u3"])
    whole = pd.concat([frame, extra, free], ignore_index=True)
    (fold,) = divide(whole, CLASSES, protocol="split")
    assert ids(whole, fold.unlabelled) == {"u/0", "u/2", "u/3"}, "u/0 is of the training part"


def test_a_leak_into_a_given_validation_part_is_told() -> None:
    frame = table()
    names = {s: "dev" if s == 5 else "test" if s > 5 else "train" for s in range(8)}
    frame["split"] = by_speaker(frame, names)
    frame.loc[0, "split"] = "dev"
    folds = divide(frame, CLASSES, protocol="split")
    (note,) = sides(folds, frame, frame["split"].to_numpy(dtype=str))
    assert "1 validation speakers (fold test; first: c/0) are in training too" in note
    assert "c/0-0" in ids(frame, folds[0].validation)


def test_validation_by_a_second_column_and_clips_that_no_fold_tests() -> None:
    frame = table(speakers=6)
    frame["fold"] = by_speaker(frame, dict(enumerate(["1", "1", "2", "2", "", ""])))
    with pytest.raises(BadInput, match="validation=column reads a column 'validation'"):
        divide(frame, CLASSES, protocol="column", validation="column")
    frame["validation"] = by_speaker(frame, dict(enumerate(["2", "", "1", "", "1;2", ""])))
    one, two = divide(frame, CLASSES, protocol="column", validation="column")
    who = frame["speaker"].str[-1].to_numpy()
    parts = [
        {part: set(who[getattr(fold, part)]) for part in ("train", "validation", "test")}
        for fold in (one, two)
    ]
    assert parts[0] == {"train": {"3", "5"}, "validation": {"2", "4"}, "test": {"0", "1"}}
    assert parts[1] == {"train": {"1", "5"}, "validation": {"0", "4"}, "test": {"2", "3"}}


def test_folds_follow_each_other_as_numbers_do() -> None:
    frame = table(speakers=12)
    frame["fold"] = by_speaker(frame, {s: f"fold_{s + 1}" for s in range(12)})
    folds = divide(frame, CLASSES, protocol="column")
    assert [fold.name for fold in folds] == [f"fold_{n}" for n in range(1, 13)]
    assert folds[8].val_groups == {"fold_10"}


def test_parts_of_one_training_are_tested_with_one_network() -> None:
    frame = table(corpora=("a", "b", "c"))
    folds = divide(frame, CLASSES, protocol="pairs")
    assert [fold.drawn_as for fold in folds] == ["a", "a", "b", "b", "c", "c"]
    frame["split"] = by_speaker(frame, {s: f"test{s}" if s > 5 else "train" for s in range(8)})
    one, two = divide(frame, CLASSES, protocol="split")
    assert one.drawn_as == two.drawn_as != ""
    assert one.train.tolist() == two.train.tolist()
    assert one.validation.tolist() == two.validation.tolist()
