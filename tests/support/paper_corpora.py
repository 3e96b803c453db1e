"""The corpora of the papers, in their own formats and small: every class, speakers enough."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import soundfile

from tests.support import trees
from tests.support.iemocap_release import write_iemocap


def emodb(root: Path) -> Path:
    """70 clips of half a second: ten speakers, each with every class."""
    for speaker in ("03", "08", "09", "10", "11", "12", "13", "14", "15", "16"):
        for letter in "WLEAFTN":
            path = root / "wav" / f"{speaker}a01{letter}a.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            rng = np.random.default_rng([int(speaker), ord(letter)])
            soundfile.write(path, rng.uniform(-0.3, 0.3, 8000), 16_000)
    return root


def iemocap(root: Path) -> Path:
    """A fiftieth of the release; four observers rate attributes."""
    write_iemocap(root, 50, (1, 2, 3, 4))
    return root


def cremad(root: Path) -> Path:
    """Ten actors with two clips of each of the four classes."""
    names = [
        f"{actor}_{text}_{emotion}_XX"
        for actor in range(1001, 1011)
        for text in ("IEO", "TIE")
        for emotion in ("ANG", "HAP", "NEU", "SAD")
    ]
    with_votes = root / "tabulatedVotes.csv"
    for name in names:
        trees.tone(root / "AudioWAV" / f"{name}.wav", root)
    with with_votes.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["", "A", "D", "F", "H", "N", "S", "fileName"])
        for number, name in enumerate(names):
            votes = [2 * (name[9] == letter) for letter in "ADFHNS"]
            writer.writerow([100001 + number, *votes, name])
    return root


def msp_improv(root: Path) -> Path:
    """Six speakers in three sessions, with two turns of each of the four classes."""
    words = {"A": "Angry", "H": "Happy", "N": "Neutral", "S": "Sad"}
    blocks = [
        f"UTD-IMPROV-S0{session}{letter}-{sex}0{session}-S-FM0{turn}.avi; {letter}; "
        f"A:2.0; V:3.5; D:3.0; N:4.0;\nP001-p1; {word}; {word}; A:2.0; V:3.0; D:3.0; N:4.0;\n"
        for session in (1, 2, 3)
        for sex in "FM"
        for letter, word in words.items()
        for turn in (1, 2)
    ]
    return trees.msp_improv(root, "\n".join(blocks))


def msp_podcast(root: Path) -> Path:
    """Six speakers with two clips of each of the four classes."""
    head = "FileName,EmoClass,EmoAct,EmoVal,EmoDom,SpkrID,Gender,Split_Set\n"
    clips = [
        f"MSP-PODCAST_{speaker:04d}_{2 * place + turn:04d}.wav,{letter},2.2,4.0,2.6,{speaker},"
        "Female,Train\n"
        for speaker in range(1, 7)
        for place, letter in enumerate("AHNS")
        for turn in (0, 1)
    ]
    return trees.msp_podcast(root, consensus=head + "".join(clips))


TREES = {
    "emodb": emodb,
    "iemocap": iemocap,
    "cremad": cremad,
    "msp_improv": msp_improv,
    "msp_podcast": msp_podcast,
    "librispeech": trees.librispeech,
}
"""corpus -> what writes a tree of it into a folder that is not there yet"""
