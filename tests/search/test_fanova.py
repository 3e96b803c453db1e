"""fANOVA on made-up scores whose shares are known."""

from __future__ import annotations

import numpy as np
import pytest

from raysearch.search.fanova import LEAST, branches, importances
from raysearch.study.space import Space


def space(**params: object) -> Space:
    found, problems = Space.parse(params)
    assert not problems
    return found


@pytest.mark.slow
def test_shares_are_those_of_the_variance() -> None:
    # y = 2 a + b with a and b uniform in [0, 1]: variances 4/12 and 1/12, so shares 0.8 and 0.2
    rng = np.random.default_rng(0)
    a, b, c = rng.random((3, 200))
    whole = space(a={"float": [0, 1]}, b={"float": [0, 1]}, c={"float": [0, 1]})
    settings = [{"a": x, "b": y, "c": z} for x, y, z in zip(a, b, c, strict=True)]
    found = importances(whole, settings, list(2 * a + b), seed=0)
    shares = {one.name: one.share for one in found}
    assert [one.name for one in found] == ["a", "b", "c"]
    assert shares["a"] == pytest.approx(0.8, abs=0.06)
    assert shares["b"] == pytest.approx(0.2, abs=0.06)
    assert shares["c"] < 0.02
    assert sum(shares.values()) == pytest.approx(1)
    assert all(0 <= one.low <= one.share <= one.high <= 1 for one in found)
    assert found == importances(whole, settings, list(2 * a + b), seed=0)


def test_texts_count_and_parameters_that_not_all_have_are_left_out() -> None:
    whole = space(
        strategy={"choice": ["x", "y"]},
        lr={"float": [1e-5, 1e-2], "log": True},
        gamma={"float": [0, 1], "when": {"strategy": "x"}},
    )
    rng = np.random.default_rng(0)
    settings = []
    for _ in range(40):
        one = {"strategy": str(rng.choice(["x", "y"])), "lr": float(10 ** rng.uniform(-5, -2))}
        settings.append(one | ({"gamma": float(rng.random())} if one["strategy"] == "x" else {}))
    scores = [0.6 + 0.1 * (one["strategy"] == "x") for one in settings]
    found = importances(whole, settings, scores, seed=0)
    assert [one.name for one in found] == ["strategy", "lr"]
    assert found[0].share > 0.95


def test_parameters_of_a_part_of_the_space_are_looked_at_there() -> None:
    kinds = ["hard", "smooth", "both"]
    some = {"kind": ["smooth", "both"]}
    whole = space(
        kind={"choice": kinds},
        a={"float": [0, 1], "when": some},
        b={"float": [0, 1], "when": some},
        c={"float": [0, 1], "when": {"kind": "both"}},
    )
    rng = np.random.default_rng(0)
    settings, scores = [], []
    for i in range(90):
        one: dict[str, object] = {"kind": kinds[i % 3]}
        a, b, c = (float(x) for x in rng.random(3))
        if i % 3:
            one |= {"a": a, "b": b}
        if i % 3 == 2:
            one |= {"c": c}
        settings.append(one)
        scores.append(3 * a if i % 3 else 100.0)
    parts = branches(whole)
    assert [dict(part) for part in parts] == [{"kind": ("smooth", "both")}, {"kind": ("both",)}]
    first, second = (importances(whole, settings, scores, 0, part) for part in parts)
    # hard's 100 points are of another part, and no share of it
    assert first[0].name == "a"
    assert {one.name for one in first} == {"kind", "a", "b"}
    assert first[0].share > 0.9
    assert (second[0].name, len(second)) == ("a", 3), "one kind: it moves nothing there"


@pytest.mark.parametrize("n", [0, LEAST - 1])
def test_too_little_says_nothing(n: int) -> None:
    whole = space(a={"float": [0, 1]}, b={"float": [0, 1]})
    settings = [{"a": i / 20, "b": i % 3 / 3} for i in range(n)]
    assert importances(whole, settings, [i / 10 for i in range(n)], 0) == ()
    many = [{"a": i / 20, "b": i % 3 / 3} for i in range(12)]
    assert importances(whole, many, [0.5] * 12, 0) == ()
    assert importances(whole, [{"a": 2.0, "b": 0.1}] * 12, list(range(12)), 0) == ()
