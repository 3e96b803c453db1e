"""The label files of MSP-Podcast's releases: CSV, JSON or text, with columns by their names.

The clips are in labels_consensus (older releases: labels_concensus), as CSV with a row a clip or as
JSON with an object a clip. The single ratings are in labels_detailed.csv, either as lines of
`corpora.msp` behind a clip's name or as columns of their own; in labels_detailed.json, by clip and
by rater; or in labels.txt.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from raysearch.data.corpora.folders import find_file
from raysearch.data.corpora.msp import Rating, blocks, emotion, rating
from raysearch.data.corpora.readers import text_lines
from raysearch.errors import BadInput

_OTHER_NAMES = {
    "FileName": ("filename", "file", "utterance", "segment"),
    "EmoClass": ("emoclass", "emoclassmajor"),
    "EmoAct": ("emoact", "act", "activation", "arousal"),
    "EmoVal": ("emoval", "val", "valence"),
    "EmoDom": ("emodom", "dom", "dominance"),
    "SpkrID": ("spkrid", "speakerid", "spkid", "speaker"),
    "Split_Set": ("splitset", "split", "partition", "set"),
    "Worker": ("worker", "workerid", "annotator", "annotatorid", "rater", "raterid", "name"),
}
"""each column by what releases call it, in small letters and digits alone"""
_COLUMN = {other: name for name, others in _OTHER_NAMES.items() for other in others}


def _columns(row: Mapping[Any, Any]) -> dict[str, str]:
    """A row by this file's names of its columns; unknown ones keep their own."""
    out: dict[str, str] = {}
    for key, value in row.items():
        plain = "".join(filter(str.isalnum, str(key).casefold()))
        out.setdefault(_COLUMN.get(plain, str(key)), "" if value is None else str(value).strip())
    return out


def consensus_of(labels: Path) -> tuple[Path | None, list[dict[str, str]]]:
    """The file of the clips, None if there is none, and a row a clip with `FileName` and others."""
    names = ("labels_consensus", "labels_concensus")
    path = find_file([labels], *(f"{name}.csv" for name in names))
    if path is not None:
        text = io.StringIO("\n".join(text_lines(path)))
        return path, [_columns(row) for row in csv.DictReader(text)]
    path = find_file([labels], *(f"{name}.json" for name in names))
    if path is None:
        return None, []
    rows = []
    for clip, about in _clips(path).items():
        inner = about[0] if isinstance(about, list) and about else about
        rows.append({"FileName": str(clip), **_columns(inner if isinstance(inner, dict) else {})})
    return path, rows


def ratings_of(labels: Path) -> tuple[Path | None, list[tuple[str, Rating]]]:
    """The file of the single ratings, None if there is none, and each with its clip's name."""
    csv_file = find_file([labels], "labels_detailed.csv")
    if csv_file is not None:
        return csv_file, list(_csv_ratings(csv_file))
    json_file = find_file([labels], "labels_detailed.json")
    if json_file is not None:
        return json_file, list(_json_ratings(json_file))
    text = find_file([labels], "labels.txt")
    if text is None:
        return None, []
    return text, [(clip.clip, one) for clip in blocks(text_lines(text)) for one in clip.ratings]


def _csv_ratings(path: Path) -> Iterator[tuple[str, Rating]]:
    rows = list(csv.reader(io.StringIO("\n".join(text_lines(path)))))
    header = _columns(dict.fromkeys(rows[0] if rows else ()))
    if {"FileName", "EmoClass", "Worker"} <= set(header):
        for row in rows[1:]:
            about = _columns(dict(zip(rows[0], row, strict=False)))
            if (one := _of_columns(about.get("Worker", ""), about)) is not None:
                yield about["FileName"], one
        return
    for row in rows:
        if len(row) > 1 and (one := rating(row[1])) is not None:
            yield row[0], one


def _json_ratings(path: Path) -> Iterator[tuple[str, Rating]]:
    for clip, raters in _clips(path).items():
        inner = raters.get("Workers", raters) if isinstance(raters, dict) else raters
        named = inner.items() if isinstance(inner, dict) else (("", one) for one in inner)
        for who, one in named:
            about = _columns(one) if isinstance(one, dict) else {}
            if (made := _of_columns(who or about.get("Worker", ""), about)) is not None:
                yield str(clip), made


def _of_columns(who: str, about: Mapping[str, str]) -> Rating | None:
    word = about.get("EmoClass", "")
    if not who or not word:
        return None
    values = (_value(about.get(name, "")) for name in ("EmoVal", "EmoAct", "EmoDom"))
    return Rating(who, emotion(word), *values)


def _value(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _clips(path: Path) -> dict[str, Any]:
    try:
        tree = json.loads("\n".join(text_lines(path)))
    except ValueError as error:
        raise BadInput(f"{path} is no JSON ({error}): take the release's own file.") from None
    if not isinstance(tree, dict):
        raise BadInput(f"{path} holds no object by clips' names: take the release's own file.")
    return tree
