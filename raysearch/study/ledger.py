"""The driver's ledger: trials, folds and their states. It is the only truth of a study.

One SQLite file a study, one writer (the driver that holds the lease), written in transactions,
so that a kill at any moment leaves a state from which the same command goes on. Optuna's study
and MLflow's runs are rebuilt from it.
"""

from __future__ import annotations

import contextlib
import gc
import json
import math
import os
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from raysearch.study.space import Scalar

RUNNING, COMPLETE, PRUNED, FAILED = "running", "complete", "pruned", "failed"


@dataclass(frozen=True)
class StageUse:
    """One stage that a fold asked for."""

    name: str
    key: str
    ours: bool
    """whether this study computed it (in this session or an earlier one)"""


@dataclass(frozen=True)
class FoldRow:
    """One finished fold of one trial."""

    trial: int
    fold: str
    index: int
    scores: Mapping[str, float]
    """val_NAME and test_NAME of each metric (`raysearch.selection.METRICS`), means over the fold's
    seeds; test_nll_scaled and test_brier_scaled are at `temperature`, fitted on its validation;
    best_epoch and last_epoch are of its training, where it has epochs"""
    confusion: list[list[int]]
    """test counts [K][K], rows true, columns predicted; sums over the fold's seeds"""
    seconds: float
    """of computing done for this fold (0 where everything was stored)"""
    stages: tuple[StageUse, ...]
    """parents first; the last one is the scored stage, its key opens the artifact"""
    val_confusion: list[list[int]] = field(default_factory=list)
    """as `confusion`, of the part that scores a setting (validation, or selection)"""
    repeats: Sequence[Mapping[str, float]] = field(default_factory=list)
    """the scores of each seed, where a fold is trained with several"""
    groups: Mapping[str, Mapping[str, list[list[int]]]] = field(default_factory=dict)
    """by group, as "sex=female", its part of `val_confusion` ("val") and `confusion` ("test")"""
    reliability: Mapping[str, list[list[float]]] = field(default_factory=dict)
    """tables of `raysearch.selection.measures.reliability` of the test part, sums over its seeds:
    as it is ("plain"), and at the temperature ("scaled")"""
    sums: Mapping[str, list[list[float]]] = field(default_factory=dict)
    """[A][7] of `trainables.metrics.sums` of the part that scores a setting ("val") and of "test",
    where numbers are predicted: there are no confusions then"""


@dataclass(frozen=True)
class TrialRow:
    """One trial: a setting over all folds."""

    number: int
    params: Mapping[str, Scalar]
    """the searched parameters that exist in this setting"""
    state: str
    reason: str = ""
    """why it failed or was pruned"""
    origin: str = "sampler"
    """'enqueued', or the sampler's name"""
    value: float | None = None
    """what Optuna was told: the (first) objective, or what is predicted for a pruned trial"""
    started: float = 0.0
    ended: float | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)
    """`values`: every objective by name, where there are several; `trace`: the last lines of a
    failed trial's traceback; `transient`: true where it failed for a reason that may have passed;
    `stopped`: facts of a stop inside a fold"""

    @property
    def transient(self) -> bool:
        """Whether it failed for memory, time, a lost node or an unreachable store."""
        return self.state == FAILED and bool(self.extra.get("transient"))


_SCHEMA = """
create table if not exists trials (
    number integer primary key, params text not null, state text not null,
    reason text not null default '', origin text not null, value real,
    started real not null, ended real, extra text not null default '{}');
create table if not exists folds (
    trial integer not null, fold text not null, idx integer not null, scores text not null,
    confusion text not null, seconds real not null, stages text not null,
    val_confusion text not null default '[]', repeats text not null default '[]',
    groups text not null default '{}', reliability text not null default '{}',
    sums text not null default '{}',
    primary key (trial, fold));
create table if not exists facts (name text primary key, value text not null);
"""


_FOLDS = (
    "trial", "fold", "idx", "scores", "confusion", "seconds", "stages", "val_confusion", "repeats",
    "groups", "reliability", "sums",
)  # fmt: skip
_LATER = {name: "text not null default '{}'" for name in ("groups", "reliability", "sums")}
"""columns of folds that older ledgers lack"""


class Ledger:
    """Reads and writes one study's ledger; a context manager that closes it.

    Args:
        path: the SQLite file; created with its folder where it is absent and `write` is true.
        write: open for writing. Readers may open it while a driver writes.
    """

    def __init__(self, path: Path, write: bool = False) -> None:
        self.path = path
        if write:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            self._db.execute("pragma journal_mode=wal")
            self._db.execute("pragma synchronous=normal")
            self._db.executescript(_SCHEMA)
            for column in _LATER.keys() - self._columns():
                self._db.execute(f"alter table folds add column {column} {_LATER[column]}")
        else:
            self._db = _reader(path)

    def __enter__(self) -> Ledger:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _columns(self) -> set[str]:
        """The columns of folds that this ledger has."""
        return {row[1] for row in self._db.execute("pragma table_info(folds)")}

    def close(self) -> None:
        self._db.close()

    # -- writing -------------------------------------------------------------------------------
    def add_trial(self, number: int, params: Mapping[str, Scalar], origin: str) -> None:
        """Record a new trial as running."""
        self._db.execute(
            "insert into trials (number, params, state, origin, started) values (?,?,?,?,?)",
            (number, _dump(params), RUNNING, origin, time.time()),
        )

    def record_folds(self, rows: Iterable[FoldRow]) -> None:
        """Record finished folds, all or none. A fold already recorded stays as it is."""
        values = [
            (
                row.trial,
                row.fold,
                row.index,
                _dump(row.scores),
                _dump(row.confusion),
                row.seconds,
                _dump([[s.name, s.key, s.ours] for s in row.stages]),
                _dump(row.val_confusion),
                _dump([dict(one) for one in row.repeats]),
                _dump(row.groups),
                _dump(row.reliability),
                _dump(row.sums),
            )
            for row in rows
        ]
        self._db.execute("begin")
        try:
            marks = ",".join("?" * len(_FOLDS))
            text = f"insert or ignore into folds ({', '.join(_FOLDS)}) values ({marks})"
            self._db.executemany(text, values)
        except BaseException:
            self._db.execute("rollback")
            raise
        self._db.execute("commit")

    def finish_trial(
        self,
        number: int,
        state: str,
        value: float | None = None,
        reason: str = "",
        extra: Mapping[str, object] | None = None,
    ) -> None:
        """Set a trial's final state. A complete trial needs a finite value."""
        if state == COMPLETE and (value is None or not math.isfinite(value)):
            raise ValueError(f"a complete trial needs a finite value, but got {value!r}")
        self._db.execute(
            "update trials set state=?, value=?, reason=?, ended=?, extra=? where number=?",
            (state, value, reason, time.time(), _dump(extra or {}), number),
        )

    def reopen_trial(self, number: int) -> None:
        """Record an ended trial as running again; its finished folds stay."""
        self._db.execute(
            "update trials set state=?, value=null, reason='', ended=null, extra='{}' "
            "where number=?",
            (RUNNING, number),
        )

    def set_fact(self, name: str, value: object) -> None:
        """Keep one fact about the study that JSON can hold."""
        self._db.execute("insert or replace into facts values (?, ?)", (name, _dump(value)))

    # -- reading -------------------------------------------------------------------------------
    def fact(self, name: str, default: object = None) -> Any:
        row = self._db.execute("select value from facts where name=?", (name,)).fetchone()
        return default if row is None else json.loads(row[0])

    def trials(self) -> list[TrialRow]:
        """Every trial, by number."""
        return [
            TrialRow(n, json.loads(p), state, reason, origin, value, started, ended, json.loads(x))
            for n, p, state, reason, origin, value, started, ended, x in self._db.execute(
                "select number, params, state, reason, origin, value, started, ended, extra "
                "from trials order by number"
            )
        ]

    def folds(self, trial: int | None = None) -> list[FoldRow]:
        """Every finished fold, of one trial or of all, by trial and fold index."""
        where, args = ("", ()) if trial is None else ("where trial=?", (trial,))
        here = self._columns()
        names = [x if x not in _LATER or x in here else f"'{{}}' as {x}" for x in _FOLDS]
        rows = self._db.execute(
            f"select {', '.join(names)} from folds {where} order by trial, idx", args
        )
        with _collector_off():
            return [
                FoldRow(
                    trial=one,
                    fold=fold,
                    index=index,
                    scores=json.loads(scores),
                    confusion=json.loads(confusion),
                    seconds=seconds,
                    stages=tuple(StageUse(*use) for use in json.loads(stages)),
                    val_confusion=json.loads(rest[0]),
                    repeats=json.loads(rest[1]),
                    groups=json.loads(rest[2]),
                    reliability=json.loads(rest[3]),
                    sums=json.loads(rest[4]),
                )
                for one, fold, index, scores, confusion, seconds, stages, *rest in rows
            ]

    def count_folds(self) -> int:
        """How many folds are finished, of all trials."""
        return int(self._db.execute("select count(*) from folds").fetchone()[0])


@contextlib.contextmanager
def _collector_off() -> Iterator[None]:
    """Where millions of objects are made and stay, Python's collector looks for garbage among them
    again and again: reading 100,000 folds took 12 s with it, and takes 3 without."""
    on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if on:
            gc.enable()


def _reader(path: Path) -> sqlite3.Connection:
    """A connection that only reads, also in a folder that may only be read.

    SQLite itself has to write beside the database there: its index of the log. A ledger whose log
    is empty is read as a file that does not change, and any other from a copy.
    """
    words: dict[str, Any] = {"uri": True, "isolation_level": None, "check_same_thread": False}
    address = path.absolute().as_uri()
    if os.access(path.parent, os.W_OK):
        return sqlite3.connect(f"{address}?mode=ro", **words)
    log = path.with_name(f"{path.name}-wal")
    if not log.exists() or not log.stat().st_size:
        return sqlite3.connect(f"{address}?mode=ro&immutable=1", **words)
    memory = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
    with tempfile.TemporaryDirectory(prefix="raysearch-") as folder:
        for file in (path, log):
            shutil.copyfile(file, Path(folder, file.name))
        with contextlib.closing(sqlite3.connect(Path(folder, path.name))) as copy:
            copy.backup(memory)
    return memory


def _dump(value: object) -> str:
    return json.dumps(value, allow_nan=False, separators=(",", ":"))
