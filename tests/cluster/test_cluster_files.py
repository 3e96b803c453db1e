"""Cluster files, what is sent along, and clusters that are not there: no Ray is started."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from raysearch.cluster.shipping import stage_code, stage_corpus
from raysearch.errors import BadInput
from raysearch.study import load_study
from raysearch.study.clusterfile import ClusterFile, read_cluster

ROOT = Path(__file__).resolve().parents[2]


def written(folder: Path, text: str) -> str:
    path = folder / "cluster.yaml"
    path.write_text(text)
    return str(path)


def test_every_key_is_read(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("secret\n")
    found = read_cluster(
        written(
            tmp_path,
            "address: head.example:6379\ndashboard: https://head.example:8265\n"
            "token_file: token\nhome: /shared/runs\nstore: s3://bucket/x\n"
            'corpora: {emodb: /shared/emodb}\npip: [my-method]\nenv: {A_B: "1"}\n',
        )
    )
    assert found.address == "head.example:6379"
    assert found.token_file == tmp_path / "token"
    assert found.pip == ("my-method",)
    assert found.corpora == {"emodb": "/shared/emodb"}
    assert read_cluster("auto") == ClusterFile()


def test_all_that_is_wrong_is_told_at_once(tmp_path: Path) -> None:
    name = written(
        tmp_path,
        "adress: a:1\naddress: ray://head:10001\ndashboard: head:8265\ntoken_file: none\n"
        "home: runs\nstore: here\ncorpora: {emodb: emodb}\npip: numpy\nenv: {A: 1}\n",
    )
    with pytest.raises(BadInput) as caught:
        read_cluster(name)
    told = caught.value.problems
    assert len(told) == 9
    assert "did you mean 'address'" in told[0]
    for problem, key in zip(
        told[1:],
        ("address", "dashboard", "home", "store", "corpora", "pip", "env", "token_file"),
        strict=True,
    ):
        assert f"{name}: {key} " in problem
    assert "submit" in told[1]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("- a\n", "mapping"),
        ("a: [\n", "cannot be read"),
        ("env: !!python/object/apply:os.system ['touch pwned']\n", "cannot be read"),
    ],
)
def test_a_file_that_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, told: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BadInput, match=told):
        read_cluster(written(tmp_path, text))
    assert not (tmp_path / "pwned").exists()


def test_the_store_of_the_file_is_the_studys_unless_it_has_one(tmp_path: Path) -> None:
    written(tmp_path, "store: s3://bucket/x\n")
    words = ["space=rdlr", "cluster=cluster.yaml"]
    assert load_study(words, cwd=tmp_path).store == "s3://bucket/x"
    assert load_study([*words, "store=mine"], cwd=tmp_path).store == str(tmp_path / "mine")
    alone = load_study(["space=rdlr"], cwd=tmp_path)
    assert load_study(words, cwd=tmp_path).id == alone.id, "the cluster is no part of identity"


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
    stage_code(out, ["one"], without=[mine / "runs"])
    sent = {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()}
    own = {name for name in sent if name.split("/")[0] not in ("raysearch", "trainables")}
    assert own == {"one.py", "space.yaml", "part/two.py"}
    assert "raysearch/__main__.py" in sent
    assert "raysearch/x.py" not in sent
    assert "trainables/rdlr.py" in sent
    assert "raysearch/files/spaces/rdlr.yaml" in sent
    assert sum(path.stat().st_size for path in out.rglob("*.*")) < 5 * 2**20


def test_what_was_staged_runs_where_nothing_is_installed(tmp_path: Path) -> None:
    stage_code(tmp_path / "out", ["trainables.rdlr"])
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
        stage_code(tmp_path / "out", ["huge_method"])
    with (tmp_path / "big" / "clip.wav").open("wb") as file:
        file.truncate(301 * 2**20)  # takes no room on the disk
    with pytest.raises(BadInput, match=r"corpora: \{emodb"):
        stage_corpus(tmp_path / "sent", "emodb", tmp_path / "big")


def test_a_corpus_travels_whole_and_a_table_with_its_folder(tmp_path: Path) -> None:
    (tmp_path / "speech" / "wav").mkdir(parents=True)
    (tmp_path / "speech" / "table.csv").write_text("file,label,speaker\n")
    (tmp_path / "speech" / "wav" / "a.wav").write_bytes(b"RIFF")
    out = tmp_path / "out"
    assert stage_corpus(out, "manifest", tmp_path / "speech") == "corpora/manifest"
    assert stage_corpus(out, "other", tmp_path / "speech/table.csv") == "corpora/other/table.csv"
    assert (out / "corpora/manifest/wav/a.wav").read_bytes() == b"RIFF"
    assert (out / "corpora/other/wav/a.wav").exists()


# -- clusters that are not there ---------------------------------------------------------------
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


@pytest.fixture
def dead() -> str:
    """An address at which nothing listens."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{one.getsockname()[1]}"


@pytest.mark.parametrize("how", ["file", "RAY_ADDRESS", "announced"])
def test_a_cluster_that_does_not_answer_is_one_line_at_once(
    tmp_path: Path, dead: str, how: str
) -> None:
    words, more = ["cluster=auto"], {}
    if how == "file":
        words = [f"cluster={written(tmp_path, f'address: {dead}')}"]
    elif how == "RAY_ADDRESS":
        more = {"RAY_ADDRESS": dead}
    else:
        (tmp_path / "ray").mkdir()
        (tmp_path / "ray" / "ray_current_cluster").write_text(dead)
        more = {"RAY_TMPDIR": str(tmp_path)}
    script = (
        "import sys, time; from pathlib import Path\n"
        "from raysearch.cluster.connecting import connected\n"
        "from raysearch.errors import ClusterFailed\n"
        f"began = time.monotonic()\ntry:\n    connected({words[0].partition('=')[2]!r}, "
        "Path('ray.log')).__enter__()\n"
        "except ClusterFailed as error: print(error)\nprint('ray' in sys.modules)\n"
    )
    began = time.monotonic()
    kept = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env={**kept, "PYTHONPATH": str(ROOT), **more},
        capture_output=True,
        text=True,
    )
    told, imported = done.stdout.splitlines()
    assert f"no Ray cluster answers at {dead}" in told
    assert imported == "False", "asked before Ray, which would wait for minutes"
    assert time.monotonic() - began < 60  # a bound against hanging


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
    written(tmp_path, f"dashboard: http://{dead}\n")
    done = shell(tmp_path, "status", "cluster=cluster.yaml")
    assert done.returncode == 1
    assert done.stdout == ""
    assert f"no dashboard answers at http://{dead}" in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) == 1
