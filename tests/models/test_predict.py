"""The command `predict`, in this process."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from raysearch.cli.main import main
from raysearch.models.model import Model, Sound


@pytest.fixture
def clips(tones: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with clips of two speakers, one folder each, and what is no clip."""
    for speaker in ("s1", "s2"):
        (tmp_path / "clips" / speaker).mkdir(parents=True)
        for file in sorted(tones.glob(f"{speaker}_*.wav"))[:5]:
            shutil.copy(file, tmp_path / "clips" / speaker / file.name)
    (tmp_path / "clips" / "notes.txt").write_text("not audio")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "clips"


def run(capsys: Any, *words: str) -> tuple[int, str, str]:
    code = main(["predict", *words])
    said = capsys.readouterr()
    assert "Traceback" not in said.err
    return code, said.out, said.err


def test_files_and_folders_as_a_table(
    model: Model, clips: Path, sounds: list[Sound], capsys: Any
) -> None:
    one = "clips/s2/s2_00.wav"
    code, out, err = run(capsys, f"model={model.folder}", one, "clips")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0].split() == ["file", "label", *model.classes]
    assert len(lines) == 11, "each file once, though it is named twice"
    row = lines[1].split()
    want = model.hear(sounds[:1]).probabilities[0]
    assert row[0] == one
    assert row[1] == model.classes[int(want.argmax())]
    assert [float(x) for x in row[2:] if x != "%"] == pytest.approx(
        [round(100 * float(x), 1) for x in want], abs=0.11
    )


def test_csv_and_json_say_the_same(model: Model, clips: Path, capsys: Any) -> None:
    code, out, _ = run(capsys, f"model={model.folder}", "clips/", "format=csv")
    rows = list(csv.DictReader(io.StringIO(out)))
    assert (code, len(rows)) == (0, 10)
    code, out, _ = run(capsys, f"model={model.folder}", "clips/", "format=json")
    found = json.loads(out)
    assert (code, found["failed"]) == (0, [])
    for row, clip in zip(rows, found["clips"], strict=True):
        assert (row["file"], row["label"]) == (clip["file"], clip["label"])
        values = clip["probabilities"]
        assert sum(values.values()) == pytest.approx(1.0, abs=1e-5)
        assert {name: float(row[name]) for name in values} == pytest.approx(values)


def test_a_list_names_files_and_segments(model: Model, clips: Path, capsys: Any) -> None:
    file = clips / "s1" / "s1_00.wav"
    samples, rate = soundfile.read(file, dtype="int16")
    soundfile.write(clips / "cut.wav", samples[: len(samples) // 2], rate)
    half = len(samples) // 2 / rate
    rows = f"s1/s1_00.wav,0,{half}\ns1/s1_00.wav,,\ncut.wav,,\ns1/s1_00.wav,0,99\n"
    (clips / "list.csv").write_text(f"file,start,end\n{rows}")
    code, out, err = run(capsys, f"model={model.folder}", "clips/list.csv", "format=csv")
    assert code == 1
    assert "the segment from 0 s to 99 s is not in the file" in err
    part, whole, cut = csv.DictReader(io.StringIO(out))
    assert (part["start"], float(part["end"]), whole["end"]) == ("0", pytest.approx(half), "")
    for name in model.classes:
        assert float(part[name]) == pytest.approx(float(cut[name]), abs=1e-5)
    assert any(abs(float(part[n]) - float(whole[n])) > 1e-3 for n in model.classes)


def test_bad_files_cost_a_line_and_exit_1(model: Model, clips: Path, capsys: Any) -> None:
    (clips / "s1" / "broken.wav").write_bytes(b"RIFF")
    (clips / "empty").mkdir()
    words = ("clips", "clips/notes.txt", "clips/empty", "gone.wav")
    code, out, err = run(capsys, f"model={model.folder}", *words, "format=json")
    assert code == 1
    found = json.loads(out)
    assert len(found["clips"]) == 10
    told = {Path(one["file"]).name for one in found["failed"]}
    assert told == {"broken.wav", "notes.txt", "empty", "gone.wav"}
    assert len(err.splitlines()) == 4
    assert "gone.wav: there is no such file or folder" in err
    assert "holds no sound that can be read: .aif" in err


def test_nothing_that_can_be_predicted_is_bad_input(model: Model, clips: Path, capsys: Any) -> None:
    code, out, err = run(capsys, f"model={model.folder}", "gone.wav", "clips/notes.txt")
    assert (code, out) == (2, "")
    assert len(err.splitlines()) == 2


def test_one_folder_is_one_speaker(speaker_model: Model, clips: Path, capsys: Any) -> None:
    code, out, err = run(capsys, f"model={speaker_model.folder}", "clips", "format=csv")
    assert code == 0
    (line,) = err.splitlines()
    assert "each folder is taken for one speaker" in line
    assert "clips/s1 (5 clips), clips/s2 (5 clips)" in line
    by_folder = list(csv.DictReader(io.StringIO(out)))
    assert {Path(row["speaker"]).name for row in by_folder} == {"s1", "s2"}
    # the same clips in one folder, told apart by their names
    flat = clips.parent / "flat"
    flat.mkdir()
    for file in clips.rglob("*.wav"):
        shutil.copy(file, flat / file.name)
    model = f"model={speaker_model.folder}"
    code, out, _ = run(capsys, model, "flat", "format=csv", "speaker=^(s.)_")
    by_name = list(csv.DictReader(io.StringIO(out)))
    assert [row["speaker"] for row in by_name] == ["s1"] * 5 + ["s2"] * 5
    code, out, err = run(capsys, model, "flat", "format=csv", "speaker=one")
    assert "all clips are one speaker's: one (10 clips)" in err
    as_one = list(csv.DictReader(io.StringIO(out)))

    def values(rows: list[dict[str, str]]) -> np.ndarray:
        return np.array([[float(row[name]) for name in speaker_model.classes] for row in rows])

    np.testing.assert_allclose(values(by_name), values(by_folder), atol=1e-6)
    assert np.abs(values(as_one) - values(by_folder)).max() > 1e-4


def test_folders_of_other_formats_are_read(model: Model, clips: Path, capsys: Any) -> None:
    (clips.parent / "others").mkdir()
    samples, rate = soundfile.read(clips / "s1" / "s1_00.wav")
    soundfile.write(clips.parent / "others" / "a.mp3", samples, rate)
    soundfile.write(clips.parent / "others" / "b.OGG", samples, rate, format="OGG")
    code, out, err = run(capsys, f"model={model.folder}", "others", "format=csv")
    assert (code, err) == (0, "")
    files = [row["file"] for row in csv.DictReader(io.StringIO(out))]
    assert files == ["others/a.mp3", "others/b.OGG"]


def test_names_of_any_bytes_and_lists_of_any_spelling(
    model: Model, clips: Path, capsys: Any
) -> None:
    shutil.copy(clips / "s1" / "s1_00.wav", os.fsencode(clips) + b"/s1/\xff.wav")
    (clips / "s1" / "voice.m4a").touch()
    code, out, err = run(capsys, f"model={model.folder}", "clips/s1", "format=csv")
    files = [row["file"] for row in csv.DictReader(io.StringIO(out))]
    assert (code, len(files), files[-1]) == (1, 6, "clips/s1/\\xff.wav")
    assert "voice.m4a is sound of a kind that is not read" in err
    whole = clips / "s1" / "s1_00.wav"
    rows = f"s1\\s1_00.wav,,\n{whole.as_uri()},0,0.2\n,0,1\ns2/s2_00.wav,0.5,0.1\n"
    (clips / "list.csv").write_text(f"file,start,end\n{rows}")
    code, out, err = run(capsys, f"model={model.folder}", "clips/list.csv", "format=csv")
    assert [row["end"] for row in csv.DictReader(io.StringIO(out))] == ["", "0.2"]
    assert "row 4 of clips/list.csv has no file" in err
    assert "row 5 of clips/list.csv ends at 0.1 s, before it begins" in err


def test_a_lone_clip_of_a_speaker_is_refused(
    speaker_model: Model, clips: Path, capsys: Any
) -> None:
    code, out, err = run(capsys, f"model={speaker_model.folder}", "clips/s1/s1_00.wav")
    assert (code, out) == (2, "")
    assert "needs 4 of them or more" in err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("x.wav",), "model must be given"),
        (("model=nowhere",), "predict needs audio files or folders"),
        (("model=nowhere", "x.wav"), "no registry (mlflow.db)"),
        (("model=./nowhere", "x.wav"), "model=./nowhere is no folder of a model"),
        (("model=.", "x.wav"), "holds no model of raysearch"),
        (("model=.", "formt=csv", "x.wav"), "formt=csv is unknown (did you mean 'format'?)"),
        (("model=.", "format=pdf", "x.wav"), "format=pdf is unknown"),
        (("model=.", "speaker=(", "x.wav"), "no regular expression"),
        (("model=.", "speaker=s1", "x.wav"), "with one group"),
    ],
)
def test_words(
    words: tuple[str, ...],
    told: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Any,
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = run(capsys, *words)
    assert (code, out) == (2, "")
    assert told in err
    assert len(err.splitlines()) == 1


def test_code_that_is_not_the_models_is_told(
    model: Model, clips: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("raysearch.models.model.source_digest", lambda module: "other")
    code, out, err = run(capsys, f"model={model.folder}", "clips/s1/s1_00.wav")
    assert code == 0
    assert out
    assert "other code made this model" in err
