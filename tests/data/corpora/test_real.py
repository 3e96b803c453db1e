"""EmoDB, RAVDESS and CREMA-D as published."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from raysearch.data import corpora
from raysearch.errors import BadInput


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


def load(names: list[str], data: Path, home: Path, **other: Any) -> corpora.Corpus:
    keywords: dict[str, Any] = {
        "root": {name: str(data / name) for name in (*names, *other.get("unlabelled", ()))},
        "classes": None,
        "on_bad": "stop",
        "unlabelled": (),
        "seed": 0,
        "home": home,
        "options": {},
    }
    return corpora.load(names, **{**keywords, **other})


@pytest.mark.parametrize("name", ["emodb", "ravdess"])
def test_counts_are_the_published_ones(name: str, shared_data: Path, home: Path) -> None:
    corpus = load([name], shared_data, home)
    info = corpora.known()[name]
    assert corpus.table["label"].value_counts().to_dict() == dict(info.published)
    assert corpus.table["speaker"].nunique() == info.speakers
    assert corpus.classes == info.classes
    assert corpus.votes is None
    assert corpus.simulated == frozenset()
    assert not any("published" in note for note in corpus.notes)
    assert (corpus.table["seconds"] > 0.5).all()


def test_emodb_rows(shared_data: Path, home: Path) -> None:
    corpus = load(["emodb"], shared_data, home)
    row = corpus.table.set_index("id").loc["emodb/03a01Fa"]
    assert row["speaker"] == "emodb/03"
    assert row["label"] == "happy"
    assert row["transcript"] == "Der Lappen liegt auf dem Eisschrank."
    assert corpus.table["transcript"].nunique() == 10
    assert corpus.classes == ("neutral", "happy", "sad", "angry", "fearful", "disgust", "bored")
    flat = load(["emodb"], shared_data, home, root={"emodb": str(shared_data / "emodb" / "wav")})
    assert flat.fingerprint == corpus.fingerprint
    heard = corpus.table["recognised"].astype(float)  # a line of erkennung.txt for each clip
    assert heard.min() >= 0.8  # what EmoDB kept
    assert heard.max() <= 1


def test_the_two_identical_clips_of_ravdess_are_a_notice(shared_data: Path, home: Path) -> None:
    corpus = load(["ravdess"], shared_data, home, classes=["neutral", "happy", "sad", "angry"])
    assert len(corpus.table) == 672
    assert [n for n in corpus.notes if "byte-identical" in n and "-07 " in n]
    assert len(corpus.table) - corpus.table["audio"].nunique() == 1
    report = corpora.check(["ravdess"], root={"ravdess": str(shared_data / "ravdess")}, home=home)
    assert not report.errors
    assert [p.kind for p in report.notices] == ["duplicate"]


def test_two_corpora_meet_in_their_common_classes(shared_data: Path, home: Path) -> None:
    both = load(["emodb", "ravdess"], shared_data, home)
    assert both.classes == ("neutral", "happy", "sad", "angry", "fearful", "disgust")
    assert any("bored" in note and "calm" in note for note in both.notes)
    assert both.table["speaker"].nunique() == 34
    merged = load(["ravdess"], shared_data, home, classes=["neutral+calm", "happy"])
    assert merged.table["label"].value_counts().to_dict() == {"neutral": 288, "happy": 192}


def test_unlabelled_rows_come_last(shared_data: Path, home: Path) -> None:
    corpus = load(["emodb"], shared_data, home, unlabelled=("ravdess",))
    assert corpus.labelled.tolist() == [True] * 535 + [False] * 1440
    assert corpus.classes == corpora.known()["emodb"].classes


def test_cremad_reports_what_is_missing_in_short(shared_data: Path, home: Path) -> None:
    root = {"cremad": str(shared_data / "cremad")}
    report = corpora.check(["cremad"], root=root, home=home)
    assert len([p for p in report.errors if p.kind == "missing"]) == 7437
    assert any("7437 clips are missing" in line for line in report.sentences())
    assert len(report.sentences()) == 1
    assert report.counts == {"cremad": {"happy": 3, "angry": 1, "sad": 1}}
    with pytest.raises(BadInput, match="7437 clips are missing"):
        load(["cremad"], shared_data, home, classes=None)


def test_cremad_votes_and_labels(shared_data: Path, home: Path, tmp_path: Path) -> None:
    (tmp_path / "AudioWAV").symlink_to(shared_data / "cremad" / "AudioWAV")
    kept = {p.stem for p in (tmp_path / "AudioWAV").glob("*.wav")}
    lines = (shared_data / "cremad" / "tabulatedVotes.csv").read_text().splitlines()
    here = [line for line in lines[1:] if line.split(",")[7].strip('"') in kept]
    (tmp_path / "processedResults").mkdir()
    text = "\n".join([lines[0], *here])
    (tmp_path / "processedResults" / "tabulatedVotes.csv").write_text(text)
    keywords: dict[str, Any] = {
        "root": {"cremad": str(tmp_path)},
        "classes": ["happy", "sad+angry"],
    }
    corpus = load(["cremad"], shared_data, home, **keywords)
    assert corpus.votes is not None
    assert corpus.votes.shape == (5, 2)
    assert corpus.votes.any()
    assert corpus.table.set_index("id").loc["cremad/1033_IEO_HAP_LO", "label"] == "happy"
    assert any("1271 are published" in note for note in corpus.notes)
    raw = corpora.known()["cremad"].read(
        tmp_path, options={"label": "votes"}, seed=0, home=home, progress=None
    )
    assert raw.votes is not None
    winners = np.asarray(raw.votes.columns)[corpora.plurality(raw.votes.to_numpy())]
    assert (raw.table["label"].to_numpy() == winners).all()
    with pytest.raises(BadInput, match="did you mean 'votes'"):
        load(["cremad"], shared_data, home, **keywords, options={"label": "vote"})


def test_the_fingerprint_knows_content_not_place(shared_data: Path, home: Path) -> None:
    four = load(["emodb"], shared_data, home, classes=["neutral", "happy", "sad", "angry"])
    other = load(["emodb"], shared_data, home, classes=["happy", "neutral", "sad", "angry"])
    assert len(four.table) == 339
    assert four.fingerprint != other.fingerprint
