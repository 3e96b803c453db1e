"""From a frame of clips that another library gave to a corpus: what readers of such share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

import pandas as pd

from raysearch.data.corpora.agreement import count_votes, labels_by_votes
from raysearch.data.corpora.corpus import PART, TABLE_COLUMNS, Options, Problem, Raw
from raysearch.data.corpora.names import common_name, in_order, look_alikes, looks_missing
from raysearch.data.corpora.readers import ClipRow, RatingRow, clip_table, rating_table


def missing_words(options: Options) -> tuple[str, ...]:
    """`corpus.options.missing`: the words in the label column that mean that there is none."""
    words = options.get("missing", ())
    several = [words] if isinstance(words, str) or not isinstance(words, Sequence) else words
    return tuple("null" if word is None else str(word) for word in several)


def label_notes(name: str, labels: Iterable[str], missing: Sequence[str]) -> list[str]:
    """Labels that look like no label, or like another label in other letters."""
    counts = Counter(label for label in labels if label and label not in missing)
    notes = [
        f"{name}: {count} clips have the label {label!r}, which looks like none and counts as a "
        f"class: corpus.options.missing=[{label}] makes them clips without a label."
        for label, count in counts.items()
        if looks_missing(label)
    ]
    own: dict[str, list[str]] = {}
    for label in counts:
        own.setdefault(common_name(label), []).append(label)
    notes += [
        f"{name}: the labels {', '.join(map(repr, labels))} are one class, {common!r}: if they are "
        "several, give them names of your own."
        for common, labels in own.items()
        if len(labels) > 1
    ]
    notes += [
        f"{name}: {' and '.join(map(repr, alike))} are different classes, though only their "
        "spelling differs: write them alike if they are one."
        for alike in look_alikes(map(common_name, counts), apart=False)
    ]
    return notes


def text_of(value: object) -> str:
    """A cell as text: '' of what is missing, and whole numbers without a point."""
    if value is None or value is pd.NaT or value is pd.NA or value != value:
        return ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).strip()


def raw_of_frame(
    name: str,
    frame: pd.DataFrame,
    *,
    missing: Sequence[str] = (),
    ratings: Sequence[RatingRow] = (),
    ties: str = "leave",
    notes: Sequence[str] = (),
) -> Raw:
    """A corpus of a frame's rows.

    Args:
        name: the corpus's.
        frame: text, "" where not known: clip (its id within the corpus), path, part, speaker and
            label; perhaps session and transcript; all others are attributes.
        missing: labels that mean that there is none.
        ratings: single ratings, their clips by `NAME/clip`, their labels as the raters gave them.
        ties: "leave" or "keep" (without a label) for clips whose votes no class leads, where no
            clip has a label but by its raters.
        notes: what the study must tell.

    Returns:
        The corpus; rows without a speaker are its problems.
    """
    told = [*notes, *label_notes(name, frame["label"], missing)]
    rows, problems = _clip_rows(name, frame, missing)
    table = clip_table(rows)
    there = set(table["id"])
    graded = rating_table(
        row._replace(label=common_name(row.label)) for row in ratings if row.clip in there
    )
    votes = count_votes(graded, table) if len(graded) else None
    if votes is not None and not (table["label"] != "").any():
        table, votes, tie_notes = labels_by_votes(name, table, votes, ties)
        told += tie_notes
        graded = graded[graded["id"].isin(table["id"])].reset_index(drop=True)
    return Raw(
        table=table,
        classes=in_order(table["label"]),
        votes=votes,
        ratings=graded if len(graded) else None,
        notes=tuple(told),
        problems=tuple(problems),
    )


def _clip_rows(
    name: str, frame: pd.DataFrame, missing: Sequence[str]
) -> tuple[list[ClipRow], list[Problem]]:
    plain = {"clip", *TABLE_COLUMNS}
    further = [str(column) for column in frame.columns if column not in plain]
    rows: list[ClipRow] = []
    problems: list[Problem] = []
    for row in frame.to_dict("records"):
        clip = f"{name}/{row['clip']}"
        if not row["speaker"]:
            sentence = f"{clip} has no speaker: correct it, or set corpus.on_bad=skip."
            problems.append(Problem("row", "error", name, clip, sentence))
            continue
        session, label = row.get("session", ""), row["label"]
        rows.append(
            ClipRow(
                clip,
                row["path"],
                name,
                f"{name}/{row['speaker']}",
                f"{name}/{session}" if session else "",
                "" if label in missing else common_name(label),
                row.get("transcript", ""),
                {PART: row.get(PART, ""), **{column: row[column] for column in further}},
            )
        )
    return rows, problems
