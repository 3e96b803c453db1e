"""The estimates against plain loops, their properties, and a simulation of their bias."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats

from raysearch.selection import FoldGroups, by_mean, estimates, estimates_over_draws

Table = list[list[float]]


def ring(k: int) -> list[FoldGroups]:
    """Leave one speaker out, validated by the next speaker."""
    return [
        FoldGroups(frozenset({f"s{f}"}), frozenset({f"s{(f + 1) % k}"}), f"s{f}") for f in range(k)
    ]


def brute(V: Table, T: Table, folds: Sequence[FoldGroups]) -> dict[str, float]:
    """The definitions of the design, read once more, in plain loops."""
    C, K = len(V), len(folds)

    def pick(columns: list[int]) -> int:
        best, row = -math.inf, -1
        for c in range(C):
            mean = math.fsum(V[c][g] for g in columns) / len(columns)
            if mean > best + 1e-12:
                best, row = mean, c
        return row

    honest = []
    for f in range(K):
        usable = []
        for g in range(K):
            heard = set(folds[g].test_groups) | set(folds[g].val_groups)
            if not any(group in heard for group in folds[f].test_groups):
                usable.append(g)
        honest.append(T[pick(usable or [f])][f])
    return {
        "honest": math.fsum(honest) / K,
        "nested": math.fsum(T[pick([f])][f] for f in range(K)) / K,
        "selected": math.fsum(T[pick(list(range(K)))]) / K,
        "oracle": max(math.fsum(row) / K for row in T),
    }


@st.composite
def studies(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, list[FoldGroups]]:
    c, k = draw(st.integers(1, 6)), draw(st.integers(1, 7))
    # coarse scores make ties common, as they are with few clips a speaker
    score = st.integers(0, 20).map(lambda n: n / 20)
    v, t = (draw(hnp.arrays(float, (c, k), elements=score)) for _ in range(2))
    if draw(st.booleans()):
        return v, t, ring(k)
    names = [f"s{i}" for i in range(k)]
    sets = st.sets(st.sampled_from(names))
    return v, t, [FoldGroups(frozenset({n}), frozenset(draw(sets) - {n}), n) for n in names]


@given(studies())
@settings(max_examples=150, deadline=None)
def test_agrees_with_brute_force(study: tuple[np.ndarray, np.ndarray, list[FoldGroups]]) -> None:
    v, t, folds = study
    actual = estimates(v, {"ua": t, "wa": 1 - t}, folds)
    for metric, table in (("ua", t), ("wa", 1 - t)):
        expected = brute(v.tolist(), table.tolist(), folds)
        for name, value in expected.items():
            assert getattr(actual, name)[metric].mean == pytest.approx(value, abs=1e-12), name
        assert actual.optimism[metric] == pytest.approx(expected["oracle"] - expected["honest"])


@given(studies())
@settings(max_examples=100, deadline=None)
def test_oracle_is_at_least_every_setting(
    study: tuple[np.ndarray, np.ndarray, list[FoldGroups]],
) -> None:
    # Not so for honest and nested: they may choose anew for every fold.
    v, t, folds = study
    actual = estimates(v, {"ua": t}, folds)
    assert actual.oracle["ua"].mean >= actual.selected["ua"].mean - 1e-12
    assert (actual.oracle["ua"].mean >= t.mean(axis=1) - 1e-12).all()
    for kind in (actual.honest, actual.nested, actual.selected, actual.oracle):
        assert t.min() - 1e-12 <= kind["ua"].mean <= t.max(axis=0).mean() + 1e-12


def test_honest_can_exceed_the_oracle() -> None:
    # two kinds of speakers, each best served by its own setting, and validation that knows it
    folds = [
        FoldGroups(frozenset({"a"}), frozenset({"x"})),
        FoldGroups(frozenset({"b"}), frozenset({"y"})),
    ]
    actual = estimates([[0, 1], [1, 0]], {"ua": [[1, 0], [0, 1]]}, folds)
    assert actual.honest["ua"].mean == 1.0
    assert actual.optimism["ua"] == -0.5


@given(studies())
@settings(max_examples=50, deadline=None)
def test_one_setting_leaves_nothing_to_choose(
    study: tuple[np.ndarray, np.ndarray, list[FoldGroups]],
) -> None:
    v, t, folds = study
    actual = estimates(v[:1], {"ua": t[:1]}, folds)
    assert actual.honest == actual.nested == actual.selected == actual.oracle
    assert actual.optimism == {"ua": 0.0}


@given(studies(), st.randoms(use_true_random=False))
@settings(max_examples=80, deadline=None)
def test_order_of_settings_and_folds_does_not_matter(
    study: tuple[np.ndarray, np.ndarray, list[FoldGroups]], random: object
) -> None:
    v, t, folds = study
    # distinct weights of two make every mean distinct: no ties, which the order may decide
    v = v + 2.0 ** -(np.arange(v.size).reshape(v.shape) + 5)
    rows, columns = list(range(len(v))), list(range(len(folds)))
    random.shuffle(rows)  # type: ignore[attr-defined]
    random.shuffle(columns)  # type: ignore[attr-defined]
    one = estimates(v, {"ua": t}, folds)
    two = estimates(
        v[np.ix_(rows, columns)], {"ua": t[np.ix_(rows, columns)]}, [folds[f] for f in columns]
    )
    for name in ("honest", "nested", "selected", "oracle"):
        assert getattr(two, name)["ua"].mean == pytest.approx(getattr(one, name)["ua"].mean)
    assert rows[two.best] == one.best


def test_ties_go_to_the_earlier_trial_however_the_sum_was_rounded() -> None:
    v = [[0.1, 0.2, 0.3], [0.3, 0.2, 0.1], [0.2, 0.2, 0.2]]
    assert estimates(v, {"ua": np.eye(3)}, ring(3)).best == 0


def test_next_speaker_rule_leaves_out_the_speaker_and_the_fold_it_validates() -> None:
    actual = estimates(np.ones((2, 5)), {"ua": np.ones((2, 5))}, ring(5))
    assert actual.judges[0] == (1, 2, 3)  # not 0, which tests s0, nor 4, which validates on s0
    assert actual.judges[2] == (0, 3, 4)
    assert actual.notes == ()


def test_where_every_fold_has_heard_the_group_the_choice_is_nested_and_said_so() -> None:
    names = ["emodb", "demo", "ravdess"]
    folds = [FoldGroups(frozenset({n}), frozenset(set(names) - {n}), n) for n in names]
    rng = np.random.default_rng(0)
    v, t = rng.random((4, 3)), rng.random((4, 3))
    actual = estimates(v, {"ua": t}, folds)
    assert actual.honest_choices == actual.nested_choices
    assert actual.honest == actual.nested
    assert "every fold" in actual.notes[0]


def test_partly_heard_groups_name_their_folds() -> None:
    folds = [
        FoldGroups(frozenset({"a"}), frozenset({"b"}), "a"),
        FoldGroups(frozenset({"b"}), frozenset({"a"}), "b"),
        FoldGroups(frozenset({"c"}), frozenset({"a"}), "c"),
    ]
    actual = estimates(np.ones((1, 3)), {"ua": np.ones((1, 3))}, folds)
    assert actual.judges == ((), (2,), (0, 1))
    assert "In fold a, all other folds" in actual.notes[0]


def test_interval_is_t_over_folds() -> None:
    t = np.array([[0.6, 0.7, 0.9, 0.4]])
    actual = estimates(t, {"ua": t}, ring(4)).honest["ua"]
    low, high = stats.t.interval(0.95, 3, loc=t.mean(), scale=stats.sem(t[0]))
    assert (actual.low, actual.high) == (pytest.approx(low), pytest.approx(high))
    assert actual.sd == pytest.approx(np.std(t, ddof=1))
    assert actual.values == (0.6, 0.7, 0.9, 0.4)


def test_one_fold_has_no_interval() -> None:
    actual = estimates([[0.5]], {"ua": [[0.6]]}, [FoldGroups(frozenset({"a"}), frozenset({"b"}))])
    assert (actual.honest["ua"].low, actual.honest["ua"].sd) == (None, None)
    assert "no score has an interval" in " ".join(actual.notes)


def test_choices_follow_the_objective_and_the_oracle_its_own_metric() -> None:
    v = [[0.9, 0.9, 0.9, 0.9], [0.1, 0.1, 0.1, 0.1]]
    actual = estimates(v, {"ua": [[0.5] * 4, [0.6] * 4], "wa": [[0.7] * 4, [0.2] * 4]}, ring(4))
    assert actual.selected["wa"].mean == pytest.approx(0.7)
    assert actual.oracle_rows == {"ua": 1, "wa": 0}


@pytest.mark.parametrize(
    ("v", "t", "words"),
    [
        ([[0.5, np.nan, 0.5]], [[0.5] * 3], "validation score of trial 7 on fold s1 is nan"),
        ([[0.5] * 3], [[0.5, 0.5, np.inf]], "test ua score of trial 7 on fold s2 is inf"),
        ([[0.5] * 2], [[0.5] * 2], "3 folds are described"),
        ([[0.5] * 3], [[0.5] * 2], "must have V's shape"),
        (np.empty((0, 3)), np.empty((0, 3)), "neither empty"),
    ],
)
def test_bad_tables_are_named(v: object, t: object, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        estimates(v, {"ua": t}, ring(3), settings=["trial 7"][: len(v)])  # type: ignore[arg-type]


def test_a_fold_that_tests_nobody_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one group"):
        estimates([[0.5]], {"ua": [[0.5]]}, [FoldGroups(frozenset(), frozenset({"a"}))])


def test_bias_in_simulated_studies() -> None:
    """Honest does not flatter; oracle does. Speakers differ by 8 points, settings by 1.5.

    Setting-by-speaker effects are shared by a speaker's validation and test scores, which is how
    the selected score gets to hear its test speakers.
    """
    rng = np.random.default_rng(7)
    C, K, folds = 20, 8, ring(8)
    errors: dict[str, list[float]] = {"honest": [], "oracle": [], "selected": []}
    for _ in range(400):
        quality = rng.normal(0.7, 0.015, C)
        speaker, both = rng.normal(0, 0.08, K), rng.normal(0, 0.04, (C, K))
        t = quality[:, None] + speaker + both + rng.normal(0, 0.03, (C, K))
        v = quality[:, None] + np.roll(speaker + both, -1, axis=1) + rng.normal(0, 0.03, (C, K))
        actual = estimates(v, {"ua": t}, folds)
        choice_quality = quality[list(actual.honest_choices)].mean()
        room = speaker.mean()  # what these speakers, not the settings, add
        errors["honest"].append(actual.honest["ua"].mean - room - choice_quality)
        errors["selected"].append(actual.selected["ua"].mean - room - quality[actual.best])
        errors["oracle"].append(actual.oracle["ua"].mean - room - quality[actual.oracle_rows["ua"]])
    mean = {name: 100 * float(np.mean(x)) for name, x in errors.items()}
    error = 100 * float(np.std(errors["honest"]) / 20)
    assert mean["honest"] < 2.5 * error
    assert mean["oracle"] > 1.0
    assert mean["selected"] > 0.3


def test_draws_of_full_tables_are_the_plain_estimates() -> None:
    rng = np.random.default_rng(1)
    v, t = rng.random((3, 5)), rng.random((3, 5))
    plain = estimates(v, {"ua": t}, ring(5))
    pooled = estimates_over_draws([{"ua": t}] * 4, ring(5), judge=by_mean(v), imputed=0.0)
    assert pooled.honest["ua"].mean == pytest.approx(plain.honest["ua"].mean)
    assert pooled.honest["ua"].low == pytest.approx(plain.honest["ua"].low)
    assert pooled.oracle["ua"].mean == pytest.approx(plain.oracle["ua"].mean)
    assert pooled.oracle_rows == plain.oracle_rows
    assert (pooled.best, pooled.honest_choices) == (plain.best, plain.honest_choices)


def test_uncertain_cells_widen_the_interval() -> None:
    rng = np.random.default_rng(1)
    v, t = rng.random((3, 6)), rng.random((3, 6))
    draws = []
    for _ in range(30):
        filled = t.copy()
        filled[:, 4:] += rng.normal(0, 0.3, (3, 2))
        draws.append({"ua": filled})
    pooled = estimates_over_draws(draws, ring(6), judge=by_mean(v), imputed=1 / 3)
    e = pooled.honest["ua"]
    assert e.sd is not None
    assert e.low is not None
    assert e.high is not None
    assert e.high - e.low > 2 * stats.t.ppf(0.975, 5) * e.sd / 6**0.5
    assert pooled.imputed == pytest.approx(1 / 3)
    with pytest.raises(ValueError, match="at least one draw"):
        estimates_over_draws([], ring(6), judge=by_mean(v), imputed=0)
    with pytest.raises(ValueError, match="imputed <= 1"):
        estimates_over_draws(draws, ring(6), judge=by_mean(v), imputed=2)


def test_a_pooled_objective_chooses_by_the_clips_of_all_folds_together() -> None:
    from raysearch.selection import Score
    from raysearch.study.ledger import FoldRow

    def fold(confusion: list[list[int]]) -> FoldRow:
        return FoldRow(0, "f", 0, {"val_ua": 0.0}, [], 0.0, (), confusion)

    # the second fold has one clip of class 1, and misses it
    folds = [fold([[8, 2], [1, 9]]), fold([[10, 0], [1, 0]])]
    assert Score("pooled_ua").of(folds) == pytest.approx((18 / 20 + 9 / 11) / 2)
    assert Score("pooled_ua").of(folds[1:]) == pytest.approx(0.5)
    lacking = [fold([[8, 2], [0, 0]])]
    assert Score("pooled_ua").of(lacking) == pytest.approx(0.8)


def test_a_judge_of_its_own_makes_every_choice_but_the_oracles() -> None:
    groups = [FoldGroups(frozenset({f"s{i}"}), frozenset({f"s{(i + 1) % 4}"})) for i in range(4)]
    V = np.array([[0.9] * 4, [0.1] * 4])
    T = {"ua": np.array([[0.5] * 4, [0.6] * 4])}
    actual = estimates(V, T, groups, judge=lambda over: [0.0, 1.0])
    assert actual.best == 1
    assert actual.honest_choices == actual.nested_choices == (1, 1, 1, 1)
