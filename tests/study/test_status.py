"""What `status` says of a study whose driver runs in another terminal, or is gone."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from raysearch.cli.main import main
from raysearch.search.driver import Driver
from raysearch.search.sampler import Sampler
from raysearch.selection import Score
from raysearch.study.folder import StudyFolder
from raysearch.study.ledger import COMPLETE, FAILED, FoldRow, Ledger, StageUse
from raysearch.study.space import Space


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Five of eight trials: four ended, 10 s apart, after a night between two sessions."""
    folder = tmp_path / "runs" / "studies" / "rdlr-demo-12345678"
    folder.mkdir(parents=True)
    ledger = Ledger(folder / "ledger.sqlite", write=True)
    ledger.set_fact("planned", 8)
    clock = iter([1000.0, 40_000.0, 40_010.0, 40_020.0])
    for number in range(5):
        ledger.add_trial(number, {}, "sampler")
        if number < 4:
            with monkeypatch.context() as patch:
                patch.setattr(time, "time", lambda: next(clock))
                state = FAILED if number == 1 else COMPLETE
                value = None if number == 1 else 0.5 + number / 100
                ledger.finish_trial(number, state, value, "")
    ledger.close()
    monkeypatch.chdir(tmp_path)
    return folder


def said(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(["status", *words]) == 0
    return capsys.readouterr().out.strip()


def test_a_running_study(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    note = {"host": "here", "pid": os.getpid(), "beat": time.time()}
    (study / "lease.json").write_text(json.dumps(note))
    line = said(capsys)
    assert line.startswith(f"{study.name}: running in process {os.getpid()} on here: 4 of 8 trials")
    assert "1 failed" in line
    assert "best validation 53.0 % (trial 3)" in line
    assert "about 40 s left" in line, "four trials at ten seconds; the night does not count"


@pytest.mark.parametrize("note", [None, "{torn", '{"host": "here"}'])
def test_a_study_that_nobody_holds(
    study: Path, capsys: pytest.CaptureFixture[str], note: str | None
) -> None:
    if note is not None:
        (study / "lease.json").write_text(note)
    line = said(capsys, "study=rdlr-demo")
    assert "not running; the same tune command goes on: 4 of 8 trials" in line
    assert "left" not in line


def test_a_study_whose_driver_was_killed(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    note = {"host": "elsewhere", "pid": 1, "beat": time.time() - 185}
    (study / "lease.json").write_text(json.dumps(note))
    line = said(capsys)
    assert (
        "nobody holds it, the last heartbeat was 3 min 5 s ago; the same tune command goes" in line
    )
    assert "left" not in line


def test_a_process_that_has_just_been_killed_is_gone(
    study: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its last heartbeat is fresh, but on this machine there is no such process."""
    gone = subprocess.Popen(["true"])
    gone.wait()
    note = {"host": socket.gethostname(), "pid": gone.pid, "beat": time.time()}
    (study / "lease.json").write_text(json.dumps(note))
    assert "nobody holds it" in said(capsys)
    (study / "lease.json").write_text(json.dumps({**note, "host": "elsewhere"}))
    assert f"running in process {gone.pid} on elsewhere" in said(capsys)


@pytest.mark.parametrize(
    ("how", "said_so"),
    [
        ("interrupted", "not running; it was interrupted by its user; the same tune command goes"),
        ("failed", "failed: no room on the disk: 4 of 8 trials"),
    ],
)
def test_how_the_last_session_ended(
    study: Path, capsys: pytest.CaptureFixture[str], how: str, said_so: str
) -> None:
    ledger = Ledger(study / "ledger.sqlite", write=True)
    reason = "no room on the disk" if how == "failed" else "it was interrupted by its user"
    ledger.set_fact("ended", {"how": how, "reason": reason, "at": 1.0})
    ledger.close()
    assert said_so in said(capsys)


def test_a_finished_study(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Ledger(study / "ledger.sqlite", write=True) as ledger:
        ledger.set_fact("planned", 4)
    assert ": done: 4 of 5 trials" in said(capsys)


def search(folder: StudyFolder, **options: Any) -> None:
    """Run a search of twelve settings to its end, each on one fold."""
    choices = {"choice": [n / 10 for n in range(12)]}
    sampler = Sampler(Space.parse({"gamma": choices})[0], seed=0, **options)
    with Ledger(folder.ledger_file, write=True) as ledger:
        driver = Driver(ledger=ledger, sampler=sampler, order=[0], scores=[Score("ua")], trials=20)
        while (following := driver.next()) is not None:
            use = StageUse("fit", str(following.number), True)
            scores = {f"{part}_{m}": 0.5 for part in ("val", "test") for m in ("ua", "wa")}
            row = FoldRow(following.number, "s0", 0, scores, [[1]], 0.1, (use,))
            driver.record(following.number, [(row, 1, 0)])
        assert driver.done


@pytest.mark.parametrize(
    ("options", "count"),
    [
        ({"kind": "grid"}, 12),
        ({"kind": "tpe"}, 12),
        ({"kind": "listed", "enqueue": [{"gamma": 0.1}, {"gamma": 0.2}, {"gamma": 0.1}]}, 2),
    ],
    ids=["grid", "tpe", "listed"],
)
def test_a_study_with_fewer_settings_than_trials_is_done(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: dict[str, Any], count: int
) -> None:
    """`trials=20`, and no twenty settings to try."""
    folder = StudyFolder(tmp_path / "runs" / "studies" / "rdlr-demo-12345678")
    search(folder, **options)
    home = f"home={tmp_path / 'runs'}"
    assert f"{folder.name}: done: {count} of {count} trials" in said(capsys, home)
    folder.configuration_file.write_text("objective: ua\n")
    folder.folds_file.write_text(
        json.dumps(
            [{"name": "s0", "index": 0, "test_groups": ["a"], "val_groups": [], "n_test": 1}]
        )
    )
    assert main(["watch", home]) == 0
    assert f"done: {count} of {count} trials" in capsys.readouterr().out


def test_programs_read_the_same_as_json(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (one,) = json.loads(said(capsys, "format=json"))
    assert one["study"] == study.name
    assert one["state"] == "stopped"
    assert one["trials"] == {"complete": 3, "pruned": 0, "failed": 1, "running": 1}
    assert one["best"] == {"trial": 3, "validation": 0.53}
    assert json.loads(said(capsys, "format=json", f"study={study.name}")) == [one]
    assert main(["status", "format=json", "job=x"]) == 2
