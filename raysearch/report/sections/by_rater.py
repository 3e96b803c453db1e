"""Scores by target rater, where a study learns one rater's perception."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd

from raysearch.report.document import Column, Section, Table
from raysearch.report.scoring import METRICS, Scores
from raysearch.study.record import Kept

MEAN = "mean"


def section(kept: Kept, scores: Scores) -> Section | None:
    """Each target rater's ratings and scores; None where labels are learnt."""
    if not kept.raters:
        return None
    m, found = scores.metric, scores.found
    made = []
    for rater in kept.raters:
        mine = _folds_of(kept, rater)
        row = {
            "rater": rater,
            "folds": len(mine),
            "ratings": sum(kept.folds[f].clips for f in mine),
        }
        row |= {f"selected_{x}": scores.test[x][found.best, mine].mean() for x in METRICS}
        made.append(row | {"honest": np.array(found.honest[m].values)[mine].mean()})
    frame = pd.DataFrame(made)
    means = frame[["selected_ua", "selected_wa", "honest"]].mean().to_dict()
    total = {"rater": MEAN, "folds": len(kept.folds), "ratings": int(frame["ratings"].sum())}
    frame = pd.concat([frame, pd.DataFrame([total | means])], ignore_index=True)
    columns = (
        Column("rater", "target rater", "name"),
        Column("folds", "folds", "count"),
        Column("ratings", "ratings\ntested on", "count"),
        Column("selected_ua", "selected\nUA", "percent"),
        Column("selected_wa", "selected\nWA", "percent"),
        Column("honest", f"honest\n{m.upper()}", "percent"),
    )
    number = scores.trials[found.best].number
    return Section(
        "raters",
        f"By target rater, on the rater's own ratings: trial {number} (selected), honest choice",
        (),
        Table(frame, columns),
        (
            f"A rater's score is the mean over that rater's folds; {MEAN} is over raters.",
            f"Folds of one held-out {kept.unit} share its clips, so intervals above are over "
            f"{kept.units}, whatever the number of raters; a race takes folds for independent.",
        ),
    )


def settings_section(kept: Kept, scores: Scores) -> Section | None:
    """The first metric of every named setting (of the best ones, where none is) by target rater."""
    if not kept.raters:
        return None
    names = _names(kept)
    listed = [
        (names[key], c) for c in scores.complete if (key := _key(scores.trials[c].params)) in names
    ] or [(f"trial {scores.trials[c].number}", c) for c in scores.order[:10]]
    test = scores.test[scores.metric]
    made = []
    for name, c in listed:
        each = {f"r{i}": test[c, _folds_of(kept, x)].mean() for i, x in enumerate(kept.raters)}
        made.append({"setting": name} | each | {MEAN: float(np.mean(list(each.values())))})
    columns = (
        Column("setting", "setting", "text"),
        *(Column(f"r{i}", name, "percent") for i, name in enumerate(kept.raters)),
        Column(MEAN, MEAN, "percent"),
    )
    title = f"Test {scores.metric.upper()} of each setting by target rater"
    return Section("raters_settings", title, (), Table(pd.DataFrame(made), columns))


def _folds_of(kept: Kept, rater: str) -> list[int]:
    return [f for f, fold in enumerate(kept.folds) if fold.rater == rater]


def _names(kept: Kept) -> dict[str, str]:
    """Settings of the space that have a name."""
    said = kept.study.get("enqueue") or []
    return {
        _key({n: x for n, x in entry.items() if n != "_name"}): str(entry["_name"])
        for entry in said
        if isinstance(entry, dict) and "_name" in entry
    }


def _key(setting: object) -> str:
    return json.dumps(setting, sort_keys=True)
