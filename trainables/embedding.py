"""A network's last hidden layer, small enough to be kept of every training: for pictures alone."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

COMPONENTS = 16
"""components that are kept of a layer: of a classifier of few classes they hold nearly all of it,
and a clip's row is no larger than its probabilities"""


def principal(layer: NDArray[np.float32], components: int = COMPONENTS) -> NDArray[np.float32]:
    """Rows on their first principal components: [n, E] -> [n, min(kept, n, E)].

    Centred, and divided by one number so that rows have a root mean square length of 1: distances
    between rows are in the proportions of the layer, as far as the components hold them. Each
    component points to where its largest entry is positive.
    """
    values = layer.astype(np.float64)
    values -= values.mean(axis=0)
    values /= max(float(np.sqrt((values**2).sum(axis=1).mean())), 1e-12)
    if values.shape[1] <= len(values):
        _, axes = np.linalg.eigh(values.T @ values)  # ascending
        rows = values @ axes[:, ::-1][:, :components]
    else:
        sizes, axes = np.linalg.eigh(values @ values.T)
        rows = (axes * np.sqrt(np.maximum(sizes, 0.0)))[:, ::-1][:, :components]
    if len(rows):
        rows *= np.where(rows[np.abs(rows).argmax(axis=0), np.arange(rows.shape[1])] < 0, -1.0, 1.0)
    return rows.astype(np.float32)


def embedding(layers: Mapping[str, NDArray[np.float32]]) -> dict[str, NDArray[np.float16]]:
    """What a stage's artifact keeps of layers [n, E] by part: `embedding_<part>` [n, <= KEPT]."""
    return {f"embedding_{part}": principal(x).astype(np.float16) for part, x in layers.items()}
