"""Extraction: what is stored is found, what is missing is computed in chunks, nothing twice.

A *block* is a matrix of some clips' vectors: NAME.npy, and NAME.json with the clips' digests (one a
row), the column names and a checksum. Of frames it holds all clips' end to end, and how many each
has. Each finished chunk is a block, written at once, so that a
killed extraction goes on where it was; at the end the whole corpus becomes one block, which workers
map into memory, and the chunks' blocks go. A later corpus that shares clips finds them there.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from raysearch.data.corpora.corpus import PART, Corpus, words_of
from raysearch.data.features import bert, files, layers, magnitude, smile, spectral
from raysearch.data.features import speech_models as ssl
from raysearch.data.features.blocks import Block, Shelf
from raysearch.data.features.extractor import (
    Chunk,
    ChunkResult,
    ExtractorInfo,
    FeatureSet,
    Matrix,
    RunChunks,
    Unusable,
    base_of,
    in_bytes,
)
from raysearch.errors import BadInput, near
from raysearch.stages.methods import plugins

CHUNK = 16  # clips: about half a second of work, far more than a task's overhead
RATE = 16_000


class _Known(dict[str, ExtractorInfo]):
    """Extractors by name; a name with a model or options is made when it is asked for."""

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and super().__contains__(base_of(name))

    def __missing__(self, name: str) -> ExtractorInfo:
        base = base_of(name)
        rest = name[len(base) :]
        if base not in self or not rest:
            raise BadInput(
                f"features={name} is unknown{near(base, self)}: the extractors are "
                f"{', '.join(self)}."
            )
        configure = self[base].configure
        if configure is None:
            raise BadInput(
                f"features={name}: {base} takes no model and no options; write features={base}."
            )
        return configure(rest)


def known() -> dict[str, ExtractorInfo]:
    """Every extractor by name: the packaged ones, then those of the group `raysearch.features`.

    It also gives what a name with a model stands for, as in known()["wav2vec2:tiny"], and raises
    BadInput for a name that means nothing.
    """
    packaged = (
        *smile.INFOS,
        *spectral.INFOS,
        *magnitude.INFOS,
        *ssl.INFOS,
        *layers.INFOS,
        *bert.INFOS,
        *files.INFOS,
    )
    infos = {info.name: info for info in packaged}
    return _Known(plugins("raysearch.features", ExtractorInfo) | infos)


def check(
    names: Sequence[str], corpus: Corpus, kinds: Collection[str] = ("vector", "frames")
) -> tuple[str, ...]:
    """What a study of these features must tell. Nothing is extracted, no model is loaded.

    Raises:
        BadInput: an extractor is unknown, its model is not there, or it gives none of the `kinds`.
    """
    infos = _infos(names)
    wrong = [info.name for info in infos if info.kind not in kinds]
    if wrong:
        fit = [info.name for info in known().values() if info.kind in kinds]
        gives = {"vector": "one vector an utterance", "frames": "frames"}
        raise BadInput(
            f"features={', '.join(wrong)}: the method takes "
            f"{' or '.join(gives[k] for k in sorted(kinds))}, and not what this gives; "
            f"choose among {', '.join(fit)}."
        )
    missing = int((_words(corpus) == "").sum())
    notes: list[str] = []
    row_digests(names, corpus)  # finds the models, or says which is missing
    for info in infos:
        if info.note is not None:
            notes += info.note(missing)
        if info.values is not None:
            notes += info.values(corpus.table).notes
    return tuple(dict.fromkeys(notes))


def row_digests(names: Sequence[str], corpus: Corpus) -> list[str]:
    """[N] a digest of what these extractors read of each clip: its audio, its text, ready values.

    Raises:
        BadInput: an extractor is unknown, or its model is not there.
    """
    infos = _infos(names)
    for info in infos:
        info.version()
    digests = []
    columns = [_digests(info, corpus) for info in infos]
    for audio, *own in zip(corpus.table["audio"], *columns, strict=True):
        others = set(own) - {audio}
        joined = " ".join([audio, *sorted(others)])
        digests.append(hashlib.sha256(joined.encode()).hexdigest() if others else audio)
    return digests


def fingerprint(names: Sequence[str], corpus: Corpus) -> str:
    """The corpus's fingerprint, with the values that lie ready where such are its features."""
    ready = [_digests(info, corpus) for info in _infos(names) if info.values is not None]
    if not ready:
        return corpus.fingerprint
    text = "\n".join([corpus.fingerprint, *(" ".join(digests) for digests in ready)])
    return hashlib.sha256(text.encode()).hexdigest()


def stored(names: Sequence[str], corpus: Corpus, folder: Path) -> bool:
    """Whether `extract` would compute nothing.

    Raises:
        BadInput: an extractor is unknown.
    """
    return all(
        shelf.whole(digests) is not None or not shelf.missing(digests)
        for shelf, digests in (
            (Shelf(folder, info.base, info.version()), _digests(info, corpus))
            for info in _infos(names)
        )
    )


def sizes(names: Sequence[str], corpus: Corpus, folder: Path) -> tuple[str, ...]:
    """A sentence for each feature set that is large: what it takes on the disk, and whether it is
    there.

    Raises:
        BadInput: an extractor is unknown, or its model is not there.
    """
    sentences = []
    for info in _infos(names):
        if info.size is None:
            continue
        clips = corpus.table.drop_duplicates("audio")
        shape = info.size(clips["seconds"].to_numpy(dtype=np.float64))
        there = "stored" if stored([info.name], corpus, folder) else "to store"
        if shape is None:
            sentences.append(f"{info.name}: {there}; how much, this model's first clip tells")
            continue
        count = int(np.prod(shape, dtype=np.int64)) * np.dtype(info.dtype).itemsize
        form = " × ".join(f"{n:,}" for n in shape)
        sentences.append(f"{info.name}: {form} values of {info.dtype}, {in_bytes(count)} {there}")
    return tuple(sentences)


def extract(
    names: Sequence[str],
    corpus: Corpus,
    *,
    folder: Path,
    run_chunks: RunChunks,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[FeatureSet, ...]:
    """One feature set a name, row for row with the corpus's table.

    Args:
        names: of extractors, with their models and options.
        corpus: whose clips are heard.
        folder: of the blocks; only clips that no block holds are computed.
        run_chunks: `local_chunks` in this process, `ray_chunks` on a cluster.
        progress: called with (computed, to compute), both in clips.

    Raises:
        BadInput: an extractor is unknown; or clips failed, all of which are named once all others
            are stored.
    """
    infos = _infos(names)
    shelves = {info.name: Shelf(folder, info.base, info.version()) for info in infos}
    digests = {info.name: _digests(info, corpus) for info in infos}
    for info in infos:
        if info.values is not None and shelves[info.name].whole(digests[info.name]) is None:
            rows = info.values(corpus.table).matrices
            shelves[info.name].lay(digests[info.name], rows, info.columns, info.kind == "frames")
    chunks = [
        chunk
        for info in infos
        if shelves[info.name].whole(digests[info.name]) is None
        for chunk in _chunks(info, shelves[info.name], corpus)
    ]
    _run(chunks, shelves, run_chunks, progress)
    return tuple(_whole(info, shelves[info.name], digests[info.name]) for info in infos)


def _digests(info: ExtractorInfo, corpus: Corpus) -> tuple[str, ...]:
    """By row, the digest of what the extractor reads of a clip."""
    if info.values is not None:
        return info.values(corpus.table).digests
    table = corpus.table
    return tuple(map(info.address, table["audio"], _words(corpus)))


def _words(corpus: Corpus) -> pd.Series:
    """What each clip says, where that is known: the name of a sentence is no text to read."""
    return corpus.table["transcript"].map(words_of)


def _infos(names: Sequence[str]) -> list[ExtractorInfo]:
    infos = known()
    problems: list[str] = []
    extractors: list[ExtractorInfo] = []
    for name in dict.fromkeys(names):
        try:
            extractors.append(infos[name])
        except BadInput as error:
            problems += error.problems
    if not names:
        problems.append(f"No features are named: features=NAME takes one of {', '.join(infos)}.")
    frames = [info.base for info in extractors if info.kind == "frames"]
    problems += [
        f"features: {base} is named more than once, and a method knows frames by that name; "
        "give one."
        for base in dict.fromkeys(frames)
        if frames.count(base) > 1
    ]
    if problems:
        raise BadInput(problems)
    return extractors


def _chunks(info: ExtractorInfo, shelf: Shelf, corpus: Corpus) -> list[Chunk]:
    table = corpus.table
    digests = _digests(info, corpus)
    missing = set(shelf.missing(digests))
    todo: list[tuple[str, ...]] = []
    parts = table.get(PART, [""] * len(table))
    columns = (table["id"], digests, table["audio"], table["path"], _words(corpus), parts)
    for clip, digest, *rest in zip(*columns, strict=True):
        if digest in missing:
            missing.discard(digest)  # a byte-identical clip is computed once
            todo.append((clip, digest, *rest))
    return [
        Chunk(
            extractor=info,
            version=info.version(),
            clips=tuple(row[0] for row in part),
            digests=tuple(row[1] for row in part),
            files=tuple(row[2] for row in part),
            paths=tuple(row[3] for row in part),
            texts=tuple(row[4] for row in part),
            parts=tuple(row[5] for row in part),
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
            if result.broken:
                raise BadInput(f"features={result.extractor}: {result.broken}")
            if result.digests:
                shelf = shelves[result.extractor]
                shelf.put(result.digests, result.matrix, lengths=result.lengths)
            failures.extend(result.failures)
            done += len(result.digests) + len(result.failures)
            if progress is not None:
                progress(done, total)
    if failures:
        raise BadInput([*failures, "Mend or remove these clips: all others are stored."])


def _whole(info: ExtractorInfo, shelf: Shelf, digests: tuple[str, ...]) -> FeatureSet:
    block = shelf.whole(digests) or shelf.gather(digests, info.columns)
    return _feature_set(info, block)


def _feature_set(info: ExtractorInfo, block: Block) -> FeatureSet:
    return FeatureSet(
        info.name,
        block.version,
        block.matrix(),
        block.names,
        block.path,
        block.starts(),
        info.normalise,
    )


def local_chunks(
    function: Callable[[Chunk], ChunkResult], chunks: Iterable[Chunk]
) -> Iterator[ChunkResult]:
    """Run the chunks here, one after the other."""
    for chunk in chunks:
        yield function(chunk)


def extract_chunk(chunk: Chunk) -> ChunkResult:
    """Compute the vectors or frames of one chunk. Clips that fail are named, not raised."""
    info = chunk.extractor
    values: list[Matrix] = []
    digests: list[str] = []
    failures: list[str] = []
    for place, digest in enumerate(chunk.digests):
        try:
            value = _extract(chunk, place)
            _check(value, info)
        except Unusable as error:
            return ChunkResult(
                info.name,
                chunk.version,
                (),
                np.empty(0, np.float32),
                (),
                broken=str(error) or "it cannot work",
            )
        except Exception as error:  # whatever a file or an extractor can do: the clip is named
            clip, path = chunk.clips[place], chunk.paths[place]
            failures.append(f"{info.name} fails for {clip} ({path}): {error}.")
            continue
        values.append(value)
        digests.append(digest)
    lengths = None
    if info.kind == "frames":
        lengths = tuple(map(len, values))
        matrix = np.concatenate(values) if values else np.empty(0, info.dtype)
    else:
        matrix = np.stack(values) if values else np.empty((0, info.dims or 0), np.float32)
    return ChunkResult(info.name, chunk.version, tuple(digests), matrix, tuple(failures), lengths)


def _extract(chunk: Chunk, place: int) -> Matrix:
    samples = None
    if chunk.needs_audio(place):
        data = chunk.sound(place)
        if hashlib.sha256(data).hexdigest() != chunk.files[place]:
            raise ValueError("the file changed after it was checked; run the command again")
        samples = read_samples(data)
    if chunk.extractor.reads == "text":
        return chunk.extractor.extract(chunk.texts[place], samples)
    return chunk.extractor.extract(samples)


def _check(value: Matrix, info: ExtractorInfo) -> None:
    if info.kind == "frames":
        if str(value.dtype) != info.dtype:
            raise ValueError(f"it must give {info.dtype}, but gave {value.dtype}")
        if not value.ndim or not len(value) or (info.dims and value.shape[1:] != _row(info.dims)):
            form = f"one or more frames of {info.dims or 'some'} values"
            raise ValueError(f"it must give {form}, but gave the shape {value.shape}")
    elif value.ndim != 1 or len(value) != (info.dims or len(value)):
        raise ValueError(f"it must give {info.dims} values, but gave the shape {value.shape}")
    bad = np.argwhere(~np.isfinite(value))
    if len(bad):
        width = value.shape[-1] if info.kind == "vector" or value.ndim > 1 else 1
        columns = info.columns(width)
        first = columns[int(bad[0][-1])] if len(columns) > 1 else columns[0]
        raise ValueError(f"{len(bad)} of its values are not finite (the first is {first})")


def _row(dims: int) -> tuple[int, ...]:
    return () if dims == 1 else (dims,)


def read_samples(data: bytes) -> NDArray[np.float32]:
    """Decode a file's bytes to float32 mono samples in [-1, 1] at 16 kHz (channels averaged)."""
    import soundfile

    samples, rate = soundfile.read(io.BytesIO(data), dtype="float32", always_2d=True)
    mono = samples[:, 0] if samples.shape[1] == 1 else samples.mean(axis=1)
    if rate != RATE:
        from scipy.signal import resample_poly

        shared = int(np.gcd(rate, RATE))
        mono = resample_poly(mono, RATE // shared, rate // shared)
    return np.ascontiguousarray(mono, dtype=np.float32)
