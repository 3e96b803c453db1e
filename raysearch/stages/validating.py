"""Who validates a fold, and who selects: the next groups of the circle, or a seeded share."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from raysearch.errors import BadInput
from raysearch.stages.divisions import unknown_speakers

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class ValidationRule:
    """How validation and selection are chosen: arguments of `divide`."""

    protocol: str
    validation: str
    speakers: int
    share: float
    select: int
    seed: int
    turn: int = 0
    """which of the possible validation parts: the first, or a later one that shares nothing with
    it"""


def shares_clips(rows: pd.DataFrame, test: NDArray[np.bool_], rule: ValidationRule) -> bool:
    """Whether a share is of clips: where speakers are on both sides of a division, or unknown."""
    if rule.protocol != "column":
        return rule.protocol == "kfold"
    both = rows["speaker"][test].isin(rows["speaker"][~test]).any()
    return bool(both or unknown_speakers(rows).any())


def clips_of(rows: pd.DataFrame) -> NDArray[np.str_]:
    """What makes two rows the same clip."""
    return rows["audio" if "audio" in rows else "id"].to_numpy(dtype=str)


def next_groups(
    groups: NDArray[np.str_], names: Sequence[str], index: int, rule: ValidationRule
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Validation and selection: the groups that follow in the circle; after turns, further on."""
    others = [names[(index + step) % len(names)] for step in range(1, len(names))]
    others = _turned(others, rule.turn * rule.speakers)
    end = rule.speakers + rule.select
    return np.isin(groups, others[: rule.speakers]), np.isin(groups, others[rule.speakers : end])


def share_of(
    rows: pd.DataFrame,
    strata: NDArray[np.str_],
    allowed: NDArray[np.bool_],
    rule: ValidationRule,
    by_clip: bool,
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Validation and selection: seeded speakers (or clips) of each stratum."""
    share, select, seed = rule.share, rule.select, rule.seed
    units = clips_of(rows) if by_clip else rows["speaker"].to_numpy(dtype=str)
    val, chosen = np.zeros(len(rows), dtype=bool), np.zeros(len(rows), dtype=bool)
    several = len(set(strata[allowed])) > 1
    for stratum in sorted(set(strata[allowed])):
        inside = allowed & (strata == stratum)
        names = np.array(sorted(set(units[inside].tolist())))
        size = max(1, round(share * len(names)))
        further = round(share * len(names)) * bool(select) if by_clip else select
        if len(names) < 1 + size + further:
            if several and not by_clip:
                continue  # a corpus of too few speakers trains only
            raise BadInput(
                f"{stratum!r} leaves {len(names)} speakers for training and validation, but "
                f"{1 + size + further} are needed; add speakers, or lower validation.select"
            )
        ranked = names[np.argsort(rank_of(names, seed), kind="stable")].tolist()
        ranked = _turned(ranked, rule.turn * size)
        val |= inside & np.isin(units, ranked[:size])
        chosen |= inside & np.isin(units, ranked[size : size + further])
    return val, chosen


def _turned(names: Sequence[str], by: int) -> list[str]:
    """A circle of names, begun further on."""
    start = by % len(names)
    return [*names[start:], *names[:start]]


def rank_of(names: NDArray[np.str_], seed: int) -> NDArray[np.uint64]:
    """A pseudo-random rank of each name that does not depend on the others."""
    return np.array(
        [
            int.from_bytes(hashlib.sha256(f"{seed}\0{name}".encode()).digest()[:8], "big")
            for name in names
        ],
        dtype=np.uint64,
    )
