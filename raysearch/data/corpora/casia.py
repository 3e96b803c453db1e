"""CASIA Chinese emotional corpus: 4 actors, 6 emotions, 300 sentences that all speak in each.

The clips lie in SPEAKER/EMOTION/NUMBER.wav (liuchanhg/angry/201.wav) at any depth, or are named
NUMBER-EMOTION-SPEAKER.wav (201-angry-liuchanhg.wav); the number names the sentence, which all speak
in all emotions. The corpus has 9600 clips;
Mao et al. 2022 and others use the 7200 of the 300 shared sentences, numbers 201 to 500.
"""

from __future__ import annotations

import re
from pathlib import Path

from raysearch.data.corpora.corpus import CorpusInfo, sentence_named
from raysearch.data.corpora.names import common_name
from raysearch.data.corpora.readers import (
    NameParts,
    name_reader,
)

CLASSES = ("neutral", "happy", "sad", "angry", "fearful", "surprised")
_NUMBER = re.compile(r"\d+")
_FLAT = re.compile(r"(\d+)-([a-z]+)-(\w+)", re.IGNORECASE)


def _fields(path: Path) -> NameParts | None:
    match = _FLAT.fullmatch(path.stem)
    if match is not None:
        number, emotion, speaker = match.groups()
    else:
        number, emotion, speaker = path.stem, path.parent.name, path.parent.parent.name
    label = common_name(emotion)
    if label not in CLASSES or _NUMBER.fullmatch(number) is None:
        return None
    return NameParts(speaker, label, sentence_named(number), clip=f"{speaker}/{label}/{number}")


LAYOUT = "give the folder that holds SPEAKER/EMOTION/NUMBER.wav, as liuchanhg/angry/201.wav"
INFO = CorpusInfo(
    name="casia",
    description="CASIA: acted Chinese, 4 speakers, 6 emotions (the part of shared sentences)",
    read=name_reader(
        "casia",
        _fields,
        classes=CLASSES,
        example="liuchanhg/angry/201.wav",
        layout=LAYOUT,
        deep=True,
    ),
    classes=CLASSES,
    published=dict.fromkeys(CLASSES, 1200),
    speakers=4,
    source="http://www.chineseldc.org (licensed)",
    layout=LAYOUT,
    counted="Mao et al. 2022, section V: 300 sentences of 4 speakers in each of 6 emotions, 7200 "
    "in all, of the corpus's 9600",
)
