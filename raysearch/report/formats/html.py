"""A report as one HTML page that asks nothing of the network."""

from __future__ import annotations

import base64

import yaml

from raysearch.report.cells import cell, groups, term
from raysearch.report.document import Report, Section, Table
from raysearch.report.figures import svg
from raysearch.report.plots import Plot

_FIRST = "estimates"


def render(report: Report) -> str:
    """The report as a page: styles and figures are in it; the same report gives the same bytes."""
    from jinja2 import Environment, PackageLoader

    environment = Environment(
        loader=PackageLoader("raysearch.report.formats", "."),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    template = environment.get_template("page.html.j2")
    return template.render(
        report=report,
        # the result comes first, so its own section need not say it again
        result=[line for one in report.sections if one.name == _FIRST for line in one.before],
        sections=[_section(one) for one in report.sections],
        study=yaml.safe_dump(dict(report.facts), sort_keys=True, allow_unicode=True),
    )


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
                    "look": "left name" if c.kind == "name" else "left" if c.left else "",
                    "rows": len(group) if c.once else 1,
                }
                for c in table.columns
                if not (c.once and place)
            ]
            rows.append({"strong": len(rows) == table.strong, "cells": cells})
    return {
        "heads": [{"text": column.heading, "left": column.left} for column in table.columns],
        "rows": rows,
    }
