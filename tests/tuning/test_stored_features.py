"""A worker keeps normalised features of arrays that nobody can change, and of no others."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Literal

import numpy as np
import pandas as pd
import pytest

from raysearch.stages import Call, Dataset, Runtime, inputs_of, normalising
from raysearch.stages.folds import divide
from trainables.stage import PARTS

CLASSES = ("angry", "sad")


def dataset(normalise: Literal["fold", "speaker"] = "fold", seed: int = 0) -> Dataset:
    """5 speakers x 6 clips of 4 features, in arrays that cannot be written, as Ray hands them."""
    n = 30
    who = np.arange(n) % 5
    table = pd.DataFrame(
        {
            "id": [f"clip-{i}" for i in range(n)],
            "label": [CLASSES[i // 5 % 2] for i in range(n)],
            "speaker": [f"s{i}" for i in who],
            "session": "",
            "corpus": "mine",
            "audio": [f"{i:064d}" for i in range(n)],
        }
    )
    x = np.random.default_rng(seed).normal(size=(n, 4)).astype(np.float32)
    x.flags.writeable = False
    return Dataset(
        ids=table["id"].to_numpy(dtype=str),
        x=x,
        y=(np.arange(n) // 5 % 2).astype(np.int64),
        votes=None,
        speaker=who.astype(np.int64),
        corpus=np.zeros(n, dtype=np.int64),
        classes=CLASSES,
        folds=divide(table, CLASSES),
        normalise=normalise,
        speaker_clips=(2,) if normalise == "speaker" else (),
    )


def parts(data: Dataset, fold: int) -> list[np.ndarray]:
    call = Call("k" * 64, "student", "m:f", {}, {}, fold, PARTS, 0)
    made = inputs_of(call, data, (), Runtime())
    return [getattr(made, part).x for part in PARTS]


def changeable(data: Dataset) -> Dataset:
    return replace(data, x=data.x.copy())


@pytest.fixture(autouse=True)
def empty() -> Iterator[None]:
    normalising._rows.clear()
    yield
    normalising._rows.clear()


@pytest.mark.parametrize("normalise", ["fold", "speaker"])
def test_kept_features_are_the_same_to_the_last_bit(normalise: Literal["fold", "speaker"]) -> None:
    data = dataset(normalise)
    for fold in (0, 1, 0, 4, 1):
        plain = parts(changeable(data), fold)
        for kept, made in zip(parts(data, fold), plain, strict=True):
            np.testing.assert_array_equal(kept, made)
            assert kept.dtype == np.float32
    assert len(normalising._rows) == (3 if normalise == "fold" else 1)


def test_what_a_stage_writes_into_its_arrays_reaches_no_other() -> None:
    data = dataset()
    before = [x.copy() for x in parts(data, 0)]
    for x in parts(data, 0):
        x[:] = 7.0
    for x, first in zip(parts(data, 0), before, strict=True):
        np.testing.assert_array_equal(x, first)


def test_arrays_that_can_change_are_never_kept() -> None:
    data = changeable(dataset())
    first = parts(data, 0)[0]
    data.x[:] *= 3.0
    data.x[:, 0] += np.arange(len(data.x))
    assert not np.array_equal(parts(data, 0)[0], first)
    assert not normalising._rows


def test_two_datasets_are_told_apart() -> None:
    one, two = dataset(seed=1), dataset(seed=2)
    assert not np.array_equal(parts(one, 0)[0], parts(two, 0)[0])


def test_no_more_is_kept_than_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    data = dataset()
    monkeypatch.setattr(normalising, "_BYTES", 2 * data.x.nbytes)
    for fold in range(5):
        parts(data, fold)
    assert [fold for _, fold in normalising._rows] == [3, 4]
    monkeypatch.setattr(normalising, "_BYTES", data.x.nbytes - 1)
    normalising._rows.clear()
    parts(data, 0)
    assert not normalising._rows
