"""A paper's table that a space repeats: how it is written, what can be wrong, what a study keeps.

A space's `published` gives the figures that the paper prints for each corpus, as fractions, each by
its metric:

    source: "a paper, Table 2: mean of five seeds"
    corpora:
      emodb:                           # several that are studied together: cremad+iemocap
        rows:                          # or tasks: such rows for each task
          CE: {wa: 0.452, ua: 0.431}
          RD: {ua: 0.455}
          _best: {ua: 0.484}           # of a search: the paper's best, wherever it was

A metric is `ua`, `wa`, or the recall of a class (`recall_sad`). Where raters are learnt, a row may
give the UA of each beside their mean: `CE: {ua: 0.431, raters: {E1: 0.44, E2: 0.42}}`.

A study keeps the table of its corpora and task, its rows joined to the settings of their names.
Figures of other corpora say nothing of it: beside a corpus that the paper has not, none is kept.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from raysearch.errors import near
from raysearch.selection import RECALL

METRICS = ("ua", "wa")
"""what a figure may be beside recalls, in the order in which a report shows them"""
BEST = "_best"
"""the row of the best setting, which papers choose on test scores"""
RATERS = "raters"
"""beside a row's metrics: the UA of each rater"""
_KEYS = ("source", "corpora")
_OF_A_CORPUS = ("rows", "tasks")
_FORM = "as in CE: {wa: 0.452, ua: 0.431}"


@dataclass(frozen=True)
class PublishedRow:
    """One row of a paper's table."""

    name: str
    params: Mapping[str, object]
    """the setting that the row stands for"""
    values: Mapping[str, float]
    """metric -> the paper's figure, in [0, 1]"""
    raters: Mapping[str, float] = field(default_factory=dict)
    """rater -> the paper's UA of that rater alone"""


@dataclass(frozen=True)
class PublishedTable:
    """A paper's table that a study repeats."""

    source: str
    metrics: tuple[str, ...]
    """those that the table prints, in the order of a report"""
    rows: tuple[PublishedRow, ...]
    best: Mapping[str, float] = field(default_factory=dict)
    """metric -> the paper's figure of its best setting"""

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> PublishedTable:
        """The table of which `dataclasses.asdict` made plain values."""
        rows = tuple(PublishedRow(**row) for row in plain["rows"])
        return cls(str(plain["source"]), tuple(plain["metrics"]), rows, dict(plain.get("best", {})))


def published_table(
    published: Mapping[str, Any],
    corpora: Collection[str],
    task: str,
    enqueued: Iterable[tuple[str, Mapping[str, object]]],
) -> PublishedTable | None:
    """The table that a study keeps.

    Args:
        published: of the space.
        corpora: of the study, in any order.
        task: of the study. Where the paper has no table for it, rows have no figures.
        enqueued: (name, setting) of the settings that are tried first.

    Returns: None where the space repeats no table, or the paper has none of these corpora.
    """
    printed = {frozenset(n.split("+")): x for n, x in published.get("corpora", {}).items()}
    of_these = printed.get(frozenset(corpora))
    if of_these is None:
        return None
    tables = of_these.get("tasks", {task: of_these.get("rows", {})})
    figures = tables.get(task, {})
    every = [m for rows in tables.values() for row in rows.values() for m in _by_metric(row)]
    return PublishedTable(
        published["source"],
        tuple(dict.fromkeys([*(m for m in METRICS if m in every), *every])),
        tuple(
            PublishedRow(name, dict(setting), _by_metric(row), dict(row.get(RATERS, {})))
            for name, setting in enqueued
            if name
            for row in (figures.get(name, {}),)
        ),
        _by_metric(figures.get(BEST, {})),
    )


def _by_metric(row: Mapping[str, Any]) -> dict[str, float]:
    return {name: x for name, x in row.items() if name != RATERS}


def published_problems(published: Mapping[str, object], tasks: Collection[str]) -> list[str]:
    """What is wrong with a space's `published`; `tasks` are those that there are."""
    if not published:
        return []
    problems = _unknown("published", published, _KEYS)
    if problems:
        return problems  # what is missing may be what has the wrong name
    source = published.get("source")
    if not isinstance(source, str) or not source:
        problems.append(
            f"published.source must say which table it is, but got {source!r}; "
            "write for example published.source='a paper, Table 2'"
        )
    corpora = published.get("corpora")
    if not isinstance(corpora, Mapping) or not corpora:
        return [
            *problems,
            f"published.corpora must give the figures of each corpus, but got {corpora!r}; write "
            f"for example published.corpora.emodb.rows, {_FORM}",
        ]
    for name, figures in corpora.items():
        problems += _corpus_problems(f"published.corpora.{name}", figures, tasks)
    return problems


def _corpus_problems(key: str, figures: Any, tasks: Collection[str]) -> list[str]:
    """What is wrong with the figures of one corpus."""
    if not isinstance(figures, Mapping):
        return [f"{key} must be a mapping with rows or tasks, but got {figures!r}"]
    problems = _unknown(key, figures, _OF_A_CORPUS)
    if problems:
        return problems
    if ("rows" in figures) == ("tasks" in figures):
        problems.append(f"{key} must have rows, or tasks with the rows of each, and not both")
    if "rows" in figures:
        problems += _rows(f"{key}.rows", figures["rows"])
    if "tasks" in figures:
        each = figures["tasks"]
        if not isinstance(each, Mapping) or not each:
            return [*problems, f"{key}.tasks must be the rows of each task, but got {each!r}"]
        for task, rows in each.items():
            if task not in tasks:
                problems.append(
                    f"{key}.tasks: there is no task {task!r}{near(task, tasks)}; "
                    f"tasks are {', '.join(tasks)}"
                )
            problems += _rows(f"{key}.tasks.{task}", rows)
    return problems


def _unknown(place: str, mapping: Mapping[str, Any], keys: Collection[str]) -> list[str]:
    """The keys that a mapping must not have."""
    return [
        f"there is no key '{place}.{name}'{near(name, keys)}; keys are source and corpora, each "
        f"corpus has rows (or tasks), and each row names its metrics, {_FORM}"
        for name in mapping
        if name not in keys
    ]


def _rows(key: str, rows: object) -> list[str]:
    """The first problem of some rows, with how many more rows have one."""
    if not isinstance(rows, Mapping) or not rows:
        return [f"{key} must be a mapping from rows to their figures, {_FORM}, but got {rows!r}"]
    problems = [(name, problem) for name, row in rows.items() for problem in _row(row)]
    if not problems:
        return []
    more = len({name for name, _ in problems}) - 1
    tail = "" if not more else f" (and so with {more} more row{'' if more == 1 else 's'})"
    return [f"{key}: the row {problems[0][0]!r} {problems[0][1]}{tail}"]


def _row(row: object) -> Iterator[str]:
    if not isinstance(row, Mapping) or not row:
        yield f"must give figures by metric, {_FORM}, but got {row!r}"
        return
    for metric, value in row.items():
        if metric == RATERS:
            if not isinstance(value, Mapping) or not all(map(_fraction, value.values())):
                yield f"must give raters as in raters: {{E1: 0.44, E2: 0.42}}, but got {value!r}"
        elif metric not in METRICS and not (metric.startswith(RECALL) and metric != RECALL):
            yield (
                f"names a metric {metric!r}{near(metric, METRICS)}; give {' or '.join(METRICS)}, "
                f"or the recall of a class as in {RECALL}sad"
            )
        elif not _fraction(value):
            yield f"must give {metric} as a fraction from 0 to 1, but got {value!r}"


def _fraction(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1
