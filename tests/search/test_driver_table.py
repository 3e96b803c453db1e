"""The table that a race is judged by, kept from fold to fold, is the one built anew."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from raysearch.search.driver import Driver
from raysearch.search.racing import Verdict
from raysearch.selection import Score
from raysearch.study.ledger import COMPLETE, RUNNING, FoldRow, Ledger, StageUse, TrialRow

ORDER = (2, 0, 3, 1)


class Asker:
    """Proposes numbers without end."""

    def planned(self, trials: int) -> int:
        return trials

    def rebuild(self, trials: Sequence[TrialRow]) -> None: ...

    def ask(self, number: int) -> tuple[dict[str, Any], str]:
        return {"x": number}, "fake"

    def tell(self, number: int, *told: Any, **more: Any) -> None: ...


def anew(ledger: Ledger) -> tuple[np.ndarray, np.ndarray]:
    """(table, alive) from the ledger alone."""
    trials = ledger.trials()
    table = np.full((len(trials), len(ORDER)), np.nan)
    for row in ledger.folds():
        table[row.trial, ORDER.index(row.index)] = row.scores["val_ua"]
    return table, np.array([trial.state in (COMPLETE, RUNNING) for trial in trials])


@settings(max_examples=8, deadline=None)
@given(st.data())
def test_the_kept_table_is_the_ledgers(data: st.DataObject) -> None:
    rng = np.random.default_rng(data.draw(st.integers(0, 2**16)))
    asked: list[FoldRow] = []
    checks = 0

    def rule(
        table: np.ndarray, row: int, *, trials: int, alive: np.ndarray | None = None
    ) -> Verdict:
        nonlocal checks
        assert asked[-1].trial in (row, -1)
        if rng.random() > 0.1:  # each look reads the whole ledger
            return Verdict(bool(rng.random() < 0.4), 0.5, "so the dice fell")
        expected, living = anew(ledger)
        np.testing.assert_array_equal(table, expected)
        np.testing.assert_array_equal(alive, living)
        checks += 1
        return Verdict(bool(rng.random() < 0.4), 0.5, "so the dice fell")

    with tempfile.TemporaryDirectory() as folder:
        ledger = Ledger(Path(folder) / "l", write=True)

        def driver() -> Driver:
            return Driver(
                ledger=ledger,
                sampler=Asker(),  # type: ignore[arg-type]
                order=ORDER,
                scores=[Score("ua")],
                trials=150,
                rule=rule,
            )

        made = driver()
        live: dict[int, list[int]] = {}
        for _ in range(260):
            event = rng.random()
            if event < 0.005:  # the driver dies; its successor reads the ledger
                asked.append(FoldRow(-1, "", 0, {}, [], 0.0, ()))
                made = driver()
                live = {}
            if len(live) < 4 and (following := made.next()) is not None:
                live[following.number] = list(following.folds)
            if not live:
                continue
            number = int(rng.choice(list(live)))
            if event > 0.97:
                made.fail(number, "it failed")
                del live[number]
                continue
            index = live[number].pop(0)
            value = float(rng.random())
            scores: Mapping[str, float] = {
                f"{part}_{name}": value for part in ("val", "test") for name in ("ua", "wa")
            }
            use = StageUse("student", "0" * 64, True)
            asked.append(FoldRow(number, f"f{index}", index, scores, [[1]], 0.1, (use,)))
            if made.record(number, [(asked[-1], 1, 0)]):
                del live[number]
            if made.fatal is not None:
                raise made.fatal
        assert checks > 5
        assert len(ledger.trials()) > 64, "the table must have grown"
        ledger.close()


def test_a_trial_ends_once(tmp_path: Path) -> None:
    """A wave may both lose the race and report a failure."""
    ledger = Ledger(tmp_path / "l", write=True)
    made = Driver(
        ledger=ledger,
        sampler=Asker(),  # type: ignore[arg-type]
        order=ORDER,
        scores=[Score("ua")],
        trials=2,
        rule=lambda *_, **__: Verdict(True, 0.4, "it will not win"),
    )
    assert made.next() is not None
    row = FoldRow(0, "f2", 2, {"val_ua": 0.5}, [[1]], 0.1, ())
    assert made.record(0, [(row, 1, 0)])
    made.fail(0, "stage 'student': ValueError")
    assert made.record(0, [])
    assert made.fatal is None
    assert [trial.reason for trial in ledger.trials()] == ["it will not win"]
    ledger.close()
