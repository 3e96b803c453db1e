"""A paper's table: what a study keeps of it, and how tables of one metric are read."""

from __future__ import annotations

from pathlib import Path

import pytest

from raysearch.errors import BadInput
from raysearch.study import load_study
from raysearch.study.published import joined, renewed, renewed_fact

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


def test_a_table_of_one_metric_is_read_as_one_of_today() -> None:
    old = {"source": "x", "metric": "wa", "rows": {"CE": 0.4}}
    assert renewed(old) == {"source": "x", "rows": {"CE": {"wa": 0.4}}}
    of_tasks = {"source": "x", "metric": "ua", "tasks": {"valence": {"CE": 0.4}}}
    assert renewed(of_tasks) == {"source": "x", "tasks": {"valence": {"CE": {"ua": 0.4}}}}
    for today in ({}, {"source": "x", "rows": {"CE": {"wa": 0.4}}}, renewed(old), "no mapping"):
        assert renewed(today) == today


def test_a_ledger_of_one_metric_is_read_as_one_of_today() -> None:
    rows = [
        {"name": "CE", "params": {"loss": "ce"}, "value": 0.4},
        {"name": "RD", "params": {}, "value": None},
    ]
    made = renewed_fact({"source": "x", "metric": "wa", "rows": rows})
    assert made == {
        "source": "x",
        "metrics": ["wa"],
        "rows": [
            {"name": "CE", "params": {"loss": "ce"}, "values": {"wa": 0.4}},
            {"name": "RD", "params": {}, "values": {}},
        ],
    }
    assert renewed_fact(made) == made
    assert renewed_fact(None) is None


def test_a_study_begun_with_one_metric_goes_on_and_a_space_with_one_is_refused(
    tmp_path: Path,
) -> None:
    text = "method: rdlr\npublished: {source: x, metric: wa, rows: {CE: 0.4}}\n"
    for name in ("kept", "new"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "study.yaml").write_text(text)
    (tmp_path / "kept" / "ledger.sqlite").touch()
    study = load_study(["space=kept/study.yaml"], cwd=tmp_path)
    assert study.published == {"source": "x", "rows": {"CE": {"wa": 0.4}}}
    with pytest.raises(BadInput, match=r"published\.metric"):
        load_study(["space=new/study.yaml"], cwd=tmp_path)
