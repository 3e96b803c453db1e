"""Where a clip's sound lies: in a file of its own, between two times of one, in a row of a table.

The table of a corpus has a column `path`, and may have a column `part`, which says what of that
file is meant: "" is all of it, `segment` a time span, `cell` a row of an Arrow or Parquet file.
The *bytes of a clip* are those of its file, or of the cell; a segment's are an AU file of its own
samples, whose header holds nothing but rate, channels and kind, so that equal sound has equal
bytes. Whoever hears a clip asks `clip_bytes`.
"""

from __future__ import annotations

import io
import math
import os
import re
import threading
from collections import OrderedDict
from pathlib import Path
from typing import Any

import soundfile

_SEGMENT = re.compile(r"t=([\d.]+),([\d.]*)")
_DURATION = re.compile(r"(?:(\d+) days? )?(\d+):(\d\d):(\d\d(?:\.\d*)?)")
_CELL = re.compile(r"row=(\d+) column=(.+)", re.DOTALL)
_AU = {"PCM_S8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW"}
"""kinds of samples that AU keeps as they are; of the others float holds all that is heard"""
_SLACK = 0.1
"""seconds by which a segment may end after its file: tables round"""
_BATCH, _BATCHES = 16, 8
"""rows of a table read at once, and how many such batches stay in memory"""


def real_path(path: Path, folders: dict[str, str]) -> str:
    """`os.path.realpath` of a file, whose folder is followed once for all files in it.

    Args:
        path: of the file.
        folders: what is known already, by folder; it grows.
    """
    folder = str(path.parent)
    if folder not in folders:
        folders[folder] = os.path.realpath(folder)
    whole = os.path.join(folders[folder], path.name)
    return os.path.realpath(whole) if path.name == ".." or os.path.islink(whole) else whole


class PartError(ValueError):
    """A part that its file does not have: what is wrong, in words."""


def segment(start: float, end: float | None) -> str:
    """The part between two times in seconds; None is the file's end, and "" the whole file."""
    if start <= 0 and end is None:
        return ""
    return f"t={seconds_text(start)},{'' if end is None else seconds_text(end)}"


def seconds_text(seconds: float) -> str:
    """Seconds to the microsecond, without idle zeros: 1.25."""
    text = f"{seconds:.6f}".rstrip("0").rstrip(".")
    return text or "0"


def seconds_of(text: str) -> float | None:
    """Seconds of a cell: 1.25, 00:00:01.250 or 0 days 00:00:01.25; None of '' and NaT.

    Raises:
        ValueError: it is no such time.
    """
    if text.lower() in ("", "nat", "nan", "none"):
        return None
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
        if match := _DURATION.fullmatch(text):
            days, hours, minutes, rest = match.groups()
            seconds = 86400 * int(days or 0) + 3600 * int(hours) + 60 * int(minutes) + float(rest)
    if not math.isfinite(seconds) or seconds < 0:
        raise ValueError(repr(text))
    return seconds


def cell(row: int, column: str) -> str:
    """The part that is one row of a column of sounds, counted from 0."""
    return f"row={row} column={column}"


def suffix_of(part: str) -> str:
    """What tells a segment's id from that of its file: '@1.25-3.5', or '' of the whole."""
    span = _SEGMENT.fullmatch(part)
    return "" if span is None else f"@{span[1]}-{span[2]}"


def times_of(part: str) -> tuple[float, float | None]:
    """Start and end of a segment in seconds; (0, None) is all there is."""
    span = _SEGMENT.fullmatch(part)
    return (0.0, None) if span is None else (float(span[1]), float(span[2]) if span[2] else None)


def clip_bytes(path: str, part: str = "") -> bytes:
    """The bytes of a clip, as a sound file. Of a segment only its own samples are decoded.

    Raises:
        OSError: the file cannot be read.
        PartError: it has no such part.
        soundfile.SoundFileError: a segment's file is no sound.
    """
    if not part:
        return Path(path).read_bytes()
    if _SEGMENT.fullmatch(part):
        return _cut(path, *times_of(part))
    row = _CELL.fullmatch(part)
    if row is None:
        raise PartError(f"its part {part!r} is neither a time span nor a row")
    return _cell_bytes(path, int(row[1]), row[2])


def _cut(path: str, start: float, end: float | None) -> bytes:
    with open(path, "rb") as file, soundfile.SoundFile(file) as sound:
        rate, length = sound.samplerate, sound.frames
        first = round(start * rate)
        last = length if end is None else round(end * rate)
        if first >= length or last > length + _SLACK * rate:
            raise PartError(
                f"the segment from {seconds_text(start)} s to "
                f"{'the end' if end is None else seconds_text(end) + ' s'} is not in the file, "
                f"which has {seconds_text(length / rate)} s"
            )
        last = min(last, length)
        if last <= first:
            raise PartError(f"the segment ends at {end} s, before it begins at {start} s")
        sound.seek(first)
        kind = sound.subtype if sound.subtype in _AU else "FLOAT"
        kind = "PCM_16" if sound.subtype == "PCM_U8" else kind
        whole = {"PCM_16": "int16", "PCM_24": "int32", "PCM_32": "int32", "PCM_S8": "int16"}
        samples = sound.read(last - first, dtype=whole.get(kind, "float64"), always_2d=True)
        out = io.BytesIO()
        soundfile.write(out, samples, rate, format="AU", subtype=kind)
    return out.getvalue()


class _Batches:
    """The last batches of rows that were read of tables: clips are heard in their order."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held: OrderedDict[tuple[str, str, int], list[Any]] = OrderedDict()
        self._readers: OrderedDict[tuple[str, str], Any] = OrderedDict()

    def value(self, path: str, row: int, column: str) -> Any:
        """A cell: a mapping of bytes and path, or None."""
        with self._lock:
            key = (path, column, row // _BATCH)
            if key not in self._held:
                self._held[key] = self._read(path, column, row // _BATCH)
                while len(self._held) > _BATCHES:
                    self._held.popitem(last=False)
            self._held.move_to_end(key)
            batch = self._held[key]
        if row % _BATCH >= len(batch):
            raise PartError(f"the table has no row {row}")
        return batch[row % _BATCH]

    def _read(self, path: str, column: str, number: int) -> list[Any]:
        if not path.endswith(".parquet"):
            return _arrow_rows(path, column, number * _BATCH)
        place, reader = self._readers.pop((path, column), (0, None))
        if reader is None or place > number:
            place, reader = 0, _parquet_batches(path, column)
        rows: list[Any] = []
        for _ in range(place, number + 1):
            rows = next(reader, [])
        self._readers.clear()  # one file is open at a time
        self._readers[path, column] = (number + 1, reader)
        return rows


def _arrow_rows(path: str, column: str, first: int) -> list[Any]:
    """Rows of a file of `datasets`; it is mapped for so long alone, so that no page stays."""
    import pyarrow as pa

    with pa.memory_map(path) as source:
        values = pa.ipc.open_stream(source).read_all()[column].slice(first, _BATCH)
        return values.to_pylist()


def _parquet_batches(path: str, column: str) -> Any:
    """The batches of a column, `_BATCH` rows each across the file's groups of rows."""
    import pyarrow.parquet as pq

    rows: list[Any] = []
    with pq.ParquetFile(path, pre_buffer=False, buffer_size=1 << 20) as table:
        # by groups of rows: what a batch of all groups holds would not go before the next is there
        for group in range(table.num_row_groups):
            for batch in table.iter_batches(_BATCH, row_groups=[group], columns=[column]):
                rows += batch.column(0).to_pylist()
                while len(rows) >= _BATCH:
                    yield rows[:_BATCH]
                    del rows[:_BATCH]
    if rows:
        yield rows


_TABLES = _Batches()


def _cell_bytes(path: str, row: int, column: str) -> bytes:
    value = _TABLES.value(path, row, column)
    inside = value.get("bytes") if isinstance(value, dict) else value
    if isinstance(inside, bytes):
        return inside
    where = value.get("path") if isinstance(value, dict) else value
    if not where:
        raise PartError(f"row {row} of {path} has no sound in {column}")
    file = Path(str(where))
    return (file if file.is_absolute() else Path(path).parent / file).read_bytes()
