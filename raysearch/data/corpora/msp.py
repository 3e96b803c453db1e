"""The text format in which the two MSP corpora give their labels and single ratings.

    MSP-PODCAST_0001_0008.wav; N; A:2.200000; V:4.000000; D:2.600000;
    WORKER0000001; Neutral; Neutral,Confused; A:1.000000; V:4.000000; D:1.000000;

A block is one clip: its name, the letter of the raters' consensus and mean attributes, then a line
a rating, with the rater, the primary emotion, perhaps all emotions heard, and attributes (1 to 5 in
MSP-IMPROV, 1 to 7 in MSP-Podcast). Other lines (remarks, blank ones) belong to no rating.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from raysearch.data.corpora.names import common_name
from raysearch.data.corpora.readers import (
    RatingRow,
)

LETTERS = {
    "N": "neutral",
    "H": "happy",
    "S": "sad",
    "A": "angry",
    "C": "contempt",
    "U": "surprised",
    "D": "disgust",
    "F": "fearful",
    "O": "other",
    "X": "",
}
"""of the consensus; X is no agreement"""

_CLIP = re.compile(r"(?:MSP|UTD)-[A-Z]+[-_][^;]*\.(?:wav|avi)", re.IGNORECASE)
_NUMBER = re.compile(r"\s*([A-Z])\s*:\s*([-+0-9.eE]*)\s*")


@dataclass(frozen=True)
class Rating:
    """One rater's word on one clip; attributes are NaN where not given."""

    rater: str
    label: str
    valence: float
    activation: float
    dominance: float

    def row(self, clip: str) -> RatingRow:
        """The rating as a row of a Raw's ratings, of the clip with that id."""
        return RatingRow(
            clip, self.rater, self.label, 1.0, self.valence, self.activation, self.dominance
        )


@dataclass
class ClipLines:
    """One clip's lines. `letter` is its consensus, "" where the line has none."""

    clip: str
    letter: str
    ratings: list[Rating] = field(default_factory=list)


def blocks(lines: Iterable[str]) -> list[ClipLines]:
    """The clips of a labels file, in its order."""
    clips: list[ClipLines] = []
    for line in lines:
        cells = [cell.strip() for cell in line.split(";")]
        if _CLIP.fullmatch(cells[0]):
            letter = cells[1] if len(cells) > 1 else ""
            clips.append(ClipLines(cells[0].rpartition(".")[0], letter))
        elif clips and (one := rating(line)) is not None:
            clips[-1].ratings.append(one)
    return clips


def rating(line: str) -> Rating | None:
    """A line of one rating, or None where it is none: rater; emotion; ...; A:x; V:x; D:x;"""
    cells = [cell.strip() for cell in line.split(";") if cell.strip()]
    values: dict[str, float] = {}
    words: list[str] = []
    for cell in cells[1:]:
        match = _NUMBER.fullmatch(cell)
        if match is None:
            words.append(cell)
            continue
        try:
            values[match[1]] = float(match[2])
        except ValueError:
            values[match[1]] = np.nan
    if not words or not values or " " in cells[0]:
        return None
    attributes = (values.get(name, np.nan) for name in "VAD")
    return Rating(cells[0], emotion(words[0]), *attributes)


def emotion(words: str) -> str:
    """The class of a rater's primary emotion; 'Other-Concerned' and the like are other."""
    word = words.split(",")[0].strip()
    return "other" if word.lower().startswith("other") else common_name(word)
