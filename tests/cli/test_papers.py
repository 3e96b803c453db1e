"""The other papers' methods through the command line, on tones and on the demo."""

from __future__ import annotations

import re
from typing import Any

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def test_emoboosts_table_3_stands_beside_no_figure_of_another_corpus(shell: Any) -> None:
    """The paper's graph: one training a row and fold. Untrained weights and AlexNet are told."""
    small = ("params.ssl=tiny", "params.width=0.125", "params.lr=1e-3", "params.batch=32")
    words = ("corpus=manifest", f"corpus.root={shell.tones}", "params.epochs=1", *small)
    done = shell.run("tune", "space=emoboost/table_3", *words, "tracking.enabled=false")
    assert done.code == 0, done.err
    report = shell.report()
    assert report["trials"]["complete"] == 4
    assert "published" not in report["tables"]
    assert {row["stage"]: row["run"] for row in report["tables"]["stages"]} == {"fit": 20}
    assert "untrained weights" in done.out
    assert any("params.alexnet=random" in line for line in report["notes"])
    assert any("params.ssl=tiny is a small encoder" in line for line in report["notes"])


def test_self_learning_in_both_modes_on_the_demo(shell: Any) -> None:
    tiny = ("params.epochs=1", "params.hop=100", "params.width=0.0625", "params.trees=5")
    words = ("space=self_learning/table_3", "protocol.folds=3", *tiny)
    done = shell.run("tune", *words, timeout=300)
    assert done.code == 0, done.err
    assert re.search("reach training|test labels in training", done.out)
    report = shell.report()
    assert report["trials"]["complete"] == 4
    assert "published" not in report["tables"]
    made = {row["stage"]: row["run"] for row in report["tables"]["stages"]}
    # one iteration 0 and three of iteration 1 a fold, and a forest a row
    assert made == {"iteration_0": 3, "iteration_1": 9, "utterance": 12}
    nested = shell.run("tune", *words, "params.mode=nested", "params.inner_folds=2", timeout=300)
    assert nested.code == 0, nested.err
    assert not re.search("reach training|test labels in training", nested.out)
    # the baseline's networks are those of the paper's mode: asked for thrice, computed never
    stages = {row["stage"]: row for row in shell.report()["tables"]["stages"]}
    assert (stages["iteration_0"]["run"], stages["inner_1"]["run"]) == (0, 9)


def test_corater_on_the_demo_scores_each_rater_and_shares_its_stages(shell: Any) -> None:
    quick = ("params.epochs=1", "params.fusion_epochs=1", "params.width=0.0625", "raters.most=1")
    words = ("space=corater/table_1", *quick, "params.batch=16", "speaker_clips=[]")
    done = shell.run("tune", *words, "tracking.enabled=false", timeout=600)
    assert done.code == 0, done.err
    report = shell.report()
    assert report["trials"]["complete"] == 10
    assert report["folds"] == 6
    made = {row["stage"]: row["run"] for row in report["tables"]["stages"]}
    assert made == {"others_h": 6, "others_s": 6, "rater": 12, "fusion": 36}
    raters = report["tables"]["raters"]
    assert [row["rater"] for row in raters][1:] == ["mean"]
    mean = raters[-1]["honest"]
    assert abs(mean - report["estimates"]["honest"]["ua"]) < 1e-9
    assert len(report["tables"]["raters_settings"]) == 10
    assert "published" not in report["tables"]
    assert "simulated" in done.out
    bad = shell.run("tune", *words, "raters=[r99]")
    assert bad.code == 2
    assert "raters names 'r99'" in bad.err
