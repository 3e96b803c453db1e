"""Property tests for keys: what identifies a stage, and what does not."""

from __future__ import annotations

import dataclasses
import importlib.util
import shutil
import subprocess
import sys
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raysearch import stages
from raysearch.stages.dataset import rows_of
from raysearch.stages.folds import divide
from raysearch.stages.keys import stage_seed
from trainables.stage import (
    Artifact,
    FoldFacts,
    Method,
    Node,
    Param,
    Part,
    Sequences,
    StageInputs,
    takes,
)

NOTHING = [Artifact({}, {})]
"""in place of a parent that is not looked at"""

SUPPORT = Path(__file__).resolve().parents[1] / "support"


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(SUPPORT))
    return importlib.import_module("toy_method")


def dataset(normalise: str = "fold", seed: int = 0) -> stages.Dataset:
    rng = np.random.default_rng(seed)
    n = 60
    table = pd.DataFrame(
        {
            "id": [f"u{i:03}" for i in range(n)],
            "speaker": [f"s{i % 5}" for i in range(n)],
            "session": "",
            "corpus": "c",
            "label": ["a" if i % 2 else "b" for i in range(n)],
        }
    )
    return stages.Dataset(
        ids=table["id"].to_numpy(dtype=str),
        x=rng.normal(size=(n, 7)).astype(np.float32) * 10 + 3,
        y=np.arange(n) % 2,
        votes=None,
        speaker=np.arange(n) % 5,
        corpus=np.zeros(n, dtype=np.int64),
        classes=("b", "a"),
        folds=divide(table, ("b", "a")),
        normalise=normalise,  # type: ignore[arg-type]
    )


AUDIO = [f"audio-{i}" for i in range(60)]


def keys(
    method: Method,
    data: stages.Dataset | None = None,
    audio: list[str] = AUDIO,
    seed: int = 0,
    fold: int = 0,
    **setting: Any,
) -> dict[str, str]:
    where = stages.context(data or dataset(), audio, ["is10-1"], seed)
    return {c.name: c.key for c in stages.calls(method, method.resolve(setting), fold, where)}


def test_a_stage_hashes_its_own_parameters_only(toy: ModuleType) -> None:
    one, two = keys(toy.METHOD, shrink=0.1), keys(toy.METHOD, shrink=0.2)
    assert one["teacher"] == two["teacher"]
    assert one["student"] != two["student"]


def test_what_a_parent_hashes_its_child_does_too(toy: ModuleType) -> None:
    one, two = keys(toy.METHOD, delay=0.0), keys(toy.METHOD, delay=0.1)
    assert one["teacher"] != two["teacher"]
    assert one["student"] != two["student"]


@settings(max_examples=30, deadline=None)
@given(st.one_of(st.integers(0, 1), st.floats(0, 1)))
def test_a_number_is_the_same_however_it_is_written(value: float) -> None:
    sys.path.insert(0, str(SUPPORT))
    try:
        method = importlib.import_module("toy_method").METHOD
    finally:
        sys.path.remove(str(SUPPORT))
    assert keys(method, shrink=value) == keys(method, shrink=np.float64(value))
    if value in (0, 1):
        assert keys(method, shrink=int(value)) == keys(method, shrink=float(value))


@pytest.mark.parametrize("change", ["seed", "fold", "label", "audio", "votes", "classes"])
def test_whatever_a_stage_reads_is_in_its_key(toy: ModuleType, change: str) -> None:
    base = keys(toy.METHOD)
    data = dataset()
    row = int(data.folds[0].train[0])
    if change == "seed":
        other = keys(toy.METHOD, seed=1)
    elif change == "fold":
        other = keys(toy.METHOD, fold=1)
    elif change == "label":
        y = data.y.copy()
        y[row] = 1 - y[row]
        other = keys(toy.METHOD, dataclasses.replace(data, y=y))
    elif change == "audio":
        other = keys(toy.METHOD, audio=[*AUDIO[:row], "other", *AUDIO[row + 1 :]])
    elif change == "votes":
        other = keys(toy.METHOD, dataclasses.replace(data, votes=np.ones((60, 2), np.float32)))
    else:
        other = keys(toy.METHOD, dataclasses.replace(data, classes=("b", "c")))
    assert not set(base.values()) & set(other.values())


def test_ratings_of_attributes_are_in_the_keys_and_those_of_the_test_part_in_none(
    toy: ModuleType,
) -> None:
    ratings = np.random.default_rng(0).normal(size=(60, 3, 1)).astype(np.float32)
    data = dataclasses.replace(dataset(), annotations=ratings)
    base, rows = keys(toy.METHOD, data), data.folds[0]
    for changed, alike in ((rows.test, True), (rows.train, False)):
        other = ratings.copy()
        other[changed] += 1
        same = keys(toy.METHOD, dataclasses.replace(data, annotations=other)) == base
        assert same == alike
    inputs = handed(data)
    assert inputs.test.annotations is None
    assert inputs.train.annotations is not None
    assert np.array_equal(inputs.train.annotations, ratings[rows.train])


def test_test_labels_are_in_no_key_and_in_no_stage(toy: ModuleType) -> None:
    data = dataset()
    rows = data.folds[0].test
    y = data.y.copy()
    y[rows] = 1 - y[rows]
    blind = dataclasses.replace(data, y=y)
    assert keys(toy.METHOD) == keys(toy.METHOD, blind)
    where = stages.context(data, AUDIO, ["is10-1"], 0)
    call = stages.calls(toy.METHOD, toy.METHOD.resolve({}), 0, where)[-1]
    inputs = stages.inputs_of(call, data, NOTHING * len(call.needs), stages.Runtime())
    assert inputs.test.y is None
    assert inputs.test.votes is None
    assert inputs.unlabelled.y is None


def test_a_teacher_that_never_sees_the_test_part_does_not_hash_it(toy: ModuleType) -> None:
    data = dataset()
    row = int(data.folds[0].test[0])
    other = keys(toy.METHOD, audio=[*AUDIO[:row], "other", *AUDIO[row + 1 :]])
    base = keys(toy.METHOD)
    assert base["teacher"] == other["teacher"]
    assert base["student"] != other["student"]


def test_runtime_is_not_identity() -> None:
    fields = {field.name for field in dataclasses.fields(stages.Call)}
    assert not fields & {"threads", "workers", "device", "cpus", "gpus"}


def test_seeds_do_not_depend_on_parameters(toy: ModuleType) -> None:
    where = stages.context(dataset(), AUDIO, ["is10-1"], 0)
    one = stages.calls(toy.METHOD, toy.METHOD.resolve({"shrink": 0.1}), 0, where)
    two = stages.calls(toy.METHOD, toy.METHOD.resolve({"shrink": 0.9}), 0, where)
    assert [c.seed for c in one] == [c.seed for c in two]
    assert one[0].seed != one[1].seed
    assert len({stage_seed(s, "x", f) for s in range(9) for f in "abc"}) == 27


def test_keys_are_the_same_in_another_process(toy: ModuleType) -> None:
    code = (
        "import sys; sys.path[:0] = [sys.argv[1], sys.argv[2]]\n"
        "import test_keys, toy_method; print(test_keys.keys(toy_method.METHOD)['student'])"
    )
    printed = subprocess.run(
        [sys.executable, "-c", code, str(SUPPORT), str(Path(__file__).parent)],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).resolve().parents[2],
        env={"PYTHONPATH": str(Path(__file__).resolve().parents[2]), "PYTHONHASHSEED": "7"},
    )
    assert printed.stdout.strip() == keys(toy.METHOD)["student"]


# -- the source ---------------------------------------------------------------------------------
def digest_of(folder: Path, **files: str) -> str:
    package = folder / "plug"
    package.mkdir(exist_ok=True)
    (package / "__init__.py").write_text("")
    for name, text in files.items():
        (package / f"{name}.py").write_text(text)
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); from raysearch.stages import source_digest;"
        "print(source_digest('plug.main'))"
    )
    root = Path(__file__).resolve().parents[2]
    return subprocess.run(
        [sys.executable, "-c", code, str(folder)],
        capture_output=True,
        text=True,
        check=True,
        cwd=root,
        env={"PYTHONPATH": str(root)},
    ).stdout


def test_the_source_of_what_a_stage_imports_is_in_its_key(tmp_path: Path) -> None:
    main = "from . import helper\n\ndef run():\n    from plug.deep import thing\n    return thing\n"
    helper, deep = "X = 1\n", "thing = 2\n"
    base = digest_of(tmp_path, main=main, helper=helper, deep=deep, unused="Y = 1\n")

    def again(**changed: str) -> str:
        files = {"main": main, "helper": helper, "deep": deep, "unused": "Y = 1\n"}
        return digest_of(tmp_path, **{**files, **changed})

    assert again() == base
    assert again(helper="X = 2\n") != base
    assert again(deep="thing = 3\n") != base, "an import inside a function counts"
    assert again(unused="Y = 2\n") == base
    assert again(helper="# a comment\nX  =  1\n") == base
    assert again(main=f'"""A docstring."""\n{main}') == base


# -- the data that a stage is handed --------------------------------------------------------------
def handed(data: stages.Dataset) -> StageInputs:
    node = Node("look", _look)
    method = Method("m", "", {"p": Param(0, "")}, lambda setting: (node,))
    where = stages.context(data, AUDIO, ["is10-1"], 0)
    call = stages.calls(method, {"p": 0}, 0, where)[0]
    return stages.inputs_of(call, data, NOTHING * len(call.needs), stages.Runtime())


def _look(inputs: StageInputs) -> Artifact:
    return Artifact()


def test_statistics_of_the_training_part() -> None:
    data = dataset("fold")
    inputs = handed(data)
    np.testing.assert_allclose(inputs.train.x.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(inputs.train.x.std(axis=0), 1, atol=1e-5)
    raw = data.x[data.folds[0].train]
    want = (data.x[data.folds[0].test] - raw.mean(axis=0)) / raw.std(axis=0)
    np.testing.assert_allclose(inputs.test.x, want, rtol=1e-3, atol=1e-4)


def test_statistics_of_each_speaker() -> None:
    inputs = handed(dataset("speaker"))
    for part in (inputs.train, inputs.validation, inputs.test):
        for speaker in np.unique(part.speaker):
            mine = part.x[part.speaker == speaker]
            np.testing.assert_allclose(mine.mean(axis=0), 0, atol=1e-5)
            np.testing.assert_allclose(mine.std(axis=0), 1, atol=1e-5)


def test_a_constant_feature_is_only_centred() -> None:
    data = dataset("fold")
    x = data.x.copy()
    x[:, 0] = 1e4
    inputs = handed(dataclasses.replace(data, x=x))
    np.testing.assert_allclose(inputs.test.x[:, 0], 0, atol=1e-2)


def test_under_speaker_statistics_every_clip_of_the_speaker_is_in_the_key() -> None:
    method = Method("m", "", {"p": Param(0, "")}, lambda s: (Node("look", _look),))
    data = dataset("speaker")
    assert keys(method, data) != keys(method, dataset("fold"))


def test_few_clips_of_a_test_speaker_are_predicted_beside_all() -> None:
    data = dataclasses.replace(dataset("speaker"), speaker_clips=(3, 6))
    fold = data.folds[0]
    inputs = handed(data)
    n = len(fold.test)
    assert len(inputs.test) == 3 * n
    assert inputs.test.ids.tolist() == data.ids[fold.test].tolist() * 3
    # with all of the speaker's clips the two ways of taking statistics agree
    all_clips = int((data.speaker == data.speaker[fold.test[0]]).sum())
    whole = handed(dataclasses.replace(data, speaker_clips=(all_clips,)))
    np.testing.assert_allclose(whole.test.x[n:], whole.test.x[:n], atol=1e-6)
    assert not np.allclose(inputs.test.x[n : 2 * n], inputs.test.x[:n])
    method = Method("m", "", {"p": Param(0, "")}, lambda s: (Node("look", _look),))
    assert keys(method, data) != keys(method, dataset("speaker"))


def test_few_clips_are_of_the_test_part_alone_whatever_else_the_speaker_has_said() -> None:
    data = dataclasses.replace(dataset("speaker"), speaker_clips=(3,))
    fold = data.folds[0]
    half = dataclasses.replace(fold, test=fold.test[:6])
    few = handed(dataclasses.replace(data, folds=(half, *data.folds[1:]))).test
    inside = sorted(half.test, key=lambda row: sha256(data.ids[row].encode()).digest())[:3]
    outside = sorted(fold.test, key=lambda row: sha256(data.ids[row].encode()).digest())[:3]
    assert set(inside) != set(outside), "the probe must tell them apart"
    np.testing.assert_allclose(few.x[6:], scaled(data.x[half.test], data.x[inside]), atol=1e-4)


def test_how_few_clips_is_in_the_key_of_stages_that_are_handed_the_test_part(
    toy: ModuleType,
) -> None:
    base = keys(toy.METHOD, dataset("speaker"))
    few = keys(toy.METHOD, dataclasses.replace(dataset("speaker"), speaker_clips=(3,)))
    assert base["teacher"] == few["teacher"]
    assert base["student"] != few["student"]


def test_one_more_unlabelled_speaker_renumbers_nobody(toy: ModuleType) -> None:
    data = dataclasses.replace(dataset(), speakers=("s0", "s1", "s2", "s3", "s4"))
    more = dataclasses.replace(
        data, speakers=("a0", "s0", "s1", "s2", "s3", "s4"), speaker=data.speaker + 1
    )
    assert keys(toy.METHOD, data) == keys(toy.METHOD, more)
    for one, other in zip(_parts(handed(data)), _parts(handed(more)), strict=True):
        np.testing.assert_array_equal(one.speaker, other.speaker)
        np.testing.assert_array_equal(one.x, other.x)
    other = dataclasses.replace(data, speakers=("s0", "s1", "s2", "s3", "s9"))
    assert keys(toy.METHOD, data, fold=0) != keys(toy.METHOD, other, fold=0)


def _parts(inputs: StageInputs) -> list[Part]:
    return [inputs.train, inputs.validation, inputs.test]


def test_a_method_canonicalises_with_the_facts_of_the_fold() -> None:
    def in_fold(node: Node, facts: FoldFacts) -> Mapping[str, Any]:
        return {"p": min(node.params["p"], facts.parts["train"].clips)}

    method = Method(
        "m", "", {"p": Param(0, "")}, lambda s: (Node("look", _first, dict(s)),), in_fold=in_fold
    )
    clips = len(dataset().folds[0].train)
    assert keys(method, p=clips) == keys(method, p=clips + 5)
    assert keys(method, p=clips) != keys(method, p=clips - 1)
    facts = stages.facts_of(dataset())
    texts = [stages.setting_identity(method, {"p": p}, facts) for p in (clips - 1, clips, 1000)]
    assert texts[1] == texts[2] != texts[0]


@pytest.mark.parametrize(
    ("file", "code", "other"),
    [
        ("normalising.py", "wide.std(axis=0)", "wide.std(axis=0, ddof=1)"),
        ("dataset.py", "deviation <= 1e-7", "deviation <= 1e-6"),
        ("store.py", "_KEY = re", "_OTHER = 1\n_KEY = re"),
    ],
)
def test_code_that_makes_what_a_stage_is_handed_is_in_its_key(
    tmp_path: Path, file: str, code: str, other: str
) -> None:
    root = Path(__file__).resolve().parents[2]
    for folder in ("raysearch", "trainables"):
        shutil.copytree(root / folder, tmp_path / folder)
    shutil.copytree(Path(__file__).resolve().parent, tmp_path / "tests" / "stages")
    place = tmp_path / "raysearch" / "stages" / file
    text = place.read_text()
    assert code in text
    place.write_text(text.replace(code, other))
    printed = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys; sys.path[:0] = [sys.argv[1], sys.argv[2]]\n"
            "import test_keys, toy_method; print(test_keys.keys(toy_method.METHOD)['student'])",
            str(SUPPORT),
            str(tmp_path / "tests" / "stages"),
        ],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path)},
    ).stdout.strip()
    sys.path.insert(0, str(SUPPORT))
    try:
        mine = keys(importlib.import_module("toy_method").METHOD)["student"]
    finally:
        sys.path.remove(str(SUPPORT))
    assert (printed == mine) == (file == "store.py")


def test_each_seed_of_a_fold_has_keys_of_its_own_and_the_first_is_the_study_with_one(
    toy: ModuleType,
) -> None:
    data = dataset()
    where = stages.context(data, AUDIO, ["f-1"], 0)
    setting = toy.METHOD.resolve({"shrink": 0.5})
    plain = stages.calls(toy.METHOD, setting, 0, where)
    assert stages.calls(toy.METHOD, setting, 0, where, 0) == plain
    found = [stages.calls(toy.METHOD, setting, 0, where, repeat) for repeat in range(4)]
    assert len({call.key for calls in found for call in calls}) == 8
    assert len({call.seed for calls in found for call in calls}) == 8
    for calls in found:
        assert calls[1].parents == {"teacher": calls[0].key}


# -- frames -------------------------------------------------------------------------------------
def framed(normalise: str = "fold", **changes: Any) -> stages.Dataset:
    """`dataset` with frames of two sets beside: float32 [L, 3], and a wave in int16 [T]."""
    rng = np.random.default_rng(5)
    lengths = rng.integers(2, 30, 60)
    starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    values = rng.normal(5, 2, (int(starts[-1]), 3)).astype(np.float32)
    values[:, 2] = 7.0  # a constant column
    values[:, 0] += np.repeat(np.arange(60) % 5, lengths)
    wave = rng.integers(-3000, 4000, int(starts[-1]) * 2).astype(np.int16)
    frames = {"mel": Sequences(values, starts), "wave": Sequences(wave, starts * 2)}
    for one in frames.values():
        one.values.flags.writeable = False  # as Ray's store gives them
    return dataclasses.replace(
        dataset(normalise),
        frames=frames,
        moments={name: stages.Moments.of(rows) for name, rows in frames.items()},
        **changes,
    )


def scaled(rows: np.ndarray, by: np.ndarray) -> np.ndarray:
    """Plain: z-normalised by the mean and deviation of `by`, a constant column only centred."""
    wide = by.astype(np.float64)
    deviation = wide.std(axis=0)
    return (rows - wide.mean(axis=0)) / np.where(deviation < 1e-9, 1.0, deviation)


def stacked(frames: Sequences, rows: np.ndarray) -> np.ndarray:
    return np.concatenate([frames[int(row)] for row in rows])


PARTS_WITH_ROWS = ("train", "validation", "test")


@pytest.mark.parametrize("name", ["mel", "wave"])
def test_frames_are_normalised_over_all_frames_of_the_training_part(name: str) -> None:
    data = framed("fold")
    fold, inputs = data.folds[0], handed(data)
    by = stacked(data.frames[name], fold.train)
    for part in PARTS_WITH_ROWS:
        rows, found = rows_of(fold, part), getattr(inputs, part)
        assert len(found.frames[name]) == len(rows) == len(found)
        assert found.frames[name].values.dtype == np.float32
        for place, row in enumerate(rows):
            wanted = scaled(data.frames[name][int(row)], by)
            np.testing.assert_allclose(found.frames[name][place], wanted, atol=1e-4)


@pytest.mark.parametrize("name", ["mel", "wave"])
def test_frames_are_normalised_over_all_frames_of_each_speaker(name: str) -> None:
    data = framed("speaker")
    fold, inputs = data.folds[0], handed(data)
    for part in PARTS_WITH_ROWS:
        rows, found = rows_of(fold, part), getattr(inputs, part)
        for place, row in enumerate(rows):
            mine = np.flatnonzero(data.speaker == data.speaker[row])
            wanted = scaled(data.frames[name][int(row)], stacked(data.frames[name], mine))
            np.testing.assert_allclose(found.frames[name][place], wanted, atol=1e-4)


def test_few_clips_hold_for_frames_as_for_vectors() -> None:
    data = framed("speaker", speaker_clips=(3, 6))
    fold, inputs = data.folds[0], handed(data)
    n, frames = len(fold.test), inputs.test.frames["mel"]
    assert len(frames) == len(inputs.test) == len(inputs.test.x) == 3 * n
    for copy, count in ((1, 3), (2, 6)):
        few = sorted(fold.test, key=lambda row: sha256(data.ids[row].encode()).digest())[:count]
        assert len(few) == count
        for place, row in enumerate(fold.test):
            source = data.frames["mel"]
            wanted = scaled(source[int(row)], stacked(source, few))
            np.testing.assert_allclose(frames[copy * n + place], wanted, atol=1e-4)


def test_a_part_that_a_node_does_not_name_has_no_frames() -> None:
    data = framed()
    node = Node("look", _look, parts=("train",))
    method = Method("m", "", {"p": Param(0, "")}, lambda setting: (node,))
    call = stages.calls(method, {"p": 0}, 0, stages.context(data, AUDIO, ["mel-1"], 0))[0]
    inputs = stages.inputs_of(call, data, NOTHING * len(call.needs), stages.Runtime())
    assert len(inputs.train.frames["mel"]) == len(data.folds[0].train)
    assert len(inputs.test.frames["mel"]) == len(inputs.test.frames["wave"]) == 0
    assert inputs.test.frames["mel"].values.shape == (0, 3)


@pytest.mark.parametrize("normalise", ["fold", "speaker"])
def test_frames_without_moments_are_handed_on_as_extracted(normalise: str) -> None:
    data = framed(normalise)
    data = dataclasses.replace(data, moments={"wave": data.moments["wave"]})
    fold, inputs = data.folds[0], handed(data)
    for part in PARTS_WITH_ROWS:
        found = getattr(inputs, part).frames["mel"]
        for place, row in enumerate(rows_of(fold, part)):
            np.testing.assert_array_equal(found[place], data.frames["mel"][int(row)])
    if normalise == "fold":
        assert abs(inputs.train.frames["wave"].values.mean()) < 1e-3  # the other set, as ever


def test_frames_alone_will_do() -> None:
    data = dataclasses.replace(framed(), x=np.empty((60, 0), np.float32))
    inputs = handed(data)
    assert inputs.train.x.shape == (len(inputs.train), 0)
    assert len(inputs.train.frames["mel"]) == len(inputs.train)


@settings(max_examples=50, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 20), min_size=1, max_size=8),
    offset=st.sampled_from([0.0, 1e3, -3e4]),
    data=st.data(),
)
def test_moments_give_the_statistics_of_any_utterances(
    lengths: list[int], offset: float, data: st.DataObject
) -> None:
    rng = np.random.default_rng(len(lengths))
    starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    frames = Sequences((rng.normal(size=(int(starts[-1]), 2)) + offset).astype(np.float32), starts)
    rows = np.array(
        data.draw(st.lists(st.integers(0, len(lengths) - 1), min_size=1, unique=True)), np.int64
    )
    mean, scale = stages.Moments.of(frames).statistics(rows)
    wide = stacked(frames, rows).astype(np.float64)
    np.testing.assert_allclose(mean, wide.mean(axis=0), rtol=1e-12, atol=1e-12)
    if len(wide) > 1:
        np.testing.assert_allclose(scale, wide.std(axis=0), rtol=1e-9)


def test_a_feature_sets_version_is_in_every_key(toy: ModuleType) -> None:
    def of(*features: str) -> set[str]:
        where = stages.context(dataset(), AUDIO, features, 0)
        calls = stages.calls(toy.METHOD, toy.METHOD.resolve({}), 0, where)
        return {call.key for call in calls}

    base = of("is10-1", "wave-1")
    assert not base & of("is10-1", "wave-2")
    assert not base & of("is10-1")
    assert base == of("is10-1", "wave-1")


@takes("p", "q")
def _many(inputs: StageInputs, own: Mapping[str, Any]) -> Artifact:
    return Artifact(info=dict(own))


def test_a_stage_of_many_parameters_reads_them_from_one_mapping() -> None:
    inputs = handed(dataset())
    node = Node("many", _many, {"p": 1, "q": None})
    assert node.run(inputs, **node.params).info == {"p": 1, "q": None}
    assert (_many.__module__, _many.__qualname__) == (__name__, "_many")  # its key's target
    for wrong in ({"p": 1}, {"p": 1, "q": 2, "r": 3}):
        with pytest.raises(TypeError):
            Node("many", _many, wrong)
        with pytest.raises(TypeError):
            _many(inputs, **wrong)


# -- stages that read other folds' -----------------------------------------------------------------
def _first(inputs: StageInputs, *, p: int) -> Artifact:
    assert inputs.train.y is not None
    return Artifact({"mean": np.array([inputs.train.y.mean(), len(inputs.test), p])})


def _second(inputs: StageInputs) -> Artifact:
    means = [one.arrays["mean"] for one in inputs.across["all"]]
    return Artifact({"means": np.stack(means), "own": inputs.parents["mine"].arrays["mean"]})


def _across(setting: Any) -> tuple[Node, ...]:
    node = Node("second", _second, parts=("test",), parents={"mine": "first"})
    return (
        Node("first", _first, {"p": setting["p"]}, parts=("train", "test")),
        dataclasses.replace(node, across={"all": "first"}),
    )


ACROSS = Method("m", "", {"p": Param(0, "")}, _across)


def _called(data: stages.Dataset, fold: int, p: int = 0) -> list[stages.Call]:
    where = stages.context(data, AUDIO, ["is10-1"], 0)
    return stages.calls(ACROSS, {"p": p}, fold, where)


def test_a_stage_across_folds_asks_for_every_folds_once() -> None:
    data = dataset()
    found = [_called(data, fold) for fold in range(5)]
    assert {call.key for each in found for call in each if call.name == "first"} == {
        call.key for call in found[0][:-1]
    }
    assert len({call.key for each in found for call in each}) == 5 + 5
    for fold, each in enumerate(found):
        assert [call.name for call in each] == ["first"] * 5 + ["second"]
        assert each[0].fold == each[-1].fold == fold  # its own parents first, and the scored last
        by_fold = {call.fold: call.key for call in each[:-1]}
        assert each[-1].across == {"all": tuple(by_fold[f] for f in range(5))}
        assert each[-1].parents == {"mine": by_fold[fold]}
        assert set(each[-1].needs) == set(by_fold.values())
        assert len(each[-1].needs) == 5


def test_whatever_another_folds_stage_reads_is_in_the_key_of_the_stage_across() -> None:
    data = dataset()
    held = data.folds[0].test
    y = data.y.copy()
    y[held] = 1 - y[held]
    other = dataclasses.replace(data, y=y)
    assert _called(data, 0)[0].key == _called(other, 0)[0].key  # never handed held-out labels
    assert _called(data, 0)[-1].key != _called(other, 0)[-1].key  # others have trained on them
    assert _called(data, 0)[-1].key != _called(data, 0, p=1)[-1].key


def test_a_stage_across_folds_is_handed_one_artifact_a_fold_in_their_order() -> None:
    data = dataset()
    made: dict[str, Artifact] = {}
    for call in _called(data, 3):
        needs = [made[key] for key in call.needs]
        inputs = stages.inputs_of(call, data, needs, stages.Runtime())
        run = {"first": _first, "second": _second}[call.name]
        made[call.key] = run(inputs, **call.params)
    last = made[call.key].arrays
    for fold, mean in zip(data.folds, last["means"], strict=True):
        np.testing.assert_allclose(mean, [data.y[fold.train].mean(), len(fold.test), 0])
    np.testing.assert_array_equal(last["own"], last["means"][3])


def test_one_fold_more_reads_the_others_and_changes_none_of_them() -> None:
    """As a refit asks for it: with a parameter of its own, and unread by anyone."""
    data = dataset()
    where = stages.context(data, AUDIO, ["is10-1"], 0)
    asked = stages.calls(ACROSS, {"p": 0}, 4, where, across=range(4), own={"first": {"p": 7}})
    studied = {call.fold: call.key for call in _called(data, 0)[:-1]}
    last = asked[-1]
    assert last.across == {"all": tuple(studied[fold] for fold in range(4))}
    assert {call.fold: dict(call.params) for call in asked[:-1]} == {
        4: {"p": 7},
        **{fold: {"p": 0} for fold in range(4)},
    }
    mine = next(call.key for call in asked if (call.name, call.fold) == ("first", 4))
    assert last.parents == {"mine": mine}
    assert mine != studied[4]


def test_what_an_export_asks_for_has_keys_of_its_own() -> None:
    call = _called(dataset(), 0)[0]
    uses = [stages.Use(keep, refit) for keep in (False, True) for refit in (False, True)]
    keys = [use.key(call) for use in uses]
    assert keys[0] == call.key
    assert len(set(keys)) == 4


def test_stages_that_are_asked_for_more_read_each_others_artifacts() -> None:
    """Also across folds; a stage that is asked for nothing more keeps its key."""
    called = _called(dataset(), 3)
    weights = stages.Use(keep_weights=True)
    uses = {call.key: weights if call.fold == 3 else stages.AS_STUDIED for call in called}
    more = stages.with_uses(called, uses)
    keys = {one.key: other.key for one, other in zip(called, more, strict=True)}
    assert keys == {call.key: uses[call.key].key(call) for call in called}
    assert more[-1].across == {"all": tuple(keys[key] for key in called[-1].across["all"])}
    assert [call.use for call in more] == [uses[call.key] for call in called]
    assert len([call for call in more if call.use == weights]) == 2


def test_a_study_says_when_stages_read_other_folds() -> None:
    from raysearch.tuning.cautions import _across_folds

    sentence = _across_folds(ACROSS, [ACROSS.resolve({})])
    assert sentence.startswith("m: labels of the held-out utterances reach training")
    plain = Method("m", "", {"p": Param(0, "")}, lambda setting: (Node("look", _look),))
    assert _across_folds(plain, [plain.resolve({})]) == ""


def test_settings_that_ask_for_the_same_stages_have_one_identity() -> None:
    def graph(setting: Mapping[str, Any]) -> tuple[Node, ...]:
        p = setting["p"] if setting["mode"] == "with" else 0
        return (Node("look", _first, {"p": p}),)

    method = Method("m", "", {"p": Param(0, ""), "mode": Param("with", "")}, graph)
    texts = [
        stages.setting_identity(method, method.resolve(setting))
        for setting in (
            {"p": 1},
            {"p": 1.0},
            {"p": 2},
            {"p": 1, "mode": "without"},
            {"mode": "without"},
        )
    ]
    assert texts[0] == texts[1]
    assert texts[3] == texts[4]
    assert len(set(texts)) == 3
