"""Frames from the short-time Fourier transform, against plain NumPy and SciPy."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.fft import dct

from raysearch.data.features import known

RATE, WINDOW, HOP = 16_000, 640, 160


def sound(length: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    time = np.arange(length) / RATE
    tone = 0.3 * np.sin(2 * np.pi * (200 + 900 * time) * time)
    return (tone + rng.normal(0, 0.01, length)).astype(np.float32)


def power(samples: np.ndarray, points: int) -> np.ndarray:
    """float64 [L, points // 2 + 1]: frame i is about sample 160 i, ends mirrored."""
    window = np.zeros(points)
    left = (points - WINDOW) // 2
    window[left : left + WINDOW] = 0.54 - 0.46 * np.cos(2 * np.pi * np.arange(WINDOW) / WINDOW)
    wide = np.pad(samples.astype(np.float64), points // 2, mode="reflect")
    count = 1 + len(samples) // HOP
    frames = np.stack([wide[i * HOP : i * HOP + points] * window for i in range(count)])
    return np.abs(np.fft.rfft(frames)) ** 2


def triangles(points: int = WINDOW, bands: int = 40, area: bool = False) -> np.ndarray:
    """float64 [points // 2 + 1, bands]: of height 1, or of area 1"""
    top = 2595 * np.log10(1 + 8000 / 700)
    edges = 700 * (10 ** (np.linspace(0, top, bands + 2) / 2595) - 1)
    at = np.arange(points // 2 + 1) * RATE / points
    up = (at[:, None] - edges[:-2]) / np.diff(edges)[:-1]
    down = (edges[2:] - at[:, None]) / np.diff(edges)[1:]
    heights = 2 / (edges[2:] - edges[:-2]) if area else np.ones(bands)
    return np.clip(np.minimum(up, down), 0, None) * heights


@pytest.mark.parametrize("length", [1600, 16_000, 16_159, 16_160, 40_001])
def test_log_mel_energies(length: int) -> None:
    samples = sound(length)
    found = known()["logmel40"].extract(samples)
    assert found.dtype == np.float32
    assert found.shape == (1 + length // 160, 40)
    wanted = np.log(np.maximum(power(samples, WINDOW) @ triangles(), 1e-10))
    # float32 against float64
    np.testing.assert_allclose(found, wanted, atol=2e-3)


def test_every_triangle_hears_something() -> None:
    assert (triangles().sum(axis=0) > 0).all()
    quiet = known()["logmel40"].extract(np.zeros(3200, np.float32))
    np.testing.assert_allclose(quiet, np.log(1e-10), rtol=1e-6)


def test_mfcc_are_the_cosine_transform_of_the_log_mel_energies() -> None:
    samples = sound(20_000)
    logmel = known()["logmel40"].extract(samples)
    found = known()["mfcc40"].extract(samples)
    np.testing.assert_allclose(found, dct(logmel, type=2, norm="ortho", axis=1), atol=2e-4)


def test_the_spectrogram_is_relative_to_the_clips_maximum() -> None:
    samples = sound(20_000)
    found = known()["spectrogram"].extract(samples)
    assert found.shape == (126, 200)
    energy = power(samples, 800)
    wanted = np.maximum(10 * np.log10(energy / energy.max()), -80)[:, :200]
    np.testing.assert_allclose(found, wanted, atol=2e-2)
    assert -80 <= found.min() < -40
    np.testing.assert_allclose(found, known()["spectrogram"].extract(samples / 8), atol=2e-2)


@pytest.mark.parametrize("length", [1600, 16_000, 40_001])
def test_mfcc_in_htk_style_are_librosas(length: int) -> None:
    """librosa.feature.mfcc(n_mfcc=40, htk=True, hop_length=160) of the pre-emphasised wave."""
    samples = sound(length)
    found = known()["mfcc40-htk"].extract(samples)
    assert found.shape == (1 + length // 160, 40)
    clear = np.append(samples[:1], samples[1:] - 0.97 * samples[:-1]).astype(np.float64)
    wide = np.pad(clear, 1024)
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(2048) / 2048)
    frames = [wide[i * HOP : i * HOP + 2048] * window for i in range(1 + length // HOP)]
    energy = np.abs(np.fft.rfft(np.stack(frames))) ** 2 @ triangles(2048, 128, area=True)
    decibels = 10 * np.log10(np.maximum(energy, 1e-10))
    decibels = np.maximum(decibels, decibels.max() - 80)
    wanted = dct(decibels, type=2, norm="ortho", axis=1)[:, :40]
    np.testing.assert_allclose(found, wanted, atol=5e-3)  # float32 against float64, up to 300


def test_the_spectrogram_in_decibels_is_of_the_pre_emphasised_wave() -> None:
    samples = sound(20_000)
    clear = np.append(samples[:1], samples[1:] - np.float32(0.97) * samples[:-1])
    found = known()["spectrogram-db"].extract(samples)
    np.testing.assert_array_equal(found, known()["spectrogram"].extract(clear))
    assert found.max() <= 0
    for name in ("mfcc40-htk", "spectrogram-db"):
        assert not known()[name].normalise
    assert known()["spectrogram"].normalise


def test_the_wave_of_a_16_bit_file_is_kept_exactly() -> None:
    rng = np.random.default_rng(0)
    values = np.concatenate([[-32768, 32767, 0, -1], rng.integers(-32768, 32768, 3000)])
    found = known()["wave"].extract((values / 32768).astype(np.float32))
    assert found.dtype == np.int16
    assert found.tolist() == values.tolist()
    loud = known()["wave"].extract(np.array([1.5, -1.5], np.float32))
    assert loud.tolist() == [32767, -32768]


@pytest.mark.slow
def test_only_a_compiled_part_that_fails_is_replaced(tmp_path: Path) -> None:
    broken = tmp_path / "torchaudio"
    broken.mkdir()
    (broken / "__init__.py").write_text("from . import _extension\nfine = True\n")
    (broken / "_extension.py").write_text("raise OSError('no such library')\n")
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from trainables.pure_torchaudio import prepare\n"
        "module = prepare(); assert module.fine\n"
        "assert not sys.modules['torchaudio._extension']._IS_TORCHAUDIO_EXT_AVAILABLE\n"
        "assert 'torch' not in sys.modules and prepare() is module\n"
    )
    root = Path(__file__).resolve().parents[2]
    command = [sys.executable, "-c", code, str(tmp_path)]
    subprocess.run(command, check=True, cwd=root)
    (broken / "_extension.py").write_text("mine = 1\n")
    healthy = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from trainables.pure_torchaudio import prepare\n"
        "assert prepare()._extension.mine == 1\n"
    )
    subprocess.run([sys.executable, "-c", healthy, str(tmp_path)], check=True, cwd=root)
