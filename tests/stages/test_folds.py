from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raysearch.errors import BadInput
from raysearch.selection import judges_of
from raysearch.stages.folds import Fold, divide

CLASSES = ("angry", "neutral")


def table(speakers: int = 5, clips: int = 4, corpora: int = 1, unlabelled: int = 0) -> pd.DataFrame:
    rows = []
    for c in range(corpora):
        for s in range(speakers):
            for i in range(clips):
                rows.append(
                    {
                        "id": f"c{c}/s{s}-{i}",
                        "corpus": f"c{c}",
                        "speaker": f"c{c}/s{s}",
                        "session": f"{s // 2}",
                        "label": CLASSES[i % 2],
                    }
                )
    for i in range(unlabelled):
        rows.append({"id": f"u/{i}", "corpus": "u", "speaker": "u/0", "session": "", "label": ""})
    return pd.DataFrame(rows)


def check_partition(folds: tuple[Fold, ...], data: pd.DataFrame) -> None:
    labelled = set(np.flatnonzero(data["label"] != ""))
    for fold in folds:
        parts = [set(fold.train), set(fold.validation), set(fold.test)]
        assert set.union(*parts) == labelled
        assert sum(map(len, parts)) == len(labelled)
        assert all(parts)
        assert set(fold.unlabelled) == set(np.flatnonzero(data["label"] == ""))
    tested = np.concatenate([fold.test for fold in folds])
    assert sorted(tested) == sorted(labelled), "every labelled utterance is tested exactly once"


@settings(max_examples=30, deadline=None)
@given(
    speakers=st.integers(3, 7),
    clips=st.integers(4, 8),
    corpora=st.integers(1, 3),
    validation=st.sampled_from(["next", "share"]),
    seed=st.integers(0, 5),
)
def test_loso_keeps_speakers_apart(
    speakers: int, clips: int, corpora: int, validation: str, seed: int
) -> None:
    data = table(speakers, clips, corpora, unlabelled=3)
    folds = divide(data, CLASSES, protocol="loso", validation=validation, seed=seed)  # type: ignore[arg-type]
    check_partition(folds, data)
    who = data["speaker"].to_numpy()
    assert len(folds) == speakers * corpora
    for fold in folds:
        train, val, test = (set(who[rows]) for rows in (fold.train, fold.validation, fold.test))
        assert not (train & val)
        assert not (train & test)
        assert not (val & test)
        assert test == {fold.name} == fold.test_groups
        assert val == fold.val_groups


def test_the_next_speaker_validates() -> None:
    folds = divide(table(4), CLASSES)
    assert [(f.name, *f.val_groups) for f in folds] == [
        ("c0/s0", "c0/s1"),
        ("c0/s1", "c0/s2"),
        ("c0/s2", "c0/s3"),
        ("c0/s3", "c0/s0"),
    ]


def test_leave_one_corpus_out_validates_on_a_share_of_every_other_corpus() -> None:
    data = table(speakers=5, corpora=3)
    folds = divide(data, CLASSES, protocol="loco", share=0.4)
    check_partition(folds, data)
    corpus = data["corpus"].to_numpy()
    who = data["speaker"].to_numpy()
    for fold in folds:
        assert set(corpus[fold.test]) == {fold.name}
        assert set(corpus[fold.validation]) == {"c0", "c1", "c2"} - {fold.name}
        assert not set(who[fold.train]) & set(who[fold.validation])
        for other in set(corpus[fold.validation]):
            assert len(set(who[fold.validation[corpus[fold.validation] == other]])) == 2
        assert fold.test_groups == set(who[fold.test])
    # each other fold validates on speakers of the corpus that a fold holds out
    assert [judges_of(f, folds) for f in range(3)] == [()] * 3


def test_sessions() -> None:
    data = table(6)
    folds = divide(data, CLASSES, protocol="loseso")
    check_partition(folds, data)
    assert [fold.name for fold in folds] == ["c0/0", "c0/1", "c0/2"]


def test_kfold_is_stratified_and_names_its_parts() -> None:
    data = table(3, 20)
    folds = divide(data, CLASSES, protocol="kfold", folds=5)
    check_partition(folds, data)
    labels = data["label"].to_numpy()
    for fold in folds:
        assert (labels[fold.test] == "angry").sum() == 6
        assert fold.test_groups == {fold.name}


def test_kfold_takes_a_seed_of_any_size() -> None:
    data = table(5, 4)
    large = divide(data, CLASSES, protocol="kfold", folds=5, seed=2**32)
    again = divide(data, CLASSES, protocol="kfold", folds=5, seed=2**32)
    check_partition(large, data)
    assert all((a.test == b.test).all() for a, b in zip(large, again, strict=True))


def test_folds_do_not_depend_on_the_order_of_rows() -> None:
    data = table(5)
    shuffled = data.sample(frac=1.0, random_state=0).reset_index(drop=True)
    for one, two in zip(divide(data, CLASSES), divide(shuffled, CLASSES), strict=True):
        assert one.name == two.name
        for part in ("train", "validation", "test"):
            ids = data["id"].to_numpy()[getattr(one, part)]
            other = shuffled["id"].to_numpy()[getattr(two, part)]
            assert set(ids) == set(other)


@pytest.mark.parametrize(
    ("data", "options", "message"),
    [
        (table(1), {}, "at least 3 speakers.*has 1"),
        (table(2), {}, "at least 3 speakers.*has 2"),
        (table(5), {"protocol": "loco"}, "at least 2 corpora.*has 1"),
        (table(5, 4), {"protocol": "kfold", "folds": 50}, "at least 50 clips.*'angry' has 10"),
        (table(5).assign(session=""), {"protocol": "loseso"}, "20 have none"),
    ],
)
def test_what_cannot_be_divided_is_said(
    data: pd.DataFrame, options: dict[str, object], message: str
) -> None:
    with pytest.raises(BadInput, match=message):
        divide(data, CLASSES, **options)  # type: ignore[arg-type]


def test_a_class_that_only_test_and_validation_speakers_have() -> None:
    data = table(4)
    data.loc[(data["speaker"] != "c0/s0") & (data["label"] == "angry"), "label"] = "neutral"
    with pytest.raises(BadInput, match=r"fold 'c0/s0' has no training clip of 'angry'"):
        divide(data, CLASSES)


@settings(max_examples=25, deadline=None)
@given(
    groups=st.integers(6, 8),
    speakers=st.integers(1, 2),
    select=st.integers(0, 2),
    validation=st.sampled_from(["next", "share"]),
)
def test_selection_is_apart_from_all_else_and_counts_as_heard(
    groups: int, speakers: int, select: int, validation: str
) -> None:
    data = table(groups)
    folds = divide(
        data,
        CLASSES,
        validation=validation,  # type: ignore[arg-type]
        speakers=speakers,
        select=select,
    )
    who = data["speaker"].to_numpy()
    for fold in folds:
        sides = [set(who[r]) for r in (fold.train, fold.validation, fold.select, fold.test)]
        assert sum(map(len, sides)) == len(set.union(*sides)) == groups
        assert len(sides[2]) == select
        assert fold.val_groups == sides[1] | sides[2]
        assert list(fold.unseen) == [*fold.select, *fold.test]
        assert set(who[fold.scoring]) == (sides[2] if select else sides[1])
        if validation == "next":
            assert len(sides[1]) == speakers


def test_identical_clips_are_never_on_two_sides() -> None:
    data = table(4).assign(audio=[f"a{i}" for i in range(16)])
    data.loc[5, "audio"] = data.loc[0, "audio"]  # speakers 0 and 1
    with pytest.raises(BadInput, match="1 identical clips on two sides"):
        divide(data, CLASSES)
    twins = table(3, 20).assign(audio=[f"a{i // 2}" for i in range(60)])
    twins["label"] = [CLASSES[i // 2 % 2] for i in range(60)]
    for fold in divide(twins, CLASSES, protocol="kfold", folds=5):
        inside = set(twins["audio"].to_numpy()[fold.test])
        assert not inside & set(twins["audio"].to_numpy()[fold.train])


@pytest.mark.parametrize("protocol", ["loso", "loseso", "loco", "kfold"])
@pytest.mark.parametrize("validation", ["next", "share"])
def test_clips_with_votes_and_no_label_are_of_training_speakers_alone(
    protocol: Any, validation: Any
) -> None:
    rng = np.random.default_rng(1)
    n = 400
    speaker = rng.integers(0, 12, n)
    table = pd.DataFrame(
        {
            "id": [f"u{i:03}" for i in range(n)],
            "speaker": [f"s{s:02}" for s in speaker],
            "session": [f"e{s // 2}" for s in speaker],
            "corpus": [f"c{s // 4}" for s in speaker],
            "label": rng.choice(["a", "b", ""], n),
        }
    )
    voted = rng.random(n) < 0.7
    without = (table["label"] == "").to_numpy()
    folds = divide(
        table, ("a", "b"), protocol=protocol, validation=validation, folds=4, voted=voted
    )
    for fold in folds:
        assert set(fold.unlabelled) <= set(np.flatnonzero(without & ~voted))
        assert set(fold.undecided) <= set(np.flatnonzero(without & voted))
        assert len(fold.undecided)
        assert len(fold.unlabelled)
        if protocol == "kfold":
            continue
        held = table.iloc[np.concatenate([fold.validation, fold.test])]
        extra = np.concatenate([fold.undecided, fold.unlabelled])
        mine = table.iloc[extra]
        assert set(mine["speaker"]).isdisjoint(held["speaker"])
        if protocol in ("loseso", "loco"):
            column = {"loseso": "session", "loco": "corpus"}[protocol]
            assert set(mine[column]).isdisjoint(table.iloc[fold.test][column])
        # nothing else is left out
        free = ~table["speaker"].isin(held["speaker"]).to_numpy() & without
        assert set(np.flatnonzero(free)) == set(extra)


PLANTED = pd.DataFrame(
    [
        ("speaker", "c1", "c1/s2", "0", "x0"),
        ("session", "c1", "c1/new", "1", "x1"),
        ("corpus", "c1", "c1/other", "9", "x2"),
        ("clip", "u", "u/0", "", "a-c1/s2-0"),
        ("free", "u", "u/1", "", "x3"),
    ],
    columns=["id", "corpus", "speaker", "session", "audio"],
).assign(label="")
"""clips without a label: of a speaker, a session and a corpus, and the same clip as speaker c1/s2's
under another name; the last is of none of them"""


@pytest.mark.parametrize("voted", [False, True], ids=["unlabelled", "undecided"])
@pytest.mark.parametrize("validation", ["next", "share"])
@pytest.mark.parametrize(
    ("protocol", "reach"),
    [
        ("loso", {"speaker", "clip"}),
        ("loseso", {"speaker", "session", "clip"}),
        ("loco", {"speaker", "session", "corpus", "clip"}),
        ("kfold", {"clip"}),
    ],
)
def test_planted_clips_of_what_is_held_out_are_in_no_stream_that_trains(
    protocol: Any, reach: set[str], validation: Any, voted: bool
) -> None:
    data = table(6, corpora=2)
    data = pd.concat([data.assign(audio="a-" + data["id"]), PLANTED], ignore_index=True)
    votes = np.full(len(data), voted)
    folds = divide(
        data, CLASSES, protocol=protocol, validation=validation, folds=4, select=1, voted=votes
    )
    part = "undecided" if voted else "unlabelled"
    tested = [fold for fold in folds if "c1/s2-0" in set(data["id"].to_numpy()[fold.test])]
    assert len(tested) == 1
    names = set(data["id"].to_numpy()[getattr(tested[0], part)])
    assert names == set(PLANTED["id"]) - reach
    judged = [
        fold
        for fold in folds
        if "c1/s2-0" in set(data["id"].to_numpy()[[*fold.validation, *fold.select]])
    ]
    assert judged or protocol == "loco" or validation == "share"
    streams = [set(data["id"].to_numpy()[getattr(fold, part)]) for fold in judged]
    assert not [names for names in streams if names & (reach - {"session", "corpus"})]
    free = [set(data["id"].to_numpy()[getattr(fold, part)]) for fold in folds]
    assert all("free" in names for names in free)
    assert any("clip" in names for names in free), "other folds keep it"


@settings(max_examples=40, deadline=None)
@given(
    protocol=st.sampled_from(["loso", "loseso", "loco", "kfold"]),
    seed=st.integers(0, 50),
)
def test_a_fold_trains_on_no_unlabelled_clip_of_what_it_holds_out(protocol: str, seed: int) -> None:
    """Against the rule in plain words, on names that collide: clips, speakers, sessions."""
    rng = np.random.default_rng(seed)
    data = table(8, 8, corpora=3)
    data["audio"] = data["id"]
    data["session"] = data["corpus"] + "-" + data["session"]
    extra = data.iloc[rng.choice(len(data), 25, replace=False)].copy()
    extra["label"], extra["id"] = "", [f"extra/{i}" for i in range(25)]
    stranger = rng.random(25) < 0.5
    extra.loc[stranger, "speaker"] = "u/nobody"
    extra.loc[rng.random(25) < 0.5, "audio"] = "a sound of its own"
    extra.loc[rng.random(25) < 0.3, ["corpus", "session"]] = ["u", ""]
    data = pd.concat([data, extra], ignore_index=True)
    group = {"loseso": data["corpus"] + "/" + data["session"], "loco": data["corpus"]}.get(protocol)
    some = 0
    for fold in divide(data, CLASSES, protocol=protocol, folds=4, seed=seed):  # type: ignore[arg-type]
        rows = [fold.test] if protocol == "loco" else [fold.test, fold.validation, fold.select]
        held = data.iloc[np.concatenate([fold.test, fold.validation, fold.select])]
        apart = set() if group is None else set(group.iloc[np.concatenate(rows)])
        expected = [
            row
            for row in np.flatnonzero(data["label"] == "")
            if data["audio"][row] not in set(held["audio"])
            and (protocol == "kfold" or data["speaker"][row] not in set(held["speaker"]))
            and (group is None or group[row] not in apart)
        ]
        assert fold.unlabelled.tolist() == expected
        some += len(expected)
    assert some > 0
