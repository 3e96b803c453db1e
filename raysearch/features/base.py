"""What an extractor is, and what it gives: one vector an utterance."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

__all__ = ["Chunk", "ExtractorInfo", "FeatureSet", "Result", "RunChunks"]


@dataclass(frozen=True)
class FeatureSet:
    """One vector an utterance: float32 [N, D], a read-only memory map; row i is the table's row i.

    `version` names the extractor's configuration and code; `names` are the D columns;
    `path` is the .npy file that the map shows.
    """

    name: str
    version: str
    matrix: np.ndarray
    names: tuple[str, ...]
    path: Path


@dataclass(frozen=True)
class ExtractorInfo:
    """One extractor that raysearch knows. A third party registers one in `raysearch.features`.

    `extract(samples)` takes float32 mono samples at 16 kHz and gives D float32 values;
    it must depend on nothing else. `version()` changes whenever its values may. Both run in worker
    processes, so the object must pickle (module-level functions, or partials of them).
    """

    name: str
    description: str
    dims: int
    extract: Callable[[np.ndarray], np.ndarray]
    version: Callable[[], str]
    names: Callable[[], tuple[str, ...]]


@dataclass(frozen=True)
class Chunk:
    """A few clips for one extractor.

    `audio` holds the files' bytes once `packed`, so that a worker needs none of the driver's disks.
    """

    extractor: ExtractorInfo
    version: str
    clips: tuple[str, ...]  # ids, for messages
    digests: tuple[str, ...]
    paths: tuple[str, ...]
    audio: tuple[bytes, ...] | None = field(default=None, repr=False)

    def packed(self) -> Chunk:
        """A copy that carries the bytes of its files. Raises OSError if one cannot be read."""
        if self.audio is not None:
            return self
        return replace(self, audio=tuple(Path(path).read_bytes() for path in self.paths))


@dataclass(frozen=True)
class Result:
    """What a chunk gave: float32 [n, D] for `digests`, and a sentence for each clip that failed."""

    extractor: str
    version: str
    digests: tuple[str, ...]
    matrix: np.ndarray
    failures: tuple[str, ...]


RunChunks = Callable[[Callable[[Chunk], Result], list[Chunk]], Iterator[Result]]
