"""A paper's table: what a study keeps of it."""

from __future__ import annotations

from raysearch.study.published import joined

ENQUEUED = [("CE", {"loss": "ce"}), ("RD", {"lambda_rd": 0.1}), ("", {"loss": "focal"})]


def test_rows_are_joined_to_the_settings_of_their_names() -> None:
    rows = {"CE": {"wa": 0.5, "ua": 0.4}, "gone": {"ua": 0.3}}
    assert joined({"source": "x", "rows": rows}, "categories", ENQUEUED) == {
        "source": "x",
        "metrics": ["ua", "wa"],
        "rows": [
            {"name": "CE", "params": {"loss": "ce"}, "values": {"wa": 0.5, "ua": 0.4}},
            {"name": "RD", "params": {"lambda_rd": 0.1}, "values": {}},
        ],
    }
    assert joined({}, "categories", ENQUEUED) is None


def test_a_study_keeps_the_rows_of_its_task() -> None:
    tasks = {"valence": {"CE": {"ua": 0.4}}, "activation": {"CE": {"ua": 0.6}}}
    found = {
        task: joined({"source": "x", "tasks": tasks}, task, ENQUEUED)
        for task in ("valence", "activation", "categories")
    }
    assert all(kept is not None and kept["metrics"] == ["ua"] for kept in found.values())
    values = {task: kept["rows"][0]["values"] for task, kept in found.items() if kept}
    assert values == {"valence": {"ua": 0.4}, "activation": {"ua": 0.6}, "categories": {}}
