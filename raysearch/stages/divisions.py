"""Divisions that a corpus brings along, and training on each corpus to test on each other.

- `split`   a column names the part of each clip: training, development, test; several test parts
            are a fold each
- `column`  a column names the fold that tests each clip; "" is never tested
- `pairs`   a fold for each two corpora: trained on one, tested on the other

A division that is given is taken as it is: `sides` says which speakers and clips are on two sides
of it, and nothing is moved.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from raysearch.errors import BadInput, near

if TYPE_CHECKING:
    import pandas as pd

    from raysearch.stages.folds import Fold

    Mask = NDArray[np.bool_]

COLUMNS = {"split": "split", "column": "fold"}
"""the column that a protocol reads where a study names none"""
BY_SPEAKER = ("split", "column", "pairs")
"""protocols whose folds may be few, so that intervals are taken over test speakers"""
UNKNOWN = "unknown"
"""the name, within its corpus, of the speaker of clips whose speaker nobody knows"""
_PARTS = {
    "train": ("train", "training", "trn", "tr"),
    "dev": ("dev", "devel", "development", "valid", "validation", "val", "eval"),
    "test": ("test", "testing", "tst"),
}
"""what parts are called, in lower case; test1, test-2 and the like are test parts too"""


@dataclass(frozen=True)
class Parts:
    """The names of a column's parts: those to train on, to validate on, and to test on."""

    train: tuple[str, ...]
    dev: tuple[str, ...]
    test: tuple[str, ...]


def values_of(table: pd.DataFrame, protocol: str, column: str | None) -> NDArray[np.str_]:
    """[N] what the column of a division says of each clip, without a corpus's prefix.

    Raises:
        BadInput: the table has no such column, or nothing in it.
    """
    name = column or COLUMNS[protocol]
    if name not in table or not (table[name] != "").any():
        others = [str(x) for x in table.columns if x not in ("id", "path", "audio", "transcript")]
        raise BadInput(
            f"protocol={protocol} reads the column {name!r}, which the corpus does not have"
            f"{near(name, others)}; a manifest may have it, and protocol.column=NAME names another "
            f"one of {', '.join(others)}"
        )
    prefix = table["corpus"] + "/"
    return np.array(
        [str(x).removeprefix(p) for x, p in zip(table[name], prefix, strict=True)], dtype=str
    )


def validated_by(table: pd.DataFrame) -> list[set[str]]:
    """[N] the folds that validate on each clip, by its column `validation`.

    Raises:
        BadInput: the table has no such column, or nothing in it.
    """
    if "validation" not in table or not (table["validation"] != "").any():
        raise BadInput(
            "validation=column reads a column 'validation', the folds that validate on each clip "
            "('2', or several, '1;2'), which the corpus does not have; add it to the manifest, or "
            "write validation=share"
        )
    return [set(re.split(r"[;|\s]+", text.strip())) - {""} for text in table["validation"]]


def natural(name: str) -> list[tuple[int, int, str]]:
    """An order in which fold 10 follows fold 9."""
    return [
        (0, int(word), "") if word.isdecimal() else (1, 0, word)
        for word in re.split(r"(\d+)", name)
    ]


def parts_of(values: NDArray[np.str_], named: Mapping[str, Sequence[str]]) -> Parts:
    """Which values of a column are training, development and test parts.

    Args:
        values: [N] of `values_of`; "" is in no part.
        named: `protocol.train`, `protocol.dev` and `protocol.test`; without names a part has the
            usual ones.

    Raises:
        BadInput: a name that is no value, a value that is in two parts, or no part to train or to
            test on.
    """
    there = sorted(set(values.tolist()) - {""})
    problems = [
        f"protocol.{part}={name}: the column has no such value{near(name, there)}; its values are "
        f"{', '.join(there)}"
        for part, names in named.items()
        for name in names
        if name not in there
    ]
    by_part = {
        part: tuple(named.get(part) or [x for x in there if _is(part, x)]) for part in _PARTS
    }
    twice = [x for x in there if sum(x in names for names in by_part.values()) > 1]
    problems += [f"the value {x!r} of the column is in two parts; name each once" for x in twice]
    problems += [
        f"no value of the column is a part to {part} on; name it by protocol.{part}=[...] out of "
        f"{', '.join(there)}"
        for part in ("train", "test")
        if not by_part[part]
    ]
    if problems:
        raise BadInput(problems)
    return Parts(**by_part)


def _is(part: str, value: str) -> bool:
    word = value.lower().strip()
    return word in _PARTS[part] or (part == "test" and word.rstrip("0123456789-_ .") == "test")


def pairs_of(corpora: NDArray[np.str_]) -> Iterator[tuple[str, str]]:
    """Each corpus with each other, in order.

    Raises:
        BadInput: there is one corpus.
    """
    names = sorted(set(corpora.tolist()))
    if len(names) < 2:
        raise BadInput(
            f"protocol=pairs trains on each corpus and tests on each other, but there is one: "
            f"{names[0]}; give corpus=[NAME, NAME]"
        )
    for a in names:
        yield from ((a, b) for b in names if b != a)


def pair_name(trained: str, tested: str) -> str:
    """The name of the fold that is trained on one corpus and tested on another."""
    return f"{trained}-to-{tested}"


def unknown_speakers(table: pd.DataFrame) -> NDArray[np.bool_]:
    """[N] which clips are of speakers whom nobody knows."""
    flags: NDArray[np.bool_] = (table["speaker"] == table["corpus"] + "/" + UNKNOWN).to_numpy()
    return flags


def in_no_part(
    folds: Sequence[Fold], values: NDArray[np.str_], labelled: NDArray[np.bool_]
) -> list[str]:
    """A sentence on labelled clips of a given split that no fold trains, validates or tests on.

    Args:
        folds: of the split.
        values: [N] of `values_of`.
        labelled: [N] True where a clip has a label.
    """
    idle = labelled.copy()
    for fold in folds:
        for rows in (fold.train, fold.validation, fold.select, fold.test):
            idle[rows] = False
    if not idle.any():
        return []
    names, counts = np.unique(values[idle], return_counts=True)
    listing = ", ".join(f"{name or '(empty)'} {n}" for name, n in zip(names, counts, strict=True))
    return [
        f"{int(idle.sum())} labelled clips are in no part and are not used ({listing}): name their "
        "part by protocol.train=[...], protocol.dev=[...] or protocol.test=[...]"
    ]


def sides(
    folds: Sequence[Fold], table: pd.DataFrame, values: NDArray[np.str_] | None = None
) -> list[str]:
    """Sentences on what a given division has on two sides: speakers, and identical clips.

    Args:
        folds: of the division.
        table: the corpus table.
        values: [N] of `values_of`, where the validation part may be given, too.
    """
    speakers = table["speaker"].to_numpy(dtype=str)
    clips = table["audio" if "audio" in table else "id"].to_numpy(dtype=str)
    unknown = unknown_speakers(table)
    notes = []
    if unknown.any():
        notes.append(
            f"the speakers of {int(unknown.sum())} clips are not known: nobody can check whether "
            "test speakers are heard in training"
        )
    for what, names, shown, end in (
        (
            "speakers",
            np.where(unknown, "", speakers),
            speakers,
            "the scores say little about new speakers",
        ),
        ("clips", clips, table["id"].to_numpy(dtype=str), "these are known by heart"),
    ):
        for one, others in _SIDES:
            both = {
                fold.name: _shared(names, shown, fold, one, others)
                for fold in folds
                if one == "test" or _validation_is_given(fold, values)
            }
            hit = {name: found for name, found in both.items() if found}
            if hit:
                most = max(hit, key=lambda name: len(hit[name]))
                notes.append(
                    f"the given division has {what} on two sides: in {len(hit)} of {len(folds)} "
                    f"folds, at most {len(hit[most])} {one} {what} (fold {most}; first: "
                    f"{hit[most][0]}) are in {' or '.join(others)} too; "
                    + (end if one == "test" else "validation flatters settings")
                )
    return notes


_SIDES = (("test", ("training", "validation")), ("validation", ("training",)))


def _validation_is_given(fold: Fold, values: NDArray[np.str_] | None) -> bool:
    """Whether the division names the validation part, which is no share of another one then."""
    if values is None:
        return False
    return set(values[fold.validation].tolist()).isdisjoint(values[fold.train].tolist())


def _shared(
    names: NDArray[np.str_], shown: NDArray[np.str_], fold: Fold, one: str, others: Sequence[str]
) -> list[str]:
    """What a part of a fold shares with others, by `names` [N], as `shown` [N] calls it."""
    rows = {
        "training": fold.train,
        "validation": np.concatenate([fold.validation, fold.select]),
        "test": fold.test,
    }
    there = set(names[np.concatenate([rows[other] for other in others])].tolist()) - {""}
    return list({names[row]: str(shown[row]) for row in rows[one] if names[row] in there}.values())
