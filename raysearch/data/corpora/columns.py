"""The columns that tables of clips have here, what others call them, and how they are renamed."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

import pandas as pd

from raysearch.data.corpora.corpus import Options
from raysearch.errors import BadInput, near

SCORES = ("valence", "activation", "dominance")
KNOWN = ("sex", "age", "language")
"""attributes of speakers and clips that have a meaning here"""
DIVISIONS = ("split", "fold", "validation")
"""what a given division says of a clip: its part, the fold that tests it, those that validate on
it"""
COLUMNS = (
    "file",
    "speaker",
    "label",
    "session",
    "corpus",
    "transcript",
    "votes",
    "rater",
    "rating",
    "weight",
    "start",
    "end",
    *SCORES,
    *KNOWN,
    *DIVISIONS,
)
OTHER_NAMES = {
    "file": ("path", "filename", "file_name", "filepath", "file_path", "wav", "audio"),
    "speaker": (
        "speaker_id",
        "speakerid",
        "spk",
        "spkid",
        "spk_id",
        "actor",
        "actor_id",
        "subject",
        "client_id",
    ),
    "label": ("emotion", "class", "category", "target", "emo", "emotion_label", "major_emotion"),
    "rater": ("annotator", "annotator_id", "rater_id", "worker", "worker_id", "evaluator"),
    "rating": ("emotion", "label", "annotation", "response"),
    "transcript": ("text", "transcription", "sentence", "utterance", "raw_text"),
    "session": ("session_id", "dialogue", "dialogue_id"),
    "start": ("start_time", "starttime", "begin", "onset", "start_sec", "start_s"),
    "end": ("end_time", "endtime", "stop", "end_sec", "end_s"),
    "activation": ("arousal", "act", "emoact"),
    "valence": ("val", "emoval"),
    "dominance": ("dom", "emodom"),
    "sex": ("gender", "speaker_sex", "speaker_gender"),
    "age": ("speaker_age",),
    "language": ("lang", "locale"),
    "split": ("subset", "partition", "split_set"),
    "fold": ("fold_id", "cv_fold"),
}
"""what others call the columns"""


def columns_option(options: Options) -> dict[str, str]:
    """`corpus.options.columns`: what the source calls a column, by the column's name here.

    Raises:
        BadInput: it is no mapping.
    """
    columns = options.get("columns", {})
    if not isinstance(columns, Mapping):
        raise BadInput(
            f"corpus.options.columns must be a mapping, as {{label: emotion}}, but got {columns!r}."
        )
    return {str(here): str(there) for here, there in columns.items()}


def renamed(
    frame: pd.DataFrame, columns: Mapping[str, str], what: object, known: Collection[str] = COLUMNS
) -> pd.DataFrame:
    """The table with the columns' names here.

    Args:
        frame: the table, its columns in lower case.
        columns: what it calls a column, by the column's name here.
        what: the table's file, for messages.
        known: the names here.

    Raises:
        BadInput: it has no column of that name, or there is none of the name here.
    """
    names = {there.strip().lower(): here for here, there in columns.items()}
    wrong = [f"{here!r}{near(here, known)}" for here in names.values() if here not in known]
    wrong += [f"{there!r}{near(there, frame.columns)}" for there in names if there not in frame]
    if wrong:
        raise BadInput(
            f"corpus.options.columns names {', '.join(wrong)}, which is no column: it gives, by "
            f"one of {', '.join(sorted(known))}, a column of {what}, which has "
            f"{', '.join(map(repr, frame.columns))}."
        )
    replaced = [name for name in names.values() if name in frame and name not in names]
    return frame.drop(columns=replaced).rename(columns=names)


def remedy(lacking: Iterable[str], there: Iterable[str]) -> str:
    """'; is it corpus.options.columns={label: emotion}?' where a lacking column has another name.

    Args:
        lacking: names here.
        there: the source's columns.
    """
    columns = list(there)
    lower = {name.lower(): name for name in columns}
    pairs: dict[str, str] = {}
    for name in lacking:
        other = next((lower[x] for x in OTHER_NAMES.get(name, ()) if x in lower), None)
        if other is not None and name not in columns:
            pairs[name] = other
    listing = ", ".join(f"{name}: {other}" for name, other in pairs.items())
    return f"; is it corpus.options.columns={{{listing}}}?" if listing else ""


def unused_note(name: str, what: str, idle: Iterable[str], there: Iterable[str]) -> list[str]:
    """One sentence on the columns that nothing reads, with the names that some may have here."""
    rest = [column for column in idle if column]
    if not rest:
        return []
    here = list(there)
    hint = remedy([x for x in OTHER_NAMES if x not in here], rest) or "."
    return [f"{name}: columns of the {what} that are not used: {', '.join(rest)}{hint}".rstrip()]
