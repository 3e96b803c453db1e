"""Comparisons, seeds and fronts in reports, against the tables they were made from."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from raysearch.report import to_markdown, to_plain, to_text
from tests.support.study_folders import report_of

Write = Callable[..., Path]


def random_table(seed: int, c: int, k: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.clip(0.6 + rng.normal(0, 0.08, (1, k, 1)) + rng.normal(0, 0.05, (c, k, 4)), 0.02, 1)


def comparison(plain: dict[str, Any], parameter: str | None) -> dict[str, Any]:
    family = [x for x in plain["comparisons"] if x["parameter"] == parameter]
    assert len(family) == 1
    return family[0]


def best_of(v: np.ndarray, t: np.ndarray, rows: list[int]) -> np.ndarray:
    """[K] test scores of some rows' honest choices; fold f validates speaker f + 1."""
    k = v.shape[1]
    picked = []
    for f in range(k):
        usable = [g for g in range(k) if g != f and (g + 1) % k != f]
        c = max(rows, key=lambda c: (round(float(np.mean([v[c, g] for g in usable])), 12), -c))
        picked.append(t[c, f])
    return np.array(picked)


def holm_by_hand(p: list[float]) -> list[float]:
    order = sorted(range(len(p)), key=lambda i: p[i])
    out = [0.0] * len(p)
    for rank, i in enumerate(order):
        out[i] = min(1.0, max((len(p) - j) * p[order[j]] for j in range(rank + 1)))
    return out


def test_values_are_compared_by_their_honest_choices(write: Write) -> None:
    table = random_table(0, 18, 7)
    levels = ["hard", "ls", "lr"]
    params = [{"strategy": levels[c % 3], "lr": 0.1} for c in range(18)]
    space = {"strategy": {"choice": levels}, "lr": 0.1, "gamma": {"float": [0, 1]}}
    plain = to_plain(report_of(write(table, params=params)))
    assert [x["parameter"] for x in plain["comparisons"]] == [None]  # the space names no list
    plain = to_plain(report_of(write(table, params=params, space=space)))
    family = comparison(plain, "strategy")
    assert [x["parameter"] for x in plain["comparisons"]] == [None, "strategy"]
    v, t = table[..., 0], table[..., 2]
    rows = {name: [c for c in range(18) if c % 3 == i] for i, name in enumerate(levels)}
    best = {name: v[rows[name]].mean(axis=1).max() for name in levels}
    order = sorted(levels, key=lambda name: -best[name])
    assert [(x["name"], x["settings"]) for x in family["levels"]] == [(n, 6) for n in order]
    assert len(family["pairs"]) == 3
    p = []
    for pair in family["pairs"]:
        a, b = (best_of(v, t, rows[pair[side].partition("=")[2]]) for side in "ab")
        test = stats.ttest_rel(a, b)
        assert pair["difference"] == pytest.approx(np.mean(a - b))
        assert pair["interval"] == pytest.approx(list(test.confidence_interval(0.95)))
        assert (pair["p"], pair["folds"]) == (pytest.approx(test.pvalue), 7)
        p.append(test.pvalue)
    assert [pair["p_holm"] for pair in family["pairs"]] == pytest.approx(holm_by_hand(p))
    assert family["levels"][0]["score"] == pytest.approx(best_of(v, t, rows[order[0]]).mean())


def test_a_value_that_helps_is_said_and_one_that_does_not_too(write: Write) -> None:
    table = random_table(1, 12, 10)
    table[0::3] += 0.2
    params = [{"strategy": ["hard", "ls", "lr"][c % 3]} for c in range(12)]
    report = report_of(write(table, params=params, space={"strategy": {"choice": ["hard"]}}))
    text = " ".join(to_text(report).split())
    assert "strategy=hard scores " in text
    assert "points higher than strategy=ls" in text
    assert "strategy: each value against each other" in text
    assert "chosen anew for every held-out speaker" in text
    assert "(4 settings)" in text
    equal = random_table(2, 12, 10)
    equal[:] = equal[:1]
    report = report_of(write(equal, params=params, space={"strategy": {"choice": ["hard"]}}))
    text = " ".join(to_text(report).split())
    assert (
        "strategy=hard and each of strategy=ls, strategy=lr: no difference that ten speakers can"
        in text
    )
    assert "trial 0 and each of trial 1, trial 2, trial 3, trial 4: no difference" in text
    assert "| hard | ls | +0.0 |" in to_markdown(report)


def test_many_values_are_held_against_the_best_one(write: Write) -> None:
    table = random_table(3, 16, 6)
    params = [{"batch": 2 ** (c % 8)} for c in range(16)]
    report = report_of(write(table, params=params, space={"batch": {"grid": [1, 2]}}))
    family = comparison(to_plain(report), "batch")
    best = 2 ** (int(table[..., 0].mean(axis=1).argmax()) % 8)
    assert {pair["a"] for pair in family["pairs"]} == {f"batch={best}"}
    assert len(family["pairs"]) == 7
    assert "batch: each value against the best one, of 8" in to_text(report)


def test_a_parameter_that_some_settings_lack(write: Write) -> None:
    table = random_table(4, 9, 5)
    params: list[dict[str, Any]] = [{"strategy": "hard"} for _ in range(9)]
    params[2] |= {"smoothing": 0.1}
    params[3] |= {"smoothing": 0.30000000000000004}
    params[4] |= {"smoothing": 0.3}
    space = {"smoothing": {"grid": [0.1, 0.3]}, "strategy": {"choice": ["hard"]}}
    plain = to_plain(report_of(write(table, params=params, space=space)))
    family = comparison(plain, "smoothing")
    assert sorted((x["name"], x["settings"]) for x in family["levels"]) == [("0.1", 1), ("0.3", 2)]
    assert len(plain["comparisons"]) == 2  # one strategy is nothing to compare


def test_the_best_setting_against_the_next_and_honesty_against_the_baseline(write: Write) -> None:
    table = random_table(5, 9, 6)
    plain = to_plain(report_of(write(table, enqueued=2)))
    family = comparison(plain, None)
    v, t = table[..., 0], table[..., 2]
    order = np.argsort(-v.mean(axis=1))
    expected = [(f"trial {order[0]}", f"trial {c}") for c in order[1:5]]
    expected.append(("honest choice", "trial 0 (enqueued)"))
    assert [(pair["a"], pair["b"]) for pair in family["pairs"]] == expected
    for pair, c in zip(family["pairs"], order[1:5], strict=False):
        assert pair["difference"] == pytest.approx((t[order[0]] - t[c]).mean())
    gain = best_of(v, t, list(range(9))) - t[0]
    assert family["pairs"][-1]["difference"] == pytest.approx(gain.mean())
    assert family["pairs"][-1]["p"] == pytest.approx(stats.ttest_1samp(gain, 0).pvalue)


def test_one_complete_setting_beside_stopped_ones(write: Write) -> None:
    table = random_table(5, 4, 6)
    table[1:, 3:] = np.nan
    report = report_of(write(table, enqueued=1))
    pairs = comparison(to_plain(report), None)["pairs"]
    assert [(pair["a"], pair["b"]) for pair in pairs] == [("honest choice", "trial 0 (enqueued)")]
    assert report.section("compare").before == ("Differences over speakers, paired.",)


def test_one_setting_has_nothing_to_be_compared_with(write: Write) -> None:
    plain = to_plain(report_of(write(random_table(0, 1, 4), enqueued=1)))
    assert plain["comparisons"] == []


def test_one_fold_shows_nothing(write: Write) -> None:
    report = report_of(write(random_table(0, 3, 1)))
    pair = comparison(to_plain(report), None)["pairs"][0]
    assert (pair["p"], pair["p_holm"], pair["interval"]) == (None, None, None)
    assert "one fold cannot show a difference" in " ".join(to_text(report).split())


def test_values_of_stopped_trials_take_part(write: Write) -> None:
    """A value whose trials were all stopped is still compared, with a wider interval."""
    full = random_table(6, 12, 8)
    params = [{"strategy": "ab"[c % 2]} for c in range(12)]
    observed = full.copy()
    observed[1::2, 3:] = np.nan
    space = {"strategy": {"choice": ["a", "b"]}}
    cut = comparison(to_plain(report_of(write(observed, params=params, space=space))), "strategy")
    whole = comparison(to_plain(report_of(write(full, params=params, space=space))), "strategy")
    assert [x["settings"] for x in cut["levels"]] == [6, 6]
    low, high = cut["pairs"][0]["interval"]
    sign = 1 if cut["pairs"][0]["a"] == whole["pairs"][0]["a"] else -1
    assert low < sign * whole["pairs"][0]["difference"] < high
    assert 0 <= cut["pairs"][0]["p"] <= 1


# -- seeds -----------------------------------------------------------------------------------------


def test_what_one_seed_moves(write: Write) -> None:
    rng = np.random.default_rng(0)
    repeats = random_table(7, 3, 6)[:, :, None] + rng.normal(0, 0.02, (3, 6, 5, 4))
    table = repeats.mean(axis=2)
    report = report_of(write(table, repeats=repeats, seeds=5))
    best = report.best_trial
    plain = to_plain(report)["seeds"]
    within = np.mean([np.var(x, ddof=1) for x in repeats[best, :, :, 2]]) ** 0.5
    assert plain["seeds"] == 5
    assert plain["within"]["ua"] == pytest.approx(within)
    assert plain["between"]["wa"] == pytest.approx(np.std(table[best, :, 3], ddof=1))
    text = " ".join(to_text(report).split())
    assert "Each score of a fold is the mean of 5 seeds" in text
    assert f"UA {100 * within:.1f} {100 * np.std(table[best, :, 2], ddof=1):.1f}" in text
    assert "5 seeds a fold" in text
    assert to_plain(report_of(write(table)))["seeds"] is None


def test_counts_of_clips_are_not_multiplied_by_seeds(write: Write) -> None:
    table = random_table(7, 2, 4)
    rows = to_plain(report_of(write(table, repeats=np.stack([table] * 2, axis=2), seeds=2)))
    assert rows["tables"]["classes"][0] == {
        "class": "class 0",
        "clips": 10,
        "recall": 0.8,
        "precision": pytest.approx(4 / 6),
        "f1": pytest.approx(8 / 11),
        "taken_for": "class 1 (2)",
    }


# -- several objectives ----------------------------------------------------------------------------


def quarter(x: np.ndarray) -> float:
    return float(np.sort(x)[: int(np.ceil(len(x) / 4))].mean())


def test_the_front_of_two_objectives(write: Write) -> None:
    table = random_table(14, 30, 9)
    report = report_of(write(table, objective=["ua", "worst_ua"]))
    rows = to_plain(report)["tables"]["pareto"]
    points = {c: (table[c, :, 0].mean(), quarter(table[c, :, 0])) for c in range(30)}
    front = [
        c
        for c, (a, b) in points.items()
        if not any(x >= a and y >= b and (x, y) != (a, b) for x, y in points.values())
    ]
    assert sorted(row["trial"] for row in rows) == front
    assert len(front) > 1
    assert all(a["val_ua"] >= b["val_ua"] for a, b in pairwise(rows))
    for row in rows:
        c = row["trial"]
        assert (row["val_ua"], row["val_worst_ua"]) == pytest.approx(points[c])
        assert row["test_ua"] == pytest.approx(table[c, :, 2].mean())
        assert row["test_wa"] == pytest.approx(table[c, :, 3].mean())
        assert row["test_worst_ua"] == pytest.approx(quarter(table[c, :, 2]))
    assert report.best_trial == rows[0]["trial"]
    text = " ".join(to_text(report).split())
    assert "Pareto front of ua and worst_ua" in text
    assert "the best mean validation UA and the best validation UA of the worst quarter" in text
    assert "follow the first, ua" in text
    assert report.estimates is not None
    worst = quarter(np.array(report.estimates.honest["ua"].values))
    assert f"worst quarter of speakers (3 of 9) have a mean of {100 * worst:.1f} % UA" in text
    same = report_of(write(table)).estimates
    assert same == report.estimates


def test_the_worst_speakers_choose_where_they_come_first(write: Write) -> None:
    table = random_table(9, 20, 8)
    report = report_of(write(table, objective=["worst_ua", "wa"]))
    worst = [quarter(row) for row in table[..., 0]]
    assert report.best_trial == int(np.argmax(worst))
    settings = to_plain(report)["tables"]["settings"]
    assert settings[0]["validation"] == pytest.approx(max(worst))
    assert settings[0]["test"] == pytest.approx(table[report.best_trial, :, 2].mean())
    assert "of the worst quarter of folds" in report.section("settings").title
    names = {section.name for section in report_of(write(table)).sections}
    assert "pareto" not in names
