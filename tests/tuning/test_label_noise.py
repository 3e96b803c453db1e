"""Planted labels: in what is learnt from, in its keys and its name, and never in what is scored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

import raysearch
from raysearch.cli.main import main
from raysearch.data.corpora import Corpus
from raysearch.data.corpora.corpus import TABLE_COLUMNS
from raysearch.data.rules import LabelNoise
from raysearch.errors import BadInput
from raysearch.report import to_text
from raysearch.report.formats import latex
from raysearch.stages import calls
from raysearch.study import load_study
from raysearch.study.folder import StudyFolder
from raysearch.study.wording import grave
from raysearch.tuning.label_noise import PlantedLabels, plant
from raysearch.tuning.prepare import StudyInputs, prepare
from tests.support.whole_study import run

CLASSES = ("neutral", "happy", "sad")
WORDS = ("space=rdlr", "corpus=manifest", "features=[egemaps]", "normalise=fold")
SUPPORT = Path(__file__).resolve().parents[1] / "support"
SPACE = """\
method: toy_method:METHOD
corpus: {name: manifest}
features: [egemaps]
params: {shrink: {grid: [0, 0.3]}, noise: 0.6}
sampler: grid
trials: 2
tracking: false
quiet: true
"""


def corpus_of(labels: Sequence[str], votes: Any = None) -> Corpus:
    table = pd.DataFrame({name: "" for name in TABLE_COLUMNS}, index=range(len(labels)))
    table["id"] = [f"c/{n}" for n in range(len(labels))]
    return Corpus(table.assign(label=list(labels)), CLASSES, votes=votes)


def planted(corpus: Corpus, **noise: Any) -> PlantedLabels | None:
    study: Any = SimpleNamespace(labels=LabelNoise(**noise))
    method: Any = SimpleNamespace(name="any", per_rater=False)
    return plant(corpus, study, method)


def test_uniform_noise_changes_so_many_labels_to_any_other_class() -> None:
    corpus = corpus_of([CLASSES[n % 3] for n in range(3000)] + [""] * 10)
    result = planted(corpus, flip=0.2)
    assert result is not None
    assert int(result.wrong.sum()) == 600
    assert ((result.codes != corpus.codes) == result.wrong).all()
    assert (result.codes[-10:] == -1).all()
    for old in range(3):
        new = result.codes[result.wrong & (corpus.codes == old)]
        counts = np.bincount(new, minlength=3)
        assert counts[old] == 0
        # a fair coin: five standard deviations
        assert abs(counts.max() - len(new) / 2) < 5 * np.sqrt(len(new) / 4)


def test_confusable_noise_keeps_to_the_confusion_and_its_weights() -> None:
    corpus = corpus_of([CLASSES[n % 3] for n in range(3000)])
    result = planted(
        corpus,
        flip=0.5,
        kind="confusable",
        confusion={"joy": "sad", "sad": {"neutral": 3, "happy": 1}},
    )
    assert result is not None
    assert int(result.wrong.sum()) == 1000  # half of the two classes that are listed
    assert not result.wrong[corpus.codes == 0].any()
    assert set(result.codes[result.wrong & (corpus.codes == 1)]) == {2}
    sad = result.codes[result.wrong & (corpus.codes == 2)]
    assert np.mean(sad == 0) == pytest.approx(0.75, abs=0.1)


def test_noise_follows_from_names_and_its_seed_alone() -> None:
    labels = [CLASSES[n % 3] for n in range(200)]
    corpus = corpus_of(labels)
    first, other = planted(corpus, flip=0.3), planted(corpus, flip=0.3, seed=1)
    order = np.random.default_rng(0).permutation(200)
    moved = planted(
        replace(corpus, table=corpus.table.iloc[order].reset_index(drop=True)), flip=0.3
    )
    assert first is not None
    assert other is not None
    assert moved is not None
    assert (moved.codes == first.codes[order]).all()
    assert (other.codes != first.codes).any()
    more = planted(corpus, flip=0.4)
    assert more is not None
    assert (more.codes == first.codes)[
        first.wrong
    ].all()  # a curve over flip keeps its wrong labels
    assert planted(corpus) is None


def test_votes_of_a_wrong_label_are_exchanged_with_it() -> None:
    votes = np.random.default_rng(0).integers(0, 5, (60, 3)).astype(np.float32)
    corpus = corpus_of([CLASSES[n % 3] for n in range(60)], votes)
    result = planted(corpus, flip=0.5)
    assert result is not None
    assert result.votes is not None
    for row in range(60):
        old, new = corpus.codes[row], result.codes[row]
        expected = votes[row].copy()
        expected[[old, new]] = votes[row, [new, old]]
        assert (result.votes[row] == expected).all()


@pytest.mark.parametrize(
    ("confusion", "words"),
    [
        ({"happy": "sda"}, "did you mean 'sad'"),
        ({"happy": "happy"}, "labels.confusion.happy must be another class"),
        ({"happy": {"sad": -1}}, "one of them above 0"),
        ({"happy": []}, "labels.confusion.happy must be another class"),
    ],
)
def test_a_confusion_that_does_not_fit_is_refused(confusion: Any, words: str) -> None:
    with pytest.raises(BadInput, match=words):
        planted(corpus_of(CLASSES), flip=0.2, kind="confusable", confusion=confusion)


def inputs_of(tones: Path, home: Path, *words: str) -> StudyInputs:
    return prepare(load_study([*WORDS, f"corpus.root={tones}", f"home={home}", *words], cwd=tones))


def test_what_scores_keeps_the_labels_of_the_corpus(tones: Path, tmp_path: Path) -> None:
    words = ("labels=0.5", "validation.select=1", "votes=simulate")
    clean, noisy = (inputs_of(tones, tmp_path, *w) for w in (words[1:], words))
    assert noisy.planted is not None
    where = noisy.planted.wrong
    for fold, a, b in zip(noisy.folds, clean.answers(), noisy.answers(), strict=True):
        assert (a.unseen == b.unseen).all()
        assert where[fold.unseen].any()
        assert where[fold.select].any()
        assert ((a.validation != b.validation) == where[fold.validation]).all()
    data, before = noisy.context(), clean.context()
    assert any(where[fold.validation].any() for fold in noisy.folds)
    for fold, a, b in zip(noisy.folds, before.prints, data.prints, strict=True):
        for part in ("train", "validation"):
            assert (a[part] == b[part]) == (not where[getattr(fold, part)].any()), part


def test_noise_is_in_the_keys_the_name_and_the_cautions(tones: Path, tmp_path: Path) -> None:
    def keys(inputs: StudyInputs) -> set[str]:
        full = inputs.method.resolve({**inputs.space.constants(), "strategy": "hard"})
        where = inputs.context()
        return {c.key for f in inputs.folds for c in calls(inputs.method, full, f.index, where)}

    clean, noisy, other = (
        inputs_of(tones, tmp_path, *w)
        for w in ((), ("labels.flip=0.2",), ("labels.flip=0.2", "labels.seed=1"))
    )
    assert not keys(clean) & keys(noisy)
    assert not keys(noisy) & keys(other)
    assert len({x.study.id for x in (clean, noisy, other)}) == 3
    assert "labels" not in clean.study.identity()
    assert clean.fingerprint == noisy.fingerprint
    text = next(note for note in noisy.notes if grave(note) == "planted wrong labels")
    assert text.startswith("wrong labels are planted: 12 of 60 were changed to any other class (")
    assert not [note for note in clean.notes if "planted" in note]
    assert "labels" in noisy.simulated - clean.simulated
    confused = inputs_of(
        tones,
        tmp_path,
        "labels=0.5",
        "labels.kind=confusable",
        "labels.confusion={sad: [neutral, angry], angry: sad}",
    )
    text = next(note for note in confused.notes if grave(note) == "planted wrong labels")
    assert "20 of 60 were changed, sad to neutral or angry, angry to sad (labels.flip=0.5" in text


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["labels.flip=1"], "below 1"),
        (["labels.seed=1"], "labels.flip=0 plants none"),
        (["labels=0.2", "labels.kind=confusable"], "needs labels.confusion"),
        (["labels=0.2", "labels.confusion={a: b}"], "set labels.kind=confusable"),
    ],
)
def test_keys_that_do_not_fit_are_refused(tones: Path, words: list[str], text: str) -> None:
    whole = [f"labels.flip={w[7:]}" if w.startswith("labels=") else w for w in words]
    with pytest.raises(BadInput, match=text):
        load_study([*WORDS, f"corpus.root={tones}", *whole], cwd=tones)


def test_numbers_and_single_raters_are_refused() -> None:
    corpus = corpus_of(CLASSES)
    study: Any = SimpleNamespace(labels=LabelNoise(flip=0.2))
    method: Any = SimpleNamespace(name="corater", per_rater=True)
    with pytest.raises(BadInput, match="one rater's ratings"):
        plant(corpus, study, method)
    method.per_rater = False
    with pytest.raises(BadInput, match="learns numbers"):
        plant(replace(corpus, numbers=("valence",)), study, method)


@pytest.mark.slow
def test_a_study_with_planted_labels_is_audited(
    tones: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(SUPPORT))
    (tmp_path / "toy.yaml").write_text(SPACE)
    noise = ("labels.flip=0.2", "votes=simulate")
    study = StudyFolder(run(tmp_path, "space=toy.yaml", f"corpus.root={tones}", *noise))
    home = [f"study={study.name}", f"home={study.home}"]
    page = tmp_path / "page.html"
    assert main(["report", *home, f"out={page}"]) == 0
    assert "<audio" in page.read_text()
    assert "The licence of that speech holds" in page.read_text()
    result = raysearch.load(study.name, home=study.home)
    table, rows = result.report.section("audit").data["audit"], result.predictions
    assert len(table) == 60
    assert int((table["label"] != table["corpus_label"]).sum()) == 12
    assert (rows.set_index("clip").loc[table["clip"], "label"].array == table["corpus_label"]).all()
    assert table["confidence"].is_monotonic_increasing
    text = " ".join(to_text(result.report).split())
    assert "Label audit: clips whose label the models reject" in text
    assert "Planted labels: of 12 that were changed on purpose" in text
    assert "20.0 % of the labels in training made wrong on purpose" in text
    captions = [x for x in latex.render(result.report).splitlines() if x.startswith(r"\caption")]
    assert captions
    assert all("planted wrong labels" in line for line in captions)
