"""Deep self-learning: targets by iteration, what leaks in which mode, and which stages are shared."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from raysearch import stages
from raysearch.folds import divide
from trainables import segments, self_learning
from trainables.self_learning import METHOD
from trainables.stage import Artifact, Node, Part, Sequences, StageInputs

K, SPEAKERS, CLIPS, BANDS = 3, 4, 36, 32
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


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@cache
def dataset(protocol: Any = "kfold", folds: int = 3) -> stages.Dataset:
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
        folds=divide(table, CLASSES, protocol=protocol, folds=folds),
        normalise="fold",
        frames=frames,
        moments={name: stages.Moments.of(each) for name, each in frames.items()},
    )


def calls(data: stages.Dataset, fold: int, setting: dict[str, Any]) -> list[stages.Call]:
    where = stages.context(data, [f"audio-{i}" for i in range(CLIPS)], ["logmel64-1"], 0)
    return stages.calls(METHOD, METHOD.resolve(SMALL | setting), fold, where)


def run(
    setting: dict[str, Any],
    data: stages.Dataset | None = None,
    fold: int = 0,
    made: dict[str, Artifact] | None = None,
) -> dict[str, Artifact]:
    """The stages of one fold, by name, and of whichever others it asks for, as a worker runs them;
    `made` keeps them by key."""
    data = data or dataset()
    made = {} if made is None else made
    own = {}
    for call in calls(data, fold, setting):
        if call.key not in made:
            parents, across = call.sorted_out([made[key] for key in call.needs])
            made[call.key] = stages.execute(call, data, parents, stages.Runtime(), across=across)
            json.dumps(made[call.key].info, allow_nan=False)
        if call.fold == fold:
            own[call.name] = made[call.key]
    return own


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
    made = run(setting)["utterance"]
    for name, n in (("validation", len(data.folds[0].validation)), ("test", len(data.folds[0].test))):
        assert made.arrays[name].shape == (n, K)
        np.testing.assert_allclose(made.arrays[name].sum(axis=1), 1, rtol=1e-5)
    curves = made.info["curves"]
    assert {"loss", "validation_ua", "validation_wa", "lr"} <= set(curves)
    assert len(curves["loss"]) == made.info["epochs"]
