"""Rows of a wave, or of frames, held once, whatever parts, folds, pieces and segments read it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainables.stage import Array, Sequences

Origin = Callable[[], Array]
"""gives the wave in any process of a study; small where it travels"""


@dataclass(frozen=True)
class Places:
    """Where rows lie in a wave or in frames, and what scales each of them."""

    begins: NDArray[np.int64]
    """[n]"""
    ends: NDArray[np.int64]
    """[n]"""
    mean: NDArray[np.float32]
    """[n]"""
    scale: NDArray[np.float32]
    """[n]"""

    def take(self, rows: NDArray[np.int64]) -> Places:
        return Places(self.begins[rows], self.ends[rows], self.mean[rows], self.scale[rows])

    def join(self, other: Places) -> Places:
        return Places(
            np.concatenate([self.begins, other.begins]),
            np.concatenate([self.ends, other.ends]),
            np.concatenate([self.mean, other.mean]),
            np.concatenate([self.scale, other.scale]),
        )


class Excerpts(Sequences):
    """Rows of a wave or of frames by their places in it; a row is copied and scaled when read.

    Row i is (source[begins[i] : ends[i]] - mean[i]) / scale[i], float32. `values` and `starts` are
    those of the same rows end to end: a copy, which methods on long waves do without.

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
        return np.concatenate([np.zeros(0, np.float32), *(self[row] for row in range(len(self)))])

    @property
    def starts(self) -> NDArray[np.int64]:
        return np.concatenate([[0], np.cumsum(self.lengths)]).astype(np.int64)

    def __len__(self) -> int:
        return len(self.places.begins)

    def __getitem__(self, row: int) -> Array:
        """[length of the row] float32, a copy."""
        places = self.places
        wave = self.source[places.begins[row] : places.ends[row]] - places.mean[row]
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
