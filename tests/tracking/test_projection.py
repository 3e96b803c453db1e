"""What a run of MLflow's holds, and what is said at its head."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from raysearch.report import sentences
from raysearch.study.ledger import PRUNED
from raysearch.tracking import views
from raysearch.tracking.projection import Ending, Projection


@pytest.fixture
def study(make_study: Callable[..., Any], tmp_path: Path) -> Any:
    study = make_study(home=tmp_path)
    study.whole(0, 1)
    return study


def note(run: Any) -> str:
    return str(run.tags["mlflow.note.content"])


def test_what_is_said_of_estimates_and_data_is_the_reports_own(study: Any) -> None:
    ending = study.ending()
    report = ending.report
    run = Projection(study.record, study.provenance, ending).study(final=True)
    text = note(run).replace("\\", "").replace("**", "")
    estimates = report.section("estimates")
    assert text.startswith(estimates.before[0]), "three lines show before 'Show more'"
    assert run.tags["raysearch.result"] == sentences.honest_figures(
        report.estimates, report.metrics
    )
    meanings = report.section("meaning").after
    pairs = report.section("compare").after
    lines = [*report.headline, *report.warnings, *estimates.after, *meanings, *pairs]
    assert len(lines) > 10
    assert [line for line in lines if line not in text] == []
    assert study.provenance.command in text
    assert len(text) < 5000, "what is longer is cut"


def test_a_study_that_runs_says_so_and_its_ending_does_not_show_before_its_time(study: Any) -> None:
    projection = Projection(study.record, study.provenance, study.ending())
    before, after = projection.study(final=False), projection.study(final=True)
    assert (before.status, before.end, before.points) == ("RUNNING", None, [])
    assert "the estimates come at its end" in note(before)
    assert "report.md" not in before.files
    assert (after.status, before.start) == ("FINISHED", after.start)
    assert before.digest("") != after.digest("")


def test_the_same_record_gives_the_same_runs(study: Any) -> None:
    ending, provenance = study.ending(), study.provenance
    first, second = (Projection(study.record, provenance, ending) for _ in range(2))
    trial = study.ledger.trials()[0]
    assert first.trial(trial).digest("p") == second.trial(trial).digest("p")
    assert first.study(True).digest("") == second.study(True).digest("")
    assert first.trial(trial).digest("p") != first.trial(trial).digest("q")


def test_a_trial_that_was_stopped_early_shows_its_prediction(study: Any) -> None:
    study.begin(2, folds=2)
    study.ledger.finish_trial(2, PRUNED, value=0.61, reason="it cannot win any more")
    run = Projection(study.record, study.provenance).trial(study.ledger.trials()[2])
    assert run.status == "KILLED"
    assert {p.key: p.value for p in run.points if p.step == 0 and "fold/" not in p.key} == {
        "predicted_val": 0.61
    }
    assert "**Stopped early** after 2 of 4 folds: it cannot win any more" in note(run)


def test_a_trial_that_runs_goes_on_until_its_study_ends(study: Any) -> None:
    study.begin(2, folds=1)
    trial = study.ledger.trials()[2]
    running = Projection(study.record, study.provenance).trial(trial)
    assert (running.status, running.files) == ("RUNNING", {})
    ended = Projection(study.record, study.provenance, Ending("KILLED", "enough")).trial(trial)
    assert (ended.status, ended.tags["raysearch.reason"]) == ("KILLED", "enough")
    assert "folds.csv" in ended.files


def test_the_experiments_line_links_to_its_pages(study: Any) -> None:
    ending = study.ending()
    projection = Projection(study.record, study.provenance, ending)
    line = views.experiment_tags(projection, "7", "run-id")["mlflow.note.content"]
    assert "[Study](#/experiments/7/runs/run-id?" in line
    assert sentences.honest_figures(ending.report.estimates, ending.report.metrics) in line
    unfinished = Projection(study.record, study.provenance)
    assert "not finished" in views.experiment_tags(unfinished, "7", "r")["mlflow.note.content"]
