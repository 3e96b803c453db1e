"""Studies made up from nothing, so that MLflow can be tested without Ray or torch."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from raysearch.report.figures import png
from raysearch.report.plots import Intervals, Mark
from raysearch.study.ledger import COMPLETE, FAILED, FoldRow, Ledger, StageUse
from raysearch.tracking.facts import BestFold, Closing, StudyFacts
from raysearch.tracking.runs import Tracker
from raysearch.tracking.writer import Sink

CLASSES = ("neutral", "happy", "sad", "angry")


class MadeUp:
    """A study in a folder: facts, a ledger, and trackers of it."""

    def __init__(self, home: Path, name: str = "rdlr-demo-1a2b3c4d", folds: int = 4) -> None:
        self.home = home
        self.path = home / "studies" / name / "ledger.sqlite"
        self.ledger = Ledger(self.path, write=True)
        self.instance = f"ledger-of-{name}"
        self.names = [f"demo/v{i:02d}" for i in range(folds)]
        self.facts = StudyFacts(
            id=name,
            name="rdlr",
            identity={"method": "rdlr", "corpus": {"name": ["demo"]}, "seed": 0},
            study_yaml="space: rdlr\ntrials: 3\n",
            method="rdlr",
            space="rdlr",
            corpus=("demo",),
            protocol="loso",
            classes=CLASSES,
            searched={"gamma": "0.2 … 0.8 in steps of 0.1", "lambda_rd": "one of 0, 0.01, 0.1"},
            constants={"strategy": "lr", "batch": 32},
            folds=[
                {
                    "name": fold,
                    "index": i,
                    "test_groups": [fold],
                    "val_groups": [self.names[(i + 1) % folds]],
                    "n_train": 80,
                    "n_validation": 20,
                    "n_test": 20,
                }
                for i, fold in enumerate(self.names)
            ],
            facts={"versions": {"ray": "2.60.0", "torch": "2.13"}, "git": {"commit": "0" * 40}},
            corpus_digest="3f" * 16,
            command="python -m raysearch tune space=rdlr",
            notes=("The corpus is spoken by espeak-ng.",),
            simulated=("speech", "votes"),
        )

    def tracker(self, uri: str | None = None, also: Sequence[Sink] = ()) -> Tracker:
        return Tracker(
            uri=uri,
            home=self.home,
            ledger=self.path,
            instance=self.instance,
            study=self.facts,
            also=also,
        )

    def row(self, trial: int, index: int) -> FoldRow:
        dice = random.Random(100 * trial + index)
        hits = [[14 + dice.randint(0, 4) if i == j else 2 for j in range(4)] for i in range(4)]
        scores = {n: dice.uniform(0.6, 0.9) for n in ("val_ua", "val_wa", "test_ua", "test_wa")}
        stages = (
            StageUse("mask", f"m{index}", trial == 0),
            StageUse("fit", f"{trial}{index}", True),
        )
        return FoldRow(trial, self.names[index], index, scores, hits, 1.5, stages)

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

    def whole(self, trial: int) -> None:
        self.begin(trial, len(self.names))
        self.complete(trial)

    def fail(self, trial: int, reason: str) -> None:
        self.ledger.finish_trial(trial, FAILED, reason=reason)

    def closing(self, fold_runs: int = 1) -> Closing:
        numbers: dict[str, float] = {}
        for i, name in enumerate(("honest", "nested", "selected", "oracle")):
            for measure in ("ua", "wa"):
                middle = 0.70 + 0.01 * i
                numbers[f"{name}_{measure}"] = middle
                numbers[f"{name}_{measure}_low"] = middle - 0.04
                numbers[f"{name}_{measure}_high"] = middle + 0.04
        numbers |= {"optimism_ua": 0.03, "optimism_wa": 0.03}
        done = [t for t in self.ledger.trials() if t.state == COMPLETE]
        ranked = sorted(done, key=lambda t: -(t.value or 0))
        curves = {
            "train_loss": [1.4 * 0.9**e for e in range(12)],
            "val_ua": [0.3 + 0.04 * e for e in range(12)],
        }
        return Closing(
            numbers=numbers,
            selected=ranked[0].number if ranked else None,
            reports={
                "report.md": "# the report\n",
                "report.json": "{}",
                "report.html": lambda: b"<h1>Honest result: 70.0 % UA</h1>",
                "figures/estimates.png": lambda: png(Intervals("e", "t", "UA", (Mark("a", 1),))),
                "tables/estimates.csv": "estimate,ua\nhonest,0.7\n",
            },
            sentences=["trial 0 and trial 1: no difference that four speakers can show."],
            scores={t.number: {"folds": 4, "val_ua": 0.7, "test_ua": 0.6} for t in done},
            best=[
                BestFold(t.number, fold, curves, best_epoch=9)
                for t in ranked[:fold_runs]
                for fold in self.names
            ],
        )


@pytest.fixture(scope="module")
def shared_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One home for a module: making MLflow's database takes seconds."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture
def make_study(shared_home: Path, request: pytest.FixtureRequest) -> Callable[..., MadeUp]:
    """Makes studies of their own names in the shared home."""

    def make(home: Path | None = None, folds: int = 4, suffix: str = "") -> MadeUp:
        name = f"rdlr-{request.node.name.replace('_', '-')[:60]}{suffix}"
        return MadeUp(home or shared_home, name, folds)

    return make


@pytest.fixture
def wait_until() -> Callable[[Callable[[], bool]], None]:
    """Waits until something holds, and fails after 30 s."""

    def wait(holds: Callable[[], bool], seconds: float = 30) -> None:
        until = time.monotonic() + seconds
        while not holds():
            assert time.monotonic() < until, "waited in vain"
            time.sleep(0.05)

    return wait
