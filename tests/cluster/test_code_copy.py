"""The code and the speech that travel to a cluster; no Ray is started."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from raysearch.cluster.code_copy import copy_code, copy_corpus
from raysearch.errors import BadInput
from raysearch.study import load_study


def test_only_code_travels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = tmp_path / "mine"
    for name in ("one.py", "space.yaml", "part/two.py", "notes.txt", "clip.wav", ".env", "a.key"):
        (mine / name).parent.mkdir(parents=True, exist_ok=True)
        (mine / name).write_text("x = 1\n")
    for hidden in (".git/hook.py", "venv/lib.py", "runs/studies/s/study.yaml", "raysearch/x.py"):
        (mine / hidden).parent.mkdir(parents=True, exist_ok=True)
        (mine / hidden).write_text("x = 1\n")
    (mine / "venv/pyvenv.cfg").write_text("")
    monkeypatch.syspath_prepend(str(mine))
    out = tmp_path / "out"
    copy_code(out, ["one"], without=[mine / "runs"])
    sent = {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()}
    own = {name for name in sent if name.split("/")[0] not in ("raysearch", "trainables")}
    assert own == {"one.py", "space.yaml", "part/two.py"}
    assert "raysearch/__main__.py" in sent
    assert "raysearch/x.py" not in sent
    assert "trainables/rdlr.py" in sent
    assert "raysearch/files/spaces/rdlr.yaml" in sent
    assert sum(path.stat().st_size for path in out.rglob("*.*")) < 5 * 2**20


def test_what_was_staged_runs_where_nothing_is_installed(tmp_path: Path) -> None:
    copy_code(tmp_path / "out", ["trainables.rdlr"])
    script = (
        "import raysearch, trainables, pathlib; from raysearch.study import load_study;"
        "print(raysearch.__file__, load_study(['space=rdlr'], cwd=pathlib.Path.cwd()).id)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path / "out", capture_output=True, text=True
    )
    assert done.stdout.startswith(str(tmp_path / "out")), done.stderr
    assert load_study(["space=rdlr"], cwd=tmp_path).id in done.stdout


def test_a_folder_too_large_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "big").mkdir()
    (tmp_path / "big" / "huge_method.py").write_text("x = 1\n" * (4 * 2**20))
    monkeypatch.syspath_prepend(str(tmp_path / "big"))
    with pytest.raises(BadInput, match="20 MiB"):
        copy_code(tmp_path / "out", ["huge_method"])
    with (tmp_path / "big" / "clip.wav").open("wb") as file:
        file.truncate(301 * 2**20)  # takes no room on the disk
    with pytest.raises(BadInput, match=r"corpora: \{emodb"):
        copy_corpus(tmp_path / "sent", "emodb", tmp_path / "big")


def test_a_corpus_travels_whole_and_a_table_with_its_folder(tmp_path: Path) -> None:
    (tmp_path / "speech" / "wav").mkdir(parents=True)
    (tmp_path / "speech" / "table.csv").write_text("file,label,speaker\n")
    (tmp_path / "speech" / "wav" / "a.wav").write_bytes(b"RIFF")
    out = tmp_path / "out"
    assert copy_corpus(out, "manifest", tmp_path / "speech") == "corpora/manifest"
    assert copy_corpus(out, "other", tmp_path / "speech/table.csv") == "corpora/other/table.csv"
    assert (out / "corpora/manifest/wav/a.wav").read_bytes() == b"RIFF"
    assert (out / "corpora/other/wav/a.wav").exists()
