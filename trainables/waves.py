"""Waves and frames on their way to a network: cut into pieces, condition, padded with lengths.

Rows are `Sequences`. Pieces of a clip follow one another, so cutting copies nothing: it only adds
bounds. All streams are padded at the end. numpy does the work, in the thread that collates; what is
drawn at random belongs to the network.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from trainables.metrics import validation_scores
from trainables.stage import Array, Sequences

if TYPE_CHECKING:
    from torch import Tensor

WAVE = "wave"
"""the feature set of waves; all other rows of unlike lengths are frames"""
RATE = 16_000
"""samples a second of every wave"""
HOP = 160
"""samples from one frame to the next of every frame feature: 10 ms"""

Tail = Literal["merge", "pad"]


@dataclass(frozen=True)
class Pieces:
    """Clips cut into pieces: row p of each stream is a piece of the clip `clip[p]`."""

    streams: Mapping[str, Sequences]
    clip: NDArray[np.int64]
    """[P], ascending"""
    clips: int

    def __len__(self) -> int:
        return len(self.clip)

    def without_streams(self) -> Pieces:
        """Which piece is of which clip, without the audio, for what travels to workers."""
        return Pieces({}, self.clip, self.clips)


def _unit(stream: str) -> int:
    """Samples or frames a second."""
    return RATE if stream == WAVE else RATE // HOP


def _bounds(length: int, longest: int, shortest: int, tail: Tail) -> list[int]:
    """Where the pieces of one clip start, and its end."""
    starts = list(range(0, max(length, 1), longest))
    if tail == "merge" and len(starts) > 1 and length - starts[-1] < shortest:
        starts.pop()
    return [*starts, length]


def cut(
    streams: Mapping[str, Sequences],
    *,
    longest: float = 7.0,
    shortest: float = 1.5,
    tail: Tail = "merge",
    leader: str | None = None,
) -> Pieces:
    """Cut clips into pieces of `longest` seconds (Gan et al. 2025, section 4: 7 s).

    Args:
        streams: by name, `wave` in samples and frame features in hops of 10 ms; either alone, or
            both of the same clips
        longest: seconds of a piece, > 0
        shortest: seconds; what becomes of a shorter last piece says `tail`
        tail: "merge" joins it to the piece before, which then lasts up to longest + shortest;
            "pad" leaves it a piece of its own, with a full vote in its clip's score
        leader: the stream whose length the pieces divide; None: the wave where there is one. A
            clip of exactly 3 s has 301 frames, so frames that lead cut a piece of one frame off it

    Returns:
        the pieces; the streams' values are shared, not copied

    Raises:
        ValueError: no stream, or streams of unlike numbers of clips
    """
    sizes = {name: len(rows) for name, rows in streams.items()}
    if not sizes or len(set(sizes.values())) != 1:
        raise ValueError(f"streams must be of the same clips, but have so many: {sizes}")
    leader = leader or (WAVE if WAVE in streams else next(iter(streams)))
    unit = _unit(leader)
    bounds = [
        _bounds(int(n), round(longest * unit), round(shortest * unit), tail)
        for n in streams[leader].lengths
    ]
    clip = np.repeat(np.arange(len(bounds)), [len(b) - 1 for b in bounds])
    pieces = {}
    for name, rows in streams.items():
        scale = _unit(name) / unit
        starts = []
        places = rows.starts
        for first, length, inner in zip(places[:-1], rows.lengths, bounds, strict=True):
            # a stream that is shorter than the wave's length says leaves its last pieces short
            starts += [int(first + min(round(b * scale), length)) for b in inner[:-1]]
        pieces[name] = rows.split(np.array([*starts, places[-1]], dtype=np.int64))
    return Pieces(pieces, clip.astype(np.int64), len(bounds))


def over_clips(
    probabilities: NDArray[np.float32], pieces: Pieces, how: Literal["mean", "mean_log"] = "mean"
) -> NDArray[np.float32]:
    """Each clip's class probabilities [n, K] from those of its pieces [P, K].

    "mean" is their mean. "mean_log" is the mean of their logarithms, normalised again (CA-MSER's
    way): a piece that rules a class out rules it out for the clip.
    """
    values = probabilities.astype(np.float64)
    if how == "mean_log":
        values = np.log(np.maximum(values, 1e-30))
    sums = np.zeros((pieces.clips, values.shape[1]))
    np.add.at(sums, pieces.clip, values)
    means = sums / np.bincount(pieces.clip, minlength=pieces.clips)[:, None]
    if how == "mean_log":
        means = np.exp(means - means.max(axis=1, keepdims=True))
        means /= means.sum(axis=1, keepdims=True)
    return means.astype(np.float32)


def clip_scores(
    probabilities: NDArray[np.float32],
    *,
    y: NDArray[np.int64],
    pieces: Pieces,
    how: Literal["mean", "mean_log"] = "mean",
    k: int,
) -> dict[str, float]:
    """UA and WA of validation clips, and the mean of -log p of their label, from their pieces."""
    return validation_scores(over_clips(probabilities, pieces, how), y, k)


def samples(wave: Array) -> NDArray[np.float32]:
    """[T] float32 of a wave [T] or [T, 1]; integers of 16 bits are taken for value / 32768."""
    x = np.asarray(wave).reshape(-1)
    return x.astype(np.float32) / np.float32(32768) if x.dtype == np.int16 else x.astype(np.float32)


def condition(
    wave: Array, pre_emphasis: float = 0.97, norm: Literal["given", "piece"] = "given"
) -> NDArray[np.float32]:
    """One wave for an encoder: y[t] = x[t] - pre_emphasis x[t - 1]. float32 [T].

    Args:
        wave: of `samples`
        pre_emphasis: 0 for none; the first sample is left as it is
        norm: "given" leaves the level that it came with; "piece" gives mean 0 and deviation 1
    """
    x = samples(wave)
    if pre_emphasis and len(x) > 1:
        x = np.concatenate([x[:1], x[1:] - np.float32(pre_emphasis) * x[:-1]])
    if norm == "piece" and len(x):
        x = (x - x.mean()) / np.sqrt(x.var() + np.float32(1e-7))
    return x


def pad_rows(rows: Sequence[Array], floor: int = 1) -> tuple[Array, NDArray[np.int64]]:
    """Rows [T_i, ...] as one array [n, T, ...] with zeros at the end, and their lengths [n].

    A row shorter than `floor` is lengthened to it, by zeros for a wave [T] and by the least value
    of each column for frames [T, D] (their floor: 0 might be loud), and counts as so long. Rows of
    half precision stay so, all others become float32.
    """
    lengths = np.array([max(len(row), floor) for row in rows], dtype=np.int64)
    kind = rows[0].dtype if rows[0].dtype == np.float16 else np.float32
    whole = np.zeros((len(rows), int(lengths.max(initial=floor)), *rows[0].shape[1:]), kind)
    for place, row in enumerate(rows):
        whole[place, : len(row)] = row
        if len(row) < lengths[place] and row.ndim > 1 and len(row):
            whole[place, len(row) : lengths[place]] = row.min(axis=0)
    return whole, lengths


def window(
    rows: Sequence[NDArray[np.float32]],
    length: int,
    *,
    fill: float = 0.0,
    side: Literal["end", "front"] = "end",
) -> NDArray[np.float32]:
    """Rows [T_i, ...] as one array [n, length, ...]: longer ones lose their end, shorter ones are
    padded with `fill` at the side named."""
    whole = np.full((len(rows), length, *rows[0].shape[1:]), fill, np.float32)
    for place, row in enumerate(rows):
        values = row[:length]
        start = 0 if side == "end" else length - len(values)
        whole[place, start : start + len(values)] = values
    return whole


def collate(
    rows: Mapping[str, Any],
    *,
    floor: float = 1.5,
    pre_emphasis: float = 0.97,
    norm: Literal["given", "piece"] = "given",
) -> dict[str, Tensor]:
    """A batch for `SpatialTemporal`: `wave` [n, T] with `wave_length`, `mel` [n, L, D] with
    `mel_length`, of those streams that `rows` has, and its arrays as they are.

    Args:
        rows: lists of rows by stream (`wave` or a frame feature), and arrays
        floor: seconds that a piece is lengthened to
        pre_emphasis, norm: of `condition`
    """
    from trainables.rows import tensors

    batch: dict[str, Any] = {}
    for name, values in rows.items():
        if not isinstance(values, list):
            batch[name] = values
            continue
        if name == WAVE:
            kind, least = "wave", round(floor * RATE)
            values = [condition(wave, pre_emphasis, norm) for wave in values]
        else:
            kind, least = "mel", max(round(floor * RATE / HOP), 1)
            values = [np.asarray(row, dtype=np.float32) for row in values]
        batch[kind], batch[f"{kind}_length"] = pad_rows(values, least)
    return tensors(batch)
