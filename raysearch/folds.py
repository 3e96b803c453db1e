"""Protocols: how utterances are divided into train, validation and test.

- `loso`   leave one speaker out; validation is the next speaker (or a share of the others)
- `loseso` leave one session out; validation is the next session
- `loco`   leave one corpus out; validation is a share of the speakers of every other corpus
- `kfold`  stratified by class over utterances; speakers are on both sides, and the report says so

What a fold holds out is a *group* (a speaker, a session, a corpus, a part), and the honest
estimate asks each fold which groups it tested and which it validated on.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal


import numpy as np
import pandas as pd
from numpy.typing import NDArray

from raysearch.errors import BadInput

__all__ = ["Fold", "divide"]

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Fold:
    """One division of the utterances; rows index the corpus table."""

    name: str
    """what it holds out"""
    index: int
    train: Rows
    validation: Rows
    test: Rows
    unlabelled: Rows
    test_groups: frozenset[str]
    """the units (speakers; utterances' parts for kfold) whose test scores this fold gives"""
    val_groups: frozenset[str]


def divide(
    table: pd.DataFrame,
    classes: Sequence[str],
    *,
    protocol: Literal["loso", "loseso", "loco", "kfold"] = "loso",
    folds: int = 10,
    validation: Literal["next", "share"] = "next",
    share: float = 0.2,
    seed: int = 0,
) -> tuple[Fold, ...]:
    """The folds of a protocol, in an order that depends on the table alone.

    Args:
        table: the corpus table; rows with an empty label are the unlabelled part of every fold.
        classes: class names in order.
        protocol: see the module.
        folds: number of folds of `kfold`.
        validation: `next` holds out the next group of the circle as validation; `share` a seeded
            share of the remaining speakers, of each corpus. `loco` always takes a share.
        share: share of speakers (at least one of each corpus), in (0, 0.5].
        seed: the study's seed; only shares and `kfold` depend on it.

    Raises:
        BadInput: where the corpus cannot be divided so.
    """
    labelled = np.flatnonzero((table["label"] != "").to_numpy())
    unlabelled = np.flatnonzero((table["label"] == "").to_numpy())
    rows = table.iloc[labelled]
    speakers = rows["speaker"].to_numpy(dtype=str)
    if protocol == "kfold":
        groups = _parts(rows["label"].to_numpy(dtype=str), folds, seed)
    else:
        groups = _groups(rows, protocol)
    names = sorted(set(groups.tolist()))
    least = 2 if protocol == "loco" or validation == "share" else 3
    if len(names) < least:
        unit = {"loso": "speaker", "loseso": "session", "loco": "corpus", "kfold": "part"}[protocol]
        units = {"corpus": "corpora"}.get(unit, unit + "s")
        raise BadInput(
            f"protocol={protocol} needs at least {least} {units} (train, validation and test are "
            f"kept apart), but the corpus has {len(names)}: {', '.join(names)}; add {units}, or "
            "choose another protocol (protocol=kfold divides by utterance)"
        )
    made = []
    for index, name in enumerate(names):
        test = groups == name
        if protocol != "loco" and validation == "next":
            val = groups == names[(index + 1) % len(names)]
            val_groups = frozenset({names[(index + 1) % len(names)]})
            test_groups = frozenset({name})
        else:
            val = ~test & _share(rows, speakers, ~test, share, seed, protocol)
            unit = groups if protocol == "kfold" else speakers
            val_groups = frozenset(unit[val].tolist())
            test_groups = frozenset(unit[test].tolist())
        train = ~test & ~val
        made.append(
            Fold(
                name=name,
                index=index,
                train=labelled[train],
                validation=labelled[val],
                test=labelled[test],
                unlabelled=unlabelled,
                test_groups=test_groups,
                val_groups=val_groups,
            )
        )
    _check(made, table, classes)
    return tuple(made)


def _groups(rows: pd.DataFrame, protocol: str) -> NDArray[np.str_]:
    if protocol == "loco":
        return rows["corpus"].to_numpy(dtype=str)
    if protocol == "loso":
        return rows["speaker"].to_numpy(dtype=str)
    missing = rows["session"] == ""
    if missing.any():
        raise BadInput(
            f"protocol=loseso needs a session for every utterance, but {int(missing.sum())} have "
            f"none (first: {rows['id'][missing].iloc[0]}); use protocol=loso, or give sessions"
        )
    return (rows["corpus"] + "/" + rows["session"]).to_numpy(dtype=str)


def _parts(labels: NDArray[np.str_], folds: int, seed: int) -> NDArray[np.str_]:
    """Stratified parts, named part-00 and so on."""
    from sklearn.model_selection import StratifiedKFold

    names, counts = np.unique(labels, return_counts=True)
    if counts.min() < folds:
        name = str(names[counts.argmin()])
        raise BadInput(
            f"protocol=kfold with protocol.folds={folds} needs at least {folds} clips of every "
            f"class, but {name!r} has {counts.min()}; lower protocol.folds or leave the class out"
        )
    part = np.empty(len(labels), dtype="<U8")
    divider = StratifiedKFold(folds, shuffle=True, random_state=seed)
    for index, (_, test) in enumerate(divider.split(labels, labels)):
        part[test] = f"part-{index:02d}"
    return part


def _share(
    rows: pd.DataFrame,
    speakers: NDArray[np.str_],
    allowed: NDArray[np.bool_],
    share: float,
    seed: int,
    protocol: str,
) -> NDArray[np.bool_]:
    """A seeded share of the allowed speakers of each corpus (of the utterances for kfold)."""
    corpora = rows["corpus"].to_numpy(dtype=str)
    taken = np.zeros(len(rows), dtype=bool)
    if protocol == "kfold":
        order = _rank(rows["id"].to_numpy(dtype=str), seed)
        labels = rows["label"].to_numpy(dtype=str)
        for label in sorted(set(labels)):
            mine = np.flatnonzero(allowed & (labels == label))
            mine = mine[np.argsort(order[mine], kind="stable")]
            taken[mine[: max(1, round(share * len(mine)))]] = True
        return taken
    for corpus in sorted(set(corpora[allowed])):
        names = np.array(sorted(set(speakers[allowed & (corpora == corpus)])))
        if len(names) < 2:
            if len(set(corpora[allowed])) == 1:
                raise BadInput(
                    f"corpus {corpus!r} leaves {len(names)} speaker for training and validation; "
                    "two are needed; add speakers"
                )
            continue  # a corpus of one speaker trains only
        names = names[np.argsort(_rank(names, seed), kind="stable")]
        chosen = names[: max(1, round(share * len(names)))]
        taken |= np.isin(speakers, chosen) & (corpora == corpus)
    return taken


def _rank(names: NDArray[np.str_], seed: int) -> NDArray[np.uint64]:
    """A pseudo-random rank of each name that does not depend on the others."""
    return np.array(
        [
            int.from_bytes(hashlib.sha256(f"{seed}\0{name}".encode()).digest()[:8], "big")
            for name in names
        ],
        dtype=np.uint64,
    )


def _check(folds: Sequence[Fold], table: pd.DataFrame, classes: Sequence[str]) -> None:
    """Every fold can train every class, and has something to validate and test on."""
    labels = table["label"].to_numpy(dtype=str)
    problems = []
    for fold in folds:
        absent = [name for name in classes if name not in set(labels[fold.train])]
        if absent:
            problems.append(
                f"fold {fold.name!r} has no training clip of {', '.join(map(repr, absent))}: all "
                "of them are by its test and validation speakers; leave the class out with "
                "corpus.classes=[...], or add clips"
            )
        if not len(fold.validation):
            problems.append(
                f"fold {fold.name!r} has no validation clip: only one speaker is left beside the "
                "test; add speakers"
            )
    if problems:
        raise BadInput(problems)
