"""Files that lie elsewhere than on a local path: any filesystem of fsspec, and S3 above all.

What botocore, aiohttp and other clients raise has no common base and is mostly no OSError; here it
is sorted into what may pass (a server that is away) and what will not (a key that is refused), and
told in one sentence. A bucket is never made.
"""

from __future__ import annotations

import errno
import os
import socket
import time
from collections.abc import Iterator
from datetime import datetime
from functools import cached_property
from typing import Any

from raysearch.errors import BadInput, any_error_as, near, one_line, without_passwords

_OBJECTS = {"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "adl", "memory"}
"""where a file appears whole or not at all, and folders are but parts of names: nothing is written
aside there, and no folder (which might be a bucket) is made"""
_OPTIONS: dict[str, dict[str, Any]] = {
    # tries and pauses are those of `Outage`: a client that is patient itself says nothing
    "s3": {
        "config_kwargs": {
            "connect_timeout": 5,
            "read_timeout": 30,
            "retries": {"max_attempts": 0},
        },
        "use_listings_cache": False,
    }
}
_PACKAGES = {"s3": "s3fs", "s3a": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "az": "adlfs"}
_VARIABLES = ("AWS_", "FSSPEC_", "GOOGLE_", "AZURE_STORAGE_")
"""how the variables begin by which clients find endpoints and credentials"""
_HEADER = 1 << 16
"""bytes of a file that mostly hold all of its header"""
_AWAY = {
    "ConnectTimeoutError",
    "ConnectionClosedError",
    "EndpointConnectionError",
    "HTTPClientError",
    "IncompleteReadError",
    "ProxyConnectionError",
    "ResponseParserError",
    "ClientConnectionError",
    "ClientPayloadError",
    "ServerDisconnectedError",
}
"""errors of botocore and aiohttp, by the names of their classes, which need not be installed"""
_AWAY_ERRNO = {
    *(errno.EBUSY, errno.ENETDOWN, errno.ENETUNREACH, errno.ENETRESET),
    *(errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.EREMOTEIO),
}


def client_environment() -> dict[str, str]:
    """The variables of this process by which clients find their servers and are let in."""
    return {name: value for name, value in os.environ.items() if name.startswith(_VARIABLES)}


class RemoteFiles:
    """A folder of some filesystem of fsspec; paths of its files start from it.

    Args:
        uri: such as s3://bucket/prefix.

    Raises:
        BadInput: no filesystem answers for the URI, or its package is not installed.
    """

    def __init__(self, uri: str) -> None:
        import fsspec

        self._uri = uri
        self._protocol = uri.partition("://")[0]
        options = _OPTIONS.get("s3" if self._protocol == "s3a" else self._protocol, {})
        try:
            self._fs, self._root = fsspec.core.url_to_fs(uri, **options)
        except (ImportError, ValueError) as error:
            package = _PACKAGES.get(self._protocol)
            remedy = f"pip install {package}" if package else "give a local folder, or s3://…"
            raise BadInput(f"{self._word} cannot be opened: {one_line(error)}; {remedy}") from error
        if self._is_s3:
            self._fs.retries = 1
            if not self._bucket:
                raise BadInput(f"{self._word} names no bucket; write s3://BUCKET/PREFIX")

    # -- files -------------------------------------------------------------------------------------
    def _at(self, path: str) -> str:
        return f"{self._root.rstrip('/')}/{path}"

    def read(self, path: str) -> bytes:
        data: bytes = self._fs.cat_file(self._at(path))
        return data

    def read_header(self, path: str) -> bytes:
        """At least the header of a safetensors file, mostly in one request."""
        data: bytes = self._fs.cat_file(self._at(path), start=0, end=_HEADER)
        size = 8 + int.from_bytes(data[:8], "little")
        if len(data) == _HEADER and _HEADER < size < 1 << 30:
            data = self._fs.cat_file(self._at(path), start=0, end=size)
        return data

    def write(self, path: str, data: bytes) -> None:
        """Write a file that others see whole or not at all."""
        place = self._at(path)
        if self._protocol in _OBJECTS:
            self._fs.pipe_file(place, data)
            return
        aside = f"{place}.{os.urandom(4).hex()}.aside"
        self._fs.makedirs(os.path.dirname(place), exist_ok=True)
        self._fs.pipe_file(aside, data)
        self._fs.mv(aside, place)

    def exists(self, path: str) -> bool:
        return bool(self._fs.exists(self._at(path)))

    def remove(self, path: str) -> None:
        if self.exists(path):
            self._fs.rm_file(self._at(path))

    def sizes(self, folder: str) -> dict[str, int]:
        """Every file under a folder, at any depth, and its bytes."""
        try:
            found = self._fs.find(self._at(folder), detail=True)
        except FileNotFoundError:
            return {}
        return {
            str(path).removeprefix(self._at("")): int(facts.get("size") or 0)
            for path, facts in found.items()
        }

    def sweep(self, folder: str, older_than: float) -> int:
        """Remove what writers that were killed have left; returns how many.

        Args:
            folder: where they wrote.
            older_than: seconds; what is younger may still be written.
        """
        if not self._is_s3:
            return 0
        gone = 0
        before = time.time() - older_than
        prefix = self._key(self._at(folder))
        try:
            answer = self._fs.call_s3("list_multipart_uploads", Bucket=self._bucket, Prefix=prefix)
        except PermissionError:  # who may not see them has others who sweep
            return 0
        for upload in answer.get("Uploads") or []:
            if _seconds(upload["Initiated"]) < before:
                self._fs.call_s3(
                    "abort_multipart_upload",
                    Bucket=self._bucket,
                    Key=upload["Key"],
                    UploadId=upload["UploadId"],
                )
                gone += 1
        return gone

    # -- whether they can be used ------------------------------------------------------------------
    def check(self, *, writing: bool) -> None:
        """Ask whether the folder is there and can be read; `writing`: and written.

        Raises:
            BadInput: with one sentence that says why not, and what to do.
        """
        with any_error_as(lambda error: BadInput(f"{self._word}: {self.problem(error)}")):
            if self._is_s3:
                prefix = self._key(self._root)
                self._fs.call_s3("list_objects_v2", Bucket=self._bucket, Prefix=prefix, MaxKeys=1)
            else:
                self._fs.exists(self._root)
            if writing:
                self._try_to_write()

    def _try_to_write(self) -> None:
        path, data = ".raysearch-asks-whether-it-may-write", b"raysearch"
        self.write(path, data)
        if self.read(path) != data:
            raise OSError(errno.EIO, "what was written there reads otherwise")
        self._fs.rm_file(self._at(path))

    def problem(self, error: BaseException) -> str:
        """Why the folder cannot be used, and what to do, in one sentence."""
        text = self._s3_problem(error) if self._is_s3 else ""
        return text or one_line(error)

    def _s3_problem(self, error: BaseException) -> str:
        names = {kind.__name__ for cause in _causes(error) for kind in type(cause).__mro__}
        bucket, key = self._bucket, os.environ.get("AWS_ACCESS_KEY_ID", "")
        who = f"the key {key}" if key else "this login"
        if names & {"NoCredentialsError", "PartialCredentialsError", "CredentialRetrievalError"}:
            return (
                "no credentials were found: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or "
                "AWS_PROFILE, or write them into ~/.aws/credentials"
            )
        if "ProfileNotFound" in names:
            return f"{one_line(error)}; look at AWS_PROFILE"
        if is_away(error):
            return f"{self._endpoint} does not answer ({reason(error)}); look at AWS_ENDPOINT_URL"
        code = _code(error)
        if not code:
            return ""
        sentences = {
            "NoSuchBucket": f"there is no bucket {bucket!r} at {self._endpoint}"
            f"{self._near_bucket()}; mend its name, or make it first: raysearch makes none",
            "InvalidAccessKeyId": f"{self._endpoint} does not know {who}: look at "
            "AWS_ACCESS_KEY_ID and AWS_ENDPOINT_URL",
            "SignatureDoesNotMatch": f"{self._endpoint} does not accept the secret of {who}: look "
            "at AWS_SECRET_ACCESS_KEY",
            "AccessDenied": f"{self._endpoint} does not let {who} use the bucket {bucket!r} so "
            f"({one_line(error, 160)}): it is somebody else's, or there is no such bucket"
            f"{self._near_bucket()}; mend its name, or ask for s3:ListBucket, s3:GetObject, "
            "s3:PutObject and s3:DeleteObject on it",
            "ExpiredToken": "the credentials have expired: renew them",
            "RequestTimeTooSkewed": f"the clocks of this machine and of {self._endpoint} differ: "
            "set them",
            "PermanentRedirect": f"the bucket {bucket!r} lies in another region: set AWS_REGION",
        }
        return sentences.get(_SAME.get(code, code), "")

    def _near_bucket(self) -> str:
        """' (did you mean X?)', where the server lists its buckets."""
        try:
            answer = self._fs.call_s3("list_buckets")
        except Exception:  # a key that may not list them, say
            return ""
        names = [each["Name"] for each in answer.get("Buckets", [])]
        return "" if self._bucket in names else near(self._bucket, names)

    @property
    def _word(self) -> str:
        return f"store={without_passwords(self._uri)}"

    @property
    def _is_s3(self) -> bool:
        return self._protocol in ("s3", "s3a")

    @property
    def _bucket(self) -> str:
        return str(self._root).partition("/")[0]

    def _key(self, path: str) -> str:
        """What stands behind the bucket in a path."""
        return path.partition("/")[2]

    @cached_property
    def _endpoint(self) -> str:
        """The server's address, as botocore has it from the environment or its files."""
        try:
            return str(self._fs.s3.meta.endpoint_url)
        except Exception:  # there is no client without a login
            return os.environ.get("AWS_ENDPOINT_URL", "S3")


_SAME = {
    "404": "NoSuchBucket",
    "403": "AccessDenied",
    "AllAccessDisabled": "AccessDenied",
    "AccountProblem": "AccessDenied",
    "InvalidClientTokenId": "InvalidAccessKeyId",
    "TokenRefreshRequired": "ExpiredToken",
    "InvalidToken": "ExpiredToken",
    "301": "PermanentRedirect",
    "AuthorizationHeaderMalformed": "PermanentRedirect",
    "IllegalLocationConstraintException": "PermanentRedirect",
}
"""codes of S3 that mean the same to a person"""


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """An error and what is behind it."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _response(error: BaseException) -> dict[str, Any]:
    """What a server answered, as botocore's ClientError keeps it; empty where it keeps nothing."""
    for cause in _causes(error):
        response = getattr(cause, "response", None)
        if isinstance(response, dict):
            return response
    return {}


def _code(error: BaseException) -> str:
    return str(_response(error).get("Error", {}).get("Code", ""))


def is_away(error: BaseException) -> bool:
    """Whether a server does not answer now, or says that it cannot: it may answer later."""
    response = _response(error)
    if response:
        status = response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        return int(status) >= 500 or int(status) == 429 or _code(error) == "SlowDown"
    for cause in _causes(error):
        names = {kind.__name__ for kind in type(cause).__mro__}
        if "SSLError" in names or isinstance(cause, FileNotFoundError | PermissionError):
            return False
        if names & _AWAY or isinstance(cause, ConnectionError | TimeoutError | socket.gaierror):
            return True
        if isinstance(cause, OSError) and cause.errno in _AWAY_ERRNO:
            return True
    return False


def reason(error: BaseException) -> str:
    """Why a server is away, in a few words."""
    code = _code(error)
    if code:
        return f"it answers with {code}"
    text = " ".join(str(cause) for cause in _causes(error))
    for mark, words in {
        "Name or service not known": "unknown host",
        "name resolution": "unknown host",
        "Connect call failed": "connection refused",
        "Could not connect": "no connection",
        "timed out": "no answer in time",
        "read timeout": "no answer in time",
        "Connection was closed": "the connection was closed",
    }.items():
        if mark.lower() in text.lower():
            return words
    return one_line(error, 160)


def _seconds(moment: datetime | str) -> float:
    """Seconds since the epoch of a moment as S3 tells it."""
    if isinstance(moment, str):
        moment = datetime.fromisoformat(moment)
    return moment.timestamp()
