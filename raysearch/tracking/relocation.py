"""A home that was moved or copied: where its own database says that MLflow's files lie.

MLflow notes whole addresses. Those of a home's database lead into the folder of before, where files
would be looked for, and new ones written.
"""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

_FOLDER = "mlartifacts"
_PREFIX = "raysearch/"
"""how the names of experiments begin that a study has made"""
_COLUMNS = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)


def relocate(database: Path, home: Path) -> int:
    """Let the addresses in a database lead to the files that lie beside it now.

    Args:
        database: SQLite's file; one that is absent, or of other tables, is left alone.
        home: the folder that holds the artifacts; where it holds none, nothing is changed.

    Returns:
        How many addresses were changed: 0 where the home has not moved.
    """
    if not database.is_file() or not (home / _FOLDER).is_dir():
        return 0
    place = (home.resolve() / _FOLDER).as_uri()
    try:
        with contextlib.closing(sqlite3.connect(database, timeout=5.0)) as connection, connection:
            before = {
                str(address).removesuffix(f"/{name}")
                for name, address in connection.execute(
                    "select name, artifact_location from experiments where name like ?",
                    (f"{_PREFIX}%",),
                )
                if str(address).endswith(f"/{_FOLDER}/{name}")
            }
            return sum(_replace(connection, old, place) for old in before - {place})
    except sqlite3.Error:
        return 0  # what MLflow cannot read either, it tells itself


def _replace(connection: sqlite3.Connection, old: str, new: str) -> int:
    there = {
        (table, column)
        for table, _ in _COLUMNS
        for _, column, *_ in connection.execute(f"pragma table_info({table})")
    }
    return sum(
        connection.execute(
            f"update {table} set {column} = ? || substr({column}, ?) "
            f"where substr({column}, 1, ?) = ?",
            (new, len(old) + 1, len(old) + 1, f"{old}/"),
        ).rowcount
        for table, column in _COLUMNS
        if (table, column) in there
    )
