"""An S3 server that checks keys (moto's), behind a door that a test shuts and opens.

moto keeps buckets in memory, so it is not killed for an outage: the door is, as a network or a
gateway goes away, and connections are refused.
"""

from __future__ import annotations

import importlib.util
import json
import os
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from contextlib import suppress
from typing import Any

import pytest

BUCKET, FOREIGN = "speech-results", "of-others"
_POLICY = {
    "Version": "2012-10-17",
    "Statement": [
        {
            "Effect": "Allow",
            "Action": "s3:*",
            "Resource": [f"arn:aws:s3:::{BUCKET}", f"arn:aws:s3:::{BUCKET}/*"],
        },
        {"Effect": "Allow", "Action": "s3:ListAllMyBuckets", "Resource": "*"},
    ],
}


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


class S3Server:
    """moto's server with one user, who may use `BUCKET` and not `FOREIGN`."""

    def __init__(self) -> None:
        self.port, self.door_port = free_port(), free_port()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.port)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "MOTO_S3_DEFAULT_MAX_KEYS": "1000"},
        )
        self._await()
        self.key, self.secret = self._furnish()
        self._require_keys()
        self._door: socket.socket | None = None
        self._through: list[socket.socket] = []
        self.open()

    def _await(self) -> None:
        end = time.monotonic() + 60
        while time.monotonic() < end:
            with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return
            time.sleep(0.1)
        raise TimeoutError("moto's server did not start")

    def client(self, service: str, **options: str) -> Any:
        """boto3's client, straight to the server."""
        import boto3

        login = {"aws_access_key_id": "root", "aws_secret_access_key": "root", **options}
        url = f"http://127.0.0.1:{self.port}"
        return boto3.client(service, endpoint_url=url, region_name="us-east-1", **login)

    def objects(self, bucket: str = BUCKET) -> list[str]:
        """The keys in a bucket, as its user sees them."""
        s3 = self.client("s3", aws_access_key_id=self.key, aws_secret_access_key=self.secret)
        pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket)
        return [each["Key"] for page in pages for each in page.get("Contents", [])]

    def buckets(self) -> list[str]:
        s3 = self.client("s3", aws_access_key_id=self.key, aws_secret_access_key=self.secret)
        return [each["Name"] for each in s3.list_buckets()["Buckets"]]

    def _furnish(self) -> tuple[str, str]:
        s3, iam = self.client("s3"), self.client("iam")
        for name in (BUCKET, FOREIGN):
            s3.create_bucket(Bucket=name)
        iam.create_user(UserName="researcher")
        iam.put_user_policy(
            UserName="researcher", PolicyName="mine", PolicyDocument=json.dumps(_POLICY)
        )
        made = iam.create_access_key(UserName="researcher")["AccessKey"]
        return made["AccessKeyId"], made["SecretAccessKey"]

    def _require_keys(self) -> None:
        """From now on every request needs a key that moto knows, and what its user may do."""
        url = f"http://127.0.0.1:{self.port}/moto-api/reset-auth"
        plain = {"Content-Type": "text/plain"}
        request = urllib.request.Request(url, data=b"0", headers=plain, method="POST")
        urllib.request.urlopen(request, timeout=10).close()

    # -- the door ----------------------------------------------------------------------------------
    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.door_port}"

    def environment(self, **more: str) -> dict[str, str]:
        """What a user of the server sets."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": self.key,
            "AWS_SECRET_ACCESS_KEY": self.secret,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
            **more,
        }

    def open(self) -> None:
        door = socket.create_server(("127.0.0.1", self.door_port))
        self._door = door
        threading.Thread(target=self._serve, args=(door,), daemon=True).start()

    def open_again(self) -> None:
        if self._door is None:
            self.open()

    def shut(self) -> None:
        """From now on connections are refused, and those that were open are closed."""
        door, self._door = self._door, None
        if door is not None:
            door.shutdown(socket.SHUT_RDWR)
            door.close()
        for one in self._through:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
        self._through = []

    def _serve(self, door: socket.socket) -> None:
        while True:
            try:
                inside, _ = door.accept()
                outside = socket.create_connection(("127.0.0.1", self.port))
            except OSError:
                return
            self._through += [inside, outside]
            for one, other in ((inside, outside), (outside, inside)):
                threading.Thread(target=_carry, args=(one, other), daemon=True).start()

    def close(self) -> None:
        self.shut()
        self.process.kill()
        self.process.wait(timeout=20)


def _carry(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(1 << 16):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)


def need_s3() -> None:
    """Skip where the server or the client is not installed."""
    for name in ("moto", "flask", "s3fs", "boto3"):
        if importlib.util.find_spec(name) is None:
            pytest.skip(f'needs {name}: pip install "moto[server]" s3fs')
