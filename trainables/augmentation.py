"""Augmentation: what the rows that a training learns from undergo, anew in every epoch.

Waves get noise, another level, another speed; frames get masks and another speed; vectors get
Gaussian noise; rows of any kind are mixed (mixup), their targets too, whatever label strategy made
these. Rows that stop a training or that it predicts are read as they are.

Noise is drawn, or is the babble of other rows; a row is mixed with another row: always of the rows
that this training learns from. What happens to a row is a function of the training's seed, the
epoch and the row: the same in whatever batch, on whichever worker, and after a restart. Each kind
of draw has a stream of its own, so that settings which differ in one kind meet the same draws of
the others. (audiomentations draws from the random state of the process, which threads share.)

Torch is imported inside functions: processes that only plan read the parameters here.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from trainables.fitting import above, equals, where
from trainables.stage import Array, Param, Sequences, Setting
from trainables.waves import WAVE, samples

if TYPE_CHECKING:
    from torch import Tensor

    from trainables.rows import Arrays, Rows

PREFIX = "augment_"
LOSS_COLUMNS = ("target", "weight")
"""columns of numbers that the loss reads and no network: they are mixed, and get no noise"""
COLOURS = ("white", "pink", "babble")
VOICES = (3, 8)
"""other rows that talk at once in babble: at least, and less than"""
STREAMS = ("mixup", "speed", "noise", "gain", "masks", "gaussian")
"""kinds of draws, each with random numbers of its own"""

NOISE: dict[str, Param] = where(
    equals("augment_noise", *COLOURS, "any"),
    augment_noise=Param(
        "none",
        "noise on training waves: white, pink (the same power in every octave), babble "
        "(three to seven other training clips at once), or any of these by chance",
        ("none", *COLOURS, "any"),
    ),
    augment_noise_share=Param(
        0.5, "share of an epoch's waves that get noise", low=0.01, high=1.0
    ),
    augment_snr=Param(
        5.0, "lowest ratio of a wave's power to its noise's, in dB", low=-30.0, high=100.0
    ),
    augment_snr_span=Param(
        20.0, "dB above augment_snr that ratios are drawn from", low=0.0, high=100.0
    ),
)  # fmt: skip
GAIN: dict[str, Param] = {
    "augment_gain": Param(
        0.0,
        "dB that the level of training waves is changed by, up or down, at most; 0: none. Without "
        "effect where each piece has its own level (wave_norm=piece)",
        low=0.0,
        high=60.0,
        matters=lambda own: own["augment_gain"] > 0 and own.get("wave_norm") != "piece",
    )
}
SPEED: dict[str, Param] = where(
    above("augment_speed"),
    augment_speed=Param(
        0.0,
        "share that training clips are played faster or slower by, at most, in steps of 0.01; 0: "
        "none (Ko et al. 2015: 0.1). Frames become shorter or longer, and keep their spectrum",
        low=0.0,
        high=0.5,
    ),
)
MASKS: dict[str, Param] = {
    **where(
        above("augment_time_masks"),
        augment_time_masks=Param(
            0,
            "spans of training frames that are masked by the mean frame, a row (SpecAugment, Park "
            "et al. 2019: 1 or 2)",
            low=0,
            high=20,
        ),
        augment_time_width=Param(
            0.1, "longest of these spans, as a share of the row's frames", low=0.01, high=1.0
        ),
    ),
    **where(
        above("augment_freq_masks"),
        augment_freq_masks=Param(
            0,
            "groups of neighbouring bands that are masked by their means, a row (SpecAugment: 1 or "
            "2)",
            low=0,
            high=20,
        ),
        augment_freq_width=Param(
            0.2, "widest of these groups, as a share of the bands", low=0.01, high=1.0
        ),
    ),
}
GAUSSIAN: dict[str, Param] = where(
    above("augment_gaussian"),
    augment_gaussian=Param(
        0.0,
        "Gaussian noise on training vectors, in standard deviations of each feature over the "
        "training clips; 0: none",
        low=0.0,
        high=10.0,
    ),
)
MIXUP: dict[str, Param] = where(
    above("augment_mixup"),
    augment_mixup=Param(
        0.0,
        "each training row and its target are mixed with another's, by a share of "
        "Beta(a, a); 0: none (mixup, Zhang et al. 2018: 0.1 to 0.4)",
        low=0.0,
        high=100.0,
    ),
)
OF: dict[str, dict[str, Param]] = {
    "wave": NOISE | GAIN | SPEED | MIXUP,
    "frames": SPEED | MASKS | MIXUP,
    "segments": MASKS | MIXUP,
    "vectors": GAUSSIAN | MIXUP,
}
"""by what a network reads; segments have one length, and so no speed"""


def always(own: Setting) -> bool:
    return True


def declare(**reads: Callable[[Setting], bool]) -> dict[str, Param]:
    """The parameters of augmentation, as a method declares them; all are off by default.

    Args:
        reads: by kind of `OF`, whether a setting's network reads such rows
    """

    def rule(name: str, own_rule: Callable[[Setting], bool]) -> Callable[[Setting], bool]:
        kinds = [read for kind, read in reads.items() if name in OF[kind]]
        return lambda own: own_rule(own) and any(read(own) for read in kinds)

    params = {name: param for kind in reads for name, param in OF[kind].items()}
    return {
        name: dataclasses.replace(param, matters=rule(name, param.matters or always))
        for name, param in params.items()
    }


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """What the rows of a training undergo: the parameters above, without their prefix."""

    noise: str = "none"
    noise_share: float = 0.5
    snr: float = 5.0
    snr_span: float = 20.0
    gain: float = 0.0
    speed: float = 0.0
    time_masks: int = 0
    time_width: float = 0.1
    freq_masks: int = 0
    freq_width: float = 0.2
    gaussian: float = 0.0
    mixup: float = 0.0

    @property
    def of_waves(self) -> bool:
        return self.noise != "none" or self.gain > 0

    @property
    def of_frames(self) -> bool:
        return self.time_masks > 0 or self.freq_masks > 0

    @property
    def any(self) -> bool:
        numbers = (self.speed, self.gaussian, self.mixup)
        return self.of_waves or self.of_frames or max(numbers) > 0


def of_setting(own: Setting) -> Augmentation | None:
    """The augmentation that a stage's parameters ask for; None where they ask for none."""
    words = {
        name.removeprefix(PREFIX): value
        for name, value in own.items()
        if name.startswith(PREFIX) and value is not None
    }
    what = Augmentation(**words)
    return what if what.any else None


# --- What happens to a row ------------------------------------------------------------------


def colour(kind: str, length: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """[length] of white or pink noise, whose power falls with the frequency, 3 dB an octave."""
    if kind == "white":
        return rng.standard_normal(length, dtype=np.float32)
    from scipy import fft

    size = fft.next_fast_len(max(length, 2), real=True)
    spectrum = fft.rfft(rng.standard_normal(size, dtype=np.float32))
    spectrum[0] = 0
    spectrum[1:] /= np.sqrt(np.arange(1, len(spectrum), dtype=np.float32))
    return np.asarray(fft.irfft(spectrum, size)[:length], dtype=np.float32)


def babble(
    waves: Sequences, row: int, length: int, rng: np.random.Generator
) -> NDArray[np.float32]:
    """[length] of several other rows at once, each of the same power, from a place in it on."""
    mixture = np.zeros(length, np.float32)
    for draw in rng.integers(max(len(waves) - 1, 1), size=rng.integers(*VOICES)).tolist():
        voice = samples(waves[draw + (draw >= row and len(waves) > 1)])
        if power := _power(voice):
            voice = np.roll(voice, -int(rng.integers(len(voice))))
            mixture += fit_length(voice, length) / np.float32(np.sqrt(power))
    return mixture


def add_noise(
    wave: NDArray[np.float32], noise: NDArray[np.float32], snr: float
) -> NDArray[np.float32]:
    """The wave and the noise [T], which is scaled so that 10 log10(P_wave / P_noise) = snr.

    Silence, which no noise has a ratio to, stays as it is.
    """
    own, other = _power(wave), _power(noise)
    if not own or not other:
        return wave
    return wave + noise * np.float32(np.sqrt(own / other * 10 ** (-snr / 10)))


def _power(wave: NDArray[np.float32]) -> float:
    return float(np.mean(np.square(wave, dtype=np.float64))) if len(wave) else 0.0


def fit_length(row: Array, length: int) -> Array:
    """The first `length` values or frames of a row that begins again at its end; of none, zeros."""
    if not len(row):
        return np.zeros((length, *row.shape[1:]), row.dtype)
    return row if len(row) == length else row[np.arange(length) % len(row)]


def play(row: NDArray[np.float32], percent: int) -> NDArray[np.float32]:
    """A row at percent / 100 of its speed: 100 / percent of its length, rounded up.

    A wave [T] is resampled by scipy's polyphase filter, and so changes its pitch too. Frames
    [L, ...] are interpolated in time.
    """
    if percent == 100 or len(row) < 2:
        return row
    if row.ndim == 1:
        from scipy.signal import resample_poly

        return np.asarray(resample_poly(row, 100, percent), dtype=np.float32)
    at = np.minimum(np.arange(-(-len(row) * 100 // percent)) * (percent / 100), len(row) - 1)
    left = np.minimum(at.astype(np.int64), len(row) - 2)
    share = (at - left).astype(np.float32).reshape(-1, *[1] * (row.ndim - 1))
    return np.asarray((1 - share) * row[left] + share * row[left + 1], dtype=np.float32)


def mask(
    frames: NDArray[np.float32], fill: Array, what: Augmentation, rng: np.random.Generator
) -> NDArray[np.float32]:
    """SpecAugment's masks: a copy of the frames [L, ..., D], with `fill` [..., D] in their place.

    A span of t frames, t of 0 .. time_width L, begins at any frame where it ends within the row;
    bands likewise (Park et al. 2019, section 2).
    """
    frames = frames.copy()
    size, bands = len(frames), frames.shape[-1]
    for begin, end in _spans(what.time_masks, size, what.time_width, rng):
        frames[begin:end] = fill
    for begin, end in _spans(what.freq_masks, bands, what.freq_width, rng):
        frames[..., begin:end] = fill[..., begin:end]
    return frames


def _spans(count: int, size: int, width: float, rng: np.random.Generator) -> list[tuple[int, int]]:
    spans = []
    for _ in range(count):
        length = int(rng.integers(int(width * size) + 1))
        begin = int(rng.integers(size - length + 1))
        spans.append((begin, begin + length))
    return spans


def mix(own: Any, other: Any, share: Any) -> Any:
    """share own + (1 - share) other; arrays or tensors [n, ...], and shares [n] or one number."""
    if np.ndim(share):
        share = share.reshape(-1, *[1] * (own.ndim - 1))
    return share * own + (1 - share) * other


# --- The rows of a training -----------------------------------------------------------------

MOST = 1000
"""rows that the mean frame is taken from, evenly over all"""


class Augmenter:
    """What a training's rows undergo, epoch by epoch.

    Args:
        what: to do
        columns: of the training's rows, as `Training.train` has them
        seed: of the training

    Raises:
        ValueError: there are no rows of the kind that something is for
    """

    def __init__(self, what: Augmentation, columns: Arrays, seed: int) -> None:
        self.what, self.seed = what, seed
        self.total = len(next(iter(columns.values())))
        ragged = {n: rows for n, rows in columns.items() if isinstance(rows, Sequences)}
        frames = {n: rows for n, rows in ragged.items() if n != WAVE}
        vectors = {
            n: np.asarray(x)
            for n, x in columns.items()
            if not isinstance(x, Sequences) and n not in LOSS_COLUMNS and x.dtype.kind == "f"
        }
        for asked, kind, there in (
            (what.of_waves, "waves (augment_noise, augment_gain)", WAVE in ragged),
            (what.speed > 0, "waves or frames (augment_speed)", bool(ragged)),
            (what.of_frames, "frames (augment_time_masks, augment_freq_masks)", bool(frames)),
            (what.gaussian > 0, "vectors (augment_gaussian)", bool(vectors) and not ragged),
        ):
            if asked and not there:
                raise ValueError(f"this training reads no {kind}; leave that augmentation out")
        self.fill = {n: _mean_frame(rows) for n, rows in frames.items() if what.of_frames}
        self.deviation = {n: x.std(axis=0) for n, x in vectors.items() if what.gaussian > 0}

    def epoch(self, number: int) -> Draws:
        return Draws(self, number)


def _mean_frame(rows: Sequences) -> NDArray[np.float32]:
    """[..., D] the mean over frames."""
    chosen = np.unique(np.linspace(0, len(rows) - 1, MOST).astype(np.int64)).tolist()
    sums = [np.sum(rows[row], axis=0, dtype=np.float64) for row in chosen]
    frames = sum(len(rows[row]) for row in chosen)
    return np.asarray(np.sum(sums, axis=0) / max(frames, 1), dtype=np.float32)


class Draws:
    """What the rows of one epoch undergo, batch by batch and in any order."""

    def __init__(self, of: Augmenter, epoch: int) -> None:
        self.of, self.what, self.number = of, of.what, epoch
        if self.what.mixup > 0:
            rng = self._random("mixup")
            self.partner = rng.integers(of.total, size=of.total)
            shares = rng.beta(self.what.mixup, self.what.mixup, of.total)
            self.share = shares.astype(np.float32)

    def _random(self, stream: str, *row: int) -> np.random.Generator:
        return np.random.default_rng(self._entropy(stream, *row))

    def _entropy(self, stream: str, *row: int) -> list[int]:
        return [self.of.seed, self.number, STREAMS.index(stream), *row]

    def tensors(self, rows: Rows, columns: Rows, index: Tensor) -> dict[str, Tensor]:
        """A batch of arrays, augmented.

        Args:
            rows: by column, those of the batch
            columns: all rows of the training
            index: [n] which rows these are
        """
        import torch

        rows, index = dict(rows), index.cpu()
        if self.what.mixup > 0:
            partner = torch.from_numpy(self.partner[index.numpy()])
            share = torch.from_numpy(self.share[index.numpy()])
            for name, own in rows.items():
                if own.is_floating_point():
                    other = columns[name].index_select(0, partner.to(own.device))
                    rows[name] = mix(own, other, share.to(own.device))
        for name, deviation in self.of.deviation.items():
            own = rows[name]
            # every row is in one batch of an epoch, so its first row tells the batch
            words = np.random.SeedSequence(self._entropy("gaussian", int(index[0])))
            seed = int(words.generate_state(1)[0])
            random = torch.Generator(own.device).manual_seed(seed)
            noise = torch.randn(own.shape, generator=random, device=own.device, dtype=own.dtype)
            scale = torch.as_tensor(deviation, device=own.device, dtype=own.dtype)
            rows[name] = own + self.what.gaussian * scale * noise
        return rows

    def rows(
        self, chunk: Mapping[str, Any], columns: Arrays, index: NDArray[np.int64]
    ) -> dict[str, Any]:
        """Rows of different lengths (lists) and arrays beside them, augmented.

        Args:
            chunk: by column, those of the batch
            columns: all rows of the training
            index: [n] which rows these are
        """
        rows = dict(chunk)
        for name, values in chunk.items():
            if not isinstance(values, list):
                if self.what.mixup > 0 and values.dtype.kind == "f":
                    others = columns[name][self.partner[index]]  # type: ignore[index]
                    rows[name] = mix(values, others, self.share[index])
                continue
            both = zip(values, index.tolist(), strict=True)
            rows[name] = [self._row(name, row, number, columns[name]) for row, number in both]
        return rows

    def _row(self, name: str, values: Array, number: int, column: Any) -> NDArray[np.float32]:
        def read(values: Array) -> Array:
            return samples(values) if name == WAVE else np.asarray(values, dtype=np.float32)

        row = read(values)
        if self.what.mixup > 0:
            other = fit_length(read(column[int(self.partner[number])]), len(row))
            row = mix(row, other, self.share[number])
        if self.what.speed > 0:
            most = round(100 * self.what.speed)
            row = play(row, 100 + int(self._random("speed", number).integers(-most, most + 1)))
        if name == WAVE:
            return self._wave(row, number, column)
        if self.what.of_frames:
            row = mask(row, self.of.fill[name], self.what, self._random("masks", number))
        return np.asarray(row, dtype=np.float32)

    def _wave(
        self, wave: NDArray[np.float32], number: int, column: Sequences
    ) -> NDArray[np.float32]:
        what = self.what
        if what.noise != "none":
            rng = self._random("noise", number)
            chance, height, kind = rng.random(), rng.random(), COLOURS[rng.integers(len(COLOURS))]
            if chance < what.noise_share:
                kind = kind if what.noise == "any" else what.noise
                length = len(wave)
                noise = (
                    babble(column, number, length, rng)
                    if kind == "babble"
                    else colour(kind, length, rng)
                )
                wave = add_noise(wave, noise, what.snr + height * what.snr_span)
        if what.gain > 0:
            decibels = self._random("gain", number).uniform(-what.gain, what.gain)
            wave = wave * np.float32(10 ** (decibels / 20))
        return wave
