"""Extraction: the right numbers, each clip once, nothing lost, and failing clips named."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from raysearch.data.corpora import Corpus
from raysearch.data.features import (
    Chunk,
    ChunkResult,
    ExtractorInfo,
    extract,
    known,
    local_chunks,
    stored,
)
from raysearch.data.features.extract import CHUNK, read_samples
from raysearch.errors import BadInput
from tests.contracts.extractors import corpus_of
from tests.support.plugins import install

RATE = 16_000
calls: list[int] = []


def moments(samples: np.ndarray) -> np.ndarray:
    calls.append(len(samples))
    power = samples.astype(np.float64) ** 2
    return np.array([len(samples), power.mean(), np.log(power.mean())], dtype=np.float32)


def three() -> tuple[str, ...]:
    return ("length", "power", "level")


def first() -> str:
    return "moments-1"


MOMENTS = ExtractorInfo("moments", "a fast one for tests", 3, moments, first, three)


@pytest.fixture(autouse=True)
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a package that brings `moments`."""
    calls.clear()
    folder = tmp_path / "packages"
    install(monkeypatch, folder, "raysearch.features", {"moments": MOMENTS})
    return folder


def noises(count: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {f"n{i:02d}": rng.normal(0, 0.1, 2000 + i) for i in range(count)}


def run(corpus: Corpus, folder: Path, names: tuple[str, ...] = ("moments",)) -> np.ndarray:
    return extract(names, corpus, folder=folder, run_chunks=local_chunks)[0].matrix


def test_rows_follow_the_table_and_nothing_is_computed_twice(tmp_path: Path) -> None:
    corpus = corpus_of(tmp_path, noises(2 * CHUNK + 3))
    folder = tmp_path / "features"
    seen: list[tuple[int, int]] = []
    assert not stored(["moments"], corpus, folder)
    (found,) = extract(
        ["moments"],
        corpus,
        folder=folder,
        run_chunks=local_chunks,
        progress=lambda done, of: seen.append((done, of)),
    )
    assert found.matrix.dtype == np.float32
    assert found.matrix[:, 0].tolist() == [2000 + i for i in range(len(corpus.table))]
    assert found.names == three()
    assert isinstance(found.matrix, np.memmap)
    assert not found.matrix.flags.writeable
    assert seen == [(CHUNK, 35), (2 * CHUNK, 35), (35, 35)]
    assert stored(["moments"], corpus, folder)
    count = len(calls)
    again = run(corpus, folder)
    assert np.array_equal(again, found.matrix)
    assert len(calls) == count
    assert len(list(folder.rglob("*.npy"))) == 1, "the chunks' files are gone"
    assert not [p for p in folder.rglob(".*")], "nothing half-written is left"


def test_a_part_of_a_known_corpus_costs_nothing(tmp_path: Path) -> None:
    corpus = corpus_of(tmp_path, noises(20))
    whole = run(corpus, tmp_path / "f")
    count = len(calls)
    part = replace(corpus, table=corpus.table.iloc[[7, 3, 12]].reset_index(drop=True))
    assert stored(["moments"], part, tmp_path / "f")
    assert np.array_equal(run(part, tmp_path / "f"), whole[[7, 3, 12]])
    assert len(calls) == count
    assert np.array_equal(run(corpus, tmp_path / "f"), whole), "the whole is still there"


def test_identical_clips_are_computed_once(tmp_path: Path) -> None:
    sound = noises(1)["n00"]
    corpus = corpus_of(tmp_path, {"a": sound, "b": sound})
    matrix = run(corpus, tmp_path / "f")
    assert matrix.shape == (2, 3)
    assert np.array_equal(matrix[0], matrix[1])
    assert len(calls) == 1


def test_a_killed_extraction_goes_on(tmp_path: Path) -> None:
    corpus = corpus_of(tmp_path, noises(3 * CHUNK))

    def killed(
        function: Callable[[Chunk], ChunkResult], chunks: list[Chunk]
    ) -> Iterator[ChunkResult]:
        yield function(chunks[0])
        yield function(chunks[1])
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        extract(["moments"], corpus, folder=tmp_path / "f", run_chunks=killed)
    assert len(calls) == 2 * CHUNK
    assert not stored(["moments"], corpus, tmp_path / "f")
    assert run(corpus, tmp_path / "f").shape == (3 * CHUNK, 3)
    assert len(calls) == 3 * CHUNK


@pytest.mark.parametrize("harm", ["flip", "cut", "json", "gone"])
def test_a_damaged_file_is_made_anew(tmp_path: Path, harm: str) -> None:
    corpus = corpus_of(tmp_path, noises(3))
    matrix = np.array(run(corpus, tmp_path / "f"))
    (path,) = (tmp_path / "f").rglob("*.npy")
    data = bytearray(path.read_bytes())
    if harm == "flip":
        data[-3] ^= 1
        path.write_bytes(bytes(data))
    elif harm == "cut":
        path.write_bytes(bytes(data[:-4]))
    elif harm == "json":
        path.with_suffix(".json").write_text("{")
    else:
        path.unlink()
    assert not stored(["moments"], corpus, tmp_path / "f")
    assert np.array_equal(run(corpus, tmp_path / "f"), matrix)
    assert len(calls) == 6


def test_another_version_is_another_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, packages: Path
) -> None:
    corpus = corpus_of(tmp_path, noises(3))
    run(corpus, tmp_path / "f")
    newer = replace(MOMENTS, version=lambda: "moments-2")
    install(monkeypatch, packages, "raysearch.features", {"moments": newer})
    assert not stored(["moments"], corpus, tmp_path / "f")


def test_clips_that_fail_are_named_and_the_others_kept(tmp_path: Path) -> None:
    sounds = noises(4)
    corpus = corpus_of(tmp_path, {**sounds, "zero": np.zeros(3000), "late": sounds["n01"][:1500]})
    soundfile.write(tmp_path / "late.wav", sounds["n02"], RATE)  # after the digest was taken
    with (
        np.errstate(divide="ignore"),
        pytest.raises(BadInput) as caught,
    ):
        run(corpus, tmp_path / "f")
    said = str(caught.value)
    assert "moments fails for c/zero" in said
    assert "1 of its values are not finite (the first is level)" in said
    assert "c/late" in said
    assert "changed after it was checked" in said
    assert "c/n00" not in said
    good = replace(corpus, table=corpus.table.iloc[:4])
    assert stored(["moments"], good, tmp_path / "f")


def test_unknown_extractors(tmp_path: Path) -> None:
    corpus = corpus_of(tmp_path, noises(1))
    with pytest.raises(BadInput, match=r"features=is1 is unknown \(did you mean 'is10'\?\)"):
        stored(["is1"], corpus, tmp_path)
    with pytest.raises(BadInput, match="No features are named"):
        stored([], corpus, tmp_path)


def test_a_chunk_carries_its_audio(tmp_path: Path) -> None:
    corpus = corpus_of(tmp_path, noises(2))

    def elsewhere(
        function: Callable[[Chunk], ChunkResult], chunks: list[Chunk]
    ) -> Iterator[ChunkResult]:
        packed = [chunk.packed() for chunk in chunks]
        for path in corpus.table["path"]:
            Path(path).unlink()  # as on a node without the corpus
        yield from map(function, packed)

    found = extract(["moments"], corpus, folder=tmp_path / "f", run_chunks=elsewhere)
    assert found[0].matrix[:, 0].tolist() == [2000, 2001]


def test_other_rates_and_channels_are_heard_alike(tmp_path: Path) -> None:
    time = np.arange(48_000) / 48_000
    sound = 0.5 * np.sin(2 * np.pi * 440 * time)
    path = tmp_path / "s.wav"
    soundfile.write(path, np.stack([sound, sound], axis=1), 48_000)
    samples = read_samples(path.read_bytes())
    assert samples.dtype == np.float32
    assert samples.shape == (RATE,)
    expected = 0.5 * np.sin(2 * np.pi * 440 * np.arange(RATE) / RATE)
    assert np.abs(samples - expected)[100:-100].max() < 2e-3


@pytest.mark.parametrize("name", ["is10", "emobase", "egemaps", "compare"])
def test_opensmile_on_real_speech(name: str, shared_data: Path, tmp_path: Path) -> None:
    import opensmile

    paths = sorted((shared_data / "emodb" / "wav").glob("*.flac"))[:2]
    corpus = corpus_of(tmp_path, {p.stem: soundfile.read(p)[0] for p in paths})
    (found,) = extract([name], corpus, folder=tmp_path / "f", run_chunks=local_chunks)
    info = known()[name]
    assert found.matrix.shape == (2, info.dims)
    assert len(found.names) == info.dims == len(set(found.names))
    sets = opensmile.FeatureSet
    own = {
        "is10": sets.IS10,
        "emobase": sets.emobase,
        "egemaps": sets.eGeMAPSv02,
        "compare": sets.ComParE_2016,
    }[name]
    smile = opensmile.Smile(feature_set=own, feature_level=opensmile.FeatureLevel.Functionals)
    for row, path in zip(found.matrix, corpus.table["path"], strict=True):
        assert np.array_equal(row, smile.process_file(path).to_numpy()[0])
    about = json.loads(found.path.with_suffix(".json").read_text())
    assert about["digests"] == list(corpus.table["audio"])
    assert found.version.startswith("opensmile-")


def test_the_1582_of_is10() -> None:
    names = known()["is10"].names()
    assert len(names) == 1582
    assert names[0] == "pcm_loudness_sma_maxPos"
    assert names[-2:] == ("F0final__Turn_numOnsets", "F0final__Turn_duration")
