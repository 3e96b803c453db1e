"""Where one's own data lies, and what names it: known before anything is read."""

from __future__ import annotations

import re
import unicodedata
from pathlib import Path

OWN = ("manifest", "audformat", "huggingface", "emobox")
"""corpora that are anyone's own data, and need a name"""


def table_of(root: Path, csv: object = None) -> Path:
    """The CSV of a manifest, by `corpus.root` and `corpus.options.csv`."""
    if csv:
        return (root.parent if root.is_file() else root) / str(csv)
    if root.is_file() or not root.is_dir():
        return root if root.is_file() else root / "manifest.csv"
    names = sorted(path.name for path in root.iterdir() if path.name.lower() == "manifest.csv")
    return root / (names[0] if names else "manifest.csv")


def name_of_table(table: Path) -> str:
    """What a manifest's study is named by: its CSV, or the folder of a CSV called manifest."""
    folder = table.parent.resolve()
    name = folder.name if table.stem.lower() == "manifest" else table.stem
    return unicodedata.normalize("NFC", name) or "manifest"


def name_of_folder(folder: Path) -> str:
    """What a database's or a dataset's study is named by: db.yaml's own name, or the folder."""
    header = folder / "db.yaml"
    if header.is_file():
        with header.open(encoding="utf-8", errors="replace") as file:
            for line in file:
                if match := re.fullmatch(r"name:\s*['\"]?(.+?)['\"]?\s*", line):
                    return unicodedata.normalize("NFC", match[1])
    return unicodedata.normalize("NFC", folder.resolve().name) or "dataset"
