"""What pip installs: every file of raysearch, and no top-level name that others own."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
OFFLINE = ["--no-deps", "--no-build-isolation", "--no-index"]
FOLDERS = {"spaces": "raysearch/files/spaces", "cluster": "raysearch/files/cluster"}
"""Folders of the repository, and where they lie once installed."""
REPORT = """
import json, sys, pathlib
import raysearch
from raysearch.study import load_study, spaces
from raysearch.study.resources import resource
from raysearch.study.software import version
here = pathlib.Path.cwd()
print(json.dumps({
    "raysearch": raysearch.__file__,
    "version": version(),
    "method": load_study(["space=rdlr"], cwd=here).method,
    "spaces": sorted({str(path) for path in spaces(here).values()}),
    "cluster": str(resource("cluster")),
}))
"""


def run(*command: str, cwd: Path, **environment: str) -> str:
    done = subprocess.run(
        command, cwd=cwd, env={**os.environ, **environment}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def tracked() -> list[str]:
    names = run("git", "ls-files", "raysearch", "trainables", "spaces", "cluster", cwd=ROOT)
    found = [name for name in names.split() if (ROOT / name).is_file()]
    assert found
    return found


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout without what tests and builds left in this one."""
    folder = tmp_path_factory.mktemp("source")
    for name in [*tracked(), "pyproject.toml", "README.md", "LICENSE"]:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, folder / name)
    return folder


@pytest.fixture(scope="module")
def wheel(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    run(*PIP, "wheel", *OFFLINE, "--wheel-dir", str(folder), str(source), cwd=folder)
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture
def strangers(tmp_path: Path) -> Path:
    """A folder of packages in which others own `spaces` and `cluster`."""
    site = tmp_path / "site"
    for name in FOLDERS:
        (site / name).mkdir(parents=True)
        (site / name / "__init__.py").write_text("OWNER = 'somebody else'\n")
    (site / "spaces" / "rdlr.yaml").write_text("method: strange\n")
    (site / "spaces" / "strange.yaml").write_text("method: strange\n")
    return site


def test_the_wheel_holds_every_file_and_no_other(wheel: Path) -> None:
    wanted = set()
    for name in tracked():
        top, _, inside = name.partition("/")
        if name != "trainables/README.md":  # of the repository's reader
            wanted.add(f"{FOLDERS[top]}/{inside}" if top in FOLDERS else name)
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert names == wanted


def test_a_wheel_beside_packages_that_own_its_folders_names(
    wheel: Path, strangers: Path, tmp_path: Path
) -> None:
    run(*PIP, "install", *OFFLINE, "--target", str(strangers), str(wheel), cwd=tmp_path)
    assert (strangers / "spaces" / "rdlr.yaml").read_text() == "method: strange\n"
    empty = tmp_path / "empty"
    empty.mkdir()
    out = run(sys.executable, "-c", REPORT, cwd=empty, PYTHONPATH=str(strangers))
    facts = json.loads(out)
    inside = strangers / "raysearch"
    assert facts["raysearch"] == str(inside / "__init__.py")
    assert facts["method"] == "rdlr"
    assert facts["version"] == "0.2.0"
    assert facts["cluster"] == str(inside / "files" / "cluster")
    assert len(facts["spaces"]) > 10
    assert all(path.startswith(str(inside / "files" / "spaces")) for path in facts["spaces"])
    owner = run(sys.executable, "-c", "import spaces, cluster; print(spaces.OWNER, cluster.OWNER)",
                cwd=empty, PYTHONPATH=str(strangers))  # fmt: skip
    assert owner == "somebody else somebody else\n"


def test_an_editable_install_reads_the_checkout(
    source: Path, strangers: Path, tmp_path: Path
) -> None:
    run(*PIP, "install", *OFFLINE, "--target", str(strangers), "-e", str(source), cwd=tmp_path)
    # -S: the environment's own packages without its other editable installs
    code = (
        f"import site, sys; site.addsitedir({str(strangers)!r})\n"
        f"sys.path.append({sysconfig.get_path('purelib')!r})\n{REPORT}"
    )
    empty = tmp_path / "empty"
    empty.mkdir()
    out = run(sys.executable, "-S", "-c", code, cwd=empty, PYTHONPATH="")
    facts = json.loads(out)
    assert facts["raysearch"] == str(source / "raysearch" / "__init__.py")
    assert all(path.startswith(str(source / "spaces")) for path in facts["spaces"])
    assert facts["cluster"] == str(source / "cluster")


def test_nothing_says_to_install_raysearch_by_its_name() -> None:
    """The name is another project's on the package index; a path or a wheel is ours."""
    by_name = re.compile(
        r"""(?:pip3?|uv|pipx|poetry)\ (?:-\S+\ |tool\ )*(?:install|add)\b   # the command,
            [^\n#`&|;]*?[\s"'`=]raysearch(?:-ser)?(?:\[[\w,]*\])?(?:[=<>~!][^\s"'`]*)?["'`\s,;)]""",
        re.VERBOSE,
    )
    assert by_name.search('pip install "raysearch[cluster]"')
    assert by_name.search("pip install -q raysearch\n")
    assert by_name.search("pip install raysearch==0.2.0 ")
    assert not by_name.search("pip install dist/raysearch_ser-0.2.0-py3-none-any.whl ")
    names = run("git", "ls-files", cwd=ROOT).split("\n")
    texts = {
        name: (ROOT / name).read_text()
        for name in names
        if name and not name.startswith("tests/") and (ROOT / name).is_file()
        and Path(name).suffix not in {".png", ".gz", ".wav", ".npy"}
    }  # fmt: skip
    assert len(texts) > 100
    assert [name for name, text in texts.items() if by_name.search(text)] == []
