"""Reports after a race: what was saved, what is imputed, and whether the estimates still hold."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from raysearch.report import to_json, to_plain, to_text
from raysearch.search.racing import Mixed
from raysearch.selection import FoldGroups, Score, estimates
from tests.support.study_folders import report_of

Write = Callable[..., Path]
NAN = float("nan")


def random_table(rng: np.random.Generator, c: int, k: int, spread: float = 0.02) -> np.ndarray:
    """[C, K, 4]: settings differ by `spread`, speakers by 0.08, the rest is 0.05 of noise.

    A fold validates the next speaker, so a speaker's ease moves along by one fold.
    """
    speaker = rng.normal(0, 0.08, (k, 1))
    both = np.concatenate([np.roll(speaker, -1, 0)] * 2 + [speaker] * 2, axis=1)
    noise = rng.normal(size=(c, k, 4)) @ np.linalg.cholesky(0.4 + 0.6 * np.eye(4)).T * 0.05
    return 0.6 + rng.normal(0, spread, (c, 1, 1)) + both + noise


def race_table(full: np.ndarray) -> np.ndarray:
    """The same table as a race would have left it, one trial after another."""
    judge = Mixed()
    observed = np.full_like(full, NAN)
    alive = np.ones(len(full), dtype=bool)
    for c in range(len(full)):
        for f in range(full.shape[1]):
            observed[c, f] = full[c, f]
            if judge(observed[: c + 1, :, 0], c, trials=len(full), alive=alive[: c + 1]).stop:
                alive[c] = False
                break
    return observed


def text_of(folder: Path) -> str:
    return " ".join(to_text(report_of(folder)).split())


@pytest.mark.slow
@pytest.mark.parametrize("alike", [1.0, 0.5])
def test_on_average_the_honest_estimate_is_that_of_the_full_search(
    write: Write, alike: float
) -> None:
    """30 races against the same trials run to their end.

    `alike`: how far a setting's validation and test quality go together; what is drawn for cut
    trials must not depend on their going together.
    `pytest -m slow -rP tests/report/test_scoring.py` prints the figures that the README gives.
    """
    off: dict[str, list[float]] = {"honest": [], "nested": [], "oracle": []}
    shares, inside = [], []
    for seed in range(30):
        rng = np.random.default_rng(seed)
        full = random_table(rng, 40, 10)
        full[..., 2:] += rng.normal(0, 0.02 * (1 - alike**2) ** 0.5, (40, 1, 1))
        cut = report_of(write(race_table(full))).estimates
        whole = report_of(write(full)).estimates
        assert cut is not None
        assert whole is not None
        shares.append(cut.imputed)
        for kind, errors in off.items():
            e, true = getattr(cut, kind)["ua"], getattr(whole, kind)["ua"]
            errors.append(e.mean - true.mean)
        inside.append(cut.honest["ua"].low < whole.honest["ua"].mean < cut.honest["ua"].high)
    mean = {kind: float(np.mean(errors)) for kind, errors in off.items()}
    error = {kind: float(np.std(errors, ddof=1)) / 30**0.5 for kind, errors in off.items()}
    for kind in off:
        print(
            f"{kind} after a race - of the full search: "
            f"{100 * mean[kind]:+.1f} ± {100 * error[kind]:.1f} points"
        )
    assert np.mean(shares) > 0.5
    assert abs(mean["honest"]) < 2.5 * error["honest"]
    assert error["honest"] < 0.004
    # fewer settings to choose from in one fold, and a better one may never have been run
    assert -0.02 < mean["nested"] < 2.5 * error["nested"]
    assert -0.025 < mean["oracle"] < 2.5 * error["oracle"]
    assert np.mean(inside) > 0.9


def test_what_is_handed_over_ran_to_its_end(write: Write) -> None:
    full = random_table(np.random.default_rng(5), 24, 8)
    observed = race_table(full)
    report = report_of(write(observed))
    complete = np.flatnonzero(np.isfinite(observed).all(axis=(1, 2)))
    assert 0 < len(complete) < 24
    best = max(complete, key=lambda c: full[c, :, 0].mean())
    assert report.best_trial == best
    assert report.estimates is not None
    assert report.estimates.selected["ua"].values == pytest.approx(full[best, :, 2])
    share = np.isnan(observed[..., 0]).mean()
    assert report.estimates.imputed == pytest.approx(share)
    race = to_plain(report)["race"]
    ran = int(np.isfinite(observed[..., 0]).sum())
    assert (race["stopped"], race["ran"], race["full"]) == (24 - len(complete), ran, 24 * 8)
    text = " ".join(to_text(report).split())
    for sentence in (
        f"{24 - len(complete)} trials were stopped early: {ran} fold-runs instead of the 192",
        f"{100 * (1 - ran / 192):.1f} % saved",
        f"The other {100 * share:.1f} % of the scores are imputed, {race['draws']} times",
        f"from 24 settings ({24 - len(complete)} of them stopped early) and 8 folds",
        f"the one setting with the best validation score (trial {best})",
        f"complete settings reach {100 * full[complete][:, :, 2].mean(axis=1).max():.1f} % UA",
    ):
        assert sentence in text, sentence
    assert "not in the estimates" not in text


def test_observed_folds_of_the_choices_are_not_changed(write: Write) -> None:
    """Two settings cut after 4 of 5 folds and hopeless: the choices' cells are all measured."""
    rng = np.random.default_rng(2)
    full = random_table(rng, 4, 5, spread=0.0)
    full[0, :, :2] += 0.3
    full[2:] -= 0.3
    observed = full.copy()
    observed[2:, 4] = NAN
    report, whole = report_of(write(observed)), report_of(write(full))
    assert report.estimates is not None
    assert whole.estimates is not None
    assert report.estimates.honest["ua"].mean == pytest.approx(whole.estimates.honest["ua"].mean)
    assert report.estimates.honest["ua"].low == pytest.approx(whole.estimates.honest["ua"].low)


def test_the_same_study_gives_the_same_bytes(write: Write) -> None:
    observed = race_table(random_table(np.random.default_rng(1), 16, 6))
    folder = write(observed)
    assert to_json(report_of(folder)) == to_json(report_of(folder))
    other = write(observed, seed=4)
    assert to_plain(report_of(other))["estimates"] != to_plain(report_of(folder))["estimates"]


def test_trials_without_a_fold_are_counted_and_left_out(write: Write) -> None:
    full = random_table(np.random.default_rng(3), 6, 5)
    full[4] = NAN
    full[5] = NAN
    folder = write(full, reasons={4: "asha: fold s00 at epoch 8", 5: "median: fold s00 at epoch 2"})
    report = report_of(folder)
    assert report.estimates is not None
    assert report.estimates.imputed == 0
    race = report.race
    assert race is not None
    assert (race.stopped, race.unknown, race.inside, race.draws) == (2, 2, 2, 0)
    text = text_of(folder)
    assert "2 of them have no finished fold and cannot take part" in text
    assert "2 of them were stopped inside a fold" in text
    assert "It may be higher: some trials were stopped before" in text
    assert "imputed" not in text
    alone = report_of(write(full[:4])).estimates
    assert alone is not None
    assert report.estimates.honest == alone.honest


def test_when_no_trial_ran_to_its_end(write: Write) -> None:
    full = random_table(np.random.default_rng(3), 2, 5)
    full[:, 3:] = NAN
    folder = write(full)
    assert "Every trial was stopped early, so there are no estimates" in text_of(folder)
    assert json.loads(to_json(report_of(folder)))["race"]["ran"] == 6


def counts(rng: np.random.Generator, c: int, k: int) -> np.ndarray:
    return rng.integers(1, 20, (c, k, 2, 2))


def test_pooled_clips_choose_what_is_handed_over_and_means_choose_the_rest(write: Write) -> None:
    rng = np.random.default_rng(8)
    full, table = random_table(rng, 8, 6), counts(rng, 8, 6)
    observed = full.copy()
    observed[6:, 3:] = NAN

    def pooled(c: int) -> float:
        sums = table[c].sum(axis=0)
        return float((np.diag(sums) / sums.sum(axis=1)).mean())

    report = report_of(write(observed, objective="pooled_ua", val_confusions=table))
    assert report.best_trial == max(range(6), key=pooled)
    assert report.best_trial != full[:6, :, 0].mean(axis=1).argmax()
    text = " ".join(to_text(report).split())
    assert "honest and nested choose by the mean of the folds' validation UA" in text
    by_mean = report_of(write(observed, objective="ua")).estimates
    assert by_mean is not None
    assert report.estimates is not None
    assert report.estimates.honest == by_mean.honest
    # with nothing cut short, pooled clips make every choice
    whole = report_of(write(full, objective="pooled_ua", val_confusions=table))
    assert whole.best_trial == max(range(8), key=pooled)
    assert "choose by the mean of the folds" not in to_text(whole)


def test_pooled_clips_choose_as_the_objective_itself_does(write: Write) -> None:
    """The tables' way of pooling against `Score.of`, fold by fold, absent classes included."""
    from raysearch.study.folder import StudyFolder
    from raysearch.study.record import Record

    rng = np.random.default_rng(9)
    full, table = random_table(rng, 5, 6), counts(rng, 5, 6)
    table[:, 2, 1] = 0
    folder = write(full, objective="pooled_ua", val_confusions=table)
    record = Record.read(StudyFolder(folder))
    rows = [record.rows_of(c) for c in range(5)]
    names = [f"s{f:02d}" for f in range(6)]
    groups = [
        FoldGroups(frozenset({n}), frozenset({names[(f + 1) % 6]})) for f, n in enumerate(names)
    ]
    expected = estimates(
        full[..., 0],
        {"ua": full[..., 2], "wa": full[..., 3]},
        groups,
        judge=lambda over: [Score("pooled_ua").of(row[f] for f in over) for row in rows],
    )
    actual = report_of(folder).estimates
    assert actual is not None
    assert actual.honest_choices == expected.honest_choices
    assert actual.nested_choices == expected.nested_choices
    assert actual.honest == expected.honest


def test_a_thousand_trials_are_reported_within_seconds(write: Write) -> None:
    full = random_table(np.random.default_rng(0), 1000, 10)
    bad = full[:, :3, 0].mean(axis=1) < np.quantile(full[:, :3, 0].mean(axis=1), 0.8)
    full[bad, 3:] = NAN
    params = [{"strategy": "abcdef"[c % 6], "gamma": 0.1} for c in range(1000)]
    folder = write(full, params=params)
    started = time.process_time()  # of this process alone: other work must not fail it
    to_text(report_of(folder))
    assert time.process_time() - started < 10


def test_test_scores_have_no_part_in_a_choice_after_a_race(write: Write) -> None:
    observed = race_table(random_table(np.random.default_rng(6), 20, 8))
    other = observed.copy()
    other[..., 2:] = np.where(np.isfinite(observed[..., 2:]), 1.0 - observed[..., 2:], NAN)
    first, second = report_of(write(observed)).estimates, report_of(write(other)).estimates
    assert first is not None
    assert second is not None
    assert first.honest_choices == second.honest_choices
    assert first.nested_choices == second.nested_choices
    assert first.honest["ua"].mean != second.honest["ua"].mean


@pytest.mark.parametrize("objective", ["ua", "wa", "pooled_ua", "worst_ua"])
def test_a_setting_that_no_judging_fold_has_measured_is_not_chosen(
    write: Write, objective: str
) -> None:
    """Equal scores everywhere, and a first row that was cut short: an exact tie, by the model."""
    table = np.full((3, 6, 4), 0.6)
    table[0, 1:] = NAN
    full = counts(np.random.default_rng(0), 3, 6)
    report = report_of(write(table, objective=objective, val_confusions=full))
    assert report.estimates is not None
    assert report.estimates.judges[0] == (1, 2, 3, 4)  # fold 5 validates on the speaker of fold 0
    assert report.estimates.honest_choices[0] == 1
    assert report.estimates.nested_choices[1:] == (1,) * 5


def test_the_worst_quarter_after_a_race(write: Write) -> None:
    """The expected worst quarter of a cut setting holds the noise of the folds it did not run.

    A setting alone on few folds, all of them good, must not beat one that ran them all.
    """
    full = random_table(np.random.default_rng(4), 12, 8, spread=0.0)
    full[3] += 0.02
    observed = full.copy()
    observed[6:, 2:] = NAN
    report = report_of(write(observed, objective="worst_ua"))
    assert report.estimates is not None
    assert report.best_trial in range(6)
    assert set(report.estimates.honest_choices) <= set(range(6))
