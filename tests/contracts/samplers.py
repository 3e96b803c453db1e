"""What every kind of sampler keeps to. Inherit `SamplerContract` and give it a fixture `kind`."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

import pytest

from raysearch.search.sampler import Sampler
from raysearch.study.ledger import COMPLETE, FAILED, PRUNED, RUNNING, TrialRow
from raysearch.study.space import Space, canonical


def space_of(params: dict[str, Any]) -> Space:
    space, problems = Space.parse(params)
    assert not problems
    return space


SPACE = space_of(
    {
        "kind": {"choice": ["hard", "lr"]},
        "gamma": {"float": [0.2, 0.8], "step": 0.1, "when": {"kind": "lr"}},
        "batch": {"grid": [16, 32, 64]},
        "layers": 3,
    }
)
"""24 settings"""
STATES = [COMPLETE, COMPLETE, COMPLETE, PRUNED, FAILED, RUNNING]


def score(setting: Mapping[str, Any]) -> float:
    value = 0.5 * (setting["kind"] == "lr") - abs(setting.get("gamma", 1.0) - 0.5)
    return value + 0.1 * (setting["batch"] == 32)


def run(sampler: Sampler, count: int, start: int = 0) -> list[TrialRow]:
    """Ask and tell, one after the other."""
    rows = []
    for number in range(start, start + count):
        proposal = sampler.ask(number)
        assert proposal is not None
        setting, origin = proposal
        sampler.tell(number, COMPLETE, score(setting))
        rows.append(TrialRow(number, setting, COMPLETE, origin=origin, value=score(setting)))
    return rows


class SamplerContract:
    """A subclass has a fixture `kind`, and so these tests."""

    def make(self, kind: Any, **options: Any) -> Sampler:
        return Sampler(SPACE, kind=kind, **{"seed": 1, **options})

    def test_every_setting_is_of_the_space_in_plain_types_and_comes_once(self, kind: str) -> None:
        sampler = self.make(kind)
        rows = run(sampler, 24)
        assert SPACE.size() == sampler.size == sampler.planned(1000) == 24
        for row in rows:
            assert SPACE.contains(row.params) is None
            assert SPACE.active(row.params) == row.params
            assert all([type(v) in (bool, int, float, str) for v in row.params.values()])
            assert "layers" not in row.params
            assert row.origin == kind
        assert len({canonical(row.params) for row in rows}) == 24
        assert sampler.ask(24) is None
        again = self.make(kind)
        again.rebuild(rows)
        assert again.ask(24) is None

    def test_enqueued_settings_come_first_and_once(self, kind: str) -> None:
        first = [
            {"kind": "lr", "gamma": 0.5, "batch": 64},
            {"_name": "same again", "kind": "lr", "gamma": 0.5, "batch": 64},
            {"kind": "hard", "batch": 16, "elsewhere": 3},
        ]
        sampler = self.make(kind, enqueue=first)
        rows = run(sampler, 24)
        assert [row.origin for row in rows[:3]] == ["enqueued", "enqueued", kind]
        assert rows[0].params == {"kind": "lr", "gamma": 0.5, "batch": 64}
        assert rows[1].params == {"kind": "hard", "batch": 16}
        assert sampler.ask(24) is None
        successor = self.make(kind, enqueue=first)
        successor.rebuild(rows[:1])
        assert successor.ask(1) == (rows[1].params, "enqueued")

    def test_of_settings_that_ask_for_the_same_stages_one_is_tried(self, kind: str) -> None:
        """As where the batch has no effect under hard labels."""

        def identity(setting: Mapping[str, Any]) -> str:
            effect = {n: v for n, v in setting.items() if n == "kind" or setting["kind"] == "lr"}
            return canonical(effect)

        sampler = self.make(kind, identity=identity)
        assert sampler.size == 22
        assert (sampler.planned(10), sampler.planned(1000)) == (10, 22)
        rows = run(sampler, 22)
        assert sampler.ask(22) is None
        assert sum(row.params["kind"] == "hard" for row in rows) == 1

    def test_the_seed_and_the_history_decide(self, kind: str) -> None:
        assert run(self.make(kind), 15) == run(self.make(kind), 15)

    @pytest.mark.parametrize("seed", range(6))
    def test_a_rebuilt_sampler_asks_what_the_uninterrupted_one_asks(
        self, kind: str, seed: int
    ) -> None:
        """Trials end in any order, in any state, some much later; the ledger's order is no part."""
        dice = random.Random(seed)
        whole = self.make(kind, seed=seed)
        rows: dict[int, TrialRow] = {}
        running: list[TrialRow] = []
        for number in range(20):
            proposal = whole.ask(number)
            successor = self.make(kind, seed=seed)
            successor.rebuild(dice.sample(list(rows.values()), len(rows)))
            assert successor.ask(number) == proposal
            assert proposal is not None
            setting, origin = proposal
            rows[number] = TrialRow(number, setting, RUNNING, origin=origin)
            running.append(rows[number])
            while running and dice.random() < 0.7:
                trial = running.pop(dice.randrange(len(running)))
                state = dice.choice(STATES)
                if state == RUNNING:
                    continue
                value = None if state == FAILED else score(trial.params)
                whole.tell(trial.number, state, value)
                rows[trial.number] = TrialRow(
                    trial.number, trial.params, state, origin=trial.origin, value=value
                )

    def test_a_pruned_or_failed_trial_ends_without_a_value(self, kind: str) -> None:
        sampler = self.make(kind)
        for number, state in enumerate([PRUNED, FAILED] * 8):
            assert sampler.ask(number) is not None
            sampler.tell(number, state, None)
        assert sampler.ask(16) is not None

    def test_a_complete_trial_needs_a_finite_value(self, kind: str) -> None:
        sampler = self.make(kind)
        assert sampler.ask(0) is not None
        for value in (None, float("nan"), float("inf")):
            with pytest.raises(ValueError, match="finite"):
                sampler.tell(0, COMPLETE, value)
        with pytest.raises(ValueError, match="state"):
            sampler.tell(0, RUNNING, 1.0)
        with pytest.raises(KeyError):
            sampler.tell(9, COMPLETE, 1.0)
