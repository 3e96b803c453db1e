"""The executor in this process: what the store has is not run, and what fails says why."""

from __future__ import annotations

import asyncio
import dataclasses
import importlib
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from raysearch import stages
from raysearch.errors import RaysearchError, StoreFailed
from raysearch.stages.folds import Fold
from raysearch.stages.running import check_artifact
from raysearch.stages.store import Provenance, Store
from trainables.stage import Artifact

SUPPORT = Path(__file__).resolve().parents[1] / "support"
CLIPS = 20


@pytest.fixture(scope="module")
def toy() -> Any:
    """A method of two stages: student reads teacher."""
    patch = pytest.MonkeyPatch()
    patch.syspath_prepend(str(SUPPORT))
    yield importlib.import_module("toy_method")
    patch.undo()


def dataset() -> stages.Dataset:
    y = np.arange(CLIPS) % 2
    rows = np.arange(CLIPS)
    nobody = np.empty(0, dtype=np.int64)
    folds = tuple(
        Fold(
            name=f"s{i}",
            index=i,
            train=rows[rows % 5 >= 2],
            validation=rows[rows % 5 == 1 - i],
            test=rows[rows % 5 == i],
            unlabelled=nobody,
            select=nobody,
            test_groups=frozenset({f"s{i}"}),
            val_groups=frozenset({f"s{1 - i}"}),
        )
        for i in range(2)
    )
    rng = np.random.default_rng(0)
    return stages.Dataset(
        ids=np.array([f"u{i:02}" for i in rows]),
        x=(rng.normal(size=(CLIPS, 3)) + y[:, None]).astype(np.float32),
        y=y,
        votes=None,
        speaker=rows % 5,
        corpus=np.zeros(CLIPS, dtype=np.int64),
        classes=("a", "b"),
        folds=folds,
        normalise="fold",
    )


class Recorder(stages.LocalExecutor):
    """Remembers the stages that it runs."""

    def __init__(self, store: Store, scratch: Path | None = None) -> None:
        super().__init__(store, scratch)
        self.names: list[str] = []

    def run_stage(
        self, call: stages.Call, demand: stages.Demand[stages.Dataset], needs: Sequence[Artifact]
    ) -> tuple[Artifact, Provenance]:
        self.names.append(call.name)
        return super().run_stage(call, demand, needs)


@pytest.fixture
def executor(tmp_path: Path) -> Recorder:
    return Recorder(Store(str(tmp_path / "store")), tmp_path / "scratch")


def demand(
    toy: ModuleType, setting: Mapping[str, Any], study: str = "study", fold: int = 0
) -> stages.Demand[stages.Dataset]:
    data = dataset()
    where = stages.context(data, [f"{i}" for i in range(CLIPS)], ["x-1"], 0)
    called = stages.calls(toy.METHOD, toy.METHOD.resolve(setting), fold, where)
    return stages.Demand(called, study, stages.Runtime(), data)


def test_a_fold_is_run_once_and_a_teacher_once_for_all_settings(
    toy: ModuleType, executor: Recorder
) -> None:
    first = executor.run_fold(demand(toy, {"shrink": 0.1}))
    assert executor.names == ["teacher", "student"]
    assert [(name, own) for name, _, own in first.uses] == [("teacher", True), ("student", True)]
    assert len(first.new) == 2
    assert first.validation.shape == (4, 2)
    again = executor.run_fold(demand(toy, {"shrink": 0.1}, "another study"))
    assert executor.names == ["teacher", "student"]
    assert (again.new, again.seconds) == ((), 0)
    assert [own for _, _, own in again.uses] == [False, False]
    np.testing.assert_array_equal(first.test, again.test)
    executor.run_fold(demand(toy, {"shrink": 0.2}))
    assert executor.names == ["teacher", "student", "student"]


def test_a_stage_that_raises_fails_with_its_reason_and_is_not_run_again(
    toy: ModuleType, executor: Recorder
) -> None:
    for _ in range(2):
        with pytest.raises(
            stages.StageFailed, match=r"^stage 'student': .* told to fail"
        ) as caught:
            executor.run_fold(demand(toy, {"shrink": 0.5, "fail_at": 0.5}))
        assert "in student" in caught.value.trace, "where it was raised is kept as well"
        assert isinstance(caught.value, RaysearchError), "the command line prints it on one line"
    assert executor.names == ["teacher", "student"]


class Starved(Recorder):
    """Its students need a gigabyte more than a demand's memory= where that is under 3 GB."""

    def run_stage(
        self, call: stages.Call, demand: stages.Demand[stages.Dataset], needs: Sequence[Artifact]
    ) -> tuple[Artifact, Provenance]:
        memory = demand.runtime.memory
        if call.name == "student" and memory is not None and memory < 3:
            self.names.append("starved")
            raise stages.StageFailed("no memory", limits=demand.runtime)
        return super().run_stage(call, demand, needs)


def test_a_failure_for_memory_holds_for_those_alone_who_have_no_more(
    toy: ModuleType, tmp_path: Path
) -> None:
    executor = Starved(Store(str(tmp_path / "store")))

    def ask(memory: float | None, timeout: float | None = None) -> stages.FoldOutcome:
        runtime = stages.Runtime(memory=memory, timeout=timeout)
        return executor.run_fold(dataclasses.replace(demand(toy, {"shrink": 0.1}), runtime=runtime))

    for memory, timeout in [(1.0, None), (1.0, None), (0.5, None), (1.0, 10.0)]:
        with pytest.raises(stages.StageFailed, match="no memory"):
            ask(memory, timeout)
    assert executor.names == ["teacher", "starved"]
    with pytest.raises(stages.StageFailed, match="no memory"):
        ask(2.0)
    assert executor.names == ["teacher", "starved", "starved"], "it had more room, so it was run"
    asyncio.run(executor.forget_failures())
    with pytest.raises(stages.StageFailed, match="no memory"):
        ask(2.0)
    assert executor.names.count("starved") == 3, "a new session runs it again"
    assert len(ask(None).new) == 1


def test_who_waits_for_a_stage_with_narrower_limits_runs_it_when_it_fails(
    toy: ModuleType, tmp_path: Path
) -> None:
    executor = Starved(Store(str(tmp_path / "store")))
    ours = demand(toy, {"shrink": 0.1})
    theirs = dataclasses.replace(ours, runtime=stages.Runtime(memory=1.0))

    async def both() -> list[Any]:
        return await asyncio.gather(
            executor.fold(theirs), executor.fold(ours), return_exceptions=True
        )

    failure, outcome = asyncio.run(both())
    assert isinstance(failure, stages.StageFailed)
    assert len(outcome.test) == 4
    assert executor.names == ["teacher", "starved", "student"]


def test_an_artifact_that_is_damaged_is_computed_again(
    toy: ModuleType, executor: Recorder, tmp_path: Path
) -> None:
    whole = executor.run_fold(demand(toy, {"shrink": 0.1}))
    key = whole.uses[-1][1]
    (file,) = (tmp_path / "store").rglob(f"{key}.safetensors")
    file.write_bytes(file.read_bytes()[:-4] + b"oops")
    again = executor.run_fold(demand(toy, {"shrink": 0.1}))
    assert again.new == (key,)
    np.testing.assert_array_equal(whole.test, again.test)


def test_a_store_that_cannot_be_written_is_no_stages_fault(
    toy: ModuleType, executor: Recorder, tmp_path: Path
) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "stages").write_text("a file where a folder should be")
    with pytest.raises(StoreFailed, match="cannot be"):
        executor.run_fold(demand(toy, {"shrink": 0.1}))


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_scores_that_are_not_finite_fail_the_stage_and_are_not_stored(
    toy: ModuleType, executor: Recorder, tmp_path: Path
) -> None:
    last = demand(toy, {"noise": 1e308})
    for _ in range(2):
        with pytest.raises(stages.StageFailed, match=r"'student': .*must be finite, and is not"):
            executor.run_fold(last)
    assert executor.names == ["teacher", "student"]
    assert not Store(str(tmp_path / "store")).has(last.calls[-1].key)


def test_a_scored_stage_without_predictions_fails(toy: ModuleType, executor: Recorder) -> None:
    whole = demand(toy, {})
    teacher = dataclasses.replace(whole, calls=whole.calls[:1])
    with pytest.raises(stages.StageFailed, match=r"'teacher' is scored .*\['validation'\]"):
        executor.run_fold(teacher)


@pytest.mark.parametrize(
    ("artifact", "message"),
    [
        (None, "must return an Artifact"),
        (Artifact({"p": [0.5]}), r"arrays\['p'\] must be an array of numbers, but is .*list"),  # type: ignore[dict-item]
        (Artifact({"p": np.array(["a"])}), r"arrays\['p'\] must be .* but is of <U1"),
        (Artifact({"p": np.array([None])}), "but is of object"),
        (Artifact({"p": np.array([0.5, np.inf])}), r"arrays\['p'\] must be finite"),
        (Artifact({}, {"epochs": np.int64(3)}), "info must be facts that JSON can hold"),
        (Artifact({}, {"loss": float("nan")}), "info must be facts that JSON can hold"),
    ],
)
def test_an_artifact_is_checked_where_it_is_made(artifact: Any, message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        check_artifact(artifact)


class SlowClaims(Store):
    """A store on a network file system, where a lock takes its time."""

    def __init__(self, uri: str) -> None:
        super().__init__(uri)
        self.begun, self.answer = threading.Event(), threading.Event()
        self.held: set[str] = set()

    def claim(self, key: str) -> bool:
        self.begun.set()
        assert self.answer.wait(30)
        self.held.add(key)
        return True

    def release(self, key: str) -> None:
        self.held.discard(key)


def test_who_is_cancelled_while_it_claims_leaves_no_claim(toy: ModuleType, tmp_path: Path) -> None:
    store = SlowClaims(str(tmp_path / "store"))
    executor = stages.LocalExecutor(store)

    async def cancel() -> None:
        task = asyncio.ensure_future(executor.fold(demand(toy, {})))
        await asyncio.to_thread(store.begun.wait, 30)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        store.answer.set()
        await asyncio.get_running_loop().shutdown_default_executor()  # the claim is answered
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    asyncio.run(cancel())
    assert store.held == set()


def test_it_runs_where_an_event_loop_runs_already(toy: ModuleType, executor: Recorder) -> None:
    """As in a notebook."""

    async def cell() -> stages.FoldOutcome:
        return executor.run_fold(demand(toy, {"shrink": 0.1}))

    assert len(asyncio.run(cell()).test) == 4


def test_an_interrupt_reaches_the_stage_and_the_executor_goes_on(
    toy: ModuleType, tmp_path: Path
) -> None:
    class Interrupted(Recorder):
        def run_stage(self, *args: Any) -> tuple[Artifact, Provenance]:
            if not self.names:
                self.names.append("interrupted")
                raise KeyboardInterrupt
            return super().run_stage(*args)

    executor = Interrupted(Store(str(tmp_path / "store")))
    with pytest.raises(KeyboardInterrupt):
        executor.run_fold(demand(toy, {"shrink": 0.1}))
    executor.run_fold(demand(toy, {"shrink": 0.1}))
    assert executor.names == ["interrupted", "teacher", "student"]


def test_what_an_export_asks_for_lies_beside_what_the_study_has(
    toy: ModuleType, executor: Recorder
) -> None:
    studied = demand(toy, {"shrink": 0.1})
    executor.run_fold(studied)
    weights = stages.Use(keep_weights=True)
    last = studied.calls[-1]
    uses = {call.key: weights if call is last else stages.AS_STUDIED for call in studied.calls}
    more = dataclasses.replace(studied, calls=stages.with_uses(studied.calls, uses))
    for _ in range(2):
        (artifact,) = executor.run_artifacts(more, [weights.key(last)])
        assert executor.names == ["teacher", "student", "student"], "the teacher is the study's"
    executor.run_fold(studied)
    assert executor.names == ["teacher", "student", "student"]
    assert set(artifact.arrays) >= {"validation", "test"}


def test_checkpoints_go_once_they_have_served(
    toy: ModuleType, executor: Recorder, tmp_path: Path
) -> None:
    asked = demand(toy, {"shrink": 0.1})
    left = tmp_path / "scratch" / asked.calls[0].key
    left.mkdir(parents=True)
    (left / "checkpoint").write_text("half a training")
    executor.run_fold(asked)
    assert not left.exists()
