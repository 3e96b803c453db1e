"""SAVEE: 480 clips, 4 male actors, British English, 7 emotions.

Haq and Jackson, AVSP 2009. Names are DC/a01.wav, or DC_a01.wav where all lie in one folder: actor
(DC, JE, JK, KL), emotion and number.
"""

from __future__ import annotations

import re
from pathlib import Path

from raysearch.data.corpora.corpus import CorpusInfo, sentence_named
from raysearch.data.corpora.readers import (
    NameParts,
    name_reader,
)

EMOTIONS = {
    "n": "neutral",
    "h": "happy",
    "sa": "sad",
    "a": "angry",
    "f": "fearful",
    "d": "disgust",
    "su": "surprised",
}
REMARK = (
    "names give the number of a sentence within an emotion and not its words: all four actors "
    "speak the same sentences, which are counted as shared; three that are spoken in every emotion "
    "count as several"
)
_NAME = re.compile(r"(?:([A-Z]{2})_)?(n|h|sa|a|f|d|su)(\d\d)")
_ACTOR = re.compile(r"[A-Z]{2}")


def _fields(path: Path) -> NameParts | None:
    match = _NAME.fullmatch(path.stem)
    actor = (match and match[1]) or path.parent.name
    if match is None or not _ACTOR.fullmatch(actor):
        return None
    number = f"{match[2]}{match[3]}"
    return NameParts(actor, EMOTIONS[match[2]], sentence_named(number), clip=f"{actor}_{number}")


LAYOUT = "give the folder that holds DC/a01.wav and the others, or DC_a01.wav and the others"
INFO = CorpusInfo(
    name="savee",
    description="SAVEE: acted British English, 4 male speakers, 7 emotions",
    read=name_reader(
        "savee",
        _fields,
        classes=tuple(EMOTIONS.values()),
        example="DC/a01.wav",
        layout=LAYOUT,
        folder="AudioData",
        deep=True,
    ),
    classes=tuple(EMOTIONS.values()),
    published={name: 120 if name == "neutral" else 60 for name in EMOTIONS.values()},
    speakers=4,
    source="http://kahlan.eps.surrey.ac.uk/savee (on request)",
    layout=LAYOUT,
    remarks=(REMARK,),
    counted="Mao et al. 2022, section V: 30 neutral and 15 other sentences an emotion, 480 in all",
)
