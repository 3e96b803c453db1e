"""A table of text as people bring it: separators, comments, quotes, line ends and encodings."""

from __future__ import annotations

import csv
import io
import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from raysearch.errors import BadInput

csv.field_size_limit(2**31 - 1)  # a long transcript is no error
_WIDE = {
    "UTF-32": (b"\xff\xfe\0\0", b"\0\0\xfe\xff"),
    "UTF-16": (b"\xff\xfe", b"\xfe\xff"),
}
"""how texts of more than a byte a sign begin"""


def read_cells(path: Path, what: str = "manifest") -> pd.DataFrame:
    """A CSV as stripped text in Unicode's composed form (NFC), its header in lower case.

    Commas, semicolons, tabs or | separate cells; a first line `sep=;` says which. Lines before the
    header that start with '#' are remarks, blank lines are skipped, and a quote may follow a space.
    Quotes are double, or single where they stand around all names of the header. Only line feeds
    and carriage returns end a line: U+0085, U+2028 and form feeds belong to cells.

    Args:
        path: the file, in UTF-8.
        what: what to call it in messages.

    Returns:
        A frame of str whose index holds each row's (last) line in the file, from 1.

    Raises:
        BadInput: there is no such file, it is no UTF-8 text, or it is no table with rows.
    """
    lines = _text(path, what).replace("\r\n", "\n").replace("\r", "\n").split("\n")
    start, separator = 0, ""
    if lines[0].lower().startswith("sep=") and len(lines[0].strip()) == 5:
        start, separator = 1, lines[0][4]
    while start < len(lines) and (not lines[start].strip() or lines[start].startswith("#")):
        start += 1
    head = "".join(lines[start : start + 1])
    separator = separator or max(",;\t|", key=head.count)
    names = [name.strip() for name in head.split(separator)]
    quote = "'" if all(len(x) > 1 and x[0] == x[-1] == "'" for x in names) else '"'
    rows = [row for row in _rows(lines, start, separator, quote) if any(row.cells)]
    if len(rows) < 2:
        raise BadInput(f"The {what} {path} has no rows: it needs a header and one row a clip.")
    columns = [name.strip().lower() for name in rows[0].cells]
    if doubled := sorted({name for name in columns if columns.count(name) > 1}):
        raise BadInput(f"The {what} {path} has the column {doubled[0]!r} twice.")
    last = rows[-1]
    if last.last > last.first + 1 and "".join(lines[last.first :]).count(quote) % 2:
        raise BadInput(
            f"The {what} {path} has a quote ({quote}) in line {last.first + 1} that is never "
            "closed: all lines behind it are in one cell; close it, or take it out."
        )
    width = len(columns)
    for row in rows[1:]:
        if len(row.cells) < width or any(row.cells[width:]):
            several = row.last > row.first + 1
            where = f"of lines {row.first + 1} to {row.last}" if several else str(row.last)
            hint = f"close the quote that line {row.first + 1} opens, or " if several else ""
            raise BadInput(
                f"The {what} {path} has {width} columns, but row {where} has "
                f"{len(row.cells)} cells: {hint}quote cells that hold a {separator!r}."
            )
    cells = [[_plain(cell) for cell in row.cells[:width]] for row in rows[1:]]
    return pd.DataFrame(cells, columns=columns, index=[row.last for row in rows[1:]], dtype=str)


class _CsvRow(NamedTuple):
    """The cells of a row, and its lines from `first` (from 0) up to `last`."""

    cells: list[str]
    first: int
    last: int


def _rows(lines: Sequence[str], start: int, separator: str, quote: str) -> Iterator[_CsvRow]:
    reader = csv.reader(
        io.StringIO("\n".join(lines[start:]), newline=""),
        delimiter=separator,
        quotechar=quote,
        skipinitialspace=True,
    )
    before = start
    for cells in reader:
        yield _CsvRow(cells, before, start + reader.line_num)
        before = start + reader.line_num


def _plain(cell: str) -> str:
    """A cell as it is meant; a spreadsheet writes ="01" so that a 0 stays."""
    text = unicodedata.normalize("NFC", cell.strip())
    return text[2:-1] if len(text) > 3 and text.startswith('="') and text[-1] == '"' else text


def _text(path: Path, what: str) -> str:
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        folder = path.parent
        there = sorted(one.name for one in folder.glob("*.[ct]sv")) if folder.is_dir() else []
        hint = f"; {folder} has {', '.join(there[:5])}" if there else ""
        raise BadInput(f"There is no {what} {path}: give its path in corpus.root{hint}.") from None
    except OSError as error:
        raise BadInput(f"The {what} {path} cannot be read: {error.strerror or error}.") from None
    wide = next((name for name, starts in _WIDE.items() if data.startswith(starts)), "")
    if not wide and b"\0" in data[:4]:
        wide = "UTF-16BE" if data[:1] == b"\0" else "UTF-16LE"
    if wide:
        raise BadInput(
            f"The {what} {path} is {wide} text, and must be UTF-8: iconv -f {wide} -t UTF-8 makes "
            "it so, or 'CSV UTF-8' in a spreadsheet's list of formats."
        )
    if b"\0" in data:
        line = data[: data.index(b"\0")].count(b"\n") + 1
        raise BadInput(
            f"The {what} {path} has a NUL byte in line {line}, so it is no text, or was cut when "
            "it was written: write it again."
        )
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise BadInput(
            f"The {what} {path} is no UTF-8 text (line {line} has the byte "
            f"0x{data[error.start]:02x}): if it is Latin-1, iconv -f LATIN1 -t UTF-8 makes it so."
        ) from None
