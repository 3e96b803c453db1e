"""Values of words that are paths and names, which YAML would read as something else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raysearch.api import _as_words
from raysearch.study import load_study
from raysearch.study.plain_text import plain_names, plain_path, plain_text

ODD = ["runs #2", "2024-11-30", "123456", "0123", "1e3", "yes", "off", "a: b", "&x", "*x", "!x",
       "%x", "@x", "- x", "it's", "12:30:45", "x, y", "a]", "[a", "=", "ü b", "#"]  # fmt: skip


@pytest.mark.parametrize("text", ODD)
def test_a_text_is_what_is_typed(text: str) -> None:
    assert plain_text(text) == plain_names(text) == plain_path(text) == text


@pytest.mark.parametrize(
    ("text", "value"),
    [("", None), ("null", None), ("'null'", "null"), ("'a ''b'", "a 'b"), ('"a\\tb"', "a\tb"),
     ("''", ""), ("'a'b'", "'a'b'"), ("'", "'"), ("'a': 'b'", "'a': 'b'")],
)  # fmt: skip
def test_quotes_and_nothing(text: str, value: str | None) -> None:
    assert plain_text(text) == value


@given(st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc"))))
def test_what_python_gives_comes_back(value: str) -> None:
    ((key, _, text),) = [word.partition("=") for word in _as_words({"home": value})]
    assert key == "home"
    assert plain_text(text) == value


def test_lists_hold_texts() -> None:
    assert plain_names("[yes, no, 1, 2024-11-30, 'a, b']") == [
        "yes",
        "no",
        "1",
        "2024-11-30",
        "a, b",
    ]
    assert plain_names("{emodb: 12, other: '/x #y'}") == {"emodb": "12", "other": "/x #y"}


def test_the_users_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/users/me")
    assert plain_path("~/runs #2") == "/users/me/runs #2"
    assert plain_path("a~b") == "a~b"


@pytest.mark.parametrize("text", [text for text in ODD if text != "="])
def test_paths_and_names_of_a_study(text: str, tmp_path: Path) -> None:
    study = load_study(
        ["space=rdlr", f"home={text}", f"store={text}/s", "corpus=emodb", f"corpus.root={text}",
         f"description={text}"],
        cwd=tmp_path,
    )  # fmt: skip
    assert study.home == tmp_path / text
    assert study.store == str(tmp_path / text / "s")
    assert study.corpus.root["emodb"] == str(tmp_path / text)
    assert study.description == text


def test_classes_and_raters_that_yaml_reads_as_truths_and_numbers(tmp_path: Path) -> None:
    words = ["space=rdlr", "corpus.classes=[yes,no,1]", "raters=7", "corpus.root.demo=0123"]
    study: Any = load_study(words, cwd=tmp_path)
    assert study.corpus.classes == ("yes", "no", "1")
    assert study.raters.targets == ("7",)
    assert study.corpus.root["demo"] == str(tmp_path / "0123")


def test_tracking_is_an_address_or_a_switch(tmp_path: Path) -> None:
    assert not load_study(["space=rdlr", "tracking=false"], cwd=tmp_path).tracking.enabled
    assert load_study(["space=rdlr", "tracking=null"], cwd=tmp_path).tracking.uri is None
    address = "https://m.example.org/#x"
    assert load_study(["space=rdlr", f"tracking={address}"], cwd=tmp_path).tracking.uri == address
