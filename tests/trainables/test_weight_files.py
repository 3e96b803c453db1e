"""What names pre-trained weights in a stage's key."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants

from trainables import emoboost, label_correction
from trainables.stage import Method
from trainables.weight_files import commit_of, digest, from_anywhere, is_path

OLD, NEW = "a" * 40, "b" * 40
METHODS = pytest.mark.parametrize("method", [emoboost.METHOD, label_correction.METHOD])


def last_params(method: Method, **setting: Any) -> dict[str, Any]:
    return dict(method.graph(method.resolve(setting))[-1].params)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A cache of the hub, and no hub: `main` of some/encoder is OLD."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    place = tmp_path / "cache" / "models--some--encoder"
    for commit in (OLD, NEW):
        (place / "snapshots" / commit).mkdir(parents=True)
        (place / "snapshots" / commit / "config.json").write_text("{}")
    (place / "refs").mkdir()
    (place / "refs" / "main").write_text(OLD)
    commit_of.cache_clear()
    yield place
    commit_of.cache_clear()


@METHODS
def test_a_branch_of_the_hub_is_its_commit_in_a_key(method: Method, cache: Path) -> None:
    first = last_params(method, ssl="some/encoder")
    assert first["ssl_revision"] == OLD
    assert first["ssl_digest"] is None
    assert last_params(method, ssl="some/encoder", ssl_revision=OLD) == first
    (cache / "refs" / "main").write_text(NEW)
    commit_of.cache_clear()
    second = last_params(method, ssl="some/encoder")
    assert second == first | {"ssl_revision": NEW}


def test_where_nobody_knows_the_commit_the_word_stays(cache: Path) -> None:
    assert commit_of("another/encoder", "main") == "main"
    assert commit_of("no name of the hub", "main") == "main"
    assert commit_of("another/encoder", NEW) == NEW


@METHODS
def test_a_relative_folder_counts_by_its_content_and_is_read_from_any_folder(
    method: Method, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "models" / "w2v2"
    folder.mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert "config.json" in str(method.params["ssl"].problem("ssl", "models/w2v2"))
    (folder / "config.json").write_text("{}")
    assert method.params["ssl"].problem("ssl", "models/w2v2") is None
    first = last_params(method, ssl="models/w2v2")
    assert first["ssl"] == str(folder)
    assert first["ssl_digest"] == digest(folder)
    assert first["ssl_revision"] is None
    assert last_params(method, ssl=str(folder)) == first
    (folder / "config.json").write_text('{"other": 1}')
    assert last_params(method, ssl="models/w2v2")["ssl_digest"] != first["ssl_digest"]


def test_untrained_weights_are_no_folder_whatever_lies_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("tiny", "random", "mine"):
        (tmp_path / name).mkdir()
    assert [is_path(name) for name in ("tiny", "random", "mine", "a/b")] == [0, 0, 1, 0]
    assert from_anywhere("tiny") == "tiny"
    assert from_anywhere("~/mine") == "~/mine"
