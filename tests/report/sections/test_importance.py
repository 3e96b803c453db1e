"""What moved the score, also among the settings of a part of the space."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from raysearch.report import to_plain, to_text
from tests.support.study_folders import report_of

SPACE = {
    "strategy": {"choice": ["hard", "lr", "ls_lr"]},
    "lr": {"float": [1e-4, 1e-2], "log": True},
    "gamma": {"float": [0, 1], "when": {"strategy": ["lr", "ls_lr"]}},
    "smoothing": {"float": [0, 1], "when": {"strategy": "ls_lr"}},
}


def test_parameters_that_not_every_setting_has(write: Callable[..., Path]) -> None:
    rng = np.random.default_rng(0)
    params, scores = [], []
    for i in range(24):
        one = {"strategy": ["hard", "lr", "ls_lr"][i % 3], "lr": float(10 ** rng.uniform(-4, -2))}
        if i % 3:
            one["gamma"] = float(rng.random())
        if i % 3 == 2:
            one["smoothing"] = float(rng.random())
        params.append(one)
        scores.append(0.5 + 0.3 * one.get("gamma", 0.9))  # type: ignore[operator]
    table = np.repeat(np.array(scores)[:, None, None], 4, axis=1) + rng.normal(0, 0.01, (24, 4, 4))
    report = report_of(write(table, params=params, space=SPACE), whole=True)
    rows = to_plain(report)["tables"]["importance"]
    where = [row["with"] for row in rows]
    assert where == ["", "", *["strategy=lr or ls_lr"] * 3]
    assert rows[2]["parameter"] == "gamma"
    assert rows[2]["share"] > 0.8
    assert abs(sum(row["share"] for row in rows[2:]) - 1) < 1e-9
    text = " ".join(to_text(report).split())
    assert "as fewer than 10 settings have them: smoothing." in text
    assert "their shares sum to 100 % anew" in text
