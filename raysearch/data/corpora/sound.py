"""What each audio file is: its digest, its length and whether it is whole. Cached by file state.

The index lies under the home. A file is looked at again only when its size or its time of change
differs, so that a second study on a corpus reads no audio.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple, dataclass
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from raysearch.data.corpora.places import PartError, clip_bytes
from raysearch.stages.atomic import is_escaped, write_whole

MIN_SECONDS = 0.1
_VERSION = 5  # raise it whenever a verdict may change
_UNKNOWN = 0x7FFF0000
"""lengths from here on are of writers into pipes: sox 0x7FFFF000, others 0x7FFFFFFF, 0xFFFFFFFF"""
_LEFT = 1 << 10
"""bytes behind an empty block of sound from which on they are sound, and no remarks"""
_PEAK = 8.0
"""the largest sample that may be meant: full scale is 1, and mixing goes beyond it by little"""
_CANCELLED = 1e-3
"""the peak of averaged channels, as a share of the loudest one's, below which nothing is left"""
_ALIKE = 0.3
"""the correlation of two channels' envelopes below which they are two signals: those of one voice
in two microphones are above 0.9"""
_PIECES = 100
"""into how many parts a clip is cut for an envelope"""
OTHER_SIGNALS = "its channels are different signals"
_NO_TEXT = "its name is no UTF-8 text: rename it (convmv -f latin1 -t utf8 does, of a whole tree)"
_CONVERT = "convert it (ffmpeg -i IN OUT.wav)"
_NO_SOUND = (
    (
        b"version https://git-lfs",
        "it is a pointer of Git LFS, not the sound: run git lfs pull in its repository",
    ),
    (b"<!doctype html", "it is a web page, not a sound: download the file itself"),
    (b"<html", "it is a web page, not a sound: download the file itself"),
    (b"<?xml", "it is an XML document, not a sound: download the file itself"),
    (b"/annex/objects/", "it is a pointer of git-annex, not the sound: run git annex get"),
    (b"{", "it is JSON text, not a sound: download the file itself"),
    (b"pk\3\4", "it is a ZIP archive: unpack it"),
    (b"\x1f\x8b", "it is compressed by gzip: unpack it"),
    (b"\x1a\x45\xdf\xa3", "it is Matroska or WebM, which is not read here: " + _CONVERT),
    (b"\x30\x26\xb2\x75", "it is Windows Media, which is not read here: " + _CONVERT),
    (b"#!amr", "it is AMR, which is not read here: " + _CONVERT),
    (b"\x89png", "it is a picture, not a sound"),
    (b"\xff\xd8\xff", "it is a picture, not a sound"),
)
"""how files begin, in small letters, that others leave in a sound's place, and what they are"""


@dataclass(frozen=True)
class Clip:
    """One clip: SHA-256 of its bytes (hex, "" if it cannot be read), seconds, and what is wrong.

    `verdict` is "ok", "missing", "unreadable", "truncated", "empty", "scale" or "short"; `detail`
    explains. An "ok" clip with a detail is used, and the detail is worth knowing.
    """

    digest: str
    seconds: float
    verdict: str
    detail: str = ""


def inspect(path: Path, part: str = "") -> Clip:
    """Read and decode one file wholly, or of a segment its own samples."""
    try:
        data = clip_bytes(str(path), part)
    except FileNotFoundError:
        if is_escaped(str(path)):
            return Clip("", 0.0, "unreadable", _NO_TEXT)
        return Clip("", 0.0, "missing", "there is no such file")
    except OSError as error:
        return Clip("", 0.0, "unreadable", str(error.strerror or error))
    except PartError as error:
        return Clip("", 0.0, "truncated", str(error))
    except soundfile.SoundFileError as error:
        whole = inspect(path)  # it says what the file is instead
        told = Clip("", 0.0, "unreadable", f"decoding fails: {_plain(error)}")
        return told if whole.verdict == "ok" else whole
    return inspect_bytes(data)


def inspect_bytes(data: bytes) -> Clip:
    """Decode the bytes of a file wholly."""
    digest = hashlib.sha256(data).hexdigest()
    if not data:
        return Clip(digest, 0.0, "empty", "the file has no bytes")
    if cut := _wav_cut(data):
        return Clip(digest, 0.0, "truncated", cut)
    try:
        with soundfile.SoundFile(io.BytesIO(data)) as sound:
            length, rate = sound.frames, sound.samplerate
            samples = sound.read(dtype="float32", always_2d=True)
    except (soundfile.SoundFileError, RuntimeError, ValueError) as error:
        kind = "truncated" if _flac_header(data) else "unreadable"
        return Clip(digest, 0.0, kind, _what(data) or f"decoding fails: {_plain(error)}")
    if len(samples) < length:
        return Clip(digest, 0.0, "truncated", f"{len(samples)} of {length} frames can be decoded")
    return Clip(digest, len(samples) / rate, *_heard(samples, rate))


def _what(data: bytes) -> str:
    """What the bytes of a file are that cannot be decoded, and what to do; "" of unknown ones."""
    head = data[:64].removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    for start, what in _NO_SOUND:
        if head.startswith(start):
            return what
    if data[4:8] == b"ftyp":
        return f"it is MP4 or M4A, which is not read here: {_CONVERT}"
    if data[:4] == b"RIFF" and data[8:12] == b"WAVE":
        return f"its encoding is not read here: {_CONVERT}"
    if not any(data):
        return "all of its bytes are zero, as after a copy that was cut off: copy it again"
    text = data[:60].decode("utf-8", "ignore")
    if text.isprintable() or ("\n" in text and text.replace("\n", "").isprintable()):
        return (
            f"it is text, not a sound ({' '.join(text.split())[:40]!r}): download the file itself"
        )
    return ""


def _heard(samples: NDArray[np.float32], rate: int) -> tuple[str, str]:
    """Verdict and detail of float samples [frames, channels], full scale 1, at `rate` Hz."""
    if not len(samples):
        return "empty", "it has no frames"
    if not np.isfinite(samples).all():
        return "unreadable", "it holds samples that are not finite"
    seconds = len(samples) / rate
    if seconds < MIN_SECONDS:
        return "short", f"{seconds:.3f} s, the least is {MIN_SECONDS} s"
    peaks = np.abs(samples).max(axis=0)
    if not peaks.any():
        return "empty", "every sample is zero"
    if not np.ptp(samples, axis=0).any():
        return "empty", "every sample is the same, so there is nothing to hear"
    if peaks.max() > _PEAK:
        return "scale", f"its samples reach {peaks.max():.4g}, and full scale is 1: divide them"
    if np.abs(samples.mean(axis=1)).max() < _CANCELLED * peaks.max():
        return "empty", "its channels cancel each other: their mean is silence; keep one of them"
    if not peaks.all():
        silent = int((peaks == 0).sum())
        return "ok", f"{silent} of its {len(peaks)} channels hold silence; the mean of all is used"
    if (alike := _alike(samples)) < _ALIKE:
        return "ok", f"{OTHER_SIGNALS} (correlation {alike:.2f}); their mean is used"
    return "ok", ""


def _alike(samples: NDArray[np.float32]) -> float:
    """The least correlation of a channel [frames, channels] with the first, in [-1, 1].

    Pearson's, of the envelopes: microphones in one room differ by delays of some milliseconds, so
    that the samples of one voice may not correlate at all.
    """
    if samples.shape[1] < 2:
        return 1.0
    size = max(1, len(samples) // _PIECES)
    pieces = np.abs(samples[: size * (len(samples) // size)])
    envelopes = pieces.reshape(-1, size, samples.shape[1]).mean(axis=1)
    spread = envelopes.std(axis=0)
    if not spread.all():
        return 1.0
    return float(np.corrcoef(envelopes.T)[0].min())


def audio_index(home: Path) -> Path:
    """The file in which a home keeps what is known of audio files."""
    return home / "audio-index.json"


def inspect_all(
    paths: Sequence[str],
    parts: Sequence[str] | None = None,
    *,
    index: Path,
    threads: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[Clip]:
    """Look at every clip, in threads, through the index; `progress(done, of)` counts new clips.

    Args:
        paths: of the clips' files.
        parts: which part of its file each clip is; None: all are whole files.
        index: what is known of files that have not changed since.
        threads: how many clips are decoded at once.
        progress: see above.
    """
    cache = _read_index(index)
    parts = [""] * len(paths) if parts is None else parts
    of_file = {path: _state(path) for path in dict.fromkeys(paths)}
    states = [of_file[path] for path in paths]
    keys = [f"{path}\n{part}" if part else path for path, part in zip(paths, parts, strict=True)]
    clips: list[Clip | None] = [
        cache[key][1] if key in cache and state is not None and cache[key][0] == state else None
        for key, state in zip(keys, states, strict=True)
    ]
    todo = [i for i, clip in enumerate(clips) if clip is None]
    if todo:
        lock = threading.Lock()
        done = 0

        def look(i: int) -> Clip:
            nonlocal done
            clip = inspect(Path(paths[i]), parts[i])
            with lock:
                done += 1
                if progress is not None:
                    progress(done, len(todo))
            return clip

        with ThreadPoolExecutor(threads or min(8, os.cpu_count() or 1)) as pool:
            for i, clip in zip(todo, pool.map(look, todo), strict=True):
                clips[i] = clip
                state = states[i]
                if state is not None:
                    cache[keys[i]] = (state, clip)
        _write_index(index, cache)
    return [clip for clip in clips if clip is not None]


def _state(path: str) -> tuple[int, int] | None:
    try:
        stat = os.stat(path)
    except OSError:
        return None
    return stat.st_size, stat.st_mtime_ns


def _read_index(index: Path) -> dict[str, tuple[tuple[int, int], Clip]]:
    try:
        stored = json.loads(index.read_text(encoding="utf-8"))
        if stored["version"] != _VERSION:
            return {}
        return {
            path: ((size, changed), Clip(*rest))
            for path, (size, changed, *rest) in stored["files"].items()
        }
    except (OSError, ValueError, KeyError, TypeError, IndexError):
        return {}  # only a cache: a damaged one is made anew


def _write_index(index: Path, cache: dict[str, tuple[tuple[int, int], Clip]]) -> None:
    files = {path: [*state, *astuple(clip)] for path, (state, clip) in cache.items()}
    with contextlib.suppress(OSError):  # only a cache: a home that one may only read has none
        write_whole(index, json.dumps({"version": _VERSION, "files": files}))


def _plain(error: Exception) -> str:
    return str(error).split(": ")[-1].rstrip(".") or type(error).__name__


def _flac_header(data: bytes) -> bool:
    return data[:4] == b"fLaC"


def _wav_cut(data: bytes) -> str:
    """'' or what is missing. libsndfile reads a truncated WAV without a word, so look ourselves."""
    if data[:4] != b"RIFF" or data[8:12] != b"WAVE":
        return ""
    at = 12
    while at + 8 <= len(data):
        name, size = data[at : at + 4], int.from_bytes(data[at + 4 : at + 8], "little")
        at += 8
        if name == b"data":
            # A writer into a pipe cannot know the length, and leaves about the most there is.
            if size < _UNKNOWN and at + size > len(data):
                return f"its header promises {size} bytes of sound, {len(data) - at} are there"
            if size == 0 and len(data) - at > _LEFT:
                return (
                    f"its header promises no sound, {len(data) - at} bytes are behind it, as a "
                    "writer leaves them that was cut off: mend the header (sox "
                    "--ignore-length IN OUT.wav)"
                )
            return ""
        at += size + size % 2
    return "it ends before its sound begins"
