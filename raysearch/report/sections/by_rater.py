"""Scores by target rater, where a study learns one rater's perception."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd

from raysearch.report.document import Column, Section, Table
from raysearch.report.scoring import Scores
from raysearch.report.units import unit_of
from raysearch.study.record import Record

MEAN = "mean"


def section(record: Record, scores: Scores) -> Section | None:
    """Each target rater's ratings and scores; None where labels are learnt."""
    if not record.raters:
        return None
    m, estimates = scores.metric, scores.estimates
    rows = []
    for rater in record.raters:
        mine = _folds_of(record, rater)
        row = {
            "rater": rater,
            "folds": len(mine),
            "ratings": sum(record.folds[f].clips for f in mine),
        }
        row |= {f"selected_{x}": scores.test[x][estimates.best, mine].mean() for x in scores.shown}
        rows.append(row | {"honest": np.array(estimates.honest[m].values)[mine].mean()})
    frame = pd.DataFrame(rows)
    means = frame[[*(f"selected_{x}" for x in scores.shown), "honest"]].mean().to_dict()
    total = {"rater": MEAN, "folds": len(record.folds), "ratings": int(frame["ratings"].sum())}
    frame = pd.concat([frame, pd.DataFrame([total | means])], ignore_index=True)
    columns = (
        Column("rater", "target rater", "name"),
        Column("folds", "folds", "count"),
        Column("ratings", "ratings\ntested on", "count"),
        *(
            Column(f"selected_{x}", f"selected\n{unit_of(x).heading}", unit_of(x).value)
            for x in scores.shown
        ),
        Column("honest", f"honest\n{unit_of(m).heading}", unit_of(m).value),
    )
    number = scores.best.number
    return Section(
        "raters",
        f"By target rater, on the rater's own ratings: trial {number} (selected), honest choice",
        (),
        Table(frame, columns),
        (
            f"A rater's score is the mean over that rater's folds; {MEAN} is over raters.",
            f"Folds of one held-out {record.unit} share its clips, so all intervals are over "
            f"{record.units}, whatever the number of raters; a race compares over {record.units} "
            "too.",
        ),
    )


def settings_section(record: Record, scores: Scores) -> Section | None:
    """The first metric of every named setting (of the best ones, where none is) by target rater.

    Where the metric is UA and a paper prints it by rater, its line stands beneath the setting's.
    """
    if not record.raters:
        return None
    names = _names(record)
    settings = [
        (names[key], c) for c in scores.complete if (key := _key(scores.trials[c].params)) in names
    ] or [(f"trial {scores.trials[c].number}", c) for c in scores.order[:10]]
    test, u = scores.test[scores.metric], unit_of(scores.metric)
    rows = []
    for name, c in settings:
        each = {f"r{i}": test[c, _folds_of(record, x)].mean() for i, x in enumerate(record.raters)}
        rows.append({"setting": name} | each | {MEAN: float(np.mean(list(each.values())))})
        if scores.metric == "ua" and (paper := _paper(record, name)) is not None:
            rows.append({"setting": f"{name} (paper)"} | paper)
    columns = (
        Column("setting", "setting", "text"),
        *(Column(f"r{i}", name, u.value) for i, name in enumerate(record.raters)),
        Column(MEAN, MEAN, u.value),
    )
    title = f"Test {u.heading} of each setting by target rater"
    frame = pd.DataFrame(rows, columns=[column.name for column in columns], dtype=object)
    return Section("raters_settings", title, (), Table(frame, columns))


def _paper(record: Record, name: str) -> dict[str, float | None] | None:
    """The published UA of a named setting by rater; None where there are none."""
    rows = () if record.published is None else record.published.rows
    row = next((row for row in rows if row.name == name and row.raters), None)
    if row is None:
        return None
    each = [row.raters.get(rater) for rater in record.raters]
    printed = [x for x in each if x is not None]
    mean = float(np.mean(printed)) if len(printed) == len(each) else None
    return {f"r{i}": x for i, x in enumerate(each)} | {MEAN: mean}


def _folds_of(record: Record, rater: str) -> list[int]:
    return [f for f, fold in enumerate(record.folds) if fold.rater == rater]


def _names(record: Record) -> dict[str, str]:
    """Settings of the space that have a name."""
    return {
        _key({n: x for n, x in entry.items() if n != "_name"}): str(entry["_name"])
        for entry in record.enqueued
        if "_name" in entry
    }


def _key(setting: object) -> str:
    return json.dumps(setting, sort_keys=True)
