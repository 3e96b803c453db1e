"""Reports: a study's folder in, text, Markdown or JSON out."""

from raysearch.report.as_json import plain as to_plain
from raysearch.report.as_json import render as to_json
from raysearch.report.build import build
from raysearch.report.markdown import render as to_markdown
from raysearch.report.model import Column, Report, Section, Table
from raysearch.report.text import render as to_text
from raysearch.report.text import show

__all__ = [
    "Column",
    "Report",
    "Section",
    "Table",
    "build",
    "show",
    "to_json",
    "to_markdown",
    "to_plain",
    "to_text",
]
