"""Two studies paired over the folds that they share: honest choice against honest choice.

Each study is stood for by its honest choices: for each fold, the setting that the validation scores
of the folds without that fold's test groups choose. A difference is between two such procedures,
each with as many settings as its study tried.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from raysearch.errors import BadInput
from raysearch.report import sentences
from raysearch.report.cells import bounds
from raysearch.report.document import Column, Pair, Table
from raysearch.report.scoring import Scores, folds_of, score
from raysearch.report.speaker_intervals import difference_over_speakers
from raysearch.report.units import unit_of
from raysearch.selection import Difference, Groups, Matrix, compare_over_draws
from raysearch.study.ledger import FoldRow
from raysearch.study.record import Record
from raysearch.study.wording import clean, listed, many


@dataclass(frozen=True)
class Side:
    """What decides whether a study can be paired with another."""

    name: str
    corpora: tuple[str, ...]
    classes: tuple[str, ...]
    division: str
    """of its protocol, in words"""
    folds: Mapping[str, frozenset[str]]
    """by name, the groups that a fold tests; in the study's order"""

    @classmethod
    def of(cls, record: Record) -> Side:
        folds = {fold.name: fold.test_groups for fold in record.folds}
        return cls(record.name, record.corpora, record.classes, record.division, folds)


@dataclass(frozen=True)
class Pairing:
    """Two studies on the folds that they share."""

    a: Record
    b: Record
    scores: tuple[Scores, Scores]
    shared: tuple[str, ...]
    """names of the folds"""
    honest: tuple[Mapping[str, Matrix], Mapping[str, Matrix]]
    """of each study, by metric: [draws, shared folds]; the objective's metric first"""
    differences: Mapping[str, Difference]
    """by metric, a - b"""
    alike: tuple[str, ...]
    """the metrics of the objective's unit, which stand in one column; the objective's first"""
    others: tuple[str, ...]
    """those of the other unit"""

    @property
    def metric(self) -> str:
        """The first study's objective."""
        return self.scores[0].metric

    def pair(self, a: str, b: str) -> Pair:
        """The difference in the objective's metric, in words with these names."""
        d = self.differences[self.metric]
        text = sentences.difference(d, a, b, unit=self.a.units, metric=self.metric)
        return Pair(a, b, d, d.p, text)

    def rests_on(self) -> str:
        """What the pairs are, and how many."""
        folds, d = len(self.shared), self.differences[self.metric]
        text = (
            "Each study is stood for by its honest choices. Differences are paired over the folds "
            f"that both have: {folds} of {len(self.a.folds)} and {len(self.b.folds)}. One pair of "
            "studies is one test, so p is not corrected."
        )
        if d.speakers:
            text += f" Interval and p are over {d.n} test speakers, by the cluster bootstrap."
        elif d.n < folds:
            text += (
                f" Folds of one held-out {self.a.unit} share its clips, so interval and p are over "
                f"the {d.n} {self.a.units}."
            )
        return text

    def table(self, metrics: Sequence[str], a: str, b: str, difference: str) -> Table:
        """Metrics of both studies, and the difference.

        Args:
            metrics: of one unit.
            a, b, difference: the columns' headings.
        """
        u = unit_of(metrics[0])
        rows = []
        for m in metrics:
            d = self.differences[m]
            means = [float(one[m].mean()) for one in self.honest]
            rows.append(
                {"score": unit_of(m).heading, "a": means[0], "b": means[1], "difference": d.mean}
                | {"interval": bounds(d.low, d.high), "p": d.p}
            )
        columns = (
            Column("score", "test score", "name"),
            Column("a", a, u.value),
            Column("b", b, u.value),
            Column("difference", difference, u.difference),
            Column("interval", "95 %\ninterval", u.range),
            Column("p", "p", "p"),
        )
        return Table(pd.DataFrame(rows, dtype=object), columns)

    def cautions(self) -> list[str]:
        """What a reader must know of the pairing."""
        a, b, scores, shared = self.a, self.b, self.scores, self.shared
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


def pair_up(a: Record, b: Record) -> Pairing:
    """Pair two studies.

    Raises:
        BadInput: one of them has no complete trial, or they differ in corpora or classes, or share
            no fold.
    """
    scores = _scores_of(a), _scores_of(b)
    shared, (alike, others) = shared_folds(Side.of(a), Side.of(b)), _metrics(scores)
    metrics = [*alike, *others]
    first, second = (
        {m: _honest(of_one, m)[:, _places(one, shared)] for m in metrics}
        for one, of_one in zip((a, b), scores, strict=True)
    )
    held_out = [a.folds[place] for place in _places(a, shared)]
    chosen = [_honest_folds(one, s, shared) for one, s in zip((a, b), scores, strict=True)]
    differences = {
        m: difference_over_speakers(a, m, *chosen) or _difference(first[m], second[m], held_out)
        for m in metrics
    }
    honest = first, second
    return Pairing(a, b, scores, tuple(shared), honest, differences, tuple(alike), tuple(others))


def shared_folds(a: Side, b: Side) -> list[str]:
    """Names of the folds that both hold out, in the first study's order.

    Raises:
        BadInput: they differ in corpora or classes, or share no fold.
    """
    problems = []
    for what, mine, other in (
        ("corpora", sorted(a.corpora), sorted(b.corpora)),
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
    shared = [name for name, groups in a.folds.items() if b.folds.get(name) == groups]
    if not shared:
        raise BadInput(
            f"{a.name} and {b.name} share no fold ({a.division}: "
            f"{_few(list(a.folds))}; {b.division}: "
            f"{_few(list(b.folds))}); name two studies of one protocol"
        )
    return shared


def _scores_of(record: Record) -> Scores:
    scores = score(record)
    if scores is None:
        raise BadInput(
            f"study={record.name} has no complete trial, so there is nothing to compare; run its "
            "tune command until one is"
        )
    return scores


def _places(record: Record, names: Sequence[str]) -> list[int]:
    """Where these folds are among the study's."""
    every = [fold.name for fold in record.folds]
    return [every.index(name) for name in names]


def _honest(scores: Scores, metric: str) -> Matrix:
    """[draws, K] test scores of the honest choices; one row where nothing was drawn."""
    rows, columns = list(scores.estimates.honest_choices), np.arange(len(scores.estimates.judges))
    return np.array([t[metric][rows, columns] for _, t in scores.draws])


def _honest_folds(record: Record, scores: Scores, names: Sequence[str]) -> list[FoldRow]:
    """The folds of these names, by the honest choices; [] where one was not run."""
    rows = folds_of(scores.trials, scores.estimates.honest_choices, record)
    return [row for name in names for row in rows if row.fold == name]


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


def _difference(a: Matrix, b: Matrix, folds: Sequence[Groups]) -> Difference:
    """Of honest scores [draws, K]; a study without a hole has one draw, which stands for all."""
    n = max(len(a), len(b))
    whole = (np.broadcast_to(x, (n, x.shape[1])) for x in (a, b))
    return compare_over_draws(zip(*whole, strict=True), folds)


def _few(names: Sequence[str]) -> str:
    return listed(names[:4]) + (", …" if len(names) > 4 else "")
