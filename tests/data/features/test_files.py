"""Features that lie ready: which clip has which values, and what is said where one has none."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raysearch.data.corpora import Corpus
from raysearch.data.corpora.folders import DECODED
from raysearch.data.features import (
    check,
    extract,
    files,
    fingerprint,
    known,
    local_chunks,
    row_digests,
    stored,
)
from raysearch.errors import BadInput
from tests.contracts.extractors import corpus_of, noise

NAMES = ("a1", "a2", "b1")
X = np.arange(12, dtype=np.float32).reshape(3, 4)


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    (tmp_path / "wav").mkdir()
    return corpus_of(tmp_path / "wav", {name: noise(2000, i) for i, name in enumerate(NAMES)})


def matrix(feature: str, corpus: Corpus, home: Path) -> np.ndarray:
    assert not stored([feature], corpus, home)
    (one,) = extract([feature], corpus, folder=home, run_chunks=local_chunks)
    assert stored([feature], corpus, home)
    return np.asarray(one.matrix)


def test_tables_archives_and_arrays_give_the_same_vectors_and_digests(
    corpus: Corpus, tmp_path: Path
) -> None:
    order = [2, 0, 1]
    columns = {f"v{i}": X[order, i] for i in range(4)}
    files = [f"wav/{NAMES[i]}.wav" for i in order]
    table = pd.DataFrame({"file": files, "label": ["x", "y", "z"], **columns})
    table.to_csv(tmp_path / "t.csv", index=False)
    times = pd.to_timedelta([0, 0, 0], unit="s")
    index = pd.MultiIndex.from_arrays([files, times, times], names=["file", "start", "end"])
    pd.DataFrame(columns, index=index).to_parquet(tmp_path / "t.parquet")
    ids = {f"c/{name}": X[i] for i, name in enumerate(NAMES)}
    np.savez(tmp_path / "n.npz", **ids)
    names = np.array([f"/elsewhere/{file}" for file in files])
    np.savez(tmp_path / "m.npz", files=names, x=X[order])
    (tmp_path / "npy").mkdir()
    for i, name in enumerate(NAMES):
        np.save(tmp_path / "npy" / f"{name}.npy", X[i : i + 1].astype(np.float64))
    digests = set()
    for place in ("t.csv", "t.parquet", "n.npz", "m.npz", "npy"):
        feature = f"files:{tmp_path / place}"
        assert known()[feature].kind == "vector"
        np.testing.assert_array_equal(matrix(feature, corpus, tmp_path / f"h-{place}"), X)
        digests.add((*row_digests([feature], corpus), known()[feature].identity))
    assert len(digests) == 1, "neither the place nor the kind of file is in a key"
    assert check([f"files:{tmp_path / 't.csv'}"], corpus) == (
        f"features=files:{tmp_path / 't.csv'}: columns that are no values: label.",
    )
    assert known()[f"files:{tmp_path / 't.csv'}"].columns(4) == ("v0", "v1", "v2", "v3")


def test_a_value_is_in_the_key_of_its_clip_alone_and_in_the_fingerprint(
    corpus: Corpus, tmp_path: Path
) -> None:
    feature = f"files:{tmp_path / 'n.npz'}"
    np.savez(tmp_path / "n.npz", **dict(zip(NAMES, X, strict=True)))
    first, whole = row_digests([feature], corpus), fingerprint([feature], corpus)
    changed = X.copy()
    changed[1, 2] += 1
    np.savez(tmp_path / "n.npz", **dict(zip(NAMES, changed, strict=True)))
    second = row_digests([feature], corpus)
    assert [a == b for a, b in zip(first, second, strict=True)] == [True, False, True]
    assert fingerprint([feature], corpus) != whole
    assert fingerprint(["egemaps"], corpus) == corpus.fingerprint


def test_frames(corpus: Corpus, tmp_path: Path) -> None:
    lengths = (3, 1, 2)
    arrays = [np.full((n, 2), i, np.float32) for i, n in enumerate(lengths)]
    np.savez(tmp_path / "f.npz", **dict(zip(NAMES, arrays, strict=True)))
    rows = [
        (f"{NAMES[i]}.wav", j * 0.01, float(i), float(i))
        for i, n in enumerate(lengths)
        for j in range(n)
    ]
    pd.DataFrame(rows, columns=["file", "start", "p", "q"]).to_csv(tmp_path / "f.csv", index=False)
    for place in ("f.npz", "f.csv@kind=frames"):
        feature = f"files:{tmp_path / place}"
        assert known()[feature].kind == "frames"
        (one,) = extract([feature], corpus, folder=tmp_path / "h" / place, run_chunks=local_chunks)
        assert one.sequences.lengths.tolist() == list(lengths)
        np.testing.assert_array_equal(np.asarray(one.matrix), np.concatenate(arrays))


def test_segments_are_named_by_their_times(corpus: Corpus, tmp_path: Path) -> None:
    path = corpus.table["path"][0]
    table = corpus.table.assign(
        path=path, part=["t=0,0.05", "t=0.05,0.1", ""], id=["c/a1@0-0.05", "c/a1@0.05-0.1", "c/a1"]
    )
    cut = replace(corpus, table=table.iloc[:2])
    lines = "file,start,end,v\na1.wav,0 days 00:00:00.050000,0 days 00:00:00.1,2\na1.wav,0,0.05,1\n"
    (tmp_path / "s.csv").write_text(lines)
    feature = f"files:{tmp_path / 's.csv'}"
    assert matrix(feature, cut, tmp_path / "h").tolist() == [[1.0], [2.0]]
    np.savez(tmp_path / "s.npz", **{"a1@0-0.05": [1.0], "a1@0.05-0.1": [2.0]})
    feature = f"files:{tmp_path / 's.npz'}"
    assert matrix(feature, cut, tmp_path / "h2").tolist() == [[1.0], [2.0]]


def test_what_is_missing_surplus_or_no_number_is_told(corpus: Corpus, tmp_path: Path) -> None:
    def said(held: dict[str, np.ndarray], file: str = "x.npz") -> str:
        np.savez(tmp_path / "x.npz", **held)
        with pytest.raises(BadInput) as caught:
            check([f"files:{tmp_path / file}"], corpus)
        return str(caught.value)

    rows = dict(zip(NAMES, X, strict=True))
    assert "1 of 3 clips have no values" in said({n: rows[n] for n in NAMES[:2]})
    assert "c/b1" in said({n: rows[n] for n in NAMES[:2]})
    assert "of one width" in said({**rows, "b1": X[0, :2]})
    assert "c/b1 has values that are not finite" in said({**rows, "b1": np.full(4, np.nan)})
    assert "there is no file or folder" in said(rows, "y.npz")
    assert "is none of .csv" in said(rows, "wav/a1.wav")
    np.savez(tmp_path / "x.npz", **rows, other=X[0])
    (note,) = check([f"files:{tmp_path / 'x.npz'}"], corpus)
    assert "1 of its 4 names are no clips of this study, and are not used (other)" in note
    with pytest.raises(BadInput, match="write features=files:PATH"):
        check(["files"], corpus)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from(["a", "b.c", ".", "..", "/", ".wav", ".FLAC", "x", " "])))
def test_a_name_is_its_folders_and_its_stem(words: list[str]) -> None:
    """As pathlib cuts them, which is too slow for a large corpus."""
    name = "".join(words)
    path = PurePosixPath(name.strip())
    stem = path.stem if path.suffix.lower() in DECODED else path.name
    folders = [part for part in path.parts[:-1] if part not in ("/", "//")]
    assert files._key(name) == (*folders, "" if stem in ("/", "//") else stem)


def test_values_are_matched_once_for_a_table_and_anew_for_another_or_a_new_file(
    corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "x.npz"
    np.savez(place, names=np.array(NAMES), values=X)
    feature, counts = f"files:{place}", []
    match = files._match
    monkeypatch.setattr(files, "_match", lambda *a: counts.append(1) or match(*a))
    first = row_digests([feature], corpus)
    check([feature], corpus)
    assert row_digests([feature], corpus) == first
    assert len(counts) == 1
    less = replace(corpus, table=corpus.table.iloc[::-1].reset_index(drop=True))
    assert row_digests([feature], less) == first[::-1]
    np.savez(place, **{name: row + 1 for name, row in zip(NAMES, X, strict=True)})
    assert not set(row_digests([feature], corpus)) & set(first)
