"""A study's folder, written from a table of scores."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from raysearch.report import Layers, Report, build
from raysearch.selection import FoldGroups
from raysearch.study.folder import StudyFolder
from raysearch.study.ledger import FoldRow, Ledger, StageUse
from raysearch.study.record import Record

SCORES = ("val_ua", "val_wa", "test_ua", "test_wa")


def write_study(
    folder: Path,
    scores: np.ndarray,
    *,
    params: Sequence[Mapping[str, Any]] | None = None,
    reasons: Mapping[int, str] | None = None,
    enqueued: int = 0,
    repeats: np.ndarray | None = None,
    val_confusions: np.ndarray | None = None,
    confusions: np.ndarray | None = None,
    space: Mapping[str, Any] | None = None,
    facts: Mapping[str, Any] | None = None,
    **study: Any,
) -> Path:
    """A study that leaves one speaker out, validated by the next.

    Args:
        folder: is made.
        scores: [C, K, 4] of val_ua, val_wa, test_ua, test_wa; NaN where a trial was stopped.
        params: of each trial; default {"gamma": 0.1 * number}.
        reasons: why a trial was stopped, by number.
        enqueued: how many of the first trials were enqueued.
        repeats: [C, K, N, 4] of each seed.
        val_confusions: [C, K, 2, 2] counts.
        confusions: [C, K, k, k] test counts; default the same two classes in every fold.
        space: what the configuration holds as params.
        facts: of the ledger.
        study: further keys of the configuration.
    """
    folder.mkdir(parents=True)
    names = [f"s{f:02d}" for f in range(scores.shape[1])]
    known = {"method": "rdlr", "protocol": {"name": "loso"}, "objective": "ua", "seed": 3}
    configuration = known | {"params": dict(space or {})} | study
    (folder / "study.yaml").write_text(yaml.safe_dump(configuration))
    entries = [
        {"name": n, "index": f, "test_groups": [n], "val_groups": [names[(f + 1) % len(names)]]}
        | {"n_train": 20, "n_validation": 10, "n_test": 10}
        for f, n in enumerate(names)
    ]
    (folder / "folds.json").write_text(json.dumps(entries))
    ledger = Ledger(folder / "ledger.sqlite", write=True)
    for name, value in (facts or {}).items():
        ledger.set_fact(name, value)
    for c, table in enumerate(scores):
        setting = dict(params[c]) if params else {"gamma": 0.1 * c}
        ledger.add_trial(c, setting, "enqueued" if c < enqueued else "tpe")
        measured = np.isfinite(table).all(axis=1)
        ledger.record_folds(
            [
                FoldRow(
                    c,
                    names[f],
                    int(f),
                    _named(table[f]),
                    [[4, 1], [2, 3]] if confusions is None else confusions[c, f].tolist(),
                    1.0,
                    (StageUse("student", f"{c}-{f}", True),),
                    [] if val_confusions is None else val_confusions[c, f].tolist(),
                    () if repeats is None else [_named(x) for x in repeats[c, f]],
                )
                for f in np.flatnonzero(measured)
            ]
        )
        if measured.all():
            ledger.finish_trial(c, "complete", float(table[:, 0].mean()))
        else:
            ledger.finish_trial(c, "pruned", 0.5, (reasons or {}).get(c, "it will not win"))
    ledger.close()
    return folder


def _named(scores: np.ndarray) -> dict[str, float]:
    return dict(zip(SCORES, map(float, scores), strict=True))


def speakers(count: int) -> list[FoldGroups]:
    """As many folds, each of a speaker of its own, validated by the next."""
    names = [f"s{f:02d}" for f in range(count)]
    return [
        FoldGroups(frozenset([name]), frozenset([names[(f + 1) % count]]), name)
        for f, name in enumerate(names)
    ]


def read_study(folder: Path) -> Record:
    """The study in a folder."""
    return Record.read(StudyFolder(folder))


def report_of(folder: Path, whole: bool = False, layers_of: Layers | None = None) -> Report:
    """The report of the study in a folder."""
    return build(read_study(folder), whole, layers_of)
