"""EmoBox's lists: labels, audio found by name, folds; small ones, and its own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from raysearch.data.corpora.emobox import INFO
from raysearch.data.corpora.names import common_name
from raysearch.errors import BadInput
from raysearch.stages.folds import divide

EMODB = ("03a01Fa", "03a02Wb", "08a01Na", "08b02Fb", "09a05Wc", "09b01Nb")


def lists(root: Path, name: str, entries: list[dict[str, str]], folds: int) -> Path:
    folder = root / "data" / name
    folder.mkdir(parents=True)
    write = {f"{name}.jsonl": entries}
    for k in range(folds):
        test = entries[k::folds] if folds > 1 else entries[:2]
        for part, own in (("test", test), ("train", [x for x in entries if x not in test])):
            write[f"fold_{k + 1}/{name}_{part}_fold_{k + 1}.jsonl"] = own
    for file, own in write.items():
        (folder / file).parent.mkdir(exist_ok=True)
        (folder / file).write_text("\n".join(map(json.dumps, own)) + "\n")
    table = {"anger": "Angry", "happy": "Happy", "Neutral": "Neutral"}
    (folder / "label_map.json").write_text(json.dumps(table))
    return root


def sound(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(len(path.stem) + sum(map(ord, path.stem))).normal(size=4000)
    soundfile.write(path, 0.1 * noise, 16000)


def emodb(tmp_path: Path, folds: int = 3) -> dict[str, Any]:
    words = {"F": "happy", "W": "anger", "N": "neutral"}
    for stem in EMODB:
        sound(tmp_path / "audio" / "deep" / f"{stem}.flac")
    entries = [
        {"key": f"emodb-{stem}", "wav": f"downloads/emodb/wav/{stem}.wav", "emo": words[stem[5]]}
        for stem in EMODB
    ]
    root = lists(tmp_path / "lists", "emodb", entries, folds)
    return {"root": root, "options": {"name": "emodb", "audio": str(tmp_path / "audio")}}


def read(home: Path, root: Path, options: dict[str, Any]) -> Any:
    return INFO.read(root, options=options, seed=0, home=home, progress=None)


def test_labels_folds_and_what_the_corpus_own_reader_knows(tmp_path: Path) -> None:
    raw = read(tmp_path, **emodb(tmp_path))
    table = raw.table.set_index("id")
    assert all(problem.severity == "notice" for problem in raw.problems)
    assert table["label"].to_dict() == {
        "emodb/03a01Fa": "happy", "emodb/03a02Wb": "angry", "emodb/08a01Na": "neutral",
        "emodb/08b02Fb": "happy", "emodb/09a05Wc": "angry", "emodb/09b01Nb": "neutral",
    }  # fmt: skip
    assert table["fold"].tolist() == ["fold_1", "fold_2", "fold_3"] * 2
    assert table["speaker"].tolist() == [f"emodb/{stem[:2]}" for stem in EMODB]
    assert "EmoBox lists 6 clips, of which 6 are here, and 3 folds that test 6" in raw.notes[0]


def test_a_corpus_that_only_emobox_knows_has_unknown_speakers(tmp_path: Path) -> None:
    for name in ("a/x1", "b/x1", "b/x2"):
        sound(tmp_path / "audio" / f"{name}.wav")
    entries = [
        {"key": f"mine-{n}", "wav": f"downloads/mine/{n}.wav", "emo": "happy"}
        for n in ("a/x1", "b/x1", "b/x2")
    ]
    root = lists(tmp_path / "lists", "mine", entries, 1)
    raw = read(tmp_path, root, {"name": "mine", "audio": str(tmp_path / "audio")})
    assert set(raw.table["speaker"]) == {"mine/unknown"}
    assert [Path(path).parent.name for path in raw.table["path"]] == ["a", "b", "b"]
    assert raw.table["fold"].tolist() == ["fold_1", "fold_1", ""]
    assert "EmoBox names no speaker" in raw.notes[1]


def test_what_is_wrong_is_named(tmp_path: Path) -> None:
    given = emodb(tmp_path)
    with pytest.raises(BadInput, match=r"holds no lists of 'emodv'.*'emodb'"):
        read(tmp_path, given["root"], given["options"] | {"name": "emodv"})
    with pytest.raises(BadInput, match="holds the lists of no corpus: give the folder"):
        read(tmp_path, tmp_path / "audio", {})
    (tmp_path / "audio" / "deep" / "03a01Fa.flac").unlink()
    problem, *counts = read(tmp_path, **given).problems
    assert "downloads/emodb/wav/03a01Fa.wav is not below" in problem.sentence
    assert [one.sentence for one in counts] == [
        "emodb has 6 clips in its list; EmoBox counts 535.",
        "emodb has 5 clips here; EmoBox counts 6.",
        "emodb has 3 classes; EmoBox counts 7.",
        "emodb has 3 speakers; EmoBox counts 10.",
    ]
    with pytest.raises(BadInput, match="has no group"):
        read(tmp_path, given["root"], given["options"] | {"speaker": "^.."})


def test_files_of_one_name_are_told_apart_by_folders_or_not_taken(tmp_path: Path) -> None:
    for name in ("JE/n01", "DC/n01", "x/one", "y/one"):
        sound(tmp_path / "audio" / f"{name}.wav")
    entries = [
        {"key": "mine-a", "wav": "downloads/mine/JE_n01.wav", "emo": "happy"},
        {"key": "mine-b", "wav": "downloads/mine/DC_n01.wav", "emo": "anger"},
        {"key": "mine-c", "wav": "downloads/mine/one.wav", "emo": "anger"},
    ]
    root = lists(tmp_path / "lists", "mine", entries, 1)
    options = {"name": "mine", "audio": str(tmp_path / "audio"), "speaker": "^(n)"}
    raw = read(tmp_path, root, options)
    assert [Path(path).parent.name for path in raw.table["path"]] == ["JE", "DC"]
    assert set(raw.table["speaker"]) == {"mine/n"}
    (problem,) = raw.problems
    assert "may be" in problem.sentence
    assert "lay them into folders" in problem.sentence


def test_a_valid_list_and_several_test_lists_are_parts(tmp_path: Path) -> None:
    given = emodb(tmp_path, folds=1)
    folder = given["root"] / "data" / "emodb" / "fold_1"
    whole = [json.dumps(x) for x in _all(folder / "emodb_test_fold_1.jsonl")]
    train = [json.dumps(x) for x in _all(folder / "emodb_train_fold_1.jsonl")]
    for part, lines in (("test1", whole[:1]), ("test2", whole[1:]), ("valid", train[:1])):
        (folder / f"emodb_{part}_fold_1.jsonl").write_text("\n".join(lines))
    (folder / "emodb_train_fold_1.jsonl").write_text("\n".join(train[1:]))
    table = read(tmp_path, **given).table
    assert table["split"].tolist() == ["test1", "test2", "valid", "train", "train", "train"]
    assert table["fold"].tolist() == ["fold_1", "fold_1", "", "", "", ""]
    assert table["validation"].tolist() == ["", "", "fold_1", "", "", ""]
    (fold,) = divide(table, (), protocol="column", validation="column")
    assert fold.validation.tolist() == [2]
    one, two = divide(table, (), protocol="split")
    assert (one.name, two.name) == ("test1", "test2")


OWN_FOLDS = [("emodb", 5), ("ravdess", 6), ("ased", 1), ("urdu", 1)]


@pytest.mark.parametrize(("name", "folds"), OWN_FOLDS)
def test_its_own_folds_clip_by_clip(
    shared_data: Path, tmp_path: Path, name: str, folds: int
) -> None:
    root = shared_data / "emobox" / "data" / name
    options = {"name": name, "audio": str(shared_data / name)}
    raw = read(tmp_path, root.parent.parent, options)
    division = divide(raw.table, (), protocol="column", validation="share")
    assert len(division) == folds
    stems = np.array([Path(path).stem for path in raw.table["path"]])
    for fold in division:
        for part, rows in (
            ("test", fold.test),
            ("train", np.concatenate([fold.train, fold.validation])),
        ):
            lines = (root / fold.name / f"{name}_{part}_{fold.name}.jsonl").read_text().splitlines()
            want = sorted(Path(json.loads(line)["wav"]).stem for line in lines)
            assert sorted(stems[rows].tolist()) == want
    labels = {Path(e["wav"]).stem: e["emo"] for e in _all(root / f"{name}.jsonl")}
    assert not raw.problems, "as many clips, classes and speakers as EmoBox counts"
    if name == "urdu":
        named = read(tmp_path, root.parent.parent, options | {"speaker": "^(S[A-Z]+[0-9]+)_"})
        assert named.table["speaker"].nunique() == 29
        assert not named.problems
    if name == "ravdess":
        want_label = {stem: common_name(word) for stem, word in labels.items()}
        assert dict(zip(stems, raw.table["label"], strict=True)) == want_label


def _all(path: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in path.read_text().splitlines()]
