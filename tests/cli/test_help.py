"""The help of every command: its own keys, all of them, and no other."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from raysearch.cli.commands import COMMANDS, HEADINGS
from raysearch.cli.help import shown
from raysearch.cli.main import main
from raysearch.cli.words import read_words
from raysearch.errors import BadInput
from raysearch.study import load_study
from raysearch.study.schema import FIELDS, SHORT, extra_of

FULL = set(FIELDS) - set(SHORT.values()) | set(SHORT)
"""every key of a study, by its short form where there is one"""


def helped(capsys: Any, command: str) -> str:
    with pytest.raises(SystemExit) as end:
        main([command, "--help"])
    assert end.value.code == 0
    return str(capsys.readouterr().out)


def keys_in(text: str) -> list[str]:
    return re.findall(r"^  ([a-z0-9_.]+)=", text, re.MULTILINE)


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_lists_the_keys_that_the_command_takes(capsys: Any, name: str) -> None:
    command = COMMANDS[name]
    study = {key for key in FULL if key.partition(".")[0] in command.study}
    listed = keys_in(helped(capsys, name))
    assert len(listed) == len(set(listed))
    assert set(listed) == study | {key.name for key in command.keys}


@pytest.mark.parametrize("name", COMMANDS)
def test_each_has_a_meaning_an_example_and_a_default(capsys: Any, name: str) -> None:
    text = " ".join(helped(capsys, name).split())
    entries = re.findall(r"[a-z0-9_.]+=\S.*?\[(?:required|default: .*?)\](?= |$)", text)
    assert len(entries) >= len(COMMANDS[name].keys)
    assert not re.search(r"\b(None|True|False)\b", text)
    assert ("key=value" in text) == bool(COMMANDS[name].keys or COMMANDS[name].study)
    assert COMMANDS[name].example in text


def test_a_study_s_keys_stand_under_one_heading_each() -> None:
    names = [name for group in HEADINGS.values() for name in group]
    assert sorted(names) == sorted({key.partition(".")[0] for key in FIELDS})


@pytest.mark.parametrize("key", sorted(FULL | set(FIELDS)))
def test_a_study_takes_every_key_and_every_short_form(key: str, tmp_path: Path) -> None:
    example = extra_of(FIELDS[SHORT.get(key, key)])["example"]
    space = [] if key == "space" else ["space=rdlr"]
    problems = []
    try:
        load_study([*space, f"{key}={example}"], cwd=tmp_path)
    except BadInput as error:  # of a folder or an option that is not there, never of the key
        problems = [p for p in error.problems if "no key" in p or p.startswith(f"{key} must be")]
    assert not problems


@pytest.mark.parametrize("name", [name for name in COMMANDS if COMMANDS[name].keys])
def test_the_examples_of_a_command_s_own_keys_are_read(name: str) -> None:
    keys = COMMANDS[name].keys
    values = read_words([f"{key.name}={key.example}" for key in keys], keys)
    assert set(values) == {key.name for key in keys}
    with pytest.raises(BadInput, match="hoem=x is unknown"):
        read_words(["hoem=x"], keys)


@pytest.mark.parametrize("name", COMMANDS)
def test_the_example_of_a_command_has_known_keys(name: str) -> None:
    command = COMMANDS[name]
    words = shlex.split(command.example)
    assert words[:4] == ["python", "-m", "raysearch", name]
    names = {word.partition("=")[0] for word in words[4:] if "=" in word}
    assert names <= {key.name for key in command.keys} | FULL
    assert bool(command.arguments) == any("=" not in word for word in words[4:])


def test_values_are_shown_as_words_give_them() -> None:
    values = (None, (), True, 0.5, 3.0, ("a", "b"), ("a",), Path("runs"))
    assert [shown(x) for x in values] == ["none", "none", "true", "0.5", "3", "[a,b]", "a", "runs"]
