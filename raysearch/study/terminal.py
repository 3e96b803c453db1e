"""Where commands write: terminals and pipes that are no UTF-8, and readers that go away."""

from __future__ import annotations

import _thread
import codecs
import os
import signal
import sys
from typing import Any, TextIO

from rich.console import Console

_PLAIN = {
    **dict.fromkeys("─━═–−‐‑—", "-"),
    **dict.fromkeys("│┃", "|"),
    **dict.fromkeys("“”„", '"'),
    **dict.fromkeys("‘’‚", "'"),
    "…": "...",
    "±": "+/-",
    "×": "x",
    "≤": "<=",
    "≥": ">=",
    "≈": "~",
    "→": "->",
    "⏵": ">",
    "·": "-",
    "\u00a0": " ",
    "\u2009": " ",
    "\u202f": " ",
}
"""our own signs for terminals that have no such character"""
_ERRORS = "raysearch.plain"


def _plain(error: UnicodeError) -> tuple[str, int]:
    """An encoder's error handler: our signs in ASCII, other characters as escapes.

    A byte of a name that is no UTF-8 is printed as \\xNN.
    """
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(map(_escaped, error.object[error.start : error.end])), error.end


def _escaped(sign: str) -> str:
    if "\udc80" <= sign <= "\udcff":
        return f"\\x{ord(sign) - 0xDC00:02x}"
    return _PLAIN.get(sign) or sign.encode("ascii", "backslashreplace").decode("ascii")


def take_any_text() -> None:
    """Make stdout and stderr print every text, whatever their encoding has."""
    codecs.register_error(_ERRORS, _plain)
    for stream in (sys.stdout, sys.stderr):
        if stream is not None and hasattr(stream, "reconfigure"):
            stream.reconfigure(errors=_ERRORS)


def silence(stream: TextIO | None) -> None:
    """Let what is still written to a stream without a reader go nowhere."""
    if stream is None:
        return
    try:
        number = stream.fileno()
    except (OSError, ValueError):
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, number)
    os.close(nowhere)


class _Watched:
    """A stream whose reader may go: of a pipe, or a terminal that is closed.

    Without a reader of stdout there is nothing to do: the command ends. One of stderr reads the
    progress, and a command that has lost it ends as on SIGTERM, so that it closes what it began.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except OSError as error:
            return self._lost(error)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError as error:
            self._lost(error)

    def _lost(self, error: OSError) -> int:
        silence(self._stream)
        if self._stream is sys.stderr:
            _thread.interrupt_main(signal.SIGTERM)  # any thread may have written
            return 0
        raise BrokenPipeError(*error.args) from error


class _Lasting(Console):
    """A console without rich's own answer to a broken pipe, an exit past every handler."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


def console(*, stderr: bool = False) -> Console:
    """A console on stdout, or on stderr, that outlives its reader; without highlighting."""
    stream = sys.stderr if stderr else sys.stdout
    if stream is None:  # closed by the shell
        return Console(stderr=stderr, highlight=False)
    return _Lasting(file=_Watched(stream), highlight=False)  # type: ignore[arg-type]
