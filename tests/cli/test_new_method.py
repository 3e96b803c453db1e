"""`new-method`: what it writes, that it runs and is tested, and what it refuses."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from raysearch.cli.main import main

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield tmp_path
    sys.modules.pop("cloud_net", None)


def files(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.iterdir() if path.is_file()}


@pytest.mark.slow
def test_it_writes_a_method_a_space_and_a_test(here: Path, capsys: Any) -> None:
    assert main(["new-method", "cloud_net"]) == 0
    made = files(here)
    assert set(made) == {"cloud_net.py", "cloud_net.yaml", "test_cloud_net.py"}
    assert all("$" not in text for text in made.values())
    code = made["cloud_net.py"].splitlines()
    assert sum(bool(line.strip()) for line in code) < 50
    assert made["cloud_net.yaml"].startswith("# python -m raysearch tune space=./cloud_net.yaml\n")
    said = capsys.readouterr().out
    assert "\nrun it:  python -m raysearch tune space=./cloud_net.yaml\n" in said
    for command in (["check"], ["format", "--check"]):
        config = ["--config", str(ROOT / "pyproject.toml")]
        subprocess.run([sys.executable, "-m", "ruff", *command, *config, "."], check=True)
    assert main(["plan", "space=./cloud_net.yaml"]) == 0
    assert "train: 40" in capsys.readouterr().out


def test_another_folder(here: Path, capsys: Any) -> None:
    (here / "mine").mkdir()
    assert main(["new-method", "cloud_net", "dir=mine"]) == 0
    assert len(files(here / "mine")) == 3
    assert not files(here)
    assert "cd mine && python -m raysearch tune" in capsys.readouterr().out


@pytest.mark.slow
def test_its_own_test_passes(here: Path) -> None:
    assert main(["new-method", "cloud_net"]) == 0
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_cloud_net.py"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert "2 passed" in done.stdout


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["My-Method"], "'My-Method'"),
        (["class"], "'class'"),
        (["../up"], "'../up'"),
        (["rdlr"], "there is a method 'rdlr'"),
        (["json"], "a Python module 'json'"),
        ([], "needs a name"),
        (["one", "two"], "one, two"),
        (["cloud_net", "dir=nowhere"], "dir=nowhere"),
        (["cloud_net", "folder=."], "folder=. is unknown"),
        (["there"], "test_there.py would be overwritten"),
    ],
)
def test_what_it_refuses_leaves_nothing_behind(
    words: list[str], told: str, here: Path, capsys: Any
) -> None:
    (here / "test_there.py").write_text("mine\n")
    assert main(["new-method", *words]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert told in said
    assert files(here) == {"test_there.py": "mine\n"}


def test_a_write_that_fails_leaves_nothing_behind(
    here: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = Path.open

    def full(self: Path, mode: str = "r", *args: Any, **options: Any) -> Any:
        if mode == "x" and self.suffix == ".yaml":
            raise OSError(28, "No space left on device", str(self))
        return opened(self, mode, *args, **options)

    monkeypatch.setattr(Path, "open", full)
    assert main(["new-method", "cloud_net"]) == 2
    assert "cloud_net.yaml cannot be written (No space left on device)" in capsys.readouterr().err
    assert not files(here)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_study_runs_on_it_without_touching_raysearch(shell: Any) -> None:
    assert shell.run("new-method", "cloud_net").code == 0
    quick = ("trials=2", "params.epochs=3", "tracking.enabled=false")
    done = shell.run("tune", "space=./cloud_net.yaml", f"corpus.root={shell.tones}",
                     "corpus=manifest", *quick, timeout=280)  # fmt: skip
    assert done.code == 0, done.err
    report = shell.report()
    assert report["trials"]["complete"] == 2
    assert report["folds"] == 5
