"""Paired comparisons on test scores: the best settings, and each categorical parameter's values.

Settings: the best complete one by validation against each of the next best; and, where a setting
was enqueued, the honest procedure's choices against the first of those, the baseline.

Values of a parameter were tried with different settings, one lucky and another not, so their
plain means would compare the company they record. What a user of a value would get is its best
setting, and so each value is stood for by the setting that the honest procedure chooses among
its own: for fold f, by the folds that neither test nor validate on the groups that f tests. Two
values are compared by the differences of these choices' test scores, fold by fold. A value that
was tried more often had more to choose from, which is why the counts are shown. Intervals are
over speakers: what settings that were not tried would have done, they do not tell.
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
from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from raysearch.report.cells import bounds
from raysearch.report.document import Column, Comparison, Level, Pair, Section, Table
from raysearch.report.plots import Intervals, Mark
from raysearch.report.scoring import Scores
from raysearch.selection import (
    Difference,
    Matrix,
    compare_over_draws,
    holm,
    honest_choice,
    judged,
    nothing,
    over_groups,
    sentence,
)
from raysearch.study.record import Record
from raysearch.study.wording import clean, many, percent, value

HONEST = "honest choice"
OTHERS = 4
"""further settings that the best one is held against"""
SHOWN = 0.05
"""the corrected p under which a difference is called one, as in `sentence`"""
ALL_PAIRS = 6
"""values of a parameter up to which each is held against each other"""

_Sides = tuple[str, str, Difference]


def comparisons(record: Record, scores: Scores) -> tuple[Comparison, ...]:
    """The settings' comparison first, then one for each parameter with two values or more."""
    # [K, C]: what each fold's honest choice is made by, and [draws][C, K]: test scores
    judges = judged([fold.groups for fold in record.folds], scores.judge)
    tests = [t[scores.metric] for _, t in scores.draws]
    found = [_settings(record, scores, judges, tests)]
    for name, domain in sorted(record.params.items()):
        if isinstance(domain, dict) and ("choice" in domain or "grid" in domain):
            found.append(_parameter(name, record, scores, judges, tests))
    return tuple(x for x in found if x is not None)


def section(found: Comparison, record: Record) -> Section:
    """A comparison as a table, with what was compared and the sentences of its first rows."""
    frame = pd.DataFrame(
        [
            {
                # the section's title says which parameter it is
                "a": pair.a.removeprefix(f"{found.parameter}="),
                "b": pair.b.removeprefix(f"{found.parameter}="),
                "difference": pair.difference.mean,
                "interval": bounds(pair.difference.low, pair.difference.high),
                "p": pair.p,
            }
            for pair in found.pairs
        ],
        dtype=object,
    )
    columns = (
        Column("a", found.parameter or "", "text"),
        Column("b", "against", "text"),
        Column("difference", f"test {found.metric.upper()}", "points"),
        Column("interval", "95 %\ninterval", "range"),
        Column("p", "p\n(Holm)", "p"),
    )
    if found.parameter is None:
        title = "Best settings against each other"
        best = found.pairs[0].a
        chosen = f" {best.capitalize()} was chosen by the validation scores of all folds, which "
        chosen += "flatters it a little."
        before: tuple[str, ...] = (
            f"Differences over {record.units}, paired.{'' if best == HONEST else chosen}",
        )
        told = found.pairs
    else:
        name = found.parameter
        title = f"{name}: each value against {_against(found)}"
        counts = ", ".join(
            f"{level.name} {percent(level.score)} ({many(level.settings, 'setting')})"
            for level in found.levels
        )
        before = (
            f"Each value of {name} is stood for by its own best setting, chosen anew for every "
            f"held-out {record.unit} by the validation scores of folds in which that "
            f"{record.unit} had no part. Differences of test {found.metric.upper()} are over "
            f"{record.units}, paired, for the settings that were tried. In simulations such "
            "intervals miss in 6 to 9 % of studies rather than 5: read a p near 0.05 as doubt.",
            f"Test {found.metric.upper()} in %: {counts}.",
        )
        best = f"{name}={found.levels[0].name}"
        told = tuple(pair for pair in found.pairs if pair.a == best)
    return Section(
        "compare" if found.parameter is None else f"compare_{found.parameter}",
        clean(title),
        tuple(clean(line) for line in before),
        Table(frame, columns),
        tuple(clean(line) for line in _told(told, record)),
        plots=(picture(found, record),),
    )


def picture(found: Comparison, record: Record) -> Intervals:
    """The differences with their intervals."""
    what = "settings" if found.parameter is None else f"values of {found.parameter}"
    return Intervals(
        f"compare_{found.parameter or 'settings'}",
        clean(f"Differences of {what}, paired over {record.units}"),
        f"difference of test {found.metric.upper()} in points, and 95 % interval",
        tuple(
            Mark(
                clean(
                    f"{pair.a.removeprefix(f'{found.parameter}=')} − "
                    f"{pair.b.removeprefix(f'{found.parameter}=')}"
                ),
                100 * pair.difference.mean,
                None if pair.difference.low is None else 100 * pair.difference.low,
                None if pair.difference.high is None else 100 * pair.difference.high,
                strong=pair.p is not None and pair.p < SHOWN,
            )
            for pair in found.pairs
        ),
        zero=True,
    )


def _told(pairs: Sequence[Pair], record: Record) -> list[str]:
    """What the pairs show: a sentence each, or one for several that show nothing."""
    shown = [pair for pair in pairs if pair.p is not None and pair.p < SHOWN]
    lines = [pair.sentence for pair in shown]
    rest = [pair for pair in pairs if pair not in shown]
    for a in dict.fromkeys(pair.a for pair in rest):
        mine = [pair for pair in rest if pair.a == a]
        n = mine[0].difference.n
        if len(mine) == 1 or n < 2:
            lines += [pair.sentence for pair in mine]
        else:
            lines.append(nothing(a, [pair.b for pair in mine], n, unit=record.units))
    return lines


def _against(found: Comparison) -> str:
    few = len(found.levels) <= ALL_PAIRS
    return "each other" if few else f"the best one, of {len(found.levels)}"


def _settings(
    record: Record, scores: Scores, judges: Matrix, tests: Sequence[Matrix]
) -> Comparison | None:
    order = scores.order
    best = order[0]
    grouped = [over_groups(t, record.folds) for t in tests]
    sides = [
        (
            _trial(scores, best),
            _trial(scores, c),
            compare_over_draws([(t[best], t[c]) for t in grouped]),
        )
        for c in order[1 : 1 + OTHERS]
    ]
    enqueued = [c for c in scores.complete if scores.trials[c].origin == "enqueued"]
    if enqueued and len(scores.trials) > 1:
        first = enqueued[0]
        gained = compare_over_draws(
            [
                (_honest(judges, t, None, record), g[first])
                for t, g in zip(tests, grouped, strict=True)
            ]
        )
        sides.append((HONEST, f"{_trial(scores, first)} (enqueued)", gained))
    return Comparison("settings", None, scores.metric, _family(sides, record)) if sides else None


def _parameter(
    name: str, record: Record, scores: Scores, judges: Matrix, tests: Sequence[Matrix]
) -> Comparison | None:
    rows: dict[str, list[int]] = {}
    shown: dict[str, str] = {}
    for c, trial in enumerate(scores.trials):
        if name in trial.params:
            key = _key(trial.params[name])
            rows.setdefault(key, []).append(c)
            shown[key] = value(trial.params[name])
    if len(rows) < 2:
        return None
    everything = range(len(record.folds))
    standing = np.asarray(scores.judge(everything), dtype=np.float64)
    # best by validation first; of equals, the one seen first
    levels = sorted(rows, key=lambda key: -round(float(standing[rows[key]].max()), 12))
    chosen = {key: [_honest(judges, t, rows[key], record) for t in tests] for key in levels}
    pairs = (
        list(combinations(levels, 2))
        if len(levels) <= ALL_PAIRS
        else [(levels[0], other) for other in levels[1:]]
    )
    sides = [
        (
            f"{name}={shown[a]}",
            f"{name}={shown[b]}",
            compare_over_draws(zip(chosen[a], chosen[b], strict=True)),
        )
        for a, b in pairs
    ]
    return Comparison(
        "parameter",
        name,
        scores.metric,
        _family(sides, record),
        tuple(Level(shown[k], len(rows[k]), float(np.stack(chosen[k]).mean())) for k in levels),
    )


def _honest(scores: Matrix, test: Matrix, rows: Sequence[int] | None, record: Record) -> Matrix:
    """Test scores of what the honest procedure chooses among some rows, by held-out group."""
    found = test[list(honest_choice(scores, rows)), np.arange(test.shape[1])]
    return over_groups(found, record.folds)


def _family(sides: Sequence[_Sides], record: Record) -> tuple[Pair, ...]:
    each = [d.p_t for _, _, d in sides]
    tested = [p for p in each if p is not None]  # all of them, or with one fold none
    adjusted: Sequence[float | None] = holm(tested) if tested else each
    return tuple(
        Pair(a, b, d, p, sentence(d, a, b, p=p, unit=record.units))
        for (a, b, d), p in zip(sides, adjusted, strict=True)
    )


def _trial(scores: Scores, row: int) -> str:
    return f"trial {scores.trials[row].number}"


def _key(x: Any) -> str:
    # a grid's 0.30000000000000004 is its 0.3; true is not 1
    return json.dumps(float(f"{x:.9g}") if isinstance(x, float) else x)
