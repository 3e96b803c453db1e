"""Levels of attributes as classes, single ratings by rater, and simulated raters with leanings."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import soundfile

from raysearch.data import corpora
from raysearch.data.corpora.corpus_sources import CorpusSource, known
from raysearch.data.corpora.joining import ratings_by_person
from raysearch.data.corpora.readers import ClipRow, clip_table, rating_table
from raysearch.data.corpora.simulate import leanings, simulated
from raysearch.data.corpora.tasks import LEVELS, as_task
from raysearch.data.rules import Task, Votes
from raysearch.errors import BadInput

NAN = np.nan


def raw(ratings: list[tuple[Any, ...]]) -> corpora.Raw:
    clips = dict.fromkeys(row[0] for row in ratings)
    table = clip_table([ClipRow(c, f"/{c}.wav", "c", "c/s", "", "angry", "") for c in clips])
    return corpora.Raw(table, ("angry",), None, rating_table(ratings))


def corpus_of(ratings: list[tuple[Any, ...]], classes: tuple[str, ...]) -> corpora.Corpus:
    one = raw(ratings)
    return corpora.Corpus(one.table.assign(audio="", seconds=1.0), classes, ratings=one.ratings)


def test_below_three_is_low_three_is_middle_and_above_is_high() -> None:
    given = [1, 2, 2.5, 3, 3.5, 4, 5, NAN]
    rows = [("u", f"r{i}", "", 0.0, v, 6 - v, NAN, False) for i, v in enumerate(given)]
    found = as_task("c", raw(rows), Task(name="valence"))
    assert found.ratings is not None
    assert found.ratings["label"].tolist() == ["low"] * 3 + ["middle"] + ["high"] * 3
    assert found.ratings["weight"].tolist() == [1.0] * 7
    assert found.classes == LEVELS
    assert found.votes is not None
    assert found.votes.to_dict("records") == [{"high": 3.0, "low": 3.0, "middle": 1.0}]
    assert found.table["label"].tolist() == [""]
    wide = as_task("c", raw(rows), Task(name="valence", low=2, high=4)).ratings
    assert wide is not None
    assert wide["label"].tolist() == ["low"] + ["middle"] * 5 + ["high"]
    other = as_task("c", raw(rows), Task(name="activation")).ratings
    assert other is not None
    assert other["label"].tolist() == ["high"] * 3 + ["middle"] + ["low"] * 3


def test_categories_are_left_as_they_are_and_what_is_missing_is_told() -> None:
    one = raw([("u", "r", "angry", 1.0, NAN, NAN, NAN, False)])
    assert as_task("c", one, Task()) is one
    with pytest.raises(BadInput, match="task=valence needs raters' valence, and c has none"):
        as_task("c", one, Task(name="valence"))


def test_self_ratings_are_ratings_and_no_votes_of_a_level() -> None:
    rows = [("u", "r", "", 0.0, 5.0, NAN, NAN, False), ("u", "s", "", 0.0, 1.0, NAN, NAN, True)]
    found = as_task("c", raw(rows), Task(name="valence"))
    assert found.votes is not None
    assert found.votes.to_dict("records") == [{"high": 1.0}]
    assert found.ratings is not None
    assert found.ratings["rater"].tolist() == ["r", "s"]


def test_a_rater_gives_one_class_the_heaviest() -> None:
    rows = [
        ("u1", "b", "angry", 1.0, NAN, NAN, NAN, False),
        ("u1", "a", "sad", 0.5, NAN, NAN, NAN, True),
        ("u1", "a", "angry", 0.2, NAN, NAN, NAN, True),
        ("u1", "a", "angry", 0.4, NAN, NAN, NAN, True),
        ("u2", "a", "sad", 1.0, NAN, NAN, NAN, False),
        ("u2", "a", "angry", 1.0, NAN, NAN, NAN, False),
        ("u2", "b", "", 0.0, NAN, NAN, NAN, False),
    ]
    found = corpora.by_rater(corpus_of(rows, ("angry", "sad")))
    assert found is not None
    assert found.raters == ("a", "b")
    assert found.codes.tolist() == [[0, 0], [-1, -1]]
    assert found.own.tolist() == [[True, False], [False, False]]
    assert found.unclear == 1
    assert found.counts() == {"b": 1, "a": 0}
    assert corpora.by_rater(corpora.Corpus(pd.DataFrame({"id": ["u"]}), ("a",))) is None


def test_a_manifest_of_attributes_alone(tmp_path: Path) -> None:
    for i in range(8):
        noise = np.random.default_rng(i).uniform(-0.3, 0.3, 3200)
        soundfile.write(tmp_path / f"{i}.wav", noise, 16_000)
    given = (1, 3, 5, 4)
    rows = [(f"{i}.wav", f"s{i // 4}", r, given[(i + r) % 4]) for i in range(8) for r in (0, 1)]
    bare = [(file, speaker, "", "") for file, speaker, *_ in rows[::2]]
    for name, clips in (("one.csv", rows), ("clips.csv", bare)):
        with (tmp_path / name).open("w", newline="") as file:
            csv.writer(file).writerows([("file", "speaker", "rater", "valence"), *clips])
    with (tmp_path / "ratings.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("file", "speaker", "rater", "valence"), *rows])
    plain = (tmp_path / "clips.csv").read_text().replace(",rater,valence", ",x,y")
    (tmp_path / "clips.csv").write_text(plain)
    found = []
    for options in ({"csv": "one.csv"}, {"csv": "clips.csv", "ratings": "ratings.csv"}):
        corpus = corpora.load(
            ["manifest"],
            root={"manifest": str(tmp_path)},
            classes=None,
            on_bad="stop",
            unlabelled=(),
            seed=0,
            home=tmp_path / "home",
            options=options,
            task=Task(name="valence"),
            per_rater=True,
        )
        ratings = corpora.by_rater(corpus)
        assert ratings is not None
        assert corpus.classes == LEVELS
        order = np.argsort(corpus.table["id"].to_numpy(dtype=str))
        found.append(ratings.codes[order].tolist())
        assert (
            corpus.table["label"].tolist().count("high") == 2
        )  # raters give 5 and 4 there: low and middle lead nowhere
    assert found[0] == found[1]
    levels = {1: 0, 3: 1, 5: 2, 4: 2}
    wanted = [[levels[given[(i + r) % 4]] for r in (0, 1)] for i in range(8)]
    assert found[0] == wanted


def emodb() -> corpora.Raw:
    names = ("neutral", "happy", "sad", "angry")
    rows = [ClipRow(f"c/{i}", f"/{i}.wav", "c", "c/s", "", names[i % 4], "") for i in range(400)]
    return corpora.Raw(clip_table(rows), names)


def test_without_bias_raters_are_the_same_as_before_there_was_any() -> None:
    votes = Votes(source="simulate")
    plain = simulated("c", emodb(), votes).ratings
    attributes = simulated("c", emodb(), votes, attributes=True).ratings
    assert plain is not None
    assert attributes is not None
    assert plain["valence"].isna().all()
    assert attributes["label"].tolist() == plain["label"].tolist()
    assert attributes["rater"].tolist() == plain["rater"].tolist()
    assert set(attributes["valence"]) <= {1.0, 2.0, 3.0, 4.0, 5.0}
    by_class = attributes.groupby("label")["valence"].mean()
    assert by_class["happy"] > by_class["neutral"] > by_class["sad"]
    calm = attributes.groupby("label")["activation"].mean()
    assert calm["angry"] > calm["neutral"] > calm["sad"]


def test_a_leaning_is_the_raters_own_and_lasts() -> None:
    votes = Votes(source="simulate", bias=1.5, ambiguous=0.0, accuracy=0.5, spread=0.0)
    made = simulated("c", emodb(), votes)
    assert made.ratings is not None
    assert any("a bias of 1.5 each" in note for note in made.notes)
    assert made.simulated == {"votes"}
    odds, offsets = leanings(votes, 4)
    names = ("neutral", "happy", "sad", "angry")
    counts = made.ratings.groupby(["rater", "label"]).size().unstack(fill_value=0)[list(names)]
    share = counts.div(counts.sum(axis=1), axis=0).to_numpy()
    # who leans most to a class names it most: over the raters, leaning and share go together
    for place in range(4):
        lean = odds[:, place] - np.delete(odds, place, axis=1).mean(axis=1)
        assert np.corrcoef(lean, share[:, place])[0, 1] > 0.8
    assert offsets.shape == (12, 2)
    half = simulated("c", corpora.Raw(emodb().table[:200], names), votes).ratings
    assert half is not None
    both = made.ratings[made.ratings["id"].isin(set(half["id"]))].reset_index(drop=True)
    pd.testing.assert_frame_equal(both, half, check_dtype=False)


def test_real_raters_of_two_corpora_are_different_people_and_simulated_ones_the_same() -> None:
    info = known()["emodb"]

    def rated(name: str, simulated_votes: bool) -> CorpusSource:
        one = raw([(f"{name}/u", "r1", "angry", 1.0, NAN, NAN, NAN, False)])
        marks = frozenset({"votes"} if simulated_votes else ())
        return CorpusSource(
            name, info, corpora.Raw(one.table, one.classes, None, one.ratings, simulated=marks)
        )

    people = ratings_by_person([rated("x", False), rated("y", False)])
    assert [frame["rater"].tolist() for frame in people] == [["x/r1"], ["y/r1"]]
    simulated = ratings_by_person([rated("x", True), rated("y", True)])
    assert [frame["rater"].tolist() for frame in simulated] == [["r1"], ["r1"]]
