"""A tree in IEMOCAP's format with the classes of the release in their proportions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soundfile

RELEASE = {
    "neu": 1708, "hap": 595, "exc": 1041, "sad": 1084, "ang": 1103,
    "fru": 1849, "fea": 40, "dis": 2, "sur": 107, "oth": 3, "xxx": 2507,
}  # fmt: skip
"""Turns of the release by its consensus labels."""
HEARD = {
    "neu": "Neutral", "hap": "Happiness", "exc": "Excited", "sad": "Sadness", "ang": "Anger",
    "fru": "Frustration", "fea": "Fear", "dis": "Disgust", "sur": "Surprise", "oth": "Other",
    "xxx": "Anger",
}  # fmt: skip


def write_iemocap(root: Path, share: int = 50, observers: Sequence[int] = (1, 2)) -> dict[str, int]:
    """A tree of a `share`-th of the release's turns, rounded up; returns turns by label.

    Two raters of each turn hear its label and a third hears frustration; nobody agrees on `xxx`.
    Each of the observers rates every turn's valence and activation, and not all alike.
    """
    counts = {code: -(-count // share) for code, count in RELEASE.items()}
    turns = [code for code, count in counts.items() for _ in range(count)]
    dialogues: dict[str, list[str]] = {}
    for number, code in enumerate(turns):
        session, actor = 1 + number % 5, "FM"[number // 5 % 2]
        dialogue = f"Ses0{session}F_impro01"
        name = f"{dialogue}_{actor}{number:03d}"
        second = "Sadness" if code == "xxx" else HEARD[code]
        dialogues.setdefault(dialogue, []).append(
            f"[{number}.0 - {number}.9]\t{name}\t{code}\t[2.5, 2.5, 2.5]\n"
            f"C-E1:\t{HEARD[code]};\t()\nC-E2:\t{second};\t()\nC-E3:\tFrustration;\t()\n"
            + "".join(
                f"A-E{rater}:\tval {1 + (number // 10 + rater // 3) % 5}; act 3; dom 3;\t()\n"
                for rater in observers
            )
        )
        wav = root / f"Session{session}" / "sentences" / "wav" / dialogue / f"{name}.wav"
        wav.parent.mkdir(parents=True, exist_ok=True)
        noise = np.random.default_rng(number).uniform(-0.3, 0.3, 1600)
        soundfile.write(wav, noise, 16_000)
    for dialogue, blocks in dialogues.items():
        folder = root / f"Session{dialogue[4]}" / "dialog" / "EmoEvaluation"
        folder.mkdir(parents=True)
        (folder / f"{dialogue}.txt").write_text("\n".join(blocks))
    return counts
