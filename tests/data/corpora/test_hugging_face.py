"""Hugging Face datasets that the library itself wrote: saved, Parquet, an audio folder."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from raysearch.data import corpora
from raysearch.data.corpora import places
from raysearch.errors import BadInput
from tests.support.trees import tone

datasets = pytest.importorskip("datasets")
NAMES = [f"{who}{n}" for who in "abc" for n in range(12)]
COLUMNS = {"speaker": "actor", "label": "emotion"}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """36 clips, more than are read at once, in two splits and every form."""
    root = tmp_path_factory.mktemp("dataset")
    kinds = {
        "audio": {"bytes": datasets.Value("binary"), "path": datasets.Value("string")},
        "emotion": datasets.ClassLabel(names=["anger", "sadness"]),
        "actor": datasets.Value("int64"),
        "note": datasets.Value("string"),
    }
    parts = {}
    for split, names in (("train", NAMES[:24]), ("test", NAMES[24:])):
        files = [tone(root / "folder" / split / f"{name}.wav", root) for name in names]
        rows = {
            "audio": [{"bytes": file.read_bytes(), "path": file.name} for file in files],
            "emotion": [int(name[1:]) % 2 for name in names],
            "actor": ["abc".index(name[0]) for name in names],
            "note": ["x"] * len(names),
        }
        lines = (
            f"{name}.wav,{['anger', 'sadness'][int(name[1:]) % 2]},{'abc'.index(name[0])},x\n"
            for name in names
        )
        metadata = "file_name,emotion,actor,note\n" + "".join(lines)
        (root / "folder" / split / "metadata.csv").write_text(metadata)
        part = datasets.Dataset.from_dict(rows, features=datasets.Features(kinds))
        parts[split] = part.cast_column("audio", datasets.Audio(decode=False))
        parts[split].to_parquet(str(root / "parquet" / "data" / f"{split}-0-of-1.parquet"))
    datasets.DatasetDict(parts).save_to_disk(str(root / "saved"))
    return root


def load(root: Path, home: Path, **options: Any) -> corpora.Corpus:
    return corpora.load(
        ["huggingface"],
        root={"huggingface": str(root)},
        classes=None,
        on_bad="stop",
        unlabelled=(),
        seed=0,
        home=home,
        options=options,
    )


def test_all_forms_are_the_same_corpus(root: Path, tmp_path: Path) -> None:
    saved, parquet, folder = (
        load(root / form, tmp_path, columns=COLUMNS).table.set_index("id").sort_index()
        for form in ("saved", "parquet", "folder")
    )
    assert saved.index.tolist() == [f"huggingface/{name}" for name in sorted(NAMES)]
    assert saved["label"].tolist() == [
        ["angry", "sad"][int(name[1:]) % 2] for name in sorted(NAMES)
    ]
    assert set(saved["split"]) == {"train", "test"}
    same = ["label", "speaker", "audio", "seconds", "split"]
    assert saved[same].equals(parquet[same])
    assert (
        saved["audio"].tolist()
        == folder.rename(index=lambda x: x.replace("train/", "").replace("test/", ""))
        .sort_index()["audio"]
        .tolist()
    )
    assert sorted(folder["split"]) == sorted(saved["split"])


@pytest.mark.parametrize("form", ["saved", "parquet"])
def test_rows_are_read_in_any_order(root: Path, tmp_path: Path, form: str) -> None:
    table = load(root / form, tmp_path, columns=COLUMNS).table
    for _, clip in table.iloc[::-7].iterrows():
        name = clip["id"].partition("/")[2]
        wanted = (root / "folder" / clip["split"] / f"{name}.wav").read_bytes()
        assert places.clip_bytes(clip["path"], clip["part"]) == wanted
    with pytest.raises(places.PartError, match="has no row 99"):
        places.clip_bytes(table["path"][0], places.cell(99, "audio"))


def test_what_is_lacking_is_told_with_the_key(root: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"columns=\{speaker: actor\}"):
        load(root / "saved", tmp_path)
    with pytest.raises(BadInput, match="did you mean 'actor'"):
        load(root / "saved", tmp_path, columns={"speaker": "acto"})
    with pytest.raises(BadInput, match="did you mean 'test'"):
        load(root / "saved", tmp_path, columns=COLUMNS, split="tets")
    corpus = load(root / "saved", tmp_path, columns=COLUMNS, split="train")
    assert len(corpus.table) == 24
    assert [note for note in corpus.notes if "not used" in note] == [
        "huggingface: columns of the dataset that are not used: note."
    ]
    shutil.copytree(root / "folder" / "train", tmp_path / "bare")
    (tmp_path / "bare" / "metadata.csv").unlink()
    with pytest.raises(BadInput, match="has no column 'speaker'"):
        load(tmp_path / "bare", tmp_path)
