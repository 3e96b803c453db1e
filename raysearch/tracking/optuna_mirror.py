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
from raysearch.study.ledger import COMPLETE, PRUNED, RUNNING, TrialRow
from raysearch.study.record import Record
from raysearch.study.space import Choice, Const, Domain, Float, Int
from raysearch.study.wording import listed
from raysearch.tracking.notes import honest
from raysearch.tracking.writer import Update

_LONGEST = 2000
"""characters of an attribute: what MySQL's columns hold for certain"""


@dataclass
class _Twin:
    """What the storage holds of one trial."""

    id: int
    state: TrialState
    steps: set[int] = field(default_factory=set)
    notes: Mapping[str, object] = field(default_factory=dict)


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
    """

    def __init__(self, uri: str, study: str, instance: str, domains: Mapping[str, Domain]) -> None:
        # once and here, in the driver's main thread: the sampler puts back what it meets
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self.study_name = f"{study} {instance[:8]}"
        self._uri = uri
        self._domains = {n: d for n, d in domains.items() if not isinstance(d, Const)}
        self._distributions = {n: _distribution(d) for n, d in self._domains.items()}
        self._storage: RDBStorage | None = None
        self._study = 0
        self._twins: list[_Twin] = []
        self._facts: dict[str, str] = {}

    @property
    def name(self) -> str:
        return f"Optuna's storage at {shown(self._uri)}"

    @property
    def refused(self) -> Sequence[str]:
        return ()

    def forget(self) -> None:
        """After an error nothing that was written is certain: look again before going on."""
        if self._storage is not None:
            self._storage.engine.dispose()
        self._storage, self._twins = None, []

    def count(self) -> int:
        """How many trials of this ledger are there, ended.

        Raises:
            failures(): it cannot be asked.
        """
        storage = self._connect()
        try:
            studies = {study.study_name: study._study_id for study in storage.get_all_studies()}
            if self.study_name not in studies:
                return 0
            trials = storage.get_all_trials(studies[self.study_name], deepcopy=False)
            return sum(trial.state.is_finished() for trial in trials)
        finally:
            storage.engine.dispose()

    def write(self, update: Update) -> None:
        """Bring the storage up to the ledger."""
        record, ending = update.record, update.ending
        storage = self._open(record)
        due = {trial.number for trial in update.trials}
        for trial in record.trials:
            # a trial that is not there yet needs all before it: Optuna counts
            if trial.number in due or trial.number >= len(self._twins):
                self._put(storage, trial, record, ending.interruption)
        if update.numbers is None:
            facts = {**_facts(record), "state": ending.status.lower(), "reason": ending.reason}
            for name, text in {**facts, "result": honest(ending.report)}.items():
                if self._facts.get(name, "") != text[:_LONGEST]:
                    storage.set_study_user_attr(self._study, name, text[:_LONGEST])
                    self._facts[name] = text[:_LONGEST]

    # -- inside ------------------------------------------------------------------------------------
    def _connect(self) -> RDBStorage:
        patience = {"connect_timeout": 10} if self._uri.startswith(("postgresql", "mysql")) else {}
        options = {"pool_pre_ping": True, "pool_size": 1, "connect_args": patience}
        return RDBStorage(self._uri, engine_kwargs=options)

    def _open(self, record: Record) -> RDBStorage:
        if self._storage is not None:
            return self._storage
        storage = self._connect()
        objectives = [score.name for score in record.objectives]
        studies = {study.study_name: study._study_id for study in storage.get_all_studies()}
        if self.study_name in studies:
            self._study = studies[self.study_name]
        else:
            least, most = StudyDirection.MINIMIZE, StudyDirection.MAXIMIZE
            ways = [most if score.row.higher else least for score in record.objectives]
            self._study = storage.create_new_study(ways, self.study_name)
        # where optuna.study.Study.set_metric_names puts them
        names = [f"val_{name}" for name in objectives]
        storage.set_study_system_attr(self._study, "study:metric_names", names)
        self._facts = dict(storage.get_study_user_attrs(self._study))
        trials = storage.get_all_trials(self._study, deepcopy=False)
        self._twins = [
            _Twin(t._trial_id, t.state, set(t.intermediate_values), dict(t.user_attrs))
            for t in sorted(trials, key=lambda trial: trial.number)
        ]
        self._storage = storage
        return storage

    def _put(self, storage: RDBStorage, trial: TrialRow, record: Record, interruption: str) -> None:
        waits = trial.state == RUNNING and interruption
        state = TrialState.WAITING if waits else STATES[trial.state]
        steps, values = _steps(trial, record), _values(trial, record)
        notes = self._notes(trial, record, interruption)
        if trial.number == len(self._twins):
            whole = self._frozen(trial, state, values, steps, notes)
            number = storage.create_new_trial(self._study, whole)
            self._twins.append(_Twin(number, state, set(steps), notes))
            return
        twin = self._twins[trial.number]
        if twin.state.is_finished():
            return
        for step in sorted(set(steps) - twin.steps):
            storage.set_trial_intermediate_value(twin.id, step, steps[step])
            twin.steps.add(step)
        for name in [n for n, value in notes.items() if twin.notes.get(n) != value]:
            storage.set_trial_user_attr(twin.id, name, notes[name])
        twin.notes = {**twin.notes, **notes}
        if state != twin.state:
            storage.set_trial_state_values(twin.id, state, values)
            twin.state = state

    def _frozen(
        self,
        trial: TrialRow,
        state: TrialState,
        values: list[float] | None,
        steps: dict[int, float],
        notes: dict[str, object],
    ) -> FrozenTrial:
        """A trial as it is made, in one transaction."""
        inside = self._inside(trial)
        end = datetime.fromtimestamp(trial.ended or trial.started)
        return FrozenTrial(
            number=-1,
            trial_id=-1,
            state=state,
            value=None,
            values=values,
            datetime_start=datetime.fromtimestamp(trial.started),
            datetime_complete=end if state.is_finished() else None,
            params=inside,
            distributions={name: self._distributions[name] for name in inside},
            user_attrs=notes,
            system_attrs={},
            intermediate_values=steps,
        )

    def _inside(self, trial: TrialRow) -> dict[str, object]:
        """The parameters whose values lie in their domains."""
        return {
            name: self._domains[name].normal(value)
            for name, value in trial.params.items()
            if name in self._domains and self._domains[name].holds(value)
        }

    def _notes(self, trial: TrialRow, record: Record, interruption: str) -> dict[str, object]:
        inside = self._inside(trial)
        outside = {name: value for name, value in trial.params.items() if name not in inside}
        reason = trial.reason or (interruption if trial.state == RUNNING else "")
        folds = f"{len(record.rows_of(trial.number))} of {len(record.folds)}"
        notes = {"origin": trial.origin, "folds": folds, **outside}
        why = {"reason": reason[:_LONGEST]} if reason else {}
        return {**notes, **why}


def _facts(record: Record) -> dict[str, str]:
    """What is said of the study itself."""
    return {
        "method": record.method,
        "corpus": listed(record.corpora),
        "protocol": record.protocol,
        "space": str(record.configuration.get("space", "")),
        "simulated": " and ".join(sorted(record.simulated)),
    }


def _values(trial: TrialRow, record: Record) -> list[float] | None:
    """One value an objective; a pruned trial has the value that is predicted for it."""
    objectives = record.objectives
    if trial.state == COMPLETE and trial.value is not None:
        every = trial.extra.get("values")
        return [trial.value] if every is None else [every[score.name] for score in objectives]
    if trial.state == PRUNED and trial.value is not None and len(objectives) == 1:
        return [trial.value]
    return None


def _steps(trial: TrialRow, record: Record) -> dict[int, float]:
    """Validation scores by the index of the fold; a pruned trial's prediction after the last."""
    key = f"val_{record.objectives[0].metric}"
    rows = record.rows_of(trial.number)
    steps = {row.index: float(row.scores[key]) for row in rows if key in row.scores}
    if trial.state == PRUNED and trial.value is not None:
        steps[len(record.folds)] = trial.value
    return {step: value for step, value in steps.items() if math.isfinite(value)}


def _distribution(domain: Domain) -> BaseDistribution:
    """A domain as a person reads it: values themselves, where the sampler takes their indices."""
    if isinstance(domain, Int):
        by = 1 if domain.log else domain.step
        return IntDistribution(domain.low, domain.high, log=domain.log, step=by)
    if isinstance(domain, Float):
        step = None if domain.log else domain.step
        return FloatDistribution(domain.low, domain.high, log=domain.log, step=step)
    if isinstance(domain, Choice) or domain.size is not None:
        return CategoricalDistribution(tuple(domain.values()))
    raise AssertionError(f"no distribution for {domain}")
