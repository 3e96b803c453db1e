"""The searches that never heard a held-out group: their choices, and honest set against them."""

from __future__ import annotations

import pandas as pd

from raysearch.report import sentences
from raysearch.report.document import Column, Section, Table
from raysearch.report.scoring import Scores
from raysearch.report.units import unit_of
from raysearch.selection import compare
from raysearch.study.outer_searches import OuterSearch
from raysearch.study.record import Record
from raysearch.study.wording import many


def meaning(record: Record) -> str:
    """What the estimate is."""
    settings = sorted({search.ended for search in record.outer})
    each = str(settings[0]) if len(settings) == 1 else f"{settings[0]} to {settings[-1]}"
    return (
        f"each {record.unit} is scored with the setting that a search of its own chose, of {each}. "
        f"That {record.unit} is in no clip that the search trained or validated on. Honest's one "
        "search has proposed its settings by the validation scores of all."
    )


def section(record: Record, scores: Scores) -> Section | None:
    """By held-out group, the setting that its own search chose, and what both choices score."""
    if not record.outer:
        return None
    if not scores.estimates.outer:
        return Section("outer", _title(record), (_missing(record.outer),))
    units = {m: unit_of(m) for m in scores.shown}
    first = scores.metric
    rows = [
        {
            "fold": fold.name,
            "params": dict(search.choice.params) if search.choice is not None else {},
            "validation": None if search.choice is None else search.choice.value,
            **{m: scores.estimates.outer[m].values[f] for m in units},
            "honest": scores.estimates.honest[first].values[f],
        }
        for f, (fold, search) in enumerate(zip(record.folds, record.outer, strict=True))
    ]
    columns = (
        Column("fold", f"held-out\n{record.unit}", "name"),
        Column("validation", f"validation\n{units[first].heading}", units[first].value),
        *(Column(m, f"outer\n{u.heading}", u.value) for m, u in units.items()),
        Column("honest", f"honest\n{units[first].heading}", units[first].value),
        Column("params", "its search's choice", "params"),
    )
    return Section(
        "outer",
        _title(record),
        tuple(_difference(record, scores, m) for m in units),
        Table(pd.DataFrame(rows), columns),
        (_work(record.outer),),
    )


def _title(record: Record) -> str:
    return f"A search of its own for each {record.unit}"


def _difference(record: Record, scores: Scores, metric: str) -> str:
    """Honest minus outer, paired over what is held out."""
    honest, outer = (scores.estimates.of(kind)[metric].values for kind in ("honest", "outer"))
    d = compare(honest, outer, [fold.groups for fold in record.folds])
    heading = unit_of(metric).heading
    text = sentences.difference(d, "honest", "outer", unit=record.units, metric=metric)
    return f"{heading}: {text}"


def _work(searches: tuple[OuterSearch, ...]) -> str:
    """What the searches ran, and what had been computed before."""
    folds = sorted({search.folds for search in searches})
    each = str(folds[0]) if len(folds) == 1 else f"{folds[0]} to {folds[-1]}"
    run, reused = (sum(s.stages.get(what, 0) for s in searches) for what in ("run", "reused"))
    return (
        f"{len(searches)} searches of {each} folds a setting, by the validation "
        f"score over these: {many(run, 'stage')} computed, {reused} found stored. A fold that the "
        "study's own search has trained with the same setting is not trained again."
    )


def _missing(searches: tuple[OuterSearch, ...]) -> str:
    """Why there is no estimate yet."""
    done = sum(search.done for search in searches)
    without = [search.fold for search in searches if search.done and search.row is None]
    if without:
        return (
            f"There is no outer estimate: in the search for {', '.join(without)} no trial is "
            "complete."
        )
    return (
        f"{done} of {len(searches)} searches are finished; the outer estimate comes with the last "
        "one, and the same command goes on."
    )
