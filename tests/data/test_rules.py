"""The sections `votes` and `task`: their values together."""

from __future__ import annotations

from raysearch.data.rules import Task, Votes


def test_settings_of_raters_need_raters() -> None:
    (idle,) = Votes(raters=5).problems()
    assert idle.startswith("votes.raters=5 is a setting of simulated raters: set votes=simulate")
    (few,) = Votes(source="simulate", raters=9, pool=4).problems()
    assert few.startswith("votes.raters=9 hear each clip, of votes.pool=4 in all")
    assert Votes(source="simulate", raters=5).problems() == []
    assert Votes().problems() == []


def test_levels_need_a_middle() -> None:
    (crossed,) = Task(name="valence", low=4, high=2).problems()
    assert "task.low=4 and task.high=2 leave nothing in the middle" in crossed
    assert Task(name="valence", low=2, high=4).problems() == []
