"""emobase-frames: openSMILE's descriptors on 60 ms, and deltas that are its own."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from raysearch.data.features import known
from raysearch.data.features.smile import delta

RATE = 16_000


def noise(seconds: float) -> np.ndarray:
    rng = np.random.default_rng(0)
    time = np.arange(round(seconds * RATE)) / RATE
    tone = 0.3 * np.sin(2 * np.pi * 150 * time) * (1 + np.sin(2 * np.pi * 3 * time))
    return (tone + rng.normal(0, 0.01, len(time))).astype(np.float32)


def test_there_are_45_columns_every_10_ms() -> None:
    info = known()["emobase-frames"]
    frames = info.extract(noise(1.0))
    names = info.columns(frames.shape[1])
    assert frames.dtype == np.float32
    assert frames.shape[1] == info.dims == len(names) == len(set(names)) == 45
    assert abs(len(frames) - 95) <= 2  # 1 s less a window, in steps of 10 ms
    assert sum(name.endswith("_de_de") for name in names) == 13
    assert not any("_de" in name for name in names[:16])
    assert info.kind == "frames"
    assert "0.060" in info.version()
    np.testing.assert_array_equal(frames, info.extract(noise(1.0)))
    found = delta(frames[:, :16].astype(np.float64))
    np.testing.assert_allclose(frames[:, 16:32], found, atol=1e-3)


def test_the_pitch_is_that_of_the_pulses() -> None:
    pulses = (np.arange(RATE) % 107 == 0) * 0.5
    voice = np.convolve(pulses, np.exp(-np.arange(60) / 10))[:RATE].astype(np.float32)
    info = known()["emobase-frames"]
    f0 = info.extract(voice)[:, info.columns(45).index("F0_sma")]
    assert abs(np.median(f0[f0 > 0]) - RATE / 107) < 1


def smile(level: str) -> Any:
    opensmile = pytest.importorskip("opensmile")
    frames = opensmile.Smile(
        feature_set=opensmile.FeatureSet.emobase,
        feature_level=opensmile.FeatureLevel[level],
    ).process_signal(noise(1.0), RATE)
    return frames.to_numpy(dtype=np.float64)


def test_deltas_are_opensmiles_own() -> None:
    base, wanted = smile("LowLevelDescriptors"), smile("LowLevelDescriptors_Deltas")
    found = delta(base)
    # openSMILE runs on for two frames beyond the last
    np.testing.assert_allclose(found, wanted[: len(found)], rtol=1e-4, atol=1e-4)


def test_the_delta_of_a_line_is_its_slope_and_of_a_constant_nothing() -> None:
    line = np.arange(9.0)[:, None] * [2.0, 0.0] + 1
    np.testing.assert_allclose(delta(line)[2:-2], [[2.0, 0.0]] * 5)
    np.testing.assert_allclose(delta(np.ones((1, 3))), 0)


def test_a_window_reads_60_ms() -> None:
    """A click is heard by the six windows of 60 ms that hold it, and by the smoothing's two."""
    samples = np.zeros(RATE, np.float32)
    samples[8000] = 0.9
    info = known()["emobase-frames"]
    mfcc = info.extract(samples)[:, info.columns(45).index("mfcc_sma[1]")]
    assert np.flatnonzero(mfcc).tolist() == list(range(44, 52))
    with pytest.raises(ValueError, match="less than one window of 960"):
        info.extract(samples[:900])
