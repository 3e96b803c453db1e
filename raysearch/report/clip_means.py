"""Predictions of test clips, a row a clip: what sections about single clips start from."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from raysearch.selection import Matrix
from raysearch.selection.measures import distributions

PLANTED = "planted"
"""a column of predictions: the label that was learnt from, where some are wrong on purpose"""
MEAN = "mean"
"""of predictions: the mean probabilities of the settings that are best by validation"""


def clip_means(
    predictions: pd.DataFrame, classes: Sequence[str], choice: str, label: str
) -> tuple[pd.DataFrame, Matrix]:
    """The clips that have a label and probabilities, in their order, and these.

    Args:
        predictions: as of `tuning.outcomes`.
        classes: K of them.
        choice: whose probabilities they are.
        label: the column of the label.

    Returns:
        The first row of each of n clips, and its probabilities [n, K]: the mean over all folds and
        seeds that predicted the clip.
    """
    names = [f"{choice}.{name}" for name in classes]
    p = np.full((len(predictions), len(classes)), np.nan)
    if set(names) <= set(predictions):
        p = predictions[names].to_numpy(dtype=np.float64)
    known = np.isfinite(p).all(axis=1) & predictions[label].isin(classes).to_numpy()
    columns = list(range(len(classes)))
    chances = pd.DataFrame(distributions(p[known]), columns=columns)
    frame = pd.concat([predictions[known].reset_index(drop=True), chances], axis=1)
    by_clip = frame.groupby("clip", sort=False)
    means = by_clip[columns].mean().to_numpy(dtype=np.float64)
    return by_clip.first().reset_index().drop(columns=columns), means


def vote_shares(rows: pd.DataFrame, classes: Sequence[str], label: str) -> Matrix | None:
    """[n] the share of the raters' votes for a label, NaN where none voted; None without votes."""
    votes = [f"votes.{name}" for name in classes]
    if not set(votes) <= set(rows):
        return None
    each = rows[votes].to_numpy(dtype=np.float64)
    codes = pd.Index(classes).get_indexer(pd.Index(rows[label]))
    total, none = each.sum(axis=1), np.full(len(rows), np.nan)
    shares: Matrix = np.divide(each[np.arange(len(rows)), codes], total, out=none, where=total > 0)
    return shares
