"""The speech of clips that a report names, short and small enough to lie in its page."""

from __future__ import annotations

import io
from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

import pandas as pd

from raysearch.data.corpora.corpus import PART
from raysearch.data.corpora.places import PartError, clip_bytes

Codec = Literal["opus", "flac"]
LONGEST = 15.0
"""seconds of a clip; the rest is cut"""
_FORMATS = {"opus": ("OGG", "OPUS"), "flac": ("FLAC", "PCM_16")}
_MIME = {"opus": "audio/ogg", "flac": "audio/flac"}


@dataclass(frozen=True)
class ClipSound:
    """A clip's speech as the methods hear it: mono, 16 kHz."""

    data: bytes
    mime: str
    cut: bool
    """whether the clip is longer than what is here"""


def sounds_of(table: pd.DataFrame, clips: Collection[str], codec: Codec) -> dict[str, ClipSound]:
    """The speech of the clips that can be read now, by id. Of a segment, its own time alone.

    Args:
        table: of a corpus: id, path, and the part of the file that is meant.
        clips: ids; those that the table lacks are left out.
        codec: opus takes a fifth of the bytes; flac plays in older browsers too.
    """
    import soundfile

    sounds = {}
    rows = table[table["id"].isin(clips) & (table["path"].astype(str) != "")]
    for row in rows.to_dict("records"):
        try:
            data = clip_bytes(str(row["path"]), str(row.get(PART, "")))
            sounds[str(row["id"])] = encode(data, codec)
        except (OSError, PartError, soundfile.SoundFileError):
            continue  # the page says how many it does not play
    return sounds


def encode(data: bytes, codec: Codec) -> ClipSound:
    """The bytes of a sound file, as `read_samples` decodes them, in a codec of browsers.

    Raises:
        soundfile.SoundFileError: it is no sound.
    """
    import soundfile

    from raysearch.data.features.extract import RATE, read_samples

    samples, most = read_samples(data), round(LONGEST * RATE)
    out = io.BytesIO()
    form, subtype = _FORMATS[codec]
    soundfile.write(out, samples[:most].clip(-1, 1), RATE, format=form, subtype=subtype)
    return ClipSound(out.getvalue(), _MIME[codec], len(samples) > most)
