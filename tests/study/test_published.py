"""A paper's table: what a study keeps of it."""

from __future__ import annotations

import json
from dataclasses import asdict

import pytest

from raysearch.study.published import PublishedRow, PublishedTable, published_table

ENQUEUED = [("CE", {"loss": "ce"}), ("RD", {"lambda_rd": 0.1}), ("", {"loss": "focal"})]


def test_rows_are_joined_to_the_settings_of_their_names() -> None:
    rows = {"CE": {"wa": 0.5, "ua": 0.4}, "gone": {"ua": 0.3}}
    table = published_table(
        {"source": "x", "corpora": {"emodb": {"rows": rows}}}, ["emodb"], "categories", ENQUEUED
    )
    assert table == PublishedTable(
        "x",
        ("ua", "wa"),
        (
            PublishedRow("CE", {"loss": "ce"}, {"wa": 0.5, "ua": 0.4}),
            PublishedRow("RD", {"lambda_rd": 0.1}, {}),
        ),
    )
    assert PublishedTable.from_plain(json.loads(json.dumps(asdict(table)))) == table
    assert published_table({}, ["emodb"], "categories", ENQUEUED) is None


def test_a_study_keeps_the_rows_of_its_task() -> None:
    published = {
        "source": "x",
        "corpora": {
            "c": {"tasks": {"valence": {"CE": {"ua": 0.4}}, "activation": {"CE": {"ua": 0.6}}}}
        },
    }
    figures = {}
    for task in ("valence", "activation", "categories"):
        table = published_table(published, ["c"], task, ENQUEUED)
        assert table is not None
        assert table.metrics == ("ua",)
        figures[task] = table.rows[0].values
    assert figures == {"valence": {"ua": 0.4}, "activation": {"ua": 0.6}, "categories": {}}


@pytest.mark.parametrize(
    ("corpora", "ua"),
    [
        (["emodb"], 0.4),
        (["ravdess"], 0.5),
        (["iemocap", "cremad"], 0.6),
        (["cremad", "iemocap"], 0.6),
        (["cremad"], None),
        (["emodb", "ravdess"], None),
        (["manifest"], None),
        (["demo"], None),
    ],
)
def test_figures_stand_beside_the_papers_own_corpora_alone(
    corpora: list[str], ua: float | None
) -> None:
    each = {"emodb": 0.4, "ravdess": 0.5, "cremad+iemocap": 0.6}
    published = {
        "source": "x",
        "corpora": {name: {"rows": {"CE": {"ua": x}}} for name, x in each.items()},
    }
    table = published_table(published, corpora, "categories", ENQUEUED)
    assert (table.rows[0].values["ua"] if table else None) == ua


def test_recalls_raters_and_a_papers_best_are_kept() -> None:
    rows = {
        "CE": {"recall_sad": 0.3, "ua": 0.4, "raters": {"E1": 0.5}},
        "_best": {"wa": 0.7, "ua": 0.6},
    }
    published = {"source": "x", "corpora": {"emodb": {"rows": rows}}}
    table = published_table(published, ["emodb"], "categories", ENQUEUED)
    assert table is not None
    assert table.metrics == ("ua", "wa", "recall_sad")
    first, second = table.rows
    assert (first.values, first.raters) == ({"recall_sad": 0.3, "ua": 0.4}, {"E1": 0.5})
    assert (second.values, second.raters) == ({}, {})
    assert table.best == {"wa": 0.7, "ua": 0.6}
    assert PublishedTable.from_plain(json.loads(json.dumps(asdict(table)))) == table
