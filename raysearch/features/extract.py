"""Extraction: what is stored is found, what is missing is computed in chunks, nothing twice.

A *block* is a matrix of some clips' vectors: NAME.npy, and NAME.json with the clips' digests (one a
row), the column names and a checksum. Each finished chunk is a block, written at once, so that a
killed extraction goes on where it was; at the end the whole corpus becomes one block, which workers
map into memory, and the chunks' blocks go. A later corpus that shares clips finds them there.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import entry_points
from pathlib import Path

import numpy as np

from raysearch.corpora.base import Corpus
from raysearch.errors import BadInput, near
from raysearch.features import smile
from raysearch.features.base import Chunk, ExtractorInfo, FeatureSet, Result, RunChunks
from raysearch.features.blocks import Block, Shelf

__all__ = ["extract", "extract_chunk", "known", "local_chunks", "read_samples", "stored"]

CHUNK = 16  # clips: about half a second of work, far more than a task's overhead
RATE = 16_000


def known() -> dict[str, ExtractorInfo]:
    """Every extractor by name: openSMILE's, then those of the group `raysearch.features`."""
    infos = {info.name: info for info in smile.INFOS}
    for point in entry_points(group="raysearch.features"):
        if point.name not in infos:
            info = point.load()
            if not isinstance(info, ExtractorInfo):
                raise BadInput(
                    f"The plugin {point.value!r} of raysearch.features must be an ExtractorInfo, "
                    f"but is a {type(info).__name__}."
                )
            infos[point.name] = info
    return infos


def stored(names: Sequence[str], corpus: Corpus, folder: Path) -> bool:
    """True when `extract` would compute nothing. Raises BadInput for an unknown extractor."""
    digests = tuple(corpus.table["audio"])
    return all(
        shelf.whole(digests) is not None or not shelf.missing(digests)
        for shelf in (Shelf(folder, info.name, info.version()) for info in _infos(names))
    )


def extract(
    names: Sequence[str],
    corpus: Corpus,
    *,
    folder: Path,
    run_chunks: RunChunks,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[FeatureSet, ...]:
    """One feature set a name, row for row with the corpus's table.

    Only clips that no block under `folder` holds are computed, through `run_chunks` (`local_chunks`
    here, `ray_chunks` on a cluster); `progress(done, of)` counts those. Raises BadInput for an
    unknown extractor, and, once all other clips are stored, naming every clip that failed.
    """
    infos = _infos(names)
    table = corpus.table
    digests = tuple(table["audio"])
    shelves = {info.name: Shelf(folder, info.name, info.version()) for info in infos}
    chunks = [
        chunk
        for info in infos
        if shelves[info.name].whole(digests) is None
        for chunk in _chunks(info, shelves[info.name], corpus)
    ]
    _run(chunks, shelves, run_chunks, progress)
    return tuple(_whole(info, shelves[info.name], digests) for info in infos)


def _infos(names: Sequence[str]) -> list[ExtractorInfo]:
    infos = known()
    unknown = [
        f"features={name} is unknown{near(name, infos)}: the extractors are {', '.join(infos)}."
        for name in names
        if name not in infos
    ]
    if not names:
        unknown.append(f"No features are named: features=NAME takes one of {', '.join(infos)}.")
    if unknown:
        raise BadInput(unknown)
    return [infos[name] for name in dict.fromkeys(names)]


def _chunks(info: ExtractorInfo, shelf: Shelf, corpus: Corpus) -> list[Chunk]:
    table = corpus.table
    wanted = set(shelf.missing(tuple(table["audio"])))
    todo: list[tuple[str, str, str]] = []
    for clip, digest, path in zip(table["id"], table["audio"], table["path"], strict=True):
        if digest in wanted:
            wanted.discard(digest)  # a byte-identical clip is computed once
            todo.append((clip, digest, path))
    return [
        Chunk(
            extractor=info,
            version=info.version(),
            clips=tuple(clip for clip, _, _ in part),
            digests=tuple(digest for _, digest, _ in part),
            paths=tuple(path for _, _, path in part),
        )
        for part in (todo[i : i + CHUNK] for i in range(0, len(todo), CHUNK))
    ]


def _run(
    chunks: list[Chunk],
    shelves: dict[str, Shelf],
    run_chunks: RunChunks,
    progress: Callable[[int, int], None] | None,
) -> None:
    total, done = sum(len(chunk.clips) for chunk in chunks), 0
    failures: list[str] = []
    if chunks:
        for result in run_chunks(extract_chunk, chunks):
            if result.digests:
                shelves[result.extractor].put(result.digests, result.matrix)
            failures.extend(result.failures)
            done += len(result.digests) + len(result.failures)
            if progress is not None:
                progress(done, total)
    if failures:
        raise BadInput([*failures, "Mend or remove these clips: all others are stored."])


def _whole(info: ExtractorInfo, shelf: Shelf, digests: tuple[str, ...]) -> FeatureSet:
    block = shelf.whole(digests) or shelf.gather(digests, info.names())
    return _feature_set(info, block)


def _feature_set(info: ExtractorInfo, block: Block) -> FeatureSet:
    return FeatureSet(info.name, block.version, block.matrix(), block.names, block.path)


def local_chunks(function: Callable[[Chunk], Result], chunks: list[Chunk]) -> Iterator[Result]:
    """Run the chunks here, one after the other."""
    for chunk in chunks:
        yield function(chunk)


def extract_chunk(chunk: Chunk) -> Result:
    """Compute the vectors of one chunk. Clips that fail are named, not raised."""
    info = chunk.extractor
    vectors: list[np.ndarray] = []
    digests: list[str] = []
    failures: list[str] = []
    audio = chunk.audio or (None,) * len(chunk.clips)
    for clip, digest, path, given in zip(
        chunk.clips, chunk.digests, chunk.paths, audio, strict=True
    ):
        try:
            data = Path(path).read_bytes() if given is None else given
            if hashlib.sha256(data).hexdigest() != digest:
                raise ValueError("the file changed after it was checked; run the command again")
            vector = info.extract(read_samples(data))
            _check(vector, info)
        except Exception as error:  # whatever a file or an extractor can do: the clip is named
            failures.append(f"{info.name} fails for {clip} ({path}): {error}.")
            continue
        vectors.append(vector)
        digests.append(digest)
    matrix = np.stack(vectors) if vectors else np.empty((0, info.dims), np.float32)
    return Result(info.name, chunk.version, tuple(digests), matrix, tuple(failures))


def _check(vector: np.ndarray, info: ExtractorInfo) -> None:
    if vector.shape != (info.dims,):
        raise ValueError(f"it must give {info.dims} values, but gave the shape {vector.shape}")
    bad = np.flatnonzero(~np.isfinite(vector))
    if len(bad):
        first = info.names()[int(bad[0])]
        raise ValueError(f"{len(bad)} of its values are not finite (the first is {first})")


def read_samples(data: bytes) -> np.ndarray:
    """Decode a file's bytes to float32 mono samples in [-1, 1] at 16 kHz (channels averaged)."""
    import soundfile

    samples, rate = soundfile.read(io.BytesIO(data), dtype="float32", always_2d=True)
    mono = samples[:, 0] if samples.shape[1] == 1 else samples.mean(axis=1)
    if rate != RATE:
        from scipy.signal import resample_poly

        shared = int(np.gcd(rate, RATE))
        mono = resample_poly(mono, RATE // shared, rate // shared)
    return np.ascontiguousarray(mono, dtype=np.float32)
