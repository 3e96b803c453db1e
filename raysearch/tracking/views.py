"""How MLflow's experiment page opens: columns, order, filter, charts, and the line above them.

MLflow reads a page's state from the experiment's tag `mlflow.sharedViewState.<key>` when the
address ends in `?viewStateShareKey=<key>`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from raysearch.selection import METRICS, metric_of
from raysearch.study.wording import listed
from raysearch.tracking import notes
from raysearch.tracking.projection import Projection

_STUDY, _TRIALS = "raysearch", "raysearch-trials"
_KIND = "workflowType=machine_learning"
"""in addresses: without it a browser that is new to MLflow opens its pages for agents"""
_SECTION = "raysearch-trials"


def page_of(experiment: str, key: str = _STUDY) -> str:
    """The address of an experiment's page, relative to the server's."""
    return f"#/experiments/{experiment}/runs?{_KIND}&viewStateShareKey={key}"


def experiment_tags(projection: Projection, experiment: str, run: str) -> dict[str, str]:
    """The tags of a study's experiment: two states of its page, and what it is.

    Args:
        projection: of the study.
        experiment: its id in MLflow.
        run: the id of the study's run.
    """
    record = projection.record
    trials, metric = page_of(experiment, _TRIALS), record.objectives[0].metric
    result = notes.honest(projection.ending.report) or "not finished"
    return {
        f"mlflow.sharedViewState.{_STUDY}": study_view(record.searched, metric),
        f"mlflow.sharedViewState.{_TRIALS}": trials_view(record.searched, metric),
        "mlflow.experimentKind": "custom_model_development",
        # one line of it shows above the table of runs
        "mlflow.note.content": (
            f"[Study](#/experiments/{experiment}/runs/{run}?{_KIND}), [trials]({trials}), "
            f"[charts]({trials}&compareRunsMode=CHART): {record.method} on "
            f"{listed(record.corpora)}, {result}"
        ),
    }


def study_view(searched: Mapping[str, str], metric: str) -> str:
    """The page as a newcomer should find it: the study, with its trials folded into it.

    Args:
        searched: parameter -> its domain.
        metric: the objective's.
    """
    # the only order in which MLflow nests runs and fetches parents beyond the first page
    metrics = (f"val_{metric}", f"test_{metric}", f"honest_{metric}")
    return _view(searched, "", metrics, "attributes.start_time", True)


def trials_view(searched: Mapping[str, str], metric: str) -> str:
    """The page with the trials alone, best first, and charts that compare them.

    Without their study they are not folded into it, and charts show what the table does.

    Args:
        searched: parameter -> its domain.
        metric: by whose validation score they are ordered.
    """
    where = "tags.`raysearch.kind` = 'trial'"
    usual = [m for m, row in METRICS.items() if row.needs == metric_of(metric).needs]
    both = sorted({metric, next(m for m in usual if m != metric)}, key=list(METRICS).index)
    metrics = [f"{part}_{m}" for m in both for part in ("val", "test")]
    ascending = not metric_of(metric).higher
    return _view(searched, where, metrics, f"metrics.`val_{metric}`", ascending)


def _view(
    searched: Mapping[str, str], where: str, metrics: Sequence[str], order: str, ascending: bool
) -> str:
    section = {
        "uuid": _SECTION,
        "name": "Trials",
        "display": True,
        "isReordered": False,
        "deleted": False,
        "isGenerated": False,
    }
    state = {
        "searchFilter": where,
        "orderByKey": order,
        "orderByAsc": ascending,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "selectedColumns": [
            *(f"params.`{name}`" for name in searched),
            *(f"metrics.`{name}`" for name in metrics),
        ],
        "compareRunCharts": _charts(list(searched)[:8], *metrics[:2]),
        "compareRunSections": [section],
    }
    return json.dumps(state)


def _charts(searched: Sequence[str], val: str, test: str) -> list[dict[str, object]]:
    """The parameters beside the score, test against validation, and the scores as bars."""

    def chart(kind: str, name: str, runs: int, **more: object) -> dict[str, object]:
        shared = {"isGenerated": False, "deleted": False, "metricSectionId": _SECTION}
        place = {"type": kind, "uuid": f"raysearch-{name}", "runsCountToCompare": runs}
        return {**place, **more, **shared}

    axes = {"xaxis": {"key": val, "type": "METRIC"}, "yaxis": {"key": test, "type": "METRIC"}}
    beside = {"selectedParams": list(searched), "selectedMetrics": [val], "showAllRuns": False}
    return [
        chart("PARALLEL", "parallel", 100, **beside),
        chart("SCATTER", "scatter", 100, **axes),
        chart("BAR", f"bar-{val}", 20, metricKey=val),
        chart("BAR", f"bar-{test}", 20, metricKey=test),
    ]
