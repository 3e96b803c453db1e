"""Ray Tune: trials that step through folds, a searcher and a scheduler that obey the driver.

The only file that names Ray Tune. To Tune, one step of a trial is the next wave of folds, so that
a trial can be stopped on what its finished folds already show. Tune's own files are of no use to
us (the ledger is the truth) and go to a temporary folder.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import ray
from ray import tune
from ray.exceptions import RayActorError, RayTaskError
from ray.tune.schedulers import TrialScheduler
from ray.tune.search import Searcher

from raysearch import broker
from raysearch.driver import Driver
from raysearch.ledger import FoldRow, StageUse
from raysearch.registry import method as find_method
from raysearch.stages import Answers, Context, Runtime, calls
from trainables import metrics

__all__ = ["Work", "search"]


@dataclass(frozen=True)
class Work:
    """What every trial shares. Small: the data itself stays in Ray's object store."""

    study: str
    method: str
    constants: Mapping[str, Any]
    """pinned parameters, under every trial's own"""
    context: Context
    answers: tuple[Answers, ...]
    """by fold"""
    classes: int
    speaker_clips: tuple[int, ...]
    runtime: Runtime
    store: str
    scratch: str | None
    wave: int
    """folds a step"""
    data: Any
    """[ObjectRef of the Dataset]"""


class _FoldStepper(tune.Trainable):
    """A trial: one setting, stepping through folds. Light: it never imports torch."""

    def setup(self, config: dict[str, Any], work: Work) -> None:  # type: ignore[override]
        self._work = work
        self._method = find_method(work.method)
        self._broker = broker.connect(work.store, scratch=work.scratch)
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self._number = new_config["number"]
        self._setting = self._method.resolve({**self._work.constants, **new_config["params"]})
        self._todo = list(new_config["todo"])
        return True

    def step(self) -> dict[str, Any]:
        wave, self._todo = self._todo[: self._work.wave], self._todo[self._work.wave :]
        rows: list[tuple[FoldRow, int, int]] = []
        try:
            for fold, outcome in self._demand(wave):
                ran = len(outcome.ran)
                rows.append((self._score(fold, outcome), ran, len(outcome.uses) - ran))
        except _Failed as failure:
            return {"rows": rows, "failed": str(failure)}
        except _Fatal as failure:
            return {"rows": rows, "fatal": str(failure)}
        return {"rows": rows}

    def _demand(self, wave: list[int]) -> list[tuple[int, broker.FoldOutcome]]:
        """All folds of the wave; where one fails, those in flight are given up."""
        work = self._work
        while True:
            refs = {
                self._broker.fold.remote(
                    calls(self._method, self._setting, fold, work.context),
                    work.study,
                    work.runtime,
                    work.data,
                ): fold
                for fold in wave
            }
            try:
                done: dict[int, broker.FoldOutcome] = {}
                waiting = list(refs)
                while waiting:
                    ready, waiting = ray.wait(waiting, num_returns=1)
                    done[refs[ready[0]]] = ray.get(ready[0])
                return [(fold, done[fold]) for fold in wave]
            except RayTaskError as error:
                for ref in refs:
                    ray.cancel(ref)
                if isinstance(error.cause, broker.StoreFailed):
                    raise _Fatal(str(error.cause)) from None
                if isinstance(error.cause, broker.StageFailed):
                    raise _Failed(str(error.cause)) from None
                raise
            except RayActorError:  # the broker is gone for good: what it stored is not
                self._broker = broker.connect(work.store, scratch=work.scratch)

    def _score(self, fold: int, outcome: broker.FoldOutcome) -> FoldRow:
        work, answers = self._work, self._work.answers[fold]
        name, k = work.context.folds[fold], work.classes
        guesses = {}
        for part, y, probabilities in (
            ("validation", answers.validation, outcome.validation),
            ("test", answers.unseen, outcome.test),
        ):
            if probabilities.shape != (len(y), k):
                raise _Failed(
                    f"fold {name!r}: the method returned {part} probabilities of shape "
                    f"{probabilities.shape} for {len(y)} utterances of {k} classes"
                )
            if not np.isfinite(probabilities).all():
                raise _Failed(f"fold {name!r}: its {part} scores are not finite")
            guesses[part] = probabilities.argmax(axis=1)
        cut = answers.selected
        end = cut + answers.test
        truth = {"test": answers.unseen[cut:end]}
        guess = {"test": guesses["test"][cut:end]}
        truth["val"] = answers.unseen[:cut] if cut else answers.validation
        guess["val"] = guesses["test"][:cut] if cut else guesses["validation"]
        scores = {}
        for part in ("val", "test"):
            scores[f"{part}_ua"] = metrics.unweighted_accuracy(truth[part], guess[part], k)
            scores[f"{part}_wa"] = metrics.weighted_accuracy(truth[part], guess[part], k)
        for n in work.speaker_clips:
            start, end = end, end + answers.test
            again = guesses["test"][start:end]
            scores[f"test_ua_{n}_clips"] = metrics.unweighted_accuracy(truth["test"], again, k)
        return FoldRow(
            trial=self._number,
            fold=name,
            index=fold,
            scores=scores,
            confusion=metrics.confusion(truth["test"], guess["test"], k),
            val_confusion=metrics.confusion(truth["val"], guess["val"], k),
            seconds=outcome.seconds,
            stages=tuple(StageUse(*use) for use in outcome.uses),
        )


class _Failed(Exception):
    """This trial cannot be finished."""


class _Fatal(Exception):
    """The study cannot go on."""


class _NotPickled:
    """Tune pickles its searcher and scheduler into files that we never read."""

    def __getstate__(self) -> dict[str, Any]:
        return {}


class _Asker(_NotPickled, Searcher):
    """Asks the driver for trials; results reach the driver through the scheduler."""

    def __init__(self, driver: Driver) -> None:
        super().__init__(metric=None, mode=None)
        self._driver = driver
        self._numbers: dict[str, int] = {}

    def suggest(self, trial_id: str) -> Any:
        following = self._driver.next()
        if following is None:
            return Searcher.FINISHED if self._driver.done else None
        self._numbers[trial_id] = following.number
        return {
            "number": following.number,
            "params": dict(following.params),
            "todo": list(following.todo),
        }

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        number = self._numbers.pop(trial_id)
        if error:
            self._driver.fail(number, "its coordinator was lost again and again")

    def save(self, checkpoint_path: str) -> None:
        """Nothing to save: the ledger is the truth."""

    def restore(self, checkpoint_path: str) -> None:
        raise RuntimeError("a study is resumed from its ledger, not from Tune's files")


class _Scheduler(_NotPickled, TrialScheduler):
    """Hands every step's folds to the driver, which says whether the trial goes on."""

    def __init__(self, driver: Driver) -> None:
        super().__init__()
        self._driver = driver

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        number = trial.config["number"]
        if "fatal" in result:
            self._driver.fatal = broker.StoreFailed(result["fatal"])
            return TrialScheduler.STOP
        stop = self._driver.record(number, result["rows"])
        if "failed" in result:
            self._driver.fail(number, result["failed"])
            stop = True
        return TrialScheduler.STOP if stop or self._driver.fatal else TrialScheduler.CONTINUE

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None: ...
    def on_trial_error(self, tune_controller: Any, trial: Any) -> None: ...
    def on_trial_complete(self, tune_controller: Any, trial: Any, result: Any) -> None: ...
    def on_trial_remove(self, tune_controller: Any, trial: Any) -> None: ...

    def choose_trial_to_run(self, tune_controller: Any) -> Any:
        for trial in tune_controller.get_trials():
            if trial.status == "PENDING":
                return trial
        return None

    def debug_string(self) -> str:
        return "folds"


def search(driver: Driver, work: Work, *, concurrent: int) -> None:
    """Run trials until the driver wants no more.

    Args:
        driver: says which trials, and takes their folds.
        work: what the trials share.
        concurrent: trials at once; they are light, so this may exceed the number of cores.

    Raises:
        Exception: whatever the driver found fatal; KeyboardInterrupt where the user asked.
    """
    where = tempfile.mkdtemp(prefix="raysearch-tune-", dir=_fast_folder())
    try:
        tune.Tuner(
            tune.with_resources(
                tune.with_parameters(_FoldStepper, work=work),
                # a fraction of a CPU would keep a whole core from 1-CPU stages; nothing at all
                # is refused
                {"cpu": 0, "memory": 50 * 2**20},
            ),
            tune_config=tune.TuneConfig(
                search_alg=_Asker(driver),
                scheduler=_Scheduler(driver),
                num_samples=max(1, driver.outstanding),
                max_concurrent_trials=concurrent,
                reuse_actors=True,
                trial_name_creator=lambda trial: f"trial-{trial.config['number']}",
                trial_dirname_creator=lambda trial: f"trial-{trial.config['number']}",
            ),
            run_config=tune.RunConfig(
                name="study",
                storage_path=where,
                verbose=0,
                failure_config=tune.FailureConfig(max_failures=3),
                checkpoint_config=tune.CheckpointConfig(
                    checkpoint_frequency=0, checkpoint_at_end=False
                ),
                log_to_file=False,
            ),
        ).fit()
    finally:
        shutil.rmtree(where, ignore_errors=True)
    if driver.fatal is not None:
        raise driver.fatal


def _fast_folder() -> str | None:
    """A folder in memory where there is one: Tune writes about 40 ms a fold on a slow disk."""
    shm = Path("/dev/shm")
    return str(shm) if shm.is_dir() and os.access(shm, os.W_OK) else None
