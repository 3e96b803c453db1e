"""Whole studies through the command line: repeated, extended, interrupted, killed."""

from __future__ import annotations

import os
import re
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from raysearch.selection import SCORED

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


def stored(folder: Path) -> dict[str, int]:
    """Every stored artifact and when it was written."""
    found = folder.glob("runs/store/stages/*/*.safetensors")
    return {path.stem: path.stat().st_mtime_ns for path in found}


def telling(report: dict[str, Any]) -> dict[str, Any]:
    """What two runs of one study must agree on."""
    kept = {k: report[k] for k in ("study", "trials", "folds", "stages", "estimates", "best")}
    kept["settings"] = report["tables"].get("settings")
    return kept


def wait_for(shell: Any, stages: int, seconds: float = 90) -> None:
    end = time.monotonic() + seconds
    while len(stored(shell.folder)) < stages:
        assert time.monotonic() < end, (shell.folder / "background.err").read_text()
        time.sleep(0.05)


def test_a_study_from_start_to_end_again_and_extended(shell: Any) -> None:
    first = shell.tune()
    assert first.code == 0, first.err
    assert "honest" in first.out
    assert "Quote honest: " in first.out
    assert "python -m raysearch ui" in first.out
    assert "\x1b" not in first.err + first.out, "no control characters off a terminal"
    report = shell.report()
    assert report["trials"]["complete"] == 6
    assert report["folds"] == 5
    assert report["stages"] == {"run": 5 + 6 * 5, "reused": 6 * 5 - 5}
    for name in ("honest", "nested", "selected", "oracle"):
        assert 0 <= report["estimates"][name]["ua"] <= 1
        assert 0 <= report["estimates"][name]["wa"] <= 1
    of_classes = {name for name, metric in SCORED.items() if not metric.continuous}
    assert set(report["estimates"]["optimism"]) == of_classes
    assert set(report["best"]) == {"shrink"}
    assert len(shell.executions()) == 35

    began = time.monotonic()
    again = shell.tune()
    seconds = time.monotonic() - began
    assert again.code == 0, again.err
    assert "Ray" not in again.err, "a finished study starts no Ray"
    assert "0 stages computed" in again.out
    assert seconds < 60  # a bound against hanging; the figure is measured by the benchmarks
    assert telling(shell.report()) == telling(report)

    more = shell.tune("trials=8")
    assert more.code == 0, more.err
    extended = shell.report()
    assert extended["study"] == report["study"]
    assert extended["trials"]["complete"] == 8
    assert len(shell.executions()) == 35 + 2 * 5, "only the new students ran"

    # another study on the same speech: its teachers and one setting are there already
    (shell.folder / "other.yaml").write_text((shell.folder / "toy.yaml").read_text())
    pinned = shell.run(
        "tune",
        "space=other.yaml",
        f"corpus.root={shell.tones}",
        f"params.shrink={report['best']['shrink']}",
        "trials=1",
    )
    assert pinned.code == 0, pinned.err
    assert len(shell.executions()) == 45, "nothing is ever computed twice"
    listed = shell.run("studies")
    assert len(listed.out.splitlines()) == 2


def test_ctrl_c_stops_cleanly_and_says_how_to_go_on(shell: Any) -> None:
    process = shell.start("params.delay=0.2")
    wait_for(shell, 4)
    began = time.monotonic()
    os.kill(process.pid, signal.SIGINT)
    process.wait(timeout=60)
    err = (shell.folder / "background.err").read_text()
    assert process.returncode == 130, err
    assert time.monotonic() - began < 30
    assert "Traceback" not in err
    match = re.search(r"To go on: python -m raysearch (.*)", err)
    assert match is not None, err
    done = shell.run(*match[1].split())
    assert done.code == 0, done.err
    assert shell.report()["trials"]["complete"] == 6


def test_a_failed_trial_does_not_end_the_search(shell: Any) -> None:
    done = shell.tune(
        "params.shrink={choice: [0.1, 0.5, 0.9]}", "params.fail_at=0.5", "sampler=grid"
    )
    assert done.code == 0, done.err
    report = shell.report()
    assert report["trials"]["failed"] == 1
    assert report["trials"]["complete"] == 2
    # the grid has three points, fewer than `trials`: the study is done, whoever is asked
    assert ": done: 3 of 3 trials" in shell.run("status").out
    following = shell.run("watch")
    assert following.code == 0, following.err
    assert ": done: 3 of 3 trials" in following.out
    assert "shrink 0.5 was told to fail" in done.out + done.err
    (told,) = shell.folder.glob("runs/mlartifacts/**/failure.txt")
    assert "in student" in told.read_text(), "the run in MLflow has the traceback's last lines"
    assert told.read_text().rstrip().endswith("shrink 0.5 was told to fail")


def test_a_stage_that_takes_too_long_fails_its_trial(shell: Any) -> None:
    done = shell.tune("params.delay={choice: [0.0, 30.0]}", "params.shrink=0.1", "timeout=3")
    assert done.code == 0, done.err
    report = shell.report()
    assert (report["trials"]["complete"], report["trials"]["failed"]) == (1, 1)
    assert "longer than timeout=3 s" in done.out + done.err


def test_a_study_in_which_every_trial_fails_says_so(shell: Any) -> None:
    done = shell.tune("params.shrink=0.5", "params.fail_at=0.5", "trials=1")
    assert done.code == 1
    assert "1 of 1 failed" in done.err
    assert "shrink 0.5 was told to fail" in done.err
    assert "Traceback" not in done.err


def test_the_second_driver_of_a_study_is_told_who_holds_it(shell: Any) -> None:
    process = shell.start("params.delay=0.3")
    wait_for(shell, 1)
    second = shell.tune("params.delay=0.3")
    assert second.code == 1
    assert f"process {process.pid}" in second.err
    assert process.wait(timeout=120) == 0


def test_the_list_of_trials_and_their_scores_do_not_depend_on_the_number_at_once(
    shells: Any,
) -> None:
    reports = []
    for concurrent in (1, 5):
        shell = shells(f"at-once-{concurrent}")
        words = ("deterministic=true", f"concurrent={concurrent}", "tracking.enabled=false")
        assert shell.tune(*words).code == 0
        reports.append(telling(shell.report()))
    assert reports[0] == reports[1]


def test_a_damaged_artifact_is_computed_again_and_said(shell: Any) -> None:
    assert shell.tune("trials=2").code == 0
    before = shell.report()
    students = [
        path
        for path in sorted((shell.folder / "runs/store/stages").glob("*/*"))
        if b"student" in path.read_bytes()
    ]
    data = bytearray(students[0].read_bytes())
    data[-1] ^= 1
    students[0].write_bytes(bytes(data))
    # a new home has no ledger, so every stage is asked for again
    again = shell.tune("trials=2", "home=other", f"store={shell.folder / 'runs/store'}")
    assert again.code == 0, again.err
    assert "damaged" in again.err
    assert len(shell.executions()) == 5 + 10 + 1
    other = shell.report("home=other")
    assert other["estimates"] == before["estimates"]


def test_a_store_that_cannot_be_used_ends_the_study_with_one_line(shell: Any) -> None:
    (shell.folder / "bad").mkdir()
    (shell.folder / "bad" / "stages").write_text("a file where a folder should be")
    done = shell.tune("trials=1", "store=bad", "quiet=true", "tracking.enabled=false")
    assert done.code == 1
    assert "Traceback" not in done.err
    assert len([line for line in done.err.splitlines() if line.startswith("raysearch:")]) == 1


def test_several_seeds_a_fold_and_several_objectives(shell: Any) -> None:
    words = ("trials=3", "objective=[ua,worst_ua]", "tracking.enabled=false")
    first = shell.tune("seeds=2", *words)
    assert first.code == 0, first.err
    assert len(shell.executions()) == 2 * (5 + 3 * 5)
    whole = shell.run("report").out
    assert "Pareto" in whole
    assert "2 seeds" in whole
    report = shell.report()
    assert report["folds"] == 5
    assert report["stages"]["run"] == 2 * (5 + 3 * 5)
    more = shell.tune("seeds=3", *words, "sampler=grid", "params.shrink={grid: [0.1, 0.5, 0.9]}")
    assert more.code == 0, more.err
    done = len(shell.executions())
    again = shell.tune("seeds=2", *words, "sampler=grid", "params.shrink={grid: [0.1, 0.5, 0.9]}")
    assert again.code == 0, again.err
    assert len(shell.executions()) == done, "two of the three seeds were there already"
