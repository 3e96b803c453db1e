"""A report as JSON, for programs."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from raysearch.report.cells import bounds
from raysearch.report.document import Comparison, Pair, Report
from raysearch.selection import Estimate, Estimates


def render(report: Report) -> str:
    """The report as JSON text, keys in a fixed order; the same report gives the same bytes."""
    return json.dumps(plain(report), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def plain(report: Report) -> dict[str, Any]:
    """The report as what JSON can hold.

    Scores are fractions, or numbers as their metric has them. `folds` is their number, `trials`
    counts by state. `estimates` and `best` are null while no trial is complete; `numbers` are
    further figures of the honest choices. `race` is null where no trial was stopped early, `seeds`
    where each fold was trained once. `comparisons` are families of paired differences on test
    scores: of the best settings, and of each categorical parameter's values. Every table is under
    `tables`, by its section's name.
    """
    return {
        "study": report.study,
        "trials": dict(report.states),
        "folds": len(report.folds),
        "fold_names": list(report.folds),
        "stages": {"run": report.stages_run, "reused": report.stages_reused},
        "seconds": report.seconds,
        "estimates": None if report.estimates is None else _estimates(report.estimates),
        "numbers": dict(report.numbers),
        "best": None if report.estimates is None else _value(report.best),
        "best_trial": report.best_trial,
        "race": None if report.race is None else asdict(report.race),
        "seeds": None if report.seeds is None else _value(asdict(report.seeds)),
        "comparisons": [_comparison(x) for x in report.comparisons],
        "about": list(report.headline),
        "notes": list(report.warnings),
        "tables": {
            section.name: [_value(row) for row in section.table.frame.to_dict("records")]
            for section in report.sections
            if section.table is not None
        },
    }


def _estimates(estimates: Estimates) -> dict[str, object]:
    return {
        **{kind: _estimate(estimates.of(kind)) for kind in estimates.kinds},
        "optimism": dict(estimates.optimism),
        "imputed": estimates.imputed,
        "pooled": None if estimates.pooled is None else _estimate({"ua": estimates.pooled}),
    }


def _estimate(by_metric: Mapping[str, Estimate]) -> dict[str, object]:
    plain: dict[str, object] = {metric: e.mean for metric, e in by_metric.items()}
    for metric, e in by_metric.items():
        plain[f"{metric}_interval"] = None if e.low is None else [e.low, e.high]
        plain[f"{metric}_sd"] = e.sd
    return plain


def _comparison(family: Comparison) -> dict[str, object]:
    return {
        "name": family.name,
        "parameter": family.parameter,
        "metric": family.metric,
        "levels": [asdict(level) for level in family.levels],
        "pairs": [_pair(pair) for pair in family.pairs],
    }


def _pair(pair: Pair) -> dict[str, object]:
    d = pair.difference
    return {
        "a": pair.a,
        "b": pair.b,
        "difference": d.mean,
        "interval": _value(bounds(d.low, d.high)),
        "sd": d.sd,
        "folds": d.n,
        "p": d.p,
        "p_holm": pair.p,
        "sentence": pair.sentence,
    }


def _value(x: object) -> object:
    """A value as JSON can hold it; what is not finite is null."""
    if isinstance(x, Mapping):
        return {str(key): _value(y) for key, y in x.items()}
    if isinstance(x, list | tuple):
        return [_value(y) for y in x]
    if isinstance(x, np.generic):
        x = x.item()
    return None if isinstance(x, float) and not math.isfinite(x) else x
