"""Content-addressed artifacts: written once under their key, guarded by a digest, never torn.

An artifact is one safetensors file (nothing is ever unpickled) whose metadata holds the JSON
facts, who made it, and a SHA-256 over all of it. It is written aside and then moved into place.
The store lies on a local path or on any fsspec filesystem by URI; one that is away for a while is
waited for.
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
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import unquote, urlsplit

import numpy as np

from raysearch.errors import BadInput, StoreFailed, any_error_as, one_line, without_passwords
from raysearch.stages.atomic import write_whole
from raysearch.stages.outage import outage_of
from raysearch.stages.remote import RemoteFiles, is_away, reason
from trainables.stage import Artifact

Answer = TypeVar("Answer")

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
    """its kind and, of a card, how it computed (`Runtime.computing`)"""
    host: str = ""
    made: float = 0.0


def is_local(uri: str) -> bool:
    """Whether a store lies on a path of this machine."""
    return "://" not in uri or uri.startswith("file://")


def is_read_only(uri: str) -> bool:
    """Whether a store lies in a folder of this machine that one may only read."""
    folder = local_path(uri)
    return is_local(uri) and os.path.isdir(folder) and not os.access(folder, os.W_OK)


def local_path(address: str) -> str:
    """The path of a file:// address, in which %23 stands for #; any other text as it is."""
    return unquote(urlsplit(address).path) if address.startswith("file://") else address


class Store:
    """Artifacts by key under a local path or any fsspec URI.

    Args:
        uri: a local path, or an fsspec URI such as s3://bucket/prefix or memory://name.
        patience: seconds that a store which is away is waited for; 0 does not wait.
        keeps: whether it may be written; what is put into one that may not is kept nowhere.
    """

    def __init__(self, uri: str, patience: float = 0.0, *, keeps: bool = True) -> None:
        self.uri = uri
        self._keeps = keeps
        self.local = is_local(uri)
        self.place = f"the store at {without_passwords(uri)}"
        self._patience = patience
        self._outage = outage_of(self.place)
        self._claims: int | None = None

    @cached_property
    def _files(self) -> RemoteFiles:
        return RemoteFiles(self.uri)

    @cached_property
    def _folder(self) -> Path:
        """Of a local store."""
        return Path(local_path(self.uri)).absolute()

    @property
    def trouble(self) -> str:
        """What a person must know of the store now; '' where it answers."""
        return self._outage.sentence

    def check(self, *, writing: bool = True) -> None:
        """Ask whether the store can be read; `writing`: and written. A bucket is never made.

        Raises:
            BadInput: with one sentence that says why not, and what to do.
        """
        if not self.local:
            self._files.check(writing=writing)
        elif writing:
            place = self._folder
            while not place.exists() and place != place.parent:
                place = place.parent
            if not place.is_dir() or not os.access(place, os.W_OK | os.X_OK):
                raise BadInput(
                    f"store={self.uri} cannot be written: {place} is "
                    f"{'not writable' if place.is_dir() else 'no folder'}; give another store="
                )

    def _path(self, key: str) -> str:
        """Where a key's file is, from the store's folder."""
        if not _KEY.fullmatch(key):
            raise ValueError(f"a key is 64 hexadecimal digits, but got {key!r}")
        return f"stages/{key[:2]}/{key}.safetensors"

    def _call(self, verb: str, action: Callable[[], Answer]) -> Answer:
        """What `action` gives; where the store is away, once it answers again.

        Whatever the disk or the network raises is a StoreFailed, but for a file that is not there.
        """
        while True:
            try:
                with self._outage.call():
                    answer = action()
            except Exception as error:
                if isinstance(error, FileNotFoundError) and verb == "read":
                    self._outage.answered()
                    raise
                if self.local or not is_away(error):
                    raise StoreFailed(self._failure(verb, error)) from error
                if not self._outage.wait(reason(error), self._patience):
                    raise StoreFailed(self._failure(verb, error)) from error
            else:
                self._outage.answered()
                return answer

    def _failure(self, verb: str, error: Exception) -> str:
        place = without_passwords(self.uri)
        if self.local or isinstance(error, BadInput):
            return f"{place} cannot be {verb}: {one_line(error)}"
        waited = ""
        if self._patience and is_away(error):
            waited = f" after {self._patience:.0f} s of waiting"
        return (
            f"{place} cannot be {verb}{waited}: {self._files.problem(error)}; nothing that was "
            "stored is lost, and the same command goes on"
        )

    def put(self, key: str, artifact: Artifact, provenance: Provenance) -> None:
        """Write an artifact; one that is already there under the key is replaced whole.

        Raises:
            StoreFailed: the store cannot be written.
        """
        if not self._keeps:
            return
        data, path = encode(artifact, provenance), self._path(key)

        def write() -> None:
            if self.local:
                write_whole(self._folder / path, data)
            else:
                self._files.write(path, data)

        self._call("written", write)

    def get(self, key: str) -> tuple[Artifact, Provenance] | None:
        """The artifact and who made it, or None where there is none.

        Raises:
            Damaged: where the file does not match its digest.
            StoreFailed: the store cannot be read.
        """
        data = self._read(key, lambda path: self._files.read(path))
        return None if data is None else decode(data)

    def has(self, key: str) -> bool:
        """Whether something is stored under the key (not whether it is whole: `get` tells)."""
        path = self._path(key)
        return self._call(
            "read",
            lambda: (self._folder / path).exists() if self.local else self._files.exists(path),
        )

    def stored(self, keys: Iterable[str]) -> set[str]:
        """Those of the keys under which something is stored; elsewhere by one listing."""
        if self.local:
            return {key for key in keys if self.has(key)}
        return set(keys) & set(self.sizes())

    def sizes(self) -> dict[str, int]:
        """Bytes of every artifact, by its key."""
        if self.local:
            files = self._folder.glob("stages/*/*.safetensors")
            return {path.stem: path.stat().st_size for path in files}
        there = self._call("read", lambda: self._files.sizes("stages"))
        return {path.rpartition("/")[2].partition(".")[0]: size for path, size in there.items()}

    def provenance(self, key: str) -> Provenance | None:
        """Who made what is stored under the key, from its header alone; None where absent."""
        data = self._read(key, lambda path: self._files.read_header(path), header=True)
        try:
            return None if data is None else _provenance(data)
        except Damaged:
            return None

    def _read(
        self, key: str, remote: Callable[[str], bytes], *, header: bool = False
    ) -> bytes | None:
        """A file's bytes, or those of its header; None where there is no such file."""

        path = self._path(key)

        def read() -> bytes:
            if not self.local:
                return remote(path)
            with open(self._folder / path, "rb") as file:
                if not header:
                    return file.read()
                first = file.read(8)
                return first + file.read(int.from_bytes(first, "little"))

        try:
            return self._call("read", read)
        except FileNotFoundError:
            return None

    def discard(self, key: str) -> None:
        """Remove a damaged artifact."""
        if not self._keeps:
            return
        path = self._path(key)

        def remove() -> None:
            if self.local:
                (self._folder / path).unlink(missing_ok=True)
            else:
                self._files.remove(path)

        self._call("written", remove)

    def claim(self, key: str) -> bool:
        """Say that this process makes the artifact; False where another process has said so.

        Brokers of several Ray clusters may share a local store; a claim keeps them from making one
        artifact twice. It is a lock of one byte, at the key's place in one file, so nothing is
        left of it when its process dies, however it dies. It is advice: `put` asks for none, and
        elsewhere than on a local path every claim is granted.

        Raises:
            StoreFailed: the store cannot be written.
        """
        if not self.local or not self._keeps:
            return True
        return self._call("written", lambda: self._lock(key))

    def _lock(self, key: str) -> bool:
        if self._claims is None:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._claims = os.open(self._folder / "claims", os.O_RDWR | os.O_CREAT, 0o666)
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
        if not self.local:
            return self._call("written", lambda: self._files.sweep("stages", older_than))
        gone = 0
        for path in self._folder.glob("stages/*/*.aside"):
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


def _provenance(data: bytes) -> Provenance:
    with _damage("its header"):
        size = int.from_bytes(data[:8], "little")
        metadata = json.loads(data[8 : 8 + size])["__metadata__"]
        return Provenance(**json.loads(metadata["raysearch"])["provenance"])


def _damage(part: str) -> contextlib.AbstractContextManager[None]:
    """Whatever a damaged byte causes in the block is a `Damaged`."""
    return any_error_as(
        lambda error: Damaged(f"{part} cannot be read: {type(error).__name__}: {error}")
    )
