from __future__ import annotations

import json
from pathlib import Path
from typing import NoReturn

import fsspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from raysearch.errors import BadInput, StoreFailed
from raysearch.stages.store import Damaged, Provenance, Store
from trainables.stage import Artifact

KEY = "ab" * 32
MADE = Provenance("study-1", "student", 1.5, "cpu", "host", 12.0)


@pytest.fixture(params=["local", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    if request.param == "local":
        return Store(str(tmp_path / "store"))
    return Store(f"memory://{tmp_path.name}")


def test_what_is_put_comes_back_with_its_provenance(store: Store) -> None:
    arrays = {"p": np.eye(3, dtype=np.float32), "empty": np.empty((0, 4)), "n": np.array(7)}
    store.put(KEY, Artifact(arrays, {"curves": {"loss": [1.0, 0.5]}, "wörd": None}), MADE)
    found = store.get(KEY)
    assert found is not None
    artifact, provenance = found
    assert provenance == MADE == store.provenance(KEY)
    assert artifact.info == {"curves": {"loss": [1.0, 0.5]}, "wörd": None}
    for name, array in arrays.items():
        assert artifact.arrays[name].dtype == array.dtype
        np.testing.assert_array_equal(artifact.arrays[name], array)


def test_absent_is_none(store: Store) -> None:
    assert store.get(KEY) is None
    assert store.provenance(KEY) is None
    assert not store.has(KEY)


def test_every_flipped_byte_is_detected_or_harmless(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    original = Artifact({"p": np.arange(6, dtype=np.float32)}, {"epoch": 3})
    store.put(KEY, original, MADE)
    path = next(tmp_path.glob("stages/*/*"))
    whole = path.read_bytes()
    undetected = 0
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x04]) + whole[place + 1 :])
        try:
            found = store.get(KEY)
        except Damaged:
            continue
        undetected += 1
        assert found is not None
        np.testing.assert_array_equal(found[0].arrays["p"], original.arrays["p"])
        assert found[0].info == original.info
    assert undetected < len(whole) / 20  # padding of the header at most


@pytest.mark.parametrize("left", [0, 5, 60, -1])
def test_a_truncated_file_is_damaged(tmp_path: Path, left: int) -> None:
    store = Store(str(tmp_path))
    store.put(KEY, Artifact({"p": np.zeros(100)}), MADE)
    path = next(tmp_path.glob("stages/*/*"))
    path.write_bytes(path.read_bytes()[:left])
    with pytest.raises(Damaged):
        store.get(KEY)
    store.discard(KEY)
    assert store.get(KEY) is None


def test_nothing_half_written_is_left_when_writing_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(str(tmp_path))

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("raysearch.stages.atomic.os.replace", full)
    with pytest.raises(StoreFailed, match=r"cannot be written: .*No space"):
        store.put(KEY, Artifact({"p": np.zeros(3)}), MADE)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_keys_never_become_paths_unchecked(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="64 hexadecimal digits"):
        Store(str(tmp_path)).get("../../etc/passwd")


def test_an_unknown_filesystem_is_bad_input() -> None:
    with pytest.raises(BadInput, match="nosuch"):
        Store("nosuch://bucket/place").check()


class ClientError(Exception):
    """As botocore's: no OSError."""


class AwayFileSystem(fsspec.AbstractFileSystem):
    """A bucket whose server refuses every call."""

    protocol = "away"

    def _refuse(self, *args: object, **options: object) -> NoReturn:
        raise ClientError("An error occurred (403): AccessDenied")

    cat_file = pipe_file = makedirs = exists = _open = _refuse


@pytest.mark.parametrize("verb", ["put", "get", "has", "provenance", "discard"])
def test_whatever_a_store_raises_is_a_failed_store(verb: str) -> None:
    fsspec.register_implementation("away", AwayFileSystem, clobber=True)
    store = Store("away://key:secret@bucket/prefix")
    words = (Artifact({"p": np.zeros(3)}), MADE) if verb == "put" else ()
    with pytest.raises(StoreFailed, match=r"cannot be (read|written): .*AccessDenied") as caught:
        getattr(store, verb)(KEY, *words)
    assert "secret" not in str(caught.value)


def test_values_that_json_cannot_hold_are_refused(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    with pytest.raises(ValueError):
        store.put(KEY, Artifact({}, {"loss": float("nan")}), MADE)
    assert store.get(KEY) is None


def test_the_file_is_plain_safetensors(tmp_path: Path) -> None:
    from safetensors.numpy import load_file

    Store(str(tmp_path)).put(KEY, Artifact({"p": np.ones(2)}, {"a": 1}), MADE)
    path = next(tmp_path.glob("stages/ab/*.safetensors"))
    assert load_file(path)["p"].tolist() == [1.0, 1.0]
    size = int.from_bytes(path.read_bytes()[:8], "little")
    assert "raysearch" in json.loads(path.read_bytes()[8 : 8 + size])["__metadata__"]


@settings(max_examples=40, deadline=None)
@given(
    npst.arrays(
        st.sampled_from([np.float32, np.float64, np.int64, np.uint8, np.bool_]),
        npst.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4),
    )
)
def test_any_array_survives(array: np.ndarray) -> None:
    store = Store("memory://any")
    store.put(KEY, Artifact({"a": array}), MADE)
    found = store.get(KEY)
    assert found is not None
    np.testing.assert_array_equal(found[0].arrays["a"], array)
    assert found[0].arrays["a"].dtype == array.dtype
