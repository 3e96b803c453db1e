"""RAVDESS, speech part: 1440 clips, 24 actors, 2 English statements, 8 emotions.

Livingstone and Russo, PLOS ONE 13(5), 2018. A name such as 03-01-05-02-01-01-12.wav is
modality-channel-emotion-intensity-statement-repetition-actor. Only speech (channel 01) is read.
"""

from __future__ import annotations

import re
from pathlib import Path

from raysearch.data.corpora.corpus import CorpusInfo
from raysearch.data.corpora.readers import (
    NameParts,
    name_reader,
)

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


def _fields(path: Path) -> NameParts | None:
    match = _NAME.fullmatch(path.stem)
    if match is None:
        return None
    emotion, _, statement, _, actor = match.groups()
    about = {"sex": "male" if int(actor) % 2 else "female", "language": "en"}
    return NameParts(actor, EMOTIONS[emotion], STATEMENTS[statement], attributes=about)


LAYOUT = "give the folder that holds Actor_01/ to Actor_24/, or Audio_Speech_Actors_01-24/"
INFO = CorpusInfo(
    name="ravdess",
    description="RAVDESS speech: acted North American English, 24 speakers, 8 emotions",
    read=name_reader(
        "ravdess",
        _fields,
        classes=tuple(EMOTIONS.values()),
        example="03-01-05-02-01-01-12.wav",
        layout=LAYOUT,
        folder="Actor_[0-9][0-9]",
    ),
    classes=tuple(EMOTIONS.values()),
    published={name: 96 if name == "neutral" else 192 for name in EMOTIONS.values()},
    speakers=24,
    source="https://zenodo.org/records/1188976 (CC BY-NC-SA 4.0)",
    layout=LAYOUT,
    counted="Livingstone and Russo 2018, counted on the published clips",
)
