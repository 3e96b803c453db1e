"""CREMA-D: 7442 clips, 91 actors, 12 English sentences, 6 emotions, with its raters' votes.

Cao et al., IEEE Transactions on Affective Computing 5(4), 2014. A name such as
1001_IEO_HAP_LO.wav is actor, sentence, intended emotion, intensity. The votes are those of the
raters who only heard the clip (rows 1xxxxx of tabulatedVotes.csv).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from raysearch.corpora.base import RAW_COLUMNS, CorpusInfo, Problem, Progress, Raw
from raysearch.corpora.files import audio_files
from raysearch.corpora.votes import plurality
from raysearch.errors import BadInput, near

__all__ = ["INFO", "voice_votes"]

EMOTIONS = {
    "NEU": "neutral",
    "HAP": "happy",
    "SAD": "sad",
    "ANG": "angry",
    "FEA": "fearful",
    "DIS": "disgust",
}
_LETTERS = {
    "N": "neutral",
    "H": "happy",
    "S": "sad",
    "A": "angry",
    "F": "fearful",
    "D": "disgust",
}
SENTENCES = {
    "IEO": "It's eleven o'clock.",
    "TIE": "That is exactly what happened.",
    "IOM": "I'm on my way to the meeting.",
    "IWW": "I wonder what this is about.",
    "TAI": "The airplane is almost full.",
    "MTI": "Maybe tomorrow it will be cold.",
    "IWL": "I would like a new alarm clock.",
    "ITH": "I think I have a doctor's appointment.",
    "DFA": "Don't forget a jacket.",
    "ITS": "I think I've seen this before.",
    "TSI": "The surface is slick.",
    "WSI": "We'll stop in a couple of minutes.",
}
_NAME = re.compile(r"(\d{4})_([A-Z]{3})_(ANG|DIS|FEA|HAP|NEU|SAD)_(LO|MD|HI|XX|X)")
_LABELS = ("intended", "votes")


def voice_votes(path: Path) -> pd.DataFrame:
    """The voice-only votes of tabulatedVotes.csv: index file name, one float column a class."""
    try:
        frame = pd.read_csv(path, dtype={0: str})
    except (OSError, ValueError) as error:
        raise BadInput(f"The votes of CREMA-D, {path}, cannot be read: {error}.") from None
    columns = list(_LETTERS)
    if lacking := [c for c in (*columns, "fileName") if c not in frame]:
        raise BadInput(
            f"{path} has no column {', '.join(map(repr, lacking))}; the columns found are: "
            f"{', '.join(map(repr, frame.columns))}."
        )
    voice = frame[frame.iloc[:, 0].str.startswith("1")]
    try:
        votes = voice.set_index("fileName")[columns].astype(np.float64)
    except ValueError as error:
        raise BadInput(f"{path} holds votes that are not numbers: {error}.") from None
    return votes.rename(columns=_LETTERS)


def _read(
    root: Path | None,
    *,
    options: Mapping[str, Any],
    seed: int,
    home: Path,
    progress: Progress | None,
) -> Raw:
    assert root is not None  # `load` has seen to it: the root is needed
    by = str(options.get("label", "intended"))
    if by not in _LABELS:
        raise BadInput(
            f"corpus.options.label={by!r} is unknown{near(by, _LABELS)}: it is one of "
            f"{', '.join(_LABELS)}."
        )
    folder = root / "AudioWAV" if (root / "AudioWAV").is_dir() else root
    files = {p.stem: p for p in reversed(audio_files(folder, deep=False))}
    if not files:
        raise BadInput(f"corpus.root={root} holds no CREMA-D clips: {LAYOUT}.")
    places = (root / "tabulatedVotes.csv", root / "processedResults" / "tabulatedVotes.csv")
    found = [p for p in places if p.is_file()]
    votes = voice_votes(found[0]) if found else None
    problems: list[Problem] = []
    names = sorted(files.keys() | (set() if votes is None else set(votes.index)))
    rows: list[tuple[str, ...]] = []
    for stem in names:
        match = _NAME.fullmatch(stem)
        if match is None:
            sentence = f"cremad: {stem} is not named like 1001_IEO_HAP_LO.wav and is left out."
            problems.append(Problem("name", "notice", "cremad", stem, sentence))
            continue
        actor, text, emotion, _ = match.groups()
        path = files.get(stem, folder / f"{stem}.wav")
        label, said = EMOTIONS[emotion], SENTENCES.get(text, text)
        rows.append(
            (f"cremad/{stem}", str(path.absolute()), "cremad", f"cremad/{actor}", "", label, said)
        )
    if not rows:
        raise BadInput(f"corpus.root={root} holds no file named like 1001_IEO_HAP_LO.wav.")
    table = pd.DataFrame(rows, columns=list(RAW_COLUMNS), dtype=str)
    notes: list[str] = []
    counts: pd.DataFrame | None = None
    if votes is None:
        notes.append(
            "cremad: no votes are used, for tabulatedVotes.csv is not in the root (nor in "
            "processedResults/)."
        )
    else:
        order = [clip.removeprefix("cremad/") for clip in table["id"]]
        counts = votes.reindex(order).fillna(0.0)[list(EMOTIONS.values())]
        counts.index = table.index
    if by == "votes":
        if counts is None:
            raise BadInput(
                f"corpus.options.label=votes needs tabulatedVotes.csv in {root} (or in "
                "processedResults/): put it there, or leave label=intended."
            )
        winner = plurality(counts.to_numpy())
        table["label"] = [list(counts.columns)[i] if i >= 0 else "" for i in winner]
        if ties := int((winner < 0).sum()):
            notes.append(f"cremad: {ties} clips without one leading vote are left out.")
            table, counts = table[winner >= 0], counts[winner >= 0]
    return Raw(
        table, tuple(EMOTIONS.values()), counts, None, tuple(notes), frozenset(), tuple(problems)
    )


LAYOUT = "give the folder that holds AudioWAV/ and tabulatedVotes.csv"
INFO = CorpusInfo(
    name="cremad",
    description="CREMA-D: acted American English, 91 speakers, 6 emotions, with raters' votes",
    read=_read,
    classes=tuple(EMOTIONS.values()),
    published={
        "neutral": 1087,
        "happy": 1271,
        "sad": 1271,
        "angry": 1271,
        "fearful": 1271,
        "disgust": 1271,
    },
    speakers=91,
    source="https://github.com/CheyneyComputerScience/CREMA-D (ODbL)",
    layout=LAYOUT,
    options={"label": "intended (the file name's emotion, default) or votes (the leading vote)"},
)
