"""Speech in a page: what is encoded is what is heard, of a segment its own time alone."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
from numpy.typing import NDArray

from raysearch.data.corpora.places import segment
from raysearch.report.sounds import LONGEST, Codec, sounds_of


def samples_of(data: bytes) -> NDArray[np.float64]:
    samples, rate = soundfile.read(io.BytesIO(data))
    assert rate == 16000
    return samples


def pitch(samples: NDArray[np.float64]) -> float:
    return float(np.abs(np.fft.rfft(samples)).argmax() * 16000 / len(samples))


@pytest.fixture
def table(tmp_path: Path) -> pd.DataFrame:
    """A second of 440 Hz and a second of 880 Hz in one stereo file of 44.1 kHz; one long file."""
    time = np.arange(44100) / 44100
    wave = 0.5 * np.concatenate([np.sin(2 * np.pi * hz * time) for hz in (440, 880)])
    soundfile.write(tmp_path / "two.wav", np.stack([wave, wave], axis=1), 44100)
    soundfile.write(tmp_path / "long.wav", np.zeros(round((LONGEST + 1) * 8000)), 8000)
    rows = [
        ("a", "two.wav", ""),
        ("a@0-1", "two.wav", segment(0, 1.0)),
        ("a@1-", "two.wav", segment(1.0, None)),
        ("long", "long.wav", ""),
        ("absent", "absent.wav", ""),
    ]
    table = pd.DataFrame(rows, columns=["id", "path", "part"])
    return table.assign(path=[str(tmp_path / name) for name in table["path"]])


@pytest.mark.parametrize(("codec", "form"), [("opus", "OGG"), ("flac", "FLAC")])
def test_a_segment_plays_its_own_time_alone(table: pd.DataFrame, codec: Codec, form: str) -> None:
    sounds = sounds_of(table, ["a", "a@0-1", "a@1-"], codec)
    assert soundfile.info(io.BytesIO(sounds["a"].data)).format == form
    assert len(samples_of(sounds["a"].data)) == pytest.approx(32000, abs=2)
    for clip, hz in (("a@0-1", 440), ("a@1-", 880)):
        samples = samples_of(sounds[clip].data)
        assert len(samples) == pytest.approx(16000, abs=2)
        assert pitch(samples) == pytest.approx(hz, abs=2)
        assert np.abs(samples).max() == pytest.approx(0.5, abs=0.05)


def test_long_clips_end_early_and_those_that_cannot_be_read_are_left_out(
    table: pd.DataFrame,
) -> None:
    sounds = sounds_of(table, ["long", "absent", "of no corpus", "a"], "flac")
    assert list(sounds) == ["a", "long"]
    assert sounds["long"].cut
    assert not sounds["a"].cut
    assert len(samples_of(sounds["long"].data)) == round(LONGEST * 16000)
