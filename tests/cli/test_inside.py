"""A whole study whose trials are stopped inside a fold."""

from __future__ import annotations

from typing import Any

import pytest

from raysearch.stages.store import Store
from raysearch.study.ledger import COMPLETE, PRUNED, Ledger

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

EPOCHS = 12
QUALITIES = (0.95, 0.9, 0.15, 0.2, 0.1, 0.3, 0.25, 0.05)
SPACE = """\
method: epochs_method:METHOD
corpus: {{name: manifest}}
features: [egemaps]
params:
  quality: {{float: [0, 1]}}
  epochs: {epochs}
  pace: 0.25
sampler: listed
enqueue: [{settings}]
trials: 8
stopping: asha
"""


def test_hopeless_trials_end_inside_their_first_fold(shell: Any) -> None:
    settings = ", ".join(f"{{quality: {q}}}" for q in QUALITIES)
    text = SPACE.format(epochs=EPOCHS, settings=settings)
    (shell.folder / "toy.yaml").write_text(text)
    words = ("stopping.grace=3", "stopping.eta=2", "tracking=false", "concurrent=2")
    done = shell.tune(*words)
    assert done.code == 0, done.err
    ledger = Ledger(next((shell.folder / "runs" / "studies").glob("*/ledger.sqlite")))
    trials, folds = ledger.trials(), ledger.folds()
    states = [trial.state for trial in trials]
    # the best two come first, so that nothing is there to stop the better of them
    assert states[0] == COMPLETE
    stopped = [trial for trial in trials if trial.state == PRUNED]
    assert len(stopped) >= 4
    for trial in stopped:
        assert trial.reason.startswith("asha: fold manifest/s")
        assert not [row for row in folds if row.trial == trial.number]
    assert trials[7] in stopped
    assert trials[7].value < trials[0].value
    log = shell.executions()
    whole = len(QUALITIES) * 5 * EPOCHS
    ran = sum(not line.endswith("whole") for line in log)
    assert ran < 0.6 * whole
    # what is stored is whole; a training may reach its end while it is told to stop
    store = Store(str(shell.folder / "runs" / "store"))
    keys = {row.stages[-1].key for row in folds}
    assert keys
    for key in keys:
        found = store.get(key)
        assert found is not None
        assert len(found[0].info["curves"]["validation_ua"]) == EPOCHS
    assert len(keys) <= sum(line.endswith("whole") for line in log) <= len(keys) + len(stopped)
    # the same command has nothing to do
    again = shell.tune(*words)
    assert again.code == 0, again.err
    assert shell.executions() == log
    assert [trial.state for trial in ledger.trials()] == states
    # further trials are held against all earlier ones, the stopped ones too
    more = (*words, "sampler=random", "trials=10", "enqueue=[{quality: 0.01}, {quality: 0.02}]")
    done = shell.tune(*more)
    assert done.code == 0, done.err
    late = ledger.trials()[8:]
    assert [trial.state for trial in late] == [PRUNED, PRUNED]
    for trial in late:
        assert int(trial.reason.rsplit(" ", 2)[1]) >= 8
    new = shell.executions()[len(log) :]
    assert {line.split()[0] for line in new} == {"0.01", "0.02"}
    assert not [line for line in new if line.endswith("whole")]
