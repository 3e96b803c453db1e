"""What training rows undergo: measured on the rows, and against torchaudio and sums by hand."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import signal
from torch import Tensor, nn

from tests.contracts.method_contract import Interruption
from trainables import losses, metrics, targets, waves
from trainables.augmentation import (
    Augmentation,
    Augmenter,
    add_noise,
    babble,
    colour,
    declare,
    fit_length,
    mask,
    of_setting,
    play,
)
from trainables.loop import Training, fit
from trainables.optimisation import Fit
from trainables.pure_torchaudio import prepare
from trainables.stage import Sequences

pytestmark = pytest.mark.usefixtures("one_thread")

K, D, N = 3, 6, 24
RATE = 16_000


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def sequences(rows: list[np.ndarray]) -> Sequences:
    return Sequences(np.concatenate(rows), np.cumsum([0, *map(len, rows)]).astype(np.int64))


def decibels(wave: np.ndarray, noise: np.ndarray) -> float:
    return float(10 * np.log10(np.mean(wave**2) / np.mean(noise**2)))


# --- One row --------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["white", "pink", "babble"])
@pytest.mark.parametrize("snr", [-5.0, 0.0, 20.0])
def test_noise_has_its_ratio_to_the_wave(kind: str, snr: float) -> None:
    others = sequences([rng(i).normal(size=3000 + i).astype(np.float32) for i in range(6)])
    wave = 0.3 * others[0]
    noise = babble(others, 0, 3000, rng()) if kind == "babble" else colour(kind, 3000, rng())
    both = add_noise(wave, noise, snr)
    assert decibels(wave, both - wave) == pytest.approx(snr, abs=0.01)
    reference = prepare().functional.add_noise(
        torch.tensor(wave), torch.tensor(noise), torch.tensor(snr)
    )
    np.testing.assert_allclose(both, reference, atol=1e-5)


def test_silence_gets_no_noise() -> None:
    silence, noise = np.zeros(100, np.float32), colour("white", 100, rng())
    np.testing.assert_array_equal(add_noise(silence, noise, 10.0), silence)
    np.testing.assert_array_equal(add_noise(noise, silence, 10.0), noise)


def test_white_noise_is_flat_and_pink_falls_by_three_decibels_an_octave() -> None:
    def slope(kind: str) -> float:
        """dB an octave, between 100 Hz and 6400 Hz."""
        f, power = signal.welch(colour(kind, 30 * RATE, rng()), RATE, nperseg=4096)
        band = (f > 100) & (f < 6400)
        return float(np.polyfit(np.log2(f[band]), 10 * np.log10(power[band]), 1)[0])

    assert slope("white") == pytest.approx(0.0, abs=0.1)
    assert slope("pink") == pytest.approx(-10 * np.log10(2), abs=0.1)


def test_babble_is_of_other_rows_alone() -> None:
    """The row itself, which alone has power at its frequency, is never among the voices."""
    tones = [np.sin(2 * np.pi * f * np.arange(RATE) / RATE) for f in (1000, 200, 300)]
    others = sequences([tone.astype(np.float32) for tone in tones])
    for seed in range(20):
        power = np.abs(np.fft.rfft(babble(others, 0, RATE, rng(seed)))) ** 2
        assert power[1000] < 1e-6 * power.max()
        assert power[[200, 300]].sum() > 0.99 * power.sum()


@pytest.mark.parametrize("percent", [90, 93, 107, 110])
def test_speed_changes_length_and_pitch_by_its_ratio(percent: int) -> None:
    tone = np.sin(2 * np.pi * 1000 * np.arange(RATE) / RATE).astype(np.float32)
    played = play(tone, percent)
    assert len(played) == -(-RATE * 100 // percent)
    peak = np.abs(np.fft.rfft(played)).argmax() * RATE / len(played)
    assert peak == pytest.approx(10 * percent, rel=1e-3)
    reference = prepare().functional.resample(torch.tensor(tone), percent, 100).numpy()
    inner = slice(200, -200)  # filters differ at the ends
    np.testing.assert_allclose(played[inner], reference[inner], atol=0.02)


def test_frames_are_interpolated_in_time_and_keep_their_bands() -> None:
    frames = np.arange(40, dtype=np.float32)[:, None] * np.array([[1.0, -2.0]], np.float32)
    slow, fast = play(frames, 80), play(frames, 125)
    assert (len(slow), len(fast)) == (50, 32)
    np.testing.assert_allclose(slow[:, 0], np.minimum(np.arange(50) * 0.8, 39), rtol=1e-5)
    np.testing.assert_allclose(fast[:, 1], -2 * np.arange(32) * 1.25, rtol=1e-5)
    np.testing.assert_array_equal(play(frames, 100), frames)
    assert play(frames[:1], 80).shape == (1, 2)


def test_masks_are_so_many_spans_of_the_fill() -> None:
    """Spans of masked frames and bands are at most so many, and at most so long."""
    what = Augmentation(time_masks=2, time_width=0.2, freq_masks=1, freq_width=0.25)
    fill = np.linspace(50, 60, 20, dtype=np.float32)
    frames = rng().normal(size=(50, 20)).astype(np.float32)
    times, bands = [], []
    for seed in range(200):
        masked = mask(frames, fill, what, rng(seed))
        there = masked != frames
        np.testing.assert_array_equal(masked[there], np.broadcast_to(fill, frames.shape)[there])
        time, band = there.all(axis=1), there[~there.all(axis=1)].all(axis=0)
        assert (there == (time[:, None] | band[None])).all()
        times.append(int(time.sum()))
        bands.append(int(band.sum()))
        assert np.diff(np.concatenate([[0], time])).clip(0).sum() <= 2
        assert np.diff(np.concatenate([[0], band])).clip(0).sum() <= 1
    assert (min(times), max(bands)) == (0, 5)
    assert max(times) <= 20
    # 0 .. 10 frames a span, 0 .. 5 bands: means 5 a span, less what spans share, and 2.5
    assert 8 < np.mean(times) < 10
    assert np.mean(bands) == pytest.approx(2.5, abs=0.4)


def test_a_row_begins_again_at_its_end() -> None:
    assert fit_length(np.array([1, 2, 3]), 7).tolist() == [1, 2, 3, 1, 2, 3, 1]
    assert fit_length(np.array([1, 2, 3]), 2).tolist() == [1, 2]
    assert fit_length(np.zeros((0, 2)), 2).tolist() == [[0, 0], [0, 0]]


# --- The rows of an epoch -------------------------------------------------------------------


def columns(n: int = N) -> dict[str, Any]:
    r = rng(5)
    lengths = r.integers(20, 60, n)
    return {
        "wave": sequences([r.normal(size=160 * t).astype(np.float32) for t in lengths]),
        "mel": sequences([r.normal(size=(t, D)).astype(np.float32) + 7 for t in lengths]),
        "target": np.eye(K, dtype=np.float32)[np.arange(n) % K],
    }


def rows_of(what: Augmentation, index: list[int], epoch: int = 1) -> dict[str, Any]:
    whole = columns()
    chunk = {
        name: [c[i] for i in index] if isinstance(c, Sequences) else c[index]
        for name, c in whole.items()
    }
    draws = Augmenter(what, whole, seed=3).epoch(epoch)
    return draws.rows(chunk, whole, np.array(index))


def test_a_row_undergoes_the_same_whatever_its_batch_and_another_thing_in_another_epoch() -> None:
    what = Augmentation(
        noise="any", noise_share=1.0, gain=6, speed=0.1, time_masks=1, freq_masks=1, mixup=0.4
    )
    both, alone, later = rows_of(what, [4, 9]), rows_of(what, [9]), rows_of(what, [9], epoch=2)
    for name in ("wave", "mel", "target"):
        np.testing.assert_array_equal(both[name][1], alone[name][0])
        assert name == "target" or not np.array_equal(alone[name][0], later[name][0])
    assert len(alone["mel"][0]) == pytest.approx(len(alone["wave"][0]) / 160, abs=1)


def test_settings_meet_the_same_draws_of_what_they_share() -> None:
    """With a gain beside it, the noise is what it is without one."""
    noise = Augmentation(noise="white", noise_share=1.0)
    plain, louder = rows_of(noise, [2]), rows_of(Augmentation(**vars(noise) | {"gain": 6.0}), [2])
    ratio = louder["wave"][0] / plain["wave"][0]
    np.testing.assert_allclose(ratio, ratio[0], rtol=1e-5)
    assert 10 ** (-6 / 20) <= ratio[0] <= 10 ** (6 / 20)
    assert ratio[0] != 1


def test_ratios_lie_in_their_range_and_noise_falls_on_its_share() -> None:
    what = Augmentation(noise="pink", noise_share=0.5, snr=3.0, snr_span=4.0)
    whole = columns()["wave"]
    ratios = []
    for epoch in range(1, 9):
        noisy = rows_of(what, list(range(N)), epoch)["wave"]
        for i, wave in enumerate(noisy):
            if not np.array_equal(wave, whole[i]):
                ratios.append(decibels(whole[i], wave - whole[i]))
    assert 3 <= min(ratios) < 3.5
    assert 6.5 < max(ratios) <= 7
    assert len(ratios) == pytest.approx(0.5 * 8 * N, abs=20)


def test_the_mask_is_the_mean_frame_of_the_training_rows() -> None:
    what = Augmentation(time_masks=1, time_width=1.0)
    mean = columns()["mel"].values.mean(axis=0)
    masked = rows_of(what, [0])["mel"][0]
    there = (masked != columns()["mel"][0]).all(axis=1)
    assert there.any()
    np.testing.assert_allclose(masked[there], np.broadcast_to(mean, (there.sum(), D)), rtol=1e-5)


STRATEGIES = {
    "hard": {},
    "label_smoothing": {"smoothing": 0.2},
    "soft": {},
    "correction_soft": {"correction_lambda": 0.5, "correct": "B+C", "target_norm": "sum1"},
}


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_mixup_mixes_rows_and_their_targets_by_one_share(strategy: str) -> None:
    """By hand, for vectors: share x_i + (1 - share) x_j, and the same of whatever target it is."""
    y, r = np.arange(N) % K, rng(1)
    votes = r.integers(0, 4, (N, K)).astype(np.float32) + np.eye(K, dtype=np.float32)[y]
    target = targets.of_setting(
        {"strategy": strategy, **STRATEGIES[strategy]},
        y=y,
        k=K,
        votes=votes,
        sets=(np.arange(N) % 3).astype(np.int8),
        predictions=r.dirichlet(np.ones(K), N).astype(np.float32),
    )
    x = r.normal(size=(N, D)).astype(np.float32)
    whole = {"x": torch.tensor(x), "target": torch.tensor(target), "y": torch.tensor(y)}
    draws = Augmenter(Augmentation(mixup=0.4), {"x": x, "target": target, "y": y}, 3).epoch(1)
    index = torch.tensor([7, 3, 20])
    mixed = draws.tensors({n: c[index] for n, c in whole.items()}, whole, index)
    for place, i in enumerate(index.tolist()):
        share, j = float(draws.share[i]), int(draws.partner[i])
        np.testing.assert_allclose(mixed["x"][place], share * x[i] + (1 - share) * x[j], atol=1e-6)
        by_hand = share * target[i] + (1 - share) * target[j]
        np.testing.assert_allclose(mixed["target"][place], by_hand, atol=1e-6)
    np.testing.assert_allclose(mixed["target"].sum(1), 1, atol=1e-6)
    assert mixed["y"].tolist() == y[index].tolist()


def test_mixup_of_waves_is_as_long_as_the_row_in_all_streams() -> None:
    whole, what = columns(), Augmentation(mixup=0.4)
    draws = Augmenter(what, whole, seed=3).epoch(1)
    mixed = rows_of(what, list(range(N)))
    for i in range(N):
        share, j = draws.share[i], int(draws.partner[i])
        for name in ("wave", "mel"):
            other = np.concatenate([whole[name][j]] * 4)[: len(whole[name][i])]
            by_hand = share * whole[name][i] + (1 - share) * other
            np.testing.assert_allclose(mixed[name][i], by_hand, atol=1e-5)
    shares = np.concatenate([Augmenter(what, whole, 3).epoch(e).share for e in range(40)])
    # Beta(a, a): mean a half, variance 1 / (4 (2 a + 1))
    assert shares.mean() == pytest.approx(0.5, abs=0.04)
    assert shares.var() == pytest.approx(1 / (4 * 1.8), abs=0.02)


def test_gaussian_noise_is_in_deviations_of_each_feature() -> None:
    x = (rng().normal(size=(2000, 2)) * [1.0, 100.0]).astype(np.float32)
    draws = Augmenter(Augmentation(gaussian=0.5), {"x": x, "weight": x[:, 0]}, 3).epoch(1)
    whole = {"x": torch.tensor(x), "weight": torch.tensor(x[:, 0])}
    noisy = draws.tensors(whole, whole, torch.arange(2000))
    np.testing.assert_allclose((noisy["x"].numpy() - x).std(axis=0), 0.5 * x.std(axis=0), rtol=0.05)
    assert torch.equal(noisy["weight"], whole["weight"])


@pytest.mark.parametrize(
    ("what", "columns", "problem"),
    [
        ({"noise": "white"}, {"mel": 2}, "no waves"),
        ({"gain": 3.0}, {"x": 0}, "no waves"),
        ({"time_masks": 1}, {"wave": 1}, "no frames"),
        ({"speed": 0.1}, {"x": 0}, "no waves or frames"),
        ({"gaussian": 0.1}, {"mel": 2}, "no vectors"),
    ],
)
def test_what_there_is_nothing_for_is_refused(
    what: dict[str, Any], columns: dict[str, int], problem: str
) -> None:
    of = {
        0: np.zeros((4, 3), np.float32),
        1: sequences([np.zeros(9, np.float32)] * 4),
        2: sequences([np.zeros((9, 3), np.float32)] * 4),
    }
    with pytest.raises(ValueError, match=problem):
        Augmenter(Augmentation(**what), {n: of[kind] for n, kind in columns.items()}, 0)


def test_parameters_are_off_by_default() -> None:
    params = declare(wave=lambda own: True, frames=lambda own: True, vectors=lambda own: True)
    assert of_setting({name: param.default for name, param in params.items()}) is None
    assert of_setting({"augment_mixup": None, "lr": 1.0}) is None
    assert of_setting({"augment_mixup": 0.2, "augment_noise": None}) == Augmentation(mixup=0.2)


# --- A training -----------------------------------------------------------------------------

FRAMES = Augmentation(speed=0.1, time_masks=1, freq_masks=1, mixup=0.4)
VECTORS = Augmentation(gaussian=0.2, mixup=0.4)


class Network(nn.Module):
    """Two layers on a vector, or on the mean over a row's frames."""

    def __init__(self, dropout: float = 0.2) -> None:
        super().__init__()
        layers = (nn.Linear(D, 16), nn.ReLU(), nn.Dropout(dropout), nn.Linear(16, K))
        self.body = nn.Sequential(*layers)

    def forward(self, rows: Mapping[str, Tensor]) -> Tensor:
        if "x" in rows:
            return self.body(rows["x"])
        here = torch.arange(rows["mel"].shape[1]) < rows["mel_length"][:, None]
        return self.body((rows["mel"] * here[..., None]).sum(dim=1) / rows["mel_length"][:, None])


def infer(module: Network, rows: Mapping[str, Tensor]) -> Tensor:
    return module(rows)


def score(probabilities: np.ndarray, *, y: np.ndarray) -> dict[str, float]:
    return {"validation_ua": metrics.unweighted_accuracy(y, probabilities.argmax(1), K)}


def train(what: Augmentation | None, **changes: Any) -> Fit:
    """On frames, or on their means where these have Gaussian noise."""
    whole, vectors = columns(), what is VECTORS
    x = np.stack([whole["mel"][i].mean(axis=0) for i in range(N)])
    rows: dict[str, Any] = {"x": x} if vectors else {"mel": whole["mel"]}
    settings: dict[str, Any] = {
        "build": Network,
        "infer": infer,
        "loss": functools.partial(losses.target_loss, weights=None),
        "score": functools.partial(score, y=whole["target"].argmax(1)),
        "train": rows | {"target": whole["target"]},
        "validation": rows,
        "predict": {"test": rows},
        "collate": None if vectors else functools.partial(waves.collate, floor=0.01),
        "augment": what,
        "batch": 8,
        "eval_batch": N,
        "lr": 1e-2,
        "epochs": 4,
        "patience": 4,
        "seed": 7,
    }
    return fit(Training(**(settings | changes)))


@pytest.mark.parametrize("what", [FRAMES, VECTORS], ids=["frames", "vectors"])
def test_only_steps_are_augmented_and_a_training_goes_on_as_it_was(
    what: Augmentation, tmp_path: Path
) -> None:
    calls: list[tuple[bool, float]] = []

    def look(module: Network, rows: Mapping[str, Tensor]) -> Tensor:
        name = "x" if "x" in rows else "mel"
        calls.append((module.training, float(rows[name].sum())))
        return module(rows)

    whole = train(what, infer=look)
    # the same rows are learnt from, validated on and predicted
    assert len({total for training, total in calls if not training}) == 1
    steps = [total for training, total in calls if training]
    assert len(set(steps)) == len(steps) == 4 * 3
    assert train(what).curves == whole.curves
    assert train(what, seed=8).curves != whole.curves

    def dies(epoch: int, value: float) -> None:
        if epoch == 3:
            raise Interruption

    scratch: dict[str, Any] = {"scratch": tmp_path, "checkpoint_every": 1}
    with pytest.raises(Interruption):
        train(what, on_epoch=dies, **scratch)
    second = train(what, **scratch)
    assert second.curves == whole.curves
    np.testing.assert_array_equal(second.probabilities["test"], whole.probabilities["test"])


def test_parts_of_a_batch_are_augmented_as_the_whole() -> None:
    plain = functools.partial(Network, 0.0)
    whole, parts = train(FRAMES, build=plain), train(FRAMES, build=plain, accumulate=2)
    np.testing.assert_allclose(parts.curves["loss"], whole.curves["loss"], rtol=1e-4)


@pytest.mark.gpu
def test_vectors_are_augmented_on_a_card() -> None:
    first, again = train(VECTORS, device="cuda"), train(VECTORS, device="cuda")
    np.testing.assert_allclose(first.curves["loss"], again.curves["loss"], rtol=1e-4)
