"""MSP-Podcast: natural English speech from podcasts, with its raters' votes.

Lotfian and Busso, IEEE Transactions on Affective Computing 10(4), 2019. Labels/labels_consensus.csv
has a row a clip (FileName, EmoClass, EmoAct, EmoVal, EmoDom, SpkrID, Gender, Split_Set; older
releases spell it labels_concensus.csv). The single ratings are rows of Labels/labels_detailed.csv
(FileName and a line of the format of `corpora.msp`), or lines of Labels/labels.txt. Clips of
speakers whom the release does not know share a speaker with the unknown ones of the same podcast.
The session is the official part (Train, Development, Test1, ...), so that protocol=loseso leaves
one part out.
"""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path

from raysearch.data.corpora.agreement import count_votes
from raysearch.data.corpora.corpus import CorpusInfo, Options, Problem, Raw
from raysearch.data.corpora.folders import child, find_file, find_folders
from raysearch.data.corpora.msp import LETTERS, Rating, blocks, rating
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

CLASSES = tuple(name for name in LETTERS.values() if name)
_NAME = re.compile(r"MSP-PODCAST_(\d+)_\d+(?:_\d+)?")
_NEEDED = ("FileName", "EmoClass", "SpkrID", "Split_Set")


@with_root
def _read(root: Path, options: Options) -> Raw:
    labels = next(iter(find_folders(root, "labels?")), root)
    audio = child(labels.parent if labels != root else root, "Audios", "Audio") or root
    consensus = find_file([labels], "labels_consensus.csv", "labels_concensus.csv")
    if consensus is None:
        raise BadInput(f"corpus.root={root} holds no Labels/labels_consensus.csv: {LAYOUT}.")
    frame = list(csv.DictReader(io.StringIO("\n".join(text_lines(consensus)))))
    if lacking := [name for name in _NEEDED if not frame or name not in frame[0]]:
        columns = ", ".join(frame[0]) if frame else "none"
        raise BadInput(
            f"{consensus} has no column {', '.join(lacking)}: its columns are {columns}."
        )
    texts = child(audio.parent, "Transcripts") or root
    rows: list[ClipRow] = []
    problems: list[Problem] = []
    for row in frame:
        stem = row["FileName"].rpartition(".")[0] or row["FileName"]
        match = _NAME.fullmatch(stem)
        if match is None or row["EmoClass"] not in LETTERS:
            problems.append(
                name_problem(
                    "msp_podcast", f"{stem} ({row['EmoClass']})", "MSP-PODCAST_0001_0008 (N)"
                )
            )
            continue
        who = row["SpkrID"].strip()
        speaker = who if who.isdigit() else f"unknown-{match[1]}"
        text = texts / f"{stem}.txt"
        rows.append(
            clip_row(
                "msp_podcast",
                stem,
                audio / f"{stem}.wav",
                speaker,
                LETTERS[row["EmoClass"]],
                transcript=" ".join(text_lines(text)) if text.is_file() else "",
                session=row["Split_Set"],
            )
        )
    if not rows:
        raise BadInput(f"{consensus} names no clip like MSP-PODCAST_0001_0008.wav: {LAYOUT}.")
    table = clip_table(rows)
    graded = _single(labels, set(table["id"]))
    notes = [] if graded else ["msp_podcast: no votes are used, for there are no single ratings."]
    if unknown := sum("/unknown-" in speaker for speaker in table["speaker"]):
        notes.append(
            f"msp_podcast: {unknown} clips are of unknown speakers: those of one podcast count as "
            "one speaker."
        )
    ratings = rating_table(graded)
    votes = count_votes(ratings, table) if graded else None
    return Raw(
        table, CLASSES, votes, ratings if graded else None, tuple(notes), problems=tuple(problems)
    )


def _single(labels: Path, clips: set[str]) -> list[RatingRow]:
    """The single ratings, from the CSV or else the text, of clips that are in the table."""
    pairs: list[tuple[str, Rating | None]] = []
    detailed = find_file([labels], "labels_detailed.csv")
    text = find_file([labels], "labels.txt")
    if detailed is not None:
        cells = csv.reader(io.StringIO("\n".join(text_lines(detailed))))
        pairs = [(row[0].rpartition(".")[0], rating(row[1])) for row in cells if len(row) > 1]
    elif text is not None:
        pairs = [(b.clip, one) for b in blocks(text_lines(text)) for one in b.ratings]
    rows = [
        one.row(clip)
        for stem, one in pairs
        if one is not None and (clip := f"msp_podcast/{stem}") in clips
    ]
    if not rows and (path := detailed or text) is not None:
        raise BadInput(
            f"{path} holds no single rating of a clip of this corpus, as "
            "'WORKER0000001; Neutral; Neutral; A:1.0; V:4.0; D:1.0;' after the clip's name: take "
            "the file of the same release, or put it elsewhere to do without votes."
        )
    return rows


LAYOUT = "give the folder that holds Labels/labels_consensus.csv and Audios/"
INFO = CorpusInfo(
    name="msp_podcast",
    description="MSP-Podcast: natural English of podcasts, with raters' votes",
    read=_read,
    classes=CLASSES,
    published={"neutral": 26009, "happy": 14285, "sad": 2649, "angry": 3218},
    source="https://ecs.utdallas.edu/research/researchlabs/msp-lab/MSP-Podcast.html (licensed)",
    layout=LAYOUT,
    counted="Ahn et al. 2024, Table 1, for release 1.8: four classes; its 1285 known speakers, and "
    "the counts of other classes and releases, are not checked",
)
