"""Anyone's data, described by a CSV.

`corpus=manifest corpus.root=DIR` reads `DIR/manifest.csv`; `corpus.root` may also be the CSV, and
`corpus.options.csv=FILE` names another one in the folder. One row a clip:

    file,label,speaker,session,corpus,transcript,votes
    wav/a1.wav,angry,anna,1,mine,Come here.,angry:3;sad:1
    wav/b7.wav,,ben,2,mine,Not today.,

- `file`, `speaker`: required. Paths are relative to the CSV's folder (or `corpus.options.audio`).
- `label`: required, unless there are votes or ratings to take it from (the class that leads; clips
  with a tie are left out, or kept without a label under `corpus.options.ties=keep`). An empty label
  is an unlabelled clip. Synonyms of the common names are understood ('anger' is 'angry'); any other
  name is a class of its own.
- `session`, `corpus` (default 'manifest'), `transcript`: optional.
- votes, optional: one column `votes` as above, or one column a class, `votes_angry`, `votes_sad`.
- raters, optional: instead, one row a rating, with the columns `rater` and `rating` (or `label`,
  which then is the rating), perhaps `weight`; the other columns repeat on each row:

    file,speaker,rater,rating
    wav/a1.wav,anna,r1,angry
    wav/a1.wav,anna,r2,sad

  or those rows (file, rater, rating, weight) in a file of their own: `corpus.options.ratings=FILE`.
  A rating may have the columns `valence`, `activation` and `dominance` as well, or instead of a
  class; `task=valence` makes classes of them. A rater with a speaker's name is that speaker, whose
  own clips' ratings are no votes.

The file is UTF-8, separated by commas, semicolons or tabs. Speakers need to be distinct only within
their corpus.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from raysearch.data.corpora.agreement import TIES, count_votes, labels_by_votes
from raysearch.data.corpora.corpus import CorpusInfo, Options, Problem, Raw
from raysearch.data.corpora.names import common_name, in_order
from raysearch.data.corpora.readers import (
    ClipRow,
    RatingRow,
    clip_row,
    clip_table,
    one_of,
    rating_table,
    with_root,
)
from raysearch.errors import BadInput

_REQUIRED = ("file", "speaker")
_ATTRIBUTES = ("valence", "activation", "dominance")


def read_manifest(
    path: Path,
    *,
    audio: Path | None = None,
    ratings: Path | None = None,
    name: str = "manifest",
    ties: str = "leave",
) -> Raw:
    """Read one manifest. `audio`: the folder that file paths start from (default the CSV's).

    `ties` is "leave" or "keep" (without a label) for clips whose votes no class leads.

    Raises BadInput when the file or a column it needs is missing; rows with faults become problems.
    """
    frame = _csv(path)
    rated = "rater" in frame
    asked = [name for name in _ATTRIBUTES if name in frame]
    own_votes = [c for c in frame.columns if c == "votes" or c.startswith("votes_")]
    lacking = [c for c in _REQUIRED if c not in frame]
    from_raters = "rating" in frame or (rated and bool(asked)) or ratings is not None
    if "label" not in frame and not own_votes and not from_raters:
        lacking.append("label")
    if rated and "rating" not in frame and "label" not in frame and not asked:
        lacking.append("rating")
    if lacking:
        raise BadInput(
            f"The manifest {path} has no column {', '.join(map(repr, lacking))}: it needs 'file', "
            f"'speaker' and 'label' (or votes); the columns found are: "
            f"{', '.join(map(repr, frame.columns)) or 'none'}."
        )
    if ratings is not None:
        scores = _csv(ratings)
        graded_only = "rating" not in scores and any(name in scores for name in _ATTRIBUTES)
        needed = ("file", "rater") if graded_only else ("file", "rater", "rating")
        if missing := [c for c in needed if c not in scores]:
            raise BadInput(
                f"The ratings {ratings} have no column {', '.join(map(repr, missing))}; the "
                f"columns found are: {', '.join(map(repr, scores.columns)) or 'none'}."
            )
    elif rated:
        known = "rating" in frame or "label" not in frame
        scores = frame if known else frame.rename(columns={"label": "rating"})
    else:
        scores = None
    if rated:
        labels = "rating" in frame and "label" in frame
        frame = frame.drop_duplicates("file")
        frame = frame if labels else frame.drop(columns=["label"], errors="ignore")
    problems: list[Problem] = []
    table, kept = _clips(frame, path, audio or path.parent, name, problems)
    votes = _votes(frame.loc[kept], own_votes, table, path, problems)
    graded = None if scores is None else _ratings(scores, table, frame.loc[kept], path, problems)
    if graded is not None and votes is None:
        votes = count_votes(graded[~graded["own"]], table)
    notes: list[str] = []
    # ratings of attributes alone name no class: `task` makes the labels then
    if "label" not in frame and votes is not None and votes.shape[1]:
        table, votes, notes = labels_by_votes(name, table, votes, ties)
        if graded is not None:
            graded = graded[graded["id"].isin(table["id"])].reset_index(drop=True)
    return Raw(
        table=table,
        classes=in_order(table["label"]),
        votes=votes,
        ratings=graded,
        notes=tuple(notes),
        problems=tuple(problems),
    )


def _csv(path: Path) -> pd.DataFrame:
    """All cells as stripped text; the index counts the file's rows from 0 below the header."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise BadInput(f"There is no manifest {path}: give its path in corpus.root.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"The manifest {path} cannot be read as UTF-8 text: {error}.") from None
    head = text.split("\n", 1)[0]
    separator = max(",;\t", key=head.count)
    rows = [row for row in csv.reader(text.splitlines(), delimiter=separator) if any(row)]
    if len(rows) < 2:
        raise BadInput(f"The manifest {path} has no rows: it needs a header and one row a clip.")
    columns = [c.strip().lower() for c in rows[0]]
    if doubled := sorted({c for c in columns if columns.count(c) > 1}):
        raise BadInput(f"The manifest {path} has the column {doubled[0]!r} twice.")
    ragged = [i + 2 for i, row in enumerate(rows[1:]) if len(row) != len(columns)]
    if ragged:
        raise BadInput(
            f"The manifest {path} has {len(columns)} columns, but row {ragged[0]} has "
            f"{len(rows[ragged[0] - 1])} cells: quote cells that hold a {separator!r}."
        )
    return pd.DataFrame([[c.strip() for c in row] for row in rows[1:]], columns=columns, dtype=str)


def _clips(
    frame: pd.DataFrame, path: Path, audio: Path, name: str, problems: list[Problem]
) -> tuple[pd.DataFrame, list[int]]:
    def column(key: str, default: str = "") -> list[str]:
        return list(frame[key]) if key in frame else [default] * len(frame)

    rows: list[ClipRow] = []
    kept: list[int] = []
    seen: dict[str, int] = {}
    for index, file, speaker, session, corpus, label, transcript in zip(
        frame.index,
        column("file"),
        column("speaker"),
        column("session"),
        column("corpus", name),
        column("label"),
        column("transcript"),
        strict=True,
    ):
        fault = ""
        if not file:
            fault = "has no file"
        elif not speaker:
            fault = f"({file}) has no speaker"
        elif file in seen:
            fault = f"({file}) names the file of row {seen[file] + 2} again"
        if fault:
            sentence = f"Row {index + 2} of {path} {fault}: correct it, or set corpus.on_bad=skip."
            problems.append(Problem("row", "error", name, file, sentence))
            continue
        seen[file] = index
        kept.append(index)
        corpus = corpus or name
        place = Path(file) if Path(file).is_absolute() else audio / file
        rows.append(
            clip_row(
                corpus,
                _stem(file, corpus),
                place,
                speaker,
                common_name(label),
                transcript=transcript,
                session=session,
            )
        )
    table = clip_table(rows)
    doubled = table["id"].duplicated(keep=False)  # a.wav beside a.flac
    suffixes = [Path(p).suffix for p in table["path"]]
    table["id"] = [
        f"{i}{s}" if d else i for i, s, d in zip(table["id"], suffixes, doubled, strict=True)
    ]
    return table, kept


def _stem(file: str, corpus: str) -> str:
    """The file's path without its suffix, nor the folder that only repeats the corpus's name."""
    return Path(file).with_suffix("").as_posix().lstrip("/").removeprefix(f"{corpus}/")


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
    columns: list[str],
    table: pd.DataFrame,
    path: Path,
    problems: list[Problem],
) -> pd.DataFrame | None:
    if not columns:
        return None
    counts: list[dict[str, float]] = []
    for (index, row), clip, corpus in zip(
        frame.iterrows(), table["id"], table["corpus"], strict=True
    ):
        own: dict[str, float] = {}
        for label, text in _cells({c: str(row[c]) for c in columns}, columns):
            value = _number(text)
            if value is None:
                sentence = (
                    f"Row {int(str(index)) + 2} of {path} has the vote {text!r} for {label!r}: "
                    "votes are counts, numbers of 0 or more (votes=angry:3;sad:1)."
                )
                problems.append(Problem("votes", "error", corpus, clip, sentence))
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
    path: Path,
    problems: list[Problem],
) -> pd.DataFrame:
    ids = dict(zip(frame["file"], table["id"], strict=True))
    corpora = dict(zip(table["id"], table["corpus"], strict=True))
    speakers = dict(zip(table["id"], frame["speaker"], strict=True))
    asked = [name for name in _ATTRIBUTES if name in scores]
    rows: list[RatingRow] = []
    for index, row in zip(scores.index, scores.to_dict("records"), strict=True):
        file, rater, rating = row["file"], row["rater"], row.get("rating", "")
        if file not in ids:
            continue  # a rating of a clip that the manifest leaves out
        clip, weight = ids[file], _number(row.get("weight") or "1")
        given = {name: _real(row[name]) for name in asked if row[name]}
        wrong = [name for name, value in given.items() if value is None]
        fault = ""
        if not rater:
            fault = "no rater"
        elif not rating and not given:
            fault = "no rating"
        elif weight is None:
            fault = f"weight {row['weight']!r}"
        elif wrong:
            fault = f"{wrong[0]} {row[wrong[0]]!r}"
        if fault:
            sentence = f"The rating in row {index + 2} ({file}) of {path} has {fault}: correct it."
            problems.append(Problem("votes", "error", corpora[clip], clip, sentence))
            continue
        attributes = {name: value for name, value in given.items() if value is not None}
        own = rater == speakers[clip]
        rows.append(
            RatingRow(clip, rater, common_name(rating), weight or 0.0, own=own, **attributes)
        )
    return rating_table(rows)


@with_root
def _read(root: Path, options: Options) -> Raw:
    given = options.get("csv")
    folder = root.parent if root.is_file() else root
    path = folder / str(given) if given else root if root.is_file() else root / "manifest.csv"
    audio = options.get("audio")
    ratings = options.get("ratings")
    return read_manifest(
        path,
        audio=folder / str(audio) if audio else None,
        ratings=folder / str(ratings) if ratings else None,
        ties=one_of(options, "ties", TIES),
    )


INFO = CorpusInfo(
    name="manifest",
    description="your own data: a CSV with file, label, speaker (session, transcript, votes, ...)",
    read=_read,
    source="you",
    layout="DIR/manifest.csv, or the CSV itself; python -m pydoc raysearch.data.corpora.manifest",
    options={
        "csv": "the CSV's path, from the root",
        "audio": "the folder that its file paths start from (default: the CSV's)",
        "ratings": "a CSV with one row a rating: file, rater, rating, weight, valence, ...",
        "ties": "leave (default) or keep, without a label, clips whose votes no class leads",
    },
)
