"""Tables of text as people bring them."""

from __future__ import annotations

from pathlib import Path

import pytest

from raysearch.data.corpora.csv_cells import read_cells
from raysearch.errors import BadInput

PLAIN = [["a.wav", "angry"], ["b.wav", "sad, or so"]]


def cells(folder: Path, text: str, encoding: str = "utf-8") -> list[list[str]]:
    path = folder / "table.csv"
    path.write_bytes(text.encode(encoding))
    frame = read_cells(path)
    assert list(frame.columns) == ["file", "label"]
    return frame.to_numpy().tolist()


@pytest.mark.parametrize(
    "text",
    [
        'file,label\na.wav,angry\nb.wav,"sad, or so"\n',
        '\ufefffile,Label \r\na.wav,angry\r\nb.wav,"sad, or so"\r\n',
        "sep=;\nfile;label\na.wav;angry\nb.wav;sad, or so\n",
        "# a remark, with commas, many\n\nfile;label\na.wav;angry\nb.wav;sad, or so\n",
        "file\tlabel\na.wav\t angry\n\n\nb.wav\tsad, or so",
        'file, label\na.wav, "angry"\nb.wav, "sad, or so"\n',
    ],
)
def test_separators_marks_remarks_and_quotes(tmp_path: Path, text: str) -> None:
    assert cells(tmp_path, text) == PLAIN


@pytest.mark.parametrize("sign", ["\x85", "\u2028", "\u2029", "\x0b", "\x0c", "\x1c"])
def test_only_line_ends_end_a_line(tmp_path: Path, sign: str) -> None:
    assert cells(tmp_path, f"file,label\na.wav,so{sign}here\n") == [["a.wav", f"so{sign}here"]]
    assert cells(tmp_path, 'file,label\na.wav,"two\nlines"\n') == [["a.wav", "two\nlines"]]


def test_rows_know_their_line_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("# remark\nfile,label\n\na.wav,x\n\nb.wav,y\n")
    assert read_cells(path).index.tolist() == [4, 6]
    path.write_text("# remark\nfile,label\n\na.wav,x\n\nb.wav\n")
    with pytest.raises(BadInput, match="has 2 columns, but row 6 has 1 cells"):
        read_cells(path)


@pytest.mark.parametrize(
    ("encoding", "remedy"),
    [("utf-16", "iconv -f UTF-16 -t UTF-8"), ("latin-1", "iconv -f LATIN1 -t UTF-8")],
)
def test_other_encodings_are_told_with_the_remedy(
    tmp_path: Path, encoding: str, remedy: str
) -> None:
    with pytest.raises(BadInput, match=remedy):
        cells(tmp_path, "file,label\na.wav,ängstlich\n", encoding)


@pytest.mark.parametrize(
    "text",
    [
        'file|label\na.wav|angry\nb.wav|"sad, or so"\n',
        "'file','label'\n'a.wav','angry'\n'b.wav','sad, or so'\n",
        'file,label\na.wav,angry,,\nb.wav,"sad, or so",\n',
        'file,label\na.wav,"=""angry"""\nb.wav,"sad, or so"\n',
    ],
)
def test_what_spreadsheets_and_scripts_write(tmp_path: Path, text: str) -> None:
    assert cells(tmp_path, text) == PLAIN


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('file,label\na.wav,x\nb.wav,"y\nc.wav,z\n', "line 3 that is never closed"),
        ('file,label\na.wav,"x\nb.wav","y"\nc.wav,z\n', "the quote that line 2 opens"),
        ("file,label\na.wav,x\0\n", "NUL byte in line 2"),
        ("file,label\na.wav,x\nb.wav,x,y\n", "row 3 has 3 cells: quote cells that hold a ','"),
    ],
)
def test_quotes_and_bytes_that_break_a_table_are_named(
    tmp_path: Path, text: str, words: str
) -> None:
    with pytest.raises(BadInput, match=words):
        cells(tmp_path, text)


def test_texts_of_wide_characters_without_a_mark_and_long_cells(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="iconv -f UTF-16LE"):
        cells(tmp_path, "file,label\na.wav,x\n", "utf-16-le")
    with pytest.raises(BadInput, match="iconv -f UTF-32"):
        cells(tmp_path, "file,label\na.wav,x\n", "utf-32")
    assert cells(tmp_path, f"file,label\na.wav,{'x' * 200_000}\n")[0][1] == "x" * 200_000
