"""The licensed corpora, in small: files of their published formats, written here."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from raysearch.data import corpora
from raysearch.data.corpora import msp
from raysearch.data.rules import Task, Votes
from raysearch.errors import BadInput
from tests.support import trees
from trainables import labels


def load(name: str, folder: Path, home: Path, **other: Any) -> corpora.Corpus:
    keywords: dict[str, Any] = {
        "root": {name: str(folder)},
        "classes": None,
        "on_bad": "stop",
        "unlabelled": (),
        "seed": 0,
        "home": home / "home",
        "options": {},
    }
    return corpora.load([name], **{**keywords, **other})


def of(corpus: corpora.Corpus, clip: str) -> dict[str, Any]:
    """One clip's row, with its votes by class."""
    row = corpus.table.index[corpus.table["id"] == clip][0]
    assert corpus.votes is not None
    assert corpus.outside is not None
    cast = dict(zip(corpus.classes, corpus.votes[row].tolist(), strict=True))
    cast |= dict(zip(corpus.outside_classes, corpus.outside[row].tolist(), strict=True))
    return {**corpus.table.loc[row], "votes": {k: v for k, v in cast.items() if v}}


# -- IEMOCAP -------------------------------------------------------------------------------------
FOUR = ["happy+excited", "neutral"]


@pytest.fixture
def iemocap(tmp_path: Path) -> Path:
    return trees.iemocap(tmp_path / "IEMOCAP_full_release")


def test_valence_of_iemocap_is_the_mean_of_its_observers(iemocap: Path, tmp_path: Path) -> None:
    task = Task.model_validate({"name": "valence", "kind": "continuous"})
    corpus = load("iemocap", iemocap, tmp_path, task=task)
    row = corpus.table.index[corpus.table["id"] == "iemocap/Ses01F_impro01_F000"][0]
    assert corpus.truth[row].tolist() == [2.5]  # 3 and 2; the actor's own 3 is none of theirs
    both = load("iemocap", iemocap, tmp_path, task=task, votes=Votes(self_ratings="count"))
    assert both.truth[row].tolist() == pytest.approx([8 / 3])


def test_iemocap(iemocap: Path, tmp_path: Path) -> None:
    corpus = load("iemocap", iemocap, tmp_path, classes=FOUR)
    first = of(corpus, "iemocap/Ses01F_impro01_F000")
    assert first["speaker"] == "iemocap/Ses01F"
    assert first["session"] == "iemocap/1"
    assert first["label"] == "neutral"
    assert first["transcript"] == "Text of Ses01F_impro01_F000: yes."
    assert first["votes"] == {"neutral": 3}, "neither the actor's own votes nor remarks count"
    second = of(corpus, "iemocap/Ses01F_impro01_M000")
    assert second["speaker"] == "iemocap/Ses01M"
    assert second["label"] == "happy"
    # F1's rating of the partner's turn is not of her own; excited counts as happy
    assert second["votes"] == {"happy": 4, "surprised": 1}
    nobody = of(corpus, "iemocap/Ses02M_script01_1_F000")
    assert nobody["label"] == ""
    assert nobody["votes"] == {"happy": 1, "neutral": 1, "other": 1}
    assert corpus.labelled.tolist() == [True] * 4 + [False]
    assert corpus.simulated == frozenset()
    sets = corpus.sets
    assert sets is not None
    found = dict(zip(corpus.table["id"].str.removeprefix("iemocap/"), sets.part, strict=True))
    assert found == {
        "Ses01F_impro01_F000": labels.A,
        "Ses01F_impro01_M000": labels.B,
        "Ses01F_impro01_M001": labels.B,
        "Ses02M_script01_1_M000": labels.A,
        "Ses02M_script01_1_F000": labels.C,
    }
    assert sets.counts == {"A": 2, "B": 2, "C": 1, "none": 0}
    assert any("S_A 2, S_B 2, S_C 1, in none 0" in note for note in corpus.notes)
    mute = "1 clips without a label, all of whose votes are for other classes, unused"
    assert any(mute in note for note in corpus.notes)
    above = load("iemocap", iemocap.parent, tmp_path, classes=FOUR)
    assert above.fingerprint == corpus.fingerprint


def test_iemocap_keeps_every_single_rating(iemocap: Path, tmp_path: Path) -> None:
    ratings = load("iemocap", iemocap, tmp_path, classes=FOUR).ratings
    assert ratings is not None
    assert tuple(ratings.columns) == corpora.RATING_COLUMNS
    own = ratings[ratings["id"] == "iemocap/Ses01F_impro01_F000"].set_index("rater")
    assert list(own.index) == ["C-E2", "C-E3", "C-E4", "Ses01F", "A-E3", "A-E4", "Ses01F"]
    attributes = own.loc["A-E4", ["valence", "activation", "dominance"]].tolist()
    assert attributes[:2] == [2, 3]
    assert np.isnan(attributes[2])
    assert own.loc["A-E3", ["valence", "activation", "dominance"]].tolist() == [3, 2, 2]
    assert own["own"].tolist() == [False, False, False, True, False, False, True]
    partner = ratings[ratings["id"] == "iemocap/Ses01F_impro01_M000"].set_index("rater")
    assert not partner["own"].any()
    assert partner.loc["A-E3", "valence"] == 4
    # Surprise is no class of this study, and the rating holds nothing else
    assert "Ses01F" not in partner.index


def test_levels_of_iemocaps_attributes_by_rater(iemocap: Path, tmp_path: Path) -> None:
    valence = Task(name="valence")
    corpus = load("iemocap", iemocap, tmp_path, task=valence, per_rater=True)
    ratings = corpora.by_rater(corpus)
    assert ratings is not None
    assert not any(rater.startswith("C-") for rater in ratings.raters), "they gave no attribute"
    row = corpus.table.index[corpus.table["id"] == "iemocap/Ses01F_impro01_F000"][0]
    said = dict(zip(ratings.raters, ratings.codes[row].tolist(), strict=True))
    names = {"low": 0, "middle": 1, "high": 2}
    assert [corpus.classes.index(name) for name in names if name in corpus.classes] == [
        names[name] for name in names if name in corpus.classes
    ]
    # A-E3 said 3, A-E4 2, and F1, who speaks, 3
    assert corpus.classes[said["A-E3"]] == "middle"
    assert corpus.classes[said["A-E4"]] == "low"
    assert corpus.classes[said["Ses01F"]] == "middle"
    own = dict(zip(ratings.raters, ratings.own[row].tolist(), strict=True))
    assert own == {rater: rater == "Ses01F" for rater in ratings.raters}
    assert not any("published" in note for note in corpus.notes), "counts are of categories"


@pytest.mark.parametrize(
    ("rules", "sets", "clips"),
    [
        # the actors' own: neutral and angry for F000, neutral for M000 of session 2
        ({"self_ratings": "count"}, {"A": 0, "B": 4, "C": 1, "none": 0}, 5),
        ({"dominant": "label"}, {"A": 2, "B": 2, "C": 1, "none": 0}, 5),
        ({"outside": "ignore"}, {"A": 4, "B": 0, "C": 1, "none": 0}, 5),
        ({"outside": "drop"}, {"A": 2, "B": 0, "C": 0, "none": 3}, 5),
        ({"others": "keep"}, {"A": 2, "B": 2, "C": 2, "none": 0}, 6),
        ({"others": "keep", "outside": "ignore"}, {"A": 5, "B": 0, "C": 1, "none": 0}, 6),
        ({"least": 3}, {"A": 1, "B": 2, "C": 1, "none": 1}, 5),
        ({"labels": "votes"}, {"A": 2, "B": 2, "C": 1, "none": 0}, 5),
    ],
)
def test_the_rules_of_votes_on_iemocap(
    rules: dict[str, Any], sets: dict[str, int], clips: int, iemocap: Path, tmp_path: Path
) -> None:
    corpus = load("iemocap", iemocap, tmp_path, classes=FOUR, votes=Votes(**rules))
    assert len(corpus.table) == clips
    assert corpus.sets is not None
    assert corpus.sets.counts == sets
    said = ", ".join(f"S_{name} {count}" for name, count in sets.items() if name != "none")
    assert any(said in note for note in corpus.notes)
    report = corpora.check(
        ["iemocap"],
        root={"iemocap": str(iemocap)},
        home=tmp_path / "home",
        classes=FOUR,
        votes=Votes(**rules),
    )
    assert said in report.votes["iemocap"][1], "the check counts as the study does"


def test_the_parts_of_iemocap(iemocap: Path, tmp_path: Path) -> None:
    read = corpora.known()["iemocap"].read
    keywords: dict[str, Any] = {"seed": 0, "home": tmp_path, "progress": None}
    sizes = {
        part: len(read(iemocap, options={"part": part}, **keywords).table)
        for part in ("all", "improvised", "scripted")
    }
    assert sizes == {"all": 8, "improvised": 3, "scripted": 5}
    shared = read(iemocap, options={"several": "share"}, **keywords)
    assert shared.votes is not None
    happy = shared.votes.loc[shared.table["id"] == "iemocap/Ses01F_impro01_M000"].iloc[0]
    assert happy[["happy", "excited", "surprised"]].tolist() == [2.5, 0.5, 1]
    with pytest.raises(BadInput, match="did you mean 'scripted'"):
        read(iemocap, options={"part": "script"}, **keywords)


def test_the_check_compares_iemocap_with_the_published_counts(
    iemocap: Path, tmp_path: Path
) -> None:
    report = corpora.check(["iemocap"], root={"iemocap": str(iemocap)}, home=tmp_path / "home")
    said = "\n".join(p.sentence for p in report.notices)
    assert "iemocap has 2 clips without a label; 2507 are published" in said
    assert "iemocap has 2 clips of neutral; 1708 are published" in said
    assert "iemocap has 4 speakers; 10 are published" in said
    assert report.counts["iemocap"][""] == 2
    info = corpora.known()["iemocap"]
    assert sum(info.published.values()) == 10039
    four = sum(info.published[c] for c in ("angry", "happy", "excited", "sad", "neutral"))
    assert four == 5531


def test_iemocap_that_is_not_whole(iemocap: Path, tmp_path: Path) -> None:
    wav = iemocap / "Session1" / "sentences" / "wav" / "Ses01F_impro01"
    (wav / "Ses01F_impro01_F000.wav").unlink()
    path = iemocap / "Session1" / "dialog" / "EmoEvaluation" / "Ses01F_impro01.txt"
    path.write_text(path.read_text() + "[1.0 - 2.0]\tSes01F_impro01_F009\tmad\t[1, 1, 1]\n")
    report = corpora.check(["iemocap"], root={"iemocap": str(iemocap)}, home=tmp_path / "home")
    assert [(p.kind, p.utterance) for p in report.errors] == [
        ("missing", "iemocap/Ses01F_impro01_F000")
    ]
    assert any("Ses01F_impro01_F009" in p.sentence for p in report.notices)


# -- MSP-IMPROV ----------------------------------------------------------------------------------
def test_msp_improv(tmp_path: Path) -> None:
    root = trees.msp_improv(tmp_path / "improv")
    corpus = load("msp_improv", root, tmp_path)
    assert corpus.classes == ("happy", "angry")
    row = of(corpus, "msp_improv/MSP-IMPROV-S01A-F01-S-FM01")
    assert row["speaker"] == "msp_improv/F01"
    assert row["session"] == "msp_improv/1"
    assert row["votes"] == {"angry": 2, "neutral": 1}
    undecided = of(corpus, "msp_improv/MSP-IMPROV-S05H-F06-P-MF01")
    assert undecided["label"] == ""
    assert undecided["votes"] == {"happy": 1, "other": 1}
    assert corpus.ratings is not None
    third = corpus.ratings[corpus.ratings["rater"] == "P003-p1"].iloc[0]
    assert (third["valence"], third["activation"]) == (3, 2)
    assert np.isnan(third["dominance"])
    some = corpora.known()["msp_improv"].read(
        root, options={"types": "r+t"}, seed=0, home=tmp_path, progress=None
    )
    assert [clip[-6:-5] for clip in some.table["id"]] == ["T", "R", "R"]
    with pytest.raises(BadInput, match="names 'Q'"):
        load("msp_improv", root, tmp_path, options={"types": "T+Q"})
    info = corpora.known()["msp_improv"]
    assert sum(info.published.values()) == 8438


# -- MSP-Podcast ---------------------------------------------------------------------------------
TEXT = """MSP-PODCAST_0001_0008.wav; N; A:2.200000; V:4.000000; D:2.600000;
WORKER0000001; Neutral; Neutral,Confused; A:1.000000; V:4.000000; D:2.000000;
WORKER0000002; Other-Amused; Other-Amused; A:7.000000; V:5.000000; D:6.000000;

MSP-PODCAST_0001_0019.wav; X; A:3.200000; V:4.000000; D:2.600000;
WORKER0000001; Happy; A:1.000000; V:4.000000; D:1.000000;
WORKER0000003; Neutral; A:1.000000; V:4.000000; D:1.000000;
"""


def test_msp_podcast_gives_means_where_there_are_no_single_ratings(tmp_path: Path) -> None:
    root = trees.msp_podcast(tmp_path / "podcast")
    task = Task.model_validate({"name": ["valence", "arousal"], "kind": "continuous"})
    corpus = load("msp_podcast", root, tmp_path, task=task)
    row = corpus.table.index[corpus.table["id"] == "msp_podcast/MSP-PODCAST_0001_0008"][0]
    assert corpus.truth[row].tolist() == pytest.approx([4.0, 2.2])


def test_msp_podcast(tmp_path: Path) -> None:
    root = trees.msp_podcast(tmp_path / "podcast")
    bare = load("msp_podcast", root, tmp_path)
    assert bare.votes is None
    assert any("no single ratings" in note for note in bare.notes)
    (root / "Labels" / "labels_detailed.csv").write_text(trees.DETAILED)
    corpus = load("msp_podcast", root, tmp_path)
    row = of(corpus, "msp_podcast/MSP-PODCAST_0001_0008")
    assert (row["speaker"], row["session"]) == ("msp_podcast/127", "msp_podcast/Train")
    assert row["transcript"] == "well yes"
    assert row["votes"] == {"neutral": 1, "other": 1}
    assert of(corpus, "msp_podcast/MSP-PODCAST_0001_0019")["label"] == ""
    assert sorted(set(corpus.table["speaker"])) == [
        "msp_podcast/127",
        "msp_podcast/128",
        "msp_podcast/unknown-0001",
        "msp_podcast/unknown-0002",
    ]
    assert corpus.ratings is not None
    second = corpus.ratings[corpus.ratings["rater"] == "WORKER0000002"].iloc[0]
    assert second[["label", "valence", "activation", "dominance"]].tolist() == ["", 5, 7, 6]


def test_older_msp_podcast_says_the_same(tmp_path: Path) -> None:
    new = trees.msp_podcast(tmp_path / "new" / "podcast")
    (new / "Labels" / "labels_detailed.csv").write_text(trees.DETAILED)
    old = trees.msp_podcast(tmp_path / "old" / "podcast", "concensus")
    (old / "Labels" / "labels.txt").write_text(TEXT)
    one, other = load("msp_podcast", new, tmp_path), load("msp_podcast", old, tmp_path)
    assert one.ratings is not None
    assert other.ratings is not None
    assert one.ratings.equals(other.ratings)
    assert one.votes is not None
    assert other.votes is not None
    assert (one.votes == other.votes).all()


def test_msp_podcast_with_json_or_named_columns_says_the_same(tmp_path: Path) -> None:
    new = trees.msp_podcast(tmp_path / "new" / "podcast")
    (new / "Labels" / "labels_detailed.csv").write_text(trees.DETAILED)
    one = load("msp_podcast", new, tmp_path)
    assert one.ratings is not None
    single = one.ratings.to_dict("records")
    about = [
        {
            "Name": row["rater"],
            "EmoClass_Major": row["label"].title() or "Other-Concerned",
            "EmoVal": str(row["valence"]),
            "EmoAct": str(row["activation"]),
            "EmoDom": str(row["dominance"]),
            "FileName": row["id"].removeprefix("msp_podcast/") + ".wav",
        }
        for row in single
    ]
    by_clip: dict[str, dict[str, dict[str, str]]] = {}
    for row in about:
        by_clip.setdefault(row["FileName"], {})[row["Name"]] = row
    both = trees.msp_podcast(tmp_path / "json" / "podcast")
    table = both / "Labels" / "labels_consensus.csv"
    clips = pd.read_csv(table, dtype=str, keep_default_na=False).to_dict("records")
    table.unlink()
    (table.with_suffix(".json")).write_text(json.dumps({row.pop("FileName"): row for row in clips}))
    (both / "Labels" / "labels_detailed.json").write_text(json.dumps(by_clip))
    named = trees.msp_podcast(tmp_path / "named" / "podcast")
    frame = pd.DataFrame(about).rename(columns={"Name": "Worker_ID"})
    frame.to_csv(named / "Labels" / "labels_detailed.csv", index=False)
    for root in (both, named):
        other = load("msp_podcast", root, tmp_path)
        assert other.ratings is not None
        assert other.table["id"].tolist() == one.table["id"].tolist()
        columns = ["id", "rater", "label", "valence", "activation", "dominance"]
        assert other.ratings[columns].equals(one.ratings[columns])


@pytest.mark.parametrize(
    "line", ["", "sum of ratings", "a remark; with a semicolon", "a remark: A:1; B:2;", "x; 3;"]
)
def test_lines_that_are_no_ratings(line: str) -> None:
    assert msp.rating(line) is None


def test_msp_files_that_are_not_there_or_are_others(tmp_path: Path) -> None:
    (tmp_path / "bare").mkdir()
    for name, file in (("msp_improv", "Evalution.txt"), ("msp_podcast", "labels_consensus.csv")):
        with pytest.raises(BadInput, match=f"holds no .*{re.escape(file)}.*give the folder"):
            load(name, tmp_path / "bare", tmp_path)
    (tmp_path / "bare" / "labels_consensus.csv").write_text("FileName,Emotion\na.wav,N\n")
    with pytest.raises(BadInput, match="no column EmoClass, SpkrID, Split_Set"):
        load("msp_podcast", tmp_path / "bare", tmp_path)


# -- the corpora that put everything into names ------------------------------------------------
NAMED = {
    "emovo": (
        ["f1/dis-f1-b1", "f1/gio-f1-l2", "m3/dis-m3-n5", "m3/gio-m3-b1"],
        {"disgust": 2, "happy": 2},
        {"emovo/f1", "emovo/m3"},
        588,
    ),
    "savee": (
        ["DC/sa01", "DC/a01", "JE/sa01", "JE/a12"],
        {"sad": 2, "angry": 2},
        {"savee/DC", "savee/JE"},
        480,
    ),
    "casia": (
        ["liuchanhg/angry/201", "liuchanhg/fear/201", "wangzhe/angry/201", "wangzhe/fear/202"],
        {"angry": 2, "fearful": 2},
        {"casia/liuchanhg", "casia/wangzhe"},
        7200,
    ),
}


@pytest.mark.parametrize("name", NAMED)
def test_names_that_tell_all(name: str, tmp_path: Path) -> None:
    files, labels, speakers, published = NAMED[name]
    for file in files:
        trees.tone(tmp_path / name / f"{file}.wav", tmp_path)
    trees.tone(tmp_path / name / files[0].rpartition("/")[0] / "readme.wav", tmp_path)
    corpus = load(name, tmp_path / name, tmp_path)
    assert corpus.table["label"].value_counts().to_dict() == labels
    assert set(corpus.table["speaker"]) == speakers
    assert any("readme.wav is not named like" in note for note in corpus.notes)
    assert sum(corpora.known()[name].published.values()) == published


def test_savee_in_one_folder(tmp_path: Path) -> None:
    for file in ("DC_sa01", "DC_a01", "JE_sa01", "JE_a12"):
        trees.tone(tmp_path / "flat" / f"{file}.wav", tmp_path)
    ids = set(load("savee", tmp_path / "flat", tmp_path).table["id"])
    assert ids == {"savee/DC_sa01", "savee/DC_a01", "savee/JE_sa01", "savee/JE_a12"}


def test_librispeech_is_unlabelled(tmp_path: Path) -> None:
    chapter = tmp_path / "LibriSpeech" / "train-clean-100" / "103" / "1240"
    for number in (0, 1):
        trees.tone(chapter / f"103-1240-{number:04d}.flac", tmp_path)
    (chapter / "103-1240.trans.txt").write_text("103-1240-0000 CHAPTER ONE\n")
    for file in ("sa01", "a01"):
        trees.tone(tmp_path / "savee" / "DC" / f"{file}.wav", tmp_path)
        trees.tone(tmp_path / "savee" / "JE" / f"{file}.wav", tmp_path)
    roots = [tmp_path, tmp_path / "LibriSpeech", tmp_path / "LibriSpeech" / "train-clean-100"]
    prints = set()
    for root in roots:
        corpus = load(
            "savee",
            tmp_path / "savee",
            tmp_path,
            root={"savee": str(tmp_path / "savee"), "librispeech": str(root)},
            unlabelled=("librispeech",),
        )
        plain = corpus.table[~corpus.labelled]
        assert plain["speaker"].tolist() == ["librispeech/103"] * 2
        assert plain["transcript"].tolist() == ["CHAPTER ONE", ""]
        assert any("1 clips have no transcript" in note for note in corpus.notes)
        prints.add(corpus.fingerprint)
    assert len(prints) == 1
    with pytest.raises(BadInput, match="holds no train-clean-360"):
        load(
            "librispeech",
            tmp_path,
            tmp_path,
            options={"subset": "train-clean-360"},
        )
    report = corpora.check(["librispeech"], root={"librispeech": str(tmp_path)}, home=tmp_path)
    assert "2 clips without a label; 28539 are published" in report.notices[0].sentence
