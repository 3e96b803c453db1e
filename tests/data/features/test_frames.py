"""Ragged sets: each clip's own frames come back, whatever was stored, killed or damaged before."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raysearch.data.features import (
    Chunk,
    ChunkResult,
    ExtractorInfo,
    check,
    extract,
    local_chunks,
    stored,
)
from raysearch.data.features.blocks import Shelf
from raysearch.data.features.extract import CHUNK
from raysearch.errors import BadInput
from tests.contracts.extractors import corpus_of, noise
from tests.support.plugins import install

calls: list[int] = []


def blocks_of_100(samples: np.ndarray) -> np.ndarray:
    calls.append(len(samples))
    count = len(samples) // 100
    return np.stack([np.arange(count), np.full(count, len(samples))], axis=1).astype(np.float32)


RAGGED = ExtractorInfo(
    "ragged", "a fast one", 2, blocks_of_100, lambda: "r-1", lambda: ("at", "of"), kind="frames"
)


def noises(count: int) -> dict[str, np.ndarray]:
    return {f"n{i:02d}": noise(2000 + i, seed=i) for i in range(count)}


@pytest.fixture(autouse=True)
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a package that brings `ragged`."""
    calls.clear()
    folder = tmp_path / "packages"
    install(monkeypatch, folder, "raysearch.features", {"ragged": RAGGED})
    return folder


ROWS = st.lists(
    st.tuples(st.integers(0, 40), st.integers(1, 9)),
    min_size=1,
    max_size=12,
    unique_by=lambda r: r[0],
)


@settings(max_examples=40, deadline=None)
@given(rows=ROWS, cut=st.integers(0, 12), wide=st.sampled_from([0, 1, 3]), data=st.data())
def test_what_was_put_comes_back(
    rows: list[tuple[int, int]], cut: int, wide: int, data: st.DataObject
) -> None:
    shape = (wide,) if wide else ()
    dtype = np.dtype(np.float32 if wide else np.int16)
    made = {f"d{i}": np.full((length, *shape), i, dtype) for i, length in rows}
    names = list(made)
    with TemporaryDirectory() as folder:
        shelf = Shelf(Path(folder), "n", "v")
        for part in (names[:cut], names[cut:]):
            if part:
                whole = np.concatenate([made[name] for name in part])
                shelf.put(part, whole, lengths=[len(made[name]) for name in part])
        order = data.draw(st.lists(st.sampled_from(names), min_size=1, max_size=15))
        fresh = Shelf(Path(folder), "n", "v")  # reads all of it from the disk
        assert not fresh.missing(order)
        fresh.gather(order, lambda width: tuple("abc"[:width]))
        block = Shelf(Path(folder), "n", "v").whole(order)
        assert block is not None
        starts, matrix = block.starts(), block.matrix()
        assert starts is not None
        assert matrix.dtype == dtype
        assert len(matrix) == starts[-1]
        for i, name in enumerate(order):
            assert np.array_equal(matrix[starts[i] : starts[i + 1]], made[name])


def test_frames_follow_the_table_and_nothing_is_computed_twice(tmp_path: Path) -> None:
    corpus = corpus_of(tmp_path, noises(2 * CHUNK + 3))
    folder = tmp_path / "features"
    (found,) = extract(["ragged"], corpus, folder=folder, run_chunks=local_chunks)
    frames = found.sequences
    assert len(frames) == len(corpus.table)
    for row in range(len(frames)):
        assert frames[row].tolist() == [[i, 2000 + row] for i in range((2000 + row) // 100)]
    assert isinstance(found.matrix, np.memmap)
    assert not frames.values.flags.writeable
    assert found.extent == "35 utterances, 700 frames × 2 values"
    assert stored(["ragged"], corpus, folder)
    count = len(calls)
    part = replace(corpus, table=corpus.table.iloc[[7, 3, 7]].reset_index(drop=True))
    (some,) = extract(["ragged"], part, folder=folder, run_chunks=local_chunks)
    assert some.sequences.values.tolist() == frames.take(np.array([7, 3, 7])).values.tolist()
    assert len(calls) == count
    assert not [p for p in folder.rglob(".*")], "nothing half-written is left"


def test_a_killed_extraction_of_frames_goes_on(tmp_path: Path) -> None:
    corpus = corpus_of(tmp_path, noises(3 * CHUNK))

    def killed(
        function: Callable[[Chunk], ChunkResult], chunks: list[Chunk]
    ) -> Iterator[ChunkResult]:
        yield function(chunks[1])
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        extract(["ragged"], corpus, folder=tmp_path / "f", run_chunks=killed)
    assert len(calls) == CHUNK
    (found,) = extract(["ragged"], corpus, folder=tmp_path / "f", run_chunks=local_chunks)
    assert len(calls) == 3 * CHUNK
    assert found.sequences[2 * CHUNK + 1][0].tolist() == [0, 2000 + 2 * CHUNK + 1]


@pytest.mark.parametrize("harm", ["flip", "cut", "lengths", "json", "gone"])
def test_damaged_frames_are_made_anew(tmp_path: Path, harm: str) -> None:
    corpus = corpus_of(tmp_path, noises(3))
    folder = tmp_path / "f"
    (found,) = extract(["ragged"], corpus, folder=folder, run_chunks=local_chunks)
    wanted, path = np.array(found.matrix), found.path
    data = bytearray(path.read_bytes())
    about = path.with_suffix(".json")
    if harm == "flip":
        data[-3] ^= 1
        path.write_bytes(bytes(data))
    elif harm == "cut":
        path.write_bytes(bytes(data[:-4]))
    elif harm == "lengths":
        entry = json.loads(about.read_text())
        entry["lengths"] = [entry["lengths"][0] + 1, entry["lengths"][1] - 1, entry["lengths"][2]]
        about.write_text(json.dumps(entry))
    elif harm == "json":
        about.write_text("{")
    else:
        path.unlink()
    assert not stored(["ragged"], corpus, folder)
    (again,) = extract(["ragged"], corpus, folder=folder, run_chunks=local_chunks)
    assert np.array_equal(again.matrix, wanted)
    assert len(calls) == 6


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (np.zeros((3, 2)), "must give float32, but gave float64"),
        (np.zeros((0, 2), np.float32), "one or more frames of 2 values"),
        (np.zeros((3, 4), np.float32), r"but gave the shape \(3, 4\)"),
        (np.array([[0, np.nan]], np.float32), "the first is of"),
    ],
)
def test_frames_of_a_wrong_form_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, packages: Path, value: np.ndarray, words: str
) -> None:
    wrong = replace(RAGGED, extract=lambda samples: value)
    install(monkeypatch, packages, "raysearch.features", {"ragged": wrong})
    corpus = corpus_of(tmp_path, noises(1))
    with pytest.raises(BadInput, match=words):
        extract(["ragged"], corpus, folder=tmp_path / "f", run_chunks=local_chunks)


def test_a_method_is_not_handed_what_it_does_not_take(tmp_path: Path) -> None:
    corpus = corpus_of(tmp_path, noises(1))
    with pytest.raises(BadInput, match="features=wave: the method takes one vector an utterance"):
        check(["is10", "wave"], corpus, {"vector"})
    with pytest.raises(BadInput, match="features=is10: the method takes frames"):
        check(["is10"], corpus, {"frames"})
    assert check(["is10", "wave"], corpus) == ()
    with pytest.raises(BadInput, match="wav2vec2-frames is named more than once"):
        check(["wav2vec2-frames:tiny", "wav2vec2-frames:tiny@layer=1"], corpus)


def test_a_vector_set_keeps_the_file_it_had_before_there_were_frames(tmp_path: Path) -> None:
    Shelf(tmp_path, "n", "v").put(["a", "b"], np.ones((2, 3)), ("x", "y", "z"))
    (path,) = tmp_path.rglob("*.npy")
    np.save(tmp_path / "own.npy", np.ones((2, 3), np.float32))
    assert path.read_bytes() == (tmp_path / "own.npy").read_bytes()
    entry = json.loads(path.with_suffix(".json").read_text())
    assert sorted(entry) == ["digests", "names", "sha256", "version"]
    assert entry["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
