"""A study that nobody ran, so that MLflow can be tested without Ray or torch."""

from __future__ import annotations

import json
import random
import time
from pathlib import Path

import yaml

from raysearch.report import build
from raysearch.study.folder import StudyFolder
from raysearch.study.ledger import COMPLETE, FAILED, FoldRow, Ledger, StageUse
from raysearch.study.record import Record
from raysearch.tracking.client import MlflowRuns, default_uri
from raysearch.tracking.projection import BestFold, Ending, StudyProvenance
from raysearch.tracking.writer import Pace, Sink, Writer

CLASSES = ("neutral", "happy", "sad", "angry")
COMMAND = "python -m raysearch tune space=rdlr"
SPACE = {
    "gamma": {"domain": "0.2 … 0.8 in steps of 0.1"},
    "lambda_rd": {"domain": "one of 0, 0.01, 0.1"},
    "strategy": "lr",
    "batch": 32,
}
CURVES = {
    "train_loss": [1.4 * 0.9**e for e in range(12)],
    "val_ua": [0.3 + 0.04 * e for e in range(12)],
}


class SyntheticStudy:
    """A study in its folder, with a ledger that a test writes, and the road to its sinks.

    Args:
        home: under which it lies.
        name: its id.
        folds: how many speakers it holds out.
    """

    def __init__(self, home: Path, name: str = "rdlr-demo-1a2b3c4d", folds: int = 4) -> None:
        self.home, self.name = home, name
        self.folder = StudyFolder(home / "studies" / name)
        self.speakers = [f"demo/v{i:02d}" for i in range(folds)]
        self.split = [
            {
                "name": speaker,
                "index": i,
                "test_groups": [speaker],
                "val_groups": [self.speakers[(i + 1) % folds]],
                "n_train": 80,
                "n_validation": 20,
                "n_test": 20,
            }
            for i, speaker in enumerate(self.speakers)
        ]
        configuration = {
            "method": "rdlr",
            "space": "rdlr",
            "corpus": {"name": ["demo"]},
            "protocol": {"name": "loso"},
            "objective": ["ua"],
            "seed": 0,
        }
        self.folder.path.mkdir(parents=True, exist_ok=True)
        self.folder.configuration_file.write_text(yaml.safe_dump(configuration))
        self.folder.folds_file.write_text(json.dumps(self.split))
        self.ledger = Ledger(self.folder.ledger_file, write=True)
        for fact, value in {
            "study": name,
            "fingerprint": "3f" * 16,
            "classes": list(CLASSES),
            "notes": ["The corpus is spoken by espeak-ng."],
            "simulated": ["speech", "votes"],
            "space": SPACE,
            "instance": f"ledger-of-{name}",
        }.items():
            self.ledger.set_fact(fact, value)

    # -- the road ----------------------------------------------------------------------------------
    @property
    def record(self) -> Record:
        return Record.read(self.folder)

    @property
    def provenance(self) -> StudyProvenance:
        return StudyProvenance(
            identity={"method": "rdlr", "corpus": {"name": ["demo"]}, "seed": 0},
            study_yaml=self.folder.configuration_file.read_text(),
            split=self.split,
            facts={"versions": {"ray": "2.60.0", "torch": "2.13"}, "git": {"commit": "0" * 40}},
            command=COMMAND,
            started=time.time(),
        )

    def mlflow(self, uri: str | None = None) -> MlflowRuns:
        instance = self.record.instance
        return MlflowRuns(
            uri or default_uri(self.home), self.home, self.name, instance, self.provenance
        )

    def writer(self, *sinks: Sink, pace: Pace | None = None) -> Writer:
        """A writer of these sinks; of the home's MLflow where none is given."""
        return Writer(lambda: self.record, sinks or [self.mlflow()], pace)

    def ending(self, fold_runs: int = 1) -> Ending:
        """A finished study: its report, and the folds of its best trials."""
        trials = [t for t in self.ledger.trials() if t.state == COMPLETE]
        best = [
            BestFold(trial.number, speaker, CURVES, best_epoch=9)
            for trial in sorted(trials, key=lambda trial: -(trial.value or 0))[:fold_runs]
            for speaker in self.speakers
        ]
        return Ending("FINISHED", report=build(Record.read(self.folder)), best=best)

    # -- what happens in it ------------------------------------------------------------------------
    def row(self, trial: int, index: int) -> FoldRow:
        dice = random.Random(100 * trial + index)
        hits = [[14 + dice.randint(0, 4) if i == j else 2 for j in range(4)] for i in range(4)]
        scores = {n: dice.uniform(0.6, 0.9) for n in ("val_ua", "val_wa", "test_ua", "test_wa")}
        stages = (
            StageUse("mask", f"m{index}", trial == 0),
            StageUse("fit", f"{trial}{index}", True),
        )
        return FoldRow(trial, self.speakers[index], index, scores, hits, 1.5, stages)

    def begin(self, trial: int, folds: int = 0) -> None:
        params = {"gamma": round(0.2 + 0.1 * (trial % 7), 1), "lambda_rd": 0.01}
        self.ledger.add_trial(trial, params, "tpe")
        self.more(trial, range(folds))

    def more(self, trial: int, indices: range) -> None:
        self.ledger.record_folds([self.row(trial, i) for i in indices])

    def complete(self, trial: int) -> None:
        rows = self.ledger.folds(trial)
        value = sum(r.scores["val_ua"] for r in rows) / len(rows)
        self.ledger.finish_trial(trial, COMPLETE, value=value)

    def whole(self, *trials: int) -> None:
        for trial in trials:
            self.begin(trial, len(self.speakers))
            self.complete(trial)

    def fail(self, trial: int, reason: str) -> None:
        self.ledger.finish_trial(trial, FAILED, reason=reason)
