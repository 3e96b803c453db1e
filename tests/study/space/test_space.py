"""Spaces: grammar, domains, conditions, sizes, and what data can serve."""

from __future__ import annotations

import pickle
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raysearch.study.space import Choice, Const, Float, Grid, Int, Space, canonical
from trainables.stage import Method, Param


def parse(**params: Any) -> Space:
    space, problems = Space.parse(params)
    assert not problems
    return space


METHOD = Method(
    name="fake",
    summary="for tests",
    params={
        "kind": Param("hard", "labels", ("hard", "soft", "lr")),
        "alpha": Param(0.0, "share", low=0.0, high=1.0),
        "beta": Param(0.5, "share", low=0.0, high=1.0),
        "n": Param(4, "count", low=1, high=100),
        "flag": Param(False, "switch"),
    },
    graph=lambda setting: (),
    needs=lambda setting: frozenset({"votes"}) if setting["kind"] == "soft" else frozenset(),
)


# -- grammar -----------------------------------------------------------------------------------
def test_the_grammar() -> None:
    space = parse(
        gamma={"float": [0.2, 0.8], "step": 0.1},
        rd={"float": [1e-3, 0.1], "log": True},
        batch={"choice": [32, 64]},
        layers={"int": [1, 4]},
        width={"int": [8, 64], "step": 8},
        units={"int": [1, 64], "log": True},
        sizes={"grid": [1, 2, 4]},
        kind="lr",
        pel={"const": 1e-4, "needs": "unlabelled"},
        alpha={"grid": [0, 0.1], "when": {"kind": "lr", "batch": [32]}},
        only={"const": 3, "when": {"batch": 32}},
    )
    domains = space.domains
    assert domains["gamma"] == Float(low=0.2, high=0.8, step=0.1)
    assert domains["rd"] == Float(low=1e-3, high=0.1, log=True)
    assert domains["batch"] == Choice(items=(32, 64))
    assert domains["layers"] == Int(low=1, high=4)
    assert domains["width"].size == 8
    assert domains["units"] == Int(low=1, high=64, log=True)
    assert domains["sizes"] == Grid(items=(1, 2, 4))
    assert domains["kind"] == Const(items=("lr",))
    assert domains["pel"] == Const(items=(1e-4,), needs="unlabelled")
    assert domains["alpha"] == Grid(items=(0.0, 0.1), when={"kind": ("lr",), "batch": (32,)})
    assert domains["only"] == Choice(items=(3,), when={"batch": (32,)})
    assert space.constants() == {"kind": "lr", "pel": 1e-4}
    assert pickle.loads(pickle.dumps(space)) == space


@pytest.mark.parametrize(
    ("given_", "parts"),
    [
        ([1, 2], ["is a list", "{choice: [1, 2]}"]),
        ({}, ["exactly one of", "has none"]),
        ({"choice": [1], "float": [0, 1]}, ["exactly one of", "choice and float"]),
        ({"choice": []}, ["at least one value"]),
        ({"choice": 3}, ["must be a list", "got 3"]),
        ({"choice": [1, 1.0]}, ["lists 1 twice"]),
        ({"choice": [[1], 2]}, ["takes numbers, texts", "[1]"]),
        ({"choice": [float("nan")]}, ["finite"]),
        (None, ["takes numbers, texts", "None"]),
        ({"grid": [2, 1]}, ["ascending order", "choice:"]),
        ({"grid": ["a"]}, ["numbers in ascending order"]),
        ({"float": [1, 0]}, ["`low < high` must hold", "low=1, high=0"]),
        ({"float": [1, 1]}, ["`low < high` must hold", "to pin it write"]),
        ({"float": [0, 1, 2]}, ["must be [low, high]"]),
        ({"float": ["a", 1]}, ["must be [low, high]"]),
        ({"float": [0, 1], "log": True}, ["needs `low > 0`", "low=0"]),
        ({"float": [1, 2], "log": 3}, ["log must be true or false"]),
        ({"float": [1, 2], "log": True, "step": 0.1}, ["both log and step"]),
        ({"float": [0, 1], "step": 0.3}, ["whole number of steps", "0.9"]),
        ({"float": [0, 1], "step": 0}, ["step must be a number above 0", "got 0"]),
        ({"float": [0, 1], "stepp": 0.1}, ["no option 'stepp'", "did you mean 'step'"]),
        ({"choice": [1], "step": 1}, ["no option 'step' beside choice"]),
        ({"int": [1, 2.5]}, ["two whole numbers"]),
        ({"int": [1, 4], "step": 0.5}, ["step must be a whole number above 0"]),
        ({"int": [True, 4]}, ["two whole numbers"]),
        ({"choice": [1], "when": 3}, ["when must map"]),
        ({"choice": [1], "when": {"a": []}}, ["lists no value"]),
        ({"choice": [1], "needs": "money"}, ["needs must be one of", "'money'"]),
    ],
)
def test_bad_grammar(given_: Any, parts: list[str]) -> None:
    _, problems = Space.parse({"x": given_})
    assert len(problems) == 1, problems
    assert problems[0].startswith("params.x ")
    for part in parts:
        assert part in problems[0]


# -- domains -----------------------------------------------------------------------------------
def test_steps_give_clean_numbers() -> None:
    domain = Float(low=0.1, high=0.7, step=0.1)
    assert list(domain.values()) == [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7]
    assert domain.normal(0.1 + 0.2) == 0.3
    assert repr(domain.normal(0.30000000000000004)) == "0.3"
    assert not domain.holds(0.35)
    assert not domain.holds(True)


@given(
    low=st.integers(-1000, 1000),
    step=st.integers(1, 50),
    count=st.integers(1, 50),
    digits=st.integers(0, 6),
)
def test_every_step_is_the_shortest_number(low: int, step: int, count: int, digits: int) -> None:
    scale = 10**digits
    domain = Float(low=low / scale, high=(low + step * count) / scale, step=step / scale)
    values = list(domain.values())
    assert values == [(low + step * i) / scale for i in range(count + 1)]
    assert [domain.index(value) for value in values] == list(range(count + 1))


def test_ints_stay_ints_and_booleans_booleans() -> None:
    space = parse(n={"int": [1, 4]}, g={"grid": [1, 2]}, f={"choice": [True, False]})
    setting = space.active({"n": 2.0, "g": 2.0, "f": False})
    assert setting == {"n": 2, "g": 2, "f": False}
    assert [type(value) for value in setting.values()] == [int, int, bool]
    assert "f takes" in str(space.contains({"n": 1, "g": 1, "f": 1}))


def test_examples_stand_for_a_domain() -> None:
    assert Float(low=0.0, high=1.0).examples() == (0.0, 1.0)
    assert Grid(items=(1, 2, 3)).examples() == (1, 2, 3)
    assert Const(items=(1,)).examples() == (1,)


# -- conditions --------------------------------------------------------------------------------
CHAIN = {
    "kind": {"choice": ["hard", "soft", "lr"]},
    "alpha": {"grid": [0.0, 0.5, 1.0], "when": {"kind": ["soft", "lr"]}},
    "beta": {"choice": [0.1, 0.2], "when": {"alpha": 0.5}},
    "n": {"int": [1, 2]},
}


def test_chained_conditions() -> None:
    space = parse(**CHAIN)
    points = list(space.points())
    assert len(points) == space.size() == (1 + 2 * (1 + 2 + 1)) * 2
    assert len({canonical(point) for point in points}) == len(points)
    assert {"kind": "hard", "n": 1} in points
    assert {"kind": "lr", "alpha": 0.5, "beta": 0.2, "n": 2} in points
    assert all(space.contains(point) is None for point in points)
    assert all(space.active(point) == point for point in points)


def test_children_may_be_written_before_their_parents() -> None:
    turned = parse(**dict(reversed(CHAIN.items())))
    ours = {canonical(point) for point in parse(**CHAIN).points()}
    assert {canonical(point) for point in turned.points()} == ours
    assert turned.order.index("kind") < turned.order.index("alpha") < turned.order.index("beta")


def test_a_constant_parent_decides_for_all() -> None:
    off = parse(**{**CHAIN, "kind": "hard"})
    assert list(off.points()) == [{"n": 1}, {"n": 2}]
    assert off.size() == 2


def test_active_drops_what_does_not_exist() -> None:
    space = parse(**CHAIN)
    setting = {"kind": "hard", "alpha": 0.5, "beta": 0.1, "n": 1}
    assert space.active(setting) == {"kind": "hard", "n": 1}


@pytest.mark.parametrize(
    ("setting", "part"),
    [
        ({"kind": "hard", "n": 1, "alpha": 0.5}, "alpha exists only where kind is soft or lr"),
        ({"kind": "lr", "n": 1}, "no value for alpha"),
        ({"kind": "lr", "n": 1, "alpha": 0.3}, "alpha takes 0, 0.5, 1, but the setting has 0.3"),
        ({"kind": "hard", "m": 1}, "'m' is not a parameter of the space"),
        ({"kind": "hard", "n": 1.5}, "n takes 1 to 2"),
    ],
)
def test_contains_says_why_not(setting: dict[str, Any], part: str) -> None:
    assert part in str(parse(**CHAIN).contains(setting))


def test_contains_lets_a_constant_be_repeated() -> None:
    space = parse(a=1, b={"choice": [1, 2]})
    assert space.contains({"a": 1, "b": 2}) is None
    assert "pinned to 1" in str(space.contains({"a": 2, "b": 2}))


def test_size() -> None:
    assert parse(a={"float": [0, 1]}).size() is None
    assert parse(a=1).size() == 1
    assert parse(a={"float": [0, 1], "step": 0.1}, b={"choice": [1, 2]}).size() == 22
    hidden = parse(k={"choice": ["a", "b"]}, x={"float": [0, 1], "when": {"k": "c"}})
    assert hidden.size() == 2
    shown = parse(k={"choice": ["a", "b"]}, x={"float": [0, 1], "when": {"k": "b"}})
    assert shown.size() is None
    huge = parse(n={"int": [1, 10**9]}, m={"int": [1, 10**9], "when": {"n": [5, 7, 10**10]}})
    assert huge.size() == 10**9 - 2 + 2 * 10**9
    with pytest.raises(ValueError, match="infinitely many"):
        parse(a={"float": [0, 1]}).points()


@st.composite
def spaces(draw: st.DrawFn) -> Space:
    names = ["a", "b", "c", "d"]
    params: dict[str, Any] = {}
    for place, name in enumerate(names):
        values = draw(st.lists(st.integers(0, 3), min_size=1, max_size=3, unique=True))
        domain: Any = draw(
            st.sampled_from(
                [{"choice": values}, {"grid": sorted(values)}, {"int": [0, 2]}, {"const": 1}]
            )
        )
        domain = dict(domain)
        if place and draw(st.booleans()):
            parent = draw(st.sampled_from(names[:place]))
            domain["when"] = {parent: draw(st.lists(st.integers(0, 3), min_size=1, max_size=3))}
        params[name] = domain
    order = draw(st.permutations(names))
    return parse(**{name: params[name] for name in order})


@given(spaces())
def test_size_counts_the_distinct_points(space: Space) -> None:
    points = list(space.points())
    assert len({canonical(point) for point in points}) == len(points) == space.size()
    for point in points:
        assert space.contains(point) is None
        assert space.active(point) == point


# -- against the method ------------------------------------------------------------------------
def test_problems_with_the_method() -> None:
    space = parse(
        knd="hard",
        alpha={"float": [0, 2]},
        n={"float": [1, 4]},
        beta={"choice": [0.1, "x"]},
        flag={"choice": [True, 3]},
        kind={"int": [1, 2]},
    )
    told = space.problems(METHOD)
    for part in (
        "'knd' (did you mean 'kind'?)",
        "params.alpha must be at most 1, but got 2.0; declared as: share",
        "params.n takes whole numbers",
        "params.beta must be a number, but got 'x'",
        "params.flag must be true or false, but got 3",
        "params.kind must be one of ['hard', 'soft', 'lr']",
    ):
        assert any(part in problem for problem in told), (part, told)


def test_a_condition_on_a_missing_parameter() -> None:
    space = parse(alpha={"grid": [0.1], "when": {"kin": "lr"}}, kind="lr")
    (told,) = space.problems(METHOD)
    assert "params.alpha.when names 'kin'" in told
    assert "did you mean 'kind'" in told
    assert "add params.kin" in told


def test_cycles_are_told_once() -> None:
    space = parse(
        alpha={"grid": [0.1], "when": {"beta": 0.1}},
        beta={"grid": [0.1], "when": {"n": 1}},
        n={"grid": [1], "when": {"alpha": 0.1}},
        flag={"choice": [True], "when": {"alpha": 0.1}},
    )
    (told,) = space.problems(METHOD)
    assert "form a cycle" in told
    (own,) = parse(alpha={"grid": [0.1], "when": {"alpha": 0.1}}).problems(METHOD)
    assert "alpha -> alpha" in own


def test_typed_follows_the_method() -> None:
    space = parse(
        alpha={"choice": [0, 1]},
        beta={"int": [0, 1]},
        n={"grid": [1.0, 2.0]},
        kind={"choice": ["lr"], "when": {"alpha": 1}},
    ).typed(METHOD)
    assert space.problems(METHOD) == []
    assert [type(v) for v in space.domains["alpha"].examples()] == [float, float]
    assert space.domains["beta"] == Float(low=0.0, high=1.0, step=1.0)
    assert [type(v) for v in space.domains["n"].examples()] == [int, int]
    assert [type(v) for v in space.domains["kind"].when["alpha"]] == [float]


# -- what data can serve -----------------------------------------------------------------------
def test_a_parameter_inherits_what_is_pinned_and_nothing_that_is_searched() -> None:
    method = replace(METHOD, inherits={"beta": "alpha", "n": "flag"})
    assert parse(alpha=0.25).typed(method).constants() == {"alpha": 0.25, "beta": 0.25}
    assert parse(alpha=0.25, beta=1).typed(method).constants() == {"alpha": 0.25, "beta": 1.0}
    assert parse(alpha={"grid": [0.25, 0.5]}).typed(method).constants() == {}
    searched = parse(alpha=0.25, beta={"grid": [0, 1]}).typed(method)
    assert searched.constants() == {"alpha": 0.25}
    needy = parse(alpha={"const": 0.25, "needs": "unlabelled"}).typed(method)
    assert needy.available(frozenset({"unlabelled"}))[0].constants()["beta"] == 0.25
    assert needy.available(frozenset())[0].constants() == {}


def test_available_drops_what_the_data_cannot_serve() -> None:
    space = parse(
        alpha={"grid": [0, 1], "needs": "votes"},
        beta={"grid": [0, 1], "when": {"alpha": 1}},
        n={"grid": [1, 2], "when": {"alpha": 0}},
    ).typed(METHOD)
    assert space.available(frozenset({"votes"})) == (space, ())
    less, told = space.available(frozenset())
    assert list(less.domains) == ["n"]  # alpha's default is 0
    assert less.size() == 2
    assert told[0] == (
        "params.alpha is not used: it needs rater votes, which this data does not have; "
        "alpha is 0, the method's default"
    )
    assert told[1].startswith("params.beta is not used: it depends on 'alpha'")


# -- enqueue -----------------------------------------------------------------------------------
def test_enqueued_settings_follow_the_data() -> None:
    whole = parse(
        kind={"choice": ["hard", "soft"]},
        alpha={"choice": [0, 1], "needs": "corpora"},
        n={"choice": [4, 8]},
    ).typed(METHOD)
    entries = [
        {"kind": "hard", "alpha": 1},
        {"_name": "plain", "kind": "hard", "alpha": 0, "n": 8},
        {"_name": "weighted", "kind": "hard", "alpha": 1},
        {"_name": "votes", "kind": "soft"},
        {"kind": "lr"},
    ]
    space, _ = whole.available(frozenset())
    found, told = space.enqueued(entries, METHOD, frozenset())
    assert found == [("", {"kind": "hard", "n": 4}), ("plain", {"kind": "hard", "n": 8})]
    assert len(told) == 3
    assert "'weighted' is left out: it sets alpha" in told[0]
    assert "'votes' is left out: it needs rater votes" in told[1]
    assert "number 5 is left out" in told[2]
    facts = frozenset({"votes", "corpora"})
    found, told = whole.available(facts)[0].enqueued(entries, METHOD, facts)
    assert [name for name, _ in found] == ["", "plain", "weighted", "votes"]
    assert len(told) == 1


@settings(max_examples=50)
@given(spaces(), st.data())
def test_complete_is_idempotent(space: Space, data: st.DataObject) -> None:
    entry = data.draw(st.sampled_from(list(space.points())))
    assert space.complete(entry) == entry


def test_available_drops_the_values_that_the_data_cannot_serve() -> None:
    space = parse(
        kind={"choice": ["hard", "lr", "soft"], "needs": {"soft": "votes", "lr": "corpora"}},
        alpha={"grid": [0, 1], "when": {"kind": ["soft", "lr"]}},
        beta={"grid": [0, 1], "when": {"kind": "soft"}},
    ).typed(METHOD)
    assert space.available(frozenset({"votes", "corpora"})) == (space, ())
    less, told = space.available(frozenset({"corpora"}))
    assert less.domains["kind"].examples() == ("hard", "lr")
    assert set(less.domains) == {"kind", "alpha"}, "what belonged to the lost value went with it"
    assert less.size() == 3
    assert told == (
        "params.kind leaves out soft: it needs rater votes, which this data does not have",
    )
    none, told = space.available(frozenset())
    assert none.size() == 1
    assert set(none.domains) == {"kind"}
    assert len(told) == 2


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"choice": ["a", "b"], "needs": {"c": "votes"}}, "names c, which is not one of its"),
        ({"choice": ["a", "b"], "needs": {"a": "vote"}}, "must be one of votes, unlabelled"),
        ({"float": [0, 1], "needs": {"0": "votes"}}, "goes with choice: alone"),
    ],
)
def test_needs_by_value_are_checked(given: dict[str, Any], said: str) -> None:
    assert any(said in problem for problem in Space.parse({"kind": given})[1])


def test_examples_stand_for_all_that_a_study_may_try() -> None:
    space, problems = Space.parse({"a": {"choice": [1, 2]}, "b": {"float": [0.0, 1.0]}, "c": 7})
    assert not problems
    settings = list(space.examples([{"a": 2, "b": 0.5}]))
    assert settings == [
        {"c": 7},
        {"a": 2, "b": 0.5, "c": 7},
        *({"a": a, "c": 7} for a in (1, 2)),
        *({"b": b, "c": 7} for b in (0.0, 1.0)),
        {"c": 7},
    ]
