"""Content-addressed artifacts: written once under their key, guarded by a digest, never torn.

An artifact is one safetensors file (nothing is ever unpickled) whose metadata holds the JSON
facts, who made it, and a SHA-256 over all of it. It is written aside and then moved into place.
The store lies on a local path or on any fsspec filesystem by URI.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import re
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from raysearch.errors import BadInput, StoreFailed, one_line, without_passwords
from raysearch.stages.atomic import write_whole
from trainables.stage import Artifact

_KEY = re.compile(r"[0-9a-f]{64}")


class Damaged(Exception):
    """An artifact does not match its digest, or is no artifact at all."""


@dataclass(frozen=True)
class Provenance:
    """Who computed an artifact. Not part of its identity."""

    study: str
    stage: str
    seconds: float = 0.0
    device: str = "cpu"
    host: str = ""
    made: float = 0.0


class Store:
    """Artifacts by key under a local path or any fsspec URI.

    Args:
        uri: a local path, or an fsspec URI such as s3://bucket/prefix or memory://name.

    Raises:
        BadInput: where no filesystem answers for the URI.
    """

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self._claims: int | None = None
        self._fs: Any = None
        if "://" not in uri or uri.startswith("file://"):
            self._root = str(Path(uri.removeprefix("file://")).absolute())
        else:
            import fsspec

            try:
                self._fs, self._root = fsspec.core.url_to_fs(uri)
            except (ImportError, ValueError) as error:
                raise BadInput(
                    f"store={uri!r} cannot be opened: {error}; give a local folder or an fsspec "
                    "URI whose package is installed (s3fs for s3://, gcsfs for gs://)"
                ) from error

    @property
    def local(self) -> bool:
        return self._fs is None

    def _path(self, key: str) -> str:
        if not _KEY.fullmatch(key):
            raise ValueError(f"a key is 64 hexadecimal digits, but got {key!r}")
        return f"{self._root}/stages/{key[:2]}/{key}.safetensors"

    @contextlib.contextmanager
    def _access(self, verb: str) -> Iterator[None]:
        """Whatever the disk or the network raises in the block is a StoreFailed.

        What botocore and other clients of fsspec raise is no OSError and has no common base.
        """
        try:
            yield
        except Exception as error:
            place = without_passwords(self.uri)
            raise StoreFailed(f"{place} cannot be {verb}: {one_line(error)}") from error

    def put(self, key: str, artifact: Artifact, provenance: Provenance) -> None:
        """Write an artifact; one that is already there under the key is replaced whole.

        Raises:
            StoreFailed: the store cannot be written.
        """
        data = encode(artifact, provenance)
        path = self._path(key)
        with self._access("written"):
            if self._fs is None:
                write_whole(Path(path), data)
                return
            aside = f"{path}.{uuid.uuid4().hex[:8]}.aside"
            self._fs.makedirs(os.path.dirname(path), exist_ok=True)
            self._fs.pipe_file(aside, data)
            self._fs.mv(aside, path)

    def get(self, key: str) -> tuple[Artifact, Provenance] | None:
        """The artifact and who made it, or None where there is none.

        Raises:
            Damaged: where the file does not match its digest.
            StoreFailed: the store cannot be read.
        """
        path = self._path(key)
        with self._access("read"):
            try:
                data = Path(path).read_bytes() if self._fs is None else self._fs.cat_file(path)
            except FileNotFoundError:
                return None
        return decode(data)

    def has(self, key: str) -> bool:
        """Whether something is stored under the key (not whether it is whole: `get` tells)."""
        path = self._path(key)
        with self._access("read"):
            return os.path.exists(path) if self._fs is None else bool(self._fs.exists(path))

    def provenance(self, key: str) -> Provenance | None:
        """Who made what is stored under the key, from its header alone; None where absent."""
        path = self._path(key)
        with self._access("read"):
            try:
                with (open if self._fs is None else self._fs.open)(path, "rb") as file:
                    return _provenance(file)
            except (FileNotFoundError, Damaged):
                return None

    def discard(self, key: str) -> None:
        """Remove a damaged artifact."""
        path = self._path(key)
        with self._access("written"):
            if self._fs is None:
                Path(path).unlink(missing_ok=True)
            elif self._fs.exists(path):
                self._fs.rm_file(path)

    def claim(self, key: str) -> bool:
        """Say that this process makes the artifact; False where another process has said so.

        Brokers of several Ray clusters may share a local store; a claim keeps them from making one
        artifact twice. It is a lock of one byte, at the key's place in one file, so nothing is
        left of it when its process dies, however it dies. It is advice: `put` asks for none, and
        elsewhere than on a local path every claim is granted.

        Raises:
            StoreFailed: the store cannot be written.
        """
        if self._fs is not None:
            return True
        with self._access("written"):
            return self._lock(key)

    def _lock(self, key: str) -> bool:
        if self._claims is None:
            os.makedirs(self._root, exist_ok=True)
            self._claims = os.open(Path(self._root, "claims"), os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.lockf(self._claims, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, _place(key))
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EAGAIN):
                return False
            if error.errno not in (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS):
                raise
            # a file system without locks: what is made twice there is the same, and whole
        return True

    def release(self, key: str) -> None:
        """Give a claim back."""
        if self._claims is not None:
            with contextlib.suppress(OSError):
                fcntl.lockf(self._claims, fcntl.LOCK_UN, 1, _place(key))

    def sweep(self, older_than: float = 86400.0) -> int:
        """Remove half-written files that a kill left behind; returns how many."""
        if self._fs is not None:
            return 0
        gone = 0
        for path in Path(self._root).glob("stages/*/*.aside"):
            if time.time() - path.stat().st_mtime > older_than:
                path.unlink(missing_ok=True)
                gone += 1
        return gone


def _place(key: str) -> int:
    """Where in the file of claims a key's byte is, in [0, 2^60)."""
    return int(key[:15], 16)


def _digest(header: str, arrays: Mapping[str, np.ndarray[Any, Any]]) -> str:
    digest = hashlib.sha256(header.encode())
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(f"\0{name}\0{array.dtype.str}\0{array.shape}\0".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def encode(artifact: Artifact, provenance: Provenance) -> bytes:
    """An artifact as the bytes of a safetensors file."""
    from safetensors.numpy import save

    arrays = {name: np.ascontiguousarray(array) for name, array in artifact.arrays.items()}
    header = json.dumps(
        {"info": artifact.info, "provenance": provenance.__dict__}, sort_keys=True, allow_nan=False
    )
    return save(arrays, metadata={"raysearch": header, "digest": _digest(header, arrays)})


def decode(data: bytes) -> tuple[Artifact, Provenance]:
    """What `encode` made into these bytes. Raises Damaged where one of them has changed."""
    from safetensors.numpy import load

    with _damage("it"):
        size = int.from_bytes(data[:8], "little")
        metadata = json.loads(data[8 : 8 + size])["__metadata__"]
        header = metadata["raysearch"]
        arrays = load(data)
        whole = _digest(header, arrays) == metadata["digest"]
        facts = json.loads(header)
        provenance = Provenance(**facts["provenance"])
    if not whole:
        raise Damaged("its digest does not match its contents")
    return Artifact(arrays, facts["info"]), provenance


def _provenance(file: IO[bytes]) -> Provenance:
    with _damage("its header"):
        size = int.from_bytes(file.read(8), "little")
        metadata = json.loads(file.read(size))["__metadata__"]
        return Provenance(**json.loads(metadata["raysearch"])["provenance"])


@contextlib.contextmanager
def _damage(part: str) -> Iterator[None]:
    """Whatever a damaged byte causes in the block is a `Damaged`."""
    try:
        yield
    except Exception as error:
        raise Damaged(f"{part} cannot be read: {type(error).__name__}: {error}") from error
