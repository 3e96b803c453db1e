"""The test clips that the honest choice gets wrong and is surest of: the first to listen to."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from raysearch.data.corpora.corpus import RECOGNISED
from raysearch.report.clip_means import clip_means, vote_shares
from raysearch.report.document import Column, Section, Table
from raysearch.study.record import Record
from raysearch.study.wording import percent

SHOWN_ERRORS = 20
"""rows of the table"""


def section(record: Record, predictions: pd.DataFrame | None) -> Section | None:
    """The errors, the surest first; None where there is none.

    Args:
        record: of the study.
        predictions: of every test clip; None where nobody has them. Numbers and the perception of
            single raters are left out.
    """
    if predictions is None or record.continuous or record.raters:
        return None
    errors, clips = confident_errors(predictions, record.classes)
    if errors.empty:
        return None
    columns = (
        Column("clip", "clip", "clip"),
        Column("label", "label", "name"),
        Column("confidence", "its\n%", "percent"),
        Column("predicted", "taken for", "name"),
        Column("predicted_confidence", "its\n%", "percent"),
        Column("votes", "raters'\n%", "percent"),
        Column(RECOGNISED, "listeners'\n%", "percent"),
    )
    shown = errors.head(SHOWN_ERRORS)
    return Section(
        "errors",
        "Errors that the honest choice is surest of",
        (
            f"{len(errors)} of {clips} test clips ({percent(len(errors) / clips)} %) are taken for "
            f"another class; these {len(shown)} with the most certainty.",
        ),
        Table(shown, tuple(one for one in columns if one.name in errors)),
    )


def confident_errors(predictions: pd.DataFrame, classes: Sequence[str]) -> tuple[pd.DataFrame, int]:
    """A row a clip whose likeliest class is not its label, the most certain first.

    Args:
        predictions: as of `tuning.outcomes`. Clips that several folds or seeds predicted have the
            mean of their probabilities.
        classes: K of them.

    Returns:
        The table, and of how many clips: clip, fold, speaker, label and predicted, confidence and
        predicted_confidence (their probabilities in [0, 1]); where they are known, votes (the share
        of them for the label) and recognised.
    """
    rows, p = clip_means(predictions, classes, "honest", "label")
    codes = pd.Index(classes).get_indexer(pd.Index(rows["label"]))
    every, best = np.arange(len(rows)), p.argmax(axis=1)
    table = rows[[name for name in ("clip", "fold", "speaker", "label") if name in rows]].assign(
        predicted=np.asarray(classes, dtype=object)[best],
        confidence=p[every, codes],
        predicted_confidence=p[every, best],
    )
    votes = vote_shares(rows, classes, "label")
    if votes is not None:
        table["votes"] = votes
    if RECOGNISED in rows:
        table[RECOGNISED] = pd.to_numeric(rows[RECOGNISED], errors="coerce")
    errors = table[best != codes]
    ordered = errors.sort_values("predicted_confidence", ascending=False, kind="stable")
    return ordered.reset_index(drop=True), len(rows)
