"""Clips with noise at a stated ratio: pink noise, babble of other clips, sounds of a folder.

What noise a clip gets hangs on the clip's content alone (and for babble on the clips that it may be
made of): not on a study, on the order of clips or on the ratio, so that a curve over ratios is of
one noise that grows louder, and studies on one corpus hear the same.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from raysearch.data.corpora.folders import DECODED, audio_files
from raysearch.data.corpora.places import clip_bytes
from raysearch.data.corpora.sound import audio_index, inspect_all
from raysearch.data.features.extract import RATE, read_samples
from raysearch.errors import BadInput

PINK, BABBLE = "pink", "babble"
TALKERS = 6
"""clips that make a babble, of as many speakers where there are so many"""
FRAME = 320
"""samples of a frame of which is asked whether it holds speech: 20 ms"""
ACTIVE = 30.0
"""dB below a clip's loudest frame down to which frames hold speech"""
LOWEST = 20.0
"""Hz below which pink noise holds nothing: each octave has as much power as any other, and what
nobody hears would take most of it"""
_CODE = 1  # raise it whenever this file would give other samples
_BYTES = 256 * 2**20
"""of decoded recordings that stay in memory"""

Wave = NDArray[np.float32]


@dataclass(frozen=True)
class Recording:
    """A sound on the disk, addressed by its content."""

    digest: str
    """SHA-256 of the clip's bytes, hex"""
    path: str
    part: str = ""
    """what of its file it is, as of `places`"""


@dataclass(frozen=True)
class NoisyClip:
    """A clip and the noise that is mixed in."""

    clip: Recording
    kind: str
    snr: float
    """dB"""
    sources: tuple[Recording, ...] = ()
    """what the noise is cut from; pink noise needs nothing"""

    @property
    def digest(self) -> str:
        """Of all that its samples hang on, and not of where files lie."""
        kind = self.kind if self.kind in (PINK, BABBLE) else ""
        sources = [one.digest for one in self.sources]
        return _digest(_CODE, self.clip.digest, kind, self.snr, sources)

    def samples(self) -> Wave:
        """float32 mono at 16 kHz.

        Raises:
            OSError, ValueError: a file cannot be read, has changed, or holds silence.
        """
        clean, rng = _heard(self.clip), draws(self.clip.digest, "samples")
        if self.kind == PINK:
            return mixed(clean, pink(len(clean), rng), self.snr)
        if not self.sources:
            raise ValueError("the training part has no other clip to make babble of")
        cuts = [_cut(one, len(clean), rng) for one in self.sources]
        return mixed(clean, np.sum(cuts, axis=0), self.snr)

    def sound(self) -> bytes:
        """The same as a sound file, whose samples are floats. Raises as `samples` does."""
        import soundfile

        out = io.BytesIO()
        soundfile.write(out, self.samples(), RATE, format="AU", subtype="FLOAT")
        return out.getvalue()


@dataclass(frozen=True)
class Talkers:
    """The clips that babble may be made of."""

    recordings: tuple[Recording, ...]
    speakers: tuple[str, ...]
    """whose they are"""

    def others(self, clip: str, speaker: str) -> tuple[Recording, ...]:
        """The clips that talk behind one clip: up to six, of other speakers where there are some.

        Args:
            clip: its digest.
            speaker: whose it is.
        """
        rng = draws(clip, BABBLE)
        everyone = [name for name in self._by_speaker if name != speaker] or list(self._by_speaker)
        queue = {
            name: rng.permutation([d for d in self._by_speaker[name] if d != clip]).tolist()
            for name in rng.permutation(everyone).tolist()[:TALKERS]
        }
        chosen: list[Recording] = []
        while len(chosen) < TALKERS and any(queue.values()):
            for own in queue.values():
                if own and len(chosen) < TALKERS:
                    chosen.append(self._by_digest[own.pop()])
        return tuple(chosen)

    @cached_property
    def _by_digest(self) -> dict[str, Recording]:
        return {one.digest: one for one in self.recordings}

    @cached_property
    def _by_speaker(self) -> dict[str, list[str]]:
        """Digests of each speaker's clips; neither hangs on the order of the clips."""
        pairs = zip(self.speakers, self.recordings, strict=True)
        by: dict[str, list[str]] = {}
        for speaker, digest in sorted({(who, one.digest) for who, one in pairs}):
            by.setdefault(speaker, []).append(digest)
        return by


def sounds_of(folder: Path, home: Path) -> tuple[Recording, ...]:
    """The sound files of a folder, at any depth, by content.

    Args:
        folder: of the sounds.
        home: keeps what is known of files that were looked at before.

    Raises:
        BadInput: there is no such folder, it holds no sound, or a file of it cannot be heard.
    """
    if not folder.is_dir():
        raise BadInput(f"noise_kinds={folder} is neither pink, babble nor a folder of sound files")
    paths = [str(path.absolute()) for path in audio_files(folder, deep=True, suffixes=DECODED)]
    if not paths:
        raise BadInput(f"noise_kinds={folder}: the folder holds no sound file (WAV, FLAC, ...)")
    looks = inspect_all(paths, index=audio_index(home))
    problems = [
        f"noise_kinds={folder}: {path} cannot serve as noise ({look.verdict}: {look.detail}); mend "
        "it or take it out"
        for path, look in zip(paths, looks, strict=True)
        if look.verdict != "ok"
    ]
    if problems:
        raise BadInput(problems)
    found = {look.digest: path for path, look in zip(paths, looks, strict=True)}
    return tuple(Recording(digest, found[digest]) for digest in sorted(found))


def draws(clip: str, purpose: str) -> np.random.Generator:
    """Random numbers of a clip, by its digest."""
    return np.random.default_rng(int(_digest(clip, purpose)[:32], 16))


def speech_power(samples: Wave) -> float:
    """Mean power of a clip's frames of 20 ms that hold speech: those within 30 dB of the loudest.

    Pauses are left out, as in the active speech level of ITU-T P.56, so that a clip with long ones
    does not get less noise. 0 of silence.
    """
    power = np.square(samples, dtype=np.float64)
    starts = np.arange(0, len(power), FRAME)
    frames = np.add.reduceat(power, starts) / np.diff(np.append(starts, len(power)))
    loudest = float(frames.max(initial=0.0))
    return float(frames[frames >= loudest * 10 ** (-ACTIVE / 10)].mean()) if loudest else 0.0


def pink(length: int, rng: np.random.Generator) -> Wave:
    """float32 [length] of noise whose power falls as 1/f from 20 Hz on."""
    size = 1 << max(8, (length - 1).bit_length())
    frequency = np.fft.rfftfreq(size, 1 / RATE)
    audible = frequency >= LOWEST
    spectrum = np.fft.rfft(rng.standard_normal(size)) * audible
    spectrum[audible] /= np.sqrt(frequency[audible])
    return np.fft.irfft(spectrum, size)[:length].astype(np.float32)


def mixed(clean: Wave, noise: Wave, snr: float) -> Wave:
    """A clip [n] with noise [n] at a ratio of powers: of the clip's speech, and of all the noise.

    Silence stays as it is, as no noise has a ratio to it. What would go beyond full scale is made
    quieter as a whole.

    Args:
        clean: the clip.
        noise: of any loudness.
        snr: in dB.

    Raises:
        ValueError: the noise is silent.
    """
    speech = speech_power(clean)
    power = float(np.square(noise, dtype=np.float64).mean())
    if not speech:
        return clean
    if not power:
        raise ValueError("the noise is silent")
    mix = clean + np.float32(np.sqrt(speech / power / 10 ** (snr / 10))) * noise
    return (mix / max(1.0, float(np.abs(mix).max()))).astype(np.float32)


_held: OrderedDict[str, Wave] = OrderedDict()


def _heard(recording: Recording) -> Wave:
    """A recording's samples; the last ones that were heard stay in memory."""
    wave = _held.pop(recording.digest, None)
    if wave is None:
        wave = _decoded(recording)
    _held[recording.digest] = wave
    while sum(one.nbytes for one in _held.values()) > _BYTES and len(_held) > 1:
        _held.popitem(last=False)
    return wave


def _decoded(recording: Recording) -> Wave:
    data = clip_bytes(recording.path, recording.part)
    if hashlib.sha256(data).hexdigest() != recording.digest:
        raise ValueError(f"{recording.path} changed after it was checked; run the command again")
    return read_samples(data)


def _cut(recording: Recording, length: int, rng: np.random.Generator) -> Wave:
    """A piece of a recording at the power 1, from a random place on; its end follows its start.

    Silence at both ends of the recording is left out: a piece holds some sound.
    """
    whole = _heard(recording)
    loud = np.flatnonzero(whole)
    whole = whole[loud[0] : loud[-1] + 1]
    start = int(rng.integers(len(whole)))
    piece = _from(whole, start, length)
    if not piece.any():  # a pause of zeros that is longer than the clip
        piece = _from(whole, int(np.abs(whole).argmax()), length)
    return piece / np.float32(np.sqrt(speech_power(piece)))


def _from(whole: Wave, start: int, length: int) -> Wave:
    return whole.take(np.arange(start, start + length), mode="wrap")


def _digest(*facts: object) -> str:
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def named(kinds: Sequence[str], home: Path) -> dict[str, tuple[Recording, ...]]:
    """Each kind of noise by its name, with the sounds of a folder.

    Raises:
        BadInput: as `sounds_of`.
    """
    by_name: dict[str, tuple[Recording, ...]] = {}
    for kind in dict.fromkeys(kinds):
        plain = kind in (PINK, BABBLE)
        name = kind if plain or Path(kind).name in ("", PINK, BABBLE, *by_name) else Path(kind).name
        by_name[name] = () if plain else sounds_of(Path(kind), home)
    return by_name
