"""Outer searches: nothing of a held-out speaker reaches the search for it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from raysearch.api import Result
from raysearch.errors import BadInput
from raysearch.report import build
from raysearch.report.formats.json import plain
from raysearch.study import load_study
from raysearch.study.folder import StudyFolder
from raysearch.study.housekeeping import holdings
from raysearch.study.ledger import Ledger
from raysearch.study.record import Record
from raysearch.study.status import STOPPED, status_of
from raysearch.tuning.prepare import inner_inputs, prepare
from tests.support.whole_study import run

SPACE = """\
method: tests.support.toy_method:METHOD
corpus: {name: manifest}
params:
  shrink: {float: [0, 1]}
  noise: {float: [0, 2]}
trials: 5
tracking: false
search: {outer: true}
"""


def write_corpus(folder: Path, tones: Path, turned: str = "") -> tuple[str, ...]:
    """The tones with vectors of their own; the labels of one speaker may be turned, and the vectors
    be noise. Returns the words of a study."""
    folder.mkdir()
    table = pd.read_csv(tones / "manifest.csv")
    rng = np.random.default_rng(0)
    codes, names = pd.factorize(table["label"])
    x = 2 * np.eye(3)[codes] + rng.normal(0, 2, (len(table), 3))
    theirs = (table["speaker"] == turned).to_numpy()
    x[theirs] = rng.normal(0, 9, (int(theirs.sum()), 3))
    table.loc[theirs, "label"] = names[(codes[theirs] + 1) % 3]
    table["file"] = [str(tones / name) for name in table["file"]]
    table.to_csv(folder / "manifest.csv", index=False)
    np.savez(folder / "x.npz", **{Path(f).name: v for f, v in zip(table["file"], x, strict=True)})
    (folder / "outer.yaml").write_text(SPACE)
    return (
        f"space={folder}/outer.yaml",
        f"corpus.root={folder}",
        f"features=files:{folder}/x.npz",
        "corpus.options.name=tones",
    )


def trials_of(path: Path, fold: int) -> list[tuple[Any, ...]]:
    with Ledger(StudyFolder(path).outer_ledger_file(fold, None)) as ledger:
        return [(t.number, dict(t.params), t.state, t.value) for t in ledger.trials()]


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory, tones: Path) -> Path:
    folder = tmp_path_factory.mktemp("outer")
    return run(folder, *write_corpus(folder / "corpus", tones))


def test_a_search_cannot_tell_what_its_speaker_says_or_how_it_is_labelled(
    study: Path, tmp_path: Path, tones: Path
) -> None:
    """The planted leak: speaker s2 has other labels and other vectors. Its search sees the same."""
    other = run(tmp_path, *write_corpus(tmp_path / "corpus", tones, turned="s2"))
    assert trials_of(other, 2) == trials_of(study, 2)
    for fold in (0, 1, 3, 4):
        assert trials_of(other, fold) != trials_of(study, fold), "the others do hear s2"
    mine, theirs = (Record.read(StudyFolder(path)).outer[2] for path in (study, other))
    assert mine.row is not None
    assert theirs.row is not None
    assert mine.row.confusion != theirs.row.confusion


def test_the_estimate_is_the_mean_of_what_each_search_chose_by_validation(study: Path) -> None:
    record = Record.read(StudyFolder(study))
    scores = []
    for fold, search in zip(record.folds, record.outer, strict=True):
        with Ledger(StudyFolder(study).outer_ledger_file(len(scores), None)) as ledger:
            by_trial = {
                t.number: [r for r in ledger.folds() if r.trial == t.number]
                for t in ledger.trials()
            }
        means = {n: np.mean([r.scores["val_ua"] for r in rows]) for n, rows in by_trial.items()}
        best = max(means, key=lambda n: (means[n], -n))
        assert search.choice is not None
        assert search.choice.number == best
        own = [row for row in by_trial[best] if row.fold == fold.name]
        assert len(own) == 1
        assert len(by_trial[best]) == len(record.folds) - 1
        scores.append(own[0].scores["test_ua"])
    report = build(record)
    assert report.estimates is not None
    assert report.estimates.outer["ua"].mean == pytest.approx(np.mean(scores))
    assert plain(report)["estimates"]["outer"]["ua"] == pytest.approx(np.mean(scores))
    assert [row["estimate"] for row in plain(report)["tables"]["estimates"]][:2] == [
        "honest",
        "outer",
    ]
    honest = np.array(report.estimates.honest["ua"].values)
    section = report.section("outer")
    assert section.table is not None
    assert section.table.frame["ua"].tolist() == pytest.approx(scores)
    gap = 100 * (honest - scores).mean()
    assert any(
        line.startswith("UA:") and f"{abs(gap):.1f} points" in line for line in section.before
    )


def test_what_the_plain_search_trained_is_not_trained_again(study: Path) -> None:
    """One inner fold of a search is the study's own; equal settings share its stages."""
    record = Record.read(StudyFolder(study))
    own = {
        (row.fold, json.dumps(dict(record.trials[row.trial].params))): row
        for row in record.fold_rows
    }
    shared = 0
    for index, search in enumerate(record.outer):
        with Ledger(StudyFolder(study).outer_ledger_file(index, None)) as ledger:
            params = {t.number: json.dumps(dict(t.params)) for t in ledger.trials()}
            rows = ledger.folds()
        for row in rows:
            same = own.get((row.fold, params[row.trial]))
            if same is not None:
                shared += 1
                assert [use.key for use in row.stages] == [use.key for use in same.stages]
                assert row.scores == same.scores
        # a teacher for each of the three inner folds that are its own, and a student a trial
        computed = {u.key for r in rows for u in r.stages} - {
            u.key for r in record.fold_rows for u in r.stages
        }
        assert search.stages["run"] == len(computed)
    assert shared == 25, "the same sampler from the same seed tries the same five settings first"


def test_clean_keeps_what_outer_searches_need(study: Path) -> None:
    (store,) = [one for one in holdings(StudyFolder(study).home) if one.name == "store"]
    assert store.content != "0 artifacts"
    assert not store.waste


def test_the_python_interface_has_the_estimate(study: Path) -> None:
    result = Result(study)
    assert list(result.estimates.index) == ["honest", "outer", "nested", "selected", "oracle"]
    assert "A search of its own for each speaker" in str(result)


def test_a_search_goes_on_where_it_stopped(tmp_path: Path, tones: Path, study: Path) -> None:
    words = write_corpus(tmp_path / "corpus", tones)
    path = run(tmp_path, *words, trials=2)
    status = status_of(StudyFolder(path))
    assert (status.state, status.outer_done, len(status.outer)) == (STOPPED, 0, 5)
    record = Record.read(StudyFolder(path))
    report = build(record)
    assert report.estimates is not None
    assert not report.estimates.outer
    assert "0 of 5 searches are finished" in report.section("outer").before[0]
    assert run(tmp_path, *words) == path
    assert [trials_of(path, fold) for fold in range(5)] == [
        trials_of(study, fold) for fold in range(5)
    ]


def test_races_compare_the_speakers_that_validate(tmp_path: Path, tones: Path) -> None:
    words = write_corpus(tmp_path / "corpus", tones)
    path = run(tmp_path, *words, "racing=mixed", "trials=8", "params.noise=0.5")
    states = [state for fold in range(5) for _, _, state, _ in trials_of(path, fold)]
    assert "pruned" in states
    assert "complete" in states
    record = Record.read(StudyFolder(path))
    assert all(s.done and s.choice is not None and s.row is not None for s in record.outer)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("method=tests.support.across_method:METHOD",), "whose stages read other folds"),
        (("protocol=split",), "protocol=split says who validates"),
        (("search.outer=false", "search.folds=3"), "search.folds=3 is of the searches"),
    ],
)
def test_what_no_search_can_be_kept_from_is_refused(
    tmp_path: Path, tones: Path, words: tuple[str, ...], message: str
) -> None:
    all_words = [*write_corpus(tmp_path / "corpus", tones), *words, f"home={tmp_path}"]
    if words[0].startswith("method="):
        space = tmp_path / "corpus" / "outer.yaml"
        text = SPACE.replace("toy_method", "across_method").replace(
            "  noise: {float: [0, 2]}\n", ""
        )
        space.write_text(text.replace("shrink", "shift"))
        all_words.remove(words[0])
    with pytest.raises(BadInput, match=message):
        inner_inputs(prepare(load_study(all_words, cwd=tmp_path)))


def test_fewer_folds_are_other_searches(tmp_path: Path, tones: Path) -> None:
    words = [*write_corpus(tmp_path / "corpus", tones), f"home={tmp_path}"]
    every = load_study(words, cwd=tmp_path)
    few = load_study([*words, "search.folds=2"], cwd=tmp_path)
    assert every.id == few.id == load_study([*words, "search.outer=false"], cwd=tmp_path).id
    assert [len(each.folds) for each in inner_inputs(prepare(few))] == [2] * 5
    folder = StudyFolder.of(few)
    assert folder.outer_ledger_file(0, 2) != folder.outer_ledger_file(0, None)
