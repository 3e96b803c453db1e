"""Commands about submitted studies, without a cluster that answers."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def shell(folder: Path, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
    return subprocess.run(
        [sys.executable, "-m", "raysearch", *words],
        cwd=folder,
        env={**kept, "PYTHONPATH": str(ROOT), **more},
        capture_output=True,
        text=True,
        timeout=100,
    )


@pytest.mark.parametrize(
    ("command", "words", "told"),
    [
        ("submit", ("space=rdlr",), "cluster=local"),
        ("submit", ("space=rdlr", "cluster=auto"), "absolute home"),
        ("submit", ("space=rdlr", "cluster=auto", "home=runs"), "home=runs"),
        ("submit", ("space=rdlr", "cluster=auto", "home=/x", "store=mine"), "store=mine"),
        ("submit", ("space=rdrl", "cluster=auto"), "rdlr"),
        ("stop", (), "job=NAME"),
        ("status", ("study=../../x",), "no study"),
        ("status", ("clutser=x",), "cluster"),
        ("status", ("cluster=nowhere.yaml",), "no such file"),
        ("status", ("job=x", "lines=-1"), "lines"),
    ],
)
def test_bad_words(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    command: str,
    words: tuple[str, ...],
    told: str,
) -> None:
    from raysearch.cli.main import main

    monkeypatch.chdir(tmp_path)
    assert main([command, *words]) == 2
    assert told in capsys.readouterr().err


def test_a_corpus_that_is_neither_here_nor_there_is_told_before_anything_is_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from raysearch.cli.main import main

    monkeypatch.chdir(tmp_path)
    words = ["space=rdlr", "corpus=emodb", "corpus.root=nowhere", "cluster=auto", "home=/x"]
    assert main(["submit", *words]) == 2
    assert "corpora: {emodb" in capsys.readouterr().err


def test_a_dashboard_that_does_not_answer_is_one_line(tmp_path: Path, dead: str) -> None:
    (tmp_path / "cluster.yaml").write_text(f"dashboard: http://{dead}\n")
    done = shell(tmp_path, "status", "cluster=cluster.yaml")
    assert done.returncode == 1
    assert done.stdout == ""
    assert f"no dashboard answers at http://{dead}" in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) == 1
