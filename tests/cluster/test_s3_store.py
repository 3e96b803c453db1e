"""A store on S3 from a cluster whose nodes were started without the driver's login."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.s3_server import BUCKET, S3Server, need_s3

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]


def test_a_login_reaches_the_cluster_and_lies_in_no_file(cluster: Any, speech: Path) -> None:
    need_s3()
    server = S3Server()
    words = ["space=far.yaml", "cluster=cluster.yaml", "tracking=false", f"corpus.root={speech}"]
    try:
        done = cluster.run(
            "tune", *words, "home=s3", f"store=s3://{BUCKET}/rs", **server.environment()
        )
        assert done.returncode == 0, done.stderr
        assert len(server.objects()) >= 12
    finally:
        server.close()
    secret, looked = server.secret.encode(), 0
    for folder in (cluster.temporary, cluster.folder, Path("/tmp/ray")):
        for path in folder.rglob("*"):
            if path.is_file():
                looked += 1
                assert secret not in path.read_bytes(), path
    assert looked > 20
