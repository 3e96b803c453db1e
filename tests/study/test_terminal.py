"""Streams of other encodings, and streams whose reader has gone."""

from __future__ import annotations

import io
import os
import signal
import sys
import threading
from collections.abc import Iterator
from typing import TextIO

import pytest

from raysearch.study import terminal


@pytest.mark.parametrize(
    ("encoding", "text", "printed"),
    [
        ("ascii", "78.9 ± 9.8 − 1 … ─", b"78.9 +/- 9.8 - 1 ... -"),
        ("latin-1", "ä ± − é", b"\xe4 \xb1 - \xe9"),
        ("ascii", "Günther 😀", rb"G\xfcnther \U0001f600"),
        ("utf-8", "a\udce4.wav ä", b"a\\xe4.wav \xc3\xa4"),
    ],
)
def test_every_text_can_be_printed(
    encoding: str, text: str, printed: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding=encoding))
    terminal.take_any_text()
    print(text, end="", flush=True)
    assert raw.getvalue() == printed


@pytest.fixture
def lost() -> Iterator[TextIO]:
    """A pipe whose reader has gone."""
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w", encoding="utf-8") as stream:
        yield stream


def test_results_without_a_reader_end_the_command(
    lost: TextIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdout", lost)
    with pytest.raises(BrokenPipeError):
        terminal.console().print("a result")
    sys.stdout.write("goes nowhere")
    sys.stdout.flush()


def test_progress_without_a_reader_ends_as_on_sigterm(
    lost: TextIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stderr", lost)
    ended = threading.Event()
    before = signal.signal(signal.SIGTERM, lambda *_: ended.set())
    try:
        console = terminal.console(stderr=True)
        thread = threading.Thread(target=console.print, args=("a line",))
        thread.start()
        thread.join()
        assert ended.wait(5)
        console.print("goes nowhere")
    finally:
        signal.signal(signal.SIGTERM, before)
