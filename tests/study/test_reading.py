"""Studies from files and words: shorthands, overrides, freezing, identity, reading back."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from raysearch.errors import BadInput
from raysearch.study import Study, dump, load_study
from trainables.stage import Method, Param

ROOT = Path(__file__).resolve().parents[2]

SPACE = """\
# python -m raysearch tune space=mine
method: fake_config:METHOD
params:
  lr: {float: [1.0e-4, 0.1], log: true}
  kind: {choice: [hard, soft]}
  alpha: {grid: [0, 0.1, 0.2], when: {kind: soft}}
  layers: 2
trials: 5
enqueue:
  - {lr: 0.001, kind: soft, alpha: 0.1}
"""


def make_method(name: str = "fake") -> Method:
    return Method(
        name=name,
        summary="for tests",
        params={
            "lr": Param(1e-3, "step size", low=1e-7, high=1.0),
            "kind": Param("hard", "labels", ("hard", "soft", "both")),
            "alpha": Param(0.1, "share", low=0.0, high=1.0),
            "layers": Param(3, "layers", low=1, high=9),
            "fast": Param(False, "a switch"),
        },
        graph=lambda setting: (),
        features=("egemaps",),
    )


@pytest.fixture
def cwd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    module = types.ModuleType("fake_config")
    module.METHOD = make_method()  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "fake_config", module)
    (tmp_path / "spaces").mkdir()
    (tmp_path / "spaces" / "mine.yaml").write_text(SPACE)
    return tmp_path


@pytest.fixture
def load(cwd: Path) -> Callable[..., Study]:
    return lambda *words: load_study(["space=mine", *words], cwd=cwd)


def test_defaults_come_from_the_space_the_method_and_the_schema(
    load: Callable[..., Study], cwd: Path
) -> None:
    study = load()
    assert study.space == "mine"
    assert study.features == ("egemaps",)
    assert study.trials == 5
    assert study.corpus.name == ("demo",)
    assert study.protocol.name == "loso"
    assert study.home == cwd / "runs"
    assert study.store is None
    assert study.racing == "off"
    assert study.search_space().constants() == {"layers": 2}


def test_words_override_anything(load: Callable[..., Study], cwd: Path) -> None:
    study = load(
        "corpus=emodb",
        "corpus.root=~/speech",
        "corpus.classes=[sad,angry]",
        "protocol=kfold",
        "protocol.folds=3",
        "tracking=http://host:1/?a=b",
        "trials=50",
        "racing=off",
        "home=here",
        "store=there",
        "cpus=2",
        "params.lr={float: [0.001, 0.01]}",
    )
    assert study.corpus.name == ("emodb",)
    assert study.corpus.root == {"emodb": str(Path("~/speech").expanduser())}
    assert study.corpus.classes == ("sad", "angry")
    assert (study.protocol.name, study.protocol.folds) == ("kfold", 3)
    assert study.tracking.uri == "http://host:1/?a=b"
    assert study.trials == 50
    assert study.home == cwd / "here"
    assert study.store == str(cwd / "there")
    assert study.cpus == 2.0
    assert str(study.search_space().domains["lr"]) == "0.001 to 0.01"


def test_shorthands(load: Callable[..., Study]) -> None:
    assert load("tracking=false").tracking.enabled is False
    assert load("corpus=[demo-studio,demo-phone]").corpus.name == ("demo-studio", "demo-phone")
    assert load("features=is10").features == ("is10",)
    whole = load("corpus={name: emodb, root: /x}")
    assert whole.corpus.root == {"emodb": "/x"}
    two = load("corpus=[emodb,ravdess]", "corpus.root.emodb=/a", "corpus.root.ravdess=/b")
    assert two.corpus.root == {"emodb": "/a", "ravdess": "/b"}
    assert load("store=s3://bucket/x").store == "s3://bucket/x"


def test_another_corpus_does_not_inherit_the_files_folder(cwd: Path) -> None:
    path = cwd / "e.yaml"
    path.write_text(SPACE + "corpus: {name: emodb, root: /emodb}\n")
    assert load_study(["space=e.yaml"], cwd=cwd).corpus.root == {"emodb": "/emodb"}
    other = load_study(["space=e.yaml", "corpus=ravdess", "corpus.root=/r"], cwd=cwd)
    assert other.corpus.root == {"ravdess": "/r"}


def test_a_pin_replaces_a_domain_and_its_condition(load: Callable[..., Study]) -> None:
    study = load("params.alpha=0.2", "params.fast=true", "params.kind=hard")
    assert study.search_space().constants() == {
        "alpha": 0.2,
        "kind": "hard",
        "layers": 2,
        "fast": True,
    }
    assert study.search_space().searched() == ("lr",)


def test_an_option_inside_a_domain_can_be_set(load: Callable[..., Study]) -> None:
    study = load("params.lr.float=[0.1,0.2]", "params.lr.log=false", "params.lr.step=0.05")
    assert study.search_space().domains["lr"].size == 3


def test_interpolations_are_resolved(load: Callable[..., Study]) -> None:
    assert load("seed=7", "description=seed ${seed}").description == "seed 7"


def test_a_space_is_found_by_name_by_path_and_in_the_package(cwd: Path) -> None:
    (cwd / "own.yaml").write_text(SPACE)
    assert load_study(["space=own.yaml"], cwd=cwd).space == "own"
    assert load_study([f"space={cwd}/own.yaml"], cwd=Path("/")).space == "own"
    assert load_study(["space=rdlr"], cwd=cwd).method == "rdlr"
    (cwd / "spaces" / "rdlr.yaml").write_text(SPACE)
    assert load_study(["space=rdlr"], cwd=cwd).method == "fake_config:METHOD"


# -- enqueue -----------------------------------------------------------------------------------
def test_enqueued_settings_are_completed_and_typed(load: Callable[..., Study]) -> None:
    study = load("enqueue=[{kind: hard}, {_name: mine, kind: soft, alpha: 0}]")
    assert study.enqueue == (
        {"lr": 0.001, "kind": "hard"},
        {"_name": "mine", "lr": 0.001, "kind": "soft", "alpha": 0.0},
    )


def test_pins_win_over_the_files_enqueued_settings(load: Callable[..., Study]) -> None:
    assert load("params.lr=0.01").enqueue == ({"kind": "soft", "alpha": 0.1},)
    assert load("params.kind=hard").enqueue == ({"lr": 0.001},)


def test_a_range_in_the_words_may_exclude_the_files_settings_and_says_so(
    load: Callable[..., Study],
) -> None:
    study = load("params.lr={float: [0.01, 0.02]}")
    assert study.enqueue == ()
    assert study.notes == (
        "enqueue, entry 1 of the space is left out: lr takes 0.01 to 0.02, "
        "but the setting has 0.001",
    )


def test_a_named_setting_is_never_altered(cwd: Path) -> None:
    text = SPACE + "  - {_name: soft, lr: 0.01, kind: soft, alpha: 0.2}\n"
    (cwd / "spaces" / "named.yaml").write_text(text)
    study = load_study(["space=named", "params.kind=hard"], cwd=cwd)
    assert study.enqueue == ({"lr": 0.001},)
    assert "'soft'" in study.notes[0]
    kept = load_study(["space=named", "params.kind=soft"], cwd=cwd)
    assert kept.enqueue[1] == {"_name": "soft", "lr": 0.01, "alpha": 0.2}


# -- frozen ------------------------------------------------------------------------------------
def test_nothing_in_a_study_can_be_changed(load: Callable[..., Study]) -> None:
    study = load("corpus=emodb", "corpus.root=/x")
    with pytest.raises(ValueError):
        study.trials = 3  # type: ignore[misc]
    with pytest.raises(ValueError):
        study.corpus.on_bad = "skip"  # type: ignore[misc]
    with pytest.raises(TypeError):
        study.params["lr"] = 3
    with pytest.raises(TypeError):
        study.params["lr"]["log"] = False
    with pytest.raises(TypeError):
        study.corpus.root["emodb"] = "/y"
    with pytest.raises(TypeError):
        study.enqueue[0]["lr"] = 3
    with pytest.raises(TypeError):
        study.params.update(lr=3)
    with pytest.raises(TypeError):
        study.params |= {"lr": 3}  # type: ignore[misc]


def test_a_study_pickles_and_copies(load: Callable[..., Study]) -> None:
    study = load()
    for other in (pickle.loads(pickle.dumps(study)), copy.deepcopy(study)):
        assert other == study
        with pytest.raises(TypeError):
            other.params["lr"] = 3


# -- identity ----------------------------------------------------------------------------------
SAME = [
    "trials=99",
    "home=elsewhere",
    "store=s3://b/x",
    "workers=4",
    "cpus=3",
    "gpus=1",
    "threads=2",
    "concurrent=3",
    "timeout=9",
    "memory=2",
    "cluster=auto",
    "sampler=random",
    "tracking=http://x",
    "tracking.fold_runs=0",
    "deterministic=true",
    "deterministic_algorithms=true",
    "cudnn_benchmark=false",
    "tf32=false",
    "batch=9",
    "quiet=true",
    "racing=off",
    "description=other",
    "enqueue=[]",
    "params.layers=2.0",
    "params.kind={choice: [hard, soft]}",
]
OTHER = [
    "params.lr=0.1",
    "params.layers=3",
    "params.alpha={grid: [0, 0.1], when: {kind: soft}}",
    "params.alpha={grid: [0, 0.1, 0.2]}",
    "seed=1",
    "corpus=demo-studio",
    "corpus.classes=[sad,angry]",
    "corpus.unlabelled=demo-plain",
    "corpus.on_bad=skip",
    "protocol=loco",
    "validation.share=0.3",
    "normalise=speaker",
    "features=is10",
    "objective=wa",
]


@pytest.mark.parametrize("word", SAME)
def test_identity_does_not_change_with(load: Callable[..., Study], word: str) -> None:
    assert load(word).id == load().id


@pytest.mark.parametrize("word", OTHER)
def test_identity_changes_with(load: Callable[..., Study], word: str) -> None:
    assert load(word).id != load().id


def test_identity_knows_no_paths_and_no_order(load: Callable[..., Study], cwd: Path) -> None:
    one, two = load("corpus=emodb", "corpus.root=/a"), load("corpus=emodb", "corpus.root=/b")
    assert one.id == two.id
    assert "/a" not in str(one.identity())
    lines = yaml.safe_load(SPACE)
    lines["params"] = dict(reversed(lines["params"].items()))
    (cwd / "spaces" / "turned.yaml").write_text(yaml.safe_dump(lines, sort_keys=False))
    assert load_study(["space=turned"], cwd=cwd).id == load().id


def test_a_manifest_is_named_by_its_table_wherever_that_lies(
    load: Callable[..., Study], cwd: Path
) -> None:
    tables = [cwd / place for place in ("a/one/manifest.csv", "b/one/manifest.csv", "a/two.csv")]
    for table in tables:
        table.parent.mkdir(parents=True, exist_ok=True)
        table.touch()
    (cwd / "link").symlink_to(cwd / "a" / "one")

    def of(root: Path, *words: str) -> Study:
        return load("corpus=manifest", f"corpus.root={root}", *words)

    first = of(tables[0].parent)
    assert first.corpus.options == {"name": "one"}
    assert first.id.startswith("fake_config-METHOD-one-")
    assert first.id != of(tables[2]).id
    same = [tables[0], tables[1], cwd / "link"]
    assert {of(root).id for root in same} == {first.id}
    assert of(tables[2], "corpus.options.name=one").id == first.id
    assert of(cwd / "a", "corpus.options.csv=two.csv").corpus.options["name"] == "two"


def test_another_corpus_does_not_inherit_a_manifests_name(
    load: Callable[..., Study], cwd: Path
) -> None:
    for name in ("one.csv", "two.csv"):
        (cwd / name).touch()
    study = load("corpus=manifest", "corpus.root=one.csv")
    (cwd / "whole.yaml").write_text(dump(study))
    assert load_study(["space=whole.yaml"], cwd=cwd).id == study.id
    assert load_study(["space=whole.yaml", "corpus=demo"], cwd=cwd).corpus.options == {}
    words = ["space=whole.yaml", "corpus=manifest", "corpus.root=two.csv"]
    other = load_study(words, cwd=cwd)
    assert other.corpus.options == {"name": "two"}


def test_id_is_readable(load: Callable[..., Study]) -> None:
    name, digest = load("corpus=demo-studio").id.rsplit("-", 1)
    assert name == "fake_config-METHOD-demo-studio"
    assert len(digest) == 8


@pytest.mark.slow
def test_id_is_the_same_in_every_process(tmp_path: Path) -> None:
    code = (
        "from pathlib import Path; from raysearch.study import load_study;"
        f"print(load_study(['space=rdlr'], cwd=Path({str(tmp_path)!r})).id)"
    )
    seen = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT), "PATH": ""},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for seed in ("1", "2")
    }
    assert seen == {load_study(["space=rdlr"], cwd=tmp_path).id}


# -- reading back ------------------------------------------------------------------------------
def _read_back(study: Study, folder: Path) -> Study:
    path = folder / "study.yaml"
    path.write_text(dump(study))
    return load_study([f"space={path}"], cwd=Path("/"))


@pytest.mark.parametrize("word", [*SAME, *OTHER, "params.lr=1e-3"])
def test_a_dump_reads_back(load: Callable[..., Study], cwd: Path, word: str) -> None:
    study = load(word)
    again = _read_back(study, cwd)
    assert again == study
    assert again.id == study.id


TEXT = st.text(
    st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), max_size=30
) | st.sampled_from(
    ["1e-3", "off", "null", "~", "${seed}", "a\\${b}", "\\\\${x", "$", "2024-01-01"]
)


@settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    description=TEXT.filter(lambda text: text != "???"),
    classes=st.none()
    | st.lists(TEXT.filter(lambda t: t not in ("", "???")), min_size=2, max_size=4, unique=True),
    trials=st.integers(1, 10**6),
    seed=st.integers(0, 2**40),
    cpus=st.floats(1e-3, 1e3),
    low=st.floats(1e-7, 0.1),
    values=st.lists(st.integers(1, 9), min_size=1, unique=True),
    names=st.lists(st.sampled_from(["demo", "demo-phone"]), min_size=1, unique=True),
    quiet=st.booleans(),
)
def test_any_study_reads_back(
    cwd: Path,
    description: str,
    classes: list[str] | None,
    trials: int,
    seed: int,
    cpus: float,
    low: float,
    values: list[int],
    names: list[str],
    quiet: bool,
) -> None:
    base = load_study(["space=mine", "enqueue=[]"], cwd=cwd)
    fields = base.model_dump() | {
        "description": description,
        "trials": trials,
        "seed": seed,
        "cpus": cpus,
        "quiet": quiet,
        "notes": (description or "x",),
        "params": {"lr": {"float": [low, 0.5]}, "layers": {"choice": values}},
        "corpus": base.corpus.model_dump() | {"name": names, "classes": classes},
    }
    study = Study(**fields)
    assert _read_back(study, cwd) == study


def test_one_objective_is_written_as_a_text_and_several_as_a_list(tmp_path: Path) -> None:
    one = load_study(["space=rdlr", "objective=wa"], cwd=tmp_path)
    assert (one.objective, one.metric) == (("wa",), "wa")
    assert "objective: wa\n" in dump(one)
    words = ["space=rdlr", "objective=[worst_ua,wa]", "seeds=3"]
    several = load_study(words, cwd=tmp_path)
    assert (several.objective, several.metric, several.seeds) == (("worst_ua", "wa"), "ua", 3)
    (tmp_path / "study.yaml").write_text(dump(several))
    assert load_study(["space=study.yaml"], cwd=tmp_path) == several
    assert len({one.id, several.id, load_study(["space=rdlr"], cwd=tmp_path).id}) == 3


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["objective=[ua,ua]"], "a list of different ones, but got"),
        (["objective=[ua,f1]"], "one of ua, wa, macro_f1, kappa, nll, brier, ccc, rmse, mae"),
        (["objective=ece"], "objective must be one of ua, wa"),
        (["objective=nll", "racing=mixed"], "is no fraction of which more is better"),
        (["objective=worst_group_ua", "racing=mixed"], "is no mean of folds"),
        (["objective=brier", "stopping=asha"], "write stopping=off, or objective=ua"),
        (["objective=[ua,wa]", "racing=mixed"], "racing=mixed stops settings by one score"),
        (["objective=worst_ua", "racing=mixed"], "objective=worst_ua is no mean of folds"),
        (["objective=pooled_ua", "racing=wilcoxon"], "write racing=off, or objective=ua"),
        (["seeds=0"], "seeds must be a whole number from 1 to 1000, but got 0"),
    ],
)
def test_objectives_and_seeds_are_checked(words: list[str], said: str, tmp_path: Path) -> None:
    with pytest.raises(BadInput) as caught:
        load_study(["space=rdlr", *words], cwd=tmp_path)
    assert said in str(caught.value)
