"""Berlin EmoDB: 535 clips, 10 actors, 10 German sentences, 7 emotions.

Burkhardt et al., "A database of German emotional speech", Interspeech 2005. A name such as
03a01Fa.wav is speaker 03, sentence a01, emotion F, version a. erkennung.txt, which comes with it,
says by clip what share of 20 listeners heard the intended emotion.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from raysearch.data.corpora.corpus import (
    RECOGNISED,
    CorpusInfo,
    Options,
    Progress,
    Raw,
    sentence_named,
)
from raysearch.data.corpora.folders import find_file
from raysearch.data.corpora.readers import NameParts, name_reader

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
        SENTENCES.get(text) or sentence_named(text),
        attributes={"language": "de", **SPEAKERS.get(speaker, {})},
    )


LISTENERS = "erkennung.txt"
"""beside the folder of clips, or in it"""
LAYOUT = "give the folder that holds wav/03a01Fa.wav and the others"
_clips = name_reader(
    "emodb",
    _fields,
    classes=tuple(LETTERS.values()),
    example="03a01Fa.wav",
    layout=LAYOUT,
    folder="wav",
)


def recognition(path: Path) -> dict[str, str]:
    """By clip, the share of listeners who heard the intended emotion, in 0 .. 1.

    The file is in latin-1: number, file, heard and natural in %, with decimal commas, columns apart
    by tabs. Lines of another make (the heading) are left out.
    """
    shares = {}
    for line in path.read_text(encoding="latin-1").splitlines():
        cells = [cell.strip() for cell in line.split("\t")]
        if len(cells) > 2 and re.fullmatch(r"\d+(,\d+)?", cells[2]):
            shares[Path(cells[1]).stem.lower()] = f"{float(cells[2].replace(',', '.')) / 100:g}"
    return shares


def _read(
    root: Path | None, *, options: Options, seed: int, home: Path, progress: Progress | None
) -> Raw:
    raw = _clips(root, options=options, seed=seed, home=home, progress=progress)
    paths = [Path(path) for path in raw.table["path"]]
    file = find_file((paths[0].parent, paths[0].parent.parent), LISTENERS)
    shares = {} if file is None else recognition(file)
    heard = [shares.get(path.stem.lower(), "") for path in paths]
    if file is not None and not any(heard):
        note = f"emodb: {file} names none of the clips in its second column, so it is not used."
        return replace(raw, notes=(*raw.notes, note))
    return replace(raw, table=raw.table.assign(**{RECOGNISED: heard})) if file else raw


INFO = CorpusInfo(
    name="emodb",
    description="Berlin EmoDB: acted German, 10 speakers, 7 emotions",
    read=_read,
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
    remarks=("erkennung.txt beside wav/ gives the attribute recognised, which the audit shows",),
)
