"""What every extractor keeps to. Inherit `ExtractorContract` and give it a fixture `extractor`."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
from numpy.typing import NDArray

from raysearch.data.corpora import Corpus
from raysearch.data.corpora.corpus import TABLE_COLUMNS
from raysearch.data.features import ExtractorInfo, extract, local_chunks, stored
from raysearch.data.features.extract import read_samples
from raysearch.data.features.extractor import base_of

RATE = 16_000
TEXTS = ("the lamp is on", "it is cold", "no")

Samples = NDArray[np.float32]


def noise(length: int, seed: int = 0) -> Samples:
    """float32 [length] samples that a file of 16 bits keeps exactly."""
    steps = np.random.default_rng(seed).integers(-9000, 9000, length)
    return (steps / 32768).astype(np.float32)


def corpus_of(
    folder: Path, sounds: Mapping[str, NDArray[np.floating]], texts: Mapping[str, str] | None = None
) -> Corpus:
    """A corpus 'c' of one class and one speaker a letter, with a file of 16 bits for each sound."""
    rows = []
    for name, sound in sounds.items():
        path = folder / f"{name}.wav"
        soundfile.write(path, sound, RATE)
        audio = hashlib.sha256(path.read_bytes()).hexdigest()
        text = (texts or {}).get(name, "")
        rows.append((f"c/{name}", str(path), "c", f"c/{name[0]}", "", "x", text, audio, 1.0))
    return Corpus(pd.DataFrame(rows, columns=list(TABLE_COLUMNS)), ("x",))


def value_of(
    extractor: ExtractorInfo, samples: Samples, text: str = TEXTS[0]
) -> NDArray[np.number]:
    """What the extractor gives of one clip."""
    if extractor.reads == "text":
        return extractor.extract(text, samples)
    return extractor.extract(samples)


class ExtractorContract:
    """A subclass has a fixture `extractor`, and so these tests."""

    @pytest.mark.parametrize("length", [RATE // 10, RATE // 2, 3 * RATE])
    def test_a_clip_of_any_length_allowed_has_finite_values_of_one_form(
        self, extractor: ExtractorInfo, length: int
    ) -> None:
        value = value_of(extractor, noise(length))
        assert str(value.dtype) == ("float32" if extractor.kind == "vector" else extractor.dtype)
        assert np.isfinite(value).all()
        assert len(value) > 0
        if extractor.kind == "vector":
            assert value.ndim == 1
            assert len(value) == (extractor.dims or len(value))
        else:
            width = value.shape[1] if value.ndim == 2 else 1
            assert width == (extractor.dims or width)

    def test_silence_has_finite_values(self, extractor: ExtractorInfo) -> None:
        assert np.isfinite(value_of(extractor, np.zeros(RATE // 2, np.float32))).all()

    def test_frames_are_in_the_order_of_time_and_more_of_a_longer_clip(
        self, extractor: ExtractorInfo
    ) -> None:
        if extractor.kind == "vector":
            pytest.skip("one vector a clip")
        short, long = (value_of(extractor, noise(n)) for n in (RATE // 2, RATE))
        assert len(short) < len(long)

    def test_a_clip_has_the_same_values_whatever_was_heard_before(
        self, extractor: ExtractorInfo
    ) -> None:
        first = value_of(extractor, noise(RATE // 2))
        value_of(extractor, noise(RATE, seed=1), TEXTS[1])
        again = value_of(extractor, noise(RATE // 2))
        assert np.array_equal(first, again)

    def test_two_clips_have_different_values(self, extractor: ExtractorInfo) -> None:
        one = value_of(extractor, noise(RATE // 2), TEXTS[0])
        other = value_of(extractor, noise(RATE // 2, seed=1), TEXTS[1])
        assert not np.array_equal(one, other)

    def test_the_samples_are_left_as_they_are(self, extractor: ExtractorInfo) -> None:
        samples = noise(RATE // 2)
        samples.flags.writeable = False  # as Ray's store hands them out
        value_of(extractor, samples)
        assert np.array_equal(samples, noise(RATE // 2))

    def test_a_worker_gets_the_same_extractor(self, extractor: ExtractorInfo) -> None:
        copy: ExtractorInfo = pickle.loads(pickle.dumps(extractor))
        assert copy.version() == extractor.version()
        sound = noise(RATE // 2)
        assert np.array_equal(value_of(copy, sound), value_of(extractor, sound))

    def test_its_version_can_name_a_folder_and_stays(self, extractor: ExtractorInfo) -> None:
        version = extractor.version()
        assert version
        assert version == extractor.version()
        assert not set(version) & set("/\\ \n:")

    def test_each_column_has_a_name_of_its_own(self, extractor: ExtractorInfo) -> None:
        value = value_of(extractor, noise(RATE // 2))
        width = 1 if value.ndim == 1 and extractor.kind == "frames" else value.shape[-1]
        names = extractor.columns(width)
        assert len(names) == width == len(set(names))

    def test_its_name_starts_with_its_base_and_it_is_described(
        self, extractor: ExtractorInfo
    ) -> None:
        assert extractor.base == base_of(extractor.name)
        assert extractor.name.startswith(extractor.base)
        assert extractor.description

    def test_the_address_tells_clips_apart_by_what_is_read(self, extractor: ExtractorInfo) -> None:
        address = extractor.address("a" * 64, TEXTS[0])
        assert address == extractor.address("a" * 64, TEXTS[0])
        if extractor.reads == "text":
            assert address != extractor.address("a" * 64, TEXTS[1])
        else:
            assert address != extractor.address("b" * 64, TEXTS[0])

    def test_rows_follow_the_table(self, extractor: ExtractorInfo, tmp_path: Path) -> None:
        sounds = {name: noise(RATE // 2 + 400 * i, seed=i) for i, name in enumerate("abc")}
        corpus = corpus_of(tmp_path, sounds, dict(zip("abc", TEXTS, strict=True)))
        names = [extractor.name]
        (whole,) = extract(names, corpus, folder=tmp_path / "f", run_chunks=local_chunks)
        assert stored(names, corpus, tmp_path / "f")
        order = [2, 0, 1]
        turned = replace(corpus, table=corpus.table.iloc[order].reset_index(drop=True))
        (part,) = extract(names, turned, folder=tmp_path / "f", run_chunks=local_chunks)
        for row, place in enumerate(order):
            path, text = corpus.table["path"][place], corpus.table["transcript"][place]
            value = value_of(extractor, read_samples(Path(path).read_bytes()), text)
            for features, at in ((whole, place), (part, row)):
                if features.starts is None:
                    assert np.array_equal(features.matrix[at], value)
                else:
                    rows = slice(features.starts[at], features.starts[at + 1])
                    assert np.array_equal(features.matrix[rows], value)
        assert whole.version == extractor.version()
