"""The searches of a study: its own, and under `search.outer` one for each held-out group.

An outer search is the study's own search on other folds (`raysearch.stages.inner_folds`), with a
ledger of its own: the same sampler from the same seed, the same racing, the same budget.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import numpy as np

from raysearch.search.driver import Driver, Listener
from raysearch.search.racing import RULES
from raysearch.selection import Score
from raysearch.study.folder import StudyFolder
from raysearch.study.ledger import COMPLETE, Ledger
from raysearch.tuning.prepare import StudyInputs
from raysearch.tuning.progress import Progress


@dataclass(frozen=True)
class Search:
    """One search of a study."""

    inputs: StudyInputs
    """with the search's own folds"""
    ledger: Ledger
    driver: Driver
    title: str = ""
    """for whom it is; "" for the study's own search"""

    @property
    def complete(self) -> bool:
        """Whether a trial is."""
        return any(trial.state == COMPLETE for trial in self.ledger.trials())

    def announce(self, progress: Progress) -> None:
        """Tell a person that it begins, or goes on."""
        progress.start(
            self.driver.planned,
            len(self.inputs.folds),
            self.ledger.folds(),
            self.ledger.trials(),
            objective=self.inputs.study.metric,
            title=self.title,
        )

    def note_stages(self, first: Search) -> None:
        """Keep in the ledger how many stages it computed, and how many it had from others.

        Args:
            first: the study's own search; what that one computed is no work of this one.
        """
        if self.title:
            uses = [use for row in self.ledger.folds() for use in row.stages]
            others = {use.key for row in first.ledger.folds() for use in row.stages}
            run = len({use.key for use in uses if use.ours} - others)
            self.ledger.set_fact("stages", {"run": run, "reused": len(uses) - run})


def outer_of(
    inner: Sequence[StudyInputs], ledgers: Sequence[Ledger], listeners: Sequence[Listener]
) -> Iterator[Search]:
    """The outer searches of a study.

    Args:
        inner: of `inner_inputs`.
        ledgers: of `outer_ledgers`.
        listeners: of each driver.
    """
    for number, (inputs, ledger) in enumerate(zip(inner, ledgers, strict=True), start=1):
        title = f"without {inputs.folds[0].name} ({number} of {len(inner)})"
        yield Search(inputs, ledger, driver_of(inputs, ledger, listeners, paired=False), title)


@contextmanager
def outer_ledgers(
    folder: StudyFolder, inputs: StudyInputs, inner: Sequence[StudyInputs]
) -> Iterator[list[Ledger]]:
    """The ledgers of a study's outer searches, open for writing.

    Args:
        folder: of the study, which has begun.
        inputs: of the study.
        inner: of its outer searches, in the order of its folds.
    """
    with ExitStack() as stack:
        ledgers = []
        for index, each in enumerate(inner):
            path = folder.outer_ledger_file(index, inputs.study.search.folds)
            ledger = stack.enter_context(Ledger(path, write=True))
            ledger.set_fact("fold", inputs.folds[index].name)
            ledger.set_fact("folds", len(each.folds))
            ledgers.append(ledger)
        yield ledgers


def driver_of(
    inputs: StudyInputs,
    ledger: Ledger,
    listeners: Sequence[Listener] = (),
    *,
    paired: bool = True,
) -> Driver:
    """The driver of a search, its sampler rebuilt from the ledger.

    Args:
        inputs: of the search.
        ledger: of the search.
        listeners: learn what happened.
        paired: whether folds that test one group are one observation of a race. The inner folds of
            an outer search all test one group, and what they are judged by are other groups.
    """
    study, order = inputs.study, race_order(inputs)
    return Driver(
        ledger=ledger,
        sampler=inputs.sampler(),
        order=order,
        scores=[Score(name, inputs.corpus.classes) for name in study.objective],
        trials=study.trials,
        rule=RULES.get(study.racing),
        groups=[inputs.folds[index].test_groups for index in order] if paired else None,
        batch=study.batch if study.deterministic else None,
        listeners=listeners,
    )


def race_order(inputs: StudyInputs) -> list[int]:
    """The order of folds, the same for all trials of a search; folds of one group together."""
    folds = inputs.folds
    order = [int(i) for i in np.random.default_rng(inputs.study.seed).permutation(len(folds))]
    groups = list(dict.fromkeys(folds[index].test_groups for index in order))
    return sorted(order, key=lambda index: groups.index(folds[index].test_groups))
