"""A study's inputs, from a corpus on the disk."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import pytest

from raysearch.stages import calls
from raysearch.study import load_study
from raysearch.tuning.prepare import StudyInputs, prepare

PEL = ("space=rdlr", "corpus=manifest", "features=[egemaps]", "normalise=fold")


@pytest.fixture
def planted(tones: Path, tmp_path: Path) -> Path:
    """Tones with clips without a label: two of s0's own, and one of a stranger's."""
    folder = shutil.copytree(tones, tmp_path / "planted")
    with (folder / "manifest.csv").open(newline="") as file:
        rows = list(csv.reader(file))
    for name, source, speaker in (
        ("own_1", "s0_00", "s0"),
        ("own_2", "s0_01", "s0"),
        ("free", "s2_00", "stranger"),
    ):
        sound = (folder / f"{source}.wav").read_bytes()
        # no copy, which a corpus refuses: its last samples differ
        (folder / f"{name}.wav").write_bytes(sound[:-4] + b"\x01\x02\x03\x04")
        rows.append([f"{name}.wav", "", speaker])
    with (folder / "manifest.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return folder


def study_inputs(folder: Path, *words: str) -> StudyInputs:
    return prepare(
        load_study([*PEL, f"corpus.root={folder}", f"home={folder / 'home'}", *words], cwd=folder)
    )


def test_clips_of_what_a_fold_holds_out_are_in_none_of_its_streams(planted: Path) -> None:
    inputs = study_inputs(planted)
    names = inputs.corpus.table["id"].to_numpy(dtype=str)
    for fold in inputs.folds:
        held = {name.rpartition("/")[2] for name in fold.test_groups | fold.val_groups}
        stream = {name.rpartition("/")[2].partition(".")[0] for name in names[fold.unlabelled]}
        assert stream == ({"free"} if "s0" in held else {"free", "own_1", "own_2"}), fold.name
    assert len(inputs.folds) == 5


def test_keys_know_the_card_where_equal_results_are_promised(planted: Path) -> None:
    def keys(*words: str) -> tuple[str, ...]:
        inputs = study_inputs(planted, *words)
        full = inputs.method.resolve({**inputs.space.constants(), "strategy": "hard"})
        return tuple(call.key for call in calls(inputs.method, full, 0, inputs.context()))

    promise = "deterministic=true"
    plain = keys()
    # cards of a study without the promise, and the CPU with it, change no key
    assert keys("gpus=1") == keys("gpus=1", "tf32=false") == keys(promise, "tf32=true") == plain
    exact, rounded = keys(promise, "gpus=1"), keys(promise, "gpus=1", "tf32=true")
    assert not {*exact} & {*plain}
    assert not {*rounded} & {*plain, *exact}
    assert keys(promise, "gpus=0.5", "deterministic_algorithms=true") == exact


def test_one_more_unlabelled_speaker_computes_nothing_anew_that_does_not_hear_it(
    planted: Path,
) -> None:
    def keys(**setting: object) -> list[list[str]]:
        inputs = study_inputs(planted)
        full = inputs.method.resolve({**inputs.space.constants(), "strategy": "hard", **setting})
        where = inputs.context()
        return [
            [call.key for call in calls(inputs.method, full, fold.index, where)]
            for fold in inputs.folds
        ]

    heard, unheard = keys(lambda_pel=0.1), keys(lambda_pel=0.0)
    shutil.copy(planted / "free.wav", planted / "more.wav")
    sound = (planted / "free.wav").read_bytes()
    (planted / "more.wav").write_bytes(sound[:-4] + b"\x05\x06\x07\x08")
    with (planted / "manifest.csv").open("a", newline="") as file:
        csv.writer(file).writerow(["more.wav", "", "a stranger"])
    assert keys(lambda_pel=0.0) == unheard
    again = keys(lambda_pel=0.1)
    assert not [fold for fold in range(5) if again[fold] == heard[fold]]
    assert len(heard) == 5


def test_sentences_of_test_and_training_are_counted_as_sets(planted: Path) -> None:
    with (planted / "manifest.csv").open(newline="") as file:
        head, *rows = list(csv.reader(file))
    texts = ["", "one", "two", "three", "two", "only s0"]
    with (planted / "manifest.csv").open("w", newline="") as file:
        csv.writer(file).writerows([[*head, "transcript"]])
        csv.writer(file).writerows(
            [*row, "mine alone" if i == 3 else texts[i % 5]] for i, row in enumerate(rows)
        )
    inputs = study_inputs(planted)
    said = inputs.corpus.table["transcript"].to_numpy(dtype=str)
    assert "mine alone" in said
    shared = total = 0
    for fold, row in zip(inputs.folds, inputs.split_table(), strict=True):
        test, train = (set(said[rows]) - {""} for rows in (fold.test, fold.train))
        assert (row["test_sentences"], row["also_in_training"]) == (len(test), len(test & train))
        total, shared = total + len(test), shared + len(test & train)
    assert 0 < shared < total
    assert any(note.startswith(f"{shared / total:.0%} of the test") for note in inputs.notes)
