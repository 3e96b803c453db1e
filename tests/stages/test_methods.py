"""Methods by name: packaged, entry points, and one's own."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
import types
from pathlib import Path

import pytest

from raysearch.errors import BadInput
from raysearch.stages import methods as registry
from trainables.stage import Method

OWN = Method(name="own", summary="for tests", params={}, graph=lambda setting: ())


@pytest.fixture(autouse=True)
def own(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    module = types.ModuleType("own_methods")
    module.METHOD = OWN  # type: ignore[attr-defined]
    module.OTHER = OWN  # type: ignore[attr-defined]
    module.NUMBER = 3  # type: ignore[attr-defined]
    package = types.ModuleType("own_package")
    package.methods = module  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "own_methods", module)
    monkeypatch.setitem(sys.modules, "own_package", package)
    monkeypatch.setitem(sys.modules, "own_package.methods", module)
    return module


def _points(monkeypatch: pytest.MonkeyPatch, **values: str) -> None:
    points = [
        importlib.metadata.EntryPoint(name, value, registry.GROUP) for name, value in values.items()
    ]
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: points)


def test_packaged_methods() -> None:
    assert "rdlr" in registry.methods()
    assert not {"stage", "metrics", "loop", "losses", "networks"} & set(registry.methods())
    assert registry.method("rdlr").name == "rdlr"


def test_ones_own() -> None:
    assert registry.method("own_methods:OTHER") is OWN
    assert registry.method("own_package.methods") is OWN


def test_entry_points(monkeypatch: pytest.MonkeyPatch) -> None:
    _points(monkeypatch, mine="own_methods:OTHER", module="own_methods", rdlr="own_methods:OTHER")
    assert registry.method("mine") is OWN
    assert registry.method("module") is OWN
    assert registry.method("rdlr").name == "rdlr", "the packaged one comes first"
    assert "mine" in registry.methods()


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("rdrl", ["no method 'rdrl'", "did you mean 'rdlr'", "known methods are", "module:ATTR"]),
        ("stage", ["no method 'stage'"]),
        ("own_methods:OTHR", ["no 'OTHR'", "did you mean 'OTHER'"]),
        ("own_methods:NUMBER", ["must be a trainables.stage.Method", "int"]),
        ("nowhere_at_all:METHOD", ["could not be imported", "ModuleNotFoundError", "installed"]),
        ("bad", ["could not be imported", "entry point"]),
    ],
)
def test_what_cannot_be_had(name: str, parts: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    _points(monkeypatch, bad="nowhere_at_all:METHOD")
    with pytest.raises(BadInput) as caught:
        registry.method(name)
    (told,) = caught.value.problems
    for part in parts:
        assert part in told


def test_neither_names_nor_a_method_import_torch() -> None:
    code = (
        "import sys, raysearch.study; from raysearch.stages import methods;"
        "methods.methods(); methods.method('rdlr');"
        "heavy = {'torch', 'ray', 'mlflow', 'optuna', 'sklearn'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    out = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(__file__).resolve().parents[2],
        capture_output=True,
        text=True,
        check=True,
    )
    assert out.stdout.strip() == "[]"


def test_plugins_of_other_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    _points(monkeypatch, mine="own_methods:OTHER")
    assert registry.plugins("raysearch.somethings", Method) == {"mine": OWN}
    _points(monkeypatch, mine="own_methods:NUMBER")
    with pytest.raises(
        BadInput, match=r"raysearch.somethings 'mine': .* must be of type Method, .* int"
    ):
        registry.plugins("raysearch.somethings", Method)
    _points(monkeypatch, mine="nowhere_at_all:METHOD")
    with pytest.raises(BadInput, match=r"'mine': the entry point 'nowhere_at_all:METHOD' .*import"):
        registry.plugins("raysearch.somethings", Method)


def test_corpora_and_features_take_plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    from raysearch.data import corpora, features

    own = corpora.CorpusInfo(name="own", description="", read=corpora.known()["demo"].read)
    sys.modules["own_methods"].CORPUS = own  # type: ignore[attr-defined]
    _points(monkeypatch, own="own_methods:CORPUS", demo="own_methods:CORPUS")
    assert corpora.known()["own"] is own
    assert corpora.known()["demo"].name == "demo", "the packaged one comes first"
    with pytest.raises(
        BadInput, match=r"raysearch.features 'own': .* must be of type ExtractorInfo"
    ):
        features.known()
