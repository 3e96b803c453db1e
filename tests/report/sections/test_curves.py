"""Curves over a numeric parameter, held against plain sums."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from raysearch.report import to_text
from raysearch.report.figures import svg
from raysearch.report.formats import json as as_json
from raysearch.report.plots import Curves
from raysearch.study.ledger import Ledger
from tests.support.study_folders import report_of


def test_a_curve_has_a_point_a_value_and_series(write: Callable[..., Path]) -> None:
    rng = np.random.default_rng(0)
    params = [
        {"strategy": s, "gamma": g, "lr": lr}
        for s in ("lr", "ls_lr")
        for g in (0.2, 0.5, 0.8)
        for lr in (1e-3, 1e-4)
    ] + [{"strategy": "hard", "lr": 1e-3}]
    scores = rng.uniform(0.4, 0.8, (len(params), 6, 4))
    report = report_of(write(scores, params=params))
    tables = json.loads(as_json.render(report))["tables"]
    assert "curve_lr" not in tables, "two values make no curve"
    points = tables["curve_gamma"]
    assert [(p["series"], p["value"], p["settings"]) for p in points] == [
        (f"strategy={s}", f"{g:g}", 2) for s in ("lr", "ls_lr") for g in (0.2, 0.5, 0.8)
    ]
    mine = scores[[2, 3], :, 2].mean(axis=0)  # strategy lr, gamma 0.5
    low, high = stats.t.interval(0.95, 5, mine.mean(), stats.sem(mine))
    np.testing.assert_allclose(points[1]["test"], mine.mean())
    np.testing.assert_allclose(points[1]["interval"], [low, high])
    np.testing.assert_allclose(points[1]["validation"], scores[[2, 3], :, 0].mean())


def test_after_a_race_every_value_keeps_its_point(write: Callable[..., Path]) -> None:
    rng = np.random.default_rng(1)
    scores = rng.uniform(0.4, 0.8, (12, 6, 4))
    scores[6:, 2:] = np.nan
    params = [{"gamma": 0.1 * (c % 4)} for c in range(12)]
    report = report_of(write(scores, params=params))
    points = json.loads(as_json.render(report))["tables"]["curve_gamma"]
    assert [p["settings"] for p in points] == [3, 3, 3, 3]
    assert all(0 < p["test"] < 1 for p in points)
    section = report.section("curve_gamma")
    assert "predicted" in section.after[0]
    assert section.table is not None
    assert "series" not in [column.name for column in section.table.columns]


def test_what_curves_share_stands_once(write: Callable[..., Path]) -> None:
    params = [
        {"strategy": name, "gamma": x} for name in ("hard", "soft") for x in (0.1, 0.2, 0.3, 0.4)
    ]
    text = to_text(report_of(write(np.full((8, 4, 4), 0.5), params=params)))
    curve = text[text.index("Test UA against gamma") :].split("\n\n")[0]
    assert curve.count("strategy=hard") == curve.count("strategy=soft") == 1


def test_published_figures_stand_beside_the_points_whose_settings_are_their_rows(
    write: Callable[..., Path],
) -> None:
    params = [{"rule": r, "alpha": a} for r in ("soft", "hard") for a in (0.0, 0.5, 1.0)]
    params.append({"rule": "hard", "alpha": 1.0})  # no row is this trial: the first one is
    folder = write(np.full((7, 4, 4), 0.5), params=params)
    rows = [
        {"name": f"{c}", "params": one, "values": {"ua": 0.5 + c / 100, "wa": 0.9}}
        for c, one in enumerate(params[:6])
    ]
    ledger = Ledger(folder / "ledger.sqlite", write=True)
    ledger.set_fact("published", {"source": "a paper", "metrics": ["ua", "wa"], "rows": rows})
    ledger.close()
    report = report_of(folder)
    points = json.loads(as_json.render(report))["tables"]["curve_alpha"]
    assert [(p["series"], p["paper"]) for p in points] == [
        ("rule=hard", 0.53), ("rule=hard", 0.54), ("rule=hard", None),
        ("rule=soft", 0.50), ("rule=soft", 0.51), ("rule=soft", 0.52),
    ]  # fmt: skip
    section = report.section("curve_alpha")
    (plot,) = section.plots
    assert isinstance(plot, Curves)
    papers = {line.label: line.paper for line in plot.lines}
    np.testing.assert_allclose(papers["rule=soft"], [50, 51, 52])  # type: ignore[arg-type]
    assert papers["rule=hard"][2] is None
    text = svg(plot).decode()
    assert "as published" in text
    assert (
        "as published" not in svg(replace(plot, lines=(replace(plot.lines[0], paper=()),))).decode()
    )


@pytest.mark.parametrize(("each", "detail"), [(3, True), (4, False)])
def test_curves_of_few_settings_a_value_are_details(
    write: Callable[..., Path], each: int, detail: bool
) -> None:
    params = [{"gamma": 0.1 * (c // each)} for c in range(3 * each)]
    scores = np.random.default_rng(0).uniform(0.4, 0.8, (len(params), 4, 4))
    assert report_of(write(scores, params=params)).section("curve_gamma").detail is detail
