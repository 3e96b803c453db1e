"""Trials that are stopped inside a fold: Tune's schedulers on epochs, and who tells them."""

from __future__ import annotations

import importlib
import math
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from raysearch import stages
from raysearch.cluster.connection import connection
from raysearch.errors import BadInput
from raysearch.search import tune as search
from raysearch.search.driver import Driver
from raysearch.search.epoch_race import Curve, EpochRace, Stopping, StopReason
from raysearch.selection import Score
from raysearch.stages import broker
from raysearch.stages.executor import Watch
from raysearch.stages.folds import divide
from raysearch.stages.store import Store
from raysearch.stages.worker import EpochSender
from raysearch.study import Study, load_study
from raysearch.study.ledger import PRUNED, FoldRow, Ledger, StageUse

SUPPORT = Path(__file__).resolve().parents[1] / "support"
FOLDS = ("s00", "s01", "s02", "s03")


def stopping(rule: Any = "asha", grace: int = 2, eta: float = 2.0) -> Stopping:
    return Stopping(rule, grace, eta, frozenset({0, 1, 2, 3}))


def inside(rule: Any = "asha", past: list[Curve] | None = None) -> EpochRace:
    return EpochRace(stopping(rule), FOLDS, past or [])


def epochs(*scores: float, start: int = 1) -> list[tuple[int, float]]:
    return list(enumerate(scores, start=start))


# -- the rules -------------------------------------------------------------------------------------
def test_asha_stops_the_worse_half_at_an_epoch_that_it_looks_at() -> None:
    race = inside()
    for number in range(3):
        assert race.judge(number, 3, 0, epochs(0.5, 0.6)) is None
    stop = race.judge(7, 3, 0, epochs(0.3, 0.4, 0.9))
    assert stop is not None
    assert stop.reason == (
        "asha: fold s03 at epoch 2: 40.0 % validation UA at best, stopped against 3 others"
    )
    assert stop.ahead == pytest.approx({0: -0.2, 1: -0.2, 2: -0.2})
    assert stop.curve == Curve(7, 3, 0, (0.3, 0.4), whole=False)


def test_asha_judges_by_the_best_epoch_so_far_and_looks_at_no_other_epochs() -> None:
    race = inside()
    race.judge(0, 0, 0, epochs(0.5, 0.5, 0.9))
    assert race.judge(1, 0, 0, epochs(0.6, 0.1)) is None, "its best epoch counts"
    assert race.judge(1, 0, 0, epochs(0.1, start=3)) is None, "epoch 3 is not looked at"
    assert race.judge(0, 0, 0, epochs(0.9, start=4)) is None
    assert race.judge(1, 0, 0, epochs(0.1, start=4)) is not None


@pytest.mark.parametrize("rule", ["asha", "median"])
def test_folds_and_seeds_are_compared_with_themselves_alone(rule: str) -> None:
    race = inside(rule)
    for number in range(4):
        race.judge(number, 0, 0, epochs(0.9, 0.9, 0.9))
    assert race.judge(5, 1, 0, epochs(0.1, 0.1, 0.1)) is None, "another speaker"
    assert race.judge(5, 0, 1, epochs(0.1, 0.1, 0.1)) is None, "another seed"
    assert race.judge(5, 0, 0, epochs(0.1, 0.1, 0.1)) is not None


def test_median_needs_three_others_and_the_grace() -> None:
    race = inside("median")
    for number in range(2):
        race.judge(number, 0, 0, epochs(0.9, 0.9, 0.9))
    assert race.judge(2, 0, 0, epochs(0.1, 0.1, 0.1)) is None, "two others are too few"
    stop = race.judge(3, 0, 0, epochs(0.1, 0.2, 0.9))
    assert stop is not None
    assert "median: fold s00 at epoch 2: 20.0 %" in stop.reason
    assert "against 3 others" in stop.reason


@pytest.mark.parametrize("rule", ["asha", "median"])
@pytest.mark.parametrize("length", [1, 3])
def test_a_training_that_has_ended_stays_in_the_comparison(rule: str, length: int) -> None:
    """Also where it ended before the grace was over."""
    race = inside(rule)
    for number in range(3):
        race.add(Curve(number, 0, 0, (0.9, 0.8, 0.85)[:length], whole=True))
    assert race.judge(8, 0, 0, epochs(0.95, 0.91, 0.92, 0.91, 0.93)) is None
    stop = race.judge(9, 0, 0, epochs(0.1, 0.1, 0.1, 0.1))
    assert stop is not None
    assert "at epoch 2" in stop.reason
    assert "against 4 others" in stop.reason
    assert stop.ahead[0] == pytest.approx(-0.8)


def test_an_ended_training_counts_at_later_rungs() -> None:
    race = inside()
    race.add(Curve(0, 0, 0, (0.5, 0.9, 0.5), whole=True))
    race.judge(1, 0, 0, epochs(0.95, 0.95))
    assert race.judge(2, 0, 0, epochs(0.95, 0.95)) is None
    # at epoch 4 only the ended training, of 3 epochs and 0.9, is there to lose against
    race = inside()
    race.add(Curve(0, 0, 0, (0.1, 0.1, 0.9), whole=True))
    assert race.judge(2, 0, 0, epochs(0.5, 0.5, 0.5)) is None
    stop = race.judge(2, 0, 0, epochs(0.5, start=4))
    assert stop is not None
    assert "at epoch 4" in stop.reason
    assert stop.ahead == pytest.approx({0: -0.4})


def test_what_was_stopped_before_a_restart_is_still_compared_with() -> None:
    """Survivors alone would make the rule ever harder."""
    survivors = [Curve(n, 0, 0, (0.8, 0.9, 0.9), whole=True) for n in range(2)]
    stopped = [Curve(n, 0, 0, (0.1, 0.2), whole=False) for n in range(2, 9)]
    assert inside(past=survivors).judge(20, 0, 0, epochs(0.5, 0.5)) is not None
    assert inside(past=survivors + stopped).judge(20, 0, 0, epochs(0.5, 0.5)) is None


def test_epochs_that_come_twice_count_once() -> None:
    race = inside("median")
    for number in range(3):
        race.judge(number, 0, 0, epochs(0.5, 0.5, 0.5, 0.9))
    assert race.judge(4, 0, 0, epochs(0.6, 0.6)) is None
    assert race.judge(4, 0, 0, epochs(0.1, 0.1, 0.1)) is None
    stop = race.judge(4, 0, 0, epochs(0.5, start=4))
    assert stop is not None
    assert stop.curve.scores == (0.6, 0.6, 0.1, 0.5)


# -- the rules against Tune's own ------------------------------------------------------------------
@dataclass(frozen=True)
class Named:
    """All that Tune's schedulers ask of a trial."""

    trial_id: str


class TunesOwn:
    """Ray Tune's scheduler of one fold; a training that has ended is told at later epochs too."""

    LAST = 10**6

    def __init__(self, rule: str, grace: int, eta: float) -> None:
        from ray.tune.schedulers import AsyncHyperBandScheduler, MedianStoppingRule

        self.rule, self.grace, self.eta = rule, grace, eta
        common: dict[str, Any] = {
            "time_attr": "epoch", "metric": "score", "mode": "max", "grace_period": grace,
        }  # fmt: skip
        self.scheduler: Any = (
            AsyncHyperBandScheduler(
                max_t=self.LAST, reduction_factor=eta, stop_last_trials=False, **common
            )
            if rule == "asha"
            else MedianStoppingRule(min_time_slice=float("inf"), **common)
        )
        self.trials: dict[int, Any] = {}
        self.best: dict[int, float] = {}

    def add(self, number: int, epoch: int, score: float, judge: bool = True) -> bool:
        if number not in self.trials:
            self.trials[number] = Named(f"t{number}")
            self.scheduler.on_trial_add(None, self.trials[number])
        best = self.best[number] = max(score, self.best.get(number, -1.0))
        result = {"epoch": epoch, "score": best if self.rule == "asha" else score}
        if judge or self.rule == "asha":
            decision = self.scheduler.on_trial_result(None, self.trials[number], result)
            return bool(decision == "STOP")
        self.scheduler.on_trial_complete(None, self.trials[number], result)
        return False

    def end(self, number: int, last: int) -> None:
        later = [self.LAST] if last >= self.grace else [self.grace, self.LAST]
        if self.rule == "asha":
            rungs = [math.ceil(self.grace * self.eta**k) for k in range(12)]
            later = [rung for rung in rungs if rung > last]
        for epoch in later:
            self.add(number, epoch, self.best[number], judge=False)


@pytest.mark.parametrize("seed", range(25))
@pytest.mark.parametrize(("rule", "eta"), [("asha", 2.0), ("asha", 3.0), ("median", 3.0)])
def test_the_rules_decide_as_tunes_schedulers_of_their_names(
    rule: Any, eta: float, seed: int
) -> None:
    """Twelve trainings of unequal lengths, four at a time, epoch by epoch in any order."""
    rng = np.random.default_rng(seed)
    grace = int(rng.integers(1, 5))
    race = EpochRace(Stopping(rule, grace, eta, frozenset({0})), FOLDS)
    tunes = TunesOwn(rule, grace, eta)
    curves = [
        (rng.random() + 0.2 * rng.random(int(rng.integers(1, 30)))).round(2) for _ in range(12)
    ]
    waiting, running, stops = list(range(12)), dict[int, int](), 0
    while waiting or running:
        if waiting and len(running) < 4:
            running[waiting.pop(0)] = 0
        number = int(rng.choice(list(running)))
        epoch = running[number] = running[number] + 1
        score = float(curves[number][epoch - 1])
        stop = race.judge(number, 0, 0, [(epoch, score)]) is not None
        assert stop == tunes.add(number, epoch, score), (number, epoch)
        stops += stop
        if stop or epoch == len(curves[number]):
            del running[number]
            if not stop:
                whole = tuple(curves[number].tolist())
                race.add(Curve(number, 0, 0, whole, whole=True))
                tunes.end(number, epoch)
    assert 0 < stops < 12


# -- from a stage to the broker --------------------------------------------------------------------
class FakeBroker:
    def __init__(self) -> None:
        self.sent: list[list[tuple[int, float]]] = []
        self.add_epochs = SimpleNamespace(remote=lambda key, each: self.sent.append(list(each)))


def test_a_stage_under_asha_reports_at_the_epochs_that_count() -> None:
    fake = FakeBroker()
    sender = EpochSender(fake, "key", Watch(2, 3.0))
    for epoch in range(1, 20):
        sender(epoch, epoch / 100)
    assert [batch[-1][0] for batch in fake.sent] == [2, 6, 18]
    assert [one for batch in fake.sent for one in batch] == [(e, e / 100) for e in range(1, 19)]


def test_a_stage_under_median_reports_about_once_a_second() -> None:
    now = 100.0
    fake = FakeBroker()
    sender = EpochSender(fake, "key", Watch(3, None), clock=lambda: now)
    for epoch in range(1, 11):
        sender(epoch, 0.5)
        now += 0.4
    assert [batch[-1][0] for batch in fake.sent] == [3, 6, 9]


# -- from Tune's results to the driver -------------------------------------------------------------
class FakeDriver:
    def __init__(self) -> None:
        self.fatal: Exception | None = None
        self.log: list[Any] = []

    def record(self, number: int, rows: Any) -> bool:
        self.log.append(("record", number, len(rows)))
        return False

    def prune(self, stop: StopReason) -> None:
        self.log.append(stop)

    def fail(self, number: int, reason: str, trace: str, *, transient: bool) -> None:
        self.log.append(("fail", number, reason, transient))


def test_the_scheduler_prunes_and_otherwise_lets_go_on() -> None:
    fake = FakeDriver()
    made = search._Scheduler(fake, {}, stages.Runtime(), inside())  # type: ignore[arg-type]

    def result(number: int, **facts: Any) -> str:
        trial = SimpleNamespace(config={"number": number})
        return made.on_trial_result(None, trial, {"rows": [], **facts})

    assert result(0, epochs=[(1, 0, epochs(0.8, 0.8))]) == "CONTINUE"
    assert fake.log == [], "epochs are no folds"
    whole = Curve(0, 1, 0, (0.8, 0.8, 0.9), whole=True)
    assert result(0, rows=["a fold"], curves=[whole]) == "CONTINUE"
    assert fake.log == [("record", 0, 1)]
    assert result(3, epochs=[(1, 0, epochs(0.3, 0.3))]) == "STOP"
    stop = fake.log[-1]
    assert list(stop.ahead) == [0]
    assert "against 1 other" in stop.reason
    assert stop.curve == Curve(3, 1, 0, (0.3, 0.3), whole=False)
    assert result(4, failure=stages.StageFailed("stage 'student': it raised")) == "STOP"
    assert fake.log[-1] == ("fail", 4, "stage 'student': it raised", False)
    fake.fatal = OSError("full")
    assert result(0, epochs=[(2, 0, epochs(0.8, 0.8))]) == "STOP"


# -- the driver ------------------------------------------------------------------------------------
class FakeSampler:
    """Asks x = number and remembers what it was told."""

    def __init__(self) -> None:
        self.log: list[Any] = []

    def planned(self, trials: int) -> int:
        return trials

    def rebuild(self, trials: Any) -> None: ...

    def ask(self, number: int) -> tuple[dict[str, Any], str]:
        return {"x": number}, "fake"

    def tell(self, number: int, state: str, value: float | None, **more: Any) -> None:
        self.log.append(("tell", number, state, value))


def driver(path: Path, sampler: FakeSampler) -> Driver:
    return Driver(
        ledger=Ledger(path, write=True),
        sampler=sampler,  # type: ignore[arg-type]
        order=[2, 0, 3, 1],
        scores=[Score("ua")],
        trials=3,
    )


def fold(trial: int, index: int, value: float) -> FoldRow:
    scores = {"val_ua": value, "val_wa": value, "test_ua": value, "test_wa": value}
    use = StageUse("student", f"{trial:032d}{index:032d}", True)
    return FoldRow(trial, f"fold-{index}", index, scores, [[1, 0], [0, 1]], 0.1, (use,))


def stopped(trial: int, **ahead: float) -> StopReason:
    """Trial stopped in fold 2; how far it was ahead, by the others' numbers."""
    curve = Curve(trial, 2, 0, (0.1,), whole=False)
    return StopReason("asha: why", {int(name[1:]): by for name, by in ahead.items()}, curve)


def begun(path: Path, sampler: FakeSampler, ended: int) -> Any:
    """Three trials; the first `ended` have fold 2, the first of all."""
    made = driver(path, sampler)
    for number in range(3):
        assert made.next() is not None
        if number < ended:
            made.record(number, [(fold(number, 2, 0.6 + 0.1 * number), 1, 0)])
    return made


def test_a_stopped_trial_is_pruned_with_what_its_fold_foretells(tmp_path: Path) -> None:
    values = []
    for place, behind in enumerate((-0.1, -0.4)):
        sampler = FakeSampler()
        made = begun(tmp_path / str(place), sampler, ended=2)
        made.prune(stopped(2, t0=behind, t1=behind - 0.1))
        assert made.fatal is None
        trial = Ledger(tmp_path / str(place)).trials()[2]
        assert (trial.state, trial.reason) == (PRUNED, "asha: why")
        assert trial.extra["stopped"]["scores"] == [0.1]
        assert sampler.log == [("tell", 2, PRUNED, trial.value)]
        values.append(trial.value)
    # cells 0.5 and 0.2 against others of 0.6 and 0.7: both shrunk towards the others
    assert 0.2 < values[1] < values[0] < 0.65


def test_the_guess_of_an_unfinished_fold_is_no_score(tmp_path: Path) -> None:
    made = begun(tmp_path / "l", FakeSampler(), ended=2)
    made.prune(stopped(2, t0=-0.1))
    assert [row.trial for row in Ledger(tmp_path / "l").folds()] == [0, 1]


def test_a_trial_stopped_before_anything_ended_has_no_value(tmp_path: Path) -> None:
    made = begun(tmp_path / "l", FakeSampler(), ended=0)
    made.prune(stopped(1, t0=-0.2))
    assert made.fatal is None
    trial = Ledger(tmp_path / "l").trials()[1]
    assert (trial.state, trial.value) == (PRUNED, None)


def test_a_stopped_trial_is_not_asked_again(tmp_path: Path) -> None:
    made = begun(tmp_path / "l", FakeSampler(), ended=1)
    made.prune(stopped(1, t0=-0.2))
    again = driver(tmp_path / "l", FakeSampler())
    following = []
    while (trial := again.next()) is not None:
        following.append(trial.number)
    assert following == [0, 2]


def test_the_sampler_learns_from_a_stopped_trial_with_and_without_a_value() -> None:
    from raysearch.search.sampler import Sampler
    from raysearch.study.space import Space

    space = Space.parse({"x": {"float": [0, 1]}})[0]
    sampler = Sampler(space, kind="tpe", seed=0)
    for number in range(14):
        assert sampler.ask(number) is not None
        if number < 6:
            sampler.tell(number, "complete", number / 10)
        else:
            sampler.tell(number, PRUNED, None if number % 2 else 0.1)
    assert sampler.ask(14) is not None


# -- the keys --------------------------------------------------------------------------------------
def study(*words: str) -> Study:
    return load_study(["space=rdlr", *words], cwd=SUPPORT)


def test_stopping_is_a_word_and_no_part_of_the_identity() -> None:
    plain = study()
    assert plain.stopping.rule == "off"
    assert study("stopping=off") == plain
    made = study("stopping=asha", "stopping.grace=8", "stopping.eta=2")
    assert (made.stopping.rule, made.stopping.grace, made.stopping.eta) == ("asha", 8, 2.0)
    assert made.stopping.folds == 1
    assert made.id == plain.id


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["stopping=hyperband"], "stopping.rule must be one of off, asha, median"),
        (["stopping=asha", "stopping.eta=1"], "stopping.eta must be a number of at least 1.1"),
        (["stopping=asha", "stopping.grace=0"], "stopping.grace must be a whole number"),
        (["stopping=median", "deterministic=true"], "write stopping=off, or deterministic=false"),
        (["stopping=median", "objective=[ua,worst_ua]"], "write stopping=off, or one objective"),
    ],
)
def test_what_stopping_cannot_be(words: list[str], told: str) -> None:
    with pytest.raises(BadInput) as caught:
        study(*words)
    assert told in str(caught.value)


# -- on a real Ray ---------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def ray(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModuleType]:
    folder = tmp_path_factory.mktemp("ray")
    patch = pytest.MonkeyPatch()
    patch.syspath_prepend(str(SUPPORT))
    patch.setenv("PYTHONPATH", os.pathsep.join([str(SUPPORT), str(SUPPORT.parents[1])]))
    patch.setenv("RAYSEARCH_TOY_LOG", str(folder / "toy.log"))
    with connection("local", folder / "ray.log"):
        yield importlib.import_module("ray")
    patch.undo()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_a_watched_stage_tells_whoever_waits_and_is_cancelled_with_the_last_of_them(
    ray: Any, tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    n = 40
    y = np.arange(n) % 2
    table = pd.DataFrame(
        {
            "id": [f"u{i:03}" for i in range(n)],
            "speaker": [f"s{i % 5}" for i in range(n)],
            "session": "",
            "corpus": "c",
            "label": np.where(y, "a", "b"),
        }
    )
    data = stages.Dataset(
        ids=table["id"].to_numpy(dtype=str),
        x=(rng.normal(size=(n, 4)) + y[:, None]).astype(np.float32),
        y=y,
        votes=None,
        speaker=np.arange(n) % 5,
        corpus=np.zeros(n, dtype=np.int64),
        classes=("b", "a"),
        folds=divide(table, ("b", "a")),
        normalise="fold",
    )
    method = importlib.import_module("epochs_method").METHOD
    where = stages.context(data, [f"{i}" for i in range(n)], ["x-1"], 0)
    ref = ray.put(data)
    store = Store(str(tmp_path / "store"))
    actor = broker.connect(store.uri)

    def demand(watch: Watch | None, **setting: float) -> tuple[Any, str]:
        called = stages.calls(method, method.resolve(setting), 0, where)
        demand = stages.Demand(called, "study", stages.Runtime(), ref, watch)
        return actor.fold.remote(demand), called[-1].key

    # two trials wait for one stage; one gives up; the stage goes on and tells the other
    watch = Watch(2, 1.2)
    first, key = demand(watch, quality=0.9, epochs=60, pace=0.1)
    second, _ = demand(watch, quality=0.9, epochs=60, pace=0.1)
    first_ones = ray.get(actor.epochs_after.remote({key: 0}), timeout=60)[key]
    assert first_ones[0] == (1, pytest.approx(0.45))
    assert 2 <= first_ones[-1][0] < 40
    ray.cancel(first, recursive=False)  # as a trial's coordinator does
    further = ray.get(actor.epochs_after.remote({key: first_ones[-1][0]}), timeout=60)[key]
    assert further[0][0] == first_ones[-1][0] + 1
    outcome = ray.get(second, timeout=60)
    assert len(outcome.curve) == 60
    found = store.get(key)
    assert found is not None
    # nobody waits any more: cancelled in the middle, and nothing is stored
    alone, key = demand(watch, quality=0.1, epochs=400, pace=0.05)
    ray.get(actor.epochs_after.remote({key: 0}), timeout=60)
    ray.cancel(alone, recursive=False)
    log = Path(os.environ["RAYSEARCH_TOY_LOG"])
    time.sleep(1.0)
    count = log.read_text().count("0.1 ")
    time.sleep(0.5)
    assert log.read_text().count("0.1 ") == count, "it still trains"
    assert not store.has(key)
    # a stage that is not watched has no hook, and its outcome carries no curve
    plain, _ = demand(None, quality=0.5, epochs=3)
    assert ray.get(plain, timeout=60).curve == ()
