"""Which setting to try next. The only file that asks Optuna.

Optuna's study lives in memory and is rebuilt from the ledger at every start. A sampler is made
anew for every ask and seeded from (study seed, trial number), so what it proposes depends on the
history alone: a restarted driver asks what an uninterrupted one would have asked.
"""

from __future__ import annotations

import copy
import hashlib
import itertools
import math
import warnings
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any, Literal

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.storages import InMemoryStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial

from raysearch.selection import Score
from raysearch.study.ledger import COMPLETE, FAILED, PRUNED, RUNNING, TrialRow
from raysearch.study.space import Choice, Domain, Float, Int, Scalar, Space, canonical

KINDS = ("tpe", "random", "grid", "listed")

STARTUP = 10
"""finished trials before TPE stops drawing at random"""
RETRIES = 5
"""proposals that may repeat a tried setting before an untried one is picked instead"""
_LISTED = 20_000
"""finite spaces of up to so many points are listed: to count them, or to pick an untried setting"""
STATES = {
    COMPLETE: TrialState.COMPLETE,
    PRUNED: TrialState.PRUNED,
    FAILED: TrialState.FAIL,
    RUNNING: TrialState.RUNNING,
}
_STEP = 1
"""Where a pruned trial's value is reported. TPE ranks pruned trials by step before value, and a
pruned trial's value is a prediction for the whole row, so that all of them stand at one step."""


_HISTORY = 1000
"""trials that TPE learns from: an ask takes 15 ms of one core with so many, and 150 with 10,000"""
_BEST = 100
"""of them, the best by each objective"""


class _History(InMemoryStorage):
    """Optuna's trials, of which samplers see `_HISTORY` at most.

    These are the running ones, the best (TPE models at most 25 as good), and of all others as many
    as there is room for, evenly over the search.
    """

    def __init__(self) -> None:
        super().__init__()
        self._seen: dict[int, list[FrozenTrial]] = {}
        """by study, until a trial changes: a sampler asks some ten times a proposal"""

    def get_all_trials(
        self,
        study_id: int,
        deepcopy: bool = True,
        states: Container[TrialState] | None = None,
    ) -> list[FrozenTrial]:
        trials = super().get_all_trials(study_id, deepcopy=False)
        if len(trials) <= _HISTORY:
            return super().get_all_trials(study_id, deepcopy, states)
        if study_id not in self._seen:
            signs = [
                -1.0 if direction == StudyDirection.MAXIMIZE else 1.0
                for direction in self.get_study_directions(study_id)
            ]
            self._seen[study_id] = _excerpt(trials, signs)
        seen = [t for t in self._seen[study_id] if states is None or t.state in states]
        return copy.deepcopy(seen) if deepcopy else seen

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        self._seen.clear()
        return super().create_new_trial(study_id, template_trial)

    def set_trial_state_values(
        self, trial_id: int, state: TrialState, values: Sequence[float] | None = None
    ) -> bool:
        self._seen.clear()
        return super().set_trial_state_values(trial_id, state, values)


def _excerpt(trials: Sequence[FrozenTrial], signs: Sequence[float]) -> list[FrozenTrial]:
    """`_HISTORY` of the trials (and all that run), in their order; `signs` make smaller better."""
    ended = [trial for trial in trials if trial.state != TrialState.RUNNING]
    best: set[int] = set()
    for place, sign in enumerate(signs):
        order = sorted(ended, key=lambda trial: _rank(trial, place, sign))
        best |= {trial.number for trial in order[:_BEST]}
    rest = [trial.number for trial in ended if trial.number not in best]
    room = max(0, _HISTORY - (len(trials) - len(ended)) - len(best))
    chosen = best | {rest[len(rest) * place // room] for place in range(min(room, len(rest)))}
    return [t for t in trials if t.state == TrialState.RUNNING or t.number in chosen]


def _rank(trial: FrozenTrial, place: int, sign: float) -> tuple[int, float]:
    """Smaller is better: complete trials by an objective, pruned ones by what was predicted."""
    if trial.state == TrialState.COMPLETE:
        return 0, sign * trial.values[place]
    predicted = trial.intermediate_values.get(_STEP)
    return (2, 0.0) if predicted is None else (1, sign * predicted)


class Sampler:
    """Proposes untried settings, and learns from their scores.

    Args:
        space: what to search, as `Study.search_space(method).available(facts)` gives it.
        kind: `tpe` (multivariate, aware of running trials), `random`, `grid` (every point once,
            in the space's order), or `listed` (the enqueued settings alone).
        seed: the study's seed.
        enqueue: settings to try first, in order. Parameters that the space does not have are left
            out, and so are settings that do not fit; `Space.enqueued` says which.
        objectives: names of scores, which say which way is better; of several, TPE looks for the
            Pareto front.
        identity: of a setting; settings of one identity ask for the same stages, and one of them
            is tried. `stages.setting_identity` leaves out parameters that have no effect.

    Raises:
        ValueError: unknown kind, or a grid over infinitely many points.
    """

    def __init__(
        self,
        space: Space,
        *,
        kind: Literal["tpe", "random", "grid", "listed"],
        seed: int,
        enqueue: Sequence[Mapping[str, object]] = (),
        objectives: Sequence[str] = ("value",),
        identity: Callable[[Mapping[str, Any]], str] = canonical,
    ) -> None:
        if kind not in KINDS:
            raise ValueError(f"kind must be one of {', '.join(KINDS)}, but got {kind!r}")
        self._space = space
        self._kind = kind
        self._seed = seed
        self._objectives = tuple(objectives)
        self._identity = identity
        self._first = [setting for _, setting in space.enqueued(enqueue)[0]]
        self._points = space.size()
        if kind == "grid" and self._points is None:
            raise ValueError("a grid needs a finite space")
        self._order = space.searched()
        self._constants = space.constants()
        self._distributions = {n: distribution(space.domains[n]) for n in self._order}
        self.rebuild(())

    def planned(self, trials: int) -> int:
        """How many of `trials` there are settings for: a list and a finite space have an end."""
        if self._kind == "listed":
            return min(trials, len({canonical(setting) for setting in self._first}))
        if self._points is None or self._points > _LISTED:
            return trials if self._points is None else min(trials, self._points)
        return sum(1 for _ in itertools.islice(self._distinct(), trials))

    @cached_property
    def size(self) -> int | None:
        """How many settings of the space differ in a stage; None where there are infinitely many.

        Of more than 20,000 points it is how many points there are.
        """
        if self._points is None or self._points > _LISTED:
            return self._points
        return sum(1 for _ in self._distinct())

    def _distinct(self) -> Iterator[dict[str, Scalar]]:
        """The points of a finite space, one of each identity."""
        before = set[str]()
        for point in self._space.points():
            key = self._identity(point)
            if key not in before:
                before.add(key)
                yield point

    # -- history -------------------------------------------------------------------------------
    def rebuild(self, trials: Sequence[TrialRow]) -> None:
        """Forget everything and take over the ledger's trials."""
        self._settings: set[str] = set()  # tried, as they are written
        self._identities: set[str] = set()  # of those
        self._ids: dict[int, int | None] = {}
        self._grid: Iterator[dict[str, Scalar]] | None = None
        self._storage = _History()
        with silent():
            directions = [_direction(name) for name in self._objectives]
            self._study = self._storage.create_new_study(directions, "study")
            # Samplers note things on the trial that they propose for. It lies in a study of its
            # own, so that no trace of a proposal is left in the history.
            aside = self._storage.create_new_study(directions, "proposals")
            self._draft_id = self._storage.create_new_trial(aside)
        for row in sorted(trials, key=lambda row: row.number):
            self._start(row.number, row.params)
            if row.state != RUNNING:
                self.tell(row.number, row.state, row.value, values=row.extra.get("values"))

    def tell(
        self,
        number: int,
        state: str,
        value: float | None,
        values: Mapping[str, float] | None = None,
    ) -> None:
        """Say how a trial ended.

        Args:
            number: as asked.
            state: complete, pruned or failed.
            value: the objective of a complete trial; what is predicted for a pruned one.
            values: every objective by name, where there are several.

        Raises:
            KeyError: no trial of that number was asked.
            ValueError: a complete trial without a finite value, or an unknown state.
        """
        if state not in (COMPLETE, PRUNED, FAILED):
            raise ValueError(f"state must be complete, pruned or failed, but got {state!r}")
        if state == COMPLETE and (value is None or not math.isfinite(value)):
            raise ValueError(f"a complete trial needs a finite value, but got {value!r}")
        trial = self._ids[number]
        if trial is None:
            return  # a setting that this space does not hold: tried, and nothing to learn from
        if state == PRUNED and value is not None and math.isfinite(value):
            self._storage.set_trial_intermediate_value(trial, _STEP, value)
        scores = None
        if state == COMPLETE and value is not None:
            scores = [value] if values is None else [values[name] for name in self._objectives]
        self._storage.set_trial_state_values(trial, STATES[state], scores)

    def _start(self, number: int, setting: Mapping[str, object]) -> None:
        """Keep a setting as tried and running."""
        self._settings.add(canonical(setting))
        if self._space.contains(setting) is not None:
            self._ids[number] = None
            return
        self._identities.add(self._identity(setting))
        trial = create_trial(
            state=TrialState.RUNNING,
            params={n: inner_value(self._space.domains[n], value) for n, value in setting.items()},
            distributions={name: self._distributions[name] for name in setting},
        )
        self._ids[number] = self._storage.create_new_trial(self._study, trial)

    # -- asking --------------------------------------------------------------------------------
    def ask(self, number: int) -> tuple[dict[str, Scalar], str] | None:
        """The next untried setting and its origin ('enqueued' or the sampler's kind).

        Asking counts it as tried and running. Ask with ascending numbers.

        Returns:
            None when nothing is left to try.
        """
        for setting in self._first:
            if canonical(setting) not in self._settings:
                self._start(number, setting)
                return dict(setting), "enqueued"
        if self._kind == "listed":
            return None
        point = self._next_point() if self._kind == "grid" else self._propose(number)
        if point is None:
            return None
        self._start(number, point)
        return point, self._kind

    def _untried(self, setting: Mapping[str, object]) -> bool:
        return self._identity(setting) not in self._identities

    def _next_point(self) -> dict[str, Scalar] | None:
        """The next untried point. What was tried stays tried, so one pass over them is enough."""
        if self._grid is None:
            self._grid = self._space.points()
        return next(filter(self._untried, self._grid), None)

    def _propose(self, number: int) -> dict[str, Scalar] | None:
        for attempt in range(RETRIES):
            setting = self._sample(self._sampler(number, attempt))
            if self._untried(setting):
                return setting
        if self._points is not None and self._points <= _LISTED:
            untried = list(filter(self._untried, self._distinct()))
            return untried[_seed(self._seed, number, "pick") % len(untried)] if untried else None
        for attempt in itertools.count(RETRIES):  # ends: most of so large a space is untried
            setting = self._sample(RandomSampler(seed=_seed(self._seed, number, attempt)))
            if self._untried(setting):
                return setting
        raise AssertionError("unreachable")

    def _sampler(self, number: int, attempt: int) -> BaseSampler:
        seed = _seed(self._seed, number, attempt)
        if self._kind == "random":
            return RandomSampler(seed=seed)
        with silent():
            return TPESampler(
                n_startup_trials=STARTUP,
                multivariate=True,
                group=True,
                constant_liar=True,
                seed=seed,
            )

    def _sample(self, sampler: BaseSampler) -> dict[str, Scalar]:
        """One proposal, parameters in the order of their conditions, those that exist alone."""
        with silent():
            study = optuna.load_study(study_name="study", storage=self._storage, sampler=sampler)
            draft = self._draft()
            space = sampler.infer_relative_search_space(study, draft)
            together = sampler.sample_relative(study, draft, space)
            values: dict[str, Any] = dict(self._constants)
            setting: dict[str, Scalar] = {}
            for name in self._order:
                if not self._space.exists(name, values):
                    continue
                inner = together.get(name)
                if inner is None:
                    distribution = self._distributions[name]
                    inner = (
                        distribution.to_external_repr(0)
                        if distribution.single() and isinstance(distribution, _Indexed)
                        else sampler.sample_independent(study, draft, name, distribution)
                    )
                value = _outer(self._space.domains[name], inner)
                setting[name] = values[name] = value
        return setting

    def _draft(self) -> FrozenTrial:
        """The trial to sample for: running, without parameters, in no history."""
        trial = self._storage.get_trial(self._draft_id)
        trial.number = -1  # TPE leaves the trial that it samples for out by its number
        return trial


_Indexed = IntDistribution | CategoricalDistribution


def _direction(objective: str) -> StudyDirection:
    higher = Score(objective).row.higher
    return StudyDirection.MAXIMIZE if higher else StudyDirection.MINIMIZE


def distribution(domain: Domain) -> BaseDistribution:
    """How Optuna sees a domain: lists and steps by index, so that values keep type and digits."""
    if isinstance(domain, Choice):
        return CategoricalDistribution(tuple(range(domain.size)))
    if isinstance(domain, Int) and domain.log:
        return IntDistribution(domain.low, domain.high, log=True)
    if isinstance(domain, Float) and domain.step is None:
        return FloatDistribution(domain.low, domain.high, log=domain.log)
    assert domain.size is not None
    return IntDistribution(0, domain.size - 1)


def _by_index(domain: Domain) -> bool:
    return domain.size is not None and not (isinstance(domain, Int) and domain.log)


def inner_value(domain: Domain, value: object) -> Any:
    """A value as Optuna has it."""
    return domain.index(value) if _by_index(domain) else domain.normal(value)


def _outer(domain: Domain, inner: Any) -> Scalar:
    if _by_index(domain):
        return domain.at(int(inner))
    if isinstance(domain, Float):
        # the logarithm of an end may come back a digit outside it
        return domain.normal(min(max(float(inner), domain.low), domain.high))
    return domain.normal(inner)


def _seed(study: int, number: int, attempt: int | str) -> int:
    """A seed of 32 bits for one ask of one trial."""
    digest = hashlib.sha256(f"{study}/{number}/{attempt}".encode()).digest()
    return int.from_bytes(digest[:4], "big")


@contextmanager
def silent() -> Iterator[None]:
    """Optuna without its log lines and its warnings about experimental arguments, here alone."""
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        optuna.logging.set_verbosity(verbosity)
