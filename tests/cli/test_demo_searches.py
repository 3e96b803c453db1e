"""RDLR through the command line: on the demo, on real speech, and the paper's Table 2."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

QUICK = ("params.epochs=2", "params.pretrained_epochs=2")
PLAIN = (
    "params.strategy=hard",
    "params.lambda_rd=0",
    "params.lambda_w=0",
    "params.lambda_ae=0",
    "params.lambda_pel=0",
    "params.class_weight=none",
    "params.batch=64",
    "params.lr=2e-4",
    "trials=1",
    "tracking.enabled=false",
)


@pytest.mark.long
def test_table_2_on_the_demo_stands_beside_no_figure_of_other_corpora(shell: Any) -> None:
    done = shell.run("tune", "space=rdlr/table_2", *QUICK, timeout=800)
    assert done.code == 0, done.err
    report = shell.report()
    assert report["trials"]["complete"] == 25
    assert report["folds"] == 2
    assert "published" not in report["tables"]
    # the rows that smooth by reliability or distil share one mask model a fold
    made = {row["stage"]: row["run"] for row in report["tables"]["stages"]}
    assert made["pretrained"] == 2
    assert made["student"] == 50
    assert "synthetic" in done.out


@pytest.mark.long
def test_two_workers_train_through_the_whole_service(shell: Any) -> None:
    words = ("space=rdlr", *QUICK, *PLAIN, "params.dropout=0", "protocol=loco", "validation=share")
    alone = shell.run("tune", *words, "home=one", timeout=300)
    assert alone.code == 0, alone.err
    group = shell.run("tune", *words, "home=two", "workers=2", timeout=600)
    assert group.code == 0, group.err
    one, two = shell.report("home=one"), shell.report("home=two")
    assert one["study"] == two["study"], "workers are no part of a study's identity"
    for metric in ("ua", "wa"):
        a, b = one["estimates"]["honest"][metric], two["estimates"]["honest"][metric]
        assert abs(a - b) < 0.02


@pytest.mark.parametrize(
    ("normalise", "reference"),
    [
        ("fold", 0.679),
        pytest.param("speaker", 0.784, marks=pytest.mark.long),
    ],
)
def test_plain_cross_entropy_on_emodb_stands_at_the_reference(
    shell: Any, shared_data: Path, normalise: str, reference: float
) -> None:
    """One seed of a small corpus is worth about 2 points; a leak is worth 10 or more."""
    root = shared_data / "emodb"
    words = ("space=rdlr", "corpus=emodb", f"corpus.root={root}", f"normalise={normalise}")
    done = shell.run("tune", *words, *PLAIN, timeout=600)
    assert done.code == 0, done.err
    report = shell.report()
    assert report["folds"] == 10
    assert abs(report["estimates"]["selected"]["ua"] - reference) < 0.05
