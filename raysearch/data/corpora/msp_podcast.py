"""MSP-Podcast: natural English speech from podcasts, with its raters' votes.

Lotfian and Busso, IEEE Transactions on Affective Computing 10(4), 2019. Labels/ holds a row a clip
(FileName, EmoClass, EmoAct, EmoVal, EmoDom, SpkrID, Gender, Split_Set) and the single ratings, in
the forms of `corpora.msp_labels`. Clips of
speakers whom the release does not know share a speaker with the unknown ones of the same podcast.
The session, and the column `split`, is the official part (Train, Development, Test1, ...), so that
protocol=split takes it as published, and protocol=loseso leaves one part out.
"""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd

from raysearch.data.corpora.agreement import count_votes
from raysearch.data.corpora.corpus import CorpusInfo, Options, Problem, Raw
from raysearch.data.corpora.folders import child, find_folders
from raysearch.data.corpora.msp import LETTERS
from raysearch.data.corpora.msp_labels import consensus_of, ratings_of
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
    consensus, frame = consensus_of(labels)
    if consensus is None:
        raise BadInput(
            f"corpus.root={root} holds no Labels/labels_consensus.csv (or .json): {LAYOUT}."
        )
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
        rows.append(
            clip_row(
                "msp_podcast",
                stem,
                audio / f"{stem}.wav",
                speaker,
                LETTERS[row["EmoClass"]],
                transcript=_transcript(texts / f"{stem}.txt"),
                session=row["Split_Set"],
                further={"split": row["Split_Set"]},
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
    return Raw(
        table,
        CLASSES,
        count_votes(ratings, table) if graded else None,
        ratings if graded else None,
        tuple(notes),
        problems=tuple(problems),
        means=_means(frame, table),
    )


def _means(frame: list[dict[str, str]], table: pd.DataFrame) -> pd.DataFrame:
    """The attributes that the consensus gives, on the table's index."""
    names = {"EmoVal": "valence", "EmoAct": "activation", "EmoDom": "dominance"}
    given = pd.DataFrame(frame, dtype=str)
    stems = [name.rpartition(".")[0] or name for name in given["FileName"]]
    means = given.reindex(columns=list(names)).rename(columns=names)
    means = means.apply(pd.to_numeric, errors="coerce")
    means = means.set_axis([f"msp_podcast/{stem}" for stem in stems])
    return means[~means.index.duplicated()].reindex(table["id"]).set_axis(table.index)


def _transcript(path: Path) -> str:
    return " ".join(text_lines(path)) if path.is_file() else ""


def _single(labels: Path, clips: set[str]) -> list[RatingRow]:
    """The single ratings of clips that are in the table."""
    path, pairs = ratings_of(labels)
    rows = [
        one.row(clip)
        for name, one in pairs
        if (clip := f"msp_podcast/{name.removesuffix('.wav')}") in clips
    ]
    if not rows and path is not None:
        raise BadInput(
            f"{path} holds no single rating of a clip of this corpus, as "
            "'WORKER0000001; Neutral; Neutral; A:1.0; V:4.0; D:1.0;' after the clip's name, or "
            "columns FileName, Worker, EmoClass_Major, EmoVal, EmoAct and EmoDom: take "
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
