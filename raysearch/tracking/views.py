"""How MLflow's experiment page opens: columns, order, filter and charts."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from raysearch.tracking.facts import StudyFacts


def view_state(study: StudyFacts) -> str:
    """The experiment page as a newcomer should find it: columns and order.

    MLflow reads such a state from the experiment tag `mlflow.sharedViewState.<key>` when the
    address ends in `?viewStateShareKey=<key>`.
    """
    # The only order in which MLflow nests runs and fetches parents beyond the first page.
    return _view(study, "", ("val_ua", "test_ua", "honest_ua"), "attributes.start_time", True)


def trials_view(study: StudyFacts) -> str:
    """The experiment page with the trials alone, best first, and charts that compare them.

    Without their study they are not folded into it, and charts show what the table does.
    """
    where = "tags.`raysearch.kind` = 'trial'"
    best = f"metrics.`val_{study.objective}`"
    return _view(study, where, ("val_ua", "test_ua", "val_wa", "test_wa"), best, False)


def _view(
    study: StudyFacts, where: str, metrics: Sequence[str], order: str, ascending: bool
) -> str:
    return json.dumps(
        {
            "searchFilter": where,
            "orderByKey": order,
            "orderByAsc": ascending,
            "startTime": "ALL",
            "lifecycleFilter": "Active",
            "selectedColumns": [
                *(f"params.`{name}`" for name in study.searched),
                *(f"metrics.`{name}`" for name in metrics),
            ],
            "compareRunCharts": _charts(study),
            "compareRunSections": [
                {
                    "uuid": _SECTION,
                    "name": "Trials",
                    "display": True,
                    "isReordered": False,
                    "deleted": False,
                    "isGenerated": False,
                }
            ],
        }
    )


_SECTION = "raysearch-trials"


def _charts(study: StudyFacts) -> list[dict[str, Any]]:
    """Charts of MLflow's own page: the parameters beside the score, test against validation, and
    the trials' scores as bars."""
    both = {"isGenerated": False, "deleted": False, "metricSectionId": _SECTION}
    val, test = "val_ua", "test_ua"
    return [
        {
            "type": "PARALLEL",
            "uuid": "raysearch-parallel",
            "selectedParams": list(study.searched)[:8],
            "selectedMetrics": [val],
            "showAllRuns": False,
            "runsCountToCompare": 100,
            **both,
        },
        {
            "type": "SCATTER",
            "uuid": "raysearch-scatter",
            "xaxis": {"key": val, "type": "METRIC"},
            "yaxis": {"key": test, "type": "METRIC"},
            "runsCountToCompare": 100,
            **both,
        },
        *(
            {
                "type": "BAR",
                "uuid": f"raysearch-bar-{name}",
                "metricKey": name,
                "runsCountToCompare": 20,
                **both,
            }
            for name in (val, test)
        ),
    ]
