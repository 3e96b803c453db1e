"""Whether the baseline that a study names can serve it."""

from __future__ import annotations

from pathlib import Path

from raysearch.errors import BadInput
from raysearch.report.pairing import Side, shared_folds
from raysearch.study.ledger import COMPLETE
from raysearch.study.record import Record, baseline_folder
from raysearch.tuning.prepare import StudyInputs


def check_baseline(inputs: StudyInputs) -> None:
    """See, before anything runs, that reports can set the study against its baseline.

    Raises:
        BadInput: there is no such study, it has no complete trial, or the two share no fold.
    """
    study = inputs.study
    if study.baseline is None:
        return
    baseline = Record.read(baseline_folder(Path(study.home), study.baseline, study.id))
    if not baseline.states[COMPLETE]:
        raise BadInput(
            f"baseline={study.baseline} has no complete trial; run its tune command until one is"
        )
    mine = Side(
        study.id,
        study.corpus.name,
        inputs.corpus.classes,
        f"protocol={study.protocol.name}",
        {fold.name: fold.test_groups for fold in inputs.folds},
    )
    shared_folds(mine, Side.of(baseline))
