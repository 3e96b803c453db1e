"""What the documents name is there: commands, their keys, spaces, files and pictures."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

import pytest

from raysearch.cli.commands import COMMANDS
from raysearch.study import spaces
from raysearch.study.schema import FIELDS, SHORT

ROOT = Path(__file__).resolve().parents[2]
LISTED = subprocess.run(
    ["git", "ls-files", "*.md"], cwd=ROOT, capture_output=True, text=True, check=True
).stdout.split()
DOCUMENTS = [name for name in LISTED if "raysearch" in (ROOT / name).read_text()]
PAGES = ["README.md", "CONTRIBUTING.md", "docs/benchmarks.md", "docs/scores.md"]
KNOWN = spaces(ROOT)
MAPPINGS = ("params.", "corpus.root.", "corpus.options.", "votes.confusions.")
"""beginnings of keys whose last name is the user's"""


def text_of(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def commands_in(text: str) -> list[list[str]]:
    """The words after `python -m raysearch`: of each line of a block, and of inline code."""
    text = text.replace("\\\n", " ")
    inline = [" ".join(code.split()) for code in re.findall(r"`([^`]+)`", text)]
    blocks = re.findall(r"^(?: {4}|[^`\n|]*\$ )(.*)$", text, re.MULTILINE)
    found = []
    for line in [*inline, *blocks]:
        _, begins, rest = line.partition("python -m raysearch ")
        if begins:
            found.append(shlex.split(re.split(r"  |`|&&|\.\.\.", rest)[0], comments=True))
    return found


def problem(words: list[str]) -> str | None:
    """What is wrong with a command line, or None."""
    name, *rest = words
    if name == "COMMAND":
        return None
    if name not in COMMANDS:
        return f"{name} is no command"
    command = COMMANDS[name]
    for word in rest:
        key, equals, value = word.partition("=")
        own = key in {known.name for known in command.keys}
        of_study = key in FIELDS or key in SHORT or key.startswith(MAPPINGS)
        if not equals:
            if not (command.arguments or word == "--help"):
                return f"{name} takes no word {word!r}"
        elif not (own or (of_study and key.partition(".")[0] in command.study)):
            return f"{name} has no key {key}"
        elif key == "space" and not value.endswith((".yaml", "FILE")) and value not in KNOWN:
            return f"there is no space {value}"
    return None


def test_the_pages_are_among_the_documents() -> None:
    assert set(PAGES) <= set(DOCUMENTS)


@pytest.mark.parametrize("name", DOCUMENTS)
def test_commands_exist_with_their_keys(name: str) -> None:
    lines = commands_in(text_of(name))
    assert [line for line in lines if problem(line)] == []


@pytest.mark.parametrize("name", ["README.md", "trainables/README.md", "cluster/README.md"])
def test_commands_are_seen(name: str) -> None:
    assert len(commands_in(text_of(name))) > 3


def test_the_readme_names_every_command() -> None:
    text = text_of("README.md")
    assert [name for name in COMMANDS if f"`{name}`" not in text] == []


@pytest.mark.parametrize("name", PAGES)
def test_files_that_are_named_are_there(name: str) -> None:
    tops = "docs|trainables|tests|cluster|mlflow|spaces|raysearch"
    paths = re.findall(rf"(?<![\w./])(?:{tops})/[\w./-]*[\w/]", text_of(name))
    assert paths
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_contributing_lists_the_rooms() -> None:
    rooms = re.findall(r"^\| `(\w+)(?:/|\.py)` \|", text_of("CONTRIBUTING.md"), re.MULTILINE)
    entries = (path for path in (ROOT / "raysearch").iterdir() if not path.name.startswith("_"))
    there = {path.stem for path in entries if path.is_file() or any(path.rglob("*.py"))}
    assert {room for room in rooms if (ROOT / "raysearch" / room).is_dir()} <= there
    assert there - {"api"} <= set(rooms)


def test_the_picture_is_there_and_small() -> None:
    (picture,) = re.findall(r"!\[[^]]+\]\(([^)]+)\)", text_of("README.md"))
    assert 10_000 < (ROOT / picture).stat().st_size < 200_000


def test_the_readme_has_the_screen_at_the_end_of_a_study() -> None:
    text = text_of("README.md")
    rows = re.findall(r"^    .*?(\w+) +\d\d\.\d +\d\d\.\d to", text, re.MULTILINE)
    assert rows == ["honest", "nested", "selected", "oracle"]
