"""Two studies against each other: the numbers against scipy's, and what cannot be compared."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import ttest_rel
from sklearn import metrics as sk

from raysearch.cli.reports import compare
from raysearch.errors import BadInput
from raysearch.report import Report, to_plain, to_text
from raysearch.report import compare as paired
from tests.support.scored_study import write_scored
from tests.support.study_folders import read_study

Write = Callable[..., Path]
CORPUS = {"name": ["emodb"], "classes": ["low", "high"]}


def compared(first: Path, second: Path) -> Report:
    """The report of two studies against each other."""
    return paired.build(read_study(first), read_study(second))


def one_setting(test: list[float]) -> np.ndarray:
    """[1, K, 4]: with one setting, every choice is that setting."""
    return np.array([[[0.5, 0.5, x, x - 0.1] for x in test]])


def test_one_setting_each_is_the_paired_t_test(write: Write) -> None:
    a, b = [0.7, 0.8, 0.6, 0.9, 0.75], [0.65, 0.7, 0.62, 0.8, 0.6]
    report = compared(*(write(one_setting(x), corpus=CORPUS) for x in (a, b)))
    (pair,) = report.comparisons[0].pairs
    want = ttest_rel(a, b)
    assert pair.difference.mean == pytest.approx(np.mean(a) - np.mean(b))
    assert pair.p == pytest.approx(want.pvalue)
    low, high = want.confidence_interval()
    assert (pair.difference.low, pair.difference.high) == pytest.approx((low, high))
    row = report.section("estimates").table.frame.iloc[0]  # type: ignore[union-attr]
    assert (row["a"], row["b"]) == pytest.approx((np.mean(a), np.mean(b)))
    folds = report.section("folds").table.frame  # type: ignore[union-attr]
    np.testing.assert_allclose(folds["difference"], np.subtract(a, b))
    assert to_plain(report)["comparisons"][0]["pairs"][0]["folds"] == 5


def test_honest_choices_stand_for_the_studies_not_the_luckiest_settings(write: Write) -> None:
    rng = np.random.default_rng(0)
    noise = rng.uniform(0.4, 0.9, (30, 6, 4))  # validation says nothing of test
    first, second = write(noise, corpus=CORPUS), write(one_setting([0.65] * 6), corpus=CORPUS)
    (pair,) = compared(first, second).comparisons[0].pairs
    luckiest = noise[:, :, 2].mean(axis=1).max() - 0.65
    assert pair.difference.mean < luckiest - 0.03


def test_only_shared_folds_are_paired_and_it_is_said(write: Write) -> None:
    a, b = [0.7, 0.8, 0.6, 0.9, 0.5], [0.6, 0.7, 0.6]
    report = compared(*(write(one_setting(x), corpus=CORPUS) for x in (a, b)))
    (pair,) = report.comparisons[0].pairs
    assert report.folds == ("s00", "s01", "s02")
    assert pair.difference.n == 3
    assert pair.difference.mean == pytest.approx(np.mean(a[:3]) - np.mean(b))
    text = to_text(report)
    assert "3 of 5 and 3" in text
    assert "2 folds that only one of the studies has are left out" in " ".join(text.split())


def of_raters(folder: Path, count: int) -> Path:
    """The study, its folds those of so many raters in each session, session by session."""
    folds = json.loads((folder / "folds.json").read_text())
    sessions = len(folds) // count
    for fold in folds:
        session, rater = divmod(fold["index"], count)
        fold["rater"] = f"E{rater}"
        fold["test_groups"] = [f"c/{session}"]
        fold["val_groups"] = [f"c/{(session + 1) % sessions}"]
    (folder / "folds.json").write_text(json.dumps(folds))
    return folder


def test_studies_of_raters_are_compared_over_sessions_not_over_folds(write: Write) -> None:
    a, b = np.random.default_rng(5).uniform(0.5, 0.7, (2, 5, 4))
    studies = (write(one_setting(x.ravel().tolist()), corpus=CORPUS) for x in (a, b))
    report = compared(*(of_raters(study, 4) for study in studies))
    (pair,) = report.comparisons[0].pairs
    want = ttest_rel(a.mean(axis=1), b.mean(axis=1))
    assert (pair.difference.n, pair.p) == (5, pytest.approx(want.pvalue))
    assert pair.difference.mean == pytest.approx((a - b).mean())
    text = " ".join(to_text(report).split())
    assert "20 of 20 and 20" in text
    assert "interval and p are over the 5" in text
    assert "20 speakers" not in text


def test_a_raced_study_is_compared_over_the_draws_of_what_it_left_out(write: Write) -> None:
    rng = np.random.default_rng(1)
    table = rng.normal(0, 0.02, (8, 6, 4)) + np.linspace(0.5, 0.7, 8)[:, None, None]
    cut = table.copy()
    cut[:4, 2:] = np.nan
    first, second = write(cut, corpus=CORPUS), write(one_setting([0.6] * 6), corpus=CORPUS)
    (pair,) = compared(first, second).comparisons[0].pairs
    assert pair.difference.mean == pytest.approx(0.1, abs=0.03)
    assert max(map(len, to_text(compared(first, second)).splitlines())) <= 80


def test_what_cannot_be_compared_is_bad_input(write: Write) -> None:
    a = write(one_setting([0.7, 0.8]), corpus=CORPUS)
    with pytest.raises(BadInput, match="differ in their corpora"):
        compared(a, write(one_setting([0.7, 0.8]), corpus=CORPUS | {"name": ["ravdess"]}))
    with pytest.raises(BadInput, match="differ in their classes"):
        compared(a, write(one_setting([0.7, 0.8]), corpus=CORPUS | {"classes": ["x", "y"]}))
    other = write(one_setting([0.7, 0.8]), corpus=CORPUS)
    folds = json.loads((other / "folds.json").read_text())
    for fold in folds:
        fold["test_groups"] = ["else"]
    (other / "folds.json").write_text(json.dumps(folds))
    with pytest.raises(BadInput, match="share no fold"):
        compared(a, other)
    cut = np.full((1, 2, 4), np.nan)
    with pytest.raises(BadInput, match="no complete trial"):
        compared(a, write(cut, corpus=CORPUS))


@pytest.fixture
def home(write: Write, tmp_path: Path) -> Path:
    (tmp_path / "home" / "studies").mkdir(parents=True)
    for name, x in (("alpha-1", 0.7), ("beta-2", 0.6)):
        folder = write(one_setting([x, x + 0.1, x - 0.1]), corpus=CORPUS)
        folder.rename(tmp_path / "home" / "studies" / name)
    return tmp_path / "home"


@pytest.mark.parametrize("forms", [["study=alpha-1", "study=beta"], ["study=[alpha-1,beta-2]"]])
def test_the_command_takes_two_names_in_either_form(home: Path, forms: list[str]) -> None:
    text = compare([*forms, f"home={home}", "format=json"])
    assert json.loads(text)["comparisons"][0]["pairs"][0]["difference"] == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["study=alpha-1"], "compare needs two studies"),
        (["study=alpha-1", "study=beta-2", "study=x"], "compare needs two studies"),
        (["study=alpha", "study=alpha-1"], "both names mean alpha-1"),
        (["study=alpha", "study=gamma"], "study=gamma is not in"),
        (["study=alpha", "study=beta", "format=htm"], "did you mean 'html'"),
    ],
)
def test_bad_words_are_told_and_nothing_is_written(
    home: Path, words: list[str], message: str
) -> None:
    before = sorted(home.rglob("*"))
    with pytest.raises(BadInput, match=message):
        compare([*words, f"home={home}"])
    assert sorted(home.rglob("*")) == before


@pytest.mark.parametrize("kind", ["text", "md", "latex", "json", "html"])
def test_every_format_goes_to_a_file_and_to_a_folder(home: Path, tmp_path: Path, kind: str) -> None:
    words = ["study=alpha-1", "study=beta-2", f"home={home}", f"format={kind}"]
    message = compare([*words, f"out={tmp_path / 'a.file'}"])
    assert message == f"report: {tmp_path / 'a.file'}\n"
    assert (tmp_path / "a.file").read_text() == compare(words)
    compare([*words, f"out={tmp_path / 'folder'}"])
    names = {path.name for path in (tmp_path / "folder").iterdir()}
    assert {"estimates.csv", "folds.csv", "compare_settings.png"} <= names
    assert len([name for name in names if name.startswith("report.")]) == 1


def test_losses_and_agreement_are_compared_too(tmp_path: Path) -> None:
    """Two studies of one setting each, so that its scores are the honest ones."""
    one, two = (
        write_scored(tmp_path / name, settings=1, seed=seed) for name, seed in (("a", 0), ("b", 1))
    )
    report = paired.build(read_study(one.folder), read_study(two.folder))
    frame = report.section("further_scores").table.frame.set_index("score")
    assert list(frame.index) == ["kappa", "NLL", "Brier"]
    for column, scored in (("a", one), ("b", two)):
        p = scored.p[0].astype(float)
        p /= p.sum(axis=-1, keepdims=True)
        folds = list(zip(scored.y, p, strict=True))
        nll = [sk.log_loss(y, x, labels=range(3)) for y, x in folds]
        kappa = [sk.cohen_kappa_score(y, x.argmax(axis=1)) for y, x in folds]
        assert frame.loc["NLL", column] == pytest.approx(np.mean(nll), abs=1e-6)
        assert frame.loc["kappa", column] == pytest.approx(np.mean(kappa), abs=1e-6)
