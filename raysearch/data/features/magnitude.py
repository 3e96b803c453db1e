"""Log-mel bands of the magnitude, as the front end of VGGish takes them (Hershey et al. 2017).

Frames are 25 ms of a periodic Hann window every 10 ms, without padding: frame i is about the
samples 160 i to 160 i + 399, so a clip of T samples has 1 + (T - 400) // 160 frames, and 32 of
them are 335 ms (Mao et al. 2021, section VI).
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from raysearch.data.features.extractor import ExtractorInfo
from raysearch.data.features.pretrained import one_thread

RATE = 16_000
WINDOW, HOP, TRANSFORM = 400, 160, 512
MELS, LOW, HIGH = 64, 125.0, 7500.0
OFFSET = 0.01
_CODE = 1  # raise it whenever this file would give other values


def _mel(hertz: float | NDArray[np.float64]) -> NDArray[np.float64]:
    """Mao et al. 2021, eq. 19."""
    return np.asarray(1127.0 * np.log1p(np.asarray(hertz, dtype=np.float64) / 700.0))


@cache
def mel_matrix() -> NDArray[np.float64]:
    """float64 [257, 64]: triangles of height 1 whose sides are straight on the mel scale.

    Their 66 edges lie evenly between 125 and 7500 Hz in mel; the bin at 0 Hz is in none.
    """
    edges = np.linspace(_mel(LOW), _mel(HIGH), MELS + 2)
    at = _mel(np.arange(TRANSFORM // 2 + 1) * RATE / TRANSFORM)[:, None]
    up = (at - edges[:-2]) / (edges[1:-1] - edges[:-2])
    down = (edges[2:] - at) / (edges[2:] - edges[1:-1])
    matrix: NDArray[np.float64] = np.maximum(0.0, np.minimum(up, down))
    matrix[0] = 0.0
    return matrix


def _logmel(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """float32 [L, 64]: ln(m + 0.01), m the magnitudes in 64 triangles from 125 to 7500 Hz.

    A clip shorter than a window is lengthened to one by silence.
    """
    import torch

    with one_thread(), torch.inference_mode():
        wave = torch.from_numpy(np.array(samples, dtype=np.float32))
        short = max(0, WINDOW - len(wave))
        # torch centres the window in the transform, whose length has no other effect on magnitudes
        side = (TRANSFORM - WINDOW) // 2
        wave = torch.nn.functional.pad(wave, (side, side + short))
        window = torch.hann_window(WINDOW)
        bins = torch.stft(
            wave, TRANSFORM, HOP, WINDOW, window=window, center=False, return_complex=True
        ).abs()
        bands = bins.T @ torch.from_numpy(mel_matrix()).float()
        return np.ascontiguousarray((bands + OFFSET).log().numpy(), dtype=np.float32)


def _version() -> str:
    return f"logmel64-{_CODE}"


def _names() -> tuple[str, ...]:
    return tuple(f"logmel64_{i}" for i in range(MELS))


INFOS = (
    ExtractorInfo(
        name="logmel64",
        description="64 log-mel magnitudes, 125 to 7500 Hz, 25 ms Hann, every 10 ms",
        dims=MELS,
        extract=_logmel,
        version=_version,
        names=_names,
        kind="frames",
    ),
)
