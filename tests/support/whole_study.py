"""A whole small study, run in this process: no Ray, no MLflow."""

from __future__ import annotations

from pathlib import Path

from raysearch.data.features.extract import local_chunks
from raysearch.stages import Demand, LocalExecutor, Runtime, calls
from raysearch.stages.store import Store
from raysearch.study import folder as folders
from raysearch.study import load_study
from raysearch.tuning import run as studies
from raysearch.tuning.prepare import inner_inputs, prepare
from raysearch.tuning.searches import Search, driver_of, outer_ledgers, outer_of


def run(home: Path, *words: str, trials: int | None = None) -> Path:
    """Run a study, or its first `trials`, one stage after the other. Returns its folder."""
    study = load_study([*words, f"home={home}"], cwd=home)
    inputs = prepare(study)
    inner = inner_inputs(inputs) if study.search.outer else ()
    folder = folders.StudyFolder.of(study)
    with studies.begin(folder, inputs) as ledger, outer_ledgers(folder, inputs, inner) as ledgers:
        first = Search(inputs, ledger, driver_of(inputs, ledger))
        for search in (first, *outer_of(inner, ledgers, ())):
            _search(search, trials)
            search.note_stages(first)
    return folder.path


def _search(search: Search, trials: int | None) -> None:
    inputs, driver = search.inputs, search.driver
    study = inputs.study
    data, where, scorer = (
        inputs.dataset(run_chunks=local_chunks),
        inputs.context(),
        inputs.scorer(),
    )
    executor = LocalExecutor(Store(folders.store_of(study)))
    count = 0
    while (trials is None or count < trials) and (trial := driver.next()) is not None:
        count += 1
        setting = inputs.method.resolve({**inputs.space.constants(), **trial.params})
        for fold in trial.folds:
            stages = [calls(inputs.method, setting, fold, where, n) for n in range(study.seeds)]
            outcomes = [executor.run_fold(Demand(x, study.id, Runtime(), data)) for x in stages]
            if driver.record(trial.number, [(scorer.row(trial.number, fold, outcomes), 1, 0)]):
                break
    assert driver.fatal is None
