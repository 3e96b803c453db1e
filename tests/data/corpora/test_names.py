"""Common class names, and the choice and merging of classes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raysearch.data.corpora.names import COMMON, choose, common_name, in_order, look_alikes

TWO = {"a": ("neutral", "happy", "excited", "sad"), "b": ("neutral", "happy", "sad", "calm")}
PRESENT = {name: set(labels) for name, labels in TWO.items()}


@pytest.mark.parametrize(
    ("label", "name"),
    [
        ("anger", "angry"),
        ("Happiness", "happy"),
        (" sadness ", "sad"),
        ("fear", "fearful"),
        ("boredom", "bored"),
        ("excited", "excited"),
        ("Schadenfreude", "Schadenfreude"),
    ],
)
def test_synonyms(label: str, name: str) -> None:
    assert common_name(label) == name


@given(st.text(max_size=12))
def test_a_common_name_is_its_own(label: str) -> None:
    assert common_name(common_name(label)) == common_name(label)


@given(st.lists(st.sampled_from([*COMMON, "odd", "aloof", ""])))
def test_order_does_not_depend_on_arrival(labels: list[str]) -> None:
    assert in_order(labels) == in_order(reversed(labels))
    assert set(in_order(labels)) == set(labels) - {""}


def test_all_that_both_have() -> None:
    choice = choose(None, TWO, PRESENT)
    assert choice.classes == ("neutral", "happy", "sad")
    assert "left out: excited, calm" in choice.notes[0]


def test_all_of_one() -> None:
    choice = choose(None, {"a": TWO["a"]}, {"a": PRESENT["a"]})
    assert choice.classes == TWO["a"]
    assert choice.notes == ()


def test_merging_and_order() -> None:
    choice = choose(["sad", "joy+excited"], TWO, PRESENT)
    assert choice.classes == ("sad", "happy")
    assert choice.member == {"sad": "sad", "happy": "happy", "excited": "happy"}
    assert choice.problems == ()


def test_a_class_that_one_corpus_lacks_is_said() -> None:
    assert choose(["sad", "calm"], TWO, PRESENT).notes == ("a has no clips of calm.",)


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (["neutral", "hapy"], "did you mean 'happy'"),
        (["neutral", "bored"], "the classes there are: neutral, calm, happy, excited, sad"),
        (["neutral", "happy+neutral"], "twice"),
        (["neutral"], "at least 2"),
        ([], "at least 2"),
    ],
)
def test_bad_choices(wanted: list[str], message: str) -> None:
    assert message in "\n".join(choose(wanted, TWO, PRESENT).problems)


def test_corpora_that_share_too_little() -> None:
    problems = choose(None, TWO, {"a": {"happy"}, "b": {"sad"}}).problems
    assert "share 0 classes" in problems[0]


def test_names_that_a_person_takes_for_one() -> None:
    names = ["anna", "Anna", "b", "b\u200b", "01", "1", "1.0", "d x", "d\u00a0x", "1-1", "11"]
    assert sorted(look_alikes(names)) == [
        ("01", "1", "1.0"),
        ("Anna", "anna"),
        ("b", "b\u200b"),
        ("d x", "d\u00a0x"),
    ]
    assert look_alikes(["very sad", "Very-Sad", "sad"], apart=False) == [("Very-Sad", "very sad")]
    assert look_alikes(["!", "?", "-"]) == []
