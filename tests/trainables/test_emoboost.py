"""The method: what a setting asks for, what its padding does to a clip, and that it trains."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.contracts.method_contract import CanonicalContract, Case, Effect, TrainedContract
from trainables import emoboost, guide_clips
from trainables.emoboost import METHOD
from trainables.stage import Artifact, Node, Part, Sequences

pytestmark = pytest.mark.usefixtures("one_thread")

K = 3
RATE, HOP = 16_000, 160
SECOND = RATE
SMALL = {
    "ssl": "tiny",
    "width": 1 / 16,
    "lr": 1e-2,
    "epochs": 2,
    "batch": 8,
    "longest": 0.5,
    "shortest": 0.1,
    "mask_time": 0.0,
}
NAMES = ("wave", "mfcc40-htk", "spectrogram-db")


def sequences(rows: list[np.ndarray]) -> Sequences:
    return Sequences(np.concatenate(rows), np.cumsum([0, *map(len, rows)]).astype(np.int64))


def clips(
    seconds: list[float], y: np.ndarray | None, seed: int = 0, names: tuple[str, ...] = NAMES
) -> Part:
    """Noises whose spectrogram tells the class, in the sets that the method reads."""
    rng = np.random.default_rng(seed)
    n = len(seconds)
    of = np.zeros(n, int) if y is None else y
    waves = [rng.normal(size=round(s * RATE)).astype(np.float32) for s in seconds]
    counts = [1 + len(w) // HOP for w in waves]
    mfcc = [rng.normal(size=(c, 4)).astype(np.float32) for c in counts]
    decibels = [rng.uniform(-80, -50, (c, 200)).astype(np.float32) for c in counts]
    for row, values in enumerate(decibels):
        values[:, 60 * of[row] : 60 * of[row] + 60] = -1.0
    streams = dict(zip(NAMES, map(sequences, (waves, mfcc, decibels)), strict=True))
    return Part(
        ids=np.array([f"{seed}-{i}" for i in range(n)], dtype=str),
        x=np.zeros((n, 0), np.float32),
        speaker=np.arange(n) % 2,
        corpus=np.zeros(n, np.int64),
        y=y,
        frames={name: streams[name] for name in names},
    )


def parts(**changes: Part) -> dict[str, Part]:
    rng = np.random.default_rng(7)

    def lengths(n: int) -> list[float]:
        return rng.uniform(0.2, 0.9, n).tolist()

    nothing = clips([0.3], None).take(np.zeros(0, np.int64))
    return {
        "train": clips(lengths(18), np.arange(18) % K, 0),
        "validation": clips(lengths(9), np.arange(9) % K, 1),
        "test": clips(lengths(6), None, 2),
        "unlabelled": nothing,
        "undecided": nothing,
    } | changes


EFFECTS = (
    Effect("attention", {"guidance": "none"}, {"guidance": "mfcc"}),
    Effect("attention", {"arch": "ca_mser"}, {}),
    Effect("enhance_relu", {"arch": "ca_mser"}, {}),
    Effect("guidance", {"arch": "ca_mser"}, {}),
    Effect("width", {"guidance": "none"}, {}),
    Effect("dropout", {"guidance": "none"}, {"arch": "ca_mser"}),
    Effect("lstm_dropout", {"guidance": "spectrogram"}, {"guidance": "mfcc"}),
    Effect("mfcc_norm", {"guidance": "spectrogram"}, {"arch": "ca_mser"}),
    Effect("alexnet", {"guidance": "mfcc"}, {"guidance": "spectrogram"}, ("a/b", "c/d")),
    Effect("alexnet_revision", {}, {"alexnet": "a/b"}, ("x", "y")),
    Effect("image_norm", {"guidance": "none"}, {}),
    Effect("spectrogram_range", {"guidance": "mfcc"}, {}),
    Effect("shortest", {"tail": "pad"}, {"tail": "merge"}),
    Effect("tail", {"compat": "ca_mser"}, {}),
    Effect("padding", {"compat": "ca_mser"}, {"guidance": "none"}),
    Effect("smoothing", {}, {"strategy": "label_smoothing"}),
    Effect("target_norm", {}, {"strategy": "multi_label"}),
    Effect("ssl_revision", {}, {"ssl": "a/b"}, ("x", "y")),
    Effect("mask_time", {"ssl_train": "none"}, {}),
)
CASE = Case(
    METHOD,
    parts,
    SMALL | {"mask_time": 0.2},
    EFFECTS,
    emoboost.canonical,
    models=({"arch": "ca_mser"}, {"guidance": "none"}),
)


class TestEmoboostContract(CanonicalContract, TrainedContract):
    @pytest.fixture
    def case(self) -> Case:
        return CASE


def node(**setting: Any) -> Node:
    (only,) = METHOD.graph(METHOD.resolve(SMALL | setting))
    return only


def run(given: dict[str, Part] | None = None, **setting: Any) -> Artifact:
    return CASE.run(SMALL | setting, given)["fit"]


def key(**setting: Any) -> str:
    only = node(**setting)
    return json.dumps([sorted(only.parts), dict(only.params)], sort_keys=True)


# What a setting asks for


def test_the_papers_ablations_are_as_many_trainings() -> None:
    """Guidance x attention x encoder: attention matters only where something guides."""
    grid = {
        key(guidance=guidance, attention=attention, ssl=ssl)
        for guidance in ("none", "mfcc", "spectrogram", "both")
        for attention in (True, False)
        for ssl in ("a/base", "a/large")
    }
    assert len(grid) == 2 * (1 + 3 * 2)
    assert node().parts == ("train", "validation", "test")


def test_weights_count_by_their_content(tmp_path: Path) -> None:
    param = METHOD.params["alexnet"]
    assert "random" in str(param.problem("alexnet", "alexnet"))
    assert "not" in str(param.problem("alexnet", str(tmp_path / "none.pth")))
    file = tmp_path / "alexnet.pth"
    file.write_bytes(b"one")
    assert param.problem("alexnet", str(file)) is None
    assert param.problem("alexnet", "owner/name") is None
    first = node(alexnet=str(file))
    file.write_bytes(b"two and more")
    second = node(alexnet=str(file))
    assert first.params["alexnet_digest"] != second.params["alexnet_digest"]
    with pytest.raises(ValueError, match="other files"):
        guide_clips.network(first.params, K, {"spectrogram": 200})
    elsewhere = tmp_path / "copy.pth"
    elsewhere.write_bytes(b"two and more")
    assert node(alexnet=str(elsewhere)).params["alexnet"] == str(elsewhere)


def test_needs_and_what_is_told() -> None:
    def needs(**setting: Any) -> set[str]:
        return set(METHOD.needs(METHOD.resolve(setting)))

    assert needs() == needs(strategy="label_smoothing") == set()
    assert needs(strategy="soft") == needs(strategy="multi_label") == {"votes"}

    def told(**setting: Any) -> str:
        return " ".join(METHOD.notes(METHOD.resolve(setting)))

    assert "untrained" in told(ssl="tiny")
    assert "untrained" not in told(ssl="a/b")
    assert "AlexNet" in told(ssl="a/b")
    assert "AlexNet" not in told(ssl="a/b", guidance="mfcc")
    assert "AlexNet" in told(guidance="mfcc", arch="ca_mser")
    assert not told(ssl="a/b", alexnet="c/d")


# Cutting and padding (trap 18, and the slips of CA-MSER's public code)


def pieces(seconds: list[float], **setting: Any) -> Any:
    own = node(longest=3.0, shortest=0.5, **setting).params
    return guide_clips.cut(clips(seconds, None), own)


def batch_of(seconds: float, **setting: Any) -> tuple[dict[str, np.ndarray], Part]:
    """The batch of one utterance of one clip, and the utterance."""
    part = clips([seconds], None)
    own = node(longest=3.0, **setting).params
    actual = guide_clips.cut(part, own)
    rows = {name: [actual.streams[name][0]] for name in actual.streams}
    result = guide_clips.collate(rows, own=own, span=(-80.0, 0.0))
    return {name: tensor.numpy()[0] for name, tensor in result.items()}, part


@pytest.mark.parametrize(
    ("seconds", "paper", "merged", "code"),
    [
        (1.0, 1, 1, 1),
        (2.99, 1, 1, 1),
        (3.0, 1, 1, 2),  # 301 frames
        (3.2, 2, 1, 2),
        (3.6, 2, 2, 2),
        (6.0, 2, 2, 3),
        (6.4, 3, 2, 3),
    ],
)
def test_how_many_clips_an_utterance_is(seconds: float, paper: int, merged: int, code: int) -> None:
    """Song et al. 2025: clips of 3 s, a shorter one filled with zeros."""
    assert len(pieces([seconds])) == paper
    assert len(pieces([seconds], tail="merge")) == merged
    assert len(pieces([seconds], compat="ca_mser")) == code
    assert len(pieces([seconds], guidance="none", compat="ca_mser")) == code
    assert set(pieces([seconds], guidance="mfcc").streams) == {"wave", "mfcc"}
    assert set(pieces([seconds], guidance="none").streams) == {"wave"}


def test_a_tiny_tail_does_not_change_a_clip() -> None:
    longer, part = batch_of(3.3)
    assert longer["wave_length"] == 48_000
    np.testing.assert_allclose(longer["wave"], part.frames["wave"].values[:48_000], rtol=1e-6)
    want = part.frames["mfcc40-htk"].values[:300]
    want = want / np.linalg.norm(want, axis=1, keepdims=True)
    np.testing.assert_allclose(longer["mfcc"], want, rtol=1e-5)


@pytest.mark.parametrize("padding", ["masked", "heard"])
def test_streams_are_padded_at_their_end_and_decibels_with_the_floor(padding: str) -> None:
    result, part = batch_of(1.0, padding=padding)
    assert result["wave"].shape == (48_000,)
    assert result["mfcc"].shape == (300, 4)
    assert result["spectrogram"].shape == (300, 200)
    assert result["wave_length"] == (16_000 if padding == "masked" else 48_000)
    np.testing.assert_allclose(result["wave"][:16_000], part.frames["wave"].values, rtol=1e-6)
    assert not result["wave"][16_000:].any()
    assert not result["mfcc"][101:].any()
    np.testing.assert_allclose(np.linalg.norm(result["mfcc"][:101], axis=1), 1, rtol=1e-5)
    assert not result["spectrogram"][101:].any()  # black, the floor
    want = part.frames["spectrogram-db"].values / 80 + 1
    np.testing.assert_allclose(result["spectrogram"][:101], want, atol=1e-5)


def test_compat_pads_as_the_public_code_does() -> None:
    result, part = batch_of(1.0, compat="ca_mser")
    assert result["wave_length"] == 48_000  # all of it is heard
    np.testing.assert_allclose(result["wave"][-16_000:], part.frames["wave"].values, rtol=1e-6)
    assert not result["wave"][:-16_000].any()  # at the front, where the frames are not
    np.testing.assert_array_equal(result["spectrogram"][101:], 1.0)  # 0 dB: as loud as can be
    assert not result["mfcc"][101:].any()
    greys = result["spectrogram"][:101] * 255
    np.testing.assert_allclose(greys, np.rint(greys), atol=1e-4)  # 8 bits
    want = part.frames["spectrogram-db"].values / 80 + 1
    np.testing.assert_allclose(result["spectrogram"][:101], want, atol=0.5 / 255 + 1e-5)


def test_the_extra_clip_of_compat_is_nearly_empty() -> None:
    part = clips([3.0], None)
    own = node(longest=3.0, compat="ca_mser").params
    actual = guide_clips.cut(part, own)
    assert actual.streams["spectrogram"].lengths.tolist() == [300, 1]
    assert actual.streams["wave"].lengths.tolist() == [48_000, 0]
    rows = {name: [actual.streams[name][p] for p in range(2)] for name in actual.streams}
    result = guide_clips.collate(rows, own=own, span=(-80.0, 0.0))
    assert not result["wave"][1].any()
    assert (result["spectrogram"][1, 1:] == 1).all()
    assert actual.clip.tolist() == [0, 0]  # and it votes in full


def test_black_and_white_are_the_training_speakers() -> None:
    """Trap 21: whatever test speakers are like, the range is that of training."""
    loud = clips([0.4] * 6, None, 2)
    loud.frames["spectrogram-db"].values[:] += 500
    first, second = run(epochs=1), run(parts(test=loud), epochs=1)
    values = parts()["train"].frames["spectrogram-db"].values
    want = [float(values.min()), float(values.max())]
    assert first.info["black_white"] == second.info["black_white"] == want
    np.testing.assert_array_equal(first.arrays["validation"], second.arrays["validation"])
    assert run(epochs=1, spectrogram_range="fixed").info["black_white"] == [-80.0, 0.0]
    assert "black_white" not in run(epochs=1, guidance="mfcc").info


def test_missing_frames_are_told() -> None:
    def with_frames(frames: Callable[[Part], dict[str, Sequences]]) -> dict[str, Part]:
        return parts(
            **{
                name: replace(part, frames=frames(part))
                for name, part in parts().items()
                if len(part)
            }
        )

    def bare(*names: str) -> dict[str, Part]:
        return with_frames(lambda part: {name: part.frames[name] for name in names})

    with pytest.raises(ValueError, match="kind mfcc"):
        run(bare("wave", "spectrogram-db"))
    with pytest.raises(ValueError, match="name it among"):
        run(bare("mfcc40-htk", "spectrogram-db"))
    with pytest.raises(ValueError, match="kind spectrogram"):
        run(bare("wave"), guidance="none", compat="ca_mser")
    assert run(bare("wave"), guidance="none", epochs=1).arrays
    other = with_frames(lambda p: {**p.frames, "spectrogram": p.frames["spectrogram-db"]})
    with pytest.raises(ValueError, match="one feature set of the kind spectrogram"):
        run(other)
    other = with_frames(
        lambda p: {
            "wave": p.frames["wave"],
            "mfcc40-htk": p.frames["mfcc40-htk"],
            "spectrogram": p.frames["spectrogram-db"],
        }
    )
    with pytest.raises(ValueError, match="decibels"):
        run(other, compat="ca_mser")
    assert run(other, epochs=1).arrays
    with pytest.raises(ValueError, match="votes=simulate"):
        run(strategy="soft")


# That it trains


@pytest.mark.parametrize(
    "setting",
    [
        {"guidance": "none", "clip_score": "mean_log"},
        {"guidance": "mfcc", "attention": False, "enhance_relu": True, "mfcc_norm": "given"},
        {"guidance": "spectrogram"},
        {"guidance": "both", "strategy": "label_smoothing", "class_weight": "inverse"},
        {"arch": "ca_mser", "ssl_train": "none", "epochs": 10, "patience": 10, "lr": 5e-3},
        {"arch": "ca_mser", "compat": "ca_mser"},
        {"ssl_train": "transformer", "precision": "bf16", "accumulate": 2, "padding": "heard",
         "image_norm": "none", "tail": "pad", "layerdrop": 0.2, "mask_time": 0.2},
    ],
)  # fmt: skip
def test_it_trains(setting: dict[str, Any]) -> None:
    result = run(**setting)
    for name, n in (("validation", 9), ("test", 6)):
        assert result.arrays[name].shape == (n, K)
        np.testing.assert_allclose(result.arrays[name].sum(1), 1, rtol=1e-4)
    assert result.info["weights"] == "tiny, untrained"
    assert result.info["utterances"] == 18
    assert result.info["clips"] > 18
    reads_spectrogram = setting.get("guidance") not in ("none", "mfcc")
    assert ("alexnet" in result.info) == reads_spectrogram
    if result.info["epochs"] > 2:
        assert result.info["best_validation_ua"] > 0.8  # the spectrogram tells the class


def test_votes_are_learnt_from() -> None:
    train = parts()["train"]
    votes = np.eye(K, dtype=np.float32)[train.y] * 2 + 1
    votes[4] = 0
    result = run(parts(train=replace(train, votes=votes)), strategy="soft", epochs=1)
    assert result.info["dropped"] == 1
    assert result.info["utterances"] == 17
