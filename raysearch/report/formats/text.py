"""A report for a terminal, or for a log 80 columns wide."""

from __future__ import annotations

import io

from rich import box
from rich.console import Console
from rich.padding import Padding
from rich.table import Table as Grid
from rich.text import Text

from raysearch.report.cells import cell, groups, term
from raysearch.report.document import Column, Report, Section, Table

_WRAPS = {"text", "params"}
_UNBOUNDED = 10_000


def show(report: Report, console: Console | None = None) -> None:
    """Print the report (default: on stdout, in colour and as wide as the terminal if it is one)."""
    out = console or Console(highlight=False)
    out.print(Text(f"Study {report.study}", style="bold cyan"))
    for line in report.headline:
        out.print(Padding(Text(line), (0, 0, 0, 2)))
    for line in report.warnings:
        out.print(Padding(_hanging("! ", Text(line, style="yellow")), (0, 0, 0, 2)))
    for section in report.sections:
        out.print()
        _section(section, out)


def render(report: Report, width: int = 80, colour: bool = False) -> str:
    """The same as a string, without escape codes unless `colour` is true."""
    file = io.StringIO()
    console = Console(
        file=file,
        force_jupyter=False,  # there rich would show the text and write nothing
        width=width,
        force_terminal=colour,
        color_system="standard" if colour else None,
        highlight=False,
        legacy_windows=False,
    )
    show(report, console)
    return "\n".join(line.rstrip() for line in file.getvalue().splitlines()) + "\n"


def _section(section: Section, out: Console) -> None:
    out.print(Text(section.title, style="bold"))
    first = section.name == "estimates"
    for line in section.before:
        out.print(Padding(Text(line, style="bold green" if first else ""), (0, 0, 0, 2)))
    if section.table is not None:
        grid = _grid(section.table)
        whole = out.measure(grid, options=out.options.update_width(_UNBOUNDED)).maximum
        grid.collapse_padding = whole > out.width - 2  # the room is needed for words and numbers
        out.print(Padding(grid, (0, 0, 0, 2)))
    for line in section.after:
        told = term(line)
        if told is not None:
            word, rest = told
            out.print(Padding(_hanging(f"{word:<9} ", Text(rest), style="bold"), (0, 0, 0, 2)))
        else:
            out.print(Padding(Text(line, style="dim"), (0, 0, 0, 2)))


def _grid(table: Table) -> Grid:
    grid = Grid(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1))
    for column in table.columns:
        left = column.left
        grid.add_column(
            Text(column.heading),
            justify="left" if left else "right",
            no_wrap=column.kind not in _WRAPS,
            overflow="fold",
            min_width=_longest_word(table, column) if column.once else None,
        )
    first = 0
    for group in groups(table):
        styles = ["bold" if first + i == table.strong else "" for i in range(len(group))]
        first += len(group)
        texts = [
            [
                Text(cell(row[column.name], column.kind), style)
                for row, style in zip(group, styles, strict=True)
            ]
            for column in table.columns
        ]
        # one row of several lines, so that what stands once may be wrapped beside them
        grid.add_row(
            *(
                each[0] if column.once else Text("\n").join(each)
                for column, each in zip(table.columns, texts, strict=True)
            )
        )
    return grid


def _longest_word(table: Table, column: Column) -> int:
    words = [word for text in table.frame[column.name] for word in str(text).split()]
    return min(max(map(len, words), default=1), 12)


def _hanging(mark: str, text: Text, style: str = "yellow") -> Grid:
    """`text` behind `mark`, its further lines indented to where it began."""
    grid = Grid.grid()
    grid.add_column(width=len(mark), no_wrap=True)
    grid.add_column(ratio=1)
    grid.add_row(Text(mark, style=style), text)
    return grid
