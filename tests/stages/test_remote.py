"""A store on a real S3 server that checks keys: who is refused and how, outages, leftovers."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest

from raysearch.errors import BadInput, StoreFailed
from raysearch.stages.outage import telling
from raysearch.stages.store import Provenance, Store
from tests.support.s3_server import BUCKET, FOREIGN, S3Server, need_s3
from trainables.stage import Artifact

KEY, OTHER = "ab" * 32, "cd" * 32
PLACE = f"s3://{BUCKET}/prefix"
ARTIFACT, MADE = Artifact({"p": np.eye(3)}, {"a": 1}), Provenance("study-1", "student", 1.5)


@pytest.fixture(scope="module")
def running() -> Iterator[S3Server]:
    need_s3()
    server = S3Server()
    yield server
    server.close()


@pytest.fixture
def server(running: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Server]:
    import s3fs

    s3fs.S3FileSystem.clear_instance_cache()
    for name, value in running.environment().items():
        monkeypatch.setenv(name, value)
    yield running
    running.open_again()


def test_what_is_put_comes_back_and_no_more_is_left(server: S3Server) -> None:
    store = Store(PLACE)
    store.check()
    assert server.objects() == [], "asking leaves nothing"
    assert store.get(KEY) is None
    assert store.provenance(KEY) is None
    large = Artifact({"p": np.eye(3)}, {"curve": list(range(30_000))})  # a header beyond one read
    store.put(KEY, large, MADE)
    found = store.get(KEY)
    assert found is not None
    assert found[0].info == large.info
    assert store.provenance(KEY) == MADE
    assert store.stored([KEY, OTHER]) == {KEY}
    assert (store.has(KEY), store.has(OTHER)) == (True, False)
    assert server.objects() == [f"prefix/stages/ab/{KEY}.safetensors"]
    store.discard(KEY)
    assert server.objects() == []


@pytest.mark.parametrize(
    ("uri", "variables", "sentence"),
    [
        (PLACE, {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}, "no credentials were foun"),
        (PLACE, {"AWS_ACCESS_KEY_ID": "AKIANOBODY"}, "does not know the key AKIANOBODY"),
        (PLACE, {"AWS_SECRET_ACCESS_KEY": "wrong"}, "does not accept the secret of the key"),
        (PLACE, {"AWS_PROFILE": "nobody"}, r"profile \(nobody\) could not be found"),
        (PLACE, {"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}, "127.0.0.1:9 does not answer"),
        (PLACE, {"AWS_ENDPOINT_URL": "nonsense"}, "Invalid endpoint: nonsense"),
        ("s3://speech-result/x", {}, "no such bucket .did you mean 'speech-results'"),
        (f"s3://{FOREIGN}/x", {}, "does not let the key .* it is somebody else's"),
        ("s3://", {}, "names no bucket"),
    ],
)
@pytest.mark.parametrize("writing", [True, False])
def test_a_store_that_cannot_be_used_is_told_in_one_sentence_and_no_bucket_is_made(
    server: S3Server,
    monkeypatch: pytest.MonkeyPatch,
    uri: str,
    variables: dict[str, str],
    sentence: str,
    writing: bool,
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value) if value else monkeypatch.delenv(name)
    with pytest.raises(BadInput, match=sentence) as caught:
        Store(uri).check(writing=writing)
    assert str(caught.value).startswith(f"store={uri}")
    assert "\n" not in str(caught.value)
    assert server.secret not in str(caught.value)
    monkeypatch.undo()
    assert server.buckets() == [BUCKET, FOREIGN]


@pytest.mark.slow
def test_an_outage_is_waited_for_and_told_at_once(server: S3Server) -> None:
    store, lines = Store(PLACE, patience=60.0), []
    store.put(KEY, ARTIFACT, MADE)
    server.shut()
    threading.Timer(3.5, server.open).start()
    with telling(store.place, lambda: store.trouble, lines.append):
        assert store.get(KEY) is not None
        time.sleep(1.2)
    assert "does not answer" in lines[0]
    assert "waiting, for 5" in lines[0] or "waiting, for 6" in lines[0]
    assert lines[1:] == [f"{store.place} answers again"]


def test_patience_has_an_end_and_what_is_no_outage_is_not_waited_for(
    server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(PLACE, patience=2.0)
    store.has(KEY)
    server.shut()
    began = time.monotonic()
    with pytest.raises(StoreFailed, match=r"cannot be written after 2 s of waiting: .*goes on$"):
        store.put(KEY, ARTIFACT, MADE)
    assert 2 <= time.monotonic() - began < 10
    server.open()
    patient = Store(f"s3://{FOREIGN}/x", patience=60.0)
    began = time.monotonic()
    with pytest.raises(StoreFailed, match="somebody else's"):
        patient.put(KEY, ARTIFACT, MADE)
    assert time.monotonic() - began < 10


@pytest.mark.slow
def test_a_server_that_hangs_is_spoken_of(server: S3Server) -> None:
    store, lines = Store(PLACE, patience=60.0), []
    store.put(KEY, ARTIFACT, MADE)
    server.process.send_signal(signal.SIGSTOP)
    threading.Timer(12, lambda: server.process.send_signal(signal.SIGCONT)).start()
    with telling(store.place, lambda: store.trouble, lines.append):
        assert store.get(KEY) is not None
    assert any("has not answered for" in line for line in lines)


def test_leftovers_of_killed_uploads_are_swept_and_no_others(server: S3Server) -> None:
    login = {"aws_access_key_id": server.key, "aws_secret_access_key": server.secret}
    client = server.client("s3", **login)
    for key in ("prefix/stages/ab/left", "of-a-colleague/left"):
        client.create_multipart_upload(Bucket=BUCKET, Key=key)
    store = Store(PLACE)
    # moto says of every upload that it began in 2010
    assert store.sweep(older_than=1e10) == 0, "it may still be written"
    assert store.sweep(older_than=3600) == 1
    left = client.list_multipart_uploads(Bucket=BUCKET)["Uploads"]
    assert [each["Key"] for each in left] == ["of-a-colleague/left"]
