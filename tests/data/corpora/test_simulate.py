"""Simulated raters: their stated model, what a clip's votes depend on, and that all says so."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from raysearch.data import corpora
from raysearch.data.corpora.corpus import Raw
from raysearch.data.corpora.readers import ClipRow, clip_table
from raysearch.data.corpora.simulate import PLANE, confusions, rater_accuracies, simulated
from raysearch.data.rules import Votes
from raysearch.errors import BadInput
from raysearch.study import load_study

CLASSES = ("neutral", "happy", "sad", "angry")


def raw(clips: int, classes: tuple[str, ...] = CLASSES, name: str = "toy") -> Raw:
    rows = [
        ClipRow(f"{name}/{i}", f"/{i}.wav", name, f"{name}/s", "", classes[i % len(classes)], "")
        for i in range(clips)
    ]
    return Raw(clip_table(rows), classes)


def votes(**settings: Any) -> Votes:
    return Votes(source="simulate", **settings)


def shares(found: Raw) -> np.ndarray:
    """[K, K]: how the votes for each true class divide."""
    assert found.votes is not None
    by = found.votes.groupby(found.table["label"]).sum()
    table = by.reindex(index=list(CLASSES), columns=list(CLASSES)).to_numpy()
    return np.asarray(table / table.sum(axis=1, keepdims=True))


def test_votes_follow_the_stated_model() -> None:
    model = votes(raters=6, pool=6, accuracy=0.7, spread=0.0, ambiguous=0.3)
    found = shares(simulated("toy", raw(8000), model))
    weights = confusions(CLASSES, model)
    slip = weights / weights.sum(axis=1, keepdims=True)
    heard = 0.7 * np.eye(4) + 0.3 * slip  # of raters who take a class for what is expressed
    expected = 0.85 * heard + 0.15 * slip @ heard  # half the raters of 30 % take the second class
    # 12,000 votes a row, of 2000 clips: a standard error of a point at most
    assert np.abs(found - expected).max() < 0.015


def test_ambiguous_clips_divide_their_raters() -> None:
    clear = simulated("toy", raw(400), votes(accuracy=1.0, spread=0.0, ambiguous=0.0))
    assert clear.votes is not None
    assert corpora.vote_partition(clear.votes.to_numpy()).unanimous == 400
    between = simulated("toy", raw(400), votes(accuracy=1.0, spread=0.0, ambiguous=1.0))
    assert between.votes is not None
    kinds = corpora.vote_partition(between.votes.to_numpy())
    # each of 4 raters takes one of two classes: 1/8 agree, 3/8 tie
    assert abs(kinds.unanimous - 50) < 25
    assert abs(kinds.tie - 150) < 40
    assert kinds.plurality == 0


def test_each_clip_is_heard_by_so_many_different_raters() -> None:
    model = votes(raters=3, pool=5)
    found = simulated("toy", raw(50), model)
    assert found.ratings is not None
    assert found.votes is not None
    assert (found.votes.sum(axis=1) == 3).all()
    assert (found.ratings.groupby("id")["rater"].nunique() == 3).all()
    assert set(found.ratings["rater"]) == {f"sim{i:02d}" for i in range(1, 6)}
    assert found.simulated == {"votes"}
    assert "simulated" in found.notes[-1]
    counted = found.ratings.groupby(["id", "label"])["weight"].sum()
    for (clip, label), count in counted.items():
        row = found.table.index[found.table["id"] == clip][0]
        assert found.votes.loc[row, label] == count


def test_raters_differ_as_spread_says() -> None:
    good = rater_accuracies(votes(pool=500, raters=4, accuracy=0.6, spread=0.2))
    assert good.min() > 0.4
    assert good.max() < 0.8
    assert good.std() == pytest.approx(0.4 / np.sqrt(12), rel=0.1)
    assert rater_accuracies(votes(pool=50, accuracy=0.95, spread=0.2)).max() == 1.0


def test_a_clips_votes_depend_on_its_id_seed_and_label_alone() -> None:
    whole = simulated("toy", raw(60), votes())
    part = raw(60)
    some = simulated("toy", Raw(part.table.iloc[20:40][::-1], part.classes), votes())
    assert whole.ratings is not None
    assert some.ratings is not None
    kept = whole.ratings[whole.ratings["id"].isin(some.ratings["id"])]
    assert set(map(tuple, kept[["id", "rater", "label"]].to_numpy())) == set(
        map(tuple, some.ratings[["id", "rater", "label"]].to_numpy())
    )
    again = simulated("toy", raw(60), votes()).ratings
    pd.testing.assert_frame_equal(whole.ratings, again)
    other = simulated("toy", raw(60), votes(seed=1)).ratings
    assert other is not None
    assert not whole.ratings["label"].equals(other["label"])


def test_confusions() -> None:
    near = confusions(("angry", "fearful", "sad"), votes())
    assert (np.diag(near) == 0).all()
    assert near[0, 1] > near[0, 2], "anger is nearer to fear than to sadness"
    assert near[0, 1] == pytest.approx(np.exp(-0.02 / 0.72))
    assert (near == near.T).all()
    strange = confusions(("angry", "sad", "aloof"), votes())
    assert strange[2, 0] == strange[0, 2] == pytest.approx(near[0, 2])
    even = confusions(CLASSES, votes(confusions="even"))
    assert (even == 1 - np.eye(4)).all()
    given = votes(confusions={"anger": {"sad": 2, "happy": 1}})
    assert confusions(CLASSES, given)[3].tolist() == [0, 1, 2, 0]
    assert (confusions(CLASSES, given)[:3] == confusions(CLASSES, votes())[:3]).all()
    assert set(PLANE) >= set(CLASSES)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"anger": {"sadd": 1}}, r"'sadd', which the corpus has not \(did you mean 'sad'\?\)"),
        ({"angry": {"sad": -1}}, "numbers of 0 or more"),
        ({"angry": {"sad": 0}}, "one of them above 0"),
        ({"angry": {"angry": 1}}, "one of them above 0"),
        ({"angry": {"sad": "much"}}, "numbers of 0 or more"),
    ],
)
def test_confusions_that_are_none(given: Any, said: str) -> None:
    with pytest.raises(BadInput, match=said):
        simulated("toy", raw(8), votes(confusions=given))


def test_who_has_votes_gets_no_others() -> None:
    once = simulated("toy", raw(8), votes())
    with pytest.raises(BadInput, match=r"but toy has votes \(simulated ones\): leave votes= out"):
        simulated("toy", once, votes())
    real = Raw(once.table, once.classes, once.votes)
    with pytest.raises(BadInput, match="but toy has votes of real raters"):
        simulated("toy", real, votes())
    with pytest.raises(BadInput, match="has only sad"):
        simulated("toy", raw(8, ("sad",)), votes())


def load(names: list[str], data: Path, home: Path, **other: Any) -> corpora.Corpus:
    keywords: dict[str, Any] = {
        "root": {name: str(data / name) for name in names},
        "classes": None,
        "on_bad": "stop",
        "unlabelled": (),
        "seed": 0,
        "home": home,
        "options": {},
    }
    return corpora.load(names, **{**keywords, **other})


def test_emodb_with_simulated_votes(shared_data: Path, tmp_path: Path) -> None:
    bare = load(["emodb"], shared_data, tmp_path)
    corpus = load(["emodb"], shared_data, tmp_path, votes=votes())
    assert corpus.simulated == {"votes"}
    assert corpus.votes is not None
    assert (corpus.votes.sum(axis=1) == 4).all()
    assert corpus.sets is not None
    assert min(corpus.sets.counts[name] for name in "ABC") > 50
    assert (corpora.plurality(corpus.votes) == corpus.codes).mean() > 0.6
    assert any("the votes are simulated" in note for note in corpus.notes)
    prints = {bare.fingerprint, corpus.fingerprint}
    prints.add(load(["emodb"], shared_data, tmp_path, votes=votes(seed=1)).fingerprint)
    assert len(prints) == 3, "whoever draws other raters has another corpus"
    four = load(["emodb"], shared_data, tmp_path, votes=votes(), classes=list(CLASSES))
    assert four.outside_classes == ("fearful", "disgust", "bored")
    assert four.outside is not None
    assert four.votes is not None
    assert ((four.votes.sum(axis=1) + four.outside.sum(axis=1)) == 4).all()
    assert four.outside.sum() > 0


def test_labels_that_follow_the_votes(shared_data: Path, tmp_path: Path) -> None:
    corpus = load(["emodb"], shared_data, tmp_path, votes=votes(labels="votes"))
    assert corpus.votes is not None
    assert (corpora.plurality(corpus.votes) == corpus.codes).all()
    assert corpus.sets is not None
    assert ((corpus.codes < 0) == corpus.sets.where("C")).all()
    assert any("have no label" in note for note in corpus.notes)


def test_real_votes_are_not_drawn_over(shared_data: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="but cremad has votes of real raters"):
        load(["cremad"], shared_data, tmp_path, votes=votes(), on_bad="skip")


def test_a_study_of_simulated_votes_is_another_study(tmp_path: Path) -> None:
    words = ["space=rdlr", "corpus=emodb", "corpus.root=/x"]
    plain = load_study(words, cwd=tmp_path)
    assert "votes" not in plain.identity()
    ids = {plain.id}
    for more in (["votes=simulate"], ["votes=simulate", "votes.raters=5"], ["votes.outside=drop"]):
        study = load_study([*words, *more], cwd=tmp_path)
        assert study.votes.source == study.votes.source
        ids.add(study.id)
    assert len(ids) == 4
    given = load_study(
        [*words, "votes=simulate", "votes.confusions={angry: {sad: 1}}"], cwd=tmp_path
    )
    assert given.votes.confusions == {"angry": {"sad": 1}}
    with pytest.raises(BadInput, match=r"votes.accuracy must be a number from 0 to 1, but got 2"):
        load_study([*words, "votes=simulate", "votes.accuracy=2"], cwd=tmp_path)
    with pytest.raises(BadInput, match=r"votes.source must be corpus or simulate"):
        load_study([*words, "votes=simulated"], cwd=tmp_path)
