"""What every method must do. A method's tests inherit a contract by adding the fixture `case`.

`MethodContract` holds for any method, `CanonicalContract` for one with a function `canonical`,
`ExportedContract` for one that can be exported, and `TrainedContract` for one of these whose stages
train networks.
"""

from __future__ import annotations

import copy
import functools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trainables import fitting
from trainables.stage import (
    PARTS,
    Artifact,
    FoldFacts,
    Method,
    NetworkState,
    Node,
    Param,
    Part,
    PartFacts,
    StageInputs,
    weights_of,
)

NOTHING = np.zeros(0, dtype=np.int64)
AUGMENTED = {
    "augment_noise": "any",
    "augment_gain": 6.0,
    "augment_speed": 0.1,
    "augment_time_masks": 2,
    "augment_freq_masks": 1,
    "augment_gaussian": 0.1,
    "augment_mixup": 0.4,
}
"""parameters of augmentation that are off by default, all on"""
DETAILS = {
    "augment_noise_share": "augment_noise",
    "augment_snr": "augment_noise",
    "augment_snr_span": "augment_noise",
    "augment_time_width": "augment_time_masks",
    "augment_freq_width": "augment_freq_masks",
}
"""parameters of augmentation, and what must be on for them to have an effect"""
NUMBERS = (0.3, 0.4)
WHOLE_NUMBERS = (16, 32)


@dataclass(frozen=True)
class Effect:
    """A parameter that is without effect in one setting, and has one in another."""

    name: str
    off: Mapping[str, Any]
    on: Mapping[str, Any]
    values: tuple[Any, ...] = ()
    """to compare; none: its choices, or two numbers"""


@dataclass(frozen=True)
class Case:
    """A method, and a fold of synthetic clips on which it runs within a second."""

    method: Method
    parts: Callable[[], dict[str, Part]]
    """makes the fold's parts anew"""
    small: Mapping[str, Any] = field(default_factory=dict)
    """parameters of the runs"""
    effects: tuple[Effect, ...] = ()
    canonical: Callable[[Mapping[str, Any]], dict[str, Any]] | None = None
    models: tuple[Mapping[str, Any], ...] = ()
    """settings, beside `small`, whose networks must predict alike outside of a study"""
    augmented: tuple[str, ...] = tuple(AUGMENTED)
    """of AUGMENTED, those for which `small` reads rows, as far as the method has them"""
    classes: tuple[str, ...] = ("a", "b", "c")
    extra: Mapping[str, Any] = field(default_factory=dict)
    """further arguments of `StageInputs`"""
    view: Callable[[Part, str], Part] = lambda part, ratings: part
    """a part as a node of these `ratings` sees it"""

    @functools.cached_property
    def artifacts(self) -> dict[str, Artifact]:
        """Of `small`, by stage; run once."""
        return self.run({})

    def nodes(self, **setting: Any) -> tuple[Node, ...]:
        return self.method.graph(self.method.resolve({**self.small, **setting}))

    def inputs(
        self, node: Node, artifacts: Mapping[str, Artifact], parts: dict[str, Part], **more: Any
    ) -> StageInputs:
        """What a node names, and nothing else."""
        named = {
            name: self.view(part if name in node.parts else part.take(NOTHING), node.ratings)
            for name, part in parts.items()
        }
        return StageInputs(
            **{
                "classes": self.classes,
                "parents": {role: artifacts[name] for role, name in node.parents.items()},
                "across": {role: (artifacts[name],) for role, name in node.across.items()},
                "seed": 3,
                **named,
                **self.extra,
                **more,
            }
        )

    def run(
        self, setting: Mapping[str, Any], parts: dict[str, Part] | None = None, **more: Any
    ) -> dict[str, Artifact]:
        """The artifacts of all stages of a setting, by name."""
        parts = parts or self.parts()
        assert parts["test"].y is None, "test labels exist in the scoring step alone"
        artifacts: dict[str, Artifact] = {}
        for node in self.nodes(**setting):
            inputs = self.inputs(node, artifacts, parts, **more)
            artifacts[node.name] = node.run(inputs, **node.params)
        return artifacts

    def state(self, nodes: Sequence[Node], artifacts: Mapping[str, Artifact]) -> NetworkState:
        """The last stage's network, with those beneath it that an export keeps."""
        assert self.method.export is not None
        by_name = {node.name: node for node in nodes}

        def of(name: str, parents: Mapping[str, NetworkState]) -> NetworkState:
            weights, info = weights_of(artifacts[name].arrays), artifacts[name].info
            return NetworkState(by_name[name].params, weights, info, self.classes, parents)

        beneath = {
            role: of(name, {})
            for role, name in nodes[-1].parents.items()
            if role in self.method.export.keeps
        }
        return of(nodes[-1].name, beneath)

    def keys(self, **setting: Any) -> tuple[str, ...]:
        """What tells the stages of a setting apart from those of another."""
        return tuple(
            json.dumps([node.name, sorted(node.parts), dict(node.params)], sort_keys=True)
            for node in self.nodes(**setting)
        )

    def epochs(self, number: int) -> dict[str, int]:
        """All parameters that limit the epochs of a training."""
        names = [n for n in self.method.params if n == "epochs" or n.endswith("_epochs")]
        assert names
        return dict.fromkeys(names, number)


def values_of(effect: Effect, param: Param) -> tuple[Any, ...]:
    if effect.values or param.choices:
        return effect.values or param.choices or ()
    if isinstance(param.default, bool):
        return (False, True)
    return WHOLE_NUMBERS if isinstance(param.default, int) else NUMBERS


def assert_same(one: Mapping[str, Artifact], other: Mapping[str, Artifact]) -> None:
    assert set(one) == set(other)
    for name, artifact in one.items():
        assert artifact.info == other[name].info, name
        assert set(artifact.arrays) == set(other[name].arrays), name
        for array, values in artifact.arrays.items():
            np.testing.assert_array_equal(values, other[name].arrays[array], f"{name} {array}")


def arrays_of(part: Part) -> dict[str, Any]:
    columns = {name: value for name, value in vars(part).items() if name != "frames"}
    return columns | {name: vars(rows) for name, rows in part.frames.items()}


class MethodContract:
    """What holds for any method."""

    # What a setting asks for

    def test_each_default_is_a_value_of_its_parameter(self, case: Case) -> None:
        assert case.method.params
        problems = [p.problem(name, p.default) for name, p in case.method.params.items()]
        assert not list(filter(None, problems))
        assert all(param.help for param in case.method.params.values())

    def test_a_setting_is_completed_by_defaults_and_unknown_names_are_refused(
        self, case: Case
    ) -> None:
        full = case.method.resolve(case.small)
        assert full == {n: p.default for n, p in case.method.params.items()} | dict(case.small)
        with pytest.raises(KeyError, match="no_such_name"):
            case.method.resolve({"no_such_name": 1})

    def test_every_choice_has_a_graph_whose_stages_follow_their_parents(self, case: Case) -> None:
        choices = [(n, v) for n, p in case.method.params.items() for v in p.choices or ()]
        for setting in [{}, *({name: value} for name, value in choices)]:
            nodes = case.nodes(**setting)
            names = [node.name for node in nodes]
            assert len(set(names)) == len(names) > 0
            for place, node in enumerate(nodes):
                assert {*node.parents.values(), *node.across.values()} <= set(names[:place])
                assert set(node.parts) <= set(PARTS)
                json.dumps(dict(node.params), allow_nan=False)

    @pytest.mark.parametrize("corpora", [{0}, {0, 1}])
    def test_a_folds_parameters_are_those_of_the_node_and_stay_as_they_are(
        self, case: Case, corpora: set[int]
    ) -> None:
        part = PartFacts(20, 20, frozenset(corpora), frozenset(corpora), frozenset({0, 1, 2}))
        facts = FoldFacts(dict.fromkeys(("train", "validation", "undecided"), part))
        nodes = case.nodes()
        assert nodes
        for node in nodes:
            own = case.method.in_fold(node, facts)
            assert set(own) == set(node.params)
            json.dumps(dict(own), allow_nan=False)
            assert case.method.in_fold(replace(node, params=own), facts) == own

    def test_a_stage_takes_its_own_parameters_alone(self, case: Case) -> None:
        node = case.nodes()[0]
        inputs = case.inputs(node, {}, case.parts())
        with pytest.raises(TypeError, match="no_such_name"):
            node.run(inputs, **node.params, no_such_name=1)
        missing = dict(list(node.params.items())[1:])
        with pytest.raises(TypeError, match=next(iter(node.params))):
            node.run(inputs, **missing)

    def test_it_says_what_it_needs_and_what_readers_must_know(self, case: Case) -> None:
        full = case.method.resolve(case.small)
        assert case.method.needs(full) <= {"votes", "unlabelled", "corpora"}
        assert all(isinstance(note, str) for note in case.method.notes(full))

    # What its stages give

    def test_its_last_stage_gives_probabilities(self, case: Case) -> None:
        parts, last = case.parts(), case.artifacts[case.nodes()[-1].name]
        for name in ("validation", "test"):
            probabilities = last.arrays[name]
            assert probabilities.shape == (len(parts[name]), len(case.classes))
            assert probabilities.dtype == np.float32
            np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-4)
        for artifact in case.artifacts.values():
            json.dumps(artifact.info, allow_nan=False)
            curves = artifact.info.get("curves", {})
            assert len({len(values) for values in curves.values()}) <= 1

    def test_its_stages_are_pure_functions(self, case: Case) -> None:
        parts = case.parts()
        before = copy.deepcopy(parts)
        assert_same(case.run({}, parts), case.artifacts)
        for name, part in parts.items():
            np.testing.assert_equal(arrays_of(part), arrays_of(before[name]))

    def test_test_clips_reach_nothing_but_their_own_predictions(self, case: Case) -> None:
        parts = case.parts()
        parts["test"] = replace(
            parts["test"],
            x=parts["test"].x[::-1] * 3 + 1,
            frames={
                name: replace(rows, values=(rows.values[::-1] * 3 + 1).astype(rows.values.dtype))
                for name, rows in parts["test"].frames.items()
            },
        )
        other = case.run({}, parts)

        def without_test(artifacts: Mapping[str, Artifact]) -> dict[str, Artifact]:
            return {
                name: replace(one, arrays={n: a for n, a in one.arrays.items() if "test" not in n})
                for name, one in artifacts.items()
            }

        assert_same(without_test(other), without_test(case.artifacts))
        last = case.nodes()[-1].name
        assert not np.array_equal(other[last].arrays["test"], case.artifacts[last].arrays["test"])

    def test_a_clips_prediction_is_of_that_clip_alone(self, case: Case) -> None:
        """The test part in another order, and one clip of it alone, are predicted the same."""
        parts, last = case.parts(), case.nodes()[-1].name
        order = np.random.default_rng(0).permutation(len(parts["test"]))
        whole = case.artifacts[last].arrays["test"]
        for rows in (order, order[:1]):
            there = case.run({}, parts | {"test": parts["test"].take(rows)})[last].arrays["test"]
            np.testing.assert_allclose(there, whole[rows], atol=1e-5)


class CanonicalContract(MethodContract):
    """What holds for a method that makes settings equal which train the same."""

    # one test of several classes, which hypothesis takes for a mistake
    @settings(
        max_examples=50,
        deadline=None,
        suppress_health_check=[
            HealthCheck.differing_executors,
            HealthCheck.function_scoped_fixture,
        ],
    )
    @given(data=st.data())
    def test_canonical_is_idempotent(self, case: Case, data: st.DataObject) -> None:
        assert case.canonical is not None
        setting = {
            name: data.draw(st.sampled_from(param.choices), label=name)
            for name, param in case.method.params.items()
            if param.choices
        }
        full = case.method.resolve({**case.small, **setting})
        once = case.canonical(full)
        again = {n: once[n] if once.get(n) is not None else value for n, value in full.items()}
        assert case.canonical(again) == once


class ExportedContract(MethodContract):
    """What holds for a method that can be exported."""

    def test_whole_and_broken_numbers_of_one_value_are_one_setting(self, case: Case) -> None:
        full = case.method.resolve(case.small)
        other = {
            name: float(value) if isinstance(value, int) else int(value)
            for name, value in full.items()
            if isinstance(value, int | float) and not isinstance(value, bool)
            if value == int(value)
        }
        assert other
        assert case.keys(**other) == case.keys()

    def test_a_parameter_is_in_a_key_exactly_where_it_has_an_effect(self, case: Case) -> None:
        assert case.effects
        for effect in case.effects:
            values = values_of(effect, case.method.params[effect.name])
            off = {case.keys(**{**effect.off, effect.name: value}) for value in values}
            on = {case.keys(**{**effect.on, effect.name: value}) for value in values}
            assert (len(off), len(on)) == (1, len(values)), effect

    def test_a_model_predicts_what_the_stages_predicted(
        self, case: Case, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        export, test = case.method.export, case.parts()["test"]
        assert export is not None
        for setting in ({}, *case.models):
            nodes, plain = case.nodes(**setting), case.run(setting)
            assert not any(weights_of(one.arrays) for one in plain.values())
            artifacts = case.run(setting, keep_weights=True)
            last = nodes[-1].name
            for name, values in plain[last].arrays.items():
                np.testing.assert_array_equal(artifacts[last].arrays[name], values)
            with monkeypatch.context() as patch:
                # nothing is fetched or read: an encoder is built from its configuration
                patch.setattr("trainables.networks.encoders.load", None)
                predict = export.predictor(case.state(nodes, artifacts))
            np.testing.assert_allclose(predict(test), plain[last].arrays["test"], atol=1e-5)


class Interruption(Exception):
    """Ends a training as a kill would."""


class TrainedContract(ExportedContract):
    """What holds for a method whose stages train networks by epochs."""

    def test_another_seed_gives_another_network(self, case: Case) -> None:
        last = case.nodes()[-1].name
        other = case.run({}, seed=4)[last].arrays["test"]
        assert not np.array_equal(other, case.artifacts[last].arrays["test"])

    def test_it_tells_its_epochs_and_nothing_follows_from_that(self, case: Case) -> None:
        calls: list[tuple[int, float]] = []
        other = case.run({}, on_epoch=lambda epoch, score: calls.append((epoch, score)))
        assert_same(other, case.artifacts)
        node = case.nodes()[0]
        curves = case.artifacts[node.name].info.get("curves")
        if curves is None:
            curves = case.artifacts[node.name].info["runs"][0]["curves"]
        scores = curves["validation_ua"]
        assert calls[: len(scores)] == list(enumerate(scores, start=1))

    def test_an_interrupted_training_goes_on_at_its_epoch(
        self, case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(fitting, "CHECKPOINT_SECONDS", 0.0)
        setting = case.epochs(4) | {n: 4 for n in case.method.params if n.endswith("patience")}
        node = case.nodes(**setting)[0]
        calls: list[int] = []

        def run(**more: Any) -> Artifact:
            return node.run(case.inputs(node, {}, case.parts(), **more), **node.params)

        def interrupt(epoch: int, score: float) -> None:
            calls.append(epoch)
            if len(calls) == 3:
                raise Interruption

        whole = run()
        with pytest.raises(Interruption):
            run(scratch=tmp_path, on_epoch=interrupt)
        second = run(scratch=tmp_path, on_epoch=interrupt)
        # two epochs from the checkpoint, then the third again
        assert calls[:7] == [1, 2, 3, 1, 2, 3, 4]
        assert_same({"": second}, {"": whole})

    def test_augmentation_changes_what_is_learnt_from_and_nothing_else(self, case: Case) -> None:
        """Each kind has a stage of its own; parts stay as they are; one seed, one result."""
        names = [name for name in case.augmented if name in case.method.params]
        every = {name: AUGMENTED[name] for name in names}
        if not every:
            pytest.skip("the method declares no augmentation")
        settings = [{}, *({name: value} for name, value in every.items())]
        assert len({case.keys(**setting) for setting in settings}) == len(settings)
        for name, base in DETAILS.items():
            if base in every:
                off, on = (
                    {case.keys(**{**more, name: value}) for value in (0.25, 0.5)}
                    for more in ({}, {base: AUGMENTED[base]})
                )
                assert (len(off), len(on)) == (1, 2), name
        parts = case.parts()
        before = copy.deepcopy(parts)
        first = case.run(every, parts)
        for name, part in parts.items():
            np.testing.assert_equal(arrays_of(part), arrays_of(before[name]))
        assert_same(case.run(every), first)
        last = case.nodes(**every)[-1].name
        plain = case.run({})[last].arrays["test"]
        assert not np.array_equal(first[last].arrays["test"], plain)

    def test_a_refit_needs_no_validation_and_trains_all_its_epochs(self, case: Case) -> None:
        parts = case.parts()
        parts |= {name: parts[name].take(NOTHING) for name in ("validation", "test")}
        setting = case.epochs(3) | {n: 1 for n in case.method.params if n.endswith("patience")}
        artifacts = case.run(setting, parts, refit=True, keep_weights=True)
        numbers = [
            (run["best_epoch"], run["epochs"])
            for one in artifacts.values()
            for run in one.info.get("runs", [one.info])
        ]
        assert set(numbers) == {(3, 3)}
        with pytest.raises(ValueError, match="validation"):
            case.run(setting, parts)
