"""Ray Tune: trials that step through folds, a searcher and a scheduler that obey the driver.

The only file that names Ray Tune. To Tune, one step of a trial is the next wave of folds, so that
a trial can be stopped on what its finished folds already show. Tune's own files are of no use to
us (the ledger is the truth) and go to a temporary folder.
"""

from __future__ import annotations

import math
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
import ray
from ray import tune
from ray.exceptions import RayActorError, RayTaskError
from ray.tune.schedulers import AsyncHyperBandScheduler, MedianStoppingRule, TrialScheduler
from ray.tune.search import Searcher

from raysearch.errors import StoreFailed
from raysearch.stages import Answers, Context, Runtime, broker, calls
from raysearch.stages.broker import StageFailed
from raysearch.stages.methods import method as find_method
from raysearch.study.ledger import FoldRow, StageUse
from trainables import metrics

if TYPE_CHECKING:  # coordinators import this file, and need neither Optuna nor scipy
    from raysearch.search.driver import Driver


@dataclass(frozen=True)
class Stopping:
    """How trials are stopped inside a fold: by one of Tune's own schedulers, on epochs."""

    rule: Literal["asha", "median"]
    grace: int
    """epochs that every training gets"""
    eta: float
    """asha: a trial goes on past epochs grace, grace * eta, ... among the best 1/eta alone"""
    folds: frozenset[int]
    """the folds in which trials may be stopped, by index"""

    @property
    def watch(self) -> broker.Watch:
        return broker.Watch(self.grace, self.eta if self.rule == "asha" else None)


@dataclass(frozen=True)
class Curve:
    """Validation scores by epoch of one training of a trial."""

    trial: int
    fold: int
    repeat: int
    """which of the fold's seeds"""
    scores: tuple[float, ...]
    ended: bool
    """whether it trained to its end"""


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
    seeds: int
    """trainings a fold"""
    runtime: Runtime
    store: str
    scratch: str | None
    wave: int
    """folds a step"""
    data: Any
    """[ObjectRef of the Dataset]"""
    stopping: Stopping | None = None
    node: str | None = None
    """the driver's"""


class _FoldStepper(tune.Trainable):
    """A trial: one setting, stepping through folds. Light: it never imports torch."""

    def setup(self, config: dict[str, Any], work: Work) -> None:  # type: ignore[override]
        self._work = work
        self._method = find_method(work.method)
        self._broker = broker.connect(work.store, scratch=work.scratch, node=work.node)
        self._flow: Iterator[_Epochs | _Outcomes] | None = None
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self._give_up()
        self._number = new_config["number"]
        self._setting = self._method.resolve({**self._work.constants, **new_config["params"]})
        self._todo = list(new_config["todo"])
        return True

    def cleanup(self) -> None:
        self._give_up()

    def _give_up(self) -> None:
        """Cancel what a trial that was stopped inside a fold still waits for."""
        if self._flow is not None:
            self._flow.close()  # type: ignore[attr-defined]
            self._flow = None

    def step(self) -> dict[str, Any]:
        """The next wave of folds; or, where they are watched, what their epochs say so far."""
        if self._flow is None:
            wave, self._todo = self._todo[: self._work.wave], self._todo[self._work.wave :]
            self._flow = self._demand(wave)
        rows: list[tuple[FoldRow, int, int]] = []
        ended: list[Curve] = []
        try:
            told = next(self._flow)
            if isinstance(told, _Epochs):
                return {"rows": rows, "epochs": told.each}
            self._give_up()
            for fold, outcomes in told:
                ended += self._curves(fold, outcomes)
                ran = sum(len(one.ran) for one in outcomes)
                asked = sum(len(one.uses) for one in outcomes)
                row = _over_seeds([self._score(fold, one) for one in outcomes])
                rows.append((row, ran, asked - ran))
        except _Failed as failure:
            self._flow = None
            return {"rows": rows, "failed": str(failure), "trace": failure.trace}
        except _Fatal as failure:
            self._flow = None
            return {"rows": rows, "fatal": str(failure)}
        return {"rows": rows, "ended": ended}

    def _curves(self, fold: int, outcomes: list[broker.FoldOutcome]) -> list[Curve]:
        return [
            Curve(self._number, fold, repeat, one.curve, ended=True)
            for repeat, one in enumerate(outcomes)
            if one.curve
        ]

    def _demand(self, wave: list[int]) -> Iterator[_Epochs | _Outcomes]:
        """All folds of the wave, by seed; before them, where folds are watched, their epochs.

        Where one fails, or the generator is closed, those in flight are given up.
        """
        work = self._work
        seen: dict[str, int] = {}
        while True:
            refs: dict[Any, tuple[int, int]] = {}
            watched: dict[str, tuple[int, int]] = {}
            for fold in wave:
                watch = None
                if work.stopping is not None and fold in work.stopping.folds:
                    watch = work.stopping.watch
                for repeat in range(work.seeds):
                    stages = calls(self._method, self._setting, fold, work.context, repeat)
                    ref = self._broker.fold.remote(
                        stages, work.study, work.runtime, work.data, watch
                    )
                    refs[ref] = (fold, repeat)
                    if watch is not None:
                        watched[stages[-1].key] = (fold, repeat)
                        seen.setdefault(stages[-1].key, 0)
            news: Any = None
            waiting = list(refs)
            try:
                done: dict[tuple[int, int], broker.FoldOutcome] = {}
                while waiting:
                    if watched and news is None:
                        news = self._broker.news.remote(seen)
                    ready, _ = ray.wait([*waiting, *([] if news is None else [news])])
                    if ready[0] == news:
                        told = ray.get(news)
                        news = None
                        seen.update({key: each[-1][0] for key, each in told.items()})
                        yield _Epochs([(*watched[key], each) for key, each in told.items()])
                        continue
                    waiting.remove(ready[0])
                    done[refs[ready[0]]] = ray.get(ready[0])
                yield [
                    (fold, [done[fold, repeat] for repeat in range(work.seeds)]) for fold in wave
                ]
                return
            except RayTaskError as error:
                if isinstance(error.cause, StoreFailed):
                    raise _Fatal(str(error.cause)) from None
                if isinstance(error.cause, StageFailed):
                    raise _Failed(str(error.cause), error.cause.trace) from None
                raise
            except RayActorError:  # the broker is gone for good: what it stored is not
                self._broker = broker.connect(work.store, scratch=work.scratch, node=work.node)
                waiting, news = [], None
            finally:
                for ref in [*waiting, *([] if news is None else [news])]:
                    # not recursive: a stage may be another trial's too, and the broker knows whose
                    ray.cancel(ref, recursive=False)

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
        known = {part: y >= 0 for part, y in truth.items()}  # what a target rater has rated
        truth = {part: y[known[part]] for part, y in truth.items()}
        guess = {part: y[known[part]] for part, y in guess.items()}
        scores = {}
        for part in ("val", "test"):
            scores[f"{part}_ua"] = metrics.unweighted_accuracy(truth[part], guess[part], k)
            scores[f"{part}_wa"] = metrics.weighted_accuracy(truth[part], guess[part], k)
        for which, within in answers.sets.items():
            inside = within[known["test"]]
            if inside.any():  # a fold may have no clip of a set
                right, said = truth["test"][inside], guess["test"][inside]
                scores[f"test_ua_{which}"] = metrics.unweighted_accuracy(right, said, k)
                scores[f"test_wa_{which}"] = metrics.weighted_accuracy(right, said, k)
        for n in work.speaker_clips:
            start, end = end, end + answers.test
            again = guesses["test"][start:end][known["test"]]
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


def _over_seeds(rows: list[FoldRow]) -> FoldRow:
    """One row of a fold's trainings: mean scores, summed counts."""
    if len(rows) == 1:
        return rows[0]
    return replace(
        rows[0],
        scores={
            name: float(np.mean([row.scores[name] for row in rows])) for name in rows[0].scores
        },
        confusion=np.sum([row.confusion for row in rows], axis=0).tolist(),
        val_confusion=np.sum([row.val_confusion for row in rows], axis=0).tolist(),
        seconds=sum(row.seconds for row in rows),
        stages=tuple(use for row in rows for use in row.stages),
        repeats=tuple(row.scores for row in rows),
    )


_Outcomes = list[tuple[int, list[broker.FoldOutcome]]]
"""by fold: the outcome of each seed"""


@dataclass(frozen=True)
class _Epochs:
    """What stages in flight have told since the last time."""

    each: list[tuple[int, int, list[tuple[int, float]]]]
    """(fold, repeat, [(epoch, score)])"""


class _Failed(Exception):
    """This trial cannot be finished."""

    def __init__(self, reason: str, trace: str = "") -> None:
        super().__init__(reason)
        self.trace = trace


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


@dataclass(frozen=True)
class _Lost:
    """Why a trial is stopped inside a fold."""

    reason: str
    ahead: dict[int, float]
    """other trial -> this one's best score so far minus the other's at the same epoch"""
    curve: Curve


@dataclass(frozen=True)
class _Named:
    """What Tune's schedulers ask of a trial: to be told from others."""

    trial_id: str


@dataclass
class _Cell:
    """One fold, and one of its seeds: a scheduler of its own, and the curves of all trials."""

    scheduler: TrialScheduler
    curves: dict[int, list[tuple[int, float]]] = field(default_factory=dict)
    """trial -> (epoch, score)"""
    ended: set[int] = field(default_factory=set)


class _Inside:
    """Tune's own schedulers on epochs: trials are compared on the same fold at the same epoch.

    Scores differ by 7 to 10 points between speakers, so that every fold has a scheduler of its
    own. `asha` sees the best score so far, which is what a training that ended here would give;
    `median` the scores themselves, of which Tune's rule takes means and bests. A training that
    has ended stays in the comparison at later epochs, with its best score.
    """

    def __init__(self, stopping: Stopping, folds: Sequence[str], past: Sequence[Curve]) -> None:
        self._stopping = stopping
        self._folds = folds
        self._cells: dict[tuple[int, int], _Cell] = {}
        for curve in past:
            self.keep(curve)

    def told(
        self, number: int, fold: int, repeat: int, each: Sequence[tuple[int, float]]
    ) -> _Lost | None:
        """Further epochs of a training in flight; says why it shall be stopped, if it shall."""
        cell = self._cell(number, fold, repeat)
        for epoch, score in each:
            if cell.curves[number] and epoch <= cell.curves[number][-1][0]:
                continue  # told once more, after its coordinator was lost
            if self._tell(cell, number, epoch, score) == TrialScheduler.STOP:
                best = max(value for _, value in cell.curves[number])
                ahead = {
                    other: best - max(value for at, value in curve if at <= epoch)
                    for other, curve in cell.curves.items()
                    if other != number
                    and curve
                    and curve[0][0] <= epoch
                    and (curve[-1][0] >= epoch or other in cell.ended)
                }
                return _Lost(
                    f"{self._stopping.rule}: fold {self._folds[fold]} at epoch {epoch}: "
                    f"{100 * best:.1f} % validation UA at best, stopped against {len(ahead)} "
                    f"other{'s' if len(ahead) != 1 else ''}",
                    ahead,
                    Curve(
                        number, fold, repeat, tuple(s for _, s in cell.curves[number]), ended=False
                    ),
                )
        return None

    def keep(self, curve: Curve) -> None:
        """Take over a training that is over: it is compared with, and not judged."""
        if not curve.scores:
            return
        cell = self._cell(curve.trial, curve.fold, curve.repeat)
        told = cell.curves[curve.trial]
        last = told[-1][0] if told else 0
        for epoch, score in list(enumerate(curve.scores, start=1))[last:]:
            told.append((epoch, score))
            self._add(cell, curve.trial, epoch, score)
        if curve.ended and curve.trial not in cell.ended:
            cell.ended.add(curve.trial)
            best = max(curve.scores)
            for epoch in self._later(len(curve.scores)):
                self._add(cell, curve.trial, epoch, best)

    def _cell(self, number: int, fold: int, repeat: int) -> _Cell:
        cell = self._cells.get((fold, repeat))
        if cell is None:
            cell = self._cells[fold, repeat] = _Cell(self._scheduler())
        if number not in cell.curves:
            cell.curves[number] = []
            cell.scheduler.on_trial_add(None, self._trial(number))  # type: ignore[arg-type]
        return cell

    def _scheduler(self) -> TrialScheduler:
        grace = self._stopping.grace
        if self._stopping.rule == "asha":
            return AsyncHyperBandScheduler(
                time_attr="epoch",
                metric="score",
                mode="max",
                grace_period=grace,
                max_t=max(_LAST, grace),
                reduction_factor=self._stopping.eta,
                stop_last_trials=False,  # a training ends by itself
            )
        return MedianStoppingRule(
            time_attr="epoch",
            metric="score",
            mode="max",
            grace_period=grace,
            min_time_slice=cast(int, float("inf")),  # never pause one for the sake of another
        )

    def _tell(self, cell: _Cell, number: int, epoch: int, score: float) -> str:
        cell.curves[number].append((epoch, score))
        result = self._result(cell, number, epoch, score)
        return cell.scheduler.on_trial_result(None, self._trial(number), result)  # type: ignore[arg-type]

    def _add(self, cell: _Cell, number: int, epoch: int, score: float) -> None:
        """Show the scheduler a result without asking what follows from it."""
        result = self._result(cell, number, epoch, score)
        if self._stopping.rule == "asha":
            cell.scheduler.on_trial_result(None, self._trial(number), result)  # type: ignore[arg-type]
        else:  # on_trial_result would note a stop, and then refuse what comes after it
            cell.scheduler.on_trial_complete(None, self._trial(number), result)  # type: ignore[arg-type]

    def _result(self, cell: _Cell, number: int, epoch: int, score: float) -> dict[str, Any]:
        if self._stopping.rule == "asha":
            score = max(value for _, value in cell.curves[number])
        return {"epoch": epoch, "score": score}

    def _later(self, last: int) -> list[int]:
        """Epochs at which a training that has ended is still compared with."""
        grace = self._stopping.grace
        if self._stopping.rule == "median":  # it averages scores from `grace` on
            return [grace, _LAST] if last < grace else [_LAST]
        epochs, due = [], float(grace)
        while due <= _LAST:
            if due > last:
                epochs.append(math.ceil(due))
            due *= self._stopping.eta
        return epochs

    @staticmethod
    def _trial(number: int) -> Any:
        return _Named(f"trial-{number}")


_LAST = 10**6
"""an epoch that no training reaches"""


class _Scheduler(_NotPickled, TrialScheduler):
    """Hands every step's folds to the driver, which says whether the trial goes on."""

    def __init__(self, driver: Driver, inside: _Inside | None = None) -> None:
        super().__init__()
        self._driver = driver
        self._inside = inside

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        number = trial.config["number"]
        if "fatal" in result:
            self._driver.fatal = StoreFailed(result["fatal"])
            return TrialScheduler.STOP
        if self._inside is not None and "failed" not in result:
            for told in result.get("epochs", ()):
                lost = self._inside.told(number, *told)
                if lost is not None:
                    self._driver.prune(
                        number, lost.reason, lost.curve.fold, lost.ahead, asdict(lost.curve)
                    )
                    return TrialScheduler.STOP
            if "epochs" in result:
                return TrialScheduler.STOP if self._driver.fatal else TrialScheduler.CONTINUE
            for curve in result["ended"]:
                self._inside.keep(curve)
        stop = self._driver.record(number, result["rows"])
        if "failed" in result:
            self._driver.fail(number, result["failed"], result["trace"])
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
    inside = None
    if work.stopping is not None:
        inside = _Inside(work.stopping, work.context.folds, past)
    where = tempfile.mkdtemp(prefix="raysearch-tune-", dir=_fast_folder())
    try:
        tuner = tune.Tuner(
            tune.with_resources(
                tune.with_parameters(_FoldStepper, work=work),
                # a fraction of a CPU would keep a whole core from 1-CPU stages; nothing at all
                # is refused
                {"cpu": 0, "memory": 50 * 2**20},
            ),
            tune_config=tune.TuneConfig(
                search_alg=_Asker(driver),
                scheduler=_Scheduler(driver, inside),
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
        )
        with _actors_may_start():
            tuner.fit()
    finally:
        shutil.rmtree(where, ignore_errors=True)
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

    def patient(controller: Any, trial: Any) -> bool:
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


def _fast_folder() -> str | None:
    """A folder in memory where there is one: Tune writes about 40 ms a fold on a slow disk."""
    shm = Path("/dev/shm")
    return str(shm) if shm.is_dir() and os.access(shm, os.W_OK) else None
