"""Rows of a wave that is held once: as copies of them would be, without the copies."""

from __future__ import annotations

import pickle
import tracemalloc

import numpy as np
import pytest

from raysearch.stages.dataset import Moments
from raysearch.stages.normalising import normalised_frames
from trainables import waves
from trainables.excerpts import Excerpts
from trainables.stage import Sequences

LENGTHS = np.array([40_000, 3, 0, 130_000, 112_001, 16_000])


@pytest.fixture
def wave() -> Sequences:
    values = np.random.default_rng(0).integers(-9000, 9000, LENGTHS.sum(), dtype=np.int16)
    return Sequences(values, np.concatenate([[0], np.cumsum(LENGTHS)]).astype(np.int64))


def excerpts(wave: Sequences, *rows: int) -> Sequences:
    """Normalised by the rows 0 and 4."""
    source = np.array([0, 4])
    return normalised_frames(wave, Moments.of(wave), np.array(rows), [source] * len(rows))


def copies(wave: Sequences, *rows: int) -> Sequences:
    """The same, each row normalised here."""
    both = np.concatenate([wave[0], wave[4]]).astype(np.float64)
    scaled = [((wave[row] - both.mean()) / both.std()).astype(np.float32) for row in rows]
    starts = np.cumsum([0, *map(len, scaled)]).astype(np.int64)
    return Sequences(np.concatenate(scaled), starts)


def assert_same(actual: Sequences, reference: Sequences) -> None:
    assert len(actual) == len(reference) > 0
    np.testing.assert_array_equal(actual.lengths, reference.lengths)
    np.testing.assert_array_equal(actual.starts, reference.starts - reference.starts[0])
    rows = [actual[row] for row in range(len(actual))]
    assert {row.dtype for row in rows} == {np.dtype(np.float32)}
    whole = reference.values[reference.starts[0] : reference.starts[-1]]
    np.testing.assert_allclose(np.concatenate(rows), whole, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(actual.values, np.concatenate(rows))


def test_rows_are_what_copies_are(wave: Sequences) -> None:
    actual, reference = excerpts(wave, 3, 0, 2, 1), copies(wave, 3, 0, 2, 1)
    assert isinstance(actual, Excerpts)
    assert_same(actual, reference)
    other = np.array([1, 3, 0])
    assert_same(actual.take(other), reference.take(other))
    assert_same(actual.join(excerpts(wave, 5, 5)), copies(wave, 3, 0, 2, 1, 5, 5))
    assert_same(actual.join(copies(wave, 5)), copies(wave, 3, 0, 2, 1, 5))
    assert_same(pickle.loads(pickle.dumps(actual)), reference)


def test_a_wave_that_is_elsewhere_too_does_not_travel(wave: Sequences) -> None:
    HELD["wave"], reads = wave.values, len(READS)
    own, source = np.array([3, 0, 2, 1]), np.array([0, 4])
    rows = normalised_frames(wave, Moments.of(wave), own, [source] * 4, origin)
    assert isinstance(rows, Excerpts)
    twice = rows.take(np.array([1, 0, 3])).join(rows)
    text = pickle.dumps((rows, twice, rows.split(rows.starts)))
    assert len(text) < 2000 < wave.values.nbytes
    assert len(READS) == reads  # who has the wave asks nobody
    again = pickle.loads(text)
    assert len(READS) == reads  # nor does who has read nothing yet
    reference = copies(wave, 3, 0, 2, 1)
    assert_same(again[0], reference)
    assert_same(again[1], copies(wave, 0, 3, 1, 3, 0, 2, 1))
    assert_same(again[2], reference)
    assert len(READS) == reads + 3
    assert again[1].source is wave.values
    joined = again[0].join(again[1])
    assert joined.source is wave.values


HELD: dict[str, np.ndarray] = {}
READS: list[int] = []


def origin() -> np.ndarray:
    READS.append(1)
    return HELD["wave"]


@pytest.mark.parametrize("tail", ["merge", "pad"])
def test_pieces_are_what_pieces_of_copies_are(wave: Sequences, tail: waves.Tail) -> None:
    rows = (4, 2, 3, 1, 0, 2)
    actual = waves.cut({"wave": excerpts(wave, *rows)}, longest=2.0, tail=tail)
    reference = waves.cut({"wave": copies(wave, *rows)}, longest=2.0, tail=tail)
    assert actual.clip.tolist() == reference.clip.tolist()
    assert_same(actual.streams["wave"], reference.streams["wave"])


def test_parts_joined_and_cut_hold_no_wave_of_their_own(wave: Sequences) -> None:
    moments, source = Moments.of(wave), np.array([0, 4])
    tracemalloc.start()
    try:
        train = normalised_frames(wave, moments, np.array([3, 4]), [source] * 2)
        rest = normalised_frames(wave, moments, np.array([0, 5]), [source] * 2)
        pool = train.join(rest).take(np.array([3, 1, 0]))
        pieces = waves.cut({"wave": pool})
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(pieces) >= 3
    assert peak < 0.2 * wave.values.nbytes
