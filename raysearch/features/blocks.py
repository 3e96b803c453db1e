"""Blocks of feature vectors on the disk: addressed by content, checked, mapped into memory."""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

__all__ = ["Block", "Shelf"]


@dataclass(frozen=True)
class Block:
    """One matrix on the disk: float32 [len(digests), D], and what its rows and columns are."""

    path: Path
    version: str
    digests: tuple[str, ...]
    names: tuple[str, ...]

    def matrix(self) -> np.ndarray:
        """A read-only memory map."""
        return np.load(self.path, mmap_mode="r", allow_pickle=False)


class Shelf:
    """The blocks of one extractor in one version, in FOLDER/NAME/VERSION/.

    A block that does not match its checksum, or was left half-written, counts as absent.
    """

    def __init__(self, folder: Path, name: str, version: str) -> None:
        self.folder = folder / name / version
        self.version = version
        self._known: dict[Path, Block | None] = {}

    def whole(self, digests: Sequence[str]) -> Block | None:
        """The block whose rows are exactly these clips in this order, or None."""
        block = self._open(self.folder / f"{_key(digests)}.json")
        return block if block is not None and block.names else None

    def missing(self, digests: Iterable[str]) -> list[str]:
        """The clips that no block holds, each once, in their order."""
        have = {digest for block in self._blocks() for digest in block.digests}
        return [digest for digest in dict.fromkeys(digests) if digest not in have]

    def put(self, digests: Sequence[str], matrix: np.ndarray, names: Sequence[str] = ()) -> Block:
        """Write a block: float32 [len(digests), D]. Only a whole corpus's has column names."""
        self.folder.mkdir(parents=True, exist_ok=True)
        key = _key(digests)
        path, about = self.folder / f"{key}.npy", self.folder / f"{key}.json"
        aside = self.folder / f".{key}.{os.getpid()}.{threading.get_ident()}"
        with aside.open("wb") as file:
            np.save(file, np.ascontiguousarray(matrix, dtype=np.float32))
            file.flush()
            os.fsync(file.fileno())
        entry = {
            "version": self.version,
            "sha256": _checksum(aside),
            "digests": list(digests),
            "names": list(names),
        }
        os.replace(aside, path)
        aside.write_text(json.dumps(entry), encoding="utf-8")
        os.replace(aside, about)
        block = Block(path, self.version, tuple(digests), tuple(names))
        self._known[about] = block
        return block

    def gather(self, digests: Sequence[str], names: Sequence[str]) -> Block:
        """One block of these clips, put together from the others; chunks it contains are removed.

        Raises KeyError if a clip is in no block.
        """
        wanted = set(digests)
        rows: dict[str, np.ndarray] = {}
        parts = []
        for block in self._blocks():
            if wanted.isdisjoint(block.digests):
                continue
            matrix = block.matrix()
            rows.update((d, matrix[i]) for i, d in enumerate(block.digests) if d in wanted)
            if not block.names and wanted.issuperset(block.digests):
                parts.append(block)
        whole = self.put(digests, np.stack([rows[digest] for digest in digests]), names)
        for part in parts:
            if part.path != whole.path:
                about = part.path.with_suffix(".json")
                about.unlink(missing_ok=True)
                part.path.unlink(missing_ok=True)
                self._known.pop(about, None)
        return whole

    def _blocks(self) -> list[Block]:
        found = sorted(self.folder.glob("*.json")) if self.folder.is_dir() else []
        return [block for block in map(self._open, found) if block is not None]

    def _open(self, about: Path) -> Block | None:
        if about not in self._known:
            self._known[about] = self._read(about)
        block = self._known[about]
        return block

    def _read(self, about: Path) -> Block | None:
        path = about.with_suffix(".npy")
        try:
            entry = json.loads(about.read_text(encoding="utf-8"))
            if entry["sha256"] != _checksum(path):
                return None
            return Block(path, entry["version"], tuple(entry["digests"]), tuple(entry["names"]))
        except (OSError, ValueError, KeyError, TypeError):
            return None


def _key(digests: Sequence[str]) -> str:
    return hashlib.sha256("\n".join(digests).encode()).hexdigest()[:32]


def _checksum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
