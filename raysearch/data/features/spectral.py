"""The wave itself, and what torchaudio's short-time Fourier transform makes of it, by frames.

Frames are 40 ms of a periodic Hamming window every 10 ms. Frame i is centred on sample 160 i and
the ends are reflected, so a clip of T samples has 1 + T // 160 frames. Pre-emphasis, cutting and
padding are a method's affair, so that one stored set serves all methods.

`mfcc40-htk` and `spectrogram-db` are the inputs of CA-MSER (Zou et al. 2022) and MS-EmoBoost: of
the pre-emphasised wave, with their windows, and as extracted whatever a study's `normalise`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from raysearch.data.features.extractor import ExtractorInfo, Matrix
from raysearch.data.features.pretrained import one_thread
from raysearch.errors import BadInput

if TYPE_CHECKING:
    import torch

    Transform = Callable[[torch.Tensor], torch.Tensor]

RATE = 16_000
WINDOW, HOP = 640, 160
MELS = 40
FLOOR = 1e-10
"""the least energy whose logarithm is taken"""
BINS, TRANSFORM, RANGE = 200, 800, 80.0
EMPHASIS = 0.97
WIDE, MANY = 2048, 128
"""librosa's default window (128 ms, Hann) and number of mel bands"""
_CODE = 1  # raise it whenever this file would give other values


def _wave(samples: NDArray[np.float32]) -> NDArray[np.int16]:
    """int16 [T]: samples times 32768, so that files of 16 bits at 16 kHz are kept exactly."""
    return np.clip(np.rint(samples * 32768.0), -32768, 32767).astype(np.int16)


def _logmel(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """float32 [L, 40]: ln max(m, 1e-10), m the energies in 40 triangles on the HTK mel scale.

    The triangles lie between 0 and 8 kHz on the power spectrum of 640 points, each of height 1.
    """
    return _run(_mel_transform(), samples, lambda energy: energy.clamp(min=FLOOR).log())


def _mfcc(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """float32 [L, 40]: the orthonormal DCT-II of `logmel40`, all 40 coefficients from the 0th."""
    basis = _basis()
    return _run(_mel_transform(), samples, lambda energy: basis.T @ energy.clamp(min=FLOOR).log())


def _spectrogram(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """float32 [L, 200] dB: the lowest 200 bins (0 to 3980 Hz) of a transform of 800 points.

    10 log10 of the power, relative to the clip's largest value over all bins and frames, and never
    below -80.
    """

    def decibels(power: torch.Tensor) -> torch.Tensor:
        power = power.clamp(min=FLOOR)
        return (10 * (power / power.max()).log10()).clamp(min=-RANGE)[:BINS]

    return _run(_power_transform(), samples, decibels)


def _emphasised(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """x[t] - 0.97 x[t - 1]; the first sample stays."""
    return np.concatenate([samples[:1], samples[1:] - np.float32(EMPHASIS) * samples[:-1]])


def _mfcc_htk(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """float32 [L, 40]: what `librosa.feature.mfcc(n_mfcc=40, htk=True, hop_length=160)` gives.

    10 log10 of the energies in 128 HTK-mel triangles of unit area over 128 ms (Hann, ends zero),
    never more than 80 dB below the clip's largest, and the first 40 coefficients of their
    orthonormal DCT-II.
    """
    basis = _basis(MANY)

    def cepstrum(energy: torch.Tensor) -> torch.Tensor:
        decibels = 10 * energy.clamp(min=FLOOR).log10()
        return basis.T @ decibels.clamp(min=float(decibels.max()) - RANGE)

    return _run(_wide_transform(), _emphasised(samples), cepstrum)


def _spectrogram_db(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """float32 [L, 200] dB: `spectrogram` of the pre-emphasised wave."""
    return _spectrogram(_emphasised(samples))


def _run(
    transform: Transform, samples: NDArray[np.float32], finish: Transform
) -> NDArray[np.float32]:
    import torch

    with one_thread(), torch.inference_mode():
        frames = finish(transform(torch.from_numpy(np.array(samples, dtype=np.float32))))
        return np.ascontiguousarray(frames.T.numpy(), dtype=np.float32)


@cache
def _mel_transform() -> Transform:
    from trainables.pure_torchaudio import prepare

    prepare()
    import torch
    from torchaudio.transforms import MelSpectrogram

    return MelSpectrogram(
        sample_rate=RATE,
        n_fft=WINDOW,
        win_length=WINDOW,
        hop_length=HOP,
        f_min=0.0,
        f_max=RATE / 2,
        n_mels=MELS,
        window_fn=torch.hamming_window,
        power=2.0,
        mel_scale="htk",
        norm=None,
    )


@cache
def _wide_transform() -> Transform:
    from trainables.pure_torchaudio import prepare

    prepare()
    from torchaudio.transforms import MelSpectrogram

    return MelSpectrogram(
        sample_rate=RATE,
        n_fft=WIDE,
        hop_length=HOP,
        f_max=RATE / 2,
        n_mels=MANY,
        power=2.0,
        pad_mode="constant",
        mel_scale="htk",
        norm="slaney",
    )


@cache
def _basis(bands: int = MELS) -> torch.Tensor:
    from trainables.pure_torchaudio import prepare

    prepare()
    from torchaudio.functional import create_dct

    return create_dct(MELS, bands, norm="ortho")


@cache
def _power_transform() -> Transform:
    from trainables.pure_torchaudio import prepare

    prepare()
    import torch
    from torchaudio.transforms import Spectrogram

    return Spectrogram(
        n_fft=TRANSFORM,
        win_length=WINDOW,
        hop_length=HOP,
        window_fn=torch.hamming_window,
        power=2.0,
    )


def _version(name: str) -> str:
    return f"{name}-{_CODE}"


def _numbered(name: str, count: int) -> tuple[str, ...]:
    return tuple(f"{name}_{i}" for i in range(count))


def _info(
    name: str,
    extract: Callable[[NDArray[np.float32]], Matrix],
    dims: int,
    description: str,
    normalise: bool = True,
) -> ExtractorInfo:
    return ExtractorInfo(
        name=name,
        description=description,
        dims=dims,
        extract=extract,
        version=partial(_version, name),
        names=partial(_numbered, name, dims),
        kind="frames",
        dtype="int16" if name == "wave" else "float32",
        normalise=normalise,
    )


def _wave_of(rest: str) -> ExtractorInfo:
    """`wave`, or `wave@level=recorded`: the samples as they are, whatever a study's `normalise`."""
    if rest not in ("", "@level=recorded"):
        raise BadInput(
            f"features=wave{rest}: the wave takes one option, wave@level=recorded, which leaves "
            "its level as it was recorded"
        )
    wave = _info("wave", _wave, 1, "the samples at 16 kHz, mono", normalise=not rest)
    return replace(wave, name=f"wave{rest}", configure=_wave_of)


INFOS = (
    _wave_of(""),
    _info("logmel40", _logmel, MELS, "40 log-mel energies, 40 ms Hamming, every 10 ms"),
    _info("mfcc40", _mfcc, MELS, "40 MFCC of these"),
    _info("spectrogram", _spectrogram, BINS, "0 to 4 kHz in 200 bins, dB, 40 ms, every 10 ms"),
    _info("mfcc40-htk", _mfcc_htk, MELS, "40 MFCC in HTK style, pre-emphasised, 128 ms", False),
    _info(
        "spectrogram-db", _spectrogram_db, BINS, "spectrogram, pre-emphasised, kept in dB", False
    ),
)
