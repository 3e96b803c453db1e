"""A study that learns raters' perceptions: scores by rater, and intervals over what is held out."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from raysearch.report.formats import text
from raysearch.study.ledger import Ledger
from tests.support.study_folders import report_of

GROUPS, RATERS = 4, ("E1", "E2")
PARAMS = ({"model": "rater"}, {"model": "fusion_s"})


@pytest.fixture
def study(write: Callable[..., Path]) -> tuple[Path, np.ndarray]:
    """Two named settings on four sessions for each of two raters."""
    rng = np.random.default_rng(0)
    scores = rng.uniform(0.4, 0.6, (2, GROUPS * len(RATERS), 4))
    scores[1] += 0.1
    enqueue = [{"_name": "Rater", **PARAMS[0]}, {"_name": "Fusion S", **PARAMS[1]}]
    folder = write(
        scores,
        params=PARAMS,
        enqueued=2,
        enqueue=enqueue,
        space={"model": {"choice": ["rater", "fusion_s"]}},
        protocol={"name": "loseso"},
    )
    entries = json.loads((folder / "folds.json").read_text())
    for entry in entries:
        rater, session = divmod(entry["index"], GROUPS)
        entry["rater"] = RATERS[rater]
        entry["n_test"] = 10 + rater
        entry["test_groups"] = [f"c/{session}"]
        entry["val_groups"] = [f"c/{(session + 1) % GROUPS}"]
    (folder / "folds.json").write_text(json.dumps(entries))
    return folder, scores


def test_each_rater_has_a_row_and_their_mean_is_the_estimate(
    study: tuple[Path, np.ndarray],
) -> None:
    folder, scores = study
    whole = report_of(folder)
    table = whole.section("raters").table
    assert table is not None
    rows = {row["rater"]: row for row in table.frame.to_dict("records")}
    assert list(rows) == [*RATERS, "mean"]
    ua = scores[1, :, 2]
    assert rows["E1"]["selected_ua"] == pytest.approx(ua[:GROUPS].mean())
    assert rows["E2"]["selected_ua"] == pytest.approx(ua[GROUPS:].mean())
    assert rows["E2"]["selected_wa"] == pytest.approx(scores[1, GROUPS:, 3].mean())
    assert (rows["E1"]["folds"], rows["E1"]["ratings"]) == (4, 40)
    assert (rows["mean"]["folds"], rows["mean"]["ratings"]) == (8, 84)
    assert whole.estimates is not None
    assert rows["mean"]["selected_ua"] == pytest.approx(whole.estimates.selected["ua"].mean)
    assert rows["mean"]["honest"] == pytest.approx(whole.estimates.honest["ua"].mean)
    words = " ".join(text.render(whole).split())
    assert "84 ratings by 2 target raters (E1, E2)" in words
    assert "all intervals are over sessions" in words


def test_named_settings_are_told_by_rater(study: tuple[Path, np.ndarray]) -> None:
    folder, scores = study
    table = report_of(folder).section("raters_settings").table
    assert table is not None
    assert [column.heading for column in table.columns] == ["setting", *RATERS, "mean"]
    rows = table.frame.to_dict("records")
    assert [row["setting"] for row in rows] == ["Rater", "Fusion S"]
    for row, of in zip(rows, scores[:, :, 2], strict=True):
        each = [of[:GROUPS].mean(), of[GROUPS:].mean()]
        assert [row["r0"], row["r1"], row["mean"]] == pytest.approx([*each, np.mean(each)])


def test_a_papers_figures_by_rater_stand_beneath_the_setting(
    study: tuple[Path, np.ndarray],
) -> None:
    folder, scores = study
    rows = [
        {"name": "Rater", "params": PARAMS[0], "values": {"ua": 0.5}, "raters": {"E1": 0.4}},
        {"name": "Fusion S", "params": PARAMS[1], "values": {"ua": 0.5}}
        | {"raters": {"E1": 0.42, "E2": 0.6, "E3": 0.9}},
    ]
    ledger = Ledger(folder / "ledger.sqlite", write=True)
    ledger.set_fact("published", {"source": "x", "metrics": ["ua"], "rows": rows})
    ledger.close()
    table = report_of(folder).section("raters_settings").table
    assert table is not None
    found = {row["setting"]: row for row in table.frame.to_dict("records")}
    assert list(found) == ["Rater", "Rater (paper)", "Fusion S", "Fusion S (paper)"]
    assert found["Rater"]["r0"] == pytest.approx(scores[0, :GROUPS, 2].mean())
    first, second = found["Rater (paper)"], found["Fusion S (paper)"]
    assert (first["r0"], first["r1"], first["mean"]) == (0.4, None, None)
    assert (second["r0"], second["r1"], second["mean"]) == (0.42, 0.6, pytest.approx(0.51))


def test_differences_are_over_sessions_not_over_folds(study: tuple[Path, np.ndarray]) -> None:
    folder, scores = study
    whole = report_of(folder)
    by_session = scores[:, :, 2].reshape(2, len(RATERS), GROUPS).mean(axis=1)
    d = by_session[1] - by_session[0]
    (pair,) = [p for c in whole.comparisons if c.parameter == "model" for p in c.pairs]
    assert pair.difference.n == GROUPS
    sign = 1 if pair.a == "model=fusion_s" else -1
    assert pair.difference.mean == pytest.approx(sign * d.mean())
    assert pair.difference.sd == pytest.approx(d.std(ddof=1))
    assert whole.estimates is not None
    sd = by_session[whole.estimates.best].std(ddof=1)
    assert whole.estimates.selected["ua"].sd == pytest.approx(sd)


def test_other_studies_have_no_such_table(write: Callable[..., Path]) -> None:
    whole = report_of(write(np.random.default_rng(0).uniform(0.4, 0.6, (2, 4, 4))))
    assert not {section.name for section in whole.sections} & {"raters", "raters_settings"}
