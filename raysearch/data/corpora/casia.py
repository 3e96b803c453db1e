"""CASIA Chinese emotional corpus: 4 actors, 6 emotions, 300 sentences that all speak in each.

The clips lie in SPEAKER/EMOTION/NUMBER.wav (liuchanhg/angry/201.wav). The corpus has 9600 clips;
Mao et al. 2022 and others use the 7200 of the 300 shared sentences, numbers 201 to 500.
"""

from __future__ import annotations

import re
from pathlib import Path

from raysearch.data.corpora.corpus import CorpusInfo, Options
from raysearch.data.corpora.names import common_name
from raysearch.data.corpora.readers import (
    NameParts,
    name_reader,
)

CLASSES = ("neutral", "happy", "sad", "angry", "fearful", "surprised")
_NUMBER = re.compile(r"\d+")


def _fields(path: Path) -> NameParts | None:
    label = common_name(path.parent.name)
    speaker = path.parent.parent.name
    if label not in CLASSES or _NUMBER.fullmatch(path.stem) is None:
        return None
    return NameParts(speaker, label, clip=f"{speaker}/{label}/{path.stem}")


def _folders(root: Path, options: Options) -> list[Path]:
    return [folder for folder in sorted(root.glob("*/*")) if folder.is_dir()]


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
        folders=_folders,
    ),
    classes=CLASSES,
    published=dict.fromkeys(CLASSES, 1200),
    speakers=4,
    source="http://www.chineseldc.org (licensed)",
    layout=LAYOUT,
    counted="Mao et al. 2022, section V: 300 sentences of 4 speakers in each of 6 emotions, 7200 "
    "in all, of the corpus's 9600",
)
