"""Anyone's data, described by a CSV.

`corpus=manifest corpus.root=DIR` reads `DIR/manifest.csv`; `corpus.root` may also be the CSV, and
`corpus.options.csv=FILE` names another one in the folder. One row a clip:

    file,label,speaker,session,corpus,transcript,votes
    wav/a1.wav,angry,anna,1,mine,Come here.,angry:3;sad:1
    wav/b7.wav,,ben,2,mine,Not today.,

- `file`, `speaker`: required. Paths are relative to the CSV's folder (or `corpus.options.audio`).
- `label`: required, unless there are votes or ratings to take it from (the class that leads; clips
  with a tie are left out, or kept without a label under `corpus.options.ties=keep`). An empty label
  is an unlabelled clip, and so is one of `corpus.options.missing=[None,nan]`, which holds for all
  columns. Synonyms of the common names are understood ('anger' is 'angry'); any other name is a
  class of its own.
- `session`, `corpus` (default 'manifest'), `transcript`: optional. A clip's id is its path from
  that folder. The study is named by the table (`mine` for `mine.csv` and for `mine/manifest.csv`),
  or by `corpus.options.name`: studies of tables with other names are other studies.
- votes, optional: one column `votes` as above, or one column a class, `votes_angry`, `votes_sad`.
- raters, optional: instead, one row a rating, with the columns `rater` and `rating` (or `label`,
  which then is the rating), perhaps `weight`; the other columns repeat on each row:

    file,speaker,rater,rating
    wav/a1.wav,anna,r1,angry
    wav/a1.wav,anna,r2,sad

  or those rows (file, rater, rating, weight) in a file of their own: `corpus.options.ratings=FILE`.
  A rating may have the columns `valence`, `activation` and `dominance` as well, or instead of a
  class; `task=valence` makes classes of them, and `task={name: valence, kind: continuous}` predicts
  the mean of the raters. Without raters these columns of a clip's row are that mean. `arousal` is
  another name of `activation`. A rater with a speaker's name is that speaker, whose
  own clips' ratings are no votes.

- segments, optional: `start` and `end`, in seconds (1.25) or as audformat writes them (0 days
  00:00:01.250000); an empty end is the file's. Such a clip's id is `wav/a1@1.25-3.5`.
- `split` (train, dev, test; for `protocol=split`) and `fold` (the fold that tests the clip; for
  `protocol=column`), optional: a division that is given. `validation`, the folds that validate on
  the clip (`1;2`), is for `validation=column`.
- `sex`, `age`, `language`: attributes of the speaker; further columns are used by `groups=` alone.

Columns of other names are named by `corpus.options.columns={label: emotion, file: path}`. The file
is UTF-8, separated by commas, semicolons or tabs. Speakers need to be distinct only within their
corpus.
"""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Collection, Hashable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from raysearch.data.corpora.agreement import TIES, count_votes, labels_by_votes, rating_notes
from raysearch.data.corpora.clip_frame import label_notes, missing_words
from raysearch.data.corpora.columns import (
    COLUMNS,
    DIVISIONS,
    KNOWN,
    SCORES,
    columns_option,
    remedy,
    renamed,
    unused_note,
)
from raysearch.data.corpora.corpus import PART, TABLE_COLUMNS, CorpusInfo, Options, Problem, Raw
from raysearch.data.corpora.csv_cells import read_cells
from raysearch.data.corpora.names import common_name, in_order
from raysearch.data.corpora.places import real_path, seconds_of, segment, suffix_of
from raysearch.data.corpora.readers import (
    ClipRow,
    RatingRow,
    clip_row,
    clip_table,
    one_of,
    rating_table,
    with_root,
)
from raysearch.data.corpora.table_place import TablePlace
from raysearch.data.manifest_table import table_of
from raysearch.data.rules import OTHER_NAMES
from raysearch.errors import BadInput

_REQUIRED = ("file", "speaker")


def read_manifest(
    path: Path,
    *,
    audio: Path | None = None,
    ratings: Path | None = None,
    name: str = "manifest",
    ties: str = "leave",
    columns: Mapping[str, str] | None = None,
    missing: Sequence[str] = (),
) -> Raw:
    """Read one manifest.

    Args:
        path: the CSV.
        audio: the folder that file paths start from; None is the CSV's.
        ratings: a CSV with one row a rating.
        name: the corpus's name where a row gives none.
        ties: "leave" or "keep" (without a label) for clips whose votes no class leads.
        columns: what the CSV calls a column, by the column's name here.
        missing: labels that mean that there is none.

    Returns:
        The corpus; rows with faults are its problems.

    Raises:
        BadInput: a file or a column that it needs is missing.
    """
    frame, columns = read_cells(path), dict(columns or {})
    rated = () if ratings is None else read_cells(ratings, "list of ratings").columns
    own = {
        x: name for x, name in columns.items() if _plain(name) in frame or _plain(name) not in rated
    }
    frame = _without(_activation(renamed(frame, own, path)), missing)
    _check_columns(frame, path, with_ratings=ratings is not None)
    place = TablePlace(path, audio or path.parent)
    scores = _rating_rows(frame, ratings, columns)
    if "rater" in frame:
        frame = frame.drop_duplicates(["file", *(x for x in ("start", "end") if x in frame)])
        if "rating" not in frame:
            frame = frame.drop(columns=["label"], errors="ignore")
    problems: list[Problem] = []
    idle = [c for c in frame.columns if c not in {*COLUMNS, *_vote_columns(frame)}]
    notes = unused_note(name, "manifest", idle, frame.columns)
    table, rows = _clips(frame, place, name, missing, problems)
    means = _means(frame.loc[rows], table, path, problems)
    votes = _votes(frame.loc[rows], table, path, missing, problems)
    labels = [*frame.get("label", ()), *(() if scores is None else scores.get("rating", ()))]
    if votes is not None:
        others = [name for name in votes if name not in set(map(common_name, labels))]
        labels += [str(name) for name in others for _ in range(int((votes[name] > 0).sum()))]
    notes += label_notes(name, labels, missing)
    graded = None
    if scores is not None:
        graded = _ratings(scores, table, frame.loc[rows], place, missing, problems)
        faults = sum(problem.kind == "votes" for problem in problems)
        notes += rating_notes(name, scores["file"], graded, faults)
    if graded is not None and votes is None:
        votes = count_votes(graded[~graded["own"]], table)
    # ratings of attributes alone name no class: `task` makes the labels then
    if "label" not in frame and votes is not None and votes.shape[1]:
        table, votes, tie_notes = labels_by_votes(name, table, votes, ties)
        notes += tie_notes
        if graded is not None:
            graded = graded[graded["id"].isin(table["id"])].reset_index(drop=True)
    return Raw(
        table=table,
        classes=in_order(table["label"]),
        votes=votes,
        ratings=graded,
        notes=tuple(notes),
        problems=tuple(problems),
        means=means.loc[table.index] if means is not None else None,
    )


def _without(frame: pd.DataFrame, missing: Sequence[str]) -> pd.DataFrame:
    """The table with "" for the words that mean that there is none; files keep their names."""
    if not missing:
        return frame
    others = [str(name) for name in frame if name != "file"]
    return frame.assign(
        **{name: frame[name].mask(frame[name].isin(missing), "") for name in others}
    )


def _means(
    frame: pd.DataFrame, table: pd.DataFrame, path: Path, problems: list[Problem]
) -> pd.DataFrame | None:
    """The attributes of each clip, where its row gives them and not its raters'."""
    attributes = [name for name in SCORES if name in frame]
    if "rater" in frame or not attributes:
        return None
    means = np.full((len(table), len(attributes)), np.nan)
    for place, (line, row) in enumerate(zip(frame.index, frame.to_dict("records"), strict=True)):
        for name in attributes:
            value = _real(row[name]) if row[name].lower() not in ("", "nan", "na") else np.nan
            if value is None:
                sentence = (
                    f"Row {line} of {path} has {name} {row[name]!r}, which is no number: correct "
                    "it, or leave the cell empty."
                )
                clip = table.iloc[place]
                cause = f"a row has {name} {row[name]!r}, which is no number"
                one = Problem("row", "error", clip["corpus"], clip["id"], sentence, cause=cause)
                problems.append(one)
                continue
            means[place, attributes.index(name)] = value
    return pd.DataFrame(means, index=table.index, columns=attributes)


def _plain(column: str) -> str:
    return column.strip().lower()


def _activation(frame: pd.DataFrame) -> pd.DataFrame:
    """The table, with arousal as activation."""
    return frame if "activation" in frame else frame.rename(columns=OTHER_NAMES)


def _check_columns(frame: pd.DataFrame, path: Path, with_ratings: bool) -> None:
    graded = any(name in frame for name in SCORES)
    rated = "rater" in frame
    lacking = [name for name in _REQUIRED if name not in frame]
    from_raters = "rating" in frame or (rated and graded) or with_ratings
    if "label" not in frame and not _vote_columns(frame) and not from_raters and not graded:
        lacking.append("label")
    if rated and "rating" not in frame and "label" not in frame and not graded:
        lacking.append("rating")
    if lacking:
        hint = remedy((*lacking, "start", "end"), frame.columns) or "."
        raise BadInput(
            f"The manifest {path} has no column {', '.join(map(repr, lacking))}: it needs 'file', "
            f"'speaker' and 'label' (or votes); the columns found are: "
            f"{', '.join(map(repr, frame.columns)) or 'none'}"
            f"{hint if frame.shape[1] > 1 else '; commas, semicolons, tabs or | separate them.'}"
        )


def _further(row: Mapping[Hashable, Any], columns: Collection[str], part: str) -> dict[str, str]:
    """The part of a row's clip, and what else is known of it."""
    return {PART: part, **{name: row[name] for name in columns}}


def _rating_rows(
    frame: pd.DataFrame, path: Path | None, columns: Mapping[str, str]
) -> pd.DataFrame | None:
    """The rows that are ratings, of the manifest or of a file of their own; None if there are none.

    Raises:
        BadInput: the file of ratings lacks a column.
    """
    if path is not None:
        scores = read_cells(path, "list of ratings")
        own = {here: there for here, there in columns.items() if _plain(there) in scores}
        scores = _activation(renamed(scores, own, path))
        graded = "rating" not in scores and any(name in scores for name in SCORES)
        needed = ("file", "rater") if graded else ("file", "rater", "rating")
        if lacking := [name for name in needed if name not in scores]:
            raise BadInput(
                f"The ratings {path} have no column {', '.join(map(repr, lacking))}; the "
                f"columns found are: {', '.join(map(repr, scores.columns)) or 'none'}"
                f"{remedy(lacking, scores.columns) or '.'}"
            )
        return scores
    if "rater" not in frame:
        return None
    plain = "rating" in frame or "label" not in frame
    return frame if plain else frame.rename(columns={"label": "rating"})


def _clips(
    frame: pd.DataFrame,
    place: TablePlace,
    name: str,
    missing: Sequence[str],
    problems: list[Problem],
) -> tuple[pd.DataFrame, list[int]]:
    """The table, and the lines of the CSV that its rows are from."""
    clips: list[ClipRow] = []
    lines: list[int] = []
    first: dict[tuple[str, str], int] = {}
    folders: dict[str, str] = {}
    others = {*COLUMNS, *TABLE_COLUMNS, PART, "", *_vote_columns(frame)} - {*KNOWN, *DIVISIONS}
    attributes = [c for c in frame.columns if c not in others]
    for line, row in zip(frame.index, frame.to_dict("records"), strict=True):
        file, speaker = row["file"], row["speaker"]
        path = place.file(file)
        part, fault = _part(row)
        real = (real_path(path, folders), part)
        if not file:
            fault = "has no file"
        elif not speaker:
            fault = "has no speaker"
        if fault:
            problems.append(_row_problem(place, name, line, file, fault))
            continue
        if real in first:
            what = "segment" if part else "file"
            hint = remedy(("start", "end"), frame.columns).removeprefix("; ")
            fault = f"names the same {what} as row {first[real]}" + (f" ({hint})" if hint else "")
            cause = f"names the {what} of an earlier row" + (f" ({hint})" if hint else "")
            problems.append(_row_problem(place, name, line, file, fault, cause))
            continue
        first[real] = line
        corpus = row.get("corpus") or name
        label = row.get("label", "")
        clips.append(
            clip_row(
                corpus,
                place.stem(file, corpus) + suffix_of(part),
                path,
                speaker,
                "" if label in missing else common_name(label),
                transcript=row.get("transcript", ""),
                session=row.get("session", ""),
                further=_further(row, attributes, part),
            )
        )
        lines.append(line)
    return _with_own_ids(clips, lines, place, name, problems)


def _part(row: Mapping[Hashable, Any]) -> tuple[str, str]:
    """A row's segment ("" = the whole file), or what is wrong with its times."""
    try:
        start, end = seconds_of(row.get("start", "")), seconds_of(row.get("end", ""))
    except ValueError as error:
        return "", f"has the time {error}, which is neither seconds (1.25) nor a duration"
    if end is not None and end <= (start or 0.0):
        return "", f"ends at {end:g} s, before it begins"
    return segment(start or 0.0, end), ""


def _row_problem(
    place: TablePlace, name: str, line: int, file: str, fault: str, cause: str = ""
) -> Problem:
    """A row that is left out; `cause` is the fault without what is this row's alone."""
    who = f"Row {line} of {place.table}" + (f" ({file})" if file else "")
    sentence = f"{who} {fault}: correct it, or set corpus.on_bad=skip."
    return Problem("row", "error", name, file, sentence, cause=f"a row {cause or fault}")


def _with_own_ids(
    clips: list[ClipRow], lines: list[int], place: TablePlace, name: str, problems: list[Problem]
) -> tuple[pd.DataFrame, list[int]]:
    """The table with a suffix in the ids of a.wav and a.flac; rows of one id still are faults."""
    counts = Counter(clip.id for clip in clips)
    first: dict[str, int] = {}
    rows = []
    for clip, line in zip(clips, lines, strict=True):
        clip_id = clip.id + Path(clip.path).suffix if counts[clip.id] > 1 else clip.id
        if clip_id in first:
            fault = f"has the id {clip_id}, as row {first[clip_id]} has already"
            cause = "has the id of an earlier row"
            problems.append(_row_problem(place, name, line, clip.path, fault, cause))
            continue
        first[clip_id] = line
        rows.append(clip._replace(id=clip_id))
    return clip_table(rows), list(first.values())


def _vote_columns(frame: pd.DataFrame) -> list[str]:
    return [c for c in frame.columns if c == "votes" or c.startswith("votes_")]


def _cells(row: Mapping[str, str], columns: list[str]) -> Iterator[tuple[str, str]]:
    for column in columns:
        if column != "votes":
            yield column.removeprefix("votes_"), row[column] or "0"
            continue
        for part in filter(None, (p.strip() for p in row[column].replace("|", ";").split(";"))):
            label, colon, count = part.rpartition(":")
            yield (label, count) if colon else (part, "?")


def _votes(
    frame: pd.DataFrame,
    table: pd.DataFrame,
    path: Path,
    missing: Sequence[str],
    problems: list[Problem],
) -> pd.DataFrame | None:
    columns = _vote_columns(frame)
    if not columns:
        return None
    counts: list[dict[str, float]] = []
    for (index, row), clip, corpus in zip(
        frame.iterrows(), table["id"], table["corpus"], strict=True
    ):
        own: dict[str, float] = {}
        for label, text in _cells({c: str(row[c]) for c in columns}, columns):
            if label in missing:
                continue
            value = _number(text)
            if value is None:
                sentence = (
                    f"Row {index} of {path} has the vote {text!r} for {label!r}: "
                    "votes are counts, numbers of 0 or more (votes=angry:3;sad:1)."
                )
                cause = "votes are counts, as in angry:3;sad:1"
                problems.append(Problem("votes", "error", corpus, clip, sentence, cause=cause))
                continue
            key = common_name(label)
            own[key] = own.get(key, 0.0) + value
        counts.append(own)
    names = in_order(label for own in counts for label in own)
    data = [[own.get(n, 0.0) for n in names] for own in counts]
    return pd.DataFrame(data, columns=list(names), index=table.index, dtype=np.float64)


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) and value >= 0 else None


def _real(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _ratings(
    scores: pd.DataFrame,
    table: pd.DataFrame,
    frame: pd.DataFrame,
    place: TablePlace,
    missing: Sequence[str],
    problems: list[Problem],
) -> pd.DataFrame:
    parts = table[PART] if PART in table else [""] * len(table)
    real = map(os.path.realpath, table["path"])
    ids = dict(zip(zip(real, parts, strict=True), table["id"], strict=True))
    corpora = dict(zip(table["id"], table["corpus"], strict=True))
    speakers = dict(zip(table["id"], frame["speaker"], strict=True))
    attributes = [name for name in SCORES if name in scores]
    clips: dict[tuple[str, str], str] = {}
    rows: list[RatingRow] = []
    for index, row in zip(scores.index, scores.to_dict("records"), strict=True):
        file, rater, rating = row["file"], row["rater"], row.get("rating", "")
        absent, rating = rating in missing, "" if rating in missing else rating
        key = (file, _part(row)[0])
        if key not in clips:
            clips[key] = ids.get((os.path.realpath(place.file(file)), key[1]), "")
        clip, weight = clips[key], _number(row.get("weight") or "1")
        if not clip:
            continue  # a rating of a clip that the manifest leaves out
        values = {name: _real(row[name]) for name in attributes if row[name]}
        if absent and not values:
            continue
        wrong = [name for name, value in values.items() if value is None]
        fault = ""
        if not rater:
            fault = "no rater"
        elif not rating and not values:
            fault = "no rating"
        elif weight is None:
            fault = f"weight {row['weight']!r}"
        elif wrong:
            fault = f"{wrong[0]} {row[wrong[0]]!r}"
        if fault:
            sentence = (
                f"The rating in row {index} ({file}) of {place.table} has {fault}: correct it."
            )
            cause = f"a rating has {fault}"
            problems.append(Problem("votes", "error", corpora[clip], clip, sentence, cause=cause))
            continue
        grades = {name: value for name, value in values.items() if value is not None}
        own = rater == speakers[clip]
        rows.append(RatingRow(clip, rater, common_name(rating), weight or 0.0, own=own, **grades))
    return rating_table(rows)


@with_root
def _read(root: Path, options: Options) -> Raw:
    folder = root.parent if root.is_file() else root
    csv, audio, ratings = (options.get(name) for name in ("csv", "audio", "ratings"))
    return read_manifest(
        table_of(root, csv),
        audio=folder / str(audio) if audio else None,
        ratings=folder / str(ratings) if ratings else None,
        ties=one_of(options, "ties", TIES),
        columns=columns_option(options),
        missing=missing_words(options),
    )


INFO = CorpusInfo(
    name="manifest",
    description="your own data: a CSV with file, label, speaker (session, transcript, votes, ...)",
    read=_read,
    source="you",
    layout="DIR/manifest.csv, or the CSV itself; python -m pydoc raysearch.data.corpora.manifest",
    options={
        "csv": "the CSV's path, from the root",
        "name": "what names the study (default: the CSV, or its folder if it is manifest.csv)",
        "audio": "the folder that its file paths start from (default: the CSV's)",
        "ratings": "a CSV with one row a rating: file, rater, rating, weight, valence, ...",
        "columns": "what the CSV calls a column, as {label: emotion, file: path}",
        "missing": "words that mean, in any column, that there is nothing, as [None,nan]",
        "ties": "leave (default) or keep, without a label, clips whose votes no class leads",
    },
)
