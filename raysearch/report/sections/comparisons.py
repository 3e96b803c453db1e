"""Paired comparisons on test scores: the best settings, and each categorical parameter's values.

Settings: the best complete one by validation against each of the next best; and, where a setting
was enqueued, the honest procedure's choices against the first of those, the baseline.

The values of a parameter were tried in different settings, so the plain means of two values also
compare the other parameters of these settings. What a user of a value would get is its best
setting, and so each value is stood for by the setting that the honest procedure chooses among
its own: for fold f, by the folds that neither test nor validate on the groups that f tests. Two
values are compared by the differences of these choices' test scores, fold by fold. A value that
was tried more often had more to choose from, which is why the counts are shown. Intervals are
over speakers: they say nothing of settings that were not tried.
Simulated with 10 and 24 speakers, such differences have no bias, and their 95 % intervals miss
in 6 to 9 % of the studies: the choices for two speakers share most of their folds. One setting a
value, chosen on all folds, would miss in 3 to 5 %, but favour the value with more settings (by 0.2
points for 12 against 3).

After a race, choices are by expected validation scores, and differences are taken in each draw of
the missing test scores and pooled as the estimates are. Tests are paired t tests with Holm's
correction over each table, since each is one family.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np
import pandas as pd

from raysearch.report import sentences
from raysearch.report.cells import bounds
from raysearch.report.document import Column, Comparison, Level, Pair, Section, Table
from raysearch.report.plots import Intervals, Mark
from raysearch.report.scoring import Scores, folds_of
from raysearch.report.speaker_intervals import difference_over_speakers
from raysearch.report.units import unit_of
from raysearch.selection import (
    Difference,
    Matrix,
    choice_scores,
    compare_over_draws,
    holm,
    honest_choice,
)
from raysearch.study.record import Record
from raysearch.study.wording import bare, clean, many, value

HONEST = "honest choice"
OTHERS = 4
"""further settings that the best one is held against"""
ALL_PAIRS = 6
"""values of a parameter up to which each is held against each other"""
FEW = 3
"""settings that a value needs more than, for its parameter to have a section of its own"""
STRATEGY = "strategy"
"""the parameter that a study is first asked about"""

_Sides = tuple[str, str, Difference]


def comparisons(record: Record, scores: Scores) -> tuple[Comparison, ...]:
    """The settings' comparison first, then one for each parameter with two values or more."""
    # [K, C]: what each fold's honest choice is made by, and [draws][C, K]: test scores
    judges = choice_scores([fold.groups for fold in record.folds], scores.judge)
    tests = [t[scores.metric] for _, t in scores.draws]
    families = [_settings(record, scores, judges, tests)]
    for name, domain in sorted(record.params.items()):
        if isinstance(domain, dict) and ("choice" in domain or "grid" in domain):
            families.append(_parameter(name, record, scores, judges, tests))
    return tuple(x for x in families if x is not None)


# -- sections --------------------------------------------------------------------------------------
def strategy_section(families: Sequence[Comparison], record: Record) -> Section | None:
    """What the search says of the strategy, in two sentences at most.

    Where no strategy was searched, it is of the parameter whose values differ most clearly, or of
    the settings.
    """
    one = leading(families)
    if one is None:
        return None
    what = "the settings" if one.parameter is None else f"the {one.parameter}"
    if one.parameter not in (None, STRATEGY):
        what = one.parameter or ""
    lines = sentences.comparison(one, record.units)
    if few_settings(one):
        lines = (*lines[:1], sentences.few_settings(one))
    title = clean(f"What the search says of {what}")
    return Section("strategy", title, before=lines[:2], opening=True)


def leading(families: Sequence[Comparison]) -> Comparison | None:
    """The comparison that a study is first asked about: of the strategy, of the parameter whose
    values differ most clearly, or of the settings; None where there is none."""
    parameters = [one for one in families if one.parameter is not None]
    named = [one for one in parameters if one.parameter == STRATEGY]
    return next(iter(named or sorted(parameters, key=_least_p) or families), None)


def _least_p(one: Comparison) -> float:
    return min((pair.p for pair in one.pairs if pair.p is not None), default=1.0)


def few_settings(one: Comparison) -> bool:
    """Whether every value of a parameter was tried in so few settings that luck decides."""
    return one.parameter is not None and all(level.settings <= FEW for level in one.levels)


def joint_section(families: Sequence[Comparison], record: Record) -> Section | None:
    """The parameters with few settings a value, in one table: each value against the best one."""
    rows = []
    thin = [one for one in families if few_settings(one)]
    for one in thin:
        best = f"{one.parameter}={one.levels[0].name}"
        pairs = {pair.b: pair for pair in one.pairs if pair.a == best}
        for level in one.levels:
            pair = pairs.get(f"{one.parameter}={level.name}")
            d = None if pair is None else pair.difference
            rows.append(
                {
                    "parameter": one.parameter,
                    "value": level.name,
                    "settings": level.settings,
                    "score": level.score,
                    # of the value, against the best one: the comparison's has the other sign
                    "difference": None if d is None else -d.mean,
                    "interval": None if d is None else _turned(d),
                    "p": None if pair is None else pair.p,
                }
            )
    if not rows:
        return None
    u = unit_of(thin[0].metric)
    columns = (
        Column("parameter", "parameter", "name", once=True),
        Column("value", "value", "name"),
        Column("settings", "settings", "count"),
        Column("score", f"test\n{u.heading}", u.value),
        Column("difference", "against\nthe best", u.difference),
        Column("interval", "95 %\ninterval", u.range),
        Column("p", "p\n(Holm)", "p"),
    )
    return Section(
        "parameters",
        f"Values of the parameters, tried in {FEW} settings or fewer each",
        (),
        Table(pd.DataFrame(rows, dtype=object), columns),
        (
            "With so few settings a value, the settings' other parameters may make the difference. "
            f"Each value is stood for by its best setting, chosen anew for every held-out "
            f"{record.unit} {sentences.choosing(record)}. report full=true has a section for each "
            "parameter.",
        ),
    )


def _turned(d: Difference) -> tuple[float, float] | None:
    """The interval of b - a, of the difference a - b."""
    return None if d.low is None or d.high is None else (-d.high, -d.low)


def section(one: Comparison, record: Record) -> Section:
    """A comparison as a table, with what was compared and the sentences of its first rows."""
    before = _about_settings(one, record) if one.parameter is None else _about_values(one, record)
    title = "Best settings against each other"
    if one.parameter is not None:
        title = f"{one.parameter}: each value against {_against(one)}"
    return Section(
        "compare" if one.parameter is None else f"compare_{one.parameter}",
        clean(title),
        tuple(clean(line) for line in before),
        _table(one),
        sentences.comparison(one, record.units),
        plots=(picture(one, record),),
        detail=few_settings(one),
    )


def _table(one: Comparison) -> Table:
    """A row a pair; the section's title says which parameter it is."""
    frame = pd.DataFrame(
        [
            {
                "a": _short(pair.a, one),
                "b": _short(pair.b, one),
                "difference": pair.difference.mean,
                "interval": bounds(pair.difference.low, pair.difference.high),
                "p": pair.p,
            }
            for pair in one.pairs
        ],
        dtype=object,
    )
    u = unit_of(one.metric)
    columns = (
        Column("a", one.parameter or "setting", "text"),
        Column("b", "against", "text"),
        Column("difference", f"test {u.heading}", u.difference),
        Column("interval", "95 %\ninterval", u.range),
        Column("p", "p\n(Holm)", "p"),
    )
    return Table(frame, columns)


def _about_settings(one: Comparison, record: Record) -> tuple[str, ...]:
    best = one.pairs[0].a
    line = f"Differences over {_paired_over(one, record)}, paired."
    if best != HONEST and len(record.folds) > 1:
        line += f" {best.capitalize()} was chosen by the validation scores of all folds, which "
        line += "flatters it a little."
    return (line,)


def _paired_over(one: Comparison, record: Record) -> str:
    """What the differences are over, in the plural: where a fold was not run, not speakers."""
    each = (sentences.paired_over(pair.difference, record.units) for pair in one.pairs)
    return " and ".join(dict.fromkeys(each))


def _about_values(one: Comparison, record: Record) -> tuple[str, ...]:
    counts = ", ".join(
        f"{level.name} {bare(one.metric, level.score)} ({many(level.settings, 'setting')})"
        for level in one.levels
    )
    u, unit = unit_of(one.metric), record.unit
    # choices for two speakers share folds; those for given parts do not hang on test speakers
    caution = (
        "They say how far other speakers would move a difference, not how far another training "
        "part would."
        if any(pair.difference.speakers for pair in one.pairs)
        else "In simulations the true difference lies outside such an interval in 6 to 9 % of the "
        "studies, not in 5: a p near 0.05 is no proof."
    )
    return (
        f"Each value of {one.parameter} is stood for by its own best setting, chosen anew for "
        f"every held-out {unit} {sentences.choosing(record)}. Differences of test {u.heading} are "
        f"over {_paired_over(one, record)}, paired, for the settings that were tried. {caution}",
        f"{u.axis('Test')}: {counts}.",
    )


def picture(one: Comparison, record: Record) -> Intervals:
    """The differences with their intervals."""
    what = "settings" if one.parameter is None else f"values of {one.parameter}"
    u = unit_of(one.metric)
    points = " in points" if u.metric.percent else ""
    return Intervals(
        f"compare_{one.parameter or 'settings'}",
        clean(f"Differences of {what}, paired over {_paired_over(one, record)}"),
        f"difference of test {u.heading}{points}, and 95 % interval",
        tuple(
            Mark(
                clean(f"{_short(pair.a, one)} − {_short(pair.b, one)}"),
                u.scale * pair.difference.mean,
                None if pair.difference.low is None else u.scale * pair.difference.low,
                None if pair.difference.high is None else u.scale * pair.difference.high,
                strong=pair.shown,
            )
            for pair in one.pairs
        ),
        zero=True,
    )


def _short(name: str, one: Comparison) -> str:
    """A side without the parameter's name."""
    return name.removeprefix(f"{one.parameter}=")


def _against(one: Comparison) -> str:
    few = len(one.levels) <= ALL_PAIRS
    return "each other" if few else f"the best one, of {len(one.levels)}"


# -- comparisons -----------------------------------------------------------------------------------
def _settings(
    record: Record, scores: Scores, judges: Matrix, tests: Sequence[Matrix]
) -> Comparison | None:
    order = scores.order
    best = order[0]
    k = len(record.folds)
    sides = [
        (
            _trial(scores, best),
            _trial(scores, c),
            _difference(record, scores, tests, (best,) * k, (c,) * k),
        )
        for c in order[1 : 1 + OTHERS]
    ]
    first = scores.baseline
    if first is not None and len(scores.trials) > 1:
        gain = _difference(record, scores, tests, honest_choice(judges), (first,) * k)
        sides.append((HONEST, f"{_trial(scores, first)} (enqueued)", gain))
    return (
        Comparison("settings", None, scores.metric, _family(sides, record, scores.metric))
        if sides
        else None
    )


def _parameter(
    name: str, record: Record, scores: Scores, judges: Matrix, tests: Sequence[Matrix]
) -> Comparison | None:
    rows, names = rows_by_value(name, scores)
    if len(rows) < 2:
        return None
    whole = np.asarray(scores.judge(range(len(record.folds))), dtype=np.float64)
    # best by validation first; of equals, the one that came first
    levels = sorted(rows, key=lambda key: -round(float(whole[rows[key]].max()), 12))
    choices = {key: honest_choice(judges, rows[key]) for key in levels}
    pairs = (
        list(combinations(levels, 2))
        if len(levels) <= ALL_PAIRS
        else [(levels[0], other) for other in levels[1:]]
    )
    sides = [
        (
            f"{name}={names[a]}",
            f"{name}={names[b]}",
            _difference(record, scores, tests, choices[a], choices[b]),
        )
        for a, b in pairs
    ]
    return Comparison(
        "parameter",
        name,
        scores.metric,
        _family(sides, record, scores.metric),
        tuple(
            Level(names[k], len(rows[k]), float(np.mean([_of(t, choices[k]) for t in tests])))
            for k in levels
        ),
    )


def rows_by_value(name: str, scores: Scores) -> tuple[Mapping[str, list[int]], dict[str, str]]:
    """The rows that have each value of a parameter, and how the value is written."""
    rows: dict[str, list[int]] = {}
    names: dict[str, str] = {}
    for c, trial in enumerate(scores.trials):
        if name in trial.params:
            key = _key(trial.params[name])
            rows.setdefault(key, []).append(c)
            names[key] = value(trial.params[name])
    return rows, names


def _of(test: Matrix, choices: Sequence[int]) -> Matrix:
    """Test scores [K] of a row for each fold."""
    scores: Matrix = test[list(choices), np.arange(test.shape[1])]
    return scores


def _difference(
    record: Record,
    scores: Scores,
    tests: Sequence[Matrix],
    a: Sequence[int],
    b: Sequence[int],
) -> Difference:
    """The paired difference of two choices [K] of rows, over held-out groups or test speakers."""
    rows = (folds_of(scores.trials, choice, record) for choice in (a, b))
    over = difference_over_speakers(record, scores.metric, *rows)
    if over is not None:
        return over
    return compare_over_draws([(_of(t, a), _of(t, b)) for t in tests], record.folds)


def _family(sides: Sequence[_Sides], record: Record, metric: str) -> tuple[Pair, ...]:
    # a pair without a test stays in the family that the others are corrected for
    family = holm([1.0 if d.p is None else d.p for _, _, d in sides])
    corrected = [None if d.p is None else p for (_, _, d), p in zip(sides, family, strict=True)]
    return tuple(
        Pair(a, b, d, p, sentences.difference(d, a, b, p=p, unit=record.units, metric=metric))
        for (a, b, d), p in zip(sides, corrected, strict=True)
    )


def _trial(scores: Scores, row: int) -> str:
    return f"trial {scores.trials[row].number}"


def _key(x: object) -> str:
    # a grid's 0.30000000000000004 is its 0.3; true is not 1
    return json.dumps(float(f"{x:.9g}") if isinstance(x, float) else x)
