"""What every corpus keeps to. Inherit `CorpusContract` and give it a fixture `case`."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from raysearch.data import corpora
from raysearch.data.corpora.corpus import RAW_COLUMNS, TABLE_COLUMNS
from raysearch.errors import BadInput
from raysearch.stages.folds import divide
from tests.support.trees import savee


@dataclass(frozen=True)
class CorpusCase:
    """A corpus to be tested: three speakers or more, and four clips or more, that may be harmed."""

    name: str
    root: Path
    """its folder, in a folder of its own"""
    home: Path
    finds: bool = True
    """its reader looks for the corpus below the folder too"""

    @property
    def info(self) -> corpora.CorpusInfo:
        return corpora.known()[self.name]

    @property
    def labelled(self) -> bool:
        return bool(self.info.classes) or self.name in (
            "manifest",
            "audformat",
            "huggingface",
            "emobox",
        )

    def read(self) -> corpora.Raw:
        """What the reader gives."""
        return self.info.read(self.root, options={}, seed=0, home=self.home, progress=None)

    def check(self) -> corpora.CorpusCheck:
        return corpora.check([self.name], root={self.name: str(self.root)}, home=self.home)

    def load(self, on_bad: str = "stop") -> corpora.Corpus:
        """The corpus as a study has it; one without labels lies beside a small one with labels."""
        root = {self.name: str(self.root)}
        names, unlabelled = [self.name], []
        if not self.labelled:
            beside = self.root.parent / "beside"
            root["savee"] = str(beside if beside.is_dir() else savee(beside))
            names, unlabelled = ["savee"], [self.name]
        return corpora.load(
            names,
            root=root,
            classes=None,
            on_bad="skip" if on_bad == "skip" else "stop",
            unlabelled=unlabelled,
            seed=0,
            home=self.home,
            options={},
        )

    def clips(self) -> list[Path]:
        return sorted(map(Path, self.read().table["path"]))


HARMS: dict[str, Callable[[Path], object]] = {
    "missing": Path.unlink,
    "empty": lambda path: path.write_bytes(b""),
    "unreadable": lambda path: path.write_bytes(b"<!doctype html> this is no sound" * 99),
    "truncated": lambda path: path.write_bytes(path.read_bytes()[:-600]),
}


class CorpusContract:
    """A subclass has a fixture `case`, and so these tests."""

    def test_the_table_has_its_columns_and_nothing_is_empty_that_must_not_be(
        self, case: CorpusCase
    ) -> None:
        table = case.read().table
        assert tuple(table.columns)[: len(RAW_COLUMNS)] == RAW_COLUMNS
        assert len(table) >= 4
        assert all(isinstance(cell, str) for cell in table.to_numpy().ravel())
        assert table["id"].is_unique
        assert table["path"].is_unique
        owners = table["corpus"] + "/"
        assert (table["corpus"] != "").all()
        for column in ("id", "speaker"):
            pairs = list(zip(table[column], owners, strict=True))
            assert pairs
            assert all(cell.startswith(owner) and cell != owner for cell, owner in pairs)
        sessions = [cell for cell in table["session"] if cell]
        assert all("/" in cell and not cell.endswith("/") for cell in sessions)
        assert all(Path(path).is_absolute() and Path(path).is_file() for path in table["path"])

    def test_labels_are_classes_of_the_corpus_in_its_order(self, case: CorpusCase) -> None:
        raw = case.read()
        labels = set(raw.table["label"]) - {""}
        assert labels <= set(raw.classes)
        assert bool(labels) == case.labelled
        assert len(set(raw.classes)) == len(raw.classes)
        assert all(corpora.common_name(name) == name for name in raw.classes)
        if case.info.classes:
            assert raw.classes == case.info.classes

    def test_votes_are_counts_row_for_row_and_ratings_are_of_clips_there(
        self, case: CorpusCase
    ) -> None:
        raw = case.read()
        if raw.votes is not None:
            assert raw.votes.index.equals(raw.table.index)
            counts = raw.votes.to_numpy(dtype=np.float64)
            assert np.isfinite(counts).all()
            assert (counts >= 0).all()
            assert counts.any()
            assert all(corpora.common_name(str(name)) == name for name in raw.votes.columns)
        if raw.ratings is not None:
            assert set(raw.ratings.columns) <= set(corpora.RATING_COLUMNS)
            assert set(raw.ratings["id"]) <= set(raw.table["id"])
            assert (raw.ratings["rater"] != "").all()
            assert (raw.ratings["weight"] >= 0).all()

    def test_what_is_simulated_is_told(self, case: CorpusCase) -> None:
        raw = case.read()
        assert raw.simulated <= {"speech", "votes"}
        assert bool(raw.simulated) == case.name.startswith("demo")
        assert bool(raw.notes) >= bool(raw.simulated)

    def test_a_study_gets_audio_seconds_and_labelled_rows_first(self, case: CorpusCase) -> None:
        corpus = case.load()
        table = corpus.table
        assert tuple(table.columns)[: len(TABLE_COLUMNS)] == TABLE_COLUMNS
        assert isinstance(table.index, pd.RangeIndex)
        assert table["id"].is_unique
        assert table["audio"].str.fullmatch("[0-9a-f]{64}").all()
        assert (table["seconds"] > 0.1).all()
        labelled = corpus.labelled
        assert labelled.any()
        assert (np.sort(labelled)[::-1] == labelled).all()

    def test_it_is_the_same_when_read_again_and_from_another_place(
        self, case: CorpusCase, tmp_path: Path
    ) -> None:
        first = case.load().fingerprint
        assert case.load().fingerprint == first
        moved = tmp_path / "another place"
        shutil.copytree(case.root, moved / "x")
        assert replace(case, root=moved / "x").load().fingerprint == first

    def test_it_is_the_same_one_folder_deeper(self, case: CorpusCase, tmp_path: Path) -> None:
        if not case.finds:
            pytest.skip("its table lies in the folder")
        first = case.load().fingerprint
        deeper = tmp_path / "deeper"
        shutil.copytree(case.root, deeper / "as downloaded")
        assert replace(case, root=deeper).load().fingerprint == first

    def test_no_clip_is_on_two_sides_of_a_fold(self, case: CorpusCase) -> None:
        corpus = case.load()
        folds = divide(corpus.table, corpus.classes, protocol="loso")
        assert len(folds) >= 3
        for fold in folds:
            sides = [fold.train, fold.validation, fold.test]
            speakers = [set(corpus.table["speaker"].iloc[rows]) for rows in sides]
            audio = [set(corpus.table["audio"].iloc[rows]) for rows in sides]
            for one, other in ((0, 1), (0, 2), (1, 2)):
                assert not speakers[one] & speakers[other]
                assert not audio[one] & audio[other]

    def test_a_mac_and_a_desktop_leave_files_that_are_no_clips(self, case: CorpusCase) -> None:
        before = case.load().fingerprint
        clip = case.clips()[0]
        (clip.parent / f"._{clip.name}").write_bytes(b"\x00\x05\x16\x07")
        (clip.parent / ".DS_Store").write_bytes(b"\x00")
        (clip.parent / "Thumbs.db").write_bytes(b"\x00")
        after = case.load()
        assert after.fingerprint == before
        assert not any("._" in note for note in after.notes)

    @pytest.mark.parametrize(
        "harm",
        [  # sound is checked in one place for all corpora; what is missing, each finds for itself
            pytest.param(harm, marks=() if harm in ("missing", "truncated") else pytest.mark.slow)
            for harm in HARMS
        ],
    )
    def test_a_bad_clip_stops_the_study_or_is_left_out(self, case: CorpusCase, harm: str) -> None:
        whole = case.load()
        clip = case.clips()[1]
        (name,) = whole.table["id"][whole.table["path"] == str(clip)]
        HARMS[harm](clip)
        problems = case.check().problems
        if harm == "missing" and not problems_of(problems, name):
            # of a corpus without a list of its clips nothing is missing
            assert len(case.load().table) == len(whole.table) - 1
            return
        assert problems_of(problems, name) == ["missing" if harm == "missing" else harm]
        with pytest.raises(BadInput) as caught:
            case.load()
        assert any(name in problem for problem in caught.value.problems)
        assert "corpus.on_bad=skip" in caught.value.problems[-1]
        part = case.load("skip")
        assert set(part.table["id"]) == set(whole.table["id"]) - {name}
        assert any("corpus.on_bad=skip left out 1 clips or rows" in note for note in part.notes)

    def test_the_same_sound_under_two_labels_or_speakers_is_an_error(
        self, case: CorpusCase
    ) -> None:
        table = case.load().table
        table = table[table["path"].isin(map(str, case.clips()))]
        first = table.iloc[0]
        others = table[(table["speaker"] != first["speaker"]) | (table["label"] != first["label"])]
        if others.empty:
            assert not case.labelled, "a corpus of one class and one speaker"
            return
        shutil.copyfile(first["path"], others.iloc[0]["path"])
        errors = case.check().errors
        assert [problem.kind for problem in errors] == ["conflict", "conflict"]
        assert {problem.utterance for problem in errors} == {first["id"], others.iloc[0]["id"]}

    def test_a_folder_that_is_not_there_is_one_problem(self, case: CorpusCase) -> None:
        if case.info.root == "optional":
            pytest.skip("it makes its folder")
        gone = replace(case, root=case.root / "nowhere")
        with pytest.raises(BadInput, match=r"corpus\.root=.*nowhere does not exist") as caught:
            gone.load()
        assert len(caught.value.problems) == 1

    def test_a_folder_without_the_corpus_says_what_it_must_hold(
        self, case: CorpusCase, tmp_path: Path
    ) -> None:
        if case.info.root == "optional":
            pytest.skip("it makes its folder")
        (tmp_path / "bare").mkdir()
        with pytest.raises(BadInput) as caught:
            replace(case, root=tmp_path / "bare").load()
        (problem,) = caught.value.problems
        assert str(tmp_path / "bare") in problem
        assert "give " in problem, "what to do"

    def test_an_unknown_option_is_one_problem(self, case: CorpusCase) -> None:
        with pytest.raises(BadInput, match=r"corpus\.options\.colour is no option") as caught:
            corpora.check(
                [case.name],
                root={case.name: str(case.root)},
                home=case.home,
                options={"colour": "red"},
            )
        assert len(caught.value.problems) == 1

    def test_counts_that_are_not_the_published_ones_are_noticed(self, case: CorpusCase) -> None:
        info, check = case.info, case.check()
        told = [problem.sentence for problem in check.notices if problem.kind == "count"]
        table = case.read().table
        counts = table["label"].value_counts()
        differing = [
            label for label, number in info.published.items() if number != counts.get(label, 0)
        ]
        missing = info.speakers is not None and info.speakers != table["speaker"].nunique()
        assert len(told) == len(differing) + missing
        assert all(sentence.endswith("are published.") for sentence in told)
        assert set(info.published) <= {*info.classes, ""}
        if info.published and not case.name.startswith("demo"):
            assert info.counted, "where the published numbers are from"

    def test_the_list_of_corpora_can_describe_it(self, case: CorpusCase) -> None:
        info = case.info
        assert info.description
        assert info.layout
        assert info.source
        assert all(info.options.values())


def problems_of(problems: tuple[corpora.Problem, ...], clip: str) -> list[str]:
    """The kinds of the errors of one clip."""
    return [p.kind for p in problems if p.utterance == clip and p.severity == "error"]
