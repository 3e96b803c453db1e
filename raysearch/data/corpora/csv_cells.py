"""A table of text as people bring it: separators, comments, quotes, line ends and encodings."""

from __future__ import annotations

import csv
import io
import unicodedata
from pathlib import Path

import pandas as pd

from raysearch.errors import BadInput


def read_cells(path: Path, what: str = "manifest") -> pd.DataFrame:
    """A CSV as stripped text in Unicode's composed form (NFC), its header in lower case.

    Commas, semicolons or tabs separate cells; a first line `sep=;` says which. Lines before the
    header that start with '#' are remarks, blank lines are skipped, and a quote may follow a space.
    Only line feeds and carriage returns end a line: U+0085, U+2028 and form feeds belong to cells.

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
    body = lines[start:]
    separator = separator or max(",;\t", key=(body or [""])[0].count)
    reader = csv.reader(
        io.StringIO("\n".join(body), newline=""), delimiter=separator, skipinitialspace=True
    )
    rows = [(start + reader.line_num, row) for row in reader if any(row)]
    if len(rows) < 2:
        raise BadInput(f"The {what} {path} has no rows: it needs a header and one row a clip.")
    columns = [name.strip().lower() for name in rows[0][1]]
    if doubled := sorted({name for name in columns if columns.count(name) > 1}):
        raise BadInput(f"The {what} {path} has the column {doubled[0]!r} twice.")
    for number, row in rows[1:]:
        if len(row) != len(columns):
            raise BadInput(
                f"The {what} {path} has {len(columns)} columns, but row {number} has {len(row)} "
                f"cells: quote cells that hold a {separator!r}."
            )
    cells = [[unicodedata.normalize("NFC", cell.strip()) for cell in row] for _, row in rows[1:]]
    return pd.DataFrame(cells, columns=columns, index=[n for n, _ in rows[1:]], dtype=str)


def _text(path: Path, what: str) -> str:
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise BadInput(f"There is no {what} {path}: give its path in corpus.root.") from None
    except OSError as error:
        raise BadInput(f"The {what} {path} cannot be read: {error.strerror or error}.") from None
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise BadInput(
            f"The {what} {path} is UTF-16 text, and must be UTF-8: iconv -f UTF-16 -t UTF-8 makes "
            "it so, or 'CSV UTF-8' in a spreadsheet's list of formats."
        )
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise BadInput(
            f"The {what} {path} is no UTF-8 text (line {line} has the byte "
            f"0x{data[error.start]:02x}): if it is Latin-1, iconv -f LATIN1 -t UTF-8 makes it so."
        ) from None
