"""Scores of predicted classes. numpy only: the processes that only count import no torch.

The rule for absent classes, everywhere: a recall exists only for a class that occurs in `y`, and
unweighted accuracy is the mean of the recalls that exist. A class that is predicted but does not
occur costs the recall of the class it was taken for and nothing else; it is never a recall of
zero of its own.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def _vectors(y: ArrayLike, prediction: ArrayLike, k: int) -> tuple[NDArray[np.int64], ...]:
    truth, guess = np.asarray(y), np.asarray(prediction)
    if truth.ndim != 1 or truth.shape != guess.shape:
        raise ValueError(
            "y and prediction must be vectors of one length, "
            f"but got the shapes {truth.shape} and {guess.shape}"
        )
    if truth.size == 0:
        raise ValueError("a score needs at least one utterance, but got none")
    for name, values in (("y", truth), ("prediction", guess)):
        if not np.issubdtype(values.dtype, np.integer):
            raise ValueError(f"{name} must hold class indices, but got {values.dtype}")
        if values.min() < 0 or values.max() >= k:
            raise ValueError(
                f"{name} must lie in 0..{k - 1}, but spans {values.min()}..{values.max()}"
            )
    return truth.astype(np.int64), guess.astype(np.int64)


def _counts(y: ArrayLike, prediction: ArrayLike, k: int) -> NDArray[np.int64]:
    truth, guess = _vectors(y, prediction, k)
    return np.bincount(truth * k + guess, minlength=k * k).reshape(k, k)


def confusion(y: ArrayLike, prediction: ArrayLike, k: int) -> list[list[int]]:
    """Number of utterances of class r (row) that were taken for class c (column).

    Args:
        y: [n] true class indices, 0 .. k-1
        prediction: [n] predicted class indices, 0 .. k-1
        k: number of classes, whether or not they all occur

    Returns:
        k lists of k counts, JSON-ready

    Raises:
        ValueError: shapes differ, nothing to score, or an index outside 0 .. k-1

    Example:
        >>> confusion([0, 0, 1], [0, 1, 1], 3)
        [[1, 1, 0], [0, 1, 0], [0, 0, 0]]
    """
    return [[int(count) for count in row] for row in _counts(y, prediction, k)]


def recalls(y: ArrayLike, prediction: ArrayLike, k: int) -> NDArray[np.float64]:
    """Recall of each class [k], in 0 .. 1; NaN for a class that does not occur in `y`.

    Example:
        >>> recalls([0, 0, 1], [0, 1, 1], 3)
        array([0.5, 1. , nan])
    """
    table = _counts(y, prediction, k)
    totals = table.sum(axis=1)
    return np.divide(np.diag(table), totals, out=np.full(k, np.nan), where=totals > 0)


def unweighted_accuracy(y: ArrayLike, prediction: ArrayLike, k: int) -> float:
    """Mean recall over the classes that occur in `y`: UA, also called UAR. In 0 .. 1.

    UA = 1/|C_y| * sum over c in C_y of (hits of c) / (utterances of c), C_y the classes in `y`
    (Ahn et al. 2024, section 3.2: "the average of the accuracies for individual emotional
    classes").

    Args:
        y: [n] true class indices
        prediction: [n] predicted class indices
        k: number of classes

    Raises:
        ValueError: shapes differ, nothing to score, or an index outside 0 .. k-1

    Example:
        >>> unweighted_accuracy([0, 0, 1], [0, 2, 1], 3)
        0.75
    """
    return float(np.nanmean(recalls(y, prediction, k)))


def weighted_accuracy(y: ArrayLike, prediction: ArrayLike, k: int) -> float:
    """Share of utterances that are right: WA. In 0 .. 1; arguments and errors as for UA.

    Example:
        >>> weighted_accuracy([0, 0, 1, 1], [0, 1, 1, 1], 2)
        0.75
    """
    truth, guess = _vectors(y, prediction, k)
    return float(np.mean(truth == guess))


def corpus_accuracy(
    y: ArrayLike, prediction: ArrayLike, corpus: ArrayLike, k: int
) -> dict[int, float]:
    """UA of each corpus that occurs, by its index (U_d of eq. 6, Ahn et al. 2024).

    Args:
        y, prediction: [n] class indices
        corpus: [n] corpus indices
        k: number of classes

    Example:
        >>> corpus_accuracy([0, 1, 0, 1], [0, 1, 0, 0], [0, 0, 2, 2], 2)
        {0: 1.0, 2: 0.5}
    """
    truth, guess = _vectors(y, prediction, k)
    of = np.asarray(corpus)
    if of.shape != truth.shape:
        raise ValueError(f"corpus must have the shape of y {truth.shape}, but got {of.shape}")
    return {int(c): unweighted_accuracy(truth[of == c], guess[of == c], k) for c in np.unique(of)}


def validation_scores(
    probabilities: NDArray[np.floating], y: NDArray[np.int64], k: int
) -> dict[str, float]:
    """What a training is followed by: `validation_ua`, `validation_wa` and `validation_loss`.

    The loss is the mean of -log p of the label, in nats.

    Args:
        probabilities: [n, K]
        y: [n] class indices
        k: number of classes

    Example:
        >>> found = validation_scores(np.array([[0.5, 0.5], [0.0, 1.0]]), np.array([0, 1]), 2)
        >>> round(found["validation_loss"], 4), found["validation_ua"]
        (0.3466, 1.0)
    """
    guess = probabilities.argmax(axis=1)
    own = probabilities[np.arange(len(y)), y].astype(np.float64)
    return {
        "validation_ua": unweighted_accuracy(y, guess, k),
        "validation_wa": weighted_accuracy(y, guess, k),
        "validation_loss": float(-np.log(np.maximum(own, 1e-12)).mean()),
    }
