"""Closed by default: loopback, a token, nothing unpickled, no name that becomes a path."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from raysearch.cli.main import main

ROOT = Path(__file__).resolve().parents[2]

LISTENING = """
import json, os, sys
from pathlib import Path
from raysearch.cluster.connection import connection

def mine():
    # this process and all that descend from it
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            parents[int(entry.name)] = int(fields[1])
    found = {os.getpid()}
    while True:
        more = {pid for pid, parent in parents.items() if parent in found} - found
        if not more:
            return found
        found |= more

def listening():
    sockets = set()
    for pid in mine():
        try:
            for link in Path(f"/proc/{pid}/fd").iterdir():
                target = os.readlink(link)
                if target.startswith("socket:["):
                    sockets.add(target[8:-1])
        except OSError:
            continue
    addresses = []
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and fields[9] in sockets:
                addresses.append([table, fields[1].partition(":")[0]])
    return addresses

with connection("local", Path("ray.log")):
    import ray

    @ray.remote
    def work():
        return os.environ["RAY_AUTH_MODE"], len(os.environ["RAY_AUTH_TOKEN"])

    mode, length = ray.get(work.remote())
    print(json.dumps({"mode": mode, "token": length, "listening": listening()}))
"""
LOOPBACK = {"0100007F", "0000000000000000FFFF00000100007F", "00000000000000000000000001000000"}


@pytest.mark.cluster
@pytest.mark.timeout(200)
@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="reads Linux's /proc")
def test_a_local_cluster_listens_on_loopback_alone_and_has_a_token(tmp_path: Path) -> None:
    kept = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
    home = tmp_path / "nobody"
    home.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", LISTENING],
        cwd=tmp_path,
        env={**kept, "PYTHONPATH": str(ROOT), "HOME": str(home)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["mode"] == "token"
    assert found["token"] == 64
    assert not (home / ".ray").exists(), "no token is left in the user's folder"
    addresses = {address for _, address in found["listening"]}
    assert addresses, "Ray's processes listen somewhere"
    assert addresses <= LOOPBACK, found["listening"]


def calls(path: Path) -> list[tuple[str, ast.Call]]:
    return [
        (ast.unparse(node.func), node)
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
    ]


@pytest.mark.usefixtures("no_collection")
def test_nothing_is_unpickled_and_yaml_is_loaded_safely() -> None:
    """What the home holds is data: safetensors, npy without pickle, JSON, SQLite, YAML."""
    unpickling = {"pickle", "cPickle", "cloudpickle", "dill", "joblib", "shelve", "marshal"}
    wrong = []
    files = [*(ROOT / "raysearch").rglob("*.py"), *(ROOT / "trainables").rglob("*.py")]
    assert len(files) > 40
    for path in files:
        tree = ast.parse(path.read_text())
        for node in ast.walk(tree):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            wrong += [f"{path} imports {n}" for n in names if n.split(".")[0] in unpickling]
        for name, call in calls(path):
            words = {word.arg: ast.unparse(word.value) for word in call.keywords}
            if name.endswith("torch.load") and words.get("weights_only") != "True":
                wrong.append(f"{path}:{call.lineno} {name} without weights_only=True")
            if words.get("allow_pickle", "False") != "False":
                wrong.append(f"{path}:{call.lineno} allow_pickle")
            if name in ("yaml.load", "yaml.unsafe_load", "yaml.full_load", "eval", "exec"):
                wrong.append(f"{path}:{call.lineno} {name}")
            if name.endswith("read_pickle"):
                wrong.append(f"{path}:{call.lineno} {name}")
    assert not wrong


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("report", ("study=../../../etc",)),
        ("report", ("study=/etc",)),
        ("status", ("study=../outside",)),
        ("plan", ("space=rdlr", "corpus=../../etc")),
        ("plan", ("space=../../etc/passwd",)),
        ("plan", ("space=rdlr", "features=[../../x]")),
        ("plan", ("space=rdlr", "method=../../x")),
        ("plan", ("space=rdlr", "method=os.path:join")),
        ("corpora", ("check", "corpus=../x")),
        ("features", ("features=[/etc/passwd]", "corpus=demo")),
    ],
)
def test_names_never_become_paths(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    command: str,
    words: tuple[str, ...],
) -> None:
    outside = tmp_path / "outside"
    inside = tmp_path / "inside"
    for folder in (outside, inside / "runs" / "studies" / "mine"):
        folder.mkdir(parents=True)
        (folder / "ledger.sqlite").write_bytes(b"")
    before = sorted(tmp_path.rglob("*"))
    monkeypatch.chdir(inside)
    assert main([command, *words]) == 2
    said = capsys.readouterr()
    assert "Traceback" not in said.err
    assert said.out == ""
    assert sorted(tmp_path.rglob("*")) == before, "nothing was written"


def test_a_job_of_another_name_is_no_path(tmp_path: Path) -> None:
    """Names of studies are slugs of what they are made of, whatever a method is called."""
    from raysearch.study import load_study

    (tmp_path / "odd.yaml").write_text("method: 'trainables.rdlr:METHOD'\n")
    study = load_study(["space=odd.yaml"], cwd=tmp_path)
    assert "/" not in study.id
    assert ":" not in study.id
    assert ".." not in study.id


def test_the_ui_is_on_loopback_unless_told_otherwise() -> None:
    from raysearch.cli.commands import COMMANDS

    (host,) = (key for key in COMMANDS["ui"].keys if key.name == "host")
    assert host.default == "127.0.0.1"
