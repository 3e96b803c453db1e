"""MSP-IMPROV: 8438 turns of 12 actors in 6 dyadic sessions, with its raters' votes.

Busso et al., IEEE Transactions on Affective Computing 8(1), 2017. Evalution.txt (its release spells
it so) holds the labels and every rating in the format of `corpora.msp`, under the names of the
videos; a clip is sessionN/SCENARIO/TYPE/MSP-IMPROV-SCENARIO-SPEAKER-TYPE-TURN.wav. TYPE is T
(target sentence, improvised), R (target sentence, read), S (the other improvised turns) or P
(natural interaction between the takes).
"""

from __future__ import annotations

import re
from pathlib import Path

from raysearch.data.corpora.agreement import count_votes
from raysearch.data.corpora.corpus import CorpusInfo, Options, Problem, Raw
from raysearch.data.corpora.folders import audio_files
from raysearch.data.corpora.msp import LETTERS, blocks
from raysearch.data.corpora.readers import (
    ClipRow,
    RatingRow,
    clip_row,
    clip_table,
    name_problem,
    rating_table,
    text_lines,
    with_root,
)
from raysearch.errors import BadInput

CLASSES = ("neutral", "happy", "sad", "angry", "other")
TYPES = {"T": "target improvised", "R": "target read", "S": "other improvised", "P": "natural"}
_NAME = re.compile(r"(?:MSP|UTD)-IMPROV-(S\d\d[AHNS])-([FM])(\d\d)-([TRSP])-([A-Z]{2}\d+)")
_FILES = ("Evalution.txt", "Evaluation.txt")


@with_root
def _read(root: Path, options: Options) -> Raw:
    types = _types(options)
    places = [folder / name for folder in (root, *_below(root)) for name in _FILES]
    labels = next((place for place in places if place.is_file()), None)
    if labels is None:
        raise BadInput(f"corpus.root={root} holds no Evalution.txt: {LAYOUT}.")
    files = {path.stem.upper(): path for path in reversed(audio_files(root, deep=True))}
    rows: list[ClipRow] = []
    graded: list[RatingRow] = []
    problems: list[Problem] = []
    for block in blocks(text_lines(labels)):
        match = _NAME.fullmatch(block.clip.upper())
        if match is None or block.letter not in LETTERS:
            problems.append(
                name_problem("msp_improv", block.clip, "UTD-IMPROV-S01A-F01-S-FM01; N;")
            )
            continue
        scenario, sex, session, kind, turn = match.groups()
        if kind not in types:
            continue
        stem = f"MSP-IMPROV-{scenario}-{sex}{session}-{kind}-{turn}"
        path = files.get(
            stem, root / "Audio" / f"session{int(session)}" / scenario / kind / f"{stem}.wav"
        )
        label = LETTERS[block.letter]
        rows.append(
            clip_row("msp_improv", stem, path, f"{sex}{session}", label, session=str(int(session)))
        )
        graded += [one.row(rows[-1].id) for one in block.ratings]
    if not rows:
        raise BadInput(
            f"{labels} holds no turns of the types {'+'.join(types)}: its lines start like "
            "UTD-IMPROV-S01A-F01-S-FM01.avi; N;"
        )
    table, ratings = clip_table(rows), rating_table(graded)
    votes = count_votes(ratings, table) if len(ratings) else None
    return Raw(table, CLASSES, votes, ratings if graded else None, problems=tuple(problems))


def _types(options: Options) -> tuple[str, ...]:
    text = str(options.get("types", "all"))
    types = tuple(TYPES) if text == "all" else tuple(text.upper().split("+"))
    if unknown := [word for word in types if word not in TYPES]:
        letters = ", ".join(f"{letter} ({meaning})" for letter, meaning in TYPES.items())
        raise BadInput(
            f"corpus.options.types={text} names {unknown[0]!r}: it is all, or some of {letters} "
            "joined by '+'."
        )
    return types


def _below(root: Path) -> list[Path]:
    return sorted(path for path in root.iterdir() if path.is_dir()) if root.is_dir() else []


LAYOUT = "give the folder that holds Evalution.txt and, in it or below it, session1/S01A/..."
INFO = CorpusInfo(
    name="msp_improv",
    description="MSP-IMPROV: acted and natural American English, 12 speakers, with raters' votes",
    read=_read,
    classes=CLASSES,
    published={"neutral": 3477, "happy": 2644, "sad": 885, "angry": 792, "other": 85, "": 555},
    speakers=12,
    source="https://ecs.utdallas.edu/research/researchlabs/msp-lab/MSP-Improv.html (licensed)",
    layout=LAYOUT,
    options={
        "types": "all (default), or some of T, R, S, P joined by '+': "
        + ", ".join(f"{letter} {meaning}" for letter, meaning in TYPES.items())
    },
    counted="Busso et al. 2017, Table 4 (as quoted in public code); Ahn et al. 2024 gives the same "
    "four classes",
)
