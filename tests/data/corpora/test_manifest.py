"""Anyone's data: what a manifest may hold, and what is said when it is wrong."""

from __future__ import annotations

import hashlib
import io
import os
import unicodedata
import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from raysearch.data import corpora
from raysearch.data.corpora import places
from raysearch.data.rules import Votes
from raysearch.errors import BadInput

FILES = ("a1", "a2", "b1", "b2", "b3")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "wav").mkdir()
    rng = np.random.default_rng(0)
    for name in FILES:
        with wave.open(str(tmp_path / "wav" / f"{name}.wav"), "wb") as file:
            file.setparams((1, 2, 16_000, 0, "NONE", ""))
            file.writeframes(rng.integers(-999, 999, 4_000).astype("<i2").tobytes())
    return tmp_path


def write(folder: Path, text: str, name: str = "manifest.csv") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_a_files_real_path_follows_links_of_folders_and_of_files(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "link").symlink_to("a", target_is_directory=True)
    (tmp_path / "a" / "b" / "x.wav").touch()
    (tmp_path / "a" / "y.wav").symlink_to("b/x.wav")
    (tmp_path / "loop").symlink_to("loop")
    known: dict[str, str] = {}
    for name in ("a/b/x.wav", "link/b/x.wav", "link/y.wav", "link/../a/y.wav", "a/b/..", "loop",
                 "link/absent.wav", "absent/x.wav"):  # fmt: skip
        path = tmp_path / name
        assert places.real_path(path, known) == os.path.realpath(path), name


def load(root: Path, home: Path, **other: Any) -> corpora.Corpus:
    keywords: dict[str, Any] = {"classes": None, "on_bad": "stop", "options": {}, **other}
    return corpora.load(
        ["manifest"], root={"manifest": str(root)}, unlabelled=(), seed=0, home=home, **keywords
    )


def problems(root: Path, home: Path, **other: Any) -> str:
    with pytest.raises(BadInput) as caught:
        load(root, home, **other)
    return str(caught.value)


WHOLE = """file,label,speaker,session,corpus,transcript,votes
wav/a1.wav,Anger,anna,1,mine,"Come, here.",angry:3;sad:1
wav/a2.wav,sad,anna,1,mine,Come here.,sad:2
wav/b1.wav,angry,ben,2,mine,Not today.,angry:1;bored:5
wav/b2.wav,sad,ben,2,mine,,
"""


def test_all_columns(folder: Path) -> None:
    corpus = load(write(folder, WHOLE).parent, folder)
    row = corpus.table.iloc[0].to_dict()
    assert row["id"] == "mine/wav/a1"
    assert row["speaker"] == "mine/anna"
    assert row["session"] == "mine/1"
    assert row["transcript"] == "Come, here."
    assert row["seconds"] == 0.25
    assert corpus.classes == ("sad", "angry")
    assert corpus.votes is not None
    assert corpus.votes.tolist() == [[1, 3], [2, 0], [0, 1], [0, 0]]
    assert (corpus.votes.sum(axis=1) > 0).tolist() == [True, True, True, False]
    assert corpus.ratings is None
    assert corpus.simulated == frozenset()


@pytest.mark.parametrize("separator", [";", "\t"])
def test_other_separators_vote_columns_and_a_mark_at_the_start(
    folder: Path, separator: str
) -> None:
    text = "file,label,speaker,votes_angry,votes_sad\n" + "".join(
        f"wav/{name}.wav,{label},{name[0]},{i},1\n"
        for i, (name, label) in enumerate(zip(FILES[:4], ["angry", "sad"] * 2, strict=True))
    )
    path = write(folder, "\ufeff" + text.replace(",", separator), "list.csv")
    corpus = load(folder, folder, options={"csv": path.name})
    assert corpus.votes is not None
    assert corpus.votes.tolist() == [[1, 0], [1, 1], [1, 2], [1, 3]]
    assert load(path, folder).fingerprint == corpus.fingerprint


RATED = "file,speaker,rater,rating\n" + "".join(
    f"wav/{name}.wav,{name[0]},r{rater},{rating}\n"
    for name, ratings in zip(FILES, ("AAS", "SSA", "AAA", "SSS", "SA"), strict=True)
    for rater, letter in enumerate(ratings)
    for rating in [{"A": "angry", "S": "sad"}[letter]]
)


def test_one_row_a_rating(folder: Path) -> None:
    corpus = load(write(folder, RATED).parent, folder)
    assert corpus.table["label"].tolist() == ["angry", "sad", "angry", "sad"]
    assert any("1 clips without one leading vote are left out" in note for note in corpus.notes)
    assert corpus.votes is not None
    assert corpus.votes.tolist() == [[1, 2], [2, 1], [0, 3], [3, 0]]
    assert corpus.ratings is not None
    assert corpus.ratings["rater"].tolist() == ["r0", "r1", "r2"] * 4
    assert list(corpus.ratings.columns) == list(corpora.RATING_COLUMNS)
    assert corpus.ratings["valence"].isna().all()
    assert not corpus.ratings["own"].any()


def test_clips_without_a_leading_vote_can_stay(folder: Path) -> None:
    corpus = load(write(folder, RATED).parent, folder, options={"ties": "keep"})
    assert corpus.table["label"].tolist() == ["angry", "sad", "angry", "sad", ""]
    assert corpus.votes is not None
    assert corpus.votes[-1].tolist() == [1, 1]
    assert corpus.sets is not None
    assert corpus.sets.counts == {"A": 2, "B": 2, "C": 1, "none": 0}
    assert "did you mean 'keep'" in problems(folder, folder, options={"ties": "kep"})


def test_attributes_and_speakers_who_rate_themselves(folder: Path) -> None:
    rows = "wav/a1.wav,r1,sad,2,5,\nwav/a1.wav,anna,angry,1,,\nwav/a2.wav,ben,sad,,,3.5\n"
    head = "file,rater,rating,valence,activation,dominance\n"
    write(folder, head + rows + "wav/b1.wav,r1,,4,4,4\n", "r.csv")
    path = write(folder, WHOLE.replace(",votes", ",x"))
    corpus = load(path, folder, options={"ratings": "r.csv"})
    assert corpus.ratings is not None
    kept = corpus.ratings.fillna(-1)
    assert kept[["rater", "label", "own"]].to_numpy().tolist() == [
        ["r1", "sad", False],
        ["anna", "angry", True],
        ["ben", "sad", False],
        ["r1", "", False],
    ]
    assert kept[["valence", "activation", "dominance"]].to_numpy().tolist() == [
        [2, 5, -1],
        [1, -1, -1],
        [-1, -1, 3.5],
        [4, 4, 4],
    ]
    assert corpus.votes is not None
    assert corpus.votes.tolist() == [[1, 0], [1, 0], [0, 0], [0, 0]], "Anna's own is no vote"
    counted = Votes(self_ratings="count")
    told = load(path, folder, options={"ratings": "r.csv"}, votes=counted)
    assert told.votes is not None
    assert told.votes.tolist() == [[1, 1], [1, 0], [0, 0], [0, 0]]
    write(folder, head + "wav/a1.wav,r1,,much,5,\nwav/a2.wav,r1,,,,\n", "r.csv")
    said = problems(path, folder, options={"ratings": "r.csv"})
    assert "has valence 'much'" in said
    assert "row 3 (wav/a2.wav)" in said
    assert "has no rating" in said


def test_ratings_in_a_file_of_their_own(folder: Path) -> None:
    write(folder, "file,rater,rating,weight\nwav/a1.wav,r1,sad,0.5\nelse.wav,r1,sad,1\n", "r.csv")
    corpus = load(
        write(folder, WHOLE.replace(",votes", ",x")), folder, options={"ratings": "r.csv"}
    )
    assert corpus.table["label"].tolist() == ["angry", "sad", "angry", "sad"]
    assert corpus.votes is not None
    assert corpus.votes.tolist() == [[0.5, 0], [0, 0], [0, 0], [0, 0]]


def test_unlabelled_rows_come_last(folder: Path) -> None:
    text = "file,label,speaker\nwav/a1.wav,,x\nwav/a2.wav,sad,a\nwav/b1.wav,angry,b\n"
    path = write(folder, text + "wav/b2.wav,sad,b\n")
    assert "'angry' has 1 clip" in problems(path, folder)
    path = write(folder, text + "wav/b2.wav,sad,b\nwav/b3.wav,angry,b\n")
    corpus = load(path, folder)
    assert corpus.table["label"].tolist() == ["sad", "angry", "sad", "angry", ""]
    assert corpus.codes.tolist() == [0, 1, 0, 1, -1]


def test_a_missing_column_is_named_with_those_found(folder: Path) -> None:
    said = problems(write(folder, "file,label,who\nwav/a1.wav,sad,ben\n"), folder)
    assert "no column 'speaker'" in said
    assert "the columns found are: 'file', 'label', 'who'" in said
    said = problems(write(folder, "path,speaker\nwav/a1.wav,ben\n"), folder)
    assert "no column 'file', 'label'" in said


def test_rows_with_faults_are_told_together_and_can_be_skipped(folder: Path) -> None:
    text = WHOLE + ",sad,ben,2,mine,,\nwav/a1.wav,sad,ben,2,mine,,\nwav/c.wav,sad,,2,mine,,\n"
    text += "wav/gone.wav,sad,ben,2,mine,,\n"
    path = write(folder, text.replace("angry:3;", "angry:many;"))
    said = problems(path, folder)
    for part in (
        "Row 6 of",
        "has no file",
        "names the same file as row 2",
        "(wav/c.wav) has no speaker",
        "mine/wav/gone is missing",
        "has the vote 'many' for 'angry'",
        "corpus.on_bad=skip",
    ):
        assert part in said
    path = write(folder, text)
    assert len(load(path, folder, on_bad="skip").table) == 4


@pytest.mark.parametrize("vote", ["angry", "angry:", "angry:-1", "angry:nan", "angry:inf"])
def test_votes_that_are_no_counts(folder: Path, vote: str) -> None:
    path = write(folder, WHOLE.replace("angry:3;sad:1", vote))
    assert "votes are counts" in problems(path, folder)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "has no rows"),
        ("file,label,speaker\n", "has no rows"),
        ("file,label,speaker\nwav/a1.wav,sad\n", "3 columns, but row 2 has 2 cells"),
        ("file,file,speaker\nx,y,z\n", "column 'file' twice"),
    ],
)
def test_files_that_are_no_tables(folder: Path, text: str, said: str) -> None:
    assert said in problems(write(folder, text), folder)


def test_no_manifest(folder: Path) -> None:
    assert "There is no manifest" in problems(folder, folder)
    (folder / "manifest.csv").write_bytes(b"file,label,speaker\n\xff\xfe,sad,b\n")
    assert "UTF-8" in problems(folder, folder)


def test_two_suffixes_are_two_clips(folder: Path) -> None:
    (folder / "wav" / "a1.flac").write_bytes(b"x")
    text = "file,label,speaker\nwav/a1.wav,sad,a\nwav/a1.flac,sad,a\n"
    raw = corpora.known()["manifest"].read(
        write(folder, text), options={}, seed=0, home=folder, progress=None
    )
    assert raw.table["id"].tolist() == ["manifest/wav/a1.wav", "manifest/wav/a1.flac"]


SOUND = "wav/a1.wav,angry,{},1\nwav/a2.wav,sad,{},1\nwav/b1.wav,angry,b,2\nwav/b2.wav,sad,b,2\n"


def test_one_speaker_in_two_forms_of_unicode_is_one(folder: Path) -> None:
    forms = [unicodedata.normalize(form, "Müller") for form in ("NFC", "NFD")]
    assert forms[0] != forms[1]
    path = write(folder, "file,label,speaker,session\n" + SOUND.format(*forms))
    table = load(path, folder).table
    assert sorted(set(table["speaker"])) == ["manifest/Müller", "manifest/b"]


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_a_file_is_found_in_whatever_form_the_disk_has_it(folder: Path, form: str) -> None:
    name = unicodedata.normalize(form, "Zürich")
    (folder / "wav" / "a1.wav").rename(folder / "wav" / f"{name}.wav")
    other = unicodedata.normalize("NFD" if form == "NFC" else "NFC", "Zürich")
    rows = SOUND.format("a", "a").replace("wav/a1", f"wav/{other}")
    corpus = load(write(folder, "file,label,speaker,session\n" + rows), folder)
    assert len(corpus.table) == 4
    assert "manifest/wav/Zürich" in set(corpus.table["id"])


def test_whole_paths_are_the_same_clips_as_paths_from_the_table(
    folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    link = tmp_path_factory.mktemp("other") / "link"
    link.symlink_to(folder)
    text = "file,label,speaker,session\n" + SOUND.format("a", "a")
    plain = load(write(folder, text), folder)
    for place in (folder, link):
        whole = write(folder, text.replace("wav/", f"{place}/wav/"), "whole.csv")
        for root in (whole, link / whole.name):
            assert load(root, folder).fingerprint == plain.fingerprint
    assert plain.table["id"].tolist()[0].startswith("manifest/wav/")


def test_one_file_under_two_spellings_is_told(folder: Path) -> None:
    (folder / "link").symlink_to(folder / "wav")
    rows = SOUND.format("a", "a") + "./wav/a1.wav,angry,a,1\nlink/a2.wav,sad,a,1\n"
    said = problems(write(folder, "file,label,speaker,session\n" + rows), folder)
    assert "Row 6 of" in said
    assert "(./wav/a1.wav) names the same file as row 2" in said
    assert "(link/a2.wav) names the same file as row 3" in said


def test_two_files_of_one_id_are_told(folder: Path) -> None:
    (folder / "manifest" / "wav").mkdir(parents=True)
    (folder / "wav" / "b3.wav").rename(folder / "manifest" / "wav" / "a1.wav")
    rows = SOUND.format("a", "a") + "manifest/wav/a1.wav,angry,b,1\n"
    said = problems(write(folder, "file,label,speaker,session\n" + rows), folder)
    assert "Row 6 of" in said
    assert "has the id manifest/wav/a1.wav, as row 2 has already" in said


def test_backslashes_separate_folders(folder: Path) -> None:
    rows = SOUND.format("a", "a")
    plain = load(write(folder, "file,label,speaker,session\n" + rows), folder)
    slanted = rows.replace("wav/", "wav\\")
    corpus = load(write(folder, "file,label,speaker,session\n" + slanted), folder)
    assert corpus.fingerprint == plain.fingerprint


def test_labels_that_look_like_none_are_told_and_one_key_decides(folder: Path) -> None:
    rows = SOUND.format("a", "a") + "wav/b3.wav,None,b,2\n"
    path = write(folder, "file,label,speaker,session\n" + rows)
    raw = corpora.known()["manifest"].read(path, options={}, seed=0, home=folder, progress=None)
    assert raw.table["label"].tolist()[-1] == "None", "and not neutral"
    (note,) = raw.notes
    assert "1 clips have the label 'None'" in note
    assert "corpus.options.missing=[None]" in note
    corpus = load(path, folder, options={"missing": ["None"]})
    assert corpus.table["label"].tolist()[-1] == ""
    assert corpus.classes == ("sad", "angry")
    assert not any("looks like none" in line for line in corpus.notes)


def test_labels_that_differ_in_spelling_alone_are_told(folder: Path) -> None:
    rows = SOUND.format("a", "a").replace("b1.wav,angry", "b1.wav,Amused")
    path = write(folder, "file,label,speaker,session\n" + rows + "wav/b3.wav,amused,b,2\n")
    raw = corpora.known()["manifest"].read(path, options={}, seed=0, home=folder, progress=None)
    (note,) = raw.notes
    assert "'Amused' and 'amused' are different classes" in note


def test_columns_of_other_names(folder: Path) -> None:
    rows = SOUND.format("a", "a")
    plain = load(write(folder, "file,label,speaker,session\n" + rows), folder)
    path = write(folder, "path,emotion,speaker_id,session\n" + rows)
    said = problems(path, folder)
    hint = "corpus.options.columns={file: path, speaker: speaker_id, label: emotion}?"
    assert hint in said
    columns = {"file": "path", "speaker": "speaker_id", "label": "Emotion"}
    corpus = load(path, folder, options={"columns": columns})
    assert corpus.fingerprint == plain.fingerprint
    said = problems(path, folder, options={"columns": {"label": "mood"}})
    assert "names 'mood', which is no column" in said
    assert "must be a mapping" in problems(path, folder, options={"columns": "label"})


def test_columns_that_are_not_used_are_named_once(folder: Path) -> None:
    rows = SOUND.format("a", "a")
    corpus = load(write(folder, "file,label,speaker,gender\n" + rows), folder)
    assert [n for n in corpus.notes if "not used" in n] == [
        "manifest: columns of the manifest that are not used: gender; is it "
        "corpus.options.columns={sex: gender}?"
    ]


def test_attributes_of_speakers_are_kept_and_change_no_fingerprint(folder: Path) -> None:
    rows = SOUND.format("a", "a")
    plain = load(write(folder, "file,label,speaker,x\n" + rows), folder)
    corpus = load(write(folder, "file,label,speaker,sex\n" + rows), folder)
    assert list(corpus.attributes.columns) == ["sex"]
    assert sorted(corpus.attributes["sex"]) == sorted(
        row.split(",")[3] for row in rows.splitlines()
    )
    assert corpus.fingerprint == plain.fingerprint
    assert not any("not used" in note for note in corpus.notes)


def test_segments_of_one_file_are_clips_of_their_own(folder: Path) -> None:
    import soundfile

    data, _ = soundfile.read(folder / "wav" / "a1.wav", dtype="int16")
    rows = "a1.wav,0,0.1,x,ann\na1.wav,0.1,,y,ann\na1.wav,0 days 00:00:00.05,00:00:00.2,y,ben\n"
    table = write(folder / "wav", "file,start,end,label,speaker\n" + rows + "a2.wav,,,x,ben\n")
    corpus = load(table, folder)
    clips = corpus.table.set_index("id")
    assert clips["part"].to_dict() == {
        "manifest/a1@0-0.1": "t=0,0.1",
        "manifest/a1@0.1-": "t=0.1,",
        "manifest/a1@0.05-0.2": "t=0.05,0.2",
        "manifest/a2": "",
    }
    assert clips["seconds"].round(6).to_dict() == {
        "manifest/a1@0-0.1": 0.1,
        "manifest/a1@0.1-": 0.15,
        "manifest/a1@0.05-0.2": 0.15,
        "manifest/a2": 0.25,
    }
    assert [note for note in corpus.notes if "overlap" in note] == [
        "manifest: 2 segments overlap another of their file (manifest/a1@0.05-0.2 with "
        "manifest/a1@0-0.1): the same sound is then in two clips, and may be in two parts of a "
        "fold."
    ]
    sound = places.clip_bytes(clips["path"]["manifest/a1@0.05-0.2"], "t=0.05,0.2")
    heard, _ = soundfile.read(io.BytesIO(sound), dtype="int16")
    np.testing.assert_array_equal(heard, data[800:3200])
    assert clips["audio"]["manifest/a1@0.05-0.2"] == hashlib.sha256(sound).hexdigest()
    again = write(folder / "wav", "file,start,end,label,speaker\n" + rows + "a1.wav,0,.1,x,b\n")
    assert "names the same segment as row 2" in problems(again, folder)
    late = write(folder / "wav", "file,start,end,label,speaker\n" + rows + "a1.wav,0.2,9,x,b\n")
    assert "is not in the file, which has 0.25 s" in problems(late, folder)
    wrong = write(folder / "wav", "file,start,end,label,speaker\n" + rows + "a1.wav,a,9,x,b\n")
    assert "has the time 'a'" in problems(wrong, folder)


def test_a_folder_and_a_file_in_it_may_have_different_forms(folder: Path) -> None:
    place = folder / unicodedata.normalize("NFD", "größe")
    (folder / "wav").rename(place)
    for name in FILES:
        (place / f"{name}.wav").rename(place / unicodedata.normalize("NFC", f"ö{name}.wav"))
    rows = "".join(f"größe/ö{name}.wav,{'sad' if name[1] == '1' else 'angry'},{name[0]}\n"
                   for name in FILES)  # fmt: skip
    assert len(load(write(folder, f"file,label,speaker\n{rows}"), folder).table) == 5


def test_labels_and_votes_of_one_class_and_of_none_are_told(folder: Path) -> None:
    rows = zip(FILES, ("Joy", "happiness", "sad", "sad", "sad"), strict=True)
    text = "".join(f"wav/{n}.wav,{label},{n[0]},{label}:2;nan:1\n" for n, label in rows)
    path = write(folder, f"file,label,speaker,votes\n{text}")
    notes = " ".join(load(path, folder).notes)
    assert "the labels 'Joy', 'happiness' are one class, 'happy'" in notes
    assert "5 clips have the label 'nan', which looks like none" in notes
    corpus = load(path, folder, options={"missing": ["nan"]})
    assert "looks like none" not in " ".join(corpus.notes)
    assert corpus.outside is None or not corpus.outside.any()


def test_a_check_counts_what_it_leaves_out(folder: Path) -> None:
    (folder / "wav" / "notes.txt").touch()
    (folder / "wav" / "c1.wav").write_bytes((folder / "wav" / "a1.wav").read_bytes())
    rows = "wav/a1.wav,angry,a\nwav/a2.wav,sad,a\nwav/b1.wav,bored,b\nwav/b2.wav,,b\n"
    path = write(folder, f"file,label,speaker\n{rows}wav/b3.wav,sad,\nwav/x.wav,sad,b\n")
    check = corpora.check(
        ["manifest"], root={"manifest": str(path)}, home=folder, classes=["angry", "sad"]
    )
    assert check.omissions == (
        "manifest: not counted as clips with a class: 1 rows with faults; 1 clips whose files are "
        "missing; 1 clips without a label; 1 clips of other classes (bored 1); 2 sound files "
        "beside them that are no clips of it; 1 files beside them that are not read (.txt 1)",
    )


def test_more_than_five_equal_faults_keep_their_cause(folder: Path) -> None:
    rows = "".join(f'wav/{n}.wav,x,s,"{i},5"\n' for i, n in enumerate((*FILES, "c1", "c2")))
    text = problems(write(folder, f"file,label,speaker,start\n{rows}"), folder)
    assert "7 rows have faults" in text
    assert "a row has the time '0,5', which is neither seconds (1.25) nor a duration (1)" in text


def test_ratings_of_no_clip_and_ratings_twice_are_told(folder: Path) -> None:
    path = write(folder, WHOLE.replace(",votes", ",x"))
    rows = "".join(f"wav/{name}.wav,r1,sad\n" for name in FILES[:4])
    columns = {"rater": "annotator", "rating": "emotion"}

    def notes(text: str) -> str:
        write(folder, f"file,annotator,emotion\n{text}", "r.csv")
        options = {"ratings": "r.csv", "columns": columns}
        return " ".join(load(path, folder, options=options).notes)

    assert "4 ratings are there twice" in notes(rows * 2)
    assert "2 of 6 ratings are of no clip that is used" in notes(
        f"{rows}x.wav,r,sad\ny.wav,r,sad\n"
    )
    assert "none of the 1 ratings is of a clip" in notes("x.wav,r,sad\n")
    write(folder, "file,annotator,emotion\nwav/a1.wav,r,sad\n", "r.csv")
    text = problems(path, folder, options={"ratings": "r.csv"})
    assert "corpus.options.columns={rater: annotator, rating: emotion}?" in text


def test_words_for_nothing_are_told_and_one_key_holds_for_all_columns(folder: Path) -> None:
    rows = "".join(f"wav/{n}.wav,{c},{n[0]},nan,nan,nan\n"
                   for n, c in zip(FILES[:4], ("sad", "angry") * 2, strict=True))  # fmt: skip
    path = write(folder, f"file,label,speaker,session,transcript,valence\n{rows}")
    notes = " ".join(load(path, folder).notes)
    assert "4 clips have the session 'nan', which looks like none" in notes
    assert "4 clips have the transcript 'nan', which looks like none" in notes
    table = load(path, folder, options={"missing": ["nan"]}).table
    assert set(table["session"]) == set(table["transcript"]) == {""}


def test_a_manifest_in_other_letters_and_the_tables_that_lie_there_instead(folder: Path) -> None:
    write(folder, WHOLE, "list.csv")
    assert "has list.csv" in problems(folder, folder)
    write(folder, WHOLE, "Manifest.CSV")
    assert len(load(folder, folder).table) == 4
