"""What becomes of a trial that goes wrong, without Ray: fakes of the driver and of Tune."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from ray.exceptions import ActorDiedError

from raysearch.search import tune
from raysearch.search.driver import Assignment
from raysearch.search.scorer import Scorer
from raysearch.stages import Context, Runtime

LIMITS = Runtime(timeout=60.0)


class FakeDriver:
    """Takes failures."""

    done = False
    fatal = None

    def __init__(self) -> None:
        self.failures: list[tuple[int, str, bool]] = []

    def next(self) -> Any:
        return Assignment(7, {}, (0,))

    def fail(self, number: int, reason: str, trace: str = "", *, transient: bool = False) -> None:
        self.failures.append((number, reason, transient))

    def record(self, number: int, rows: Any) -> bool:
        return False


@dataclasses.dataclass
class FakeTrial:
    """Tune's trial, whose coordinator was lost."""

    error: Exception | None
    trial_id: str = "trial-7"
    config: dict[str, Any] = dataclasses.field(default_factory=lambda: {"number": 7})

    def get_pickled_error(self) -> Exception | None:
        return self.error


@pytest.mark.parametrize(
    ("error", "reason", "transient"),
    [
        (ActorDiedError(), "lost again and again: The actor died", True),
        (None, "lost again and again: no reason was recorded", True),
        (ValueError("alpha must be positive"), "raised ValueError: alpha must be positive", False),
        (ConnectionError("by the hub"), "raised ConnectionError: by the hub", True),
    ],
)
def test_a_trial_whose_coordinator_is_lost_says_why(
    error: Exception | None, reason: str, transient: bool
) -> None:
    driver, losses = FakeDriver(), {}
    asker = tune._Asker(driver, losses)  # type: ignore[arg-type]
    scheduler = tune._Scheduler(driver, losses, LIMITS)  # type: ignore[arg-type]
    asker.suggest("trial-7")
    scheduler.on_trial_error(None, FakeTrial(error))
    assert not driver.failures, "Tune may start the coordinator again"
    asker.on_trial_complete("trial-7", error=True)
    ((number, text, passing),) = driver.failures
    assert (number, passing) == (7, transient)
    assert reason in text


class BrokenWork(tune.Work):
    """A study whose broker cannot be asked for anything."""

    def connect(self) -> object:
        return object()

    def demand(self, *_: object) -> Any:
        raise KeyError("a fact that no fold has")


class Stepper(tune._FoldStepper):
    """With a study that travels in its configuration."""

    def setup(self, config: dict[str, Any]) -> None:  # type: ignore[override]
        super().setup(config, config["work"])


def test_an_error_of_the_coordinator_itself_is_told_once_and_not_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    work = BrokenWork(
        study="s",
        method="rdlr",
        constants={},
        context=Context(0, ("a",), ({},), ()),
        scorer=Scorer(("a",), (), ("x", "y"), ()),
        seeds=1,
        runtime=LIMITS,
        store="memory://s",
        scratch=None,
        wave=1,
        data=None,  # type: ignore[arg-type]
    )
    stepper = Stepper({"number": 7, "params": {}, "folds": [0], "work": work})
    driver = FakeDriver()
    scheduler = tune._Scheduler(driver, {}, LIMITS)  # type: ignore[arg-type]
    trial = FakeTrial(None)
    assert scheduler.on_trial_result(None, trial, stepper.step()) == "STOP"
    assert driver.failures == [
        (7, "its coordinator raised KeyError: 'a fact that no fold has'", False)
    ]
