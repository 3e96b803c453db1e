"""EMOVO: 588 clips, 6 actors, 14 Italian sentences, 7 emotions.

Costantini et al., LREC 2014. A name such as dis-f1-b1.wav is emotion, actor (f1 to f3, m1 to m3)
and sentence.
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
    "neu": "neutral",
    "gio": "happy",
    "tri": "sad",
    "rab": "angry",
    "pau": "fearful",
    "dis": "disgust",
    "sor": "surprised",
}
_NAME = re.compile(r"(neu|gio|tri|rab|pau|dis|sor)-([fm]\d)-([a-z]+\d*)", re.IGNORECASE)


def _fields(path: Path) -> NameParts | None:
    match = _NAME.fullmatch(path.stem)
    if match is None:
        return None
    emotion, actor, _ = match.groups()
    return NameParts(actor.lower(), EMOTIONS[emotion.lower()])


LAYOUT = "give the folder that holds f1/dis-f1-b1.wav and the others"
INFO = CorpusInfo(
    name="emovo",
    description="EMOVO: acted Italian, 6 speakers, 7 emotions",
    read=name_reader(
        "emovo",
        _fields,
        classes=tuple(EMOTIONS.values()),
        example="dis-f1-b1.wav",
        layout=LAYOUT,
        folder="EMOVO",
        deep=True,
    ),
    classes=tuple(EMOTIONS.values()),
    published=dict.fromkeys(EMOTIONS.values(), 84),
    speakers=6,
    source="http://voice.fub.it/EMOVO",
    layout=LAYOUT,
    counted="Costantini et al. 2014: 14 sentences of 6 actors in each of 7 emotions, 588 in all",
)
