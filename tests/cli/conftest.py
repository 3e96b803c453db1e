"""The command line as a user runs it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
SPACE = """\
method: toy_method:METHOD
corpus: {name: manifest}
features: [egemaps]
params:
  shrink: {float: [0, 1]}
  noise: 0.3
trials: 6
"""


@dataclass
class Done:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@dataclass
class Shell:
    """Runs raysearch in a folder of its own."""

    folder: Path
    tones: Path
    prefix: Sequence[str] = ()
    """a command that runs the command in other surroundings"""

    @property
    def environment(self) -> dict[str, str]:
        paths = [str(ROOT / "tests" / "support"), str(ROOT)]
        return {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(paths),
            "RAYSEARCH_TOY_LOG": str(self.folder / "toy.log"),
            "COLUMNS": "100",
        }

    def command(self, *words: str) -> list[str]:
        return [*self.prefix, sys.executable, "-m", "raysearch", *words]

    def run(self, *words: str, timeout: float = 170) -> Done:
        done = subprocess.run(
            self.command(*words),
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=timeout,
        )
        return Done(done.returncode, done.stdout, done.stderr)

    def tune(self, *words: str) -> Done:
        return self.run("tune", "space=toy.yaml", f"corpus.root={self.tones}", *words)

    def start(self, *words: str) -> subprocess.Popen[str]:
        """A `tune` in the background, in a process group of its own."""
        out = self.folder / "background.out"
        with open(self.folder / "background.err", "w") as err, open(out, "w") as file:
            return subprocess.Popen(
                self.command("tune", "space=toy.yaml", f"corpus.root={self.tones}", *words),
                cwd=self.folder,
                env=self.environment,
                stdout=file,
                stderr=err,
                text=True,
                start_new_session=True,
            )

    def report(self, *words: str) -> Any:
        done = self.run("report", "format=json", *words)
        assert done.code == 0, done.err
        return done.json

    def executions(self) -> list[str]:
        """Every execution of a stage so far."""
        log = self.folder / "toy.log"
        return log.read_text().splitlines() if log.exists() else []


@pytest.fixture
def shell(tmp_path: Path, tones: Path) -> Shell:
    (tmp_path / "toy.yaml").write_text(SPACE)
    return Shell(tmp_path, tones)


Maker = Callable[..., Shell]


@pytest.fixture
def shells(tmp_path: Path, tones: Path) -> Maker:
    def make(name: str) -> Shell:
        folder = tmp_path / name
        folder.mkdir()
        (folder / "toy.yaml").write_text(SPACE)
        return Shell(folder, tones)

    return make
