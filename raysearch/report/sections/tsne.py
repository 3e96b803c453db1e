"""The last hidden layer of chosen settings under t-SNE, a panel a fold (as in figs. 7, 8 of 002).

Each fold has a model of its own, so each panel is a map of its own: only the company that points
keep means anything, not where a panel puts them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from raysearch.report.document import Section
from raysearch.report.plots import Panel, Scatter
from raysearch.stages.store import Damaged, Store
from raysearch.study.record import Record
from raysearch.study.wording import clean, many

SELECTED = "selected"
"""stands for the selected trial"""
PANELS = 12
"""folds that a picture shows"""
FEWEST = 5
"""clips that make a map"""
MOST = 1500
"""clips of a panel; of more, so many are drawn"""
SMALL = 2000
"""clips of all panels up to which the maps take seconds"""
KEY = "embedding_test"


@dataclass(frozen=True)
class Truth:
    """The labels of a fold's test clips [n], and their place among the rows that were scored."""

    y: NDArray[np.int64]
    first: int = 0


@dataclass(frozen=True)
class Layers:
    """What the pictures are made of, beside the study's folder."""

    trials: tuple[int | str, ...]
    """numbers, or SELECTED"""
    truth: Mapping[str, Truth]
    """by fold"""
    store: Store

    @property
    def small(self) -> bool:
        """Whether the maps of one setting take no more than seconds."""
        return sum(len(one.y) for one in list(self.truth.values())[:PANELS]) <= SMALL


def section(record: Record, best: int, layers: Layers) -> Section | None:
    """A picture a trial; None where no artifact holds a layer. `best`: the selected trial."""
    plots: list[Scatter] = []
    lacking: list[int] = []
    for number in dict.fromkeys(best if x == SELECTED else int(x) for x in layers.trials):
        panels = _panels(record, number, layers)
        if panels:
            title = f"Trial {number}: last hidden layer of held-out clips (t-SNE)"
            plots.append(Scatter(f"tsne_{number}", title, record.classes, panels))
        else:
            lacking.append(number)
    if not plots:
        return None
    before = [
        f"The network's last hidden layer for the clips of each held-out {record.unit}, by true "
        f"class. Each {record.unit} has a model of its own and so a map of its own; distances "
        "between far groups mean little."
    ]
    shown = len(plots[0].panels)
    if shown < len(record.folds):
        before.append(f"{many(shown, 'fold')} of {len(record.folds)}.")
    if lacking:
        before.append(f"No layer is stored of: {', '.join(f'trial {n}' for n in lacking)}.")
    return Section(
        "tsne",
        "Last hidden layer",
        tuple(clean(line) for line in before),
        plots=tuple(plots),
    )


def _panels(record: Record, number: int, layers: Layers) -> tuple[Panel, ...]:
    """The first folds of a trial, of those whose layers are stored and labels known."""
    panels = []
    for row in record.rows_of(number)[:PANELS]:
        points = _layer(layers.store, row.stages[-1].key)
        truth = layers.truth.get(row.fold)
        if points is None or truth is None:
            continue
        mine = points[truth.first : truth.first + len(truth.y)]
        if len(mine) == len(truth.y) >= FEWEST:
            panels.append(_panel(row.fold, mine, truth.y))
    return tuple(panels)


def _layer(store: Store, key: str) -> NDArray[np.float64] | None:
    try:
        entry = store.get(key)
    except Damaged:
        return None
    values = None if entry is None else entry[0].arrays.get(KEY)
    return None if values is None else values.astype(np.float64)


def _panel(title: str, layer: NDArray[np.float64], y: NDArray[np.int64]) -> Panel:
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    if len(layer) > MOST:
        some = np.sort(np.random.default_rng(0).choice(len(layer), MOST, replace=False))
        layer, y = layer[some], y[some]
    if np.ptp(layer) == 0:
        return Panel(title, np.zeros((len(layer), 2)), y)
    if layer.shape[1] < 2:
        layer = np.pad(layer, ((0, 0), (0, 2 - layer.shape[1])))
    near = min(30.0, (len(layer) - 1) / 3)
    # its threads wait for each other by spinning: beside other work, one is 50 times as fast
    with threadpool_limits(1):
        places = TSNE(2, perplexity=near, init="pca", random_state=0).fit_transform(layer)
    return Panel(title, np.asarray(places, dtype=np.float64), y)
