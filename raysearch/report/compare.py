"""Two studies against each other, paired over the folds that they share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from raysearch.errors import BadInput
from raysearch.report import sentences
from raysearch.report.cells import bounds
from raysearch.report.document import Column, Comparison, Pair, Report, Section, Table
from raysearch.report.scoring import Scores, score
from raysearch.report.sections.comparisons import picture
from raysearch.report.units import unit_of
from raysearch.selection import Difference, Groups, Matrix, compare_over_draws, metric_of
from raysearch.study.record import Record
from raysearch.study.wording import clean, listed, many

_LETTERS = ("A", "B")
"""what tables call the studies, whose names are long"""


def build(a: Record, b: Record) -> Report:
    """What two studies say about each other, as a report.

    Each study is stood for by its honest choice: for each fold, the setting that the validation
    scores of the folds without that fold's test groups choose. A difference is between two such
    procedures, each with as many settings as its study tried.

    Raises:
        BadInput: one of them has no complete trial, or they differ in corpora or
            classes, or share no fold.
    """
    studies = (a, b)
    scores = [_scores_of(one) for one in studies]
    shared, (alike, others) = _shared(a, b), _metrics(scores)
    metrics = [*alike, *others]
    honest = [
        {m: _honest(of_one, m)[:, _places(one, shared)] for m in metrics}
        for one, of_one in zip(studies, scores, strict=True)
    ]
    held_out = [a.folds[place] for place in _places(a, shared)]
    differences = {m: _difference(honest[0][m], honest[1][m], held_out) for m in metrics}
    names = _names(a, b)
    metric = scores[0].metric
    d = differences[metric]
    pair = Pair(*names, d, d.p, sentences.difference(d, *names, unit=a.units, metric=metric))
    family = Comparison("studies", None, metric, (pair,))
    headlines = [
        f"{letter} is {name}: {' '.join(sentences.headline(one))}"
        for letter, name, one in zip(_LETTERS, names, studies, strict=True)
    ]
    warnings = [sentences.warnings(one, s) for one, s in zip(studies, scores, strict=True)]
    return Report(
        study=f"{a.name} against {b.name}",
        headline=tuple(headlines),
        warnings=(*_cautions(a, b, scores, shared), *_warnings(warnings)),
        sections=(
            _result(a, b, family, _table(honest, differences, alike), len(shared)),
            *([_further(_table(honest, differences, others), others, a)] if others else []),
            _by_fold(a, shared, honest, metric),
        ),
        facts={},
        states={},
        folds=tuple(shared),
        stages_run=0,
        stages_reused=0,
        seconds=0.0,
        comparisons=(family,),
    )


def _result(a: Record, b: Record, family: Comparison, table: Table, shared: int) -> Section:
    (pair,) = family.pairs
    of = f"{shared} of {len(a.folds)} and {len(b.folds)}"
    after = (
        "Each study is stood for by its honest choices. Differences are paired over the folds "
        f"that both have: {of}. One pair of studies is one test, so p is not corrected."
    )
    if pair.difference.n < shared:
        after += (
            f" Folds of one held-out {a.unit} share its clips, so interval and p are over the "
            f"{pair.difference.n} {a.units}."
        )
    return Section(
        "estimates",
        f"{pair.a} against {pair.b}",
        (pair.sentence,),
        table,
        (after,),
        plots=(picture(family, a),),
        opening=True,
    )


def _places(record: Record, names: Sequence[str]) -> list[int]:
    """Where these folds are among the study's."""
    every = [fold.name for fold in record.folds]
    return [every.index(name) for name in names]


def _warnings(each: Sequence[Sequence[str]]) -> list[str]:
    """The cautions of both studies; one that both have stands once."""
    both = [line for line in each[0] if line in each[1]]
    return both + [
        f"{letter}: {line}"
        for letter, lines in zip(_LETTERS, each, strict=True)
        for line in lines
        if line not in both
    ]


def _scores_of(record: Record) -> Scores:
    scores = score(record)
    if scores is None:
        raise BadInput(
            f"study={record.name} has no complete trial, so there is nothing to compare; run its "
            "tune command until one is"
        )
    return scores


def _shared(a: Record, b: Record) -> list[str]:
    """Names of the folds that both hold out, in the first study's order."""
    problems = []
    for what, mine, other in (
        ("corpora", _corpora(a), _corpora(b)),
        ("classes", sorted(a.classes), sorted(b.classes)),
    ):
        if mine != other:
            problems.append(
                f"{a.name} and {b.name} differ in their {what} ({listed(mine)} and "
                f"{listed(other)}): their scores cannot be compared; name two studies "
                f"of the same {what}"
            )
    if problems:
        raise BadInput(problems)
    groups = {fold.name: fold.test_groups for fold in b.folds}
    shared = [fold.name for fold in a.folds if groups.get(fold.name) == fold.test_groups]
    if not shared:
        raise BadInput(
            f"{a.name} and {b.name} share no fold ({a.division}: "
            f"{_few([f.name for f in a.folds])}; {b.division}: "
            f"{_few([f.name for f in b.folds])}); name two studies of one protocol"
        )
    return shared


def _corpora(record: Record) -> list[str]:
    return sorted(record.corpora)


def _few(names: Sequence[str]) -> str:
    return listed(names[:4]) + (", …" if len(names) > 4 else "")


def _names(a: Record, b: Record) -> tuple[str, str]:
    return (a.name, b.name) if a.name != b.name else (f"{a.name} (first)", f"{b.name} (second)")


def _honest(scores: Scores, metric: str) -> Matrix:
    """[draws, K] test scores of the honest choices; one row where nothing was drawn."""
    rows, columns = list(scores.estimates.honest_choices), np.arange(len(scores.estimates.judges))
    return np.array([t[metric][rows, columns] for _, t in scores.draws])


def _metrics(scores: Sequence[Scores]) -> tuple[list[str], list[str]]:
    """The metrics that both studies have: those of the first one's objective's unit, this one
    first, and those of the other, as a column has one unit."""
    first = scores[0].metric
    both = [m for m in scores[0].test if m in scores[1].test]
    if first not in both:
        raise BadInput(f"the second study has no {unit_of(first).heading} to compare")
    both.sort(key=lambda m: m != first and first not in ("ua", "wa"))
    percent = unit_of(first).metric.percent
    alike = [m for m in both if unit_of(m).metric.percent == percent]
    return alike, [m for m in both if m not in alike]


def _further(table: Table, metrics: Sequence[str], record: Record) -> Section:
    """Calibration and agreement of both studies."""
    less = [unit_of(m).heading for m in metrics if not metric_of(m).higher]
    return Section(
        "further_scores",
        "The same by other scores",
        (),
        table,
        (
            f"Paired over {record.units}, and not corrected for their number."
            + (f" Of {' and '.join(less)} less is better." if less else ""),
        ),
    )


def _difference(a: Matrix, b: Matrix, folds: Sequence[Groups]) -> Difference:
    """Of honest scores [draws, K]; a study without a hole has one draw, which stands for all."""
    n = max(len(a), len(b))
    whole = (np.broadcast_to(x, (n, x.shape[1])) for x in (a, b))
    return compare_over_draws(zip(*whole, strict=True), folds)


def _table(
    honest: Sequence[Mapping[str, Matrix]], pairs: Mapping[str, Difference], metrics: Sequence[str]
) -> Table:
    rows = []
    u = unit_of(metrics[0])
    for m in metrics:
        d = pairs[m]
        means = [float(one[m].mean()) for one in honest]
        rows.append(
            {"score": unit_of(m).heading, "a": means[0], "b": means[1], "difference": d.mean}
            | {"interval": bounds(d.low, d.high), "p": d.p}
        )
    columns = (
        Column("score", "test score", "name"),
        Column("a", "A", u.value),
        Column("b", "B", u.value),
        Column("difference", "A − B", u.difference),
        Column("interval", "95 %\ninterval", u.range),
        Column("p", "p", "p"),
    )
    return Table(pd.DataFrame(rows, dtype=object), columns)


def _by_fold(
    record: Record,
    shared: Sequence[str],
    honest: Sequence[Mapping[str, Matrix]],
    metric: str,
) -> Section:
    a, b = (one[metric].mean(axis=0) for one in honest)
    u = unit_of(metric)
    frame = pd.DataFrame({"fold": list(shared), "a": a, "b": b, "difference": a - b})
    columns = (
        Column("fold", f"held-out\n{record.unit}", "name"),
        Column("a", "A", u.value),
        Column("b", "B", u.value),
        Column("difference", "A − B", u.difference),
    )
    title = f"Honest test {u.heading} by fold"
    return Section("folds", title, (), Table(frame, columns))


def _cautions(a: Record, b: Record, scores: Sequence[Scores], shared: Sequence[str]) -> list[str]:
    """What a reader must know of the pairing."""
    lines = []
    if scores[0].metric != scores[1].metric:
        lines.append(
            f"{a.name} chose its settings by {unit_of(scores[0].metric).heading}, {b.name} by "
            f"{unit_of(scores[1].metric).heading}."
        )
    clips = [{fold.name: fold.clips for fold in one.folds} for one in (a, b)]
    apart = [name for name in shared if clips[0][name] != clips[1][name]]
    if apart:
        lines.append(
            f"{many(len(apart), 'fold')} test other clips in one study than in the other "
            f"({_few(apart)}), so they are paired by {a.unit} alone."
        )
    left = len(a.folds) + len(b.folds) - 2 * len(shared)
    if left:
        lines.append(f"{many(left, 'fold')} that only one of the studies has are left out.")
    if set(a.simulated) != set(b.simulated):
        lines.append("What is simulated differs between the studies.")
    return [clean(line) for line in lines]
