"""Groups of clips: which there are, and which objectives they serve."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from raysearch.errors import BadInput
from raysearch.tuning.clip_groups import check_objectives, groups_of


@pytest.fixture
def table() -> pd.DataFrame:
    """Six speakers of two clips; the last clip has no label."""
    speakers: dict[str, list[Any]] = {
        "speaker": list("abcdef"),
        "sex": ["female", "female", "male", "male", "male", ""],
        "age": [21, "25", 31.0, 38, float("nan"), 60],
        "language": ["de"] * 6,
        "accent": ["north", "north", "south", "south", "west", "south"],
    }
    frame = pd.DataFrame(speakers).loc[np.repeat(range(6), 2)].reset_index(drop=True)
    return frame.assign(label=["happy", "sad"] * 5 + ["happy", ""])


def test_attributes_make_groups_of_two_speakers_or_more(table: pd.DataFrame) -> None:
    groups = groups_of(table)
    # one language divides nothing, one speaker of 60 is no group, an unknown sex neither
    assert list(groups) == ["sex=female", "sex=male", "age=20 to 29", "age=30 to 39"]
    assert {name: int(rows.sum()) for name, rows in groups.items()} == {
        "sex=female": 4,
        "sex=male": 6,
        "age=20 to 29": 4,
        "age=30 to 39": 4,
    }
    assert groups_of(table.drop(columns=["sex", "age", "language"])) == {}


def test_a_study_names_other_columns(table: pd.DataFrame) -> None:
    groups = groups_of(table, ["accent"])
    assert list(groups) == ["accent=north", "accent=south"]
    assert int(groups["accent=south"].sum()) == 5  # without the clip that has no label
    with pytest.raises(BadInput, match=r"groups=acent: .*did you mean 'accent'"):
        groups_of(table, ["acent"])


def test_objectives_that_a_corpus_cannot_serve_are_refused(table: pd.DataFrame) -> None:
    groups = groups_of(table)
    check_objectives(["worst_group_ua", "recall_sad", "ua"], ["happy", "sad"], groups)
    with pytest.raises(BadInput, match=r"no class 'sat'.*its classes are happy, sad"):
        check_objectives(["recall_sat"], ["happy", "sad"], groups)
    with pytest.raises(BadInput, match="objective=worst_group_ua needs groups of two speakers"):
        check_objectives(["ua", "worst_group_ua"], ["happy"], {})
