"""Hugging Face datasets on the disk: `save_to_disk`, Parquet files, or an audio folder.

    corpus=huggingface corpus.root=DIR corpus.options='{columns: {speaker: actor, label: emotion}}'

Sound is read row by row out of the Arrow and Parquet files where it lies; nothing is copied or
decoded beforehand. The names of classes are those of the label's feature. A clip's id is the name
of its file where the dataset keeps such names, and they differ, or else its split and row. An audio
folder has metadata.csv, .jsonl or .parquet with `file_name`, or a folder a class.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from raysearch.data.corpora.clip_frame import missing_words, raw_of_frame, text_of
from raysearch.data.corpora.columns import (
    COLUMNS,
    KNOWN,
    columns_option,
    remedy,
    unused_note,
)
from raysearch.data.corpora.corpus import PART, TABLE_COLUMNS, CorpusInfo, Options, Raw
from raysearch.data.corpora.csv_cells import read_cells
from raysearch.data.corpora.folders import DECODED
from raysearch.data.corpora.places import cell
from raysearch.data.corpora.readers import with_root
from raysearch.errors import BadInput, any_error_as, near, one_line

_USED = ("file", "label", "speaker", "session", "transcript", *KNOWN)
_METADATA = ("metadata.csv", "metadata.jsonl", "metadata.parquet")


@dataclass(frozen=True)
class _Rows:
    """Some rows of a dataset: all columns but the sound, and where that is."""

    split: str
    frame: pd.DataFrame
    """text, "" where missing; labels by their names"""
    places: tuple[tuple[str, str], ...]
    """(file, part) of each row's sound"""
    names: tuple[str, ...]
    """the name of each row's file, '' where the dataset keeps none"""
    label: str = ""
    """the one column of classes, if there is one"""


def _library() -> Any:
    try:
        import datasets
    except ImportError as error:
        raise BadInput(
            "corpus=huggingface needs the package datasets, which is not installed: pip install "
            "datasets."
        ) from error
    return datasets


def _saved(root: Path) -> Iterator[tuple[str, Path]]:
    """(split, file) of what `save_to_disk` wrote."""
    whole = root / "dataset_dict.json"
    folders = {"": root}
    if whole.is_file():
        folders = {s: root / s for s in json.loads(whole.read_text(encoding="utf-8"))["splits"]}
    for split, folder in folders.items():
        state = json.loads((folder / "state.json").read_text(encoding="utf-8"))
        for file in state["_data_files"]:
            yield split or str(state.get("_split") or ""), folder / file["filename"]


def _laid(datasets: Any, root: Path, config: str | None) -> list[tuple[str, Path]]:
    """(split, file) of a folder of Parquet or audio, as `datasets` finds them.

    Raises:
        BadInput: it finds none.
    """
    with tempfile.TemporaryDirectory(prefix="raysearch-datasets-") as cache:
        with any_error_as(
            lambda error: BadInput(
                f"corpus.root={root} is no dataset ({one_line(error)}): {LAYOUT}."
            )
        ):
            builder = datasets.load_dataset_builder(str(root), name=config, cache_dir=cache)
        files = builder.config.data_files or {}
    return [(str(split), Path(file)) for split, own in files.items() for file in own]


def _tables(datasets: Any, root: Path, options: Options) -> list[_Rows]:
    saved = (root / "dataset_dict.json").is_file() or (root / "state.json").is_file()
    sound = options.get("audio")
    config = options.get("config")
    try:
        files = (
            list(_saved(root))
            if saved
            else _laid(datasets, root, None if config is None else str(config))
        )
        if all(file.suffix in (".arrow", ".parquet") for _, file in files):
            return [
                _table(datasets, split, file, None if sound is None else str(sound))
                for split, file in files
            ]
        return list(_folder(files, root))
    except (OSError, ValueError, KeyError) as error:
        raise BadInput(f"corpus.root={root} cannot be read: {error}.") from error


def _table(datasets: Any, split: str, file: Path, sound: str | None) -> _Rows:
    """One Arrow or Parquet file. Of its sound no byte is read, but the names of files are."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    arrow = file.suffix == ".arrow"
    if arrow:
        with pa.memory_map(str(file)) as source:
            schema = pa.ipc.open_stream(source).schema
    else:
        schema = pq.read_schema(file)
    features = datasets.Features.from_arrow_schema(schema)
    column = _sound_column(datasets, features, schema, file, sound)
    plain = [name for name in features if not _nested(features[name])]
    named = pa.types.is_struct(schema.field(column).type)
    if arrow:
        with pa.memory_map(str(file)) as source:
            table = pa.ipc.open_stream(source).read_all()
            names = _paths(table[column]) if named else [""] * len(table)
            frame = table.select(plain).to_pandas()
    else:
        with pq.ParquetFile(file) as parquet:
            frame = parquet.read(columns=plain).to_pandas()
            paths = parquet.read(columns=[f"{column}.path"]) if named else None
        names = [""] * len(frame) if paths is None else _paths(paths[column])
    classes = [name for name in plain if isinstance(features[name], datasets.ClassLabel)]
    for name in classes:
        words = features[name].names
        frame[name] = [words[int(x)] if x == x and x >= 0 else "" for x in frame[name]]
    texts = pd.DataFrame({str(n): [text_of(x) for x in frame[n]] for n in frame}, dtype=str)
    places = tuple((str(file), cell(row, column)) for row in range(len(names)))
    return _Rows(split, texts, places, tuple(names), classes[0] if len(classes) == 1 else "")


def _sound_column(
    datasets: Any, features: Mapping[str, Any], schema: Any, file: Path, sound: str | None
) -> str:
    """The column of the sound.

    Raises:
        BadInput: there is none, or several.
    """
    import pyarrow as pa

    def audible(name: str) -> bool:
        kind = schema.field(name).type
        pair = pa.types.is_struct(kind) and {"bytes", "path"} == {x.name for x in kind}
        return isinstance(features[name], datasets.Audio) or pair or pa.types.is_binary(kind)

    columns = [name for name in features if audible(name)]
    if sound is not None and sound in columns:
        return sound
    if sound is not None or len(columns) != 1:
        what = f"corpus.options.audio={sound} names no" if sound else "needs one"
        raise BadInput(
            f"{file} {what} column of sound{near(sound or '', columns)}: there are "
            f"{', '.join(columns) or 'none'}; corpus.options.audio=NAME chooses one."
        )
    return columns[0]


def _nested(feature: Any) -> bool:
    """Whether a feature is more than one number or text: sound, lists, mappings."""
    return type(feature).__name__ not in ("Value", "ClassLabel") or feature.dtype == "binary"


def _paths(column: Any) -> list[str]:
    import pyarrow.compute as pc

    return [text_of(x) for x in pc.struct_field(column, "path").to_pylist()]


def _folder(files: Sequence[tuple[str, Path]], root: Path) -> Iterator[_Rows]:
    """An audio folder: by metadata, or a folder a class."""
    for split in dict.fromkeys(split for split, _ in files):
        own = [file for of, file in files if of == split]
        sounds = {file.resolve() for file in own if file.suffix.lower() in DECODED}
        tables = [file for file in own if file.name in _METADATA]
        if not sounds:
            raise BadInput(f"corpus.root={root} holds no sound that can be read: {LAYOUT}.")
        if not tables:
            ordered = sorted(sounds)
            frame = pd.DataFrame({"label": [file.parent.name for file in ordered]}, dtype=str)
            yield _Rows(split, frame, *_lying(ordered, root), label="label")
        for table in tables:
            frame = _metadata(table)
            name = next((n for n in ("file_name", "audio_file_name") if n in frame), None)
            if name is None:
                raise BadInput(
                    f"{table} has no column file_name; it has {', '.join(frame.columns)}."
                )
            listed = [(table.parent / x).resolve() for x in frame[name]]
            yield _Rows(split, frame.drop(columns=[name]), *_lying(listed, root))


def _lying(
    files: Sequence[Path], root: Path
) -> tuple[tuple[tuple[str, str], ...], tuple[str, ...]]:
    base = root.resolve()
    names = (f.relative_to(base).as_posix() if f.is_relative_to(base) else f.name for f in files)
    return tuple((str(file), "") for file in files), tuple(names)


def _metadata(path: Path) -> pd.DataFrame:
    if path.suffix == ".csv":
        return read_cells(path, "list of metadata")
    if path.suffix == ".parquet":
        frame = pd.read_parquet(path)
    else:
        frame = pd.read_json(path, lines=True, dtype=False, convert_dates=False)
    return pd.DataFrame({str(n): [text_of(x) for x in frame[n]] for n in frame}, dtype=str)


def _named(rows: _Rows, columns: Mapping[str, str], root: Path) -> pd.DataFrame:
    """The rows with the columns' names here.

    Raises:
        BadInput: the dataset has no such column, or lacks what a corpus needs.
    """
    frame = rows.frame
    exact = {str(name).lower(): str(name) for name in frame}
    columns = {here: exact.get(there.lower(), there) for here, there in columns.items()}
    if wrong := [name for name in columns.values() if name not in frame]:
        raise BadInput(
            f"corpus.options.columns names {wrong[0]!r}, which is no column of {root}"
            f"{near(wrong[0], frame.columns)}; its columns are {', '.join(frame.columns)}."
        )
    if wrong := [name for name in columns if name not in (*COLUMNS, "split")]:
        raise BadInput(
            f"corpus.options.columns gives {wrong[0]!r} a column, which is no name here"
            f"{near(wrong[0], COLUMNS)}; the names are {', '.join(_USED)}."
        )
    frame = frame.drop(columns=[here for here in columns if here in frame])
    frame = frame.rename(columns={there: here for here, there in columns.items()})
    if "label" not in frame and rows.label in frame:
        frame = frame.rename(columns={rows.label: "label"})
    lacking = [name for name in ("label", "speaker") if name not in frame]
    if lacking:
        hint = remedy(lacking, frame.columns) or (
            "; name it by corpus.options.columns={" + f"{lacking[0]}: NAME" + "}."
        )
        raise BadInput(
            f"The dataset {root} has no column {', '.join(map(repr, lacking))}; its columns are "
            f"{', '.join(frame.columns) or 'none'}{hint}"
        )
    return frame


@with_root
def _read(root: Path, options: Options) -> Raw:
    name = str(options.get("name") or "huggingface")
    columns = columns_option(options)
    tables = _tables(_library(), root, options)
    chosen = options.get("split")
    if chosen is not None:
        wanted = [chosen] if isinstance(chosen, str) else [str(x) for x in chosen]  # type: ignore[attr-defined]
        there = list(dict.fromkeys(rows.split for rows in tables))
        if unknown := [split for split in wanted if split not in there]:
            raise BadInput(
                f"corpus.options.split={unknown[0]} is no split of {root}"
                f"{near(unknown[0], there)}; its splits are {', '.join(there)}."
            )
        tables = [rows for rows in tables if rows.split in wanted]
    frames = []
    count: dict[str, int] = {}
    for rows in tables:
        frame = _named(rows, columns, root)
        first = count.get(rows.split, 0)
        count[rows.split] = first + len(frame)
        frames.append(
            frame.assign(
                **{
                    PART: [part for _, part in rows.places],
                    "path": [path for path, _ in rows.places],
                    "clip": [_stem(name) for name in rows.names],
                    "_row": [f"{rows.split or 'row'}/{first + i}" for i in range(len(frame))],
                },
                **({} if "split" in frame or not rows.split else {"split": rows.split}),
            )
        )
    frame = pd.concat(frames, ignore_index=True).fillna("")
    if (frame["clip"] == "").any() or frame["clip"].duplicated().any():
        frame["clip"] = frame["_row"]
    others = {*_USED, *TABLE_COLUMNS, PART, "clip", "_row", "split"}
    there = [str(column) for column in frame]
    idle = [column for column in there if column not in others]
    notes = unused_note(name, "dataset", idle, [c for c in there if c not in idle])
    return raw_of_frame(
        name, frame.drop(columns=["_row"]), missing=missing_words(options), notes=notes
    )


def _stem(name: str) -> str:
    path = Path(name.replace("\\", "/"))
    path = path.with_suffix("") if path.suffix.lower() in DECODED else path
    return Path(path.name).as_posix() if path.is_absolute() else path.as_posix() if name else ""


LAYOUT = "give the folder that save_to_disk wrote, or that holds Parquet files or an audio folder"
INFO = CorpusInfo(
    name="huggingface",
    description="a Hugging Face dataset on the disk: saved, Parquet, or an audio folder",
    read=_read,
    source="you",
    layout=LAYOUT,
    options={
        "columns": "what the dataset calls a column, as {label: emotion, speaker: actor}",
        "audio": "the column of the sound, where there are several",
        "split": "the splits to read, or one (default: all)",
        "config": "the configuration, where the dataset's README names several",
        "missing": "labels that mean that a clip has none, as [other]",
        "name": "what names the corpus and the study (default: the folder)",
    },
)
