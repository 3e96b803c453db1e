"""The files that the cells of a table name, as the disk has them, and what names their clips."""

from __future__ import annotations

import os
import unicodedata
from dataclasses import dataclass
from pathlib import Path

from raysearch.stages.store import local_path


@dataclass(frozen=True)
class TablePlace:
    """Where a table lies, and the folder that its files' paths start from."""

    table: Path
    audio: Path

    def file(self, name: str) -> Path:
        """The file of a cell, as it is spelt on the disk where that is another Unicode form.

        Backslashes separate folders where there is no such file with them. `~` is the user's
        folder, and file:// a path, as on the command line.
        """
        forms = [self.audio / _typed(name)]
        forms += [self.audio / name.replace("\\", "/")] if "\\" in name else []
        return next((p for form in forms if (p := _spelt(form)) is not None), forms[-1])

    def stem(self, file: str, corpus: str) -> str:
        """The file's path from the folder of the audio, without its suffix.

        A first folder that only repeats the corpus's name is left out. Links of folders are
        followed only where an absolute path does not begin with the folder's own.
        """
        path = Path(os.path.normpath(_typed(file).replace("\\", "/")))
        base = self.audio.absolute()
        if path.is_absolute() and not path.is_relative_to(base):
            path, base = path.parent.resolve() / path.name, base.resolve()
        if path.is_absolute():
            path = Path(os.path.relpath(path, base))
        path = path.with_suffix("") if path.name else path
        return path.as_posix().removeprefix(f"{corpus}/")


def _typed(name: str) -> str:
    return os.path.expanduser(local_path(name))


def _spelt(path: Path) -> Path | None:
    """The path as the disk spells it, each part in its own Unicode form; None where it is not."""
    if path.exists() or str(path).isascii():
        return path if path.exists() else None
    above = _spelt(path.parent) if path.parent != path else path
    forms = [unicodedata.normalize(form, path.name) for form in ("NFC", "NFD")]
    return next((p for form in forms if above and (p := above / form).exists()), None)
