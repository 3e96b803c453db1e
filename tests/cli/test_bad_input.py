"""Bad input: one clear message that names the thing, exit 2, no traceback, no half-made study."""

from __future__ import annotations

import csv
import errno
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from raysearch.cli.commands import Command
from raysearch.cli.main import main


def run(shell: Any, monkeypatch: pytest.MonkeyPatch, capsys: Any, *words: str) -> str:
    """Run a command in this process, a second faster; returns what it prints to stderr."""
    monkeypatch.chdir(shell.folder)
    monkeypatch.syspath_prepend(str(Path(__file__).resolve().parents[1] / "support"))
    assert main(words) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert "Traceback" not in output.err
    assert not list(shell.folder.glob("**/studies/*")), "no half-made study"
    return str(output.err)


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (("space=rdrl",), ("rdrl", "rdlr")),
        (("space=rdlr", "trails=5"), ("trails", "trials")),
        (("space=rdlr", "trials=0"), ("trials", "0")),
        (("space=rdlr", "trials=many"), ("trials", "many")),
        (("space=rdlr", "corpus=emo_db"), ("emo_db", "emodb")),
        (("space=rdlr", "corpus=emodb"), ("corpus.root",)),
        (("space=rdlr", "corpus=emodb", "corpus.root=nowhere"), ("nowhere",)),
        (("space=rdlr", "params.gama=0.5"), ("gama", "gamma")),
        (("space=rdlr", "params.gamma=1.5"), ("gamma", "1.5")),
        (("space=rdlr", "sampler=tpee"), ("sampler", "tpee")),
        (("space=rdlr", "store=nosuch://x"), ("nosuch",)),
        (("space=rdlr", "features=[is11]"), ("is11", "is10")),
        (("space=rdlr", "home=/dev/null/x"), ("home=/dev/null/x", "/dev/null is no folder")),
        (("space=rdlr", f"home={'x' * 300}"), ("cannot be used: File name too long",)),
        (("space=rdlr", "corpus=emodb", f"corpus.root={'x' * 300}"), ("does not exist",)),
        (("space=rdlr", "tracking=mlruns"), ("tracking.uri", "mlruns", "sqlite")),
    ],
)
def test_words(
    shell: Any,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Any,
    words: tuple[str, ...],
    parts: tuple[str, ...],
) -> None:
    message = run(shell, monkeypatch, capsys, "tune", *words)
    assert [part for part in parts if part not in message] == []


def test_a_condition_that_names_a_missing_parameter(
    shell: Any, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    (shell.folder / "bad.yaml").write_text(
        "method: rdlr\nparams:\n  gamma: {float: [0.2, 0.8], when: {strategi: lr}}\n"
    )
    assert "strategi" in run(shell, monkeypatch, capsys, "tune", "space=bad.yaml")


def edited(shell: Any, edit: Any) -> Path:
    """The corpus of tones with its manifest's rows edited."""
    folder: Path = shell.folder / "edited"
    shutil.copytree(shell.tones, folder)
    with open(folder / "manifest.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    rows = edit(rows, folder)
    with open(folder / "manifest.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return folder


def truncated(rows: Any, folder: Path) -> Any:
    path = folder / rows[7]["file"]
    path.write_bytes(path.read_bytes()[:4000])
    return rows


def one_clip_class(rows: Any, folder: Path) -> Any:
    rows[0]["label"] = "happy"
    return rows


CASES = {
    "a root without audio": (lambda rows, folder: [
        (folder / row["file"]).unlink() for row in rows
    ] and rows, ("60 clips", "s0_00")),
    "a truncated file": (truncated, ("s0_07", "on_bad=skip")),
    "no speaker column": (
        lambda rows, folder: [{k: v for k, v in r.items() if k != "speaker"} for r in rows],
        ("'speaker'", "'file', 'label'"),
    ),
    "one speaker": (lambda rows, folder: [dict(r, speaker="s0") for r in rows], ("speaker", "1")),
    "a class with one clip": (one_clip_class, ("happy", "1")),
}  # fmt: skip


@pytest.mark.parametrize("case", list(CASES))
def test_corpora(shell: Any, monkeypatch: pytest.MonkeyPatch, capsys: Any, case: str) -> None:
    edit, parts = CASES[case]
    folder = edited(shell, edit)
    message = run(shell, monkeypatch, capsys, "tune", "space=toy.yaml", f"corpus.root={folder}")
    assert [part for part in parts if part not in message] == []


def test_bad_files_can_be_skipped_and_are_named(
    shell: Any, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    folder = edited(shell, truncated)
    monkeypatch.chdir(shell.folder)
    monkeypatch.syspath_prepend(str(Path(__file__).resolve().parents[1] / "support"))
    words = ("plan", "space=toy.yaml", f"corpus.root={folder}", "corpus.on_bad=skip")
    assert main(words) == 0
    assert "s0_07" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("command", "words", "part"),
    [
        ("report", ("study=x",), "no study"),
        ("report", ("formt=json",), "format"),
        ("report", ("format=pdf",), "pdf"),
        ("report", ("noise=loud",), "noise=loud must be a ratio"),
        ("report", ("noise=[20,200]",), "noise=200 must be a ratio"),
        ("report", ("noise_kinds=pink",), "how loud"),
        ("ui", ("port=99999",), "port must be a whole number from 1 to 65535"),
        ("ui", (), "no study"),
        ("corpora", ("check",), "corpus=NAME"),
        ("doctor", ("x=1",), "no words"),
        ("studies", ("hme=x",), "home"),
    ],
)
def test_other_commands(
    shell: Any,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Any,
    command: str,
    words: tuple[str, ...],
    part: str,
) -> None:
    assert part in run(shell, monkeypatch, capsys, command, *words)


def test_a_full_disk_and_too_many_files_are_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for error, words in (
        (OSError(errno.ENOSPC, "No space left on device"), "what is printed cannot be written"),
        (OSError(errno.EMFILE, "Too many open files", "x"), "ulimit -n"),
        (OSError(errno.EROFS, "Read-only file system", "x"), "x cannot be written"),
        (OSError(errno.ENOTDIR, "Not a directory", "x/y"), "x/y cannot be used: Not a directory"),
    ):

        def fail(words: object, error: OSError = error) -> None:
            raise error

        monkeypatch.setattr(Command, "load", lambda self, fail=fail: fail)
        assert main(["studies"]) == 1
        assert words in capsys.readouterr().err


def test_words_that_lead_to_names_that_are_no_utf8_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "link").symlink_to(os.fsdecode(b"real\xff"))
    assert main(["studies", f"home={tmp_path / 'link'}"]) == 2
    assert "real\\xff, which is no UTF-8 text" in capsys.readouterr().err
