"""A study's folder, scored from probabilities by the product's own scorer."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray
from scipy.special import softmax

from raysearch.search.scorer import Scorer
from raysearch.selection import SPEAKER, Score
from raysearch.stages import Answers, FoldOutcome
from raysearch.study.ledger import Ledger

CLASSES = ("happy", "sad", "angry")


@dataclass(frozen=True)
class Scored:
    """A study in a folder, and what it was scored from."""

    folder: Path
    y: NDArray[np.int64]
    """[K, n] labels of the test clips; a fold validates on those of the next"""
    p: NDArray[np.float32]
    """[C, K, n, 3] of the test clips"""
    female: NDArray[np.bool_]
    """[K] which speakers are"""


def write_scored(
    folder: Path,
    *,
    settings: int = 3,
    objective: Any = "ua",
    clips: int = 24,
    seed: int = 0,
    best_epochs: Sequence[int] = (),
    protocol: str = "loso",
    folds: int = 6,
) -> Scored:
    """Six speakers, every second one female, whose settings are worse and more certain each.

    Args:
        folder: is made.
        settings: C; they have the strategies "soft" and "hard" in turn.
        objective: of the study.
        clips: n, of each speaker.
        seed: of everything.
        protocol: of the study; any but loso has four speakers a fold, named v0 to v3.
        folds: K; one alone validates on labels of its own test part.
        best_epochs: by fold, of ten; none: the trainings have no epochs.
    """
    rng, k = np.random.default_rng(seed), folds
    y = np.tile(np.arange(clips) % 3, (k, 1))
    female = np.arange(k) % 2 == 0
    logits = rng.normal(size=(settings, k, clips, 3)) + 1.2 * np.eye(3)[y]
    sharp = 1 + 2 * np.arange(settings)[:, None, None, None]
    p = softmax(logits * sharp, axis=-1).astype(np.float32)
    names = [f"s{f}" for f in range(k)]
    following = np.roll(np.arange(k), -1)
    both = [
        {
            f"sex={sex}": (np.full(clips, inside[following[f]]), np.full(clips, inside[f]))
            for sex, inside in (("female", female), ("male", ~female))
        }
        for f in range(k)
    ]
    if protocol != "loso":
        every = np.arange(clips) % 4
        speakers = {f"{SPEAKER}v{n}": (every == n, every == n) for n in range(4)}
        both = [{**groups, **speakers} for groups in both]
    answers = [
        Answers(validation=y[following[f]], unseen=y[f], selected=0, test=clips, groups=both[f])
        for f in range(k)
    ]
    ends = [{"best_epoch": n, "last_epoch": 10} for n in best_epochs] or [{}] * k
    scorer = Scorer(tuple(names), tuple(answers), ("a", "b", "c"), ())
    folder.mkdir(parents=True)
    choice = {"strategy": {"choice": ["soft", "hard"]}}
    configuration = {"method": "toy", "protocol": {"name": protocol}, "seed": 0, "params": choice}
    (folder / "study.yaml").write_text(yaml.safe_dump(configuration | {"objective": objective}))
    entries = [
        {"name": n, "index": f, "test_groups": [n], "val_groups": [names[following[f]]]}
        | {"n_test": clips}
        for f, n in enumerate(names)
    ]
    (folder / "folds.json").write_text(json.dumps(entries))
    names_of = [objective] if isinstance(objective, str) else objective
    with Ledger(folder / "ledger.sqlite", write=True) as ledger:
        ledger.set_fact("classes", list(CLASSES))
        for c in range(settings):
            setting = {"strategy": ("soft", "hard")[c % 2], "lr": 0.1 * (c + 1)}
            ledger.add_trial(c, setting, "enqueued" if c == 0 else "tpe")
            rows = [
                scorer.row(c, f, [FoldOutcome(p[c, following[f]], p[c, f], (), (), 1.0, **ends[f])])
                for f in range(k)
            ]
            ledger.record_folds(rows)
            values = {name: Score(name, CLASSES).of(rows) for name in names_of}
            extra = {"values": values} if len(values) > 1 else {}
            ledger.finish_trial(c, "complete", next(iter(values.values())), extra=extra)
    return Scored(folder, y, p, female)
