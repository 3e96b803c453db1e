"""Berlin EmoDB: 535 clips, 10 actors, 10 German sentences, 7 emotions.

Burkhardt et al., "A database of German emotional speech", Interspeech 2005. A name such as
03a01Fa.wav is speaker 03, sentence a01, emotion F, version a.
"""

from __future__ import annotations

import re
from pathlib import Path

from raysearch.data.corpora.corpus import CorpusInfo
from raysearch.data.corpora.readers import (
    NameParts,
    name_reader,
)

LETTERS = {
    "N": "neutral",
    "F": "happy",
    "T": "sad",
    "W": "angry",
    "A": "fearful",
    "E": "disgust",
    "L": "bored",
}
SENTENCES = {
    "a01": "Der Lappen liegt auf dem Eisschrank.",
    "a02": "Das will sie am Mittwoch abgeben.",
    "a04": "Heute abend könnte ich es ihm sagen.",
    "a05": "Das schwarze Stück Papier befindet sich da oben neben dem Holzstück.",
    "a07": "In sieben Stunden wird es soweit sein.",
    "b01": "Was sind denn das für Tüten, die da unter dem Tisch stehen?",
    "b02": "Sie haben es gerade hochgetragen und jetzt gehen sie wieder runter.",
    "b03": "An den Wochenenden bin ich jetzt immer nach Hause gefahren und habe Agnes besucht.",
    "b09": "Ich will das eben wegbringen und dann mit Karl was trinken gehen.",
    "b10": "Die wird auf dem Platz sein, wo wir sie immer hinlegen.",
}
SPEAKERS = {
    speaker: {"sex": sex, "age": age}
    for speaker, sex, age in (
        ("03", "male", "31"),
        ("08", "female", "34"),
        ("09", "female", "21"),
        ("10", "male", "32"),
        ("11", "male", "26"),
        ("12", "male", "30"),
        ("13", "female", "32"),
        ("14", "female", "35"),
        ("15", "male", "25"),
        ("16", "female", "31"),
    )
}
"""by the corpus's own page"""
_NAME = re.compile(r"(?P<speaker>\d\d)(?P<text>[ab]\d\d)(?P<letter>[NFTWAEL])[a-z]", re.IGNORECASE)


def _fields(path: Path) -> NameParts | None:
    match = _NAME.fullmatch(path.stem)
    if match is None:
        return None
    text, speaker = match["text"].lower(), match["speaker"]
    return NameParts(
        speaker,
        LETTERS[match["letter"].upper()],
        SENTENCES.get(text, text),
        attributes={"language": "de", **SPEAKERS.get(speaker, {})},
    )


LAYOUT = "give the folder that holds wav/03a01Fa.wav and the others"
INFO = CorpusInfo(
    name="emodb",
    description="Berlin EmoDB: acted German, 10 speakers, 7 emotions",
    read=name_reader(
        "emodb",
        _fields,
        classes=tuple(LETTERS.values()),
        example="03a01Fa.wav",
        layout=LAYOUT,
        folder="wav",
    ),
    classes=tuple(LETTERS.values()),
    published={
        "neutral": 79,
        "happy": 71,
        "sad": 62,
        "angry": 127,
        "fearful": 69,
        "disgust": 46,
        "bored": 81,
    },
    speakers=10,
    source="http://emodb.bilderbar.info (free use)",
    layout=LAYOUT,
    counted="Burkhardt et al. 2005, counted on the published clips",
)
