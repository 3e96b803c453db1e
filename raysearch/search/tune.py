"""Ray Tune: trials that step through folds, a searcher and a scheduler that obey the driver.

The only file that names Ray Tune. To Tune, one step of a trial is the next wave of folds, so that
a trial can be stopped on what its finished folds already show. Tune's own files are of no use to
us (the ledger is the truth) and go to a temporary folder.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ray
from ray import tune
from ray.exceptions import RayActorError, RayError, RayTaskError
from ray.tune.schedulers import TrialScheduler
from ray.tune.search import Searcher

from raysearch.errors import StoreFailed, one_line
from raysearch.search.epoch_race import Curve, EpochRace, Stopping
from raysearch.search.scorer import Scorer
from raysearch.stages import Context, Runtime, calls
from raysearch.stages.broker import Epochs, connect
from raysearch.stages.executor import Demand, FoldOutcome, StageFailed, last_lines
from raysearch.stages.limits import is_transient
from raysearch.stages.methods import method as find_method
from raysearch.stages.outage import PATIENCE
from raysearch.stages.temporary import temporary_folder
from raysearch.study.ledger import FoldRow

if TYPE_CHECKING:  # coordinators import this file, and need neither Optuna nor scipy
    from ray.actor import ActorHandle
    from ray.tune.execution.tune_controller import TuneController
    from ray.tune.experiment import Trial

    from raysearch.search.driver import Driver
    from trainables.stage import Method


@dataclass(frozen=True)
class Work:
    """What every trial shares. Small: the data itself stays in Ray's object store."""

    study: str
    method: str
    constants: Mapping[str, object]
    """pinned parameters, under every trial's own"""
    context: Context
    scorer: Scorer
    seeds: int
    """trainings a fold"""
    runtime: Runtime
    store: str
    scratch: str | None
    wave: int
    """folds a step"""
    data: ray.ObjectRef
    """of the Dataset"""
    stopping: Stopping | None = None
    node: str | None = None
    """the driver's"""
    patience: float = PATIENCE
    """seconds that a store which is away is waited for"""

    def connect(self) -> ActorHandle:
        """The handle of the store's broker."""
        return connect(self.store, scratch=self.scratch, node=self.node, patience=self.patience)

    def demand(
        self, method: Method, setting: Mapping[str, object], fold: int, repeat: int
    ) -> Demand[ray.ObjectRef]:
        """What a setting of a method asks of the broker on a fold, for one of its seeds."""
        stages = calls(method, setting, fold, self.context, repeat)
        watch = None if self.stopping is None else self.stopping.watch(fold)
        return Demand(stages, self.study, self.runtime, self.data, watch)


Place = tuple[int, int]
"""fold, and which of its seeds"""


class _Wave:
    """Folds of a trial in flight on the broker.

    Args:
        work: whose broker.
        demands: by fold and seed.
    """

    def __init__(self, work: Work, demands: Mapping[Place, Demand[ray.ObjectRef]]) -> None:
        self._work = work
        self._demands = demands
        self._outcomes: dict[Place, FoldOutcome] = {}
        self._watched = {one.calls[-1].key: place for place, one in demands.items() if one.watch}
        self._latest = dict.fromkeys(self._watched, 0)
        """by key of a watched stage, the last epoch known"""
        self.broker: Any = None
        self._refs: dict[ray.ObjectRef, Place] = {}
        self._news: ray.ObjectRef | None = None

    def start(self, broker: ActorHandle) -> None:
        """Ask for every fold that is not there yet."""
        self.broker, self._news = broker, None
        self._refs = {
            broker.fold.remote(demand): place
            for place, demand in self._demands.items()
            if place not in self._outcomes
        }

    def wait(self) -> list[tuple[int, int, Epochs]] | None:
        """Wait for epochs of watched folds; None once all folds are there.

        Returns:
            (fold, seed, epochs) each.

        Raises:
            StageFailed: a stage of one of the folds failed.
            StoreFailed: the store cannot be read or written.
        """
        while self._refs:
            try:
                epochs = self._step()
            except RayTaskError as error:
                if isinstance(error.cause, StageFailed | StoreFailed):
                    raise error.cause from None
                raise
            except RayActorError:  # the broker is gone for good: what it stored is not
                self.start(self._work.connect())
                continue
            if epochs:
                return epochs
        return None

    def _step(self) -> list[tuple[int, int, Epochs]]:
        if self._watched and self._news is None:
            self._news = self.broker.epochs_after.remote(self._latest)
        (ref, *_), _ = ray.wait([*self._refs, *([] if self._news is None else [self._news])])
        if ref != self._news:
            place = self._refs.pop(ref)
            self._outcomes[place] = ray.get(ref)
            return []
        self._news = None
        news: dict[str, Epochs] = ray.get(ref)
        self._latest |= {key: epochs[-1][0] for key, epochs in news.items()}
        return [(*self._watched[key], epochs) for key, epochs in news.items()]

    def outcomes(self) -> dict[int, list[FoldOutcome]]:
        """By fold, in the order of the demands, the outcome of each seed."""
        folds: dict[int, list[FoldOutcome]] = {}
        for fold, repeat in self._demands:
            folds.setdefault(fold, []).append(self._outcomes[fold, repeat])
        return folds

    def cancel(self) -> None:
        """Give up what is still in flight."""
        for ref in [*self._refs, *([] if self._news is None else [self._news])]:
            # not recursive: a stage may be another trial's too, and the broker knows whose
            ray.cancel(ref, recursive=False)
        self._refs, self._news = {}, None


class _FoldStepper(tune.Trainable):
    """A trial: one setting, stepping through folds. Light: it never imports torch."""

    def setup(self, config: dict[str, Any], work: Work) -> None:  # type: ignore[override]
        self._work = work
        self._method = find_method(work.method)
        self._broker = work.connect()
        self._wave: _Wave | None = None
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self._give_up()
        self._number = new_config["number"]
        self._setting = self._method.resolve({**self._work.constants, **new_config["params"]})
        self._folds = list(new_config["folds"])
        return True

    def cleanup(self) -> None:
        self._give_up()

    def _give_up(self) -> None:
        """Cancel what a trial that was stopped inside a fold still waits for."""
        if self._wave is not None:
            self._wave.cancel()
            self._wave = None

    def step(self) -> dict[str, Any]:
        """The next wave of folds; or, where they are watched, what their epochs say so far."""
        result: dict[str, Any] = {"rows": []}
        wave, self._wave = self._wave, None
        try:
            wave = wave or self._start()
            epochs = wave.wait()
            if epochs is not None:
                self._wave = wave
                return result | {"epochs": epochs}
            for fold, outcomes in wave.outcomes().items():
                result["rows"].append(self._row(fold, outcomes))
            return result | {"curves": self._curves(wave.outcomes())}
        except StageFailed as failure:
            return result | {"failure": failure}
        except StoreFailed as failure:
            return result | {"fatal": str(failure)}
        except Exception as error:  # of the broker or of scoring; Tune would hide it and try again
            return result | {"failure": _failure(error, self._work.runtime)}
        finally:
            if wave is not None:
                self._broker = wave.broker
                if self._wave is None:
                    wave.cancel()

    def _start(self) -> _Wave:
        size = self._work.wave
        folds, self._folds = self._folds[:size], self._folds[size:]
        demands = {
            (fold, repeat): self._work.demand(self._method, self._setting, fold, repeat)
            for fold in folds
            for repeat in range(self._work.seeds)
        }
        wave = _Wave(self._work, demands)
        wave.start(self._broker)
        return wave

    def _row(self, fold: int, outcomes: Sequence[FoldOutcome]) -> tuple[FoldRow, int, int]:
        """A fold's scores, how many stages were computed for it, and how many were stored."""
        row = self._work.scorer.row(self._number, fold, outcomes)
        new = sum(len(one.new) for one in outcomes)
        return row, new, len(row.stages) - new

    def _curves(self, folds: Mapping[int, Sequence[FoldOutcome]]) -> list[Curve]:
        return [
            Curve(self._number, fold, repeat, one.curve, whole=True)
            for fold, outcomes in folds.items()
            for repeat, one in enumerate(outcomes)
            if one.curve
        ]


def _failure(error: Exception | None, limits: Runtime) -> StageFailed:
    """What a trial fails of beside its stages: an error of its coordinator or of the broker.

    Args:
        error: as Ray gives it; None where it could not be had.
        limits: of the study, where the error may have passed at another time.
    """
    trace = "" if error is None else last_lines(str(error))
    if error is None or isinstance(error, RayActorError):
        why = "no reason was recorded" if error is None else one_line(error, 600)
        return StageFailed(f"its coordinator was lost again and again: {why}", trace, limits)
    cause = getattr(error, "cause", None) or error
    transient = isinstance(cause, RayError) or is_transient(cause)
    reason = f"its coordinator raised {type(cause).__name__}: {one_line(cause)}"
    return StageFailed(reason, trace, limits if transient else None)


def _fail(driver: Driver, number: int, failure: StageFailed) -> None:
    driver.fail(number, str(failure), failure.trace, transient=failure.limits is not None)


class _NotPickled:
    """Tune pickles its searcher and scheduler into files that we never read."""

    def __getstate__(self) -> dict[str, Any]:
        return {}


class _Asker(_NotPickled, Searcher):
    """Asks the driver for trials; results reach the driver through the scheduler."""

    def __init__(self, driver: Driver, losses: dict[str, StageFailed]) -> None:
        super().__init__(metric=None, mode=None)
        self._driver = driver
        self._losses = losses
        self._numbers: dict[str, int] = {}

    def suggest(self, trial_id: str) -> Any:
        trial = self._driver.next()
        if trial is None:
            return Searcher.FINISHED if self._driver.done else None
        self._numbers[trial_id] = trial.number
        return {"number": trial.number, "params": dict(trial.params), "folds": list(trial.folds)}

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        number = self._numbers.pop(trial_id)
        if error:
            _fail(self._driver, number, self._losses.pop(trial_id))

    def save(self, checkpoint_path: str) -> None:
        """Nothing to save: the ledger is the truth."""

    def restore(self, checkpoint_path: str) -> None:
        raise RuntimeError("a study is resumed from its ledger, not from Tune's files")


class _Scheduler(_NotPickled, TrialScheduler):
    """Hands every step's folds to the driver, which says whether the trial goes on.

    Args:
        driver: of the study.
        losses: takes, by Tune's name of a trial, why its coordinator was lost last.
        limits: of the study's stages.
        race: stops trials inside a fold; None where nothing does.
    """

    def __init__(
        self,
        driver: Driver,
        losses: dict[str, StageFailed],
        limits: Runtime,
        race: EpochRace | None = None,
    ) -> None:
        super().__init__()
        self._driver = driver
        self._losses = losses
        self._limits = limits
        self._race = race

    def on_trial_result(
        self, tune_controller: TuneController, trial: Trial, result: dict[str, Any]
    ) -> str:
        stop = self._take(trial.config["number"], result)
        return TrialScheduler.STOP if stop or self._driver.fatal else TrialScheduler.CONTINUE

    def _take(self, number: int, result: Mapping[str, Any]) -> bool:
        """Take what a trial's step gave; True where the trial shall stop."""
        if "fatal" in result:
            self._driver.fatal = StoreFailed(result["fatal"])
            return True
        if "epochs" in result:
            return self._judge(number, result["epochs"])
        if self._race is not None:
            for curve in result.get("curves", ()):
                self._race.add(curve)
        stop = self._driver.record(number, result["rows"])
        if "failure" in result:
            _fail(self._driver, number, result["failure"])
            return True
        return stop

    def _judge(self, number: int, epochs: Sequence[tuple[int, int, Epochs]]) -> bool:
        assert self._race is not None, "no fold is watched where nothing stops trials"
        for fold, repeat, each in epochs:
            stop = self._race.judge(number, fold, repeat, each)
            if stop is not None:
                self._driver.prune(stop)
                return True
        return False

    def on_trial_add(self, tune_controller: object, trial: object) -> None: ...
    def on_trial_error(self, tune_controller: object, trial: Trial) -> None:
        """Tune tells of each loss of a coordinator; after some it gives the trial up."""
        self._losses[trial.trial_id] = _failure(trial.get_pickled_error(), self._limits)

    def on_trial_complete(self, tune_controller: object, trial: object, result: object) -> None: ...
    def on_trial_remove(self, tune_controller: object, trial: object) -> None: ...

    def choose_trial_to_run(self, tune_controller: TuneController) -> Trial | None:
        for trial in tune_controller.get_trials():
            if trial.status == "PENDING":
                return trial
        return None

    def debug_string(self) -> str:
        return "folds"


def search(driver: Driver, work: Work, *, concurrent: int, past: Sequence[Curve] = ()) -> None:
    """Run trials until the driver wants no more.

    Args:
        driver: says which trials, and takes their folds.
        work: what the trials share.
        concurrent: trials at once; they are light, so this may exceed the number of cores.
        past: where trials may be stopped inside a fold, the curves of earlier ones.

    Raises:
        Exception: whatever the driver found fatal; KeyboardInterrupt where the user asked.
    """
    race = None
    if work.stopping is not None:
        race = EpochRace(work.stopping, work.context.folds, past)
    losses: dict[str, StageFailed] = {}
    with temporary_folder("raysearch-tune-", _fast_folder()) as where:
        tuner = tune.Tuner(
            tune.with_resources(
                tune.with_parameters(_FoldStepper, work=work),
                # a fraction of a CPU would keep a whole core from 1-CPU stages; nothing at all
                # is refused
                {"cpu": 0, "memory": 50 * 2**20},
            ),
            tune_config=tune.TuneConfig(
                search_alg=_Asker(driver, losses),
                scheduler=_Scheduler(driver, losses, work.runtime, race),
                num_samples=max(1, driver.outstanding),
                max_concurrent_trials=concurrent,
                reuse_actors=True,
                trial_name_creator=lambda trial: f"trial-{trial.config['number']}",
                trial_dirname_creator=lambda trial: f"trial-{trial.config['number']}",
            ),
            run_config=tune.RunConfig(
                name="study",
                storage_path=str(where),
                verbose=0,
                failure_config=tune.FailureConfig(max_failures=3),
                checkpoint_config=tune.CheckpointConfig(
                    checkpoint_frequency=0, checkpoint_at_end=False
                ),
                log_to_file=False,
            ),
        )
        with _actors_may_start(), _logins_stay_here():
            tuner.fit()
    if driver.fatal is not None:
        raise driver.fatal


_START = 60.0
"""seconds after which an actor that is asked for should be up"""


@contextmanager
def _actors_may_start() -> Iterator[None]:
    """Keep Tune from handing the actor of a trial that has ended to one that waits for its own.

    Tune drops the actor that is starting then. Where trials end sooner than an actor starts, one is
    always starting and never comes up, at 2 s of CPU a trial: by the chance of who was up first, a
    search of small stages took five times as long as another. A trial that has waited for long
    takes any actor, as Tune has it.
    """
    from ray.tune.execution.tune_controller import TuneController

    reuse = getattr(TuneController, "_maybe_reuse_cached_actor", None)
    if reuse is None:  # a Ray that does it otherwise
        yield
        return
    since: dict[str, float] = {}

    def patient(controller: TuneController, trial: Trial) -> bool:
        waits = trial in getattr(controller, "_trial_to_actor", ())
        resets = trial in getattr(controller, "_resetting_trials", ())
        now = time.monotonic()
        if waits and not resets and now - since.setdefault(trial.trial_id, now) < _START:
            return False
        return bool(reuse(controller, trial))

    TuneController._maybe_reuse_cached_actor = patient  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        TuneController._maybe_reuse_cached_actor = reuse  # type: ignore[method-assign]


@contextmanager
def _logins_stay_here() -> Iterator[None]:
    """Keep Tune from handing AWS keys to trials: Ray would write them into its logs.

    The broker alone needs them, and has them from elsewhere.
    """
    from ray.tune.execution import class_cache

    names: set[str] = getattr(class_cache, "ENV_VARS_TO_PROPAGATE", set())
    logins = {name for name in names if name.startswith("AWS_")}
    names -= logins
    try:
        yield
    finally:
        names |= logins


def _fast_folder() -> str | None:
    """A folder in memory where there is one: Tune writes about 40 ms a fold on a slow disk."""
    shm = Path("/dev/shm")
    return str(shm) if shm.is_dir() and os.access(shm, os.W_OK) else None
