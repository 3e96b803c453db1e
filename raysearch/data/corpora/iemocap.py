"""IEMOCAP: 10039 turns of 10 actors in 5 dyadic sessions, with all its raters' ratings.

Busso et al., Language Resources and Evaluation 42(4), 2008.
SessionN/dialog/EmoEvaluation/DIALOG.txt holds a block a turn:

    [6.2901 - 8.2357]	Ses01F_impro01_F000	neu	[2.5000, 2.5000, 2.5000]
    C-E2:	Neutral;	()
    C-F1:	Neutral; Anger;	()
    A-E3:	val 3; act 2; dom  2;	(remark)
    A-F1:	val 3; act 2; dom  1;	()

with the consensus of the observers (xxx: none) and the mean of valence, activation and dominance,
then a line a rating: categories (C-) or attributes from 1 to 5 (A-). The observers of categories
and of attributes are different people (Busso et al.; Chou and Lee 2020), so that they are the
raters 'C-E2', 'A-E3', ... here. F and M stand for the two actors of the session: they are the
raters 'Ses01F', 'Ses01M', ..., and a rating is a self-rating where the actor speaks the turn.
Who names several categories gives each a vote, or a share of one under `several=share`.

A turn is spoken by the actor of its last part: Ses01F_impro01_M000 is session 1, its man.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from raysearch.data.corpora.agreement import count_votes
from raysearch.data.corpora.corpus import CorpusInfo, Options, Problem, Raw
from raysearch.data.corpora.folders import audio_files, find_folders
from raysearch.data.corpora.names import common_name
from raysearch.data.corpora.readers import (
    ClipRow,
    RatingRow,
    clip_row,
    clip_table,
    name_problem,
    one_of,
    rating_table,
    text_lines,
    with_root,
)
from raysearch.errors import BadInput

LABELS = {
    "neu": "neutral",
    "hap": "happy",
    "exc": "excited",
    "sad": "sad",
    "ang": "angry",
    "fru": "frustrated",
    "fea": "fearful",
    "dis": "disgust",
    "sur": "surprised",
    "oth": "other",
    "xxx": "",
}
CLASSES = tuple(name for name in LABELS.values() if name)
_TURN = re.compile(
    r"\[[\d.]+ - [\d.]+\]\s+(Ses0(\d)[FM]_(impro|script)\w*_([FM])[A-Z]*\d+\w*)\s+(\w+)\s+\[.*"
)
_RATING = re.compile(r"([CA])-([EFM])(\d*):\s*(.*)")
_ATTRIBUTES = {"val": "valence", "act": "activation", "dom": "dominance"}
_ATTRIBUTE = re.compile(r"(val|act|dom)\s*(\d+(?:\.\d+)?)")


@dataclass
class _Turn:
    name: str
    session: str
    kind: str
    actor: str
    code: str
    ratings: list[RatingRow] = field(default_factory=list)


@with_root
def _read(root: Path, options: Options) -> Raw:
    part = one_of(options, "part", ("all", "improvised", "scripted"))
    several = one_of(options, "several", ("each", "share"))
    sessions = find_folders(root, "Session[1-5]")
    evaluations = [
        path
        for folder in sessions
        for path in sorted((folder / "dialog" / "EmoEvaluation").glob("Ses*.txt"))
    ]
    if not evaluations:
        raise BadInput(f"corpus.root={root} holds no IEMOCAP evaluations: {LAYOUT}.")
    texts = _transcripts(sessions)
    files = {
        path.stem: path
        for folder in sessions
        for path in reversed(audio_files(folder / "sentences" / "wav", deep=True))
    }
    rows: list[ClipRow] = []
    graded: list[RatingRow] = []
    problems: list[Problem] = []
    for path in evaluations:
        for turn in _turns(path, several, problems):
            if part != "all" and part[:5] != {"impro": "impro", "script": "scrip"}[turn.kind]:
                continue
            place = path.parents[2] / "sentences" / "wav"
            wav = place / turn.name.rpartition("_")[0] / f"{turn.name}.wav"
            rows.append(
                clip_row(
                    "iemocap",
                    turn.name,
                    files.get(turn.name, wav),
                    f"Ses0{turn.session}{turn.actor}",
                    LABELS[turn.code],
                    transcript=texts.get(turn.name, ""),
                    session=turn.session,
                )
            )
            graded += turn.ratings
    if not rows:
        raise BadInput(
            f"corpus.root={root} holds no {'' if part == 'all' else part + ' '}turns in its "
            "evaluations: their blocks start like [6.2901 - 8.2357] Ses01F_impro01_F000 neu [...]."
        )
    table, ratings = clip_table(rows), rating_table(graded)
    votes = count_votes(ratings[~ratings["own"]], table)
    return Raw(table, CLASSES, votes, ratings, problems=tuple(problems))


def _turns(path: Path, several: str, problems: list[Problem]) -> list[_Turn]:
    """The turns of one dialogue. Lines that are neither turns nor ratings are not read."""
    turns: list[_Turn] = []
    for line in text_lines(path):
        if line.startswith("["):
            match = _TURN.fullmatch(line)
            if match is not None and match[5] in LABELS:
                turns.append(_Turn(match[1], match[2], match[3], match[4], match[5]))
            elif "Ses" in line:
                problems.append(name_problem("iemocap", line, "[..] Ses01F_impro01_F000 neu [..]"))
        elif turns and (match := _RATING.fullmatch(line)) is not None:
            turns[-1].ratings += _ratings(turns[-1], *match.groups(), several=several)
    return turns


def _ratings(
    turn: _Turn, kind: str, who: str, number: str, text: str, *, several: str
) -> list[RatingRow]:
    clip = f"iemocap/{turn.name}"
    rater = f"{kind}-E{number}" if who == "E" else f"Ses0{turn.session}{who}"
    own = who == turn.actor
    text = text.split("(")[0]  # behind it are remarks
    if kind == "A":
        values = {name: float(value) for name, value in _ATTRIBUTE.findall(text)}
        named = {_ATTRIBUTES[name]: value for name, value in values.items()}
        return [RatingRow(clip, rater, "", 0.0, own=own, **named)] if values else []
    words = dict.fromkeys(common_name(word) for word in text.split(";") if word.strip())
    weight = 1.0 if several == "each" else 1.0 / max(len(words), 1)
    return [RatingRow(clip, rater, word, weight, own=own) for word in words]


def _transcripts(sessions: list[Path]) -> dict[str, str]:
    """Turn -> text, from lines like 'Ses01F_impro01_F000 [006.2901-008.2357]: Excuse me.'"""
    texts: dict[str, str] = {}
    for folder in sessions:
        for path in sorted((folder / "dialog" / "transcriptions").glob("Ses*.txt")):
            for line in text_lines(path):
                head, colon, text = line.partition("]:")
                if colon and head.startswith("Ses"):
                    texts[head.split()[0]] = text.strip()
    return texts


LAYOUT = (
    "give the folder that holds Session1/ to Session5/, with dialog/EmoEvaluation/, "
    "dialog/transcriptions/ and sentences/wav/ in each"
)
INFO = CorpusInfo(
    name="iemocap",
    description="IEMOCAP: acted English dialogues, improvised and scripted, 10 speakers, with all "
    "raters' categories and attributes",
    read=_read,
    classes=CLASSES,
    published={
        "neutral": 1708,
        "happy": 595,
        "excited": 1041,
        "sad": 1084,
        "angry": 1103,
        "frustrated": 1849,
        "fearful": 40,
        "disgust": 2,
        "surprised": 107,
        "other": 3,
        "": 2507,
    },
    speakers=10,
    source="https://sail.usc.edu/iemocap (licensed)",
    layout=LAYOUT,
    options={
        "part": "all (default), improvised or scripted",
        "several": "each (default): a rater's every category is a vote; share: a share of one",
    },
    counted="the release's consensus labels, 10039 turns in all (Chou and Lee 2020); disgust 2 and "
    "other 3 from memory",
    remarks=(
        "corpus.classes=[angry,happy+excited,sad,neutral] gives the 5531 turns of most papers "
        "(1103, 1636, 1084, 1708)",
        "Gan et al. 2025, Table 1, over these classes: S_A 2696, S_B 3902, S_C 4449 pieces of at "
        "most 7 s; S_A and S_B are the 5531 turns in 6598 pieces",
    ),
)
