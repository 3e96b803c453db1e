"""Reports after a race: what was saved, what is imputed, and whether the estimates still hold."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from raysearch.racing import rule
from raysearch.report import build, to_json, to_plain, to_text
from raysearch.selection import FoldGroups, Score, estimates

Write = Callable[..., Path]
NAN = float("nan")


def made_up(rng: np.random.Generator, c: int, k: int, spread: float = 0.02) -> np.ndarray:
    """[C, K, 4]: settings differ by `spread`, speakers by 0.08, the rest is 0.05 of noise.

    A fold validates the next speaker, so a speaker's ease moves along by one fold.
    """
    speaker = rng.normal(0, 0.08, (k, 1))
    both = np.concatenate([np.roll(speaker, -1, 0)] * 2 + [speaker] * 2, axis=1)
    noise = rng.normal(size=(c, k, 4)) @ np.linalg.cholesky(0.4 + 0.6 * np.eye(4)).T * 0.05
    return 0.6 + rng.normal(0, spread, (c, 1, 1)) + both + noise


def raced(full: np.ndarray, **options: float) -> np.ndarray:
    """The same table as a race would have left it, one trial after another."""
    judge = rule("mixed", **options)
    seen = np.full_like(full, NAN)
    alive = np.ones(len(full), dtype=bool)
    for c in range(len(full)):
        for f in range(full.shape[1]):
            seen[c, f] = full[c, f]
            if judge(seen[: c + 1, :, 0], c, trials=len(full), alive=alive[: c + 1]).stop:
                alive[c] = False
                break
    return seen


def said(folder: Path) -> str:
    return " ".join(to_text(build(folder)).split())


@pytest.mark.slow
def test_on_average_the_estimates_are_those_of_the_full_search(write: Write) -> None:
    """20 races: honest and nested after imputation against the same trials run to their end.

    By a milder limit than the default, whose bias the next test holds.
    """
    off: dict[str, list[float]] = {"honest": [], "nested": [], "oracle": []}
    shares, inside = [], []
    for seed in range(20):
        full = made_up(np.random.default_rng(seed), 40, 10)
        cut = build(write(raced(full, gain=0.003))).estimates
        whole = build(write(full)).estimates
        assert cut is not None
        assert whole is not None
        shares.append(cut.imputed)
        for kind, errors in off.items():
            e, true = getattr(cut, kind)["ua"], getattr(whole, kind)["ua"]
            errors.append(e.mean - true.mean)
        inside.append(cut.honest["ua"].low < whole.honest["ua"].mean < cut.honest["ua"].high)
    assert np.mean(shares) > 0.3
    for kind in ("honest", "nested", "oracle"):
        error = np.std(off[kind], ddof=1) / 20**0.5
        assert abs(np.mean(off[kind])) < max(0.005, 2.5 * error), kind
        assert abs(np.mean(off[kind])) < 0.012, kind
    assert all(inside)


@pytest.mark.slow
def test_after_a_race_at_the_default_limit_the_honest_estimate_is_on_the_careful_side(
    write: Write,
) -> None:
    """So few cells are left that imputation shrinks the best; it must not flatter, nor grow worse.

    `pytest -m slow -rP tests/report/test_race.py` prints the figures that the README gives.
    """
    off = []
    for seed in range(20):
        full = made_up(np.random.default_rng(seed), 40, 10)
        cut, whole = (build(write(table)).estimates for table in (raced(full), full))
        assert cut is not None
        assert whole is not None
        off.append(cut.honest["ua"].mean - whole.honest["ua"].mean)
    mean, error = np.mean(off), np.std(off, ddof=1) / 20**0.5
    print(f"honest after a race - honest of the full search: {100 * mean:.1f} ± {100 * error:.1f}")
    assert -0.02 < mean < 0.005


def test_what_is_handed_over_ran_to_its_end(write: Write) -> None:
    full = made_up(np.random.default_rng(5), 24, 8)
    seen = raced(full)
    report = build(write(seen))
    complete = np.flatnonzero(np.isfinite(seen).all(axis=(1, 2)))
    assert 0 < len(complete) < 24
    best = max(complete, key=lambda c: full[c, :, 0].mean())
    assert report.best_trial == best
    assert report.estimates is not None
    assert report.estimates.selected["ua"].values == pytest.approx(full[best, :, 2])
    share = np.isnan(seen[..., 0]).mean()
    assert report.estimates.imputed == pytest.approx(share)
    race = to_plain(report)["race"]
    ran = int(np.isfinite(seen[..., 0]).sum())
    assert (race["stopped"], race["ran"], race["full"]) == (24 - len(complete), ran, 24 * 8)
    text = " ".join(to_text(report).split())
    for sentence in (
        f"{24 - len(complete)} trials were stopped early: {ran} fold-runs instead of the 192",
        f"{100 * (1 - ran / 192):.1f} % saved",
        f"The other {100 * share:.1f} % of the cells are imputed, {race['draws']} times",
        f"from 24 settings ({24 - len(complete)} of them stopped early) and 8 folds",
        f"the one complete setting with the best mean validation score (trial {best})",
        f"at least {100 * full[complete][:, :, 2].mean(axis=1).max():.1f} % UA",
    ):
        assert sentence in text, sentence
    assert "not in the estimates" not in text


def test_observed_folds_of_the_choices_are_not_changed(write: Write) -> None:
    """Two settings cut after 4 of 5 folds and hopeless: the choices' cells are all measured."""
    rng = np.random.default_rng(2)
    full = made_up(rng, 4, 5, spread=0.0)
    full[0, :, :2] += 0.3
    full[2:] -= 0.3
    seen = full.copy()
    seen[2:, 4] = NAN
    report, whole = build(write(seen)), build(write(full))
    assert report.estimates is not None
    assert whole.estimates is not None
    assert report.estimates.honest["ua"].mean == pytest.approx(whole.estimates.honest["ua"].mean)
    assert report.estimates.honest["ua"].low == pytest.approx(whole.estimates.honest["ua"].low)


def test_the_same_study_gives_the_same_bytes(write: Write) -> None:
    seen = raced(made_up(np.random.default_rng(1), 16, 6))
    folder = write(seen)
    assert to_json(build(folder)) == to_json(build(folder))
    other = write(seen, seed=4)
    assert to_plain(build(other))["estimates"] != to_plain(build(folder))["estimates"]


def test_trials_without_a_fold_are_counted_and_left_out(write: Write) -> None:
    full = made_up(np.random.default_rng(3), 6, 5)
    full[4] = NAN
    full[5] = NAN
    folder = write(full, reasons={4: "asha: fold s00 at epoch 8", 5: "median: fold s00 at epoch 2"})
    report = build(folder)
    assert report.estimates is not None
    assert report.estimates.imputed == 0
    race = report.race
    assert race is not None
    assert (race.stopped, race.unknown, race.inside, race.draws) == (2, 2, 2, 0)
    text = said(folder)
    assert "2 of them have no finished fold and cannot take part" in text
    assert "2 of them were stopped inside a fold" in text
    assert "; at least this)" in text
    assert "imputed" not in text
    alone = build(write(full[:4])).estimates
    assert alone is not None
    assert report.estimates.honest == alone.honest


def test_when_no_trial_ran_to_its_end(write: Write) -> None:
    full = made_up(np.random.default_rng(3), 2, 5)
    full[:, 3:] = NAN
    folder = write(full)
    assert "Every trial was stopped early, so there are no estimates" in said(folder)
    assert json.loads(to_json(build(folder)))["race"]["ran"] == 6


def counts(rng: np.random.Generator, c: int, k: int) -> np.ndarray:
    return rng.integers(1, 20, (c, k, 2, 2))


def test_pooled_clips_choose_what_is_handed_over_and_means_choose_the_rest(write: Write) -> None:
    rng = np.random.default_rng(8)
    full, table = made_up(rng, 8, 6), counts(rng, 8, 6)
    seen = full.copy()
    seen[6:, 3:] = NAN

    def pooled(c: int) -> float:
        sums = table[c].sum(axis=0)
        return float((np.diag(sums) / sums.sum(axis=1)).mean())

    report = build(write(seen, objective="pooled_ua", val_confusions=table))
    assert report.best_trial == max(range(6), key=pooled)
    assert report.best_trial != full[:6, :, 0].mean(axis=1).argmax()
    text = " ".join(to_text(report).split())
    assert "honest and nested choose by the mean of the folds' validation UA" in text
    by_mean = build(write(seen, objective="ua")).estimates
    assert by_mean is not None
    assert report.estimates is not None
    assert report.estimates.honest == by_mean.honest
    # with nothing cut short, pooled clips make every choice
    whole = build(write(full, objective="pooled_ua", val_confusions=table))
    assert whole.best_trial == max(range(8), key=pooled)
    assert "choose by the mean of the folds" not in to_text(whole)


def test_pooled_clips_choose_as_the_objective_itself_does(write: Write) -> None:
    """The tables' way of pooling against `Score.of`, fold by fold, absent classes included."""
    from raysearch.report.reading import read

    rng = np.random.default_rng(9)
    full, table = made_up(rng, 5, 6), counts(rng, 5, 6)
    table[:, 2, 1] = 0
    folder = write(full, objective="pooled_ua", val_confusions=table)
    kept = read(folder)
    rows = [kept.of(c) for c in range(5)]
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
    found = build(folder).estimates
    assert found is not None
    assert found.honest_choices == expected.honest_choices
    assert found.nested_choices == expected.nested_choices
    assert found.honest == expected.honest


def test_a_thousand_trials_are_reported_within_seconds(write: Write) -> None:
    full = made_up(np.random.default_rng(0), 1000, 10)
    bad = full[:, :3, 0].mean(axis=1) < np.quantile(full[:, :3, 0].mean(axis=1), 0.8)
    full[bad, 3:] = NAN
    params = [{"strategy": "abcdef"[c % 6], "gamma": 0.1} for c in range(1000)]
    folder = write(full, params=params)
    started = time.process_time()  # of this process alone: other work must not fail it
    to_text(build(folder))
    assert time.process_time() - started < 10
