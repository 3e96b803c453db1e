"""The house's rules: imports point one way, a system has its one file, a name means one thing."""

from __future__ import annotations

import ast
import functools
import statistics
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import TypeVar

import pytest

pytestmark = pytest.mark.usefixtures("no_collection")
ROOT = Path(__file__).resolve().parents[1]
Node = TypeVar("Node", bound=ast.AST)

ROOMS = [
    "__main__",
    "__init__",
    "api",
    "cli",
    "models",
    "tuning",
    "tracking",
    "report",
    "cluster",
    "search",
    "study",
    "data",
    "stages",
    "selection",
    "errors",
]
"""From top to bottom; a room imports of the rooms below it alone."""

SYSTEMS = {
    "ray.tune": {"raysearch/search/tune.py"},
    "ray.train": {"trainables/loop.py"},
    # one asks Optuna what to try, one what moved the scores, both in memory; the third shows the
    # search to optuna-dashboard
    "optuna": {
        "raysearch/search/sampler.py",
        "raysearch/search/fanova.py",
        "raysearch/tracking/optuna_mirror.py",
    },
    # the ledger's projection by the driver, and models, which a person asks for
    "mlflow": {
        "raysearch/tracking/client.py",
        "raysearch/models/registering.py",
    },
}


def files(*folders: str) -> list[Path]:
    paths = [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]
    assert paths
    return paths


@functools.cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def imported(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def imported_at_the_top(path: Path) -> set[str]:
    nodes = [node for node in tree_of(path).body if isinstance(node, ast.ImportFrom)]
    return {f"{node.module}.{alias.name}" for node in nodes for alias in node.names}


def test_the_house_has_these_rooms_and_no_other() -> None:
    entries = {
        path.stem
        for path in (ROOT / "raysearch").iterdir()
        if path.suffix == ".py" or any(path.rglob("*.py"))
    }
    assert entries == set(ROOMS)


def test_imports_point_down() -> None:
    wrong = []
    for path in files("raysearch"):
        inside = path.relative_to(ROOT / "raysearch").parts
        room = inside[0].removesuffix(".py")
        for name in imported(path):
            if name.startswith("raysearch."):
                below = name.split(".")[1]
                if room != below and ROOMS.index(room) > ROOMS.index(below):
                    wrong.append(f"{'/'.join(inside)} imports {name}")
    assert not wrong


def test_the_science_knows_no_service() -> None:
    for path in files("trainables"):
        assert not {n for n in imported(path) if n.split(".")[0] == "raysearch"}, path


@pytest.mark.parametrize("system", SYSTEMS)
def test_each_system_has_its_one_file(system: str) -> None:
    users = {
        str(path.relative_to(ROOT))
        for path in files("raysearch", "trainables")
        if any(name == system or name.startswith(f"{system}.") for name in imported(path))
    }
    assert users == SYSTEMS[system]


def test_what_raysearch_imports_of_the_science_has_no_torch() -> None:
    light = {
        "trainables",
        "trainables.stage",
        "trainables.excerpts",
        "trainables.memory",
        "trainables.metrics",
        "trainables.labels",
        "trainables.layer_choice",
        "trainables.pure_torchaudio",
    }
    # in the process that hears clips: what is stored is what the encoder gives where it is trained
    hears = {("raysearch/data/features/layers.py", "trainables.networks.hearing")}
    for path in files("raysearch"):
        for name in imported(path):
            if any(str(path.relative_to(ROOT)) == p and name.startswith(n) for p, n in hears):
                assert not any(name.startswith(n) for n in imported_at_the_top(path))
            elif name.split(".")[0] == "trainables":
                assert ".".join(name.split(".")[:2]) in light, f"{path} imports {name}"


def loaded_after(code: str) -> set[str]:
    script = f"{code}\nimport sys; print(' '.join({{n.split('.')[0] for n in sys.modules}}))"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT
    )
    return set(done.stdout.splitlines()[-1].split())


def test_help_loads_nothing_heavy() -> None:
    code = (
        "from raysearch.cli.main import main\n"
        "try: main(['tune', '--help'])\n"
        "except SystemExit: pass"
    )
    assert not loaded_after(code) & {"ray", "mlflow", "torch", "optuna", "pandas"}


def test_planning_loads_no_torch() -> None:
    code = (
        "from raysearch.stages.methods import method\n"
        "from raysearch.stages import source_digest\n"
        "names = 'rdlr label_correction emoboost self_learning corater classical'.split()\n"
        "nodes = [node for m in map(method, names) for node in m.graph(m.resolve({}))]\n"
        "assert len(nodes) > 5 and all(source_digest(node.run.__module__) for node in nodes)"
    )
    assert not loaded_after(code) & {"torch", "ray", "mlflow"}


def test_nothing_in_the_product_names_the_builders_folders() -> None:
    for folder in ("raysearch", "trainables", "spaces", "cluster", "mlflow"):
        for path in (ROOT / folder).rglob("*"):
            if path.is_file() and path.suffix in {".py", ".yaml", ".md"}:
                text = path.read_text()
                assert "shared/data" not in text, path
                assert "/work" not in text, path


def test_the_folder_mlflow_holds_no_python() -> None:
    assert not list((ROOT / "mlflow").rglob("*.py"))


@pytest.mark.parametrize(
    "name", ["study.yaml", "folds.json", "ledger.sqlite", "lease.json", "lease.lock"]
)
def test_a_file_of_a_study_is_named_once(name: str) -> None:
    """`StudyFolder` knows a study's files. What MLflow shows of a study has names of its own."""
    named = [
        str(path.relative_to(ROOT))
        for path in files("raysearch")
        if path.relative_to(ROOT).parts[1] != "tracking"
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.Constant) and str(node.value).split("/")[-1].split("=")[-1] == name
    ]
    assert named == ["raysearch/study/folder.py"]


def test_a_file_is_replaced_in_one_place() -> None:
    """Others may read a file while it is written; the science has no other room to take it from."""
    users = {str(p.relative_to(ROOT)) for p in files("raysearch") if "os.replace" in p.read_text()}
    assert users == {"raysearch/stages/atomic.py"}


def nodes(kind: type[Node], *folders: str) -> list[tuple[Path, Node]]:
    """Every node of a kind in the folders' modules, with its file."""
    return [
        (path, node)
        for path in files(*folders)
        for node in ast.walk(tree_of(path))
        if isinstance(node, kind)
    ]


def repeated(names: Iterable[str]) -> list[str]:
    return [name for name, count in Counter(names).items() if count > 1]


def test_no_class_has_the_name_of_another() -> None:
    assert not repeated(node.name for _, node in nodes(ast.ClassDef, "raysearch", "trainables"))


def test_no_file_has_the_name_of_another() -> None:
    sources = [path.name for path in files("raysearch", "trainables")]
    assert set(repeated(sources)) <= {"__init__.py"}
    tests = [path.name for path in files("tests")]
    assert set(repeated(tests)) <= {"__init__.py", "conftest.py"}
    assert set(sources) & set(tests) <= {"__init__.py"}


def test_only_packages_list_their_names() -> None:
    lists = {
        path.name
        for path, node in nodes(ast.Name, "raysearch", "trainables")
        if node.id == "__all__" and isinstance(node.ctx, ast.Store)
    }
    assert lists == {"__init__.py"}


def test_no_function_has_more_than_60_lines_beside_its_docstring() -> None:
    lengths = {
        f"{path.relative_to(ROOT)}: {node.name}": (node.end_lineno or 0)
        - node.lineno
        + 1
        - len((ast.get_docstring(node, clean=False) or "").splitlines())
        for path, node in nodes(ast.FunctionDef, "raysearch", "trainables")
    }
    assert not {name: length for name, length in lengths.items() if length > 60}
    assert statistics.median(lengths.values()) <= 10


def test_no_file_has_more_than_500_lines() -> None:
    for path in files("raysearch", "trainables"):
        assert len(path.read_text().splitlines()) <= 500, path
