"""Log-mel magnitudes, against plain NumPy, and against the counts of the paper that uses them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from raysearch.data.features import known
from raysearch.data.features.extract import read_samples
from raysearch.data.features.magnitude import mel_matrix


def plain(samples: np.ndarray) -> np.ndarray:
    """float64 [L, 64]: frames of 400 samples every 160, a periodic Hann window, 512 points."""
    wide = samples.astype(np.float64)
    if len(wide) < 400:
        wide = np.pad(wide, (0, 400 - len(wide)))
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 400)
    count = 1 + (len(wide) - 400) // 160
    frames = np.stack([wide[160 * i : 160 * i + 400] * window for i in range(count)])
    bins = np.abs(np.fft.rfft(frames, 512))
    mel = [1127 * np.log(1 + f / 700) for f in (125.0, 7500.0)]
    edges = np.linspace(mel[0], mel[1], 66)
    bands = np.zeros((count, 64))
    for k in range(64):
        low, centre, high = edges[k : k + 3]
        for b in range(1, 257):
            at = 1127 * np.log(1 + b * 31.25 / 700)
            if low < at < high:
                side = (at - low) / (centre - low) if at < centre else (high - at) / (high - centre)
                bands[:, k] += side * bins[:, b]
    return np.log(bands + 0.01)


@pytest.mark.parametrize("length", [100, 400, 559, 560, 16_000])
def test_log_mel_magnitudes(length: int) -> None:
    rng = np.random.default_rng(0)
    time = np.arange(length) / 16_000
    tone = 0.3 * np.sin(2 * np.pi * (200 + 900 * time) * time)
    samples = (tone + rng.normal(0, 0.01, length)).astype(np.float32)
    found = known()["logmel64"].extract(samples)
    assert found.dtype == np.float32
    assert found.shape == (max(1, 1 + (length - 400) // 160), 64)
    np.testing.assert_allclose(found, plain(samples), atol=2e-3)


def test_silence_is_the_logarithm_of_the_offset() -> None:
    quiet = known()["logmel64"].extract(np.zeros(3200, np.float32))
    np.testing.assert_allclose(quiet, np.log(0.01), rtol=1e-6)


def test_which_bands_hear_something() -> None:
    """Bins are 31.25 Hz apart and the lowest triangles 58 Hz wide: each holds a bin all the same"""
    assert (mel_matrix().sum(axis=0) > 0).all()
    assert not mel_matrix()[0].any()


@pytest.mark.slow
def test_emodb_has_the_papers_131_053_segments(shared_data: Path) -> None:
    """Mao et al. 2021, section VI: segments of 32 frames every 10 ms."""
    total = 0
    for path in (shared_data / "emodb" / "wav").iterdir():
        frames = 1 + (len(read_samples(path.read_bytes())) - 400) // 160
        total += max(0, frames - 32) + 1
    assert total == 131_053
