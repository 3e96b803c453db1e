"""The driver against a fake sampler: no Ray, no Optuna."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from raysearch.search.driver import Assignment, Driver
from raysearch.search.racing import RULES, Verdict
from raysearch.selection import Score
from raysearch.study.ledger import (
    COMPLETE,
    FAILED,
    PRUNED,
    RUNNING,
    FoldRow,
    Ledger,
    StageUse,
    TrialRow,
)

FOLDS = 4


class FakeSampler:
    """Asks x = number and remembers what it was told."""

    def __init__(self, most: int = 1000) -> None:
        self.most = most
        self.log: list[Any] = []

    def planned(self, trials: int) -> int:
        return trials

    def rebuild(self, trials: Sequence[TrialRow]) -> None:
        self.log.append(("rebuild", [(t.number, t.state) for t in trials]))

    def ask(self, number: int) -> tuple[dict[str, Any], str] | None:
        self.log.append(("ask", number))
        return ({"x": number}, "fake") if number < self.most else None

    def tell(
        self,
        number: int,
        state: str,
        value: float | None,
        values: Mapping[str, float] | None = None,
    ) -> None:
        self.log.append(("tell", number, state))


def fold(trial: int, index: int, value: float = 0.5) -> FoldRow:
    scores = {"val_ua": value, "val_wa": value, "test_ua": value, "test_wa": value}
    use = StageUse("student", f"{trial:032d}{index:032d}", True)
    return FoldRow(trial, f"fold-{index}", index, scores, [[1, 0], [0, 1]], 0.1, (use,))


def driver(path: Path, sampler: FakeSampler, trials: int = 3, **options: Any) -> Driver:
    return Driver(
        ledger=Ledger(path, write=True),
        sampler=sampler,  # type: ignore[arg-type]
        order=[2, 0, 3, 1],
        scores=[Score("ua")],
        trials=trials,
        **options,
    )


def run(made: Driver, following: Assignment, value: float = 0.5) -> bool:
    rows = [(fold(following.number, index, value), 1, 0) for index in following.folds]
    return made.record(following.number, rows)


def finish(made: Driver) -> list[int]:
    numbers = []
    while (following := made.next()) is not None:
        numbers.append(following.number)
        assert run(made, following)
    return numbers


def test_trials_run_all_folds_in_the_common_order(tmp_path: Path) -> None:
    made = driver(tmp_path / "l", FakeSampler())
    following = made.next()
    assert following == Assignment(0, {"x": 0}, (2, 0, 3, 1))
    assert not made.record(0, [(fold(0, 2), 1, 0)])
    assert made.record(0, [(fold(0, i), 1, 0) for i in (0, 3, 1)])
    assert finish(made) == [1, 2]
    assert made.done
    assert made.outstanding == 0
    states = [t.state for t in Ledger(tmp_path / "l").trials()]
    assert states == [COMPLETE] * 3


def test_a_successor_goes_on_where_a_killed_driver_stopped(tmp_path: Path) -> None:
    made = driver(tmp_path / "l", FakeSampler())
    finish_one = made.next()
    assert finish_one is not None
    run(made, finish_one)
    cut = made.next()
    assert cut is not None
    made.record(cut.number, [(fold(cut.number, 3), 1, 0)])
    # the driver dies here; its successor finds trial 1 running with one fold
    sampler = FakeSampler()
    again = driver(tmp_path / "l", sampler)
    assert sampler.log == [("rebuild", [(0, COMPLETE), (1, RUNNING)])]
    assert again.outstanding == 2
    assert again.next() == Assignment(1, {"x": 1}, (2, 0, 1))


def test_a_driver_killed_between_the_last_fold_and_the_end(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "l", write=True)
    ledger.add_trial(0, {"x": 0}, "fake")
    ledger.record_folds([fold(0, index, 0.25 * index) for index in range(FOLDS)])
    again = driver(tmp_path / "l", FakeSampler(), trials=1)
    assert again.done
    trial = ledger.trials()[0]
    assert (trial.state, trial.value) == (COMPLETE, 0.375)


def test_a_finished_study_is_extended_not_repeated(tmp_path: Path) -> None:
    assert finish(driver(tmp_path / "l", FakeSampler(), trials=2)) == [0, 1]
    assert finish(driver(tmp_path / "l", FakeSampler(), trials=2)) == []
    assert finish(driver(tmp_path / "l", FakeSampler(), trials=4)) == [2, 3]


def test_an_exhausted_space_ends_the_search(tmp_path: Path) -> None:
    made = driver(tmp_path / "l", FakeSampler(most=2), trials=10)
    assert finish(made) == [0, 1]
    assert made.done


def test_a_failed_trial_keeps_its_reason_and_the_search_goes_on(tmp_path: Path) -> None:
    made = driver(tmp_path / "l", FakeSampler(), trials=2)
    first = made.next()
    assert first is not None
    made.fail(0, "stage 'student': NonFinite: loss is nan in epoch 3")
    assert finish(made) == [1]
    trials = Ledger(tmp_path / "l").trials()
    assert [t.state for t in trials] == [FAILED, COMPLETE]
    assert "epoch 3" in trials[0].reason


def test_what_failed_for_a_reason_that_may_have_passed_is_run_on_by_a_successor(
    tmp_path: Path,
) -> None:
    first = driver(tmp_path / "l", FakeSampler(), trials=3)
    assert [first.next(), first.next()] != [None, None]
    first.record(0, [(fold(0, 2), 1, 0)])
    first.fail(0, "stage 'student': its node ran out of memory", "trace", transient=True)
    first.fail(1, "stage 'student': ValueError: gamma must be below 1")
    assert finish(first) == [2], "in the same session it is not run again"
    sampler = FakeSampler()
    again = driver(tmp_path / "l", sampler, trials=3)
    assert sampler.log == [("rebuild", [(0, RUNNING), (1, FAILED), (2, COMPLETE)])]
    assert again.outstanding == 1
    following = again.next()
    assert following == Assignment(0, {"x": 0}, (0, 3, 1)), "the fold that it has is not run again"
    assert run(again, following)
    assert again.done
    rows = Ledger(tmp_path / "l").trials()
    assert [(row.state, row.reason) for row in rows] == [
        (COMPLETE, ""),
        (FAILED, "stage 'student': ValueError: gamma must be below 1"),
        (COMPLETE, ""),
    ]
    assert not rows[0].extra


class Counter:
    """Counts the folds that it is told of."""

    def __init__(self) -> None:
        self.folds: list[int] = []

    def trial_started(self, number: int, params: Mapping[str, Any]) -> None: ...

    def fold_done(self, row: FoldRow, ran: int, reused: int) -> None:
        self.folds.append(row.index)

    def trial_done(self, trial: TrialRow, folds: Sequence[FoldRow]) -> None: ...


def test_a_trial_that_tune_begins_anew_counts_its_folds_once(tmp_path: Path) -> None:
    counter = Counter()
    one = driver(tmp_path / "l", FakeSampler(), trials=1, listeners=[counter])
    assert one.next() is not None
    for index in (2, 0, 2, 0, 3, 1):
        one.record(0, [(fold(0, index), 1, 0)])
    assert counter.folds == [2, 0, 3, 1]
    assert [trial.state for trial in Ledger(tmp_path / "l").trials()] == [COMPLETE]


def test_a_full_disk_is_fatal_and_nothing_is_told(tmp_path: Path) -> None:
    sampler = FakeSampler()
    made = driver(tmp_path / "l", sampler)
    following = made.next()
    assert following is not None

    def full(rows: object) -> None:
        raise OSError(28, "No space left on device")

    made._ledger.record_folds = full  # type: ignore[method-assign]
    assert run(made, following)
    assert isinstance(made.fatal, OSError)
    assert made.done
    assert made.next() is None
    assert not [entry for entry in sampler.log if entry[0] == "tell"]


# -- deterministic batches -----------------------------------------------------------------------
def test_batches_are_told_in_order_whatever_the_order_of_arrival(tmp_path: Path) -> None:
    sampler = FakeSampler()
    made = driver(tmp_path / "l", sampler, trials=5, batch=2)
    one, two = made.next(), made.next()
    assert one is not None
    assert two is not None
    assert made.next() is None, "the batch has to be waited for"
    assert not made.done
    run(made, two)
    assert ("tell", 1, COMPLETE) not in sampler.log
    assert made.next() is None
    run(made, one)
    tells = [entry for entry in sampler.log if entry[0] == "tell"]
    assert tells == [("tell", 0, COMPLETE), ("tell", 1, COMPLETE)]
    assert finish(made) == [2, 3, 4]


def interrupted_log(path: Path, cut: int) -> list[Any]:
    """What samplers are asked and told when the driver dies after `cut` ended trials."""
    log: list[Any] = []
    ended = 0
    while True:
        sampler = FakeSampler()
        made = driver(path, sampler, trials=7, batch=3)
        while (following := made.next()) is not None and ended != cut:
            run(made, following)
            ended += 1
        log += [entry for entry in sampler.log if entry[0] != "rebuild"]
        if all(t.state == COMPLETE for t in Ledger(path).trials()) and made.done:
            return log
        ended = cut + 1 if ended == cut else ended
        cut = -1


@pytest.mark.parametrize("cut", range(1, 7))
def test_a_killed_deterministic_study_asks_and_tells_the_same(tmp_path: Path, cut: int) -> None:
    whole = interrupted_log(tmp_path / "whole", -1)
    asks = [entry for entry in whole if entry[0] == "ask"]
    cut_log = interrupted_log(tmp_path / "cut", cut)
    assert [entry for entry in cut_log if entry[0] == "ask"] == asks
    assert [n for kind, n, *_ in cut_log if kind == "tell"][-3:] == [
        n for kind, n, *_ in whole if kind == "tell"
    ][-3:]


# -- the race ------------------------------------------------------------------------------------
def test_a_trial_that_loses_the_race_is_pruned_with_the_predicted_mean(tmp_path: Path) -> None:
    seen: list[np.ndarray] = []

    def rule(table: np.ndarray, row: int, *, trials: int, alive: np.ndarray) -> Verdict:
        seen.append(table.copy())
        assert alive[row]
        return Verdict(stop=row == 1, mean=0.123, reason="it will not win")

    sampler = FakeSampler()
    made = driver(tmp_path / "l", sampler, trials=3, rule=rule)
    first = made.next()
    assert first is not None
    for index in first.folds:
        made.record(0, [(fold(0, index, 0.1 * index), 1, 0)])
    second = made.next()
    assert second is not None
    assert made.record(1, [(fold(1, 2, 0.0), 1, 0)]), "the trial shall stop"
    trials = Ledger(tmp_path / "l").trials()
    assert (trials[1].state, trials[1].value, trials[1].reason) == (
        PRUNED,
        0.123,
        "it will not win",
    )
    assert ("tell", 1, PRUNED) in sampler.log
    np.testing.assert_allclose(seen[-1][0], [0.2, 0.0, 0.3, 0.1])
    assert seen[-1][1][0] == 0.0
    assert all(math.isnan(x) for x in seen[-1][1][1:])


def race_in_batches(path: Path, arrivals: int, restarts: bool) -> list[tuple[Any, ...]]:
    """The trials of a raced study of 24 in batches of 4, its folds arriving in a random order."""
    table = np.random.default_rng(7).normal(0.5, 0.05, (24, FOLDS))
    table += np.random.default_rng(8).normal(0, 0.08, (24, 1))
    rng = np.random.default_rng(arrivals)
    rule = RULES["mixed"]
    race = driver(path, FakeSampler(), trials=24, rule=rule, batch=4)
    at_work: dict[int, list[int]] = {}
    while True:
        while (following := race.next()) is not None:
            at_work[following.number] = list(following.folds)
        if not at_work:
            break
        number = int(rng.choice(list(at_work)))
        index = at_work[number].pop(0)
        if race.record(number, [(fold(number, index, table[number, index]), 1, 0)]):
            del at_work[number]
        if restarts and rng.random() < 0.2:
            race = driver(path, FakeSampler(), trials=24, rule=rule, batch=4)
            at_work = {}
    assert race.fatal is None
    return [(t.number, t.state, t.value, t.reason) for t in Ledger(path).trials()]


def test_batches_are_raced_alike_whatever_the_order_of_arrival(tmp_path: Path) -> None:
    first = race_in_batches(tmp_path / "first", 0, restarts=False)
    states = [state for _, state, *_ in first]
    assert states[:4] == [COMPLETE] * 4, "the first batch has nobody to lose to"
    assert states.count(PRUNED) > 5
    for arrivals in range(1, 6):
        for restarts in (False, True):
            path = tmp_path / f"{arrivals}-{restarts}"
            assert race_in_batches(path, arrivals, restarts) == first


def test_a_race_compares_over_held_out_groups(tmp_path: Path) -> None:
    """Folds 2 and 0 test one session, 3 and 1 another: two observations, not four."""
    tables: list[np.ndarray] = []

    def rule(
        table: np.ndarray, row: int, *, trials: int, alive: np.ndarray | None = None
    ) -> Verdict:
        tables.append(table.copy())
        return Verdict(False, 0.5, "")

    race = driver(tmp_path / "l", FakeSampler(), trials=1, rule=rule, groups=["a", "a", "b", "b"])
    assert race.next() is not None
    for index, value in ((2, 0.2), (0, 0.4), (3, 0.6)):
        race.record(0, [(fold(0, index, value), 1, 0)])
    want = [[np.nan, np.nan], [0.3, np.nan], [0.3, np.nan]]
    np.testing.assert_allclose(np.concatenate(tables), want)


def test_several_objectives_are_kept_and_told(tmp_path: Path) -> None:
    told = []

    class Sampler(FakeSampler):
        def tell(
            self,
            number: int,
            state: str,
            value: float | None,
            values: Mapping[str, float] | None = None,
        ) -> None:
            told.append((number, state, value, values))

    made = Driver(
        ledger=Ledger(tmp_path / "l", write=True),
        sampler=Sampler(),  # type: ignore[arg-type]
        order=range(FOLDS),
        scores=[Score("ua"), Score("worst_ua")],
        trials=1,
    )
    assert made.next() is not None
    made.record(0, [(fold(0, index, value), 1, 0) for index, value in enumerate((1, 0, 1, 1))])
    want = {"ua": 0.75, "worst_ua": 0.0}
    assert told == [(0, COMPLETE, 0.75, want)]
    row = Ledger(tmp_path / "l").trials()[0]
    assert (row.value, row.extra) == (0.75, {"values": want})
