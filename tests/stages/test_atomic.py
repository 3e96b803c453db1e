"""Files are whole, or they are as they were."""

from __future__ import annotations

from pathlib import Path

import pytest

from raysearch.stages.atomic import replacing, write_whole


def test_a_file_is_written_with_its_folder(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b.txt"
    assert write_whole(path, "Zoë") == path
    assert path.read_bytes() == "Zoë".encode()
    write_whole(path, b"bytes")
    assert path.read_bytes() == b"bytes"
    assert list(path.parent.iterdir()) == [path]


def test_after_an_error_a_file_is_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "b.txt"
    write_whole(path, "before")

    def tear() -> None:
        with replacing(path) as aside:
            aside.write_text("half")
            assert path.read_text() == "before"
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tear()
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]
