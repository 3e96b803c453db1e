"""z-normalised vectors and frames: by the training part's statistics, or by each speaker's own."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from raysearch.stages.dataset import Dataset, Moments, divisor
from raysearch.stages.folds import Fold
from trainables.excerpts import Excerpts, Origin, Places
from trainables.stage import (
    Part,
    Sequences,
)

Normaliser = Callable[[NDArray[np.int64]], NDArray[np.float32]]


_BYTES = 64 * 2**20
"""bytes of normalised features that a worker keeps"""
_rows: OrderedDict[tuple[int, int], tuple[Dataset, NDArray[np.float32]]] = OrderedDict()
"""(identity of the dataset, fold or -1) -> the dataset, which keeps its identity, and all rows"""


def normaliser(dataset: Dataset, fold: Fold) -> Normaliser:
    """Rows of z-normalised features.

    A worker runs many stages of a fold, and normalising can take longer than a small stage. So it
    keeps what it made of arrays that nobody can change, as those from Ray's store are.
    """
    if dataset.x.flags.writeable or not 0 < dataset.x.nbytes <= _BYTES:
        return _normalising(dataset, fold)
    key = (id(dataset), fold.index if dataset.normalise == "fold" else -1)
    entry = _rows.pop(key, None)
    if entry is None:
        entry = dataset, _normalising(dataset, fold)(np.arange(len(dataset.x)))
    _rows[key] = entry
    while sum(x.nbytes for _, x in _rows.values()) > _BYTES:
        _rows.popitem(last=False)
    return entry[1].__getitem__


def _normalising(dataset: Dataset, fold: Fold) -> Normaliser:
    """z-normalised features, from the training part's statistics or from each speaker's own."""
    if dataset.normalise == "fold":
        mean, scale = _statistics(dataset.x[fold.train])
        return lambda rows: ((dataset.x[rows] - mean) / scale).astype(np.float32)

    def by_speaker(rows: NDArray[np.int64]) -> NDArray[np.float32]:
        x = np.empty((len(rows), dataset.x.shape[1]), dtype=np.float32)
        for speaker in np.unique(dataset.speaker[rows]):
            mean, scale = _statistics(dataset.x[dataset.speaker == speaker])
            mine = dataset.speaker[rows] == speaker
            x[mine] = (dataset.x[rows[mine]] - mean) / scale
        return x

    return by_speaker


def from_few_clips(dataset: Dataset, rows: NDArray[np.int64], n: int) -> NDArray[np.float32]:
    """Rows normalised by their speaker's statistics, taken from n of the speaker's clips among
    these rows, which ids alone choose."""
    x = np.empty((len(rows), dataset.x.shape[1]), dtype=np.float32)
    for speaker in np.unique(dataset.speaker[rows]):
        mean, scale = _statistics(dataset.x[_few_clips(dataset, rows, speaker, n)])
        mine = dataset.speaker[rows] == speaker
        x[mine] = (dataset.x[rows[mine]] - mean) / scale
    return x


def _few_clips(
    dataset: Dataset, rows: NDArray[np.int64], speaker: int, n: int
) -> NDArray[np.int64]:
    mine = rows[dataset.speaker[rows] == speaker]
    rank = [hashlib.sha256(str(dataset.ids[row]).encode()).digest() for row in mine]
    return mine[sorted(range(len(rank)), key=rank.__getitem__)[:n]]


def sources_of(
    dataset: Dataset, fold: Fold, rows: NDArray[np.int64], n: int | None = None
) -> list[NDArray[np.int64]]:
    """By row, the rows whose frames' statistics normalise it; equal ones are the same array.

    With n, they are n clips of the row's speaker among `rows`, as of `from_few_clips`.
    """
    if dataset.normalise == "fold":
        return [fold.train] * len(rows)
    speakers = dataset.speaker[rows]
    by_speaker = {
        s: np.flatnonzero(dataset.speaker == s) if n is None else _few_clips(dataset, rows, s, n)
        for s in np.unique(speakers).tolist()
    }
    return [by_speaker[s] for s in speakers.tolist()]


def normalised_frames(
    frames: Sequences,
    moments: Moments,
    rows: NDArray[np.int64],
    sources: Sequence[NDArray[np.int64]],
    origin: Origin | None = None,
) -> Sequences:
    """float32 z-normalised frames of the rows, by the statistics of each row's source.

    Args:
        frames, moments: of one feature set
        rows, sources: see `sources_of`
        origin: what gives the values of `frames` to other processes
    """
    by_source = {
        id(source): moments.statistics(source) for source in {id(s): s for s in sources}.values()
    }
    return _scaled(frames, rows, [by_source[id(source)] for source in sources], origin)


def _scaled(
    frames: Sequences,
    rows: NDArray[np.int64],
    by: Sequence[tuple[NDArray[np.float64], NDArray[np.float64]]],
    origin: Origin | None = None,
) -> Sequences:
    """float32 (frames - mean) / scale: a copy of these rows alone, made row by row.

    A wave is not copied: stages of many folds read it, and its rows are scaled when they are read.
    """
    if frames.values.ndim == 1:
        return Excerpts(
            frames.values,
            Places(
                frames.starts[:-1][rows],
                frames.starts[1:][rows],
                np.array([mean[0] for mean, _ in by], np.float32),
                np.array([scale[0] for _, scale in by], np.float32),
            ),
            origin,
        )
    starts = np.concatenate([[0], np.cumsum(frames.lengths[rows])]).astype(np.int64)
    values = np.empty((int(starts[-1]), *frames.values.shape[1:]), dtype=np.float32)
    for place, (row, (mean, scale)) in enumerate(zip(rows.tolist(), by, strict=True)):
        into = values[starts[place] : starts[place + 1]]
        np.subtract(frames[row], mean.astype(np.float32), out=into)
        np.divide(into, scale.astype(np.float32), out=into)
    return Sequences(values, starts)


def statistics(dataset: Dataset, rows: NDArray[np.int64]) -> dict[str, NDArray[np.float64]]:
    """What normalises a model's input, taken from these rows: `mean` and `scale` [D] of the
    vectors, and `NAME/mean` and `NAME/scale` of each feature set of frames."""
    mean, scale = _statistics(dataset.x[rows])
    by_name = {"mean": mean, "scale": scale}
    for name, moments in dataset.moments.items():
        mean, scale = moments.statistics(rows)
        by_name |= {f"{name}/mean": mean, f"{name}/scale": scale}
    return by_name


def normalised(
    dataset: Dataset, rows: NDArray[np.int64], by: Mapping[str, NDArray[np.float64]]
) -> Part:
    """Unlabelled rows as a stage would be handed them, normalised by `statistics`."""
    frames = {
        name: _scaled(values, rows, [(by[f"{name}/mean"], by[f"{name}/scale"])] * len(rows))
        if name in dataset.moments
        else values.take(rows)
        for name, values in dataset.frames.items()
    }
    return Part(
        ids=dataset.ids[rows],
        x=((dataset.x[rows] - by["mean"]) / by["scale"]).astype(np.float32),
        speaker=dataset.speaker[rows],
        corpus=dataset.corpus[rows],
        frames=frames,
    )


def _statistics(
    x: NDArray[np.float32],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and standard deviation by column; a constant column is only centred."""
    wide = x.astype(np.float64)
    deviation = wide.std(axis=0)
    mean = wide.mean(axis=0)
    return mean, divisor(mean, deviation)
