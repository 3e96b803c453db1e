"""Label strategies: values by hand, limits, and that no argument is changed."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from trainables import targets

Y = torch.tensor([0, 2, 1, 2])
Q = torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.6, 0.3], [0.2, 0.5, 0.3], [0.3, 0.3, 0.4]])
VOTES = torch.tensor([[3.0, 0, 0], [0, 1, 3], [1, 1, 0], [1, 1, 2]])
INPUTS: dict[str, object] = {
    "votes": VOTES,
    "sets": torch.tensor([0, 1, 2, 1]),  # A, B, C, B
    "predictions": Q,
    "group": torch.tensor([0, 0, 1, 1]),
    "gamma": 0.4,
    "smoothing": 0.1,
    "lr_base": "smoothed",
    "target_norm": "sum1",
    "wdsl_alpha": 0.2,
    "correction_lambda": 0.3,
    "correct": "C",
}


def close(a: Tensor, b: list[list[float]]) -> None:
    np.testing.assert_allclose(a.numpy(), np.array(b), atol=1e-6)


def test_soft_is_the_share_of_raters() -> None:
    close(targets.soft(VOTES), [[1, 0, 0], [0, 0.25, 0.75], [0.5, 0.5, 0], [0.25, 0.25, 0.5]])


def test_a_row_without_a_vote_has_no_target() -> None:
    votes = VOTES.clone()
    votes[2] = 0
    for make in (targets.soft, targets.multi_label):
        with pytest.raises(ValueError, match="row 2"):
            make(votes)


def test_multi_label_sums_to_one_or_to_the_number_of_classes() -> None:
    assert targets.multi_label(VOTES, "none").sum(1).tolist() == [1, 2, 2, 3]
    assert targets.multi_label(VOTES, "sum1").sum(1).tolist() == pytest.approx([1, 1, 1, 1])
    with pytest.raises(ValueError, match="target_norm"):
        targets.multi_label(VOTES, "sum2")  # type: ignore[arg-type]


def test_label_smoothing_is_equation_9() -> None:
    close(targets.label_smoothing(torch.eye(3), 0.3), (0.7 * np.eye(3) + 0.1).tolist())


def test_unigram_smoothing_mixes_in_the_prior() -> None:
    result = targets.build("unigram", y=Y, k=3, smoothing=0.4)
    prior = np.array([0.25, 0.25, 0.5])
    np.testing.assert_allclose(result, 0.6 * np.eye(3)[Y] + 0.4 * prior, atol=1e-6)


def test_lr_smooths_exactly_the_rows_that_the_model_gets_wrong() -> None:
    assert targets.wrong(Q, Y).tolist() == [False, True, False, False]
    result = targets.build("lr", y=Y, k=3, predictions=Q, gamma=0.6)
    close(result, [[1, 0, 0], [0.2, 0.2, 0.6], [0, 1, 0], [0, 0, 1]])


def test_ls_lr_smooths_the_smoothed_or_starts_again() -> None:
    both = {"y": Y, "k": 3, "predictions": Q, "gamma": 0.6, "smoothing": 0.3}
    again = targets.build("ls_lr", lr_base="smoothed", **both)
    afresh = targets.build("ls_lr", lr_base="onehot", **both)
    np.testing.assert_allclose(again[1], 0.4 * np.array([0.1, 0.1, 0.8]) + 0.2, atol=1e-6)
    np.testing.assert_allclose(afresh[1], [0.2, 0.2, 0.6], atol=1e-6)
    for result in (again, afresh):
        np.testing.assert_allclose(result[0], [0.8, 0.1, 0.1], atol=1e-6)


def test_self_learning_rules() -> None:
    one_hot = np.eye(3)[Y]
    np.testing.assert_allclose(
        targets.wdsl(Q, targets.hard(Y, 3), 0.25), 0.75 * Q.numpy() + 0.25 * one_hot, atol=1e-6
    )
    np.testing.assert_allclose(targets.dhl(Q), np.eye(3)[[0, 1, 1, 2]])
    means = np.array([Q[:2].numpy().mean(0), Q[2:].numpy().mean(0)])
    result = targets.gsl(Q, torch.tensor([0, 0, 1, 1]))
    np.testing.assert_allclose(result, means[[0, 0, 1, 1]], atol=1e-6)
    assert torch.equal(targets.wdsl(Q, targets.hard(Y, 3), 0.0), targets.self_kd(Q))
    assert torch.equal(targets.wdsl(Q, targets.hard(Y, 3), 1.0), targets.hard(Y, 3))


def test_correction_blends_marks_and_teacher() -> None:
    marks = targets.multi_label(VOTES)
    soft = targets.correction(marks, Q, 0.3, "soft")
    np.testing.assert_allclose(soft, 0.7 * marks + 0.3 * Q, atol=1e-6)
    hard = targets.correction(marks, Q, 0.3, "hard")
    np.testing.assert_allclose(hard, 0.7 * marks + 0.3 * targets.dhl(Q), atol=1e-6)
    for mode in ("soft", "hard"):
        assert torch.equal(targets.correction(marks, Q, 0.0, mode), marks)


SETS = torch.tensor([0, 1, 2, 1])  # A, B, C, B
UNDECIDED = torch.tensor([0, 2, -1, 2])


@pytest.mark.parametrize(("correct", "rows"), [("C", [2]), ("B+C", [1, 2, 3])])
@pytest.mark.parametrize("norm", ["sum1", "none"])
def test_correction_changes_the_sets_it_names_and_leaves_s_a(
    correct: str, rows: list[int], norm: str
) -> None:
    """By hand: t = (1 - lambda) m + lambda q for corrected rows, one-hot for the others."""
    given = {"y": UNDECIDED, "k": 3, "votes": VOTES, "sets": SETS, "predictions": Q}
    given |= {"correct": correct, "target_norm": norm}
    marks = (VOTES.numpy() > 0).astype(float)
    if norm == "sum1":
        marks /= marks.sum(axis=1, keepdims=True)
    says = np.eye(3)[Q.numpy().argmax(axis=1)]
    for share in (0.0, 0.3, 1.0):
        for mode, q in (("soft", Q.numpy()), ("hard", says)):
            want = np.eye(3)[np.maximum(UNDECIDED.numpy(), 0)]
            want[rows] = ((1 - share) * marks + share * q)[rows]
            result = targets.build(f"correction_{mode}", correction_lambda=share, **given)
            np.testing.assert_allclose(result, want, atol=1e-6)
            if share == 0:
                assert torch.equal(result, targets.build("uncorrected", **given))
            if share == 1 and mode == "hard":
                assert set(result.unique().tolist()) == {0.0, 1.0}
                assert result.sum(dim=1).tolist() == [1.0] * 4


def test_settings_with_the_same_targets_are_the_same() -> None:
    own = {name: param.default for name, param in targets.PARAMS.items()}
    soft = own | {"strategy": "correction_soft", "correction_lambda": 0}
    hard = own | {"strategy": "correction_hard", "correction_lambda": 0.0}
    assert targets.canonical(soft) == targets.canonical(hard)
    assert targets.canonical(soft)["strategy"] == "uncorrected"
    assert targets.canonical(soft)["correct"] == "C"
    full = own | {"strategy": "correction_soft", "correction_lambda": 1.0}
    assert targets.canonical(full) == targets.canonical(full | {"target_norm": "none"})
    half = full | {"correction_lambda": 0.5}
    assert targets.canonical(half) != targets.canonical(half | {"target_norm": "none"})
    with pytest.raises(ValueError, match="correct"):
        targets.build("uncorrected", y=Y, k=3, votes=VOTES, sets=SETS, target_norm="sum1",
                      correct="A")  # fmt: skip


@pytest.mark.parametrize("name", sorted(targets.STRATEGIES))
def test_every_strategy_keeps_the_contract(name: str) -> None:
    strategy = targets.STRATEGIES[name]
    before = {n: v.clone() for n, v in INPUTS.items() if isinstance(v, Tensor)}
    result = targets.build(name, y=Y, k=3, **INPUTS)
    assert result.shape == (4, 3)
    assert result.dtype == torch.float32
    assert (result >= 0).all()
    np.testing.assert_allclose(result.sum(1), 1.0, atol=1e-6)
    result += 1  # a target that shares memory with an argument would change it
    for n, value in before.items():
        assert torch.equal(INPUTS[n], value), n  # type: ignore[arg-type]
    for need in (*strategy.needs, *strategy.params):
        with pytest.raises(ValueError, match=need):
            targets.build(name, y=Y, k=3, **(INPUTS | {need: None}))


@pytest.mark.parametrize("name", sorted(targets.STRATEGIES))
def test_declared_parameters_are_those_that_matter(name: str) -> None:
    strategy = targets.STRATEGIES[name]
    plain = targets.build(name, y=Y, k=3, **INPUTS)
    other = {
        "gamma": 0.9,
        "smoothing": 0.7,
        "lr_base": "onehot",
        "target_norm": "none",
        "wdsl_alpha": 0.9,
        "correction_lambda": 0.9,
        "correct": "B+C",
    }
    for param, value in other.items():
        changed = targets.build(name, y=Y, k=3, **(INPUTS | {param: value}))
        assert torch.equal(changed, plain) == (param not in strategy.params), param


@settings(deadline=None)
@given(st.integers(2, 6), st.floats(0, 1), st.integers(0, 2**31))
def test_lr_limits(k: int, gamma: float, seed: int) -> None:
    g = torch.Generator().manual_seed(seed)
    y = torch.randint(k, (8,), generator=g)
    base = targets.hard(y, k)
    everywhere = torch.ones(8, dtype=torch.bool)
    smooth = targets.label_smoothing(base, gamma)
    assert torch.equal(targets.lr(base, everywhere, gamma), smooth)
    assert torch.equal(targets.lr(base, ~everywhere, gamma), base)
    assert torch.equal(base, targets.hard(y, k))


def test_unknown_strategy() -> None:
    with pytest.raises(KeyError):
        targets.build("harrd", y=Y, k=3)
