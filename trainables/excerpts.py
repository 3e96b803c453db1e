"""Rows of a wave, or of frames, held once, whatever parts, folds, pieces and segments read it."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainables.stage import Array, Sequences

Origin = Callable[[], Array]
"""gives the wave in any process of a study; small where it travels"""


@dataclass(frozen=True)
class MappedFile:
    """The origin of an array that lies in a file (.npy) of a disk that all processes see."""

    path: Path

    def __call__(self) -> Array:
        """A read-only map, one a process."""
        return _map(self.path)


@functools.lru_cache(maxsize=8)
def _map(path: Path) -> Array:
    return np.load(path, mmap_mode="r", allow_pickle=False).view(np.ndarray)


@dataclass(frozen=True)
class Places:
    """Where rows lie in a wave or in frames, and what scales each of them."""

    begins: NDArray[np.int64]
    """[n]"""
    ends: NDArray[np.int64]
    """[n]"""
    mean: NDArray[np.float32] | None = None
    """[n]; None leaves rows as they lie"""
    scale: NDArray[np.float32] | None = None
    """[n]; None where `mean` is"""

    def take(self, rows: NDArray[np.int64]) -> Places:
        return Places(
            self.begins[rows],
            self.ends[rows],
            None if self.mean is None else self.mean[rows],
            None if self.scale is None else self.scale[rows],
        )

    def join(self, other: Places) -> Places:
        """Of the rows of both, of which all or none are scaled."""

        def both(
            one: NDArray[np.float32] | None, two: NDArray[np.float32] | None
        ) -> NDArray[np.float32] | None:
            return None if one is None or two is None else np.concatenate([one, two])

        return Places(
            np.concatenate([self.begins, other.begins]),
            np.concatenate([self.ends, other.ends]),
            both(self.mean, other.mean),
            both(self.scale, other.scale),
        )


class Excerpts(Sequences):
    """Rows of a wave or of frames by their places in it; a row is copied and scaled when read.

    Row i is (source[begins[i] : ends[i]] - mean[i]) / scale[i], float32; without a mean it is
    source[begins[i] : ends[i]] itself, a view. `values` and `starts` are those of the same rows end
    to end: a copy, which methods on long waves do without.

    Rows that travel to the workers of a group take their wave along, but for one with an origin:
    it is asked there when the first row is read.

    Args:
        source: [samples] of all clips, of 16 bits as extracted, or [F, D] frames; None: as
            `origin` gives it
        places: of the rows
        origin: of the wave, where other processes have one; it must give the same
    """

    places: Places
    _source: Array | None
    _origin: Origin | None

    def __init__(self, source: Array | None, places: Places, origin: Origin | None = None) -> None:
        if source is None and origin is None:
            raise ValueError("excerpts need a wave, or what gives it")
        # The base is frozen, and its fields are computed here.
        self.__dict__.update(_source=source, places=places, _origin=origin)

    @property
    def source(self) -> Array:
        """[samples]"""
        if self._source is None and self._origin is not None:
            self.__dict__["_source"] = self._origin()
        assert self._source is not None  # seen to when this was made
        return self._source

    def __reduce__(self) -> tuple[Any, ...]:
        source = self._source if self._origin is None else None
        return Excerpts, (source, self.places, self._origin)

    @property
    def values(self) -> Array:
        rows = [self[row] for row in range(len(self))]
        return np.concatenate(rows) if rows else np.zeros((0, *self.source.shape[1:]), np.float32)

    @property
    def starts(self) -> NDArray[np.int64]:
        return np.concatenate([[0], np.cumsum(self.lengths)]).astype(np.int64)

    def __len__(self) -> int:
        return len(self.places.begins)

    def __getitem__(self, row: int) -> Array:
        """[length of the row, ...]: a float32 copy where it is scaled, else a view."""
        places = self.places
        lies: Array = self.source[places.begins[row] : places.ends[row]]
        if places.mean is None or places.scale is None:
            return lies
        wave = lies - places.mean[row]
        return np.divide(wave, places.scale[row], out=wave)

    @property
    def lengths(self) -> NDArray[np.int64]:
        return self.places.ends - self.places.begins

    def take(self, rows: NDArray[np.int64]) -> Sequences:
        """The rows named, in that order; the wave is not copied."""
        return self._of(self.places.take(rows))

    def join(self, other: Sequences) -> Sequences:
        """The rows of both, one after another; where they are of one wave, it is not copied."""
        if not isinstance(other, Excerpts) or other.source is not self.source:
            return super().join(other)
        return self._of(self.places.join(other.places))

    def split(self, starts: NDArray[np.int64]) -> Sequences:
        """As of `Sequences`, by places in `starts`; a row lies within one of these rows."""
        whole = self.starts
        row = np.searchsorted(whole, starts[:-1], side="right") - 1
        # What is empty at the very end is of the last row.
        of = self.places.take(row.clip(0, len(self) - 1))
        begins = of.begins + starts[:-1] - whole[row.clip(0, len(self) - 1)]
        ends = begins + np.diff(starts)
        return self._of(Places(begins, ends, of.mean, of.scale))

    def _of(self, places: Places) -> Excerpts:
        """Other rows of the same wave."""
        return Excerpts(self._source, places, self._origin)


class Whole(Sequences):
    """The rows of a whole corpus, so large that a part of them is no copy (`take`).

    Args:
        source: [sum of the lengths, ...]; None: as `origin` gives it, and it is never sent
        starts: of `Sequences`
        origin: of `Excerpts`
    """

    source: Array | None
    origin: Origin | None

    def __init__(
        self, source: Array | None, starts: NDArray[np.int64], origin: Origin | None = None
    ) -> None:
        self.__dict__.update(source=source, starts=starts, origin=origin)

    @property
    def values(self) -> Array:
        return Excerpts(self.source, Places(self.starts[:1], self.starts[-1:]), self.origin)[0]

    def take(self, rows: NDArray[np.int64]) -> Sequences:
        """The rows named, in that order, where they lie."""
        places = Places(self.starts[:-1][rows], self.starts[1:][rows])
        return Excerpts(self.source, places, self.origin)
