"""What can go wrong, and what the command line makes of it.

- `RaysearchError`
  - `BadInput`      the user's input is at fault: exit 2, one message, every problem listed
  - `StudyFailed`   the study could not give a result: exit 1
  - `StoreFailed`   the store cannot be written or read, so the study cannot go on: exit 1
  - `StudyHeld`     another driver holds the study: exit 1
  - `ClusterFailed` a Ray cluster cannot be reached, or does not let us in: exit 1
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

QUERY_SECRET = re.compile(r"(?i)([?&][^=&]*(?:password|token|secret)[^=&]*=)[^&\s'\"]*")
_USER_SECRET = re.compile(r"(?i)\b([a-z][a-z0-9+.-]*://)([^\s/'\"]*)@")


class RaysearchError(Exception):
    """Base of every error that raysearch raises on purpose."""

    exit_code = 1


class BadInput(RaysearchError):
    """One or more problems with what the user gave.

    Each problem is one sentence that names the thing, its value and the remedy.
    """

    exit_code = 2

    def __init__(self, problems: str | Sequence[str]) -> None:
        self.problems: tuple[str, ...] = (
            (problems,) if isinstance(problems, str) else tuple(problems)
        )
        super().__init__("\n".join(self.problems))


class StudyFailed(RaysearchError):
    """The study ended without a result (every trial failed, or its files could not be written)."""


class StoreFailed(RaysearchError):
    """The store cannot be written or read; the study cannot go on."""


class StudyHeld(RaysearchError):
    """Another driver holds this study's lease."""


class ClusterFailed(RaysearchError):
    """A Ray cluster cannot be reached, does not let us in, or refused a job."""


@contextmanager
def any_error_as(build: Callable[[Exception], Exception]) -> Iterator[None]:
    """Whatever the block raises becomes the error that `build` makes of it.

    For calls of libraries, files and modules of others, which may fail in any way.
    """
    try:
        yield
    except Exception as error:
        raise build(error) from error


def near(name: str, known: Iterable[str]) -> str:
    """' (did you mean X?)' for the nearest known name, or '' where none is near."""
    matches = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f" (did you mean {matches[0]!r}?)" if matches else ""


def without_passwords(text: str) -> str:
    """A message of another system, without what stands before the host in its addresses."""
    return QUERY_SECRET.sub(r"\1…", _USER_SECRET.sub(r"\1…@", text))


def one_line(error: object, limit: int = 300) -> str:
    """An error, or a message, of any system on one line, without passwords.

    Args:
        error: where Ray wraps what a task raised, its cause speaks.
        limit: characters at most.

    Returns:
        What it says; the name of its class where it says nothing.
    """
    cause = getattr(error, "cause", None) or error
    text = without_passwords(" ".join(str(cause).split())).rstrip(".") or type(cause).__name__
    return text if len(text) <= limit else f"{text[: limit - 1]}…"
