"""The commands `submit` and `stop`: studies as jobs of a Ray cluster."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from raysearch.cli.commands import COMMANDS
from raysearch.cli.words import read_words
from raysearch.cluster import jobs


def submit(words: Sequence[str]) -> str:
    """Send a study to a cluster as a Ray job."""
    return jobs.submit(words, Path.cwd())


def stop(words: Sequence[str]) -> str:
    """End a submitted job."""
    values = read_words(words, COMMANDS["stop"].keys)
    return jobs.stop(values["job"], values["cluster"])
