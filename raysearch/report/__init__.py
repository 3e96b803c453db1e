"""Reports: a study's folder in; text, Markdown, LaTeX, JSON, HTML, figures and tables out."""

from raysearch.report.build import build
from raysearch.report.document import Column, Report, Section, Table
from raysearch.report.formats.json import plain as to_plain
from raysearch.report.formats.json import render as to_json
from raysearch.report.formats.markdown import render as to_markdown
from raysearch.report.formats.text import render as to_text
from raysearch.report.formats.text import show, show_screen
from raysearch.report.sections.noise_curve import NoiseLevel, NoiseTest
from raysearch.report.sections.selected_setting import confusion
from raysearch.report.sections.tsne import SELECTED, Layers, Truth

__all__ = [
    "SELECTED",
    "Column",
    "Layers",
    "NoiseLevel",
    "NoiseTest",
    "Report",
    "Section",
    "Table",
    "Truth",
    "build",
    "confusion",
    "show",
    "show_screen",
    "to_json",
    "to_markdown",
    "to_plain",
    "to_text",
]
