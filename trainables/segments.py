"""Segments of frames, which a network reads one by one, and what they say of an utterance.

Segments overlap, so they are never stored: the frames are kept once, and a segment is where it
begins. Segments of an utterance follow one another, and no segment spans two utterances.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from trainables.excerpts import Excerpts, Places
from trainables.stage import Sequences
from trainables.waves import Pieces

if TYPE_CHECKING:
    from torch import Tensor

QUANTILES = (1, 99, 25, 50, 75)
"""per cent, in the order of eqs. 15 to 17"""
OVER = (0.2, 0.3)
"""thresholds of eq. 18"""


@dataclass(frozen=True)
class Segments:
    """Where the segments of several parts lie in one array of frames."""

    frames: NDArray[np.float32]
    """[F, D] of all utterances, the short ones lengthened"""
    starts: Mapping[str, NDArray[np.int64]]
    """by part: [S] first frame of each segment"""
    counts: Mapping[str, NDArray[np.int64]]
    """by part: [n] segments of each utterance, at least one"""
    length: int
    """frames of a segment"""

    def rows(self, part: str) -> Sequences:
        """[S] rows of [length, D], the segments of a part."""
        begins = self.starts[part]
        as_they_are = np.zeros(len(begins), np.float32), np.ones(len(begins), np.float32)
        return Excerpts(self.frames, Places(begins, begins + self.length, *as_they_are))


def owners(counts: NDArray[np.int64]) -> Pieces:
    """Which segment is of which utterance: `counts` [n] of each, in order."""
    return Pieces({}, np.repeat(np.arange(len(counts)), counts), len(counts))


def count(rows: Sequences, *, length: int, hop: int) -> NDArray[np.int64]:
    """[n] segments of each utterance, as `cut` makes them."""
    return np.maximum(0, rows.lengths - length) // hop + 1


def cut(parts: Mapping[str, Sequences], *, length: int = 32, hop: int = 1) -> Segments:
    """Segments of `length` frames, one every `hop` frames (Mao et al. 2021, section VI).

    The frames behind the last whole segment are not read. An utterance of fewer than `length`
    frames is one segment, lengthened at its end by each band's least value in it: a band's floor,
    where 0 might be loud.

    Args:
        parts: by name, rows of frames [L_i, D]
        length: frames of a segment, >= 1
        hop: frames from one segment to the next, >= 1

    Raises:
        ValueError: an utterance without frames
    """
    blocks: list[NDArray[np.float32]] = []
    starts: dict[str, NDArray[np.int64]] = {}
    counts: dict[str, NDArray[np.int64]] = {}
    total = 0
    for name, rows in parts.items():
        lengths = rows.lengths
        if (lengths < 1).any():
            empty = int(np.flatnonzero(lengths < 1)[0])
            raise ValueError(f"utterance {empty} of the {name} part has no frames; leave it out")
        own = count(rows, length=length, hop=hop)
        first = []
        for row, n in enumerate(own):
            frames = np.asarray(rows[row], dtype=np.float32)
            if len(frames) < length:
                floor = np.repeat(frames.min(axis=0)[None], length - len(frames), axis=0)
                frames = np.concatenate([frames, floor])
            blocks.append(frames)
            first.append(total + hop * np.arange(n))
            total += len(frames)
        starts[name] = np.concatenate([np.zeros(0, np.int64), *first]).astype(np.int64)
        counts[name] = own
    width = blocks[0].shape[1] if blocks else 0
    whole = np.concatenate([np.zeros((0, width), np.float32), *blocks])
    return Segments(whole, starts, counts, length)


def collate(rows: Mapping[str, Any]) -> dict[str, Tensor]:
    """A batch: `segment` [B, 1, D, length] of the rows of that name [length, D]."""
    import torch

    segment = np.stack(rows["segment"]).transpose(0, 2, 1)[:, None]
    return {"segment": torch.from_numpy(np.ascontiguousarray(segment))}


def statistics(
    probabilities: NDArray[np.floating[Any]], counts: Sequence[int] | NDArray[np.int64]
) -> NDArray[np.float32]:
    """What the segments of each utterance say, as 8 values a class (eqs. 14 to 18).

    Of each class's probability over the utterance's segments: the mean, percentiles 1 and 99, the
    three quartiles, and the shares of segments above 0.2 and above 0.3.

    Args:
        probabilities: [S, K] of the segments, utterance by utterance
        counts: [n] segments of each utterance, whose sum is S

    Returns:
        [n, 8 K], class by class; in 0 .. 1
    """
    counts = np.asarray(counts, dtype=np.int64)
    if counts.sum() != len(probabilities):
        raise ValueError(f"{len(probabilities)} segments cannot be {counts.sum()} of utterances")
    blocks = np.zeros((len(counts), probabilities.shape[1], 3 + len(QUANTILES)), np.float32)
    ends = np.cumsum(counts)
    for place, (end, count) in enumerate(zip(ends, counts, strict=True)):
        own = probabilities[end - count : end].astype(np.float64)
        blocks[place, :, 0] = own.mean(axis=0)
        blocks[place, :, 1:6] = np.percentile(own, QUANTILES, axis=0).T
        for column, threshold in enumerate(OVER, start=6):
            blocks[place, :, column] = (own > threshold).mean(axis=0)
    return blocks.reshape(len(counts), -1)
