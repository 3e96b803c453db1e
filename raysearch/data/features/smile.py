"""openSMILE: its functionals, one vector a clip, and the frames of co-rater training.

openSMILE does not resample, and several of its features move with the sampling rate, so every clip
is heard at 16 kHz, mono, whatever its file holds. The configurations are those of the wheel;
`is10` is the one that gives the numbers of the original INTERSPEECH 2010 set.

`emobase-frames` are the descriptors of Chou and Lee 2020 (section 2.2.1): loudness, 12 MFCC, zero
crossings, voicing and F0 of the wheel's emobase configuration with its 25 and 40 ms windows set to
60 ms, every 10 ms, smoothed over 3 frames as that configuration does; behind them their deltas, and
the deltas' deltas of loudness and MFCC. Deltas are openSMILE's regression over 2 frames to either
side, taken here because the configuration has no second ones. Averaging over 3 frames is the
method's affair: it comes after the normalisation.
"""

from __future__ import annotations

import atexit
import hashlib
import importlib.util
import os
import re
import tempfile
from functools import cache, partial
from importlib.metadata import version as installed
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from raysearch.data.features.extractor import ExtractorInfo

RATE = 16_000
_CODE = 1  # raise it whenever this file would give other values
_FRAMES = "emobase/emobase.conf"
_WINDOW = "0.060"
"""seconds of every frame of `emobase-frames`"""
_BASE = (
    "pcm_loudness_sma",
    *(f"mfcc_sma[{i}]" for i in range(1, 13)),
    "pcm_zcr_sma",
    "voiceProb_sma",
    "F0_sma",
)
_TWICE = 13
"""of these, the first so many have second deltas"""
_INCLUDE = re.compile(r"\\\{([^}\\]+)\}")


def _config(file: str) -> Path:
    spec = importlib.util.find_spec("opensmile")  # spec, not imported: that takes a second
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError("openSMILE is not installed: pip install opensmile")
    return Path(spec.submodule_search_locations[0]) / "core" / "config" / file


@cache
def _version(file: str) -> str:
    digest = hashlib.sha256()
    todo, files = [_config(file)], set()
    while todo:
        path = todo.pop()
        if path in files or not path.is_file():
            continue  # an include that names an option's value, e.g. the sink's
        files.add(path)
        text = path.read_bytes()
        digest.update(text)
        names = _INCLUDE.findall(text.decode("latin-1"))
        todo += [path.parent / name for name in sorted(names)]
    return f"opensmile-{installed('opensmile')}-{digest.hexdigest()[:12]}-{_CODE}"


@cache
def _smile(file: str) -> Any:
    import opensmile

    return opensmile.Smile(
        feature_set=str(_config(file)),
        feature_level=opensmile.FeatureLevel.Functionals,
    )


def _names(file: str) -> tuple[str, ...]:
    return tuple(_smile(file).feature_names)


def _extract(file: str, samples: NDArray[np.float32]) -> NDArray[np.float32]:
    frame = _smile(file).process_signal(samples, RATE)
    return np.asarray(frame.to_numpy()[0], dtype=np.float32)


@cache
def _framing() -> Any:
    """openSMILE on emobase's descriptors, its windows lengthened in a copy of the configuration."""
    import opensmile

    text = _config(_FRAMES).read_bytes()
    longer, count = re.subn(
        rb"frameSize = 0\.0(25|40)\d*", b"frameSize = " + _WINDOW.encode(), text
    )
    if count != 2:
        raise RuntimeError(f"emobase.conf has {count} windows of 25 or 40 ms here, and not two")
    handle, path = tempfile.mkstemp(suffix=".conf")  # read anew for every clip
    with os.fdopen(handle, "wb") as file:
        file.write(longer)
    atexit.register(Path(path).unlink, missing_ok=True)
    return opensmile.Smile(feature_set=path, feature_level="lld")


def delta(frames: NDArray[np.float64], reach: int = 2) -> NDArray[np.float64]:
    """The slope of a regression over each frame and `reach` frames to either side, by column.

    d_t = sum_i i (x_{t+i} - x_{t-i}) / (2 sum_i i^2), i = 1 .. reach, with the first and the last
    frame repeated beyond the ends (HTK's, and openSMILE's cDeltaRegression).

    Args:
        frames: [L, D], L >= 1
        reach: frames to either side
    """
    length = len(frames)
    wide = np.pad(frames, ((reach, reach), (0, 0)), mode="edge")
    total = np.zeros_like(frames)
    for i in range(1, reach + 1):
        total += i * (wide[reach + i : reach + i + length] - wide[reach - i : reach - i + length])
    out: NDArray[np.float64] = total / (2 * sum(i * i for i in range(1, reach + 1)))
    return out


def _emobase_frames(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """float32 [L, 45], frame i from sample 160 i on.

    Raises:
        ValueError: the clip is shorter than 60 ms.
    """
    least = round(float(_WINDOW) * RATE)
    if len(samples) < least:
        raise ValueError(f"{len(samples)} samples are less than one window of {least}")
    frames = _framing().process_signal(samples, RATE)
    base = frames[list(_BASE)].to_numpy(dtype=np.float64)
    first = delta(base)
    return np.hstack([base, first, delta(first[:, :_TWICE])]).astype(np.float32)


def _frame_names() -> tuple[str, ...]:
    return (
        *_BASE,
        *(f"{name}_de" for name in _BASE),
        *(f"{name}_de_de" for name in _BASE[:_TWICE]),
    )


def _frames_version() -> str:
    return f"{_version(_FRAMES)}-{_WINDOW}-{_CODE}"


def _info(name: str, file: str, dims: int, description: str) -> ExtractorInfo:
    return ExtractorInfo(
        name=name,
        description=description,
        dims=dims,
        extract=partial(_extract, file),
        version=partial(_version, file),
        names=partial(_names, file),
    )


INFOS = (
    _info(
        "is10",
        "is09-13/IS10_paraling_compat.conf",
        1582,
        "openSMILE, INTERSPEECH 2010 paralinguistic challenge",
    ),
    _info("emobase", _FRAMES, 988, "openSMILE, emobase"),
    _info("egemaps", "egemaps/v02/eGeMAPSv02.conf", 88, "openSMILE, extended GeMAPS v02"),
    _info("compare", "compare/ComParE_2016.conf", 6373, "openSMILE, ComParE 2016"),
    ExtractorInfo(
        name="emobase-frames",
        description="openSMILE, emobase's 16 descriptors and deltas, 60 ms, every 10 ms",
        dims=len(_frame_names()),
        extract=_emobase_frames,
        version=_frames_version,
        names=_frame_names,
        kind="frames",
    ),
)
