"""A report as Markdown."""

from __future__ import annotations

import re

from raysearch.report.cells import term, texts
from raysearch.report.document import Report, Section, Table

_SPECIAL = re.compile(r"([\\|*_`<>\[\]])")


def render(report: Report) -> str:
    """The report as GitHub-flavoured Markdown; the same report gives the same bytes."""
    lines = [f"# Study {_escape(report.study)}", "", *map(_escape, report.headline), ""]
    for warning in report.warnings:
        lines += [f"> **Note.** {_escape(warning)}", ""]
    for section in report.sections:
        lines += part(section)
    return "\n".join(lines).rstrip("\n") + "\n"


def part(section: Section) -> list[str]:
    """The lines of one section."""
    lines = [f"## {_escape(section.title)}", ""]
    for line in section.before:
        strong = "**" if section.name == "estimates" else ""
        lines += [f"{strong}{_escape(line)}{strong}", ""]
    if section.table is not None:
        lines += [*_table(section.table), ""]
    for line in section.after:
        definition = term(line)
        if definition is None:
            lines.append(f"{_escape(line)}\n")
        else:
            lines.append(f"- **{definition[0]}**: {_escape(definition[1])}")
    return lines if lines[-1].endswith("\n") or not lines[-1] else [*lines, ""]


def _table(table: Table) -> list[str]:
    heads = [_escape(column.heading.replace("\n", " ")) for column in table.columns]
    rules = [":---" if column.left else "---:" for column in table.columns]
    rows = [[_escape(text) for text in row] for row in texts(table)]
    return [f"| {' | '.join(row)} |" for row in [heads, rules, *rows]]


def _escape(text: str) -> str:
    return _SPECIAL.sub(r"\\\1", text)
