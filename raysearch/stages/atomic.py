"""Files that others may read while they are written: they are whole, or they are not there."""

from __future__ import annotations

import errno
import os
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

READ_ONLY = frozenset({errno.EROFS, errno.EACCES, errno.EPERM})
"""what the system answers where one may not write"""


def is_text(name: str) -> bool:
    """Whether a name is UTF-8 text; the bytes of other names are lone surrogates in Python."""
    return escaped(name) == name


def escaped(name: str) -> str:
    """A name as text: of one that is no UTF-8, the bytes that are none stand there as \\xNN."""
    if name.isascii():
        return name
    try:
        data = name.encode(errors="surrogateescape")
    except UnicodeEncodeError:  # no name of a file
        data = name.encode(errors="surrogatepass")
    return data.decode(errors="backslashreplace")


def is_escaped(path: str) -> bool:
    """Whether a path is what `escaped` made of the name of a file that is there."""
    raw = re.sub(rb"\\x([0-9a-f]{2})", lambda hit: bytes.fromhex(hit[1].decode()), path.encode())
    return raw != path.encode() and os.path.exists(raw)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path beside `path` to write to; it takes the place of `path` when the block ends.

    The folder of `path` is made where it is absent. After an error `path` is as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.aside")
    try:
        yield aside
        os.replace(aside, path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise


def write_whole(path: Path, data: bytes | str) -> Path:
    """Write a file (text as UTF-8), or leave it as it was. Returns `path`."""
    with replacing(path) as aside:
        aside.write_bytes(data.encode() if isinstance(data, str) else data)
    return path
