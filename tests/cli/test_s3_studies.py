"""Studies whose store is a real S3 server that goes away."""

from __future__ import annotations

import re
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.s3_server import BUCKET, S3Server, need_s3

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
STORE = f"store=s3://{BUCKET}/raysearch"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Server]:
    need_s3()
    one = S3Server()
    for name, value in one.environment().items():
        monkeypatch.setenv(name, value)
    yield one
    one.close()


def follow(process: subprocess.Popen[str], file: Path, mark: str) -> None:
    """Wait until the screen of a study shows a mark."""
    end = time.monotonic() + 120
    while not re.search(mark, file.read_text()):
        assert process.poll() is None, file.read_text()
        assert time.monotonic() < end, file.read_text()
        time.sleep(0.1)


def gaps(process: subprocess.Popen[str], file: Path, most: float) -> list[float]:
    """The seconds between two lines on the screen until the study ends, those above `most`."""
    found, size, last = [], file.stat().st_size, time.monotonic()
    while process.poll() is None:
        if (now := file.stat().st_size) > size:
            size, last = now, time.monotonic()
        elif time.monotonic() - last > most:
            found.append(time.monotonic() - last)
            last = time.monotonic()
        time.sleep(0.2)
    return found


def test_an_outage_is_waited_for_and_a_long_one_ends_the_study_cleanly(
    shell: Any, server: S3Server
) -> None:
    words = (STORE, "tracking=false", "trials=4", "params.delay=0.5")
    screen = shell.folder / "background.err"
    process = shell.start(*words, "store_wait=100")
    follow(process, screen, r"trial \d+ \(1 of 4\)")
    server.shut()
    threading.Timer(20, server.open).start()
    silences = gaps(process, screen, 15)
    text = screen.read_text()
    assert process.returncode == 0, text
    assert not silences, text
    assert "does not answer (connection refused): waiting, for" in text
    assert "answers again" in text
    closing = (shell.folder / "background.out").read_text()
    computed = int(re.search(r"This session: (\d+) stages computed", closing)[1])  # type: ignore[index]
    assert computed == len(shell.executions()) == len(server.objects())
    assert "0 failed" not in text
    assert "failed" not in shell.run("status").out

    process = shell.start(*words, "store_wait=3", "seed=7")
    follow(process, screen, r"trial \d+ \(1 of 4\)")
    server.shut()
    process.wait(timeout=120)
    text = screen.read_text()
    assert process.returncode == 1, text
    assert re.search(r"cannot be (written|read) after 3 s of waiting: .* the same command", text)
    assert "Traceback" not in text
    away = shell.tune(*words, "seed=7")
    assert away.code == 2, away.err
    assert away.err.count("raysearch: store=") == 1, away.err
    planned = shell.run("plan", "space=toy.yaml", f"corpus.root={shell.tones}", *words, "seed=7")
    assert planned.code == 2, planned.err
    assert planned.err.count("\n") == 1, planned.err
    server.open()
    again = shell.tune(*words, "seed=7")
    assert again.code == 0, again.err
    assert "4 of 4 trials" in again.err
    assert "failed" not in again.err, "no trial was written off"
