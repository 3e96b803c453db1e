"""A corpus that raysearch speaks itself: synthetic speech, with simulated raters.

espeak-ng speaks 8 sentences in 4 emotions with 10 voices. The emotions differ in rate, pitch, range
and loudness (and the brightness that goes with it); each clip draws its prosody around its
emotion's with a spread that lets emotions overlap, as real ones do. Five voices were "recorded" in
a studio (`demo-studio`), five over a telephone (`demo-phone`: 300 to 3400 Hz, more noise); four
further voices make the unlabelled `demo-plain`. Ten simulated raters hear the drawn prosody: the
posterior of the four emotions there, each with a bias of its own, gives their votes, so they
disagree on the clips that lie between emotions. The same seed gives the same bytes.

It is for trying things out and for tests. No result on it says anything about people.
"""

from __future__ import annotations

import csv
import json
import os
import shutil
import struct
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from raysearch.data.corpora.corpus import CorpusInfo, Options, Progress, Raw, Reader
from raysearch.data.corpora.manifest import read_manifest
from raysearch.errors import RaysearchError

VERSION = 2  # raise it whenever the bytes change
RATE = 16_000  # Hz, of the files written
EMOTIONS = ("neutral", "happy", "sad", "angry")
RATERS, HEARD_BY = 10, 4  # raters in all, and for each clip
TAKES = 5  # clips a plain voice speaks of each emotion's prosody

# Words a minute, pitch (0-99), range (0-99), volume (0-200), as espeak-ng takes them.
MEANS = np.array(
    [
        [172.0, 38.0, 10.0, 90.0],
        [188.0, 76.0, 80.0, 98.0],
        [126.0, 52.0, 40.0, 52.0],
        [214.0, 44.0, 54.0, 136.0],
    ]
)
SPREAD = np.array([13.0, 7.0, 12.0, 11.0])  # of one clip around its emotion's mean
VOICE = np.array([5.0, 2.0, 3.0, 3.0])  # of a voice's habits around everyone's
TILT = 0.016  # of the spectrum, for each unit of volume
LEAST, MOST = np.array([90.0, 0.0, 0.0, 35.0]), np.array([300.0, 99.0, 99.0, 150.0])
BIAS = 0.5  # of a rater's log-odds
DULLNESS = 3.0  # how much wider than SPREAD the raters take each emotion to be

SENTENCES = (
    "The letter is lying on the kitchen table.",
    "They will be coming back on Monday evening.",
    "I have put the books into the other room.",
    "It is seven o'clock and the train is here.",
    "You can see the river from the window.",
    "We are going to paint the old wooden door.",
    "My sister has left her umbrella in the car.",
    "The new teacher will arrive in the morning.",
)
PLAIN = (
    "She took the bicycle to the market this morning.",
    "The lamp in the hall has been switched on.",
    "There are twelve apples in the green basket.",
    "He is waiting at the corner of the street.",
    "My brother has moved into a smaller house.",
)


@dataclass(frozen=True)
class Condition:
    """One of the demo's corpora: its name, the voices in it, and where it was 'recorded'."""

    name: str
    voices: tuple[str, ...]
    sentences: tuple[str, ...]
    labelled: bool = True
    telephone: bool = False


# No voice here has the attribute `breath`: with it, espeak-ng's sound differs from process to
# process.
CONDITIONS = (
    Condition(
        "demo-studio",
        ("en-us+m1", "en-us+belinda", "en-us+m6", "en-us+aunty", "en-us+max"),
        SENTENCES,
    ),
    Condition(
        "demo-phone",
        ("en-us+m5", "en-us+linda", "en-us+Andy", "en-us+f4", "en-us+edward"),
        SENTENCES,
        telephone=True,
    ),
    Condition(
        "demo-plain", ("en-us+m2", "en-us+f1", "en-us+m7", "en-us+Gene"), PLAIN, labelled=False
    ),
)


def make(folder: Path, seed: int, progress: Progress | None = None) -> Path:
    """Speak the corpus of this seed below `folder`, unless it is there; return its own folder.

    The files (16 kHz, 16 bit, mono) and `manifest.csv` and `ratings.csv` are written aside and
    appear all at once.

    Raises:
        RaysearchError: espeak-ng's library does not work here.
    """
    target = folder / f"demo-{VERSION}-{seed}"
    if (target / "manifest.csv").is_file():
        return target
    if progress is not None:
        progress("Speaking the demo corpus (synthetic speech, simulated raters) ...")
    folder.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=folder))
    try:
        with ThreadPoolExecutor(len(CONDITIONS)) as pool:  # the work is done in child processes
            parts = list(pool.map(lambda i: _record(aside, i, seed), range(len(CONDITIONS))))
        _write_csv(
            aside / "ratings.csv", ("file", "rater", "rating"), [r for _, rs in parts for r in rs]
        )
        head = ("file", "label", "speaker", "session", "corpus", "transcript")
        _write_csv(aside / "manifest.csv", head, [row for rows, _ in parts for row in rows])
        aside.chmod(0o755)
        try:
            os.rename(aside, target)
        except OSError:
            if not (target / "manifest.csv").is_file():
                raise
            # another process made the same corpus meanwhile: its bytes are ours
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return target


def _record(folder: Path, which: int, seed: int) -> tuple[list[tuple[str, ...]], list[Any]]:
    condition = CONDITIONS[which]
    rng = np.random.default_rng([VERSION, which, seed])
    biases = np.random.default_rng([VERSION, 99, seed]).normal(0.0, BIAS, (RATERS, len(EMOTIONS)))
    lines: list[list[Any]] = []
    rows: list[tuple[str, ...]] = []
    ratings: list[tuple[str, str, str]] = []
    takes = range(len(condition.sentences)) if condition.labelled else range(TAKES)
    for number, voice in enumerate(condition.voices, start=1):
        habits = rng.normal(0.0, 1.0, 4) * VOICE
        for take in takes:
            text = condition.sentences[take]
            for emotion, name in enumerate(EMOTIONS):
                target = MEANS[emotion] + SPREAD * rng.normal(0.0, 1.0, 4)
                prosody = np.clip(np.rint(target + habits), LEAST, MOST)
                lines.append([text, voice, *(int(p) for p in prosody)])
                mood = name if condition.labelled else f"take{emotion + 1}"
                file = f"{condition.name}/v{number}-s{take + 1}-{mood}.wav"
                label = name if condition.labelled else ""
                session = str(1 + (number - 1) // 2) if condition.labelled else ""
                rows.append((file, label, f"v{number}", session, condition.name, text))
                if condition.labelled:
                    ratings.extend((file, *vote) for vote in _votes(target, biases, rng))
    (folder / condition.name).mkdir()
    for row, line, sound in zip(rows, lines, _speak(lines), strict=True):
        effort = _with_effort(sound, line[-1])
        _write_wav(folder / row[0], _recorded(effort, condition.telephone, rng))
    return rows, ratings


def _votes(
    target: NDArray[np.float64], biases: NDArray[np.float64], rng: np.random.Generator
) -> list[tuple[str, str]]:
    """(rater, class) of the raters who hear a clip with this prosody, before its voice's habits."""
    far = (((target - MEANS) / (DULLNESS * SPREAD)) ** 2).sum(axis=1)
    votes = []
    for rater in sorted(rng.choice(RATERS, HEARD_BY, replace=False)):
        odds = -far / 2 + biases[rater]
        share = np.exp(odds - odds.max())
        vote = rng.choice(len(EMOTIONS), p=share / share.sum())
        votes.append((f"r{rater + 1:02d}", EMOTIONS[vote]))
    return votes


def _speak(lines: Sequence[Sequence[object]]) -> list[NDArray[np.float32]]:
    """Speak the lines in a fresh process; each becomes float32 samples in [-1, 1] at RATE."""
    import espeakng_loader
    from scipy.signal import resample_poly

    script = str(Path(__file__).with_name("espeak.py"))
    places = (espeakng_loader.get_library_path(), espeakng_loader.get_data_path())
    run = subprocess.run(
        [sys.executable, "-I", "-S", script, *places],
        input=json.dumps(lines).encode(),
        capture_output=True,
        check=False,
    )
    if run.returncode != 0:
        errors = run.stderr.decode(errors="replace").strip().splitlines()
        raise RaysearchError(
            f"The demo corpus cannot be spoken: {errors[-1] if errors else run.returncode}. "
            "Give a corpus of your own (corpus=NAME corpus.root=DIR)."
        )
    (rate,) = struct.unpack_from("<I", run.stdout)
    at, sounds = 4, []
    for _ in lines:
        (count,) = struct.unpack_from("<I", run.stdout, at)
        samples = np.frombuffer(run.stdout, "<i2", count, at + 4).astype(np.float64) / 32768
        at += 4 + 2 * count
        shared = int(np.gcd(rate, RATE))
        sounds.append(resample_poly(samples, RATE // shared, rate // shared).astype(np.float32))
    return sounds


def _with_effort(sound: NDArray[np.float32], volume: float) -> NDArray[np.float64]:
    """Who speaks louder also speaks brighter: a tilt of the spectrum that follows the volume.

    y[n] = x[n] - c x[n-1], at the same power; c > 0 is brighter than espeak-ng's voice.
    """
    c = float(np.clip(TILT * (volume - MEANS[:, 3].mean()), -0.7, 0.7))
    tilted = sound - c * np.concatenate([[0.0], sound[:-1]])
    power = float(np.sqrt(np.mean(sound**2) / np.maximum(np.mean(tilted**2), 1e-12)))
    return power * tilted


def _recorded(
    sound: NDArray[np.float64], telephone: bool, rng: np.random.Generator
) -> NDArray[np.float64]:
    """What the microphone of the condition hears."""
    if not telephone:
        return 0.7 * sound + rng.normal(0.0, 3e-4, len(sound))
    from scipy.signal import butter, sosfilt

    band = butter(4, (300, 3400), btype="bandpass", fs=RATE, output="sos")
    return 0.7 * sosfilt(band, sound) + rng.normal(0.0, 1e-3, len(sound))


def _write_wav(path: Path, sound: NDArray[np.float64]) -> None:
    import soundfile

    samples = np.clip(np.rint(sound * 32767), -32768, 32767).astype(np.int16)
    soundfile.write(path, samples, RATE, subtype="PCM_16", format="WAV")


def _write_csv(path: Path, head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(head)
        writer.writerows(rows)


def _reader(only: str | None) -> Reader:
    def read(
        root: Path | None,
        *,
        options: Options,
        seed: int,
        home: Path,
        progress: Progress | None,
    ) -> Raw:
        folder = make(root if root is not None else home / "corpora", seed, progress)
        raw = read_manifest(folder / "manifest.csv", ratings=folder / "ratings.csv", name="demo")
        return _part(raw, only)

    return read


def _part(raw: Raw, only: str | None) -> Raw:
    keep = raw.table["corpus"] == only if only else raw.table["corpus"] != ""
    table = raw.table[keep]
    labelled = bool((table["label"] != "").any())
    notes = ["The demo's speech is synthetic (espeak-ng): its scores say nothing about people."]
    if labelled:
        notes.append("The demo's votes are simulated: no person has rated its clips.")
    votes = raw.votes.loc[table.index] if labelled and raw.votes is not None else None
    ratings = raw.ratings
    if ratings is not None:
        own = ratings["id"].isin(table["id"])
        ratings = ratings[own].reset_index(drop=True) if labelled else None
    return Raw(
        table=table,
        classes=EMOTIONS if labelled else (),
        votes=votes,
        ratings=ratings,
        notes=tuple(notes),
        simulated=frozenset({"speech", "votes"} if labelled else {"speech"}),
    )


def _info(name: str, description: str, voices: int) -> CorpusInfo:
    conditions = [c for c in CONDITIONS if c.labelled and name in ("demo", c.name)]
    clips = len(SENTENCES) * sum(len(c.voices) for c in conditions)
    return CorpusInfo(
        name=name,
        description=description,
        read=_reader(None if name == "demo" else name),
        classes=EMOTIONS if conditions else (),
        published=dict.fromkeys(EMOTIONS, clips) if conditions else {},
        speakers=voices,
        source="spoken here, in seconds, by espeak-ng (espeakng-loader)",
        layout="corpus.root, if given, is the folder to make it in; otherwise HOME/corpora",
        root="optional",
    )


INFOS = (
    _info("demo", "synthetic speech: demo-studio, demo-phone and demo-plain together", 14),
    _info("demo-studio", "synthetic speech, clean: 5 voices, 4 emotions, simulated votes", 5),
    _info("demo-phone", "synthetic speech, telephone: 5 voices, 4 emotions, simulated votes", 5),
    _info("demo-plain", "synthetic speech without labels: 4 voices", 4),
)
