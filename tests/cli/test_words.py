"""Words of a command: read by its keys, and refused with the key, the value and the rule."""

from __future__ import annotations

import pytest

from raysearch.cli.words import Key, read_words
from raysearch.errors import BadInput

KEYS = (
    Key("name", "the name", "NAME", required=True),
    Key("home", "a folder", "runs", "runs"),
    Key("port", "a port", "80", 5000, least=1, most=65535),
    Key("every", "seconds", "2.5", 10, whole=False, least=0.1),
    Key("full", "all of it", "true", False),
    Key("format", "a format", "csv", "text", choices=("text", "csv")),
)


def test_values_are_yaml_and_the_rest_are_defaults() -> None:
    values = read_words(["name=a=b", "every=2.5", "full=true", "format=csv", "port=80"], KEYS)
    assert values == {
        "name": "a=b",
        "home": "runs",
        "port": 80,
        "every": 2.5,
        "full": True,
        "format": "csv",
    }


def test_a_key_that_may_come_again_gives_a_list() -> None:
    keys = (Key("study", "a study", "NAME", repeated=True),)
    assert read_words(["study=a", "study=b"], keys) == {"study": ["a", "b"]}
    assert read_words([], keys) == {"study": []}


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["home=a", "home=b", "name=x"], "home is given twice"),
        (["home"], "'home' is not key=value; the keys are name, home, port, every, full, format"),
        (["port=[", "name=x"], "port=[: the value is not YAML"),
        (["home=", "name=x"], "home is empty; give a value"),
        (["port=70000", "name=x"], "port must be a whole number from 1 to 65535, but got 70000"),
        (["port=true", "name=x"], "port must be a whole number"),
        (["every=.nan", "name=x"], "every must be a number of at least 0.1"),
        (["full=1", "name=x"], "full must be true or false, but got 1"),
        (["format=csw", "name=x"], "format=csw is unknown (did you mean 'csv'?); it is one of"),
        ([], "name must be given, as in name=NAME: the name"),
    ],
)
def test_bad_words_are_refused_by_key(words: list[str], problem: str) -> None:
    with pytest.raises(BadInput) as error:
        read_words(words, KEYS)
    assert any(text.startswith(problem) for text in error.value.problems)
