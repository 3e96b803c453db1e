"""What an extractor is, and what it gives: one vector an utterance, or frames."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from raysearch.data.corpora.places import clip_bytes
from trainables.excerpts import MappedFile, Whole
from trainables.stage import Array, Sequences

if TYPE_CHECKING:
    import pandas as pd

Kind = Literal["vector", "frames"]


class Unusable(Exception):
    """An extractor cannot work at all here, whatever the clip: one sentence, with the remedy."""


Matrix = NDArray[np.float32 | np.float16 | np.int16]
"""[N, D] of vectors, [frames, D], [samples] of a wave, which alone may be int16, or [frames, L, D]
of the layers of an encoder, which alone may be float16"""


@dataclass(frozen=True)
class FeatureSet:
    """A feature set of a corpus: read-only memory maps, in the order of the table's rows.

    Vectors: `matrix` is float32 [N, D], row i is the table's row i, and `starts` is None. Frames:
    `matrix` is [total of all frames, D], or [total of all samples] for a wave, and the frames of
    row i are matrix[starts[i] : starts[i + 1]]. `version` names the extractor's configuration
    and code; `names` are the D columns; `path` is the .npy file that the map shows.
    """

    name: str
    version: str
    matrix: Array
    names: tuple[str, ...]
    path: Path
    starts: NDArray[np.int64] | None = None
    normalise: bool = True
    """whether a study's `normalise` acts on its frames"""

    @property
    def base(self) -> str:
        """The name without a model and options: the key of `Part.frames`."""
        return base_of(self.name)

    @property
    def sequences(self) -> Sequences:
        """The frames, row for row, without a copy.

        Raises:
            TypeError: the set has one vector an utterance.
        """
        return self.rows(shared=False)

    def rows(self, shared: bool) -> Sequences:
        """`sequences`; what is large is left in its file where all processes share the disk."""
        if self.starts is None:
            raise TypeError(f"{self.name} is one vector an utterance")
        # a plain view: Ray's store takes it as it is, and pickles a memmap's file twice
        values = self.matrix.view(np.ndarray)
        if self.normalise or values.ndim == 2:
            return Sequences(values, self.starts)
        return Whole(
            None if shared else values, self.starts, MappedFile(self.path) if shared else None
        )

    @property
    def extent(self) -> str:
        """How much there is, in words."""
        width = self.matrix.shape[-1] if self.matrix.ndim > 1 else 1
        values = f"{width} values" if width != 1 else "1 value"
        if self.matrix.ndim == 3:
            layers = self.matrix.shape[1]
            values = f"{layers} layer{'s' if layers > 1 else ''} × {values} in half precision"
            values += f", {in_bytes(self.matrix.nbytes)}"
        if self.starts is None:
            return f"{len(self.matrix)} utterances × {values}"
        return f"{len(self.starts) - 1} utterances, {len(self.matrix):,} frames × {values}"


def in_bytes(count: int) -> str:
    """A number of bytes for a person, in steps of 1000.

    Example:
        >>> in_bytes(1_530_000_000), in_bytes(14_200_000), in_bytes(900)
        ('1.5 GB', '14.2 MB', '900 bytes')
    """
    for unit, size in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count} bytes"


def base_of(name: str) -> str:
    """A feature's name without what follows its first : or @."""
    return name.partition(":")[0].partition("@")[0]


def _audio(audio: str, transcript: str) -> str:
    return audio


@dataclass(frozen=True)
class ClipValues:
    """Values that lie ready: a digest and float32 [D] or [frames, D] a clip, and what to tell."""

    digests: tuple[str, ...]
    matrices: Sequence[Matrix]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class ExtractorInfo:
    """One extractor that raysearch knows. A third party registers one in `raysearch.features`.

    `extract(samples)` takes float32 mono samples at 16 kHz and gives D values: float32 [D] of a
    `kind` vector, `dtype` [frames, D] or [samples] of a `kind` frames. It must depend on nothing
    else. Under `reads="text"` it is `extract(transcript, samples)`, where samples is None for a
    clip that has a transcript. `version()` changes whenever its values may. Both run in worker
    processes, so the object must pickle (module-level functions, or partials of them).

    A feature is named NAME, or NAME:MODEL@OPTION=VALUE where there is a `configure`, which makes
    the extractor of such a name from what follows NAME and raises BadInput.
    """

    name: str
    description: str
    dims: int | None
    """D; None where a model decides"""
    extract: Callable[..., Matrix]
    version: Callable[[], str]
    names: Callable[[], tuple[str, ...]] | None = None
    """the D columns; None numbers them"""
    kind: Kind = "vector"
    dtype: Literal["float32", "float16", "int16"] = "float32"
    """of frames"""
    normalise: bool = True
    """False hands frames to methods as extracted, whatever a study's `normalise`: values with a
    zero or a floor of their own, as decibels"""
    reads: Literal["audio", "text"] = "audio"
    address: Callable[[str, str], str] = _audio
    """(digest of the audio, transcript) -> digest of all that `extract` reads of the clip"""
    configure: Callable[[str], ExtractorInfo] | None = None
    note: Callable[[int], tuple[str, ...]] | None = None
    """what a study must tell of its values, given how many clips have no transcript"""
    size: Callable[[NDArray[np.float64]], tuple[int, ...] | None] | None = None
    """seconds [N] of clips -> the shape of their values, end to end, which are worth a word before
    they are stored; None where the first clip tells"""
    values: Callable[[pd.DataFrame], ClipValues] | None = None
    """the values of a table's clips, where they lie ready and no clip is heard; it raises BadInput
    for clips that it has none of"""

    @property
    def base(self) -> str:
        """The name without a model and options: a folder, and the key of `Part.frames`."""
        return base_of(self.name)

    @property
    def identity(self) -> str:
        """What of the name and the version is in stages' keys: of files not where they lie."""
        return f"{self.name if self.values is None else self.base}-{self.version()}"

    def columns(self, width: int) -> tuple[str, ...]:
        """The names of the columns of a set of that width."""
        if self.names is not None:
            return self.names()
        return tuple(f"{self.base}_{i}" for i in range(width))


@dataclass(frozen=True)
class Chunk:
    """A few clips for one extractor.

    `audio` holds the files' bytes once `packed`, so that a worker needs none of the driver's disks.
    `digests` are what `ExtractorInfo.address` gives; `files` are digests of the audio files.
    """

    extractor: ExtractorInfo
    version: str
    clips: tuple[str, ...]  # ids, for messages
    digests: tuple[str, ...]
    files: tuple[str, ...]
    paths: tuple[str, ...]
    texts: tuple[str, ...]
    parts: tuple[str, ...] = ()
    """what of its file each clip is; () where all are whole files"""
    audio: tuple[bytes | None, ...] | None = field(default=None, repr=False)

    def needs_audio(self, place: int) -> bool:
        """Whether the clip must be heard: a clip with a transcript need not be, for its text."""
        return self.extractor.reads == "audio" or not self.texts[place]

    def packed(self) -> Chunk:
        """A copy that carries the bytes of its files.

        Raises:
            OSError: a file cannot be read.
        """
        if self.audio is not None:
            return self
        clips = range(len(self.paths))
        read = [self.sound(place) if self.needs_audio(place) else None for place in clips]
        return replace(self, audio=tuple(read))

    def sound(self, place: int) -> bytes:
        """The bytes of a clip, of the chunk or from the disk."""
        data = None if self.audio is None else self.audio[place]
        part = self.parts[place] if self.parts else ""
        return clip_bytes(self.paths[place], part) if data is None else data


@dataclass(frozen=True)
class ChunkResult:
    """What a chunk gave for `digests`, and a sentence for each clip that failed.

    `matrix` is float32 [n, D], or for frames all of them end to end, `lengths` each.
    """

    extractor: str
    version: str
    digests: tuple[str, ...]
    matrix: Matrix
    failures: tuple[str, ...]
    lengths: tuple[int, ...] | None = None
    broken: str = ""
    """why the extractor can work for no clip, or ''"""


RunChunks = Callable[[Callable[[Chunk], ChunkResult], list[Chunk]], Iterator[ChunkResult]]
