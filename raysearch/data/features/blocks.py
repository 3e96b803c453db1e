"""Blocks of vectors or frames on the disk: addressed by content, checked, mapped into memory."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from raysearch.data.features.extractor import Matrix
from raysearch.stages.atomic import replacing, write_whole


@dataclass(frozen=True)
class Block:
    """One matrix on the disk, and what its rows and columns are.

    Vectors: float32 [len(digests), D]. Frames: those of all clips end to end, `lengths` each.
    """

    path: Path
    version: str
    digests: tuple[str, ...]
    names: tuple[str, ...]
    lengths: tuple[int, ...] | None = None

    def matrix(self) -> Matrix:
        """A read-only memory map."""
        return np.load(self.path, mmap_mode="r", allow_pickle=False)

    def starts(self) -> NDArray[np.int64] | None:
        """int64 [len(digests) + 1]: where each clip's frames begin; None for vectors."""
        if self.lengths is None:
            return None
        return np.concatenate([[0], np.cumsum(self.lengths, dtype=np.int64)]).astype(np.int64)


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

    def put(
        self,
        digests: Sequence[str],
        matrix: Matrix,
        names: Sequence[str] = (),
        lengths: Sequence[int] | None = None,
    ) -> Block:
        """Write a block; see `Block`. Only a whole corpus's has column names."""
        whole = np.asarray(matrix, dtype=np.float32) if lengths is None else matrix
        rows = iter([whole])
        return self._write(digests, rows, whole.shape, whole.dtype, names, lengths)

    def lay(
        self,
        digests: Sequence[str],
        rows: Sequence[Matrix],
        names: Callable[[int], tuple[str, ...]],
        frames: bool,
    ) -> Block:
        """Write the block of a whole corpus, clip by clip: vectors [D], or frames [L, D]."""
        width = rows[0].shape[-1]
        pieces = (np.asarray(row, np.float32).reshape(-1, width) for row in rows)
        lengths = [len(row) for row in rows] if frames else None
        shape = (sum(lengths) if lengths else len(rows), width)
        return self._write(digests, pieces, shape, np.dtype(np.float32), names(width), lengths)

    def gather(self, digests: Sequence[str], names: Callable[[int], tuple[str, ...]]) -> Block:
        """One block of these clips, put together from the others; chunks it contains are removed.

        Args:
            digests: of the clips, in the order of the block's rows.
            names: width -> the names of that many columns.

        Raises:
            KeyError: a clip is in no block.
        """
        rest = set(digests)
        rows: dict[str, Matrix] = {}
        lengths: dict[str, int] = {}
        parts = []
        for block in self._blocks():
            if rest.isdisjoint(block.digests):
                continue
            matrix, starts = block.matrix(), block.starts()
            for i, digest in enumerate(block.digests):
                if digest not in rest:
                    continue
                if starts is None:
                    rows[digest] = matrix[i : i + 1]
                else:
                    rows[digest] = matrix[starts[i] : starts[i + 1]]
                    lengths[digest] = int(starts[i + 1] - starts[i])
            if not block.names and rest.issuperset(block.digests):
                parts.append(block)
        # row by row from map to file, so that no corpus of frames is ever in memory as a whole
        pieces = [rows[digest] for digest in digests]
        like = pieces[0]
        whole = self._write(
            digests,
            iter(pieces),
            (sum(map(len, pieces)), *like.shape[1:]),
            like.dtype,
            names(like.shape[1] if like.ndim == 2 else 1),
            [lengths[digest] for digest in digests] if lengths else None,
        )
        for part in parts:
            if part.path != whole.path:
                about = part.path.with_suffix(".json")
                about.unlink(missing_ok=True)
                part.path.unlink(missing_ok=True)
                self._known.pop(about, None)
        return whole

    def _write(
        self,
        digests: Sequence[str],
        rows: Iterator[Matrix],
        shape: tuple[int, ...],
        dtype: np.dtype[np.float32 | np.float16 | np.int16],
        names: Sequence[str],
        lengths: Sequence[int] | None,
    ) -> Block:
        key = _key(digests)
        path, about = self.folder / f"{key}.npy", self.folder / f"{key}.json"
        header = {
            "descr": np.lib.format.dtype_to_descr(dtype),
            "fortran_order": False,
            "shape": shape,
        }
        with replacing(path) as aside:
            with aside.open("wb") as file:
                np.lib.format.write_array_header_1_0(file, header)
                for row in rows:
                    file.write(np.ascontiguousarray(row).data)
                file.flush()
                os.fsync(file.fileno())
            checksum = _checksum(aside, lengths)
        entry: dict[str, object] = {
            "version": self.version,
            "sha256": checksum,
            "digests": list(digests),
            "names": list(names),
        }
        if lengths is not None:
            entry["lengths"] = [int(length) for length in lengths]
        write_whole(about, json.dumps(entry))
        block = Block(
            path,
            self.version,
            tuple(digests),
            tuple(names),
            None if lengths is None else tuple(int(length) for length in lengths),
        )
        self._known[about] = block
        return block

    def _blocks(self) -> list[Block]:
        paths = sorted(self.folder.glob("*.json")) if self.folder.is_dir() else []
        return [block for block in map(self._open, paths) if block is not None]

    def _open(self, about: Path) -> Block | None:
        if about not in self._known:
            self._known[about] = self._read(about)
        block = self._known[about]
        return block

    def _read(self, about: Path) -> Block | None:
        path = about.with_suffix(".npy")
        try:
            entry = json.loads(about.read_text(encoding="utf-8"))
            lengths = entry.get("lengths")
            if entry["sha256"] != _checksum(path, lengths):
                return None
            return Block(
                path,
                entry["version"],
                tuple(entry["digests"]),
                tuple(entry["names"]),
                None if lengths is None else tuple(lengths),
            )
        except (OSError, ValueError, KeyError, TypeError):
            return None


def _key(digests: Sequence[str]) -> str:
    return hashlib.sha256("\n".join(digests).encode()).hexdigest()[:32]


def _checksum(path: Path, lengths: Sequence[int] | None) -> str:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256")
    if lengths is not None:
        digest.update(",".join(map(str, lengths)).encode())
    return digest.hexdigest()
