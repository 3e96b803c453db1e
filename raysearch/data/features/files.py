"""Features that somebody else made: `files:PATH`, one vector or a row of frames a clip.

    features=files:emotion2vec.npz      an array a clip, under its name
    features=files:embeddings/          one .npy a clip
    features=files:egemaps.csv          a table, or .parquet: `file` or `id`, and a column a value

A clip is named by its id, by its file (whole, or so much of the path as tells clips apart, with or
without suffix), and a segment by its id or by columns `file`, `start` and `end`. [D] is a vector,
[L, D] are frames; where every array is [1, D], these are vectors. Several rows of a table with one
name are frames, in their order; `files:PATH@kind=frames` says so of rows that have times of their
own. Columns that a table of clips knows by name, as label and speaker, are never values.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from raysearch.data.corpora.columns import COLUMNS, KNOWN, OTHER_NAMES
from raysearch.data.corpora.corpus import PART
from raysearch.data.corpora.folders import DECODED
from raysearch.data.corpora.places import seconds_text, times_of
from raysearch.data.features.extractor import ClipValues, ExtractorInfo, Kind, Matrix
from raysearch.errors import BadInput, near

_CODE = 1  # raise it whenever this file would give other values
_NAMES = ("id", "file", *OTHER_NAMES["file"], "name", "clip", "utterance", "key", "")
"""columns that name a clip, the best first; the last is of a nameless index"""
_NO_VALUES = {*COLUMNS, *KNOWN, *(x for names in OTHER_NAMES.values() for x in names)}
_KINDS: Mapping[str, Kind] = {"vector": "vector", "frames": "frames"}


@dataclass(frozen=True)
class _Values:
    """What a file holds: names as they stand there, their starts where it has any, and arrays."""

    names: tuple[str, ...]
    starts: tuple[float | None, ...]
    arrays: tuple[NDArray[np.floating], ...]
    kind: Kind
    columns: tuple[str, ...]
    notes: tuple[str, ...] = ()


def _read(feature: str, place: Path, kind: Kind | None) -> _Values:
    """All that lies at a place.

    Raises:
        BadInput: there is no such thing, or it holds no values.
    """
    try:
        state = (place.stat().st_mtime_ns, place.stat().st_size)
    except OSError as error:
        raise BadInput(f"features={feature}: there is no file or folder {place}.") from error
    if place.is_dir():
        files = sorted(place.rglob("*.npy"))
        last = max((file.stat().st_mtime_ns for file in files), default=0)
        state = (last, len(files))
    return _read_once(feature, place, kind, state)


@lru_cache(maxsize=4)
def _read_once(feature: str, place: Path, kind: Kind | None, state: tuple[int, int]) -> _Values:
    try:
        if place.is_dir():
            values = _of_folder(place)
        elif place.suffix.lower() == ".npz":
            values = _of_archive(place)
        elif place.suffix.lower() in (".csv", ".tsv", ".parquet"):
            values = _of_table(feature, place, kind)
        else:
            raise BadInput(
                f"features={feature}: {place} is none of .csv, .parquet, .npz and a folder of .npy."
            )
    except (OSError, ValueError, KeyError) as error:
        raise BadInput(f"features={feature}: {place} cannot be read: {error}.") from error
    return _checked(feature, place, values, kind)


def _of_folder(place: Path) -> _Values:
    files = sorted(place.rglob("*.npy"))
    names = tuple(file.relative_to(place).with_suffix("").as_posix() for file in files)
    arrays = tuple(np.load(file, mmap_mode="r", allow_pickle=False) for file in files)
    return _Values(names, (None,) * len(names), arrays, "vector", ())


def _of_archive(place: Path) -> _Values:
    """One array a clip; or one of all values [N, D] beside one of N names."""
    with np.load(place, allow_pickle=False) as archive:
        held = {name: archive[name] for name in archive.files}
    text = [name for name, array in held.items() if array.dtype.kind in "US" and array.ndim == 1]
    if len(text) == 1:
        names = tuple(map(str, held.pop(text[0]).tolist()))
        wide = [a for a in held.values() if a.ndim >= 2 and len(a) == len(names)]
        if len(wide) != 1:
            raise ValueError(f"beside the names {text[0]!r} it needs one array of as many rows")
        arrays = tuple(wide[0])
    else:
        names, arrays = tuple(held), tuple(held.values())
    return _Values(names, (None,) * len(names), arrays, "vector", ())


def _of_table(feature: str, place: Path, kind: Kind | None) -> _Values:
    frame = _frame(place)
    column = next((name for name in _NAMES if name in frame), None)
    if column is None:
        raise BadInput(
            f"features={feature}: {place} has no column that names a clip, file or id; its columns "
            f"are {', '.join(map(str, list(frame.columns)[:20]))}."
        )
    names = tuple(frame[column].astype(str))
    starts = (
        tuple(_seconds(x) for x in frame["start"]) if "start" in frame else (None,) * len(names)
    )
    lists = [
        n for n in frame if n not in _NO_VALUES and isinstance(frame[n].iloc[0], np.ndarray | list)
    ]
    if len(lists) == 1:
        arrays = tuple(
            np.stack([np.asarray(x, float) for x in cell])
            if _nested(cell)
            else np.asarray(cell, np.float64)
            for cell in frame[lists[0]]
        )
        return _Values(names, starts, arrays, "vector", ())
    numbers = frame.select_dtypes("number")
    values = [n for n in numbers if n not in _NO_VALUES and n not in (column, "start", "end")]
    if not values:
        raise BadInput(f"features={feature}: {place} has no column of numbers.")
    idle = [str(n) for n in frame if n not in (*values, column, "start", "end")]
    notes = (f"features={feature}: columns that are no values: {', '.join(idle)}.",) if idle else ()
    matrix = numbers[values].to_numpy(np.float64)
    key = names if kind == "frames" else tuple(zip(names, starts, strict=True))
    rows: dict[object, list[int]] = {}
    for row, name in enumerate(key):
        rows.setdefault(name, []).append(row)
    several = kind == "frames" or len(rows) < len(names)
    first = [own[0] for own in rows.values()]
    return _Values(
        tuple(names[i] for i in first),
        tuple(None if kind == "frames" else starts[i] for i in first),
        tuple(matrix[own] if several else matrix[own[0]] for own in rows.values()),
        "frames" if several else "vector",
        tuple(map(str, values)),
        notes,
    )


def _frame(place: Path) -> pd.DataFrame:
    """A table, its columns in lower case where they are not values."""
    if place.suffix.lower() == ".parquet":
        frame = pd.read_parquet(place)
        if any(name is not None for name in frame.index.names) or frame.index.dtype == object:
            frame = frame.reset_index()
    else:
        with place.open(encoding="utf-8-sig") as file:
            head = file.readline()
        frame = pd.read_csv(place, sep=max(",;\t", key=head.count), encoding="utf-8-sig")
    names = {}
    for name in map(str, frame.columns):
        lower = name.strip().lower()
        lower = "" if lower.startswith("unnamed: 0") or lower == "index" else lower
        names[name] = lower if lower in (*_NAMES, *_NO_VALUES) else name
    return frame.set_axis([names[str(name)] for name in frame.columns], axis=1)


def _nested(cell: object) -> bool:
    return isinstance(cell, np.ndarray | list) and len(cell) > 0 and np.ndim(cell[0]) > 0


def _seconds(value: object) -> float | None:
    if value is None or value != value:
        return None
    if isinstance(value, int | float):
        return float(value)
    return pd.Timedelta(str(value)).total_seconds()


def _checked(feature: str, place: Path, values: _Values, kind: Kind | None) -> _Values:
    """The values as vectors [D] or frames [L, D] of one D.

    Raises:
        BadInput: there are none, or they are of different widths.
    """
    arrays = values.arrays
    if not arrays:
        raise BadInput(f"features={feature}: {place} holds no arrays.")
    if any(array.dtype.kind not in "fiu" for array in arrays):
        raise BadInput(f"features={feature}: {place} holds what is no number.")
    if kind != "frames" and all(array.ndim == 2 and len(array) == 1 for array in arrays):
        arrays = tuple(array[0] for array in arrays)
    if kind == "frames":
        arrays = tuple(array[None] if array.ndim == 1 else array for array in arrays)
    shapes = Counter((array.ndim, array.shape[-1] if array.ndim else 0) for array in arrays)
    (most, _), *others = shapes.most_common()
    odd = next(
        (
            n
            for n, a in zip(values.names, arrays, strict=True)
            if others and a.ndim and (a.ndim, a.shape[-1]) != most
        ),
        "",
    )
    if others or most[0] not in (1, 2) or not most[1]:
        listing = ", ".join(
            f"{count} of {'frames' if ndim == 2 else 'a vector' if ndim == 1 else f'{ndim} axes'} "
            f"× {width}"
            for (ndim, width), count in shapes.most_common(4)
        )
        raise BadInput(
            f"features={feature}: the arrays of {place} must all be vectors [D] or all frames "
            f"[L, D] of one width, but there are {listing}{f' (as {odd})' if odd else ''}."
        )
    found: Kind = "frames" if most[0] == 2 else "vector"
    if kind == "vector" and found == "frames":
        raise BadInput(f"features={feature}: {place} holds frames, not vectors.")
    return _Values(values.names, values.starts, arrays, found, values.columns or (), values.notes)


def _key(name: str) -> tuple[str, ...]:
    """A clip's name as folders and a stem, in one Unicode form."""
    # by hand: pathlib takes most of the time of a large corpus here
    text = unicodedata.normalize("NFC", name.strip().replace("\\", "/"))
    *folders, last = [part for part in text.split("/") if part not in ("", ".")] or [""]
    stem, dot, suffix = last.rpartition(".")
    return (*folders, stem if stem and dot + suffix.lower() in DECODED else last)


def _places(table: pd.DataFrame) -> list[tuple[tuple[str, ...], str]]:
    """By clip, the folders and the stem of its file, and its segment's start ('' = whole)."""
    parts = table[PART] if PART in table else [""] * len(table)
    rows = zip(table["id"], table["path"], parts, strict=True)
    return [
        (_key(path) if not part or part.startswith("t=") else _key(name), _start(part))
        for name, path, part in rows
    ]


def _start(part: str) -> str:
    return seconds_text(times_of(part)[0]) if part.startswith("t=") else ""


def _index(values: _Values, depth: int, timed: bool) -> dict[tuple[tuple[str, ...], str], int]:
    """Where each name is, by its last folders; names that are not alone there are left out."""
    keys = [
        (_key(name)[-depth:], seconds_text(start or 0.0) if timed else "")
        for name, start in zip(values.names, values.starts, strict=True)
    ]
    counts = Counter(keys)
    return {key: row for row, key in enumerate(keys) if counts[key] == 1}


def _match(values: _Values, table: pd.DataFrame) -> list[int]:
    """[N] the row of each clip's values, -1 where there are none: by id, else by file."""
    ids = {unicodedata.normalize("NFC", name): row for row, name in enumerate(values.names)}
    places = _places(table)
    timed = PART in table and any(start is not None for start in values.starts)
    deepest = max(len(key) for key, _ in places)
    depth = next(
        (
            depth
            for depth in range(1, deepest + 1)
            if len({(key[-depth:], start) for key, start in places}) == len(places)
        ),
        deepest,
    )
    index = _index(values, depth, timed)
    rows = []
    for clip, (key, start) in zip(table["id"], places, strict=True):
        short = clip.partition("/")[2]
        row = ids.get(clip, ids.get(short, -1)) if not timed else -1
        if row < 0 and (timed or not start):
            row = index.get((key[-depth:], (start or "0") if timed else ""), -1)
        if row < 0 and start and not timed:
            row = index.get((_key(short)[-depth:], ""), -1)
        rows.append(row)
    return rows


def _values_of(feature: str, place: Path, kind: Kind | None, table: pd.DataFrame) -> ClipValues:
    """The values of a table's clips, and what to tell of those that no clip has.

    A study asks for them several times, of one table.

    Raises:
        BadInput: clips have no values, or values that are not finite.
    """
    values = _read(feature, place, kind)
    clips = table[["id", "path", *([PART] if PART in table else [])]]
    for known, before, found in _FOUND:
        if known is values and before.equals(clips):
            return found
    found = _looked_up(feature, place, values, clips)
    _FOUND.append((values, clips, found))
    return found


_FOUND: deque[tuple[_Values, pd.DataFrame, ClipValues]] = deque(maxlen=4)
"""what was found last, of which values and which clips; as many as `_read_once` holds"""


def _looked_up(feature: str, place: Path, values: _Values, table: pd.DataFrame) -> ClipValues:
    rows = _match(values, table)
    lacking = [clip for clip, row in zip(table["id"], rows, strict=True) if row < 0]
    if lacking:
        more = f" and {len(lacking) - 5} more" if len(lacking) > 5 else ""
        names = list(values.names)
        raise BadInput(
            f"features={feature}: {len(lacking)} of {len(table)} clips have no values in {place}: "
            f"{', '.join(lacking[:5])}{more}. It names {len(names)} clips ({', '.join(names[:3])}, "
            f"...): name them by id or by file{near(lacking[0], names)}."
        )
    matrices = [np.asarray(values.arrays[row], dtype=np.float32) for row in rows]
    digests = []
    for clip, matrix in zip(table["id"], matrices, strict=True):
        if not len(matrix) or not np.isfinite(matrix).all():
            what = "no frames" if not len(matrix) else "values that are not finite"
            raise BadInput(f"features={feature}: {clip} has {what} in {place}: mend them.")
        digest = hashlib.sha256(f"files-{_CODE} {matrix.shape} ".encode())
        digest.update(np.ascontiguousarray(matrix, "<f4").data)
        digests.append(digest.hexdigest())
    notes = list(values.notes)
    used = set(rows)
    surplus = len(values.names) - len(used)
    if surplus:
        first = [n for i, n in enumerate(values.names) if i not in used][:3]
        notes.append(
            f"features={feature}: {surplus} of its {len(values.names)} names are no clips of this "
            f"study, and are not used ({', '.join(first)}{', ...' if surplus > 3 else ''})."
        )
    return ClipValues(tuple(digests), matrices, tuple(notes))


def _no_sound(samples: object) -> Matrix:
    raise RuntimeError("features=files:PATH hears no clip")


def _nameless() -> str:
    raise BadInput("features=files needs its file: write features=files:PATH.")


def _version() -> str:
    return f"files-{_CODE}"


def _configured(rest: str) -> ExtractorInfo:
    head, *words = re.split(r"@(?=[a-z]+=)", rest)
    feature = f"files{rest}"
    kind: Kind | None = None
    for word in words:
        key, _, value = word.partition("=")
        if key != "kind" or value not in _KINDS:
            raise BadInput(
                f"features={feature}: @{word} is no option; they are @kind=frames, vector."
            )
        kind = _KINDS[value]
    place = Path(head.removeprefix(":")).expanduser().absolute()
    values = _read(feature, place, kind)
    width = int(values.arrays[0].shape[-1])
    return ExtractorInfo(
        name=feature,
        description=f"values that you bring, from {place}",
        dims=width,
        extract=_no_sound,
        version=_version,
        names=partial(tuple, values.columns) if values.columns else None,
        kind=values.kind,
        values=partial(_values_of, feature, place, kind),
    )


INFOS: Sequence[ExtractorInfo] = (
    ExtractorInfo(
        name="files",
        description="your own values: files:PATH, a .csv, .parquet or .npz, or a folder of .npy",
        dims=None,
        extract=_no_sound,
        version=_nameless,
        configure=_configured,
        values=partial(_values_of, "files", Path(), None),
    ),
)
