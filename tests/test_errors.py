"""An error of any system, as a sentence of ours holds it."""

from __future__ import annotations

from raysearch.errors import one_line


class Wrapped(Exception):
    """As Ray's: the cause of what a task raised."""

    cause = KeyError("gamma")


def test_an_error_is_one_line_without_passwords() -> None:
    assert one_line(OSError("a\n  b postgresql://u:pw@h/d.")) == "a b postgresql://…@h/d"
    assert one_line(OSError()) == "OSError"
    assert one_line(OSError("x" * 500), 160) == "x" * 159 + "…"
    assert one_line("a message") == "a message"


def test_what_ray_wraps_speaks_for_itself() -> None:
    assert one_line(Wrapped("a long story of tasks")) == "'gamma'"
