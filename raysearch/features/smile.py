"""openSMILE's functionals: one vector a clip.

openSMILE does not resample, and several of its features move with the sampling rate, so every clip
is heard at 16 kHz, mono, whatever its file holds. The configurations are those of the wheel;
`is10` is the one that gives the numbers of the original INTERSPEECH 2010 set.
"""

from __future__ import annotations

import hashlib
import importlib.util
import re
from functools import cache, partial
from importlib.metadata import version as installed
from pathlib import Path
from typing import Any

import numpy as np

from raysearch.features.base import ExtractorInfo

__all__ = ["INFOS"]

RATE = 16_000
_CODE = 1  # raise it whenever this file would give other values
_INCLUDE = re.compile(r"\\\{([^}\\]+)\}")


def _config(file: str) -> Path:
    found = importlib.util.find_spec("opensmile")  # found, not imported: that takes a second
    if found is None or not found.submodule_search_locations:
        raise ModuleNotFoundError("openSMILE is not installed: pip install opensmile")
    return Path(found.submodule_search_locations[0]) / "core" / "config" / file


@cache
def _version(file: str) -> str:
    digest = hashlib.sha256()
    todo, seen = [_config(file)], set()
    while todo:
        path = todo.pop()
        if path in seen or not path.is_file():
            continue  # an include that names an option's value, e.g. the sink's
        seen.add(path)
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


def _extract(file: str, samples: np.ndarray) -> np.ndarray:
    frame = _smile(file).process_signal(samples, RATE)
    return np.asarray(frame.to_numpy()[0], dtype=np.float32)


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
    _info("emobase", "emobase/emobase.conf", 988, "openSMILE, emobase"),
    _info("egemaps", "egemaps/v02/eGeMAPSv02.conf", 88, "openSMILE, extended GeMAPS v02"),
    _info("compare", "compare/ComParE_2016.conf", 6373, "openSMILE, ComParE 2016"),
)
