"""The folder of a study: its files, its lookup, its ledger, and data that is not the study's."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from raysearch.errors import BadInput
from raysearch.study import Study, load_study
from raysearch.study.folder import StudyFolder, study_folder, study_folders
from raysearch.study.ledger import COMPLETE
from raysearch.study.record import Record

FOLDS = [
    {"name": f"s{f}", "index": f, "test_groups": [f"s{f}"], "val_groups": ["s9"], "n_test": 3 + f}
    for f in range(3)
]
FACTS = {"fingerprint": "abc", "classes": ["a", "b"], "notes": ["synthetic"], "simulated": []}


@pytest.fixture
def study(tmp_path: Path) -> Study:
    return load_study(["space=rdlr", f"home={tmp_path}", "objective=[wa,ua]"], cwd=tmp_path)


def begin(study: Study, **facts: object) -> StudyFolder:
    folder = StudyFolder.of(study)
    with folder.begin(study, json.dumps(FOLDS), {**FACTS, **facts}) as ledger:
        assert ledger.fact("study") == study.id
    return folder


def test_a_study_begins_and_is_read_again(study: Study, tmp_path: Path) -> None:
    folder = StudyFolder.of(study)
    assert not folder.exists
    assert begin(study) == folder
    assert folder.exists
    assert folder.home == tmp_path
    assert folder.name == study.id
    again = folder.study("trials=7")
    assert (again.id, again.trials) == (study.id, 7)
    record = Record.read(folder)
    assert (record.name, record.method, record.corpora) == (study.id, "rdlr", ("demo",))
    assert [objective.name for objective in record.objectives] == ["wa", "ua"]
    assert [(fold.name, fold.clips) for fold in record.folds] == [("s0", 3), ("s1", 4), ("s2", 5)]
    assert (record.classes, record.notes, record.fingerprint) == (("a", "b"), ("synthetic",), "abc")
    assert record.planned == 0
    assert record.published is None


def test_one_study_keeps_its_instance(study: Study) -> None:
    first = Record.read(begin(study)).instance
    assert first
    assert Record.read(begin(study)).instance == first


def test_a_study_of_other_data_is_refused_and_left_as_it_was(study: Study) -> None:
    folder = begin(study)
    before = folder.configuration_file.stat().st_mtime_ns
    with pytest.raises(BadInput, match=f"study {study.id} was begun on other data"):
        begin(study, fingerprint="xyz")
    assert folder.configuration_file.stat().st_mtime_ns == before
    assert Record.read(folder).fingerprint == "abc"


def test_a_ledger_is_closed_with_its_block(study: Study) -> None:
    folder = begin(study)
    with folder.ledger() as ledger:
        assert ledger.trials() == []
    with pytest.raises(Exception, match="closed"):
        ledger.trials()


def test_studies_are_found_by_the_beginning_of_their_name_latest_first(tmp_path: Path) -> None:
    names = ["rdlr-demo-11", "rdlr-demo-12", "forest-demo-13"]
    for age, name in enumerate(names):
        folder = StudyFolder(tmp_path / "studies" / name)
        folder.path.mkdir(parents=True)
        folder.ledger_file.touch()
        os.utime(folder.ledger_file, (1000 - age, 1000 - age))
    assert [folder.name for folder in study_folders(tmp_path)] == names
    assert study_folder(tmp_path, None).name == "rdlr-demo-11"
    assert study_folder(tmp_path, "forest").name == "forest-demo-13"
    assert study_folder(tmp_path, "rdlr-demo-12").name == "rdlr-demo-12"
    with pytest.raises(BadInput, match=r"study=rdlr means several: rdlr-demo-11, rdlr-demo-12"):
        study_folder(tmp_path, "rdlr")
    with pytest.raises(BadInput, match=r"study=forest-demo-31 is not in .*did you mean"):
        study_folder(tmp_path, "forest-demo-31")
    with pytest.raises(BadInput, match="holds no study"):
        study_folder(tmp_path / "empty", None)


def test_what_changed_last_is_the_ledger_or_its_log(study: Study) -> None:
    folder = begin(study)
    with folder.ledger() as ledger:
        assert not [trial for trial in ledger.trials() if trial.state == COMPLETE]
    log = folder.path / f"{folder.ledger_file.name}-wal"
    log.touch()
    os.utime(folder.ledger_file, (1000, 1000))
    os.utime(log, (2000, 2000))
    assert folder.changed == 2000


def test_a_folder_without_its_files_holds_no_study(study: Study) -> None:
    folder = begin(study)
    folder.folds_file.unlink()
    with pytest.raises(BadInput, match=r"folds\.json not found"):
        Record.read(folder)
    begin(study).configuration_file.write_text("- a list\n")
    with pytest.raises(BadInput, match="must hold a mapping"):
        Record.read(folder)
