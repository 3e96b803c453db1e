"""RAVDESS, speech part: 1440 clips, 24 actors, 2 English statements, 8 emotions.

Livingstone and Russo, PLOS ONE 13(5), 2018. A name such as 03-01-05-02-01-01-12.wav is
modality-channel-emotion-intensity-statement-repetition-actor. Only speech (channel 01) is read.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from raysearch.corpora.base import CorpusInfo, Progress, Raw
from raysearch.corpora.files import audio_files, named_clips
from raysearch.errors import BadInput

__all__ = ["INFO"]

EMOTIONS = {
    "01": "neutral",
    "02": "calm",
    "03": "happy",
    "04": "sad",
    "05": "angry",
    "06": "fearful",
    "07": "disgust",
    "08": "surprised",
}
STATEMENTS = {"01": "Kids are talking by the door.", "02": "Dogs are sitting by the door."}
_NAME = re.compile(r"03-01-(0[1-8])-(0[12])-(0[12])-(0[12])-(\d\d)")


def _fields(stem: str) -> tuple[str, str, str, str] | None:
    match = _NAME.fullmatch(stem)
    if match is None:
        return None
    emotion, _, statement, _, actor = match.groups()
    return actor, "", EMOTIONS[emotion], STATEMENTS[statement]


def _read(
    root: Path | None,
    *,
    options: Mapping[str, Any],
    seed: int,
    home: Path,
    progress: Progress | None,
) -> Raw:
    assert root is not None  # `load` has seen to it: the root is needed
    folders = [f for pattern in _PATTERNS for f in sorted(root.glob(pattern)) if f.is_dir()]
    files = [p for f in folders or [root] for p in audio_files(f, deep=False)]
    if not files:
        raise BadInput(f"corpus.root={root} holds no RAVDESS clips: {LAYOUT}.")
    example = "03-01-05-02-01-01-12.wav"
    return named_clips("ravdess", files, _fields, tuple(EMOTIONS.values()), example)


_PATTERNS = ("Actor_[0-9][0-9]", "Audio_Speech_Actors_01-24/Actor_[0-9][0-9]")
LAYOUT = "give the folder that holds Actor_01/ to Actor_24/, or Audio_Speech_Actors_01-24/"
INFO = CorpusInfo(
    name="ravdess",
    description="RAVDESS speech: acted North American English, 24 speakers, 8 emotions",
    read=_read,
    classes=tuple(EMOTIONS.values()),
    published={name: 96 if name == "neutral" else 192 for name in EMOTIONS.values()},
    speakers=24,
    source="https://zenodo.org/records/1188976 (CC BY-NC-SA 4.0)",
    layout=LAYOUT,
)
