"""Pieces of clips, their scores, and padding: against plain loops."""

from __future__ import annotations

import numpy as np
import pytest

from trainables import waves
from trainables.stage import Sequences


def rows(*lengths: int, columns: int | None = None, dtype: str = "float32") -> Sequences:
    rng = np.random.default_rng(0)
    shape = (sum(lengths),) if columns is None else (sum(lengths), columns)
    values = (rng.normal(size=shape) * 1000).astype(dtype)
    return Sequences(values, np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64))


SECOND = waves.RATE


@pytest.mark.parametrize(
    ("seconds", "tail", "pieces"),
    [
        (6.9, "merge", [6.9]),
        (7.0, "pad", [7.0]),
        (8.0, "merge", [8.0]),
        (8.0, "pad", [7.0, 1.0]),
        (8.5, "merge", [7.0, 1.5]),
        (15.2, "merge", [7.0, 8.2]),
        (0.4, "merge", [0.4]),
    ],
)
def test_clips_are_cut_whole(seconds: float, tail: waves.Tail, pieces: list[float]) -> None:
    wave = rows(round(seconds * SECOND), round(2 * SECOND))
    result = waves.cut({"wave": wave}, tail=tail)
    assert result.clip.tolist() == [0] * len(pieces) + [1]
    got = result.streams["wave"].lengths / SECOND
    np.testing.assert_allclose(got, [*pieces, 2.0])
    assert result.streams["wave"].values is wave.values  # nothing was copied
    both = np.concatenate([result.streams["wave"][p] for p in range(len(pieces))])
    np.testing.assert_array_equal(both, wave[0])


def test_streams_are_cut_at_the_same_times() -> None:
    wave = rows(20 * SECOND, 3 * SECOND)
    mel = rows(1997, 301, columns=4)  # a front end's edges: fewer and more frames than hops
    result = waves.cut({"logmel40": mel, "wave": wave})
    assert result.streams["logmel40"].lengths.tolist() == [700, 700, 597, 301]
    assert len(result) == 4
    alone = waves.cut({"logmel40": mel})
    assert alone.streams["logmel40"].lengths.tolist() == [700, 700, 597, 301]
    with pytest.raises(ValueError, match="same clips"):
        waves.cut({"wave": wave, "logmel40": rows(3, columns=4)})


def test_a_clip_scores_the_mean_of_its_pieces() -> None:
    p = np.array([[0.5, 0.5], [0.9, 0.1], [0.2, 0.8]], np.float32)
    pieces = waves.Pieces({}, np.array([0, 0, 1]), 2)
    np.testing.assert_allclose(waves.over_clips(p, pieces), [[0.7, 0.3], [0.2, 0.8]], rtol=1e-6)
    logs = np.sqrt([0.5 * 0.9, 0.5 * 0.1])
    want = [logs / logs.sum(), [0.2, 0.8]]
    np.testing.assert_allclose(waves.over_clips(p, pieces, "mean_log"), want, rtol=1e-5)


def test_pre_emphasis_and_level() -> None:
    x = np.array([1.0, 2.0, 4.0], np.float32)
    np.testing.assert_allclose(waves.condition(x), [1, 2 - 0.97, 4 - 1.94], rtol=1e-6)
    np.testing.assert_allclose(waves.condition(x, 0.0), x)
    whole = waves.condition(np.array([[16384], [-32768]], np.int16), 0.0)
    np.testing.assert_allclose(whole, [0.5, -1.0])
    for emphasis in (0.0, 0.97):  # the level is of what the encoder hears
        even = waves.condition(x, emphasis, "piece")
        assert even.mean() == pytest.approx(0, abs=1e-6)
        assert even.std() == pytest.approx(1, rel=1e-5)


def test_a_batch_is_padded_at_its_end() -> None:
    wave, mel = rows(30000, 4000, dtype="int16"), rows(190, 25, columns=3)
    result = waves.collate(
        {
            "wave": [wave[0], wave[1]],
            "logmel40": [mel[0], mel[1]],
            "target": np.eye(2, dtype=np.float32),
        },
        floor=0.5,
        pre_emphasis=0.0,
    )
    assert result["wave"].shape == (2, 30000)
    assert result["wave_length"].tolist() == [30000, 8000]  # the floor counts, the padding does not
    np.testing.assert_allclose(result["wave"][1, :4000], wave[1] / 32768.0, rtol=1e-6)
    assert not result["wave"][1, 4000:].any()
    assert result["mel_length"].tolist() == [190, 50]
    least = np.broadcast_to(mel[1].min(axis=0), (25, 3))
    np.testing.assert_array_equal(result["mel"][1, 25:50], least)
    assert not result["mel"][1, 50:].any()
    np.testing.assert_array_equal(result["target"], np.eye(2))


def test_frames_may_lead_and_then_cut_a_frame_off_a_whole_clip() -> None:
    wave, mel = rows(6 * SECOND, 2 * SECOND), rows(601, 201, columns=3)
    clear = waves.cut(
        {"wave": wave, "mel": mel}, longest=3.0, shortest=0.0, tail="pad", leader="mel"
    )
    assert clear.streams["mel"].lengths.tolist() == [300, 300, 1, 201]
    assert clear.streams["wave"].lengths.tolist() == [48000, 48000, 0, 32000]
    assert clear.clip.tolist() == [0, 0, 0, 1]
    by_wave = waves.cut({"wave": wave, "mel": mel}, longest=3.0, shortest=0.0, tail="pad")
    assert by_wave.streams["mel"].lengths.tolist() == [300, 301, 201]


def test_a_window_has_one_length() -> None:
    given = [np.arange(1, 4, dtype=np.float32), np.arange(1, 8, dtype=np.float32), np.zeros(0)]
    end = waves.window(given, 5, fill=-1.0)
    np.testing.assert_array_equal(end, [[1, 2, 3, -1, -1], [1, 2, 3, 4, 5], [-1] * 5])
    front = waves.window(given, 5, side="front")
    np.testing.assert_array_equal(front, [[0, 0, 1, 2, 3], [1, 2, 3, 4, 5], [0] * 5])
