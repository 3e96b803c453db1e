"""A report for a terminal, or for a log 80 columns wide."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.padding import Padding
from rich.table import Table as Grid
from rich.text import Text

from raysearch.report.cells import cell, groups, term
from raysearch.report.document import Column, Report, Section, Table
from raysearch.study.terminal import console as terminal
from raysearch.study.wording import graves, many

CAUTIONS = 3
"""lines that the screen's warnings may take"""

_WRAPS = {"text", "params"}
_UNBOUNDED = 10_000


def show(report: Report, console: Console | None = None) -> None:
    """Print the report: the screen that ends `tune`, then all else.

    Args:
        report: what to print.
        console: where to (default: stdout, in colour and as wide as the terminal if it is one).
    """
    out = console or terminal()
    _print_screen(report, out, "all of them stand below")
    if len(_first(report.warnings, out.width)) < len(report.warnings):
        out.print()
        out.print(Text("What the scores do not say", style="bold"))
        _print_warnings(report.warnings, out)
    for section in report.sections:
        if not section.opening:
            out.print()
            _print_section(section, out)


def show_screen(report: Report, console: Console | None = None) -> None:
    """Print what a study's end is worth on one screen; `console` as for `show`."""
    _print_screen(report, console or terminal(), "the report has all of them")


def render(report: Report, width: int = 80, colour: bool = False) -> str:
    """What `show` prints, as a string, without escape codes unless `colour` is true."""
    file, console = _paper(width, colour)
    show(report, console)
    return _stripped(file)


def render_screen(report: Report, width: int = 100) -> str:
    """What `show_screen` prints, as a string."""
    file, console = _paper(width, colour=False)
    show_screen(report, console)
    return _stripped(file)


def _paper(width: int, colour: bool) -> tuple[io.StringIO, Console]:
    file = io.StringIO()
    return file, Console(
        file=file,
        force_jupyter=False,  # there rich would show the text and write nothing
        width=width,
        force_terminal=colour,
        color_system="standard" if colour else None,
        highlight=False,
        legacy_windows=False,
    )


def _stripped(file: io.StringIO) -> str:
    return "\n".join(line.rstrip() for line in file.getvalue().splitlines()) + "\n"


# -- parts -----------------------------------------------------------------------------------------
def _print_screen(report: Report, out: Console, rest: str) -> None:
    """The opening sections behind what was run and the first warnings.

    `rest`: where the other warnings are.
    """
    out.print(Text(f"Study {report.study}", style="bold cyan"))
    for line in report.headline:
        out.print(_indented(Text(line)))
    first = _first(report.warnings, out.width)
    _print_warnings(first, out)
    _print_left(report.warnings[len(first) :], out, rest)
    for section in report.sections:
        if section.opening:
            out.print()
            _print_section(section, out)


def _print_left(warnings: Sequence[str], out: Console, rest: str) -> None:
    """One line for warnings that found no room, with those named that no figure stands without."""
    if not warnings:
        return
    kinds = graves(warnings)
    of = f", of {kinds} too" if kinds else ""
    text = f"! {many(len(warnings), 'more caution')}{of}: {rest}"
    out.print(_indented(Text(text, style="yellow")))


def _first(warnings: Sequence[str], width: int) -> Sequence[str]:
    """The warnings that fit into `CAUTIONS` lines, one of them kept for those that do not."""
    lines = [len(textwrap.wrap(text, max(20, width - 4))) for text in warnings]
    if sum(lines) <= CAUTIONS:
        return warnings
    count = 0
    while sum(lines[: count + 1]) < CAUTIONS:
        count += 1
    return warnings[:count]


def _print_warnings(warnings: Sequence[str], out: Console) -> None:
    for line in warnings:
        out.print(_indented(_hanging("! ", Text(line, style="yellow"))))


def _print_section(section: Section, out: Console) -> None:
    out.print(Text(section.title, style="bold"))
    first = section.name == "estimates"
    for line in section.before:
        out.print(_indented(Text(line, style="bold green" if first else "")))
    if section.table is not None:
        grid = _grid(section.table)
        whole = out.measure(grid, options=out.options.update_width(_UNBOUNDED)).maximum
        grid.collapse_padding = whole > out.width - 2  # the room is needed for words and numbers
        out.print(_indented(grid))
    for line in section.after:
        explanation = term(line)
        if explanation is not None:
            word, rest = explanation
            out.print(_indented(_hanging(f"{word:<9} ", Text(rest), style="bold")))
        else:
            out.print(_indented(Text(line, style="dim")))


def _indented(what: Text | Grid) -> Padding:
    return Padding(what, (0, 0, 0, 2), expand=False)


def _grid(table: Table) -> Grid:
    grid = Grid(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1))
    for column in table.columns:
        grid.add_column(
            Text(column.heading),
            justify="left" if column.left else "right",
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
