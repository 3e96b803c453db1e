"""Reports: a study's folder in; text, Markdown, LaTeX, JSON, HTML, figures and tables out."""

from raysearch.report.as_json import plain as to_plain
from raysearch.report.as_json import render as to_json
from raysearch.report.build import build
from raysearch.report.layers import SELECTED, Layers, Truth
from raysearch.report.markdown import render as to_markdown
from raysearch.report.model import Column, Report, Section, Table
from raysearch.report.selected import confusion
from raysearch.report.text import render as to_text
from raysearch.report.text import show

__all__ = [
    "SELECTED",
    "Column",
    "Layers",
    "Report",
    "Section",
    "Table",
    "Truth",
    "build",
    "confusion",
    "show",
    "to_json",
    "to_markdown",
    "to_plain",
    "to_text",
]
