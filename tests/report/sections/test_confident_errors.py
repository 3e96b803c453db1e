"""The surest errors, counted by hand."""

from __future__ import annotations

import pandas as pd

from raysearch.report.sections.confident_errors import confident_errors


def test_errors_are_the_honest_choices_and_the_surest_is_first() -> None:
    rows = [
        # clip, seed, label, p of a and b by the honest choice, and votes for a and b
        ("right", 0, "a", 0.9, 0.1, 3, 0),
        ("surer", 0, "a", 0.2, 0.8, 1, 3),
        ("surest", 0, "b", 0.9, 0.1, 0, 0),
        ("unsure", 0, "b", 0.6, 0.4, 1, 1),
        ("unknown", 0, "b", None, None, 1, 1),
        ("right", 1, "a", 0.4, 0.6, 3, 0),
        ("surer", 1, "a", 0.4, 0.6, 1, 3),
    ]
    names = ["clip", "seed", "label", "honest.a", "honest.b", "votes.a", "votes.b"]
    frame = pd.DataFrame(rows, columns=names).assign(**{"oracle.a": 0.0, "oracle.b": 1.0})
    errors, clips = confident_errors(frame, ("a", "b"))
    assert clips == 4
    assert errors["clip"].tolist() == ["surest", "surer", "unsure"]
    assert errors["predicted"].tolist() == ["a", "b", "a"]
    assert errors["predicted_confidence"].round(6).tolist() == [0.9, 0.7, 0.6]
    assert errors["confidence"].round(6).tolist() == [0.1, 0.3, 0.4]
    assert errors["votes"].isna().tolist() == [True, False, False]
    assert errors["votes"].tolist()[1:] == [0.25, 0.5]
    empty, clips = confident_errors(
        frame.assign(label="a", **{"honest.a": 1.0, "honest.b": 0.0}), ("a", "b")
    )
    assert empty.empty
    assert clips == 5
