"""Fixtures that every area shares."""

from __future__ import annotations

import csv
import gc
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real speech beside the checkout; tests that need it skip where it is absent."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"needs the real speech in {folder}, which is not here")
    return folder


@pytest.fixture
def no_collection() -> Iterator[None]:
    """No garbage is collected meanwhile. CPython 3.11's parser gives a SystemError where a
    finaliser that a collection runs in the middle of it parses too, as one does whose error is
    told with a traceback."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.fixture(scope="session")
def tones(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A manifest of 5 speakers x 12 clips in 3 classes that differ in pitch and loudness."""
    folder = tmp_path_factory.mktemp("tones")
    rng = np.random.default_rng(0)
    time = np.arange(int(0.6 * 16000)) / 16000
    with open(folder / "manifest.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["file", "label", "speaker"])
        for speaker in range(5):
            for clip in range(12):
                label = ("angry", "neutral", "sad")[clip % 3]
                pitch = 120 + 20 * speaker + {"angry": 60, "neutral": 20, "sad": 0}[label]
                pitch += rng.normal(0, 20)
                wave = np.sin(2 * np.pi * np.cumsum(np.full_like(time, pitch)) / 16000)
                wave = 0.3 * np.sign(wave) * np.abs(wave) ** 0.5
                wave *= {"angry": 1.0, "neutral": 0.6, "sad": 0.4}[label] * rng.uniform(0.6, 1.2)
                wave += rng.normal(0, 0.01, len(time))
                name = f"s{speaker}_{clip:02d}.wav"
                soundfile.write(folder / name, wave.astype(np.float32), 16000, subtype="PCM_16")
                writer.writerow([name, label, f"s{speaker}"])
    return folder
