"""audformat databases that audformat itself wrote: tables, splits, segments, speakers, raters."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from raysearch.data import corpora
from raysearch.errors import BadInput
from tests.support.trees import tone

audformat = pytest.importorskip("audformat")
FILES = [f"wav/{who}{n}.wav" for who in "abc" for n in range(4)]
LABELS = ["anger", "sadness"] * 6


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three speakers with four clips of an eighth of a second; the third's are the test."""
    root = tmp_path_factory.mktemp("database")
    for file in FILES:
        tone(root / file, root)
    db = audformat.Database("mine", languages=["de"])
    db.schemes["emotion"] = audformat.Scheme(labels=["anger", "sadness"])
    db.schemes["gender"] = audformat.Scheme(labels=["female", "male"])
    people = pd.Index(list("abc"), name="speaker", dtype="string")
    db["people"] = audformat.MiscTable(people)
    db["people"]["gender"] = audformat.Column(scheme_id="gender")
    db["people"]["gender"].set(["female", "male", "female"])
    db.schemes["speaker"] = audformat.Scheme("str", labels="people")
    db["files"] = audformat.Table(audformat.filewise_index(FILES))
    db["files"]["speaker"] = audformat.Column(scheme_id="speaker")
    db["files"]["speaker"].set([file[4] for file in FILES])
    db.raters["gold"] = audformat.Rater(audformat.define.RaterType.TRUTH)
    for split, own in (("train", slice(0, 8)), ("test", slice(8, 12))):
        db.splits[split] = audformat.Split(split)
        table = audformat.Table(audformat.filewise_index(FILES[own]), split_id=split)
        db[f"emotion.{split}"] = table
        table["emotion"] = audformat.Column(scheme_id="emotion", rater_id="gold")
        table["emotion"].set(LABELS[own])
    times = [(f, *span) for f in FILES for span in (("0s", "0.11s"), ("0.012s", pd.NaT))]
    index = audformat.segmented_index(*map(list, zip(*times, strict=True)))
    db["turns"] = audformat.Table(index)
    for name in ("r1", "r2", "r3"):
        db.raters[name] = audformat.Rater(audformat.define.RaterType.HUMAN)
        db["turns"][name] = audformat.Column(scheme_id="emotion", rater_id=name)
        labels = [label for label in LABELS for _ in range(2)]
        db["turns"][name].set(["sadness", *labels[1:]] if name == "r3" else labels)
    db.save(str(root))
    return root


def load(root: Path, home: Path, **options: Any) -> corpora.Corpus:
    return corpora.load(
        ["audformat"],
        root={"audformat": str(root)},
        classes=None,
        on_bad="stop",
        unlabelled=(),
        seed=0,
        home=home,
        options=options,
    )


def test_gold_labels_splits_and_the_speakers_own_table(root: Path, tmp_path: Path) -> None:
    corpus = load(root, tmp_path)
    table = corpus.table.sort_values("id")
    assert table["id"].tolist() == [f"mine/{file[:-4]}" for file in FILES]
    assert table["label"].tolist() == ["angry", "sad"] * 6
    assert table["speaker"].tolist() == [f"mine/{file[4]}" for file in FILES]
    assert table["sex"].tolist() == ["female"] * 4 + ["male"] * 4 + ["female"] * 4
    assert set(table["language"]) == {"deu"}
    assert table["split"].tolist() == ["train"] * 8 + ["test"] * 4
    assert corpus.votes is None
    assert any("of the tables emotion.test, emotion.train" in note for note in corpus.notes)


def test_segments_rated_by_people(root: Path, tmp_path: Path) -> None:
    corpus = load(root, tmp_path, table="turns")
    clips = corpus.table.set_index("id")
    assert len(clips) == 24
    assert clips["part"]["mine/wav/a0@0-0.11"] == "t=0,0.11"
    assert clips["seconds"].round(4).to_dict()["mine/wav/a0@0.012-"] == 0.113
    assert clips["speaker"]["mine/wav/b3@0.012-"] == "mine/b"
    assert clips["sex"]["mine/wav/b3@0.012-"] == "male"
    assert corpus.ratings is not None
    assert len(corpus.ratings) == 3 * 24
    assert corpus.votes is not None
    row = corpus.table.index[corpus.table["id"] == "mine/wav/a0@0-0.11"][0]
    assert dict(zip(corpus.classes, corpus.votes[row], strict=True)) == {"sad": 1, "angry": 2}


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"table": "emotion.tset"}, "is no table of mine .did you mean 'emotion.test'"),
        ({"column": "emotoin"}, "did you mean 'emotion'"),
        ({"columns": {"speaker": "speakr"}}, "'speakr', of which mine has no values"),
        ({"colunm": "emotion"}, "is no option of audformat"),
    ],
)
def test_a_wrong_name_has_a_near_match(
    root: Path, tmp_path: Path, options: dict[str, Any], what: str
) -> None:
    with pytest.raises(BadInput, match=what):
        load(root, tmp_path, **options)
