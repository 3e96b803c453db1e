"""CREMA-D: 7442 clips, 91 actors, 12 English sentences, 6 emotions, with its raters' votes.

Cao et al., IEEE Transactions on Affective Computing 5(4), 2014. A name such as
1001_IEO_HAP_LO.wav is actor, sentence, intended emotion, intensity. The votes are those of the
raters who only heard the clip (rows 1xxxxx of tabulatedVotes.csv).
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd

from raysearch.data.corpora.agreement import TIES, labels_by_votes
from raysearch.data.corpora.corpus import CorpusInfo, Options, Problem, Raw, sentence_named
from raysearch.data.corpora.csv_cells import read_cells
from raysearch.data.corpora.folders import child, clip_files, find_file
from raysearch.data.corpora.readers import (
    ClipRow,
    clip_row,
    clip_table,
    name_problem,
    one_of,
    with_root,
)
from raysearch.errors import BadInput

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
    if voice.empty:
        raise BadInput(
            f"{path} holds no votes of raters who only heard the clips: their rows' first cells "
            "start with 1, as 100001."
        )
    try:
        votes = voice.set_index("fileName")[columns].astype(np.float64)
    except ValueError as error:
        raise BadInput(f"{path} holds votes that are not numbers: {error}.") from None
    return votes.rename(columns=_LETTERS)


def _actors(path: Path) -> dict[str, dict[str, str]]:
    """Sex and age (years) of the actors, by their number."""
    table = read_cells(path, "list of actors")
    if lacking := [name for name in ("actorid", "age", "sex") if name not in table]:
        raise BadInput(f"{path} has no column {', '.join(map(repr, lacking))}.")
    return {
        row["actorid"]: {"sex": row["sex"].lower(), "age": row["age"]}
        for row in table.to_dict("records")
    }


@with_root
def _read(root: Path, options: Options) -> Raw:
    by = one_of(options, "label", ("intended", "votes"))
    ties = one_of(options, "ties", TIES)
    files = {p.stem: p for p in reversed(clip_files(root, "AudioWAV", deep=False))}
    if not files:
        raise BadInput(f"corpus.root={root} holds no CREMA-D clips: {LAYOUT}.")
    folder = next(iter(files.values())).parent
    above = (root, folder.parent, folder)
    results = [place for top in above if (place := child(top, "processedResults")) is not None]
    votes_file = find_file((*above, *results), "tabulatedVotes.csv")
    votes = None if votes_file is None else voice_votes(votes_file)
    listing = find_file((*above, *results), "VideoDemographics.csv")
    actors = {} if listing is None else _actors(listing)
    problems: list[Problem] = []
    names = sorted(files.keys() | (set() if votes is None else set(votes.index)))
    rows: list[ClipRow] = []
    for stem in names:
        match = _NAME.fullmatch(stem)
        if match is None:
            problems.append(name_problem("cremad", stem, "1001_IEO_HAP_LO.wav"))
            continue
        actor, text, emotion, _ = match.groups()
        path = files.get(stem, folder / f"{stem}.wav")
        label, sentence = EMOTIONS[emotion], SENTENCES.get(text) or sentence_named(text)
        about = {"language": "en", **actors.get(actor, {})}
        rows.append(
            clip_row("cremad", stem, path, actor, label, transcript=sentence, further=about)
        )
    if not rows:
        raise BadInput(f"corpus.root={root} holds no file named like 1001_IEO_HAP_LO.wav.")
    table = clip_table(rows)
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
        table, counts, tie_notes = labels_by_votes("cremad", table, counts, ties)
        notes += tie_notes
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
    bad={"cremad/1076_MTI_SAD_XX": "it is published without sound"},
    counted="Cao et al. 2014, counted on the published list of votes",
    options={
        "label": "intended (the file name's emotion, default) or votes (the leading vote)",
        "ties": "under label=votes, leave (default) or keep, without a label, clips with a tie",
    },
)
