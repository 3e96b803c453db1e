"""A ledger from before folds had groups and tables of reliability is read, and goes on."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

import pytest

from raysearch.study.ledger import FoldRow, Ledger

OLD = """
create table folds (
    trial integer not null, fold text not null, idx integer not null, scores text not null,
    confusion text not null, seconds real not null, stages text not null,
    val_confusion text not null default '[]', repeats text not null default '[]',
    primary key (trial, fold));
insert into folds values (0, 'a', 0, '{"val_ua": 0.5}', '[[1]]', 1.0, '[]', '[[1]]', '[]');
create table trials (
    number integer primary key, params text not null, state text not null,
    reason text not null default '', origin text not null, value real,
    started real not null, ended real, extra text not null default '{}');
create table facts (name text primary key, value text not null);
"""


def test_an_older_ledger_is_read_and_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    db = sqlite3.connect(path)
    db.executescript(OLD)
    db.close()
    first = FoldRow(0, "a", 0, {"val_ua": 0.5}, [[1]], 1.0, (), [[1]])
    with Ledger(path) as ledger:
        assert ledger.folds() == [first]
    groups, tables = {"sex=f": {"val": [[1]], "test": [[0]]}}, {"plain": [[1.0, 0.5, 1.0]]}
    second = FoldRow(0, "b", 1, {"val_ua": 1.0}, [[1]], 1.0, (), [[1]], [], groups, tables)
    for _ in range(2):  # a second start adds no column twice
        with Ledger(path, write=True) as ledger:
            ledger.record_folds([second])
            assert ledger.folds() == [first, second]


@pytest.mark.parametrize("logged", [False, True])
def test_a_ledger_is_read_in_a_folder_that_may_only_be_read(
    logged: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "50%25 #1?" / "ledger.sqlite"
    with Ledger(path, write=True) as ledger:
        ledger.set_fact("study", "a")
        if not logged:
            ledger.close()
        monkeypatch.setattr(os, "access", lambda *_: False)
        before = sorted(path.parent.iterdir())
        with Ledger(path) as reader:
            assert reader.fact("study") == "a"
        assert sorted(path.parent.iterdir()) == before
