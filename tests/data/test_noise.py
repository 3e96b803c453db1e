"""Noise at a stated ratio: what is mixed in, how loud, and that it hangs on the clip alone."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
import soundfile
from scipy import signal

from raysearch.data.features.extract import RATE, read_samples
from raysearch.data.noise import (
    BABBLE,
    PINK,
    NoisyClip,
    Recording,
    Talkers,
    draws,
    mixed,
    named,
    pink,
    speech_power,
)
from raysearch.errors import BadInput


def written(path: Path, samples: np.ndarray) -> Recording:
    soundfile.write(path, samples.astype(np.float32), RATE, subtype="FLOAT")
    return Recording(hashlib.sha256(path.read_bytes()).hexdigest(), str(path))


def tone(seconds: float, hertz: float = 220.0, level: float = 0.1) -> np.ndarray:
    time = np.arange(round(seconds * RATE)) / RATE
    return (level * np.sin(2 * np.pi * hertz * time)).astype(np.float32)


def test_pink_noise_falls_by_three_decibels_an_octave() -> None:
    noise = pink(20 * RATE, np.random.default_rng(0))
    frequency, power = signal.welch(noise, RATE, nperseg=8192)
    some = (frequency >= 50) & (frequency <= 7000)
    slope = np.polyfit(np.log2(frequency[some]), 10 * np.log10(power[some]), 1)[0]
    assert slope == pytest.approx(-10 * np.log10(2), abs=0.1)
    # below 20 Hz there is nothing that could be heard
    low = np.abs(np.fft.rfft(pink(1 << 15, np.random.default_rng(1)))) ** 2
    assert low[np.fft.rfftfreq(1 << 15, 1 / RATE) < 20].sum() < 1e-6 * low.sum()


@pytest.mark.parametrize("snr", [20.0, 0.0, -5.0])
def test_the_ratio_is_of_the_speech_and_not_of_its_pauses(snr: float) -> None:
    clean = np.concatenate([tone(1.0), np.zeros(3 * RATE, np.float32)])
    noise = np.random.default_rng(0).normal(size=len(clean)).astype(np.float32)
    mix = mixed(clean, noise, snr)
    # by hand: a sine of height 0.1 has the power 0.005, whatever silence follows it
    scale = mix[RATE:].std() / noise[RATE:].std()  # nothing but noise there
    assert speech_power(clean) == pytest.approx(0.005, rel=1e-3)
    peak = np.abs(clean + scale * noise).max()
    loss = np.abs(mix).max() / peak  # of what was made quieter as a whole
    assert loss == pytest.approx(1.0, abs=1e-5)
    ratio = 10 * np.log10(0.005 / np.mean((scale * noise) ** 2))
    assert ratio == pytest.approx(snr, abs=0.05)


def test_what_would_clip_is_made_quieter_as_a_whole() -> None:
    clean, noise = tone(1.0, level=0.9), pink(RATE, np.random.default_rng(0))
    mix = mixed(clean, noise, 0.0)
    assert np.abs(mix).max() == pytest.approx(1.0)
    # the mix is a sum of the two still: what is left of it beside them is nothing
    both = np.stack([clean, noise], axis=1).astype(np.float64)
    parts, rest, *_ = np.linalg.lstsq(both, mix.astype(np.float64), rcond=None)
    assert rest[0] < 1e-9
    power = parts**2 * [speech_power(clean), np.mean(noise.astype(np.float64) ** 2)]
    assert power[0] == pytest.approx(power[1], rel=1e-4)


def test_silence_stays_silent_and_silent_noise_is_refused() -> None:
    silence = np.zeros(RATE, np.float32)
    assert not mixed(silence, tone(1.0), 0.0).any()
    with pytest.raises(ValueError, match="silent"):
        mixed(tone(1.0), silence, 0.0)


def test_a_clips_noise_hangs_on_its_content_and_not_on_the_ratio(tmp_path: Path) -> None:
    clip = written(tmp_path / "a.wav", tone(0.5))
    (tmp_path / "b").mkdir()
    moved = written(tmp_path / "b" / "c.wav", tone(0.5))
    noise = {snr: NoisyClip(clip, PINK, snr) for snr in (20.0, 0.0)}
    again = NoisyClip(moved, PINK, 20.0)
    assert again.digest == noise[20.0].digest != noise[0.0].digest
    assert np.array_equal(again.samples(), noise[20.0].samples())
    loud, quiet = (noise[snr].samples() - tone(0.5) for snr in (0.0, 20.0))
    assert np.corrcoef(loud, quiet)[0, 1] > 0.9999
    assert loud.std() / quiet.std() == pytest.approx(10.0, rel=1e-3)
    other = written(tmp_path / "d.wav", tone(0.5, 300.0))
    far = NoisyClip(other, PINK, 20.0).samples() - tone(0.5, 300.0)
    assert abs(np.corrcoef(quiet, far)[0, 1]) < 0.2
    # the sound that an extractor is handed is the same, sample by sample
    assert np.array_equal(read_samples(again.sound()), again.samples())


def test_a_file_that_changed_is_told(tmp_path: Path) -> None:
    clip = written(tmp_path / "a.wav", tone(0.51, 333.0))
    written(tmp_path / "a.wav", tone(0.6))
    with pytest.raises(ValueError, match="changed"):
        NoisyClip(clip, PINK, 0.0).samples()


def test_babble_is_six_clips_of_other_speakers(tmp_path: Path) -> None:
    clips = [
        written(tmp_path / f"{who}{n}.wav", tone(0.3 + 0.05 * n, 100 + 10 * who + n))
        for who in range(8)
        for n in range(2)
    ]
    speakers = tuple(str(who) for who in range(8) for _ in range(2))
    talkers = Talkers(tuple(clips), speakers)
    owner = dict(zip(clips, speakers, strict=True))
    mine = talkers.others(clips[0].digest, "0")
    assert len({owner[one] for one in mine}) == 6
    assert "0" not in {owner[one] for one in mine}
    # the order of the training part says nothing
    turned = Talkers(tuple(reversed(clips)), tuple(reversed(speakers)))
    assert turned.others(clips[0].digest, "0") == mine
    # of two speakers there are three clips that are not the clip itself
    few = Talkers(tuple(clips[:4]), speakers[:4])
    assert set(few.others(clips[0].digest, "0")) == set(clips[2:4])
    alone = Talkers(tuple(clips[:2]), speakers[:2])
    assert alone.others(clips[0].digest, "0") == (clips[1],)
    noisy = NoisyClip(clips[0], BABBLE, 0.0, mine)
    assert np.isfinite(noisy.samples()).all()
    assert noisy.digest != NoisyClip(clips[0], BABBLE, 0.0, mine[:5]).digest


def test_sounds_of_a_folder(tmp_path: Path) -> None:
    place = tmp_path / "street"
    (place / "deep").mkdir(parents=True)
    one = written(place / "deep" / "a.wav", tone(1.0, 50.0))
    rest = np.concatenate([np.zeros(RATE), tone(0.2, 90.0), np.zeros(RATE)])
    two = written(place / "b.wav", rest)
    kinds = named([PINK, str(place)], tmp_path)
    assert list(kinds) == [PINK, "street"]
    assert set(kinds["street"]) == {
        Recording(one.digest, one.path),
        Recording(two.digest, two.path),
    }
    clip = written(tmp_path / "clip.wav", tone(0.4))
    # wherever a piece begins, silence at the ends of a recording is no noise
    for snr in (0.0, 10.0):
        assert np.isfinite(NoisyClip(clip, "street", snr, (two,)).samples()).all()
    written(place / "c.wav", np.zeros(RATE))
    with pytest.raises(BadInput, match=r"c\.wav cannot serve as noise \(empty"):
        named([str(place)], tmp_path)
    with pytest.raises(BadInput, match="neither pink, babble nor a folder"):
        named(["brown"], tmp_path)
    (tmp_path / "bare").mkdir()
    with pytest.raises(BadInput, match="holds no sound file"):
        named([str(tmp_path / "bare")], tmp_path)


def test_draws_differ_by_purpose() -> None:
    assert draws("a", "x").random() == draws("a", "x").random() != draws("a", "y").random()
