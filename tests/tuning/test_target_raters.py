"""Target raters: the folds they get, what is handed to whom, keys, scores, and bad input."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from raysearch.errors import BadInput
from raysearch.selection import estimates
from raysearch.stages import Dataset, Moments, Runtime, calls, inputs_of
from raysearch.stages.folds import Fold
from raysearch.study import load_study
from raysearch.study.space import NAME
from raysearch.tuning.prepare import StudyInputs, prepare
from trainables.stage import Artifact, Sequences

NOTHING = [Artifact({}, {})]
"""in place of a parent that is not looked at"""

RATERS = ("E1", "E2", "E3", "E4")
CLIPS = 6  # a speaker


def rated(change: Callable[[str, int, dict[str, int]], None] | None = None) -> list[dict[str, Any]]:
    """One row a rating, in IEMOCAP's shape: five sessions of two actors, who rate one another.

    Three of four observers rate each clip, a fifth a single one, and the actors of the session.
    """
    rows = []
    for session in range(1, 6):
        for sex in "FM":
            for clip in range(CLIPS):
                number = len({row["file"] for row in rows})
                said = {
                    name: 1 + (number + 2 * place) % 5
                    for place, name in enumerate(RATERS)
                    if place != number % 4
                }
                said |= {f"S{session}F": 3, f"S{session}M": 1 + number % 5}
                said |= {"E5": 2} if number == 0 else {}
                name = f"s{session}{sex}{clip}.wav"
                if change is not None:
                    change(name, number, said)
                rows += [
                    {
                        "file": name,
                        "speaker": f"S{session}{sex}",
                        "session": session,
                        "rater": rater,
                        "valence": value,
                        "activation": 6 - value,
                    }
                    for rater, value in said.items()
                ]
    return rows


def write(folder: Path, rows: list[dict[str, Any]]) -> Path:
    folder.mkdir(exist_ok=True)
    for name in {row["file"] for row in rows}:
        if not (folder / name).exists():
            rng = np.random.default_rng(list(name.encode()))
            soundfile.write(folder / name, rng.uniform(-0.3, 0.3, 3200), 16_000)
    with (folder / "manifest.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return folder


WORDS = ("space=corater/table_1", "corpus=manifest", "raters.least=10", "task=valence")


def study_inputs(folder: Path, *words: str, base: tuple[str, ...] = WORDS) -> StudyInputs:
    given = [*base, f"corpus.root={folder}", f"home={folder / 'home'}", *words]
    keys = [word.partition("=")[0] for word in given]
    last = [word for place, word in enumerate(given) if keys[place] not in keys[place + 1 :]]
    return prepare(load_study(last, cwd=folder))


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    return write(tmp_path / "corpus", rated())


def asked(found: StudyInputs) -> dict[tuple[str, str, str], str]:
    """(stage, fold, parameters) -> key, of the whole table."""
    context, keys = found.context(), {}
    for entry in found.study.enqueue:
        row = {name: value for name, value in entry.items() if name != NAME}
        full = found.method.resolve({**found.space.constants(), **row})
        for fold in found.folds:
            for call in calls(found.method, full, fold.index, context):
                where = (call.name, fold.name, f"{entry['model']} {entry.get('percent')}")
                keys[where] = call.key
    return keys


# --- Folds ----------------------------------------------------------------------------------


def test_a_fold_is_a_session_for_a_rater(corpus: Path) -> None:
    found = study_inputs(corpus)
    assert [fold.name for fold in found.folds] == [
        f"manifest/manifest/{session}/{rater}" for rater in RATERS for session in range(1, 6)
    ]
    assert [fold.index for fold in found.folds] == list(range(20))
    ids = found.corpus.table["id"].to_numpy(dtype=str)
    for fold in found.folds:
        twin = found.folds[fold.index % 5]
        for part in ("train", "validation", "test"):
            rows = getattr(fold, part)
            np.testing.assert_array_equal(rows, getattr(twin, part), "no rating divides clips")
            assert ids[rows].tolist() == sorted(ids[rows])
        assert fold.test_groups == twin.test_groups
    told = " ".join(found.notes)
    assert "Target raters (raters.least=10 clips or more): E1 (45 clips)" in told
    assert "of 15 raters in all" in told
    assert "raters other than the target (without self-ratings): E1 60 (60), E2 60 (60)" in told
    assert "from the others' majority and from their shares" in told


def test_the_honest_choice_hears_no_fold_of_the_session_for_any_rater(corpus: Path) -> None:
    folds = study_inputs(corpus).folds
    scores = np.random.default_rng(0).random((3, len(folds)))
    found = estimates(scores, {"ua": scores}, folds)
    for fold, judges in zip(folds, found.judges, strict=True):
        assert judges
        for g in judges:
            assert not fold.test_groups & (folds[g].test_groups | folds[g].val_groups)
        # of five sessions, neither the tested one nor that which it validates
        assert {folds[g].rater for g in judges} == set(RATERS)
        assert len(judges) == 3 * len(RATERS)


def test_actors_and_a_rater_of_one_clip_are_no_targets(corpus: Path) -> None:
    told = " ".join(study_inputs(corpus, "raters.least=2").notes)
    assert "10 raters with enough ratings are no targets, as no fold can serve them" in told
    with pytest.raises(BadInput, match="no fold of protocol=loseso can serve the rater E5"):
        study_inputs(corpus, "raters=[E5,E1]")


def test_a_fold_that_cannot_serve_a_target_is_left_out(tmp_path: Path) -> None:
    def change(name: str, number: int, said: dict[str, int]) -> None:
        if name.startswith("s3"):
            said.pop("E2", None)

    found = study_inputs(write(tmp_path / "corpus", rated(change)))
    mine = [fold.name.split("/")[-2] for fold in found.folds if fold.rater == "E2"]
    assert mine == ["1", "4", "5"]  # session 3 neither tests nor validates (session 2's fold)
    assert "E2 without manifest/manifest/2, manifest/manifest/3" in " ".join(found.notes)


def test_most_takes_those_with_most_ratings(corpus: Path) -> None:
    found = study_inputs(corpus, "raters.most=2")
    assert {fold.rater for fold in found.folds} == {"E1", "E2"}  # all have 45: the first by name
    named = study_inputs(corpus, "raters=[E3]")
    assert {fold.rater for fold in named.folds} == {"E3"}
    assert found.study.id != named.study.id


def test_kfold_parts_follow_no_label(corpus: Path) -> None:
    found = study_inputs(corpus, "protocol=kfold", "protocol.folds=4", "raters=[E1]")
    sizes = [len(fold.test) for fold in found.folds]
    assert sizes == [15] * 4
    assert len({row for fold in found.folds for row in fold.test}) == 60


# --- Keys, and what is handed out -----------------------------------------------------------


def test_the_table_asks_for_the_papers_stages(corpus: Path) -> None:
    """2 tasks x 4 targets x 5 sessions: 80 models of others, 80 of raters, 240 fusions."""
    counts: Counter[str] = Counter()
    for task in ("valence", "activation"):
        keys = asked(study_inputs(corpus, f"task={task}"))
        names = {key: where[0] for where, key in keys.items()}
        counts += Counter(names.values())
    assert counts == {"others_h": 40, "others_s": 40, "rater": 80, "fusion": 240}


def test_a_targets_ratings_are_in_no_key_of_others(tmp_path: Path) -> None:
    def change(name: str, number: int, said: dict[str, int]) -> None:
        if name == "s1F2.wav":
            said["E1"] = 5 if said["E1"] < 3 else 1
        if name == "s1F1.wav":
            said.pop("E1")
        if name == "s1F0.wav":
            said["E1"] = 4  # it was not rated by E1 before

    folder = write(tmp_path / "corpus", rated())
    before = asked(study_inputs(folder, "raters=[E1,E2]"))
    after = asked(study_inputs(write(folder, rated(change)), "raters=[E1,E2]"))
    assert before.keys() == after.keys()
    for (stage, fold, setting), key in before.items():
        same = after[stage, fold, setting] == key
        sees = "/1/" not in fold  # session 1 is in the training or the validation part
        if fold.endswith("E1"):
            assert same == (stage.startswith("others") or not sees), (stage, fold, setting)
        elif not sees:
            assert same
        elif stage.startswith("others"):
            assert not same, "of E2's folds E1 is one of the others"
        elif stage == "rater":
            assert same


def dataset(found: StudyInputs) -> Dataset:
    n = len(found.corpus.table)
    frames = Sequences(np.zeros((2 * n, 3), np.float32), np.arange(0, 2 * n + 1, 2))
    bare = found._dataset(np.empty((n, 0), np.float32))
    return replace(bare, frames={"f": frames}, moments={"f": Moments.of(frames)})


def test_stages_are_handed_the_ratings_that_their_nodes_name(corpus: Path) -> None:
    found = study_inputs(corpus, "raters=[E2]")
    data, context = dataset(found), found.context()
    full = found.method.resolve({**found.space.constants(), "model": "fusion_hs", "percent": 50})
    assert found.ratings is not None
    column = found.ratings.raters.index("E2")
    fold = found.folds[0]
    for call in calls(found.method, full, 0, context):
        inputs = inputs_of(call, data, NOTHING * len(call.needs), Runtime())
        sees = call.name != "fusion"
        assert inputs.raters == (found.ratings.raters if sees else ())
        assert inputs.target == (column if sees else None)
        for name in ("train", "validation", "test", "unlabelled", "undecided"):
            part = getattr(inputs, name)
            assert part.y is None
            assert part.votes is None
            if name in ("test", "unlabelled") or call.name == "fusion":
                assert part.ratings is None
                continue
            assert part.ratings is not None
            whole = found.ratings.codes[getattr(fold, name)] if name in call.parts else np.empty(0)
            shown = part.ratings if call.name == "rater" else np.delete(part.ratings, column, 1)
            if call.name.startswith("others"):
                assert (part.ratings[:, column] == -1).all()
                assert not part.own[:, column].any()
                wanted = np.delete(whole, column, 1) if len(whole) else shown
            else:
                wanted = np.full_like(part.ratings, -1)
                if len(whole):
                    wanted[:, column] = whole[:, column]
            np.testing.assert_array_equal(shown, wanted)


# --- Scores ---------------------------------------------------------------------------------


def test_a_fold_is_scored_on_its_raters_own_ratings(corpus: Path) -> None:
    found = study_inputs(corpus, "speaker_clips=[2]")
    assert found.ratings is not None
    answers = found.answers()
    split = found.split_table()
    for fold in found.folds:
        mine = found.ratings.codes[:, found.ratings.raters.index(fold.rater)]
        one = answers[fold.index]
        np.testing.assert_array_equal(one.validation, mine[fold.validation])
        np.testing.assert_array_equal(one.unseen, np.tile(mine[fold.test], 2))
        assert split[fold.index]["rater"] == fold.rater
        assert split[fold.index]["n_test"] == (mine[fold.test] >= 0).sum() < len(fold.test)


# --- Bad input ------------------------------------------------------------------------------


def test_bad_input_is_told_in_one_message(corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"raters names 'E9', who has rated nothing .*E1 \(45\)"):
        study_inputs(corpus, "raters=[E9,E1]")
    with pytest.raises(BadInput, match="raters names 'E1' twice"):
        study_inputs(corpus, "raters=[E1,E1]")
    with pytest.raises(BadInput, match=r"no rater has rated raters\.least=99 clips"):
        study_inputs(corpus, "raters.least=99")
    with pytest.raises(BadInput, match="task=dominance needs raters' dominance, and manifest has"):
        study_inputs(corpus, "task=dominance")
    with pytest.raises(BadInput, match=r"task\.low=4 and task\.high=3 leave nothing in the middle"):
        study_inputs(corpus, "task.low=4")
    rdlr = ("space=rdlr", "corpus=manifest", "task=valence")
    with pytest.raises(BadInput, match="raters= says whose perception is learnt"):
        study_inputs(corpus, "raters=[E1]", base=rdlr)
    plain = [
        {"file": row["file"], "speaker": row["speaker"], "label": "ab"[i % 2], "session": 1}
        for i, row in enumerate({row["file"]: row for row in rated()}.values())
    ]
    with pytest.raises(BadInput, match="corpus=manifest does not tell who rated what"):
        study_inputs(write(tmp_path / "plain", plain), "task=categories")


def test_any_method_learns_levels_of_an_attribute(corpus: Path) -> None:
    """Without target raters the label is what the raters' levels agree on."""
    found = study_inputs(corpus, base=("space=rdlr", "corpus=manifest", "task=valence"))
    assert found.corpus.classes == ("low", "middle", "high")
    assert all(isinstance(fold, Fold) and not fold.rater for fold in found.folds)
    assert found.ratings is None
