"""Studies made of tables of scores, whole or cut short."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from raysearch.study.ledger import FoldRow, Ledger, StageUse

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """A folder of a study: leave one speaker out, validated by the next."""
    count = 0

    def made(
        scores: np.ndarray,
        *,
        params: Sequence[Mapping[str, Any]] | None = None,
        reasons: Mapping[int, str] | None = None,
        enqueued: int = 0,
        repeats: np.ndarray | None = None,
        val_confusions: np.ndarray | None = None,
        space: Mapping[str, Any] | None = None,
        **study: Any,
    ) -> Path:
        """`scores`: [C, K, 4] of val_ua, val_wa, test_ua, test_wa; NaN where a trial was stopped.

        `space`: what study.yaml holds as params. `repeats`: [C, K, N, 4] of each seed.
        `val_confusions`: [C, K, 2, 2].
        """
        nonlocal count
        count += 1
        folder = tmp_path / f"study-{count}"
        folder.mkdir()
        _, k, _ = scores.shape
        names = [f"s{f:02d}" for f in range(k)]
        keys = ("val_ua", "val_wa", "test_ua", "test_wa")
        known = {"method": "rdlr", "protocol": {"name": "loso"}, "objective": "ua", "seed": 3}
        (folder / "study.yaml").write_text(
            yaml.safe_dump(known | {"params": dict(space or {})} | study)
        )
        entries = [
            {"name": n, "index": f, "test_groups": [n], "val_groups": [names[(f + 1) % k]]}
            | {"n_train": 20, "n_validation": 10, "n_test": 10}
            for f, n in enumerate(names)
        ]
        (folder / "folds.json").write_text(json.dumps(entries))
        ledger = Ledger(folder / "ledger.sqlite", write=True)
        rows = []
        for c, table in enumerate(scores):
            origin = "enqueued" if c < enqueued else "tpe"
            ledger.add_trial(c, dict(params[c]) if params else {"gamma": 0.1 * c}, origin)
            there = np.isfinite(table).all(axis=1)
            for f in np.flatnonzero(there):
                rows.append(
                    FoldRow(
                        c,
                        names[f],
                        int(f),
                        dict(zip(keys, map(float, table[f]), strict=True)),
                        [[4, 1], [2, 3]],
                        1.0,
                        (StageUse("student", f"{c}-{f}", True),),
                        [] if val_confusions is None else val_confusions[c, f].tolist(),
                        ()
                        if repeats is None
                        else [dict(zip(keys, map(float, x), strict=True)) for x in repeats[c, f]],
                    )
                )
            if there.all():
                ledger.finish_trial(c, "complete", float(table[:, 0].mean()))
            else:
                ledger.finish_trial(c, "pruned", 0.5, (reasons or {}).get(c, "it will not win"))
        ledger.record_folds(rows)
        ledger.close()
        return folder

    return made
