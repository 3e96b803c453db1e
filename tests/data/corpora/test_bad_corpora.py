"""Every kind of bad corpus, each with one clear message, and all of them together."""

from __future__ import annotations

import os
import shutil
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import soundfile

from raysearch.data import corpora
from raysearch.data.corpora.corpus import words_of
from raysearch.data.corpora.problems import length_notices
from raysearch.data.corpora.sound import inspect
from raysearch.data.rules import Task, Votes
from raysearch.errors import BadInput

RATE = 16_000


def tone(path: Path, pitch: float, seconds: float = 0.3) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    time = np.arange(int(seconds * RATE)) / RATE
    soundfile.write(path, 0.3 * np.sin(2 * np.pi * pitch * time), RATE)
    return path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A small EmoDB: 2 speakers, 3 classes, 2 clips of each a speaker, all different."""
    folder = tmp_path / "emodb"
    names = [f"{s}{t}{e}a" for s in ("03", "08") for t in ("a01", "b02") for e in "NFT"]
    for number, name in enumerate(names):
        tone(folder / "wav" / f"{name}.{'flac' if number % 2 else 'wav'}", 200 + 10 * number)
    return folder


def load(names: list[str], root: dict[str, Any], home: Path, **other: Any) -> corpora.Corpus:
    keywords: dict[str, Any] = {
        "classes": None,
        "on_bad": "stop",
        "unlabelled": (),
        "seed": 0,
        "options": {},
    }
    where = {name: str(path) for name, path in root.items()}
    return corpora.load(names, root=where, home=home / "home", **{**keywords, **other})


def message(names: list[str], root: dict[str, Any], home: Path, **other: Any) -> str:
    with pytest.raises(BadInput) as caught:
        load(names, root, home, **other)
    assert all(problem.strip().endswith((".", ":")) for problem in caught.value.problems)
    return "\n".join(caught.value.problems)


def cut(path: Path, share: float = 0.5) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])


def test_the_small_corpus_is_sound(root: Path, tmp_path: Path) -> None:
    corpus = load(["emodb"], {"emodb": root}, tmp_path)
    assert len(corpus.table) == 12
    assert corpus.classes == ("neutral", "happy", "sad")
    assert any("79 are published" in note for note in corpus.notes)
    assert any("no clips of angry, fearful, disgust, bored" in note for note in corpus.notes)


def test_names_roots_and_options_are_told_together(tmp_path: Path) -> None:
    said = message(
        ["emodbb", "ravdess", "cremad"],
        {"ravdess": tmp_path / "nowhere", "emodb": tmp_path},
        tmp_path,
        votes=Votes(raters=5),
        task=Task(name="valence", low=4, high=2),
    )
    assert "there is no corpus 'emodbb' (did you mean 'emodb'?); known corpora: demo" in said
    assert "nowhere does not exist: give the folder that holds Actor_01/" in said
    assert "corpus 'cremad' needs its folder; give the folder that holds AudioWAV/" in said
    assert "corpus.root.cremad=DIR (get it from https://" in said
    assert "corpus.root.emodb is the folder of a corpus that the study does not use" in said
    assert "votes.raters=5 is a setting of simulated raters" in said
    assert "task.low=4 and task.high=2 leave nothing in the middle" in said


def test_options_that_no_corpus_takes(root: Path, tmp_path: Path) -> None:
    folders = {"emodb": root, "cremad": tmp_path}
    said = message(["emodb", "cremad"], folders, tmp_path, options={"lable": "votes"})
    assert "corpus.options.lable is no option of emodb, cremad (did you mean 'label'?)" in said
    said = message(["emodb", "cremad"], folders, tmp_path, options={"emodb": {"label": "votes"}})
    assert "corpus.options.emodb.label is no option of emodb; options here are none" in said


def test_audio_of_another_corpus(root: Path, tmp_path: Path) -> None:
    said = message(["ravdess"], {"ravdess": root / "wav"}, tmp_path)
    assert "none is named as ravdess names its clips (03-01-05-02-01-01-12.wav)" in said


def test_no_corpus_and_doubled_ones(root: Path, tmp_path: Path) -> None:
    assert "No corpus is named" in message([], {}, tmp_path)
    assert "twice" in message(["emodb", "emodb"], {"emodb": root}, tmp_path)
    both = message(["emodb"], {"emodb": root}, tmp_path, unlabelled=("emodb",))
    assert "in corpus.name and in corpus.unlabelled" in both


def test_classes(root: Path, tmp_path: Path) -> None:
    said = message(["emodb"], {"emodb": root}, tmp_path, classes=["netral", "happy", "calm"])
    assert "'netral', which no chosen corpus has (did you mean 'neutral'?)" in said
    assert "'calm'" in said
    assert "neutral, happy, sad" in said


def test_a_class_with_one_clip(root: Path, tmp_path: Path) -> None:
    tone(root / "wav" / "03a01Wa.wav", 700)
    said = message(["emodb"], {"emodb": root}, tmp_path)
    assert "'angry' has 1 clip(s): a class needs at least 2; leave it out" in said


@pytest.mark.parametrize("suffix", ["wav", "flac"])
@pytest.mark.parametrize(
    ("harm", "kind"),
    [
        (lambda p: cut(p, 0.5), "truncated"),
        (lambda p: cut(p, 0.98), "truncated"),
        (lambda p: p.write_bytes(b""), "empty"),
        (lambda p: soundfile.write(p, np.zeros(0), RATE), "empty"),
        (lambda p: soundfile.write(p, np.zeros(RATE), RATE), "empty"),
        (lambda p: p.write_bytes(b"this is no sound" * 99), "unreadable"),
        (lambda p: tone(p, 440, 0.05), "short"),
    ],
)
def test_bad_clips_stop_or_are_skipped(
    root: Path, tmp_path: Path, suffix: str, harm: Any, kind: str
) -> None:
    victim = sorted((root / "wav").glob(f"*.{suffix}"))[0]
    harm(victim)
    said = message(["emodb"], {"emodb": root}, tmp_path)
    assert f"emodb/{victim.stem} " in said
    assert "corpus.on_bad=skip" in said
    report = corpora.check(["emodb"], root={"emodb": str(root)}, home=tmp_path / "home")
    assert [(p.kind, p.utterance) for p in report.errors] == [(kind, f"emodb/{victim.stem}")]
    corpus = load(["emodb"], {"emodb": root}, tmp_path, on_bad="skip")
    assert len(corpus.table) == 11
    assert f"emodb/{victim.stem}" not in set(corpus.table["id"])
    assert any(victim.stem in note for note in corpus.notes)


def test_twins(root: Path, tmp_path: Path) -> None:
    wav = root / "wav"
    shutil.copy(wav / "03a01Na.wav", wav / "03a01Nb.wav")  # one speaker, one label
    assert len(load(["emodb"], {"emodb": root}, tmp_path).table) == 13
    shutil.copy(wav / "03a01Ta.wav", wav / "03b01Fa.wav")  # another label
    shutil.copy(wav / "08a01Na.wav", wav / "09a01Na.wav")  # another speaker
    said = message(["emodb"], {"emodb": root}, tmp_path)
    assert "different labels: emodb/03a01Ta (sad) and emodb/03b01Fa (happy)" in said
    assert "different speakers: emodb/08a01Na and emodb/09a01Na" in said
    assert "03a01Nb" not in said
    corpus = load(["emodb"], {"emodb": root}, tmp_path, on_bad="skip")
    assert len(corpus.table) == 11, "nobody knows which of them is right, so all four go"


def noise(*scales: float) -> np.ndarray:
    """Noise [frames, channels]: one signal, at a scale for each channel."""
    signal = np.random.default_rng(0).uniform(-0.5, 0.5, RATE // 2)
    return np.stack([scale * signal for scale in scales], axis=1)


@pytest.mark.parametrize(
    ("content", "kind", "cause"),
    [
        (noise(1, -1), "empty", "its channels cancel each other"),
        (noise(30_000), "scale", "full scale is 1"),
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n",
            "unreadable",
            "a pointer of Git LFS",
        ),
        (b"\n<!DOCTYPE HTML><title>Log in</title>", "unreadable", "a web page"),
        (b"\xef\xbb\xbf<html lang='en'>", "unreadable", "a web page"),
    ],
)
def test_what_stands_in_for_sound_is_named(
    root: Path, tmp_path: Path, content: bytes | np.ndarray, kind: str, cause: str
) -> None:
    victim = root / "wav" / "03a01Na.wav"
    if isinstance(content, bytes):
        victim.write_bytes(content)
    else:
        soundfile.write(victim, content, RATE, subtype="FLOAT")
    report = corpora.check(["emodb"], root={"emodb": str(root)}, home=tmp_path / "home")
    assert [(p.kind, p.utterance) for p in report.errors] == [(kind, "emodb/03a01Na")]
    assert cause in report.errors[0].sentence


def test_a_silent_channel_is_told_and_the_clip_is_used(root: Path, tmp_path: Path) -> None:
    soundfile.write(root / "wav" / "03a01Na.wav", noise(1, 0), RATE)
    corpus = load(["emodb"], {"emodb": root}, tmp_path)
    assert len(corpus.table) == 12
    assert [n for n in corpus.notes if "1 of its 2 channels hold silence; the mean" in n]


@pytest.mark.parametrize("scales", [(1,), (4,), (1, 0.5), (1, -0.9)])
def test_loud_clips_and_unequal_channels_are_used_without_a_word(
    tmp_path: Path, scales: tuple[float, ...]
) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, noise(*scales), RATE, subtype="FLOAT")
    clip = inspect(path)
    assert (clip.verdict, clip.detail) == ("ok", "")


def test_two_signals_in_one_clip_are_told(tmp_path: Path) -> None:
    path, rng = tmp_path / "a.wav", np.random.default_rng(0)
    first, second = np.repeat(rng.uniform(0, 1, (2, 50)), RATE // 50, axis=1)
    noises = rng.uniform(-0.5, 0.5, (2, first.size))
    soundfile.write(path, np.stack([first * noises[0], second * noises[1]], axis=1), RATE)
    assert inspect(path).detail.startswith("its channels are different signals")
    # two microphones: other noise, one envelope
    soundfile.write(path, np.stack([first * noises[0], first * noises[1]], axis=1), RATE)
    assert inspect(path).detail == ""


@pytest.mark.parametrize(
    ("lengths", "words"),
    [([2.0] * 12, "Every clip is exactly 2 s"), ([2.0] * 11 + [1.0], "92% of the clips")],
)
def test_clips_of_one_length_are_told(lengths: list[float], words: str) -> None:
    table = pd.DataFrame({"corpus": "a", "seconds": lengths})
    assert words in length_notices(table)[0].sentence
    table["seconds"] = np.linspace(1, 2, len(table))
    assert length_notices(table) == []
    assert length_notices(pd.DataFrame({"corpus": "a", "seconds": [2.0] * 4})) == []


def test_many_problems_keep_their_causes(root: Path, tmp_path: Path) -> None:
    files = sorted((root / "wav").iterdir())
    for path in files:
        path.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid " + path.name.encode())
    whole = message(["emodb"], {"emodb": root}, tmp_path)
    assert "and 7 more: it is a pointer of Git LFS, not the sound: run git lfs pull" in whole
    for path in files[:4]:
        path.write_bytes(b"<html>")
    mixed = message(["emodb"], {"emodb": root}, tmp_path)
    assert "run git lfs pull in its repository (8); it is a web page" in mixed
    assert "download the file itself (4)." in mixed


def test_many_problems_of_a_kind_are_told_in_short(root: Path, tmp_path: Path) -> None:
    for path in (root / "wav").iterdir():
        cut(path)
    said = message(["emodb"], {"emodb": root}, tmp_path)
    assert "emodb: 12 clips are truncated: emodb/03a01Fa" in said
    assert "and 7 more: " in said


def test_skipping_too_much(root: Path, tmp_path: Path) -> None:
    for path in (root / "wav").glob("*T*"):
        cut(path)
    said = message(["emodb"], {"emodb": root}, tmp_path, on_bad="skip")
    assert "'sad' has 0 clip(s) after corpus.on_bad=skip" in said


def test_files_named_otherwise_are_noticed(root: Path, tmp_path: Path) -> None:
    tone(root / "wav" / "readme.wav", 300)
    tone(root / "wav" / "03a01Na.flac", 300)  # beside 03a01Na.wav
    corpus = load(["emodb"], {"emodb": root}, tmp_path)
    assert len(corpus.table) == 12
    assert any("readme.wav is not named like 03a01Fa.wav" in note for note in corpus.notes)
    assert any("03a01Na is there twice" in note for note in corpus.notes)


def test_verdicts_are_remembered_until_the_file_changes(root: Path, tmp_path: Path) -> None:
    first = load(["emodb"], {"emodb": root}, tmp_path)
    path = root / "wav" / "03a01Na.wav"
    before, data = path.stat(), path.read_bytes()
    path.write_bytes(b"\0" * len(data))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))  # as if nothing had changed
    assert load(["emodb"], {"emodb": root}, tmp_path).fingerprint == first.fingerprint
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + 1_000_000_000))
    assert "03a01Na cannot be read" in message(["emodb"], {"emodb": root}, tmp_path)
    path.write_bytes(data)
    assert load(["emodb"], {"emodb": root}, tmp_path).fingerprint == first.fingerprint
    (tmp_path / "home" / "audio-index.json").write_text("{damaged")
    assert load(["emodb"], {"emodb": root}, tmp_path).fingerprint == first.fingerprint


@pytest.mark.parametrize("length", [0xFFFFFFFF, 0x7FFFFFFF, 0x7FFFF000, 0x7FFFFFFF - 36])
def test_a_wav_from_a_pipe_is_whole(root: Path, tmp_path: Path, length: int) -> None:
    path = root / "wav" / "03a01Na.wav"
    data = bytearray(path.read_bytes())
    at = data.index(b"data") + 4
    data[at : at + 4] = length.to_bytes(4, "little")
    path.write_bytes(bytes(data))
    assert len(load(["emodb"], {"emodb": root}, tmp_path).table) == 12


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid x\n", "pointer of Git LFS"),
        (b"/annex/objects/SHA256E-s1--x.wav\n", "pointer of git-annex"),
        (b"\n <HTML lang=en>", "web page"),
        (b'{"error": 1}', "JSON"),
        (b"Moved Permanently\n", "text, not a sound ('Moved Permanently')"),
        (b"PK\3\4xx", "ZIP"),
        (b"\0\0\0\x20ftypisom", "MP4"),
        (bytes(100), "all of its bytes are zero"),
    ],
)
def test_what_lies_in_a_sounds_place_is_named(tmp_path: Path, data: bytes, words: str) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(data)
    clip = inspect(path)
    assert clip.verdict == "unreadable"
    assert words in clip.detail


def test_sound_behind_a_header_that_promises_none_and_sound_that_never_changes(
    tmp_path: Path,
) -> None:
    path = tone(tmp_path / "a.wav", 200)
    data = bytearray(path.read_bytes())
    at = data.index(b"data") + 4
    data[at : at + 4] = bytes(4)
    path.write_bytes(data)
    assert "promises no sound, 9600 bytes are behind it" in inspect(path).detail
    soundfile.write(path, np.full(4000, 0.5), RATE)
    assert inspect(path).verdict == "empty"


def test_names_that_are_no_utf8_are_named_with_the_remedy(tmp_path: Path) -> None:
    root = tmp_path / "casia"
    for number, emotion in enumerate(("angry", "sad", "happy", "neutral")):
        for speaker in ("wang", os.fsdecode(b"li\xff")):
            for sentence in ("20", "30"):
                pitch = 200 + 7 * number + 100 * len(speaker) + 31 * (sentence == "30")
                place = root / speaker / emotion / f"{sentence}{number}.wav"
                place.parent.mkdir(parents=True, exist_ok=True)
                tone(tmp_path / "tone.wav", pitch).rename(place)
    (root / os.fsdecode(b"stray\xff.wav")).touch()
    text = message(["casia"], {"casia": root}, tmp_path)
    assert "casia: 8 clips cannot be read: casia/li\\xff/" in text
    assert "no UTF-8 text: rename it" in text
    corpus = load(["casia"], {"casia": root}, tmp_path, on_bad="skip")
    assert set(corpus.table["speaker"]) == {"casia/wang"}
    assert any("casia: stray\\xff.wav is not named like" in note for note in corpus.notes)


def test_two_files_of_one_clip_are_told(tmp_path: Path) -> None:
    for form in ("NFC", "NFD"):
        for number, emotion in enumerate(("angry", "sad")):
            name = unicodedata.normalize(form, "lü")
            tone(tmp_path / "casia" / name / emotion / "201.wav", 200 + number + len(name))
    text = message(["casia"], {"casia": tmp_path / "casia"}, tmp_path)
    assert "is the clip casia/lü/angry/201, as " in text


def test_sentences_that_are_known_by_number_are_shared_and_are_no_words(tmp_path: Path) -> None:
    for number, actor in enumerate(("DC", "JE")):
        for place, name in enumerate(("a01", "a02", "sa01", "sa02")):
            tone(tmp_path / "savee" / actor / f"{name}.wav", 200 + 50 * number + 10 * place)
    corpus = load(["savee"], {"savee": tmp_path / "savee"}, tmp_path)
    texts = corpus.table.groupby("speaker")["transcript"].apply(set)
    assert texts["savee/DC"] == texts["savee/JE"]
    assert len(texts["savee/DC"]) == 4
    assert {words_of(text) for text in texts["savee/DC"]} == {""}
    assert words_of("[LAUGHTER] yes") == "[LAUGHTER] yes"
