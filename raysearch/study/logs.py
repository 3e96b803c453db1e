"""Logs of other systems, kept beside the results and off the user's screen."""

from __future__ import annotations

import contextlib
import logging
from pathlib import Path

from raysearch.errors import without_passwords


class LogFile(logging.FileHandler):
    """A log whose own trouble, on a full disk say, is not the user's: the study tells of that.

    Args:
        path: the file, opened when there is something to write.
    """

    def __init__(self, path: Path | str) -> None:
        super().__init__(path, delay=True)
        self.setFormatter(logging.Formatter("%(asctime)s %(name)s %(levelname)s %(message)s"))

    def format(self, record: logging.LogRecord) -> str:
        """The record as text, without the passwords of the addresses in it."""
        return without_passwords(super().format(record))

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record, where the file can be written: of a home that one may only read, not."""
        with contextlib.suppress(OSError):
            super().emit(record)

    def handleError(self, record: logging.LogRecord) -> None: ...
