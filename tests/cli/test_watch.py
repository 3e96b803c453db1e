"""`watch` in a pty and in a pipe, on a real driver that is killed and goes on."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


class Pty:
    """A command in a terminal of 100 columns; `seen` is what it has drawn so far."""

    def __init__(self, command: list[str], folder: Path, environment: dict[str, str]) -> None:
        self._mine, theirs = pty.openpty()
        self.process = subprocess.Popen(
            command,
            cwd=folder,
            env={**environment, "TERM": "xterm", "COLUMNS": "100", "LINES": "30"},
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        )
        os.close(theirs)
        self._drawn = b""
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        with contextlib.suppress(OSError):  # the other end has gone
            while piece := os.read(self._mine, 65536):
                self._drawn += piece

    @property
    def seen(self) -> str:
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", self._drawn.decode(errors="replace"))

    def wait(self, seconds: float) -> int:
        code = self.process.wait(seconds)
        self._reader.join(5)
        os.close(self._mine)
        return code


def wait_for(holds: Any, seconds: float = 100) -> None:
    until = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.2)


def test_watching_a_driver_that_is_killed_and_goes_on(shell: Any) -> None:
    words = ("tracking=false", "params.delay=1", "cpus=0.5")
    driver = shell.start(*words, "trials=200")  # it is not to end before it is killed
    command = [sys.executable, "-m", "raysearch", "watch", "home=runs"]
    try:
        wait_for(lambda: list(shell.folder.glob("runs/studies/*/ledger.sqlite")))
        (folder,) = shell.folder.glob("runs/studies/*")
        wait_for(lambda: len(shell.executions()) > 12)
        terminal = Pty(command, shell.folder, shell.environment)
        pipe = subprocess.Popen(
            [*command, "every=1"],
            cwd=shell.folder,
            env=shell.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        leaver = Pty(command, shell.folder, shell.environment)
        wait_for(lambda: "heartbeat" in terminal.seen and "heartbeat" in leaver.seen)
        os.kill(leaver.process.pid, signal.SIGINT)
        assert leaver.wait(20) == 130
        assert "the study itself goes on" in leaver.seen
        assert driver.poll() is None, "Ctrl-C in `watch` is no business of the study's"

        wait_for(lambda: "honest so far UA" in terminal.seen)
        os.killpg(driver.pid, signal.SIGKILL)
        driver.wait()
        assert terminal.wait(60) == 3
        out, err = pipe.communicate(timeout=60)
        assert pipe.returncode == 3, err
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(driver.pid, signal.SIGKILL)
        driver.wait()

    assert f"held by process {driver.pid} on " in terminal.seen
    assert "/200 trials" in terminal.seen
    assert "shrink=" in terminal.seen
    assert "\x1b" not in out, "a pipe gets plain lines"
    assert f"held by process {driver.pid}" in out
    assert "honest so far UA" in out
    *_, last = [line for line in out.splitlines() if line.startswith(folder.name)]
    assert "nobody holds it, the last heartbeat was" in last
    assert "the same tune command goes on" in last

    status = shell.run("status")
    assert "nobody holds it" in status.out
    # SQLite's own index of readers (-shm) apart, it only reads
    kept = [path for path in folder.iterdir() if not path.name.endswith("-shm")]
    before = {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in kept}
    gone = shell.run("watch", f"study={folder.name}")
    assert gone.code == 3
    assert "nobody holds it" in gone.out
    assert {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in kept} == before

    again = shell.start(*words, "trials=1")  # those under way when it was killed go on
    wait_for(lambda: str(again.pid) in (folder / "lease.json").read_text())
    assert f"running in process {again.pid}" in shell.run("status").out
    done = shell.run("watch", timeout=120)
    assert again.wait(30) == 0
    said = (shell.folder / "background.err").read_text()
    assert "ran this study and was killed; this one goes on" in said
    assert done.code == 0, done.err
    trials = shell.report()["trials"]
    assert trials["running"] == 0
    assert f"{trials['complete']} of {trials['complete']} trials" in done.out
    honest = shell.report()["estimates"]["honest"]["ua"]
    assert f"honest estimate UA {100 * honest:.1f} %" in done.out
    assert shell.run("watch").code == 0, "a study that is done says so at once"


def test_a_study_that_fails_and_one_that_is_not_there(shell: Any) -> None:
    done = shell.tune("params.shrink=0.5", "params.fail_at=0.5", "trials=1", "tracking=false")
    assert done.code == 1
    watched = shell.run("watch")
    assert watched.code == 1
    assert "failed: no trial of" in watched.out
    assert "was told to fail" in watched.out
    assert shell.run("watch", "home=elsewhere").code == 2
    assert "every must be" in shell.run("watch", "every=soon").err
