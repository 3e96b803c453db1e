"""A report as one HTML page that asks nothing of the network.

Where the report has the speech of its clips, the page plays it, as far as the page stays small.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping

import yaml

from raysearch.report.cells import cell, groups, term
from raysearch.report.document import Report, Section, Table
from raysearch.report.figures import svg
from raysearch.report.plots import Plot
from raysearch.report.sounds import LONGEST
from raysearch.study.wording import clean, listed, many

_FIRST = "estimates"
PAGE_MB = 5.0
"""1e6 bytes that a page with speech has at most"""
_NOTE, _PLAYER = 2000, 400
"""bytes of what is said of the speech, and of a clip's two players without their speech, at most"""


def render(report: Report, page_mb: float = PAGE_MB) -> str:
    """The report as a page: styles, figures and speech are in it; equal reports give equal bytes.

    Args:
        report: what is shown.
        page_mb: 1e6 bytes above which no clip's speech is added.
    """
    from jinja2 import Environment, PackageLoader

    environment = Environment(
        loader=PackageLoader("raysearch.report.formats", "."),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    parts = {
        "report": report,
        # the result comes first, so its own section need not say it again
        "result": [line for one in report.sections if one.name == _FIRST for line in one.before],
        "sections": [_section(one) for one in report.sections],
        "study": yaml.safe_dump(dict(report.facts), sort_keys=True, allow_unicode=True),
    }
    template = environment.get_template("page.html.j2")
    page = template.render(parts, speech={}, heard="")
    if not report.sounds:
        return page
    speech = _speech(report, int(page_mb * 1e6) - len(page.encode()) - _NOTE)
    return template.render(parts, speech=speech, heard=_heard(report, speech, page_mb))


def _speech(report: Report, room: int) -> dict[str, str]:
    """By clip, an address that holds its speech; of the first clips, as many as have room."""
    speech: dict[str, str] = {}
    for clip in report.clips():
        sound = report.sounds.get(clip)
        if sound is None:
            continue
        address = f"data:{sound.mime};base64,{base64.b64encode(sound.data).decode('ascii')}"
        room -= len(address) + _PLAYER + len(clip)
        if room < 0:
            break
        speech[clip] = address
    return speech


def _heard(report: Report, speech: Mapping[str, str], page_mb: float) -> str:
    """What a page with speech must say: whose it is, what is left out, and that a licence holds."""
    corpus = report.facts.get("corpus", {})
    names = listed(corpus.get("name", "its corpus")) if isinstance(corpus, Mapping) else str(corpus)
    cut = sum(report.sounds[clip].cut for clip in speech)
    lines = [
        f"This page holds speech of {names} ({many(len(speech), 'clip')}). The licence of that "
        "speech holds for this page too: pass it on only as the licence allows. audio=none leaves "
        "the speech out."
    ]
    if cut:
        lines.append(f"{many(cut, 'clip')} of more than {LONGEST:g} s end there.")
    if silent := len(report.clips()) - len(speech):
        lines.append(
            f"{silent} of the clips in its tables cannot be played: their speech was not readable, "
            f"or the page would have more than {page_mb:g} MB (a larger page_mb= plays more)."
        )
    return clean(" ".join(lines))


def _section(section: Section) -> dict[str, object]:
    return {
        "id": section.name,
        "title": section.title,
        "before": () if section.name == _FIRST else section.before,
        "table": None if section.table is None else _table(section.table),
        "after": [_line(line) for line in section.after],
        "plots": [_picture(plot) for plot in section.plots],
    }


def _picture(plot: Plot) -> dict[str, str]:
    data = base64.b64encode(svg(plot)).decode("ascii")
    return {"name": plot.name, "title": plot.title, "src": f"data:image/svg+xml;base64,{data}"}


def _line(line: str) -> dict[str, str]:
    explanation = term(line)
    if explanation is None:
        return {"text": line}
    word, rest = explanation
    return {"term": word, "text": rest}


def _table(table: Table) -> dict[str, object]:
    rows: list[dict[str, object]] = []
    for group in groups(table):
        for place, row in enumerate(group):
            cells = [
                {
                    "text": cell(row[c.name], c.kind),
                    "look": "left name" if c.kind in ("name", "clip") else "left" if c.left else "",
                    "rows": len(group) if c.once else 1,
                    "clip": str(row[c.name]) if c.kind == "clip" else "",
                }
                for c in table.columns
                if not (c.once and place)
            ]
            rows.append({"strong": len(rows) == table.strong, "cells": cells})
    return {
        "heads": [{"text": column.heading, "left": column.left} for column in table.columns],
        "rows": rows,
    }
