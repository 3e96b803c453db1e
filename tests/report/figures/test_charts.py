"""What the pictures show: their data against the tables, and that each kind can be drawn."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from raysearch.report import Layers, Truth
from raysearch.report.figures import png, svg
from raysearch.report.plots import (
    Curves,
    HeatMap,
    HeatMaps,
    Intervals,
    Line,
    Mark,
    Panel,
    Plot,
    Scatter,
)
from raysearch.stages.store import Provenance, Store
from tests.support.study_folders import report_of
from trainables.stage import Artifact

Write = Callable[..., Path]
HOLED = np.array([[1.0, np.nan], [3.0, 4.0]])
GRID = HeatMap("g", "t $x_1$", HOLED, ("a", "b"), ("c", "d"), "y", "x", "%")
RISING = Line("", (1.0, 200.0), (5.0, 6.0), (4.0, None), (6.0, None))
MANY = tuple(Line(f"s={i}", (1.0,), (5.0,), (4.0,), (6.0,)) for i in range(12))
PLOTS: list[Plot] = [
    Intervals("i", "t", "UA in %", (Mark("a", 1.0, 0.5, 2.0, True), Mark("b", 1.0)), zero=True),
    Intervals("i", "t", "share", (Mark("a", 60.0, 50, 70), Mark("b", 40.0, 30, 50)), bars=True),
    Curves("c", "t", "γ", "UA", (RISING,), log=True),
    Curves("c", "t", "x", "UA", MANY),
    GRID,
    HeatMap("g", "t", np.zeros((1000, 10)), ("r",) * 1000, ("c",) * 10, "y", "x", "%"),
    HeatMaps("gs", "t", (GRID,) * 7),
    Scatter("s", "t", ("a", "b"), (Panel("f", np.zeros((4, 2)), np.array([0, 1, 1, 0])),) * 5),
]  # fmt: skip


@pytest.mark.parametrize("plot", PLOTS, ids=lambda plot: type(plot).__name__)
def test_each_kind_is_drawn_the_same_twice(plot: Plot) -> None:
    assert svg(plot) == svg(plot)
    assert png(plot, 60).startswith(b"\x89PNG")


def scores(c: int, k: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0.5, 0.9, (c, k, 4))


def plot_of(folder: Path, section: str, name: str) -> Plot:
    report = report_of(folder)
    return next(p for p in report.section(section).plots if p.name == name)


def test_the_heat_map_has_the_best_on_top_and_is_blank_where_a_race_stopped(write: Write) -> None:
    table = scores(4, 5)
    table[1, 3:] = np.nan
    table[2, :, 0] = 0.95
    grid = plot_of(write(table), "settings", "folds_by_setting")
    assert isinstance(grid, HeatMap)
    assert grid.rows[0] == "trial 2"
    np.testing.assert_allclose(grid.values[0], 100 * table[2, :, 2])
    at = grid.rows.index("trial 1")
    assert np.isnan(grid.values[at]).tolist() == [False, False, False, True, True]
    assert grid.columns == ("s00", "s01", "s02", "s03", "s04")


def test_confusions_are_shares_of_the_true_class(write: Write) -> None:
    folder = write(scores(2, 4), corpus={"classes": ["low", "high"]})
    pooled = plot_of(folder, "classes", "confusion")
    by_fold = plot_of(folder, "classes", "confusion_by_fold")
    assert isinstance(pooled, HeatMap)
    assert isinstance(by_fold, HeatMaps)
    # each fold counts [[4, 1], [2, 3]]
    np.testing.assert_allclose(pooled.values, [[80, 20], [40, 60]])
    assert pooled.rows == ("low (20)", "high (20)")
    assert [grid.title for grid in by_fold.grids] == ["s00", "s01", "s02", "s03"]


def test_a_curve_has_the_means_of_its_table(write: Write) -> None:
    params = [{"gamma": g} for g in (0.1, 0.2, 0.3, 0.1)]
    table = scores(4, 5)
    curve = plot_of(write(table, params=params), "curve_gamma", "curve_gamma")
    assert isinstance(curve, Curves)
    (line,) = curve.lines
    assert line.x == (0.1, 0.2, 0.3)
    assert line.mean[0] == pytest.approx(100 * table[[0, 3], :, 2].mean())
    assert line.mean[2] == pytest.approx(100 * table[2, :, 2].mean())
    assert all(low < m < high for low, m, high in zip(line.low, line.mean, line.high, strict=True))  # type: ignore[operator]


def test_many_values_are_taken_together_and_wide_ranges_shown_by_logarithm(write: Write) -> None:
    params = [{"lr": float(10 ** (-5 + c / 15))} for c in range(60)]
    curve = plot_of(write(scores(60, 4), params=params), "curve_lr", "curve_lr")
    assert isinstance(curve, Curves)
    assert curve.log
    assert len(curve.lines[0].x) == 10


def store_layers(folder: Path, store: Store, first: int) -> Layers:
    """Artifacts whose layer is two far groups, behind `first` other rows."""
    rng = np.random.default_rng(0)
    y = np.arange(20) % 2
    ledger = sqlite3.connect(folder / "ledger.sqlite")
    for c in range(2):
        for f in range(4):
            far = 5 * y[:, None] + rng.normal(0, 0.1, (20, 3))
            layer = np.concatenate([np.zeros((first, 3)), far]).astype(np.float16)
            key = f"{c}{f}".rjust(64, "0")
            store.put(key, Artifact({"embedding_test": layer}), Provenance("x", "student"))
            stages = json.dumps([["student", key, True]])
            where = (stages, c, f)
            ledger.execute("update folds set stages=? where trial=? and idx=?", where)
    ledger.commit()
    ledger.close()
    return Layers(("selected",), {f"s{f:02d}": Truth(y, first) for f in range(4)}, store)


@pytest.mark.parametrize("first", [0, 7])
def test_layers_are_mapped_by_fold_and_groups_that_are_far_stay_apart(
    write: Write, tmp_path: Path, first: int
) -> None:
    folder = write(scores(2, 4), corpus={"classes": ["low", "high"]})
    layers = store_layers(folder, Store(str(tmp_path / "store")), first)
    report = report_of(folder, layers_of=layers)
    (plot,) = report.section("tsne").plots
    assert isinstance(plot, Scatter)
    assert plot.name == f"tsne_{report.best_trial}"
    assert plot.groups == ("low", "high")
    assert [panel.title for panel in plot.panels] == ["s00", "s01", "s02", "s03"]
    for panel in plot.panels:
        distances = np.linalg.norm(panel.points[:, None] - panel.points[None], axis=-1)
        np.fill_diagonal(distances, np.inf)
        nearest = panel.group[distances.argmin(axis=1)]
        assert (nearest == panel.group).all()
    again = report_of(folder, layers_of=layers).section("tsne").plots[0]
    assert isinstance(again, Scatter)
    np.testing.assert_array_equal(again.panels[0].points, plot.panels[0].points)


def test_a_study_without_layers_has_no_such_picture(write: Write, tmp_path: Path) -> None:
    folder = write(scores(2, 4))
    with sqlite3.connect(folder / "ledger.sqlite") as db:
        db.execute("update folds set stages=?", (json.dumps([["student", "0" * 64, True]]),))
    layers = Layers(("selected",), {}, Store(str(tmp_path / "store")))
    with pytest.raises(KeyError):
        report_of(folder, layers_of=layers).section("tsne")
