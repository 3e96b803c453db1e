"""Commands that wait say so."""

from __future__ import annotations

import time

import pytest

from raysearch.cli.silence import speaking
from raysearch.stages.outage import outage_of


def test_a_command_that_waits_says_so_and_what_for(capfd: pytest.CaptureFixture[str]) -> None:
    with speaking("plan", every=0.05):
        time.sleep(0.12)
        outage_of("the store at s3://away").wait("connection refused", 1.0)
    lines = capfd.readouterr().err.splitlines()
    assert lines[0] == "raysearch: plan is at work for 0 s"
    assert lines[-1].startswith("raysearch: the store at s3://away does not answer (connection")
    outage_of("the store at s3://away").answered()
    time.sleep(0.1)
    assert capfd.readouterr().err == "", "it ends with the block"
