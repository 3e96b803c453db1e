"""The search in Optuna's own storage, for optuna-dashboard: a sink of the writer.

Nothing is ever read back from it: the Optuna study of `raysearch.search.sampler` is another one,
rebuilt in memory from the ledger. Optuna numbers trials in the order in which they are made, and
they are made here in the ledger's order, so a trial has the same number in both. A trial that has
ended cannot be changed in Optuna; one that was interrupted waits there until it goes on.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.storages import RDBStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from raysearch.search.sampler import STATES
from raysearch.study.addresses import shown
from raysearch.study.ledger import COMPLETE, PRUNED, RUNNING, FoldRow, TrialRow
from raysearch.study.space import Choice, Const, Domain, Float, Int
from raysearch.tracking.notes import headline
from raysearch.tracking.writer import Work

_LONGEST = 2000
"""characters of an attribute: what MySQL's columns hold for certain"""


@dataclass
class _Written:
    """What the storage holds of one trial."""

    id: int
    state: TrialState
    steps: set[int] = field(default_factory=set)
    notes: dict[str, Any] = field(default_factory=dict)


class OptunaMirror:
    """One study's trials in an Optuna storage on SQL.

    Steps are folds, by index: the intermediate value of step k is the validation score on fold k.
    A pruned trial's predicted mean over all folds stands at the step after the last fold, and is
    its value. Reasons of failures and stops are user attributes.

    Args:
        uri: database address; it may hold a password, which is shown nowhere.
        study: the study's id.
        instance: what tells this ledger from any other of the same study, as for MLflow.
        domains: parameter -> its domain; parameters of a setting that no domain holds become user
            attributes.
        objectives: names of what is maximised.
        metric: 'ua' or 'wa', the score of a fold.
        folds: of each trial.
        facts: user attributes of the study.
    """

    def __init__(
        self,
        uri: str,
        *,
        study: str,
        instance: str,
        domains: Mapping[str, Domain],
        objectives: Sequence[str],
        metric: str,
        folds: int,
        facts: Mapping[str, str],
    ) -> None:
        # once and here, in the driver's main thread: `sampling` restores what it finds
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self.study_name = f"{study} {instance[:8]}"
        self._uri = uri
        self._objectives = tuple(objectives)
        self._metric = metric
        self._folds = folds
        self._facts = dict(facts)
        self._domains = {n: d for n, d in domains.items() if not isinstance(d, Const)}
        self._distributions = {n: _distribution(d) for n, d in self._domains.items()}
        self._storage: RDBStorage | None = None
        self._study = 0
        self._have: list[_Written] = []
        self._said: dict[str, Any] = {}

    @property
    def name(self) -> str:
        return f"Optuna's storage at {shown(self._uri)}"

    @property
    def lost(self) -> Sequence[str]:
        return ()

    def forget(self) -> None:
        """After an error nothing that was written is certain: look again before going on."""
        if self._storage is not None:
            self._storage.engine.dispose()
        self._storage, self._have = None, []

    def write(self, work: Work) -> None:
        """Bring the storage up to the ledger."""
        storage = self._open()
        # A trial that is not there yet needs all before it: Optuna counts.
        due = {trial.number for trial in work.changed}
        for trial in sorted(work.trials, key=lambda trial: trial.number):
            if trial.number in due or trial.number >= len(self._have):
                self._put(storage, trial, work.folds.get(trial.number, ()), work.stopped)
        if work.study or work.numbers is None:
            facts = {**self._facts, "state": work.status.lower(), "reason": work.reason}
            facts["found"] = headline(work.closing)
            for name, value in facts.items():
                if self._said.get(name, "") != value:
                    storage.set_study_user_attr(self._study, name, value[:_LONGEST])
                    self._said[name] = value[:_LONGEST]

    # -- inside ------------------------------------------------------------------------------------
    def _open(self) -> RDBStorage:
        if self._storage is not None:
            return self._storage
        patience = {"connect_timeout": 10} if self._uri.startswith(("postgresql", "mysql")) else {}
        storage = RDBStorage(
            self._uri,
            engine_kwargs={"pool_pre_ping": True, "pool_size": 1, "connect_args": patience},
        )
        known = {s.study_name: s._study_id for s in storage.get_all_studies()}
        if self.study_name in known:
            self._study = known[self.study_name]
        else:
            ways = [StudyDirection.MAXIMIZE] * len(self._objectives)
            self._study = storage.create_new_study(ways, self.study_name)
        # where optuna.study.Study.set_metric_names puts them
        storage.set_study_system_attr(
            self._study, "study:metric_names", [f"val_{name}" for name in self._objectives]
        )
        self._said = dict(storage.get_study_user_attrs(self._study))
        there = storage.get_all_trials(self._study, deepcopy=False)
        self._have = [
            _Written(t._trial_id, t.state, set(t.intermediate_values), dict(t.user_attrs))
            for t in sorted(there, key=lambda trial: trial.number)
        ]
        self._storage = storage
        return storage

    def _put(
        self, storage: RDBStorage, trial: TrialRow, rows: Sequence[FoldRow], stopped: str
    ) -> None:
        state = TrialState.WAITING if trial.state == RUNNING and stopped else STATES[trial.state]
        steps, notes = self._steps(trial, rows), self._notes(trial, rows, stopped)
        if trial.number == len(self._have):
            whole = self._frozen(trial, state, steps, notes)
            made = storage.create_new_trial(self._study, whole)
            self._have.append(_Written(made, state, set(steps), notes))
            return
        there = self._have[trial.number]
        if there.state.is_finished():
            return
        for step in sorted(set(steps) - there.steps):
            storage.set_trial_intermediate_value(there.id, step, steps[step])
            there.steps.add(step)
        for name in [n for n, value in notes.items() if there.notes.get(n) != value]:
            storage.set_trial_user_attr(there.id, name, notes[name])
        there.notes |= notes
        if state != there.state:
            storage.set_trial_state_values(there.id, state, self._values(trial))
            there.state = state

    def _frozen(
        self, trial: TrialRow, state: TrialState, steps: dict[int, float], notes: dict[str, Any]
    ) -> FrozenTrial:
        """A trial as it is made, in one transaction."""
        inside = self._inside(trial)
        return FrozenTrial(
            number=-1,
            trial_id=-1,
            state=state,
            value=None,
            values=self._values(trial),
            datetime_start=datetime.fromtimestamp(trial.started),
            datetime_complete=datetime.fromtimestamp(trial.ended or trial.started)
            if state.is_finished()
            else None,
            params=inside,
            distributions={name: self._distributions[name] for name in inside},
            user_attrs=notes,
            system_attrs={},
            intermediate_values=steps,
        )

    def _inside(self, trial: TrialRow) -> dict[str, Any]:
        return {
            name: self._domains[name].normal(value)
            for name, value in trial.params.items()
            if name in self._domains and self._domains[name].holds(value)
        }

    def _values(self, trial: TrialRow) -> list[float] | None:
        """One a objective; a pruned trial has the value that is predicted for it."""
        if trial.state == COMPLETE and trial.value is not None:
            every = trial.extra.get("values")
            return [trial.value] if every is None else [every[name] for name in self._objectives]
        if trial.state == PRUNED and trial.value is not None and len(self._objectives) == 1:
            return [trial.value]
        return None

    def _steps(self, trial: TrialRow, rows: Sequence[FoldRow]) -> dict[int, float]:
        key = f"val_{self._metric}"
        steps = {row.index: float(row.scores[key]) for row in rows if key in row.scores}
        if trial.state == PRUNED and trial.value is not None:
            steps[self._folds] = trial.value
        return {step: value for step, value in steps.items() if math.isfinite(value)}

    def _notes(self, trial: TrialRow, rows: Sequence[FoldRow], stopped: str) -> dict[str, Any]:
        inside = self._inside(trial)
        outside = {name: value for name, value in trial.params.items() if name not in inside}
        reason = trial.reason or (stopped if trial.state == RUNNING else "")
        notes = {"origin": trial.origin, "folds": f"{len(rows)} of {self._folds}", **outside}
        return {**notes, "reason": reason[:_LONGEST]} if reason else notes


def _distribution(domain: Domain) -> BaseDistribution:
    """A domain as a person reads it: values themselves, where `sampling` takes their indices."""
    if isinstance(domain, Int):
        by = 1 if domain.log else domain.step
        return IntDistribution(domain.low, domain.high, log=domain.log, step=by)
    if isinstance(domain, Float):
        step = None if domain.log else domain.step
        return FloatDistribution(domain.low, domain.high, log=domain.log, step=step)
    if isinstance(domain, Choice) or domain.size is not None:
        return CategoricalDistribution(tuple(domain.values()))
    raise AssertionError(f"no distribution for {domain}")
