"""A report as JSON, for programs."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from raysearch.report.cells import bounds
from raysearch.report.document import Comparison, Report
from raysearch.selection import Estimate, Estimates


def render(report: Report) -> str:
    """The report as JSON text, keys in a fixed order; the same report gives the same bytes."""
    return json.dumps(plain(report), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def plain(report: Report) -> dict[str, Any]:
    """The report as what JSON can hold.

    Scores are fractions. `folds` is their number, `trials` counts by state. `estimates` and `best`
    are null while no trial is complete. `race` is null where no trial was stopped early, `seeds`
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


def _estimates(found: Estimates) -> dict[str, Any]:
    return {
        "honest": _estimate(found.honest),
        "nested": _estimate(found.nested),
        "selected": _estimate(found.selected),
        "oracle": _estimate(found.oracle),
        "optimism": dict(found.optimism),
        "imputed": found.imputed,
    }


def _estimate(by_metric: Mapping[str, Estimate]) -> dict[str, Any]:
    made: dict[str, Any] = {metric: e.mean for metric, e in by_metric.items()}
    for metric, e in by_metric.items():
        made[f"{metric}_interval"] = None if e.low is None else [e.low, e.high]
        made[f"{metric}_sd"] = e.sd
    return made


def _comparison(found: Comparison) -> dict[str, Any]:
    return {
        "name": found.name,
        "parameter": found.parameter,
        "metric": found.metric,
        "levels": [asdict(level) for level in found.levels],
        "pairs": [
            {
                "a": pair.a,
                "b": pair.b,
                "difference": pair.difference.mean,
                "interval": _value(bounds(pair.difference.low, pair.difference.high)),
                "sd": pair.difference.sd,
                "folds": pair.difference.n,
                "p": pair.difference.p_t,
                "p_holm": pair.p,
                "sentence": pair.sentence,
            }
            for pair in found.pairs
        ],
    }


def _value(x: Any) -> Any:
    if isinstance(x, Mapping):
        return {str(key): _value(y) for key, y in x.items()}
    if isinstance(x, list | tuple):
        return [_value(y) for y in x]
    if isinstance(x, np.generic):
        x = x.item()
    return None if isinstance(x, float) and not math.isfinite(x) else x
