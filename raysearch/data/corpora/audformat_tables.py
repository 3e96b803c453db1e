"""audformat databases, as `audb` leaves them in its cache: tables, splits, segments and raters.

    corpus=audformat corpus.root=DIR
    corpus=audformat corpus.root=DIR corpus.options='{table: [emotion.train, emotion.test]}'

The label is the column with the scheme `emotion` (or `corpus.options.column`), in every table that
has it, or in `corpus.options.table`. Of a rater, ground truth and votes go before what no rater is
named of, and before a single person; columns of persons are their ratings, and where nothing else
labels the clips, the votes. Speaker, transcript, sex, age and language are looked for by these
names (and by those that audformat's databases use, as gender and transcription) in all tables, and
in the labels of schemes, as a speaker's misc table; `corpus.options.columns` names others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from raysearch.data.corpora.agreement import TIES
from raysearch.data.corpora.clip_frame import missing_words, raw_of_frame, text_of
from raysearch.data.corpora.columns import KNOWN, OTHER_NAMES, columns_option
from raysearch.data.corpora.corpus import CorpusInfo, Options, Raw
from raysearch.data.corpora.places import segment, suffix_of
from raysearch.data.corpora.readers import RatingRow, one_of, with_root
from raysearch.errors import BadInput, any_error_as, near

_LABELS = ("emotion", "label", "emotions", *OTHER_NAMES["label"])
_FURTHER = ("speaker", "transcript", "session", *KNOWN)
_TRUST = ("ground truth", "vote", None, "other", "machine")
"""types of raters by how much their column is the label"""
Key = tuple[str, str]
"""(file as the database names it, part)"""


@dataclass(frozen=True)
class _Label:
    """A column that labels clips."""

    table: str
    column: str
    rater: str
    kind: str | None
    """the rater's type; None where the column names no rater"""


def _open(root: Path) -> Any:
    try:
        import audformat
    except ImportError as error:
        raise BadInput(
            "corpus=audformat needs the package audformat, which is not installed: pip install "
            "audformat."
        ) from error
    if not (root / "db.yaml").is_file():
        raise BadInput(f"corpus.root={root} holds no db.yaml: {LAYOUT}.")
    with any_error_as(lambda error: BadInput(f"{root / 'db.yaml'} cannot be read: {error}.")):
        return audformat.Database.load(str(root))


def _labels(db: Any, wanted: str | None, tables: Sequence[str]) -> list[_Label]:
    """The columns of the label, those of persons behind all others.

    Raises:
        BadInput: there is no such table or column.
    """
    if unknown := [name for name in tables if name not in db.tables]:
        raise BadInput(
            f"corpus.options.table={unknown[0]} is no table of {db.name}"
            f"{near(unknown[0], db.tables)}; its tables are {', '.join(db.tables)}."
        )
    every = {
        (table, column): db[table][column]
        for table in tables or db.tables
        for column in db[table].columns
    }
    names = {name for (_, column), about in every.items() for name in (column, about.scheme_id)}
    target = wanted or next((name for name in _LABELS if name in names), None)
    if target is None or target not in names:
        listing = ", ".join(sorted(filter(None, names)))
        what = (
            "names none of" if wanted else "is needed: no column is called emotion or label among"
        )
        raise BadInput(
            f"corpus.options.column{'=' + wanted if wanted else ''} {what} the columns and schemes "
            f"of {db.name}{near(target or 'emotion', filter(None, names))}; they are {listing}."
        )
    labels = []
    for (table, column), about in every.items():
        if target in (column, about.scheme_id):
            rater = about.rater_id or ""
            kind = str(db.raters[rater].type) if rater in db.raters else None
            labels.append(_Label(table, column, rater, kind))
    return labels


def _keyed(series: pd.Series) -> dict[Key, str]:
    """A column's values by clip; those that are missing are left out."""
    import audformat

    series = series.dropna()
    segments = audformat.utils.to_segmented_index(series.index)
    return {
        (
            str(file),
            segment(start.total_seconds(), None if pd.isna(end) else end.total_seconds()),
        ): text_of(value)
        for (file, start, end), value in zip(segments, series, strict=True)
    }


def _label_values(
    db: Any, labels: Sequence[_Label]
) -> tuple[dict[Key, str], dict[Key, str], list[str]]:
    """By clip its label ("" where persons alone may say) and the table's split; the tables used.

    Raises:
        BadInput: two columns or tables label a clip differently.
    """
    plain = [label for label in labels if label.kind != "human"]
    chosen: list[_Label] = []
    for table in dict.fromkeys(label.table for label in plain):
        own = [label for label in plain if label.table == table]
        best = min(_TRUST.index(x.kind) if x.kind in _TRUST else len(_TRUST) for x in own)
        own = [x for x in own if _TRUST.index(x.kind) == best] if best < len(_TRUST) else own
        if len(own) > 1:
            raise BadInput(
                f"{table} of {db.name} has several columns of the label: choose one by "
                f"corpus.options.column, of {', '.join(x.column for x in own)}."
            )
        chosen += own
    lone = not chosen and len(labels) == 1
    values: dict[Key, str] = {}
    owner: dict[Key, str] = {}
    splits: dict[Key, str] = {}
    for label in chosen or labels:
        for key, value in _keyed(db[label.table][label.column].get()).items():
            text = value if chosen or lone else ""
            if values.get(key, text) != text:
                raise BadInput(
                    f"{owner[key]} and {label.table} of {db.name} label {key[0]} differently "
                    f"({values[key]}, {text}): choose by corpus.options.table=[..], of "
                    f"{', '.join(dict.fromkeys(x.table for x in labels))}."
                )
            values[key], owner[key] = text, label.table
            if split := db[label.table].split_id:
                splits[key] = str(split)
    return values, splits, list(dict.fromkeys(x.table for x in chosen or labels))


def _ratings(
    db: Any, name: str, labels: Sequence[_Label], ids: Mapping[Key, str]
) -> list[RatingRow]:
    """The single ratings of persons, where several rated."""
    people = [label for label in labels if label.kind == "human"]
    if len({label.rater for label in people}) < 2:
        return []
    return [
        RatingRow(f"{name}/{ids[key]}", label.rater, value)
        for label in people
        for key, value in _keyed(db[label.table][label.column].get()).items()
        if key in ids and value
    ]


def _values(db: Any, column: str) -> dict[Key, str]:
    """What all tables, and the labels of schemes, say under a name; {} where none has it.

    Raises:
        BadInput: they contradict each other.
    """
    try:
        frame = db.get(column)
    except (ValueError, TypeError) as error:
        raise BadInput(f"{column} of {db.name} cannot be read: {error}") from error
    if not frame.empty and column in frame:
        return _keyed(frame[column])
    # `get` knows a misc table of labels only where it has its scheme's name
    own = [
        name
        for name, scheme in db.schemes.items()
        if scheme.uses_table and column in db[scheme.labels].columns
    ]
    values: dict[Key, str] = {}
    for table in db.tables:
        for held in db[table].columns.values():
            if held.scheme_id in own:
                values |= _keyed(held.get(map=column))
    return values


def _further(db: Any, keys: Sequence[Key], columns: Mapping[str, str]) -> dict[str, list[str]]:
    """By name here, a value a clip: of the clip itself, else of its whole file."""
    found: dict[str, list[str]] = {}
    for here in dict.fromkeys((*_FURTHER, *columns)):
        if here == "label":
            continue
        names = (columns[here],) if here in columns else (here, *OTHER_NAMES.get(here, ()))
        values = next((x for name in names if (x := _values(db, name))), {})
        if here in columns and not values:
            every = {c for t in db.tables for c in db[t].columns} | set(db.schemes)
            raise BadInput(
                f"corpus.options.columns names {columns[here]!r}, of which {db.name} has no values"
                f"{near(columns[here], every)}; its columns and schemes are "
                f"{', '.join(sorted(every))}."
            )
        if values:
            found[here] = [values.get(key) or values.get((key[0], ""), "") for key in keys]
    if "language" not in found and len(db.languages) == 1:
        found["language"] = [str(db.languages[0])] * len(keys)
    return found


@with_root
def _read(root: Path, options: Options) -> Raw:
    columns = columns_option(options)
    tables = options.get("table", ())
    names = [tables] if isinstance(tables, str) else [str(x) for x in tables]  # type: ignore[attr-defined]
    wanted = options.get("column", columns.get("label"))
    db = _open(root)
    name = str(options.get("name") or db.name)
    labels = _labels(db, None if wanted is None else str(wanted), names)
    values, splits, tables_used = _label_values(db, labels)
    keys = list(values)
    further = _further(db, keys, columns)
    if "speaker" not in further:
        every = sorted({c for t in db.tables for c in db[t].columns} | set(db.schemes))
        raise BadInput(
            f"{db.name} has no column and no scheme 'speaker': name it as corpus.options."
            f"columns={{speaker: NAME}}, of {', '.join(every)}."
        )
    ids = {key: Path(key[0]).with_suffix("").as_posix() + suffix_of(key[1]) for key in keys}
    frame = pd.DataFrame(
        {
            "clip": list(ids.values()),
            "path": [str(root / key[0]) for key in keys],
            "part": [key[1] for key in keys],
            "label": list(values.values()),
            **further,
            **({"split": [splits.get(key, "") for key in keys]} if splits else {}),
        }
    )
    used = ", ".join(tables_used)
    return raw_of_frame(
        name,
        frame,
        missing=missing_words(options),
        ratings=_ratings(db, name, labels, ids),
        ties=one_of(options, "ties", TIES),
        notes=(f"{name}: the label is of the tables {used}.",),
    )


LAYOUT = "give the folder that holds db.yaml, such as one of audb's cache"
INFO = CorpusInfo(
    name="audformat",
    description="an audformat database: its tables, splits, segments, speakers and raters",
    read=_read,
    source="you, or audb",
    layout=LAYOUT,
    options={
        "table": "the tables to read, or one (default: all that have the label)",
        "column": "the label's column or scheme (default: emotion)",
        "columns": "the columns or schemes of other things, as {speaker: spk, sex: gender}",
        "missing": "labels that mean that a clip has none, as [other]",
        "name": "what names the corpus and the study (default: the database's name)",
        "ties": "leave (default) or keep, without a label, clips whose votes no class leads",
    },
)
