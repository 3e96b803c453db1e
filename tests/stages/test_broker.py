"""The broker on a real local Ray: once cluster-wide, whatever dies."""

from __future__ import annotations

import importlib
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pytest

from raysearch import stages
from raysearch.cluster.connection import connection
from raysearch.stages.folds import divide
from raysearch.stages.store import Store

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::ResourceWarning")]
SUPPORT = Path(__file__).resolve().parents[1] / "support"


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


@pytest.fixture(scope="module")
def toy(ray: ModuleType) -> ModuleType:
    return importlib.import_module("toy_method")


@pytest.fixture(scope="module")
def data() -> stages.Dataset:
    rng = np.random.default_rng(0)
    n = 60
    table = pd.DataFrame(
        {
            "id": [f"u{i:03}" for i in range(n)],
            "speaker": [f"s{i % 5}" for i in range(n)],
            "session": "",
            "corpus": "c",
            "label": ["a" if i % 2 else "b" for i in range(n)],
        }
    )
    y = np.array([i % 2 for i in range(n)])
    return stages.Dataset(
        ids=table["id"].to_numpy(dtype=str),
        x=(rng.normal(size=(n, 7)) + y[:, None]).astype(np.float32),
        y=y,
        votes=None,
        speaker=np.arange(n) % 5,
        corpus=np.zeros(n, dtype=np.int64),
        classes=("b", "a"),
        folds=divide(table, ("b", "a")),
        normalise="fold",
    )


class Bench:
    """A store of its own, its broker, and demands on it."""

    def __init__(self, ray: Any, toy: Any, data: stages.Dataset, folder: Path) -> None:
        self.ray, self.toy = ray, toy
        self.uri = str(folder / "store")
        self.where = stages.context(data, [f"{i}" for i in range(60)], ["x-1"], 0)
        self.data = ray.put(data)
        self.connect()

    def connect(self) -> None:
        from raysearch.stages.broker import connect

        self.broker = connect(self.uri)

    def calls(self, fold: int = 0, **setting: float) -> list[stages.Call]:
        return stages.calls(self.toy.METHOD, self.toy.METHOD.resolve(setting), fold, self.where)

    def demand(self, fold: int = 0, runtime: Any = None, **setting: float) -> Any:
        return self.ask(self.calls(fold, **setting), runtime=runtime)

    def ask(self, called: list[stages.Call], study: str = "study", runtime: Any = None) -> Any:
        demand = stages.Demand(called, study, runtime or stages.Runtime(), self.data)
        return self.broker.fold.remote(demand)


@pytest.fixture
def bench(ray: ModuleType, toy: ModuleType, data: stages.Dataset, tmp_path: Path) -> Bench:
    return Bench(ray, toy, data, tmp_path)


def test_two_who_ask_at_the_same_moment_share_one_run(bench: Bench) -> None:
    outcomes = bench.ray.get([bench.demand(shrink=0.1, delay=0.3) for _ in range(5)])
    assert sum(len(outcome.new) for outcome in outcomes) == 2
    for outcome in outcomes[1:]:
        np.testing.assert_array_equal(outcome.test, outcomes[0].test)
    assert all(ours for outcome in outcomes for _, _, ours in outcome.uses)


def test_a_teacher_is_trained_once_for_all_settings(bench: Bench) -> None:
    outcomes = bench.ray.get([bench.demand(shrink=s / 10) for s in range(6)])
    ran = [key for outcome in outcomes for key in outcome.new]
    assert len(ran) == len(set(ran)) == 7


def test_what_is_stored_is_not_made_here_for_another_study(bench: Bench) -> None:
    bench.ray.get(bench.demand(shrink=0.2))
    other = bench.ray.get(bench.ask(bench.calls(shrink=0.2), "another"))
    assert not other.new
    assert [ours for _, _, ours in other.uses] == [False, False]


def test_a_stage_that_raises_is_told_with_its_reason_and_not_tried_again(bench: Bench) -> None:
    from ray.exceptions import RayTaskError

    for _ in range(2):
        with pytest.raises(RayTaskError) as caught:
            bench.ray.get(bench.demand(shrink=0.5, fail_at=0.5))
        assert "shrink 0.5 was told to fail" in str(caught.value.cause)
        assert "in student" in caught.value.cause.trace, "where it was raised is kept as well"


def test_a_stage_that_took_too_long_is_run_again_for_who_has_more_time(bench: Bench) -> None:
    from ray.exceptions import RayTaskError

    setting = {"shrink": 0.5, "delay": 2.0}
    narrow, wide = stages.Runtime(timeout=1.0), stages.Runtime(timeout=60.0)
    with pytest.raises(RayTaskError) as caught:
        bench.ray.get(bench.demand(runtime=narrow, **setting))
    assert "it took longer than timeout=1 s" in str(caught.value.cause)
    assert caught.value.cause.limits == narrow
    assert len(bench.ray.get(bench.demand(runtime=wide, **setting)).new) == 2


def test_a_stage_nobody_waits_for_is_cancelled(bench: Bench) -> None:
    cores = int(bench.ray.cluster_resources()["CPU"])
    slow = [{"shrink": 0.3, "delay": 80.0 + core} for core in range(cores)]
    refs = [bench.demand(**setting) for setting in slow]
    time.sleep(1.0)
    for ref in refs:
        bench.ray.cancel(ref)
    began = time.monotonic()
    bench.ray.get([bench.demand(fold, shrink=0.9) for fold in range(4)])
    assert time.monotonic() - began < 60, "cancelled stages still hold all cores"
    for setting in slow:
        assert not Store(bench.uri).has(bench.calls(**setting)[-1].key)


def test_the_brokers_process_killed_in_the_middle(bench: Bench) -> None:
    ref = bench.demand(shrink=0.4, delay=0.8)
    time.sleep(1.2)
    os.kill(bench.ray.get(bench.broker.pid.remote()), signal.SIGKILL)
    assert len(bench.ray.get(ref, timeout=60).test)
    assert bench.ray.get(bench.demand(shrink=0.4, delay=0.8), timeout=60).new == ()


def test_the_brokers_actor_gone_for_good_is_made_anew(bench: Bench) -> None:
    first = bench.ray.get(bench.demand(shrink=0.6))
    bench.ray.kill(bench.broker)
    bench.connect()
    again = bench.ray.get(bench.demand(shrink=0.6), timeout=60)
    assert again.new == ()
    np.testing.assert_array_equal(first.test, again.test)


def test_a_store_that_cannot_be_written_is_said(bench: Bench) -> None:
    from ray.exceptions import RayTaskError

    from raysearch.errors import StoreFailed

    Path(bench.uri).mkdir(parents=True, exist_ok=True)
    (Path(bench.uri) / "stages").write_text("a file where a folder should be")
    with pytest.raises(RayTaskError) as caught:
        bench.ray.get(bench.demand(shrink=0.7))
    assert isinstance(caught.value.cause, StoreFailed)


@pytest.fixture
def across(bench: Bench) -> Bench:
    bench.toy = importlib.import_module("across_method")
    return bench


def test_stages_of_every_fold_are_computed_once_and_handed_on_in_order(across: Bench) -> None:
    demands = [across.demand(fold, shift=s) for s in (0.0, 0.1) for fold in range(5)]
    outcomes = across.ray.get(demands)
    ran = [key for outcome in outcomes for key in outcome.new]
    assert len(ran) == len(set(ran)) == 5 + 10
    assert all([len(outcome.uses) == 6 for outcome in outcomes])
    last = Store(across.uri).get(across.calls(2, shift=0.1)[-1].key)
    assert last is not None
    assert last[0].info["order"] == [0, 1, 2, 3, 4]
    again = across.ray.get([across.demand(fold, shift=0.1) for fold in range(5)])
    assert not any(outcome.new for outcome in again)


def test_where_one_fold_fails_the_others_are_given_up(across: Bench) -> None:
    from ray.exceptions import RayTaskError

    # more stages than cores, so that some have not begun when the first fails
    with pytest.raises(RayTaskError) as caught:
        across.ray.get(across.demand(0, fail_on=0, delay=3.0))
    assert "the fold of clip 0 was to fail" in str(caught.value.cause)
    time.sleep(2.0)
    firsts = [call.key for call in across.calls(0, fail_on=0, delay=3.0)[:-1]]
    assert sum(Store(across.uri).has(key) for key in firsts) < 4


def test_a_broker_that_was_summoned_serves_and_lives_as_long_as_its_handle(
    ray: Any, tmp_path: Path
) -> None:
    from raysearch.stages import broker

    uri, scratch = str(tmp_path / "store"), str(tmp_path / "scratch")
    early = broker.summon(uri, scratch, 5.0)
    pid = ray.get(early.pid.remote())
    with broker.serving(uri, scratch, 5.0, print):
        assert ray.get(broker.connect(uri).pid.remote()) == pid
    assert ray.get(broker.connect(uri).pid.remote()) == pid


def test_processes_of_stages_load_torch_ahead(ray: Any) -> None:
    from raysearch.stages.worker import warm_up

    @ray.remote(num_cpus=ray.cluster_resources()["CPU"])
    def everywhere() -> bool:
        import sys

        return "torch" in sys.modules

    warm_up(1, ray.cluster_resources()["CPU"])
    assert ray.get(everywhere.remote(), timeout=60), "it has the process that was warmed"
