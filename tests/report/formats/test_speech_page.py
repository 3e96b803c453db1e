"""A page that plays speech: each clip once, within the size that is stated, and a licence."""

from __future__ import annotations

import base64
import json
import re
from dataclasses import replace

import pandas as pd
import pytest

from raysearch.report import Column, Report, Section, Table
from raysearch.report.formats import html
from raysearch.report.sounds import ClipSound

CLIPS = ("x/<1>", "x/2", "x/3")


def report_of(*tables: tuple[str, ...], size: int = 3000) -> Report:
    sections = tuple(
        Section(
            f"part{n}",
            f"Part {n}",
            table=Table(pd.DataFrame({"clip": clips}), (Column("clip", "clip", "clip"),)),
        )
        for n, clips in enumerate(tables)
    )
    sounds = {c: ClipSound(bytes([n]) * size, "audio/ogg", n == 1) for n, c in enumerate(CLIPS)}
    facts = {"corpus": {"name": ("emodb", "own")}}
    return Report("s", (), (), sections, facts, {}, (), 0, 0, 0.0, sounds=sounds)


def speech_of(page: str) -> dict[str, str]:
    match = re.search(r"const speech = (.*);\n", page)
    return json.loads(match[1]) if match else {}


def test_the_page_holds_each_clip_once_and_has_a_player_wherever_it_stands() -> None:
    report = report_of(CLIPS[:2], (CLIPS[1], "x/of no sound"))
    page = html.render(report)
    assert page.count("<audio") == 3
    speech = speech_of(page)
    assert set(speech) == set(CLIPS[:2])
    for clip, address in speech.items():
        head, _, text = address.partition(",")
        assert head == "data:audio/ogg;base64"
        assert base64.b64decode(text) == report.sounds[clip].data
    assert "speech of emodb, own (2 clips)" in page
    assert "The licence of that speech holds for this page too" in page
    assert "1 clip of more than 15 s end there" in page
    assert "1 of the clips in its tables cannot be played" in page
    assert page == html.render(report)


@pytest.mark.parametrize(("page_mb", "clips"), [(0.001, 0), (0.055, 1), (0.1, 2), (5.0, 3)])
def test_a_page_is_no_larger_than_it_may_be(page_mb: float, clips: int) -> None:
    page = html.render(report_of(CLIPS, size=30_000), page_mb)
    assert len(speech_of(page)) == clips
    if clips:
        assert len(page.encode()) <= page_mb * 1e6
    assert ("cannot be played" in page) == (clips < 3)


def test_a_report_without_speech_has_neither_players_nor_a_note() -> None:
    page = html.render(replace(report_of(CLIPS), sounds={}))
    assert not re.search("<audio|<script|licence", page)


def test_the_first_clips_of_each_table_come_first() -> None:
    assert report_of(("a", "b", "c"), ("d", "a")).clips() == ["a", "d", "b", "c"]
