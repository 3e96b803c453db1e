"""EmoDB's listening test, as its authors' table has it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from raysearch.data import corpora

TABLE = (
    "Nr.\tSatz\terkannt\tnatuerlich\n"
    "1  \t03a01Fa.wav\t90,00\xa0\xa0\t75,00\n"
    "2  \t03A01NC.wav\t 97,5\t35,00\n"
    "3  \t99z99Xx.wav\t10\t35,00\n"
    "\n4\tnobody\n"
)


@pytest.fixture
def emodb(tones: Path, tmp_path: Path) -> Path:
    (tmp_path / "wav").mkdir()
    for place, name in enumerate(("03a01Fa", "03a01Nc", "08a01Fa", "08a01Na")):
        shutil.copy(tones / f"s0_{place:02d}.wav", tmp_path / "wav" / f"{name}.wav")
    return tmp_path


def recognised(root: Path) -> corpora.Corpus:
    return corpora.load(
        ["emodb"],
        root={"emodb": str(root)},
        classes=None,
        on_bad="stop",
        unlabelled=(),
        seed=0,
        home=root / "home",
        options={},
    )


def test_the_share_of_listeners_is_an_attribute(emodb: Path) -> None:
    before = recognised(emodb)
    assert "recognised" not in before.table
    (emodb / "erkennung.txt").write_text(TABLE, encoding="latin-1")
    corpus = recognised(emodb)
    shares = dict(zip(corpus.table["id"], corpus.table["recognised"], strict=True))
    assert shares == {
        "emodb/03a01Fa": "0.9",
        "emodb/03a01Nc": "0.975",
        "emodb/08a01Fa": "",
        "emodb/08a01Na": "",
    }
    assert corpus.fingerprint == before.fingerprint


def test_a_table_of_other_clips_is_told_and_not_used(emodb: Path) -> None:
    (emodb / "erkennung.txt").write_text("no table at all", encoding="latin-1")
    corpus = recognised(emodb)
    assert "recognised" not in corpus.table
    assert any("names none of the clips" in note for note in corpus.notes)
