"""Where a manifest's table is, and what it names: known before anything is read."""

from __future__ import annotations

import unicodedata
from pathlib import Path


def table_of(root: Path, csv: object = None) -> Path:
    """The CSV of a manifest, by `corpus.root` and `corpus.options.csv`."""
    if csv:
        return (root.parent if root.is_file() else root) / str(csv)
    return root if root.is_file() else root / "manifest.csv"


def name_of_table(table: Path) -> str:
    """What a manifest's study is named by: its CSV, or the folder of a CSV called manifest."""
    folder = table.parent.resolve()
    name = folder.name if table.stem.lower() == "manifest" else table.stem
    return unicodedata.normalize("NFC", name) or "manifest"
