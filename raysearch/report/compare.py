"""Two studies against each other, paired over the folds that they share."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from raysearch.report import sentences
from raysearch.report.document import Column, Comparison, Report, Section, Table
from raysearch.report.pairing import Pairing, pair_up
from raysearch.report.sections.comparisons import picture
from raysearch.report.units import unit_of
from raysearch.selection import metric_of
from raysearch.study.record import Record

_LETTERS = ("A", "B")
"""what tables call the studies, whose names are long"""


def build(a: Record, b: Record) -> Report:
    """What two studies say about each other, as a report.

    Raises:
        BadInput: one of them has no complete trial, or they differ in corpora or
            classes, or share no fold.
    """
    two = pair_up(a, b)
    names = _names(a, b)
    pair = two.pair(*names)
    family = Comparison("studies", None, two.metric, (pair,))
    headlines = [
        f"{letter} is {name}: {' '.join(sentences.headline(one))}"
        for letter, name, one in zip(_LETTERS, names, (a, b), strict=True)
    ]
    warnings = [sentences.warnings(one, s) for one, s in zip((a, b), two.scores, strict=True)]
    return Report(
        study=f"{a.name} against {b.name}",
        headline=tuple(headlines),
        warnings=(*two.cautions(), *_warnings(warnings)),
        sections=(
            _result(two, family),
            *([_further(two)] if two.others else []),
            _by_fold(two),
        ),
        facts={},
        states={},
        folds=two.shared,
        stages_run=0,
        stages_reused=0,
        seconds=0.0,
        comparisons=(family,),
    )


def _result(two: Pairing, family: Comparison) -> Section:
    (pair,) = family.pairs
    return Section(
        "estimates",
        f"{pair.a} against {pair.b}",
        (pair.sentence,),
        two.table(two.alike, "A", "B", "A − B"),
        (two.rests_on(),),
        plots=(picture(family, two.a),),
        opening=True,
    )


def _further(two: Pairing) -> Section:
    """Calibration and agreement of both studies."""
    over = [sentences.paired_over(two.differences[m], two.a.units) for m in two.others]
    less = [unit_of(m).heading for m in two.others if not metric_of(m).higher]
    return Section(
        "further_scores",
        "The same by other scores",
        (),
        two.table(two.others, "A", "B", "A − B"),
        (
            f"Paired over {' and '.join(dict.fromkeys(over))}, and not corrected for their number."
            + (f" Of {' and '.join(less)} less is better." if less else ""),
        ),
    )


def _by_fold(two: Pairing) -> Section:
    a, b = (one[two.metric].mean(axis=0) for one in two.honest)
    u = unit_of(two.metric)
    frame = pd.DataFrame({"fold": list(two.shared), "a": a, "b": b, "difference": a - b})
    columns = (
        Column("fold", f"held-out\n{two.a.unit}", "name"),
        Column("a", "A", u.value),
        Column("b", "B", u.value),
        Column("difference", "A − B", u.difference),
    )
    title = f"Honest test {u.heading} by fold"
    return Section("folds", title, (), Table(frame, columns))


def _warnings(each: Sequence[Sequence[str]]) -> list[str]:
    """The cautions of both studies; one that both have stands once."""
    both = [line for line in each[0] if line in each[1]]
    return both + [
        f"{letter}: {line}"
        for letter, lines in zip(_LETTERS, each, strict=True)
        for line in lines
        if line not in both
    ]


def _names(a: Record, b: Record) -> tuple[str, str]:
    return (a.name, b.name) if a.name != b.name else (f"{a.name} (first)", f"{b.name} (second)")
