"""What `clean` finds in a home, and what it leaves there."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from raysearch.cli.main import main
from raysearch.stages import temporary
from raysearch.stages.store import Provenance, Store
from raysearch.study.ledger import FoldRow, Ledger, StageUse
from trainables.stage import Artifact

NEEDED, OF_NOBODY, UNFINISHED = "aa" * 32, "bb" * 32, "cc" * 32


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A study that is done, one that is not, and what a third left that was deleted."""
    monkeypatch.setattr(temporary, "temporary_places", lambda: [tmp_path / "tmp"])
    home = tmp_path / "runs"
    for name, planned in (("done-1", 1), ("stopped-2", 5)):
        folder = home / "studies" / name
        folder.mkdir(parents=True)
        (folder / "study.yaml").write_text("objective: ua\nstore: null\n")
        ledger = Ledger(folder / "ledger.sqlite", write=True)
        ledger.set_fact("planned", planned)
        ledger.add_trial(0, {}, "sampler")
        uses = (StageUse("student", NEEDED, True),)
        ledger.record_folds([FoldRow(0, "s0", 0, {"val_ua": 0.5}, [[1]], 1.0, uses)])
        ledger.finish_trial(0, "complete", 0.5, "")
        ledger.close()
    store = Store(str(home / "store"))
    for key, study in {NEEDED: "done-1", OF_NOBODY: "gone-3", UNFINISHED: "stopped-2"}.items():
        store.put(key, Artifact({"p": np.zeros(100)}), Provenance(study, "student"))
    torn = home / "store" / "stages" / "aa" / ".x.safetensors.1234.aside"
    torn.write_bytes(b"torn")
    os.utime(torn, (0, 0))
    return home


def kept(home: Path) -> Sequence[str]:
    return sorted(path.stem for path in home.rglob("*.safetensors"))


def test_a_dry_run_says_what_would_go_and_removes_nothing(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["clean", f"home={home}"]) == 0
    text = capsys.readouterr().out
    assert "study done-1" in text
    assert "3 artifacts" in text
    assert "store: 1, " in text
    assert f"clean home={home} now=true" in text
    assert kept(home) == [NEEDED, OF_NOBODY, UNFINISHED]


def test_what_no_study_needs_goes_and_what_one_may_still_need_stays(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["clean", f"home={home}", "now=true"]) == 0
    assert "removed" in capsys.readouterr().out
    assert kept(home) == [NEEDED, UNFINISHED]
    assert not list(home.rglob("*.aside"))
    assert main(["clean", f"home={home}"]) == 0
    assert "nothing is left over" in capsys.readouterr().out


def test_a_home_whose_study_runs_keeps_its_store(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    note = {"host": "elsewhere", "pid": 1, "beat": time.time()}
    (home / "studies" / "stopped-2" / "lease.json").write_text(json.dumps(note))
    assert main(["clean", f"home={home}", "now=true"]) == 0
    capsys.readouterr()
    assert kept(home) == [NEEDED, OF_NOBODY, UNFINISHED]


def test_a_home_that_is_not_there_is_refused(tmp_path: Path) -> None:
    assert main(["clean", f"home={tmp_path / 'no'}"]) == 2


def test_stores_elsewhere_are_told_and_left_alone(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = Store(str(tmp_path / "other"))
    other.put(OF_NOBODY, Artifact({"p": np.zeros(100)}), Provenance("gone-3", "student"))
    for name, store in (("done-1", tmp_path / "other"), ("stopped-2", "nosuch://x")):
        (home / "studies" / name / "study.yaml").write_text(f"objective: ua\nstore: {store}\n")
    assert main(["clean", f"home={home}", "now=true"]) == 0
    text = capsys.readouterr().out
    assert "1 artifact; others may use it, so nothing is removed there" in text
    assert "store nosuch://x" in text
    assert "not asked, for it does not answer" in text
    assert other.has(OF_NOBODY)
