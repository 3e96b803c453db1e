"""EMOVO: 588 clips, 6 actors, 14 Italian sentences, 7 emotions.

Costantini et al., LREC 2014. A name such as dis-f1-b1.wav is emotion, actor (f1 to f3, m1 to m3)
and sentence.
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
    "neu": "neutral",
    "gio": "happy",
    "tri": "sad",
    "rab": "angry",
    "pau": "fearful",
    "dis": "disgust",
    "sor": "surprised",
}
SENTENCES = {
    "b1": "Gli operai si alzano presto.",
    "b2": "I vigili sono muniti di pistola.",
    "b3": "La cascata fa molto rumore.",
    "l1": "L'autunno prossimo Tony partirà per la Spagna nella prima metà di ottobre.",
    "l2": "Ora prendo la felpa di là ed esco per fare una passeggiata.",
    "l3": "Un attimo dopo s'è incamminato ed è inciampato.",
    "l4": "Vorrei il numero telefonico del Signor Piatti.",
    "n1": "La casa forte vuole col pane.",
    "n2": "La forza trova il passo e l'aglio rosso.",
    "n3": "Il gatto sta scorrendo nella pera.",
    "n4": "Insalata pastasciutta coscia d'agnello limoncello.",
    "n5": "Uno quarantatré dieci mille cinquantasette venti.",
    "d1": "Sabato sera cosa farà?",
    "d2": "Porti con te quella cosa?",
}
"""short, long and nonsense sentences, and questions, by the corpus's own description"""
_NAME = re.compile(r"(neu|gio|tri|rab|pau|dis|sor)-([fm]\d)-([a-z]+\d*)", re.IGNORECASE)


def _fields(path: Path) -> NameParts | None:
    match = _NAME.fullmatch(path.stem)
    if match is None:
        return None
    emotion, actor, sentence = match.groups()
    code = sentence.lower()
    text = SENTENCES.get(code) or sentence_named(code)
    return NameParts(actor.lower(), EMOTIONS[emotion.lower()], transcript=text)


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
