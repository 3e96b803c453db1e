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


# --- Numbers: from sums that add up over clips ----------------------------------------------

SUMS = ("n", "p", "t", "pp", "tt", "pt", "abs")
"""what `sums` holds of predictions p and truths t, by the last axis: their number, the sums of p,
t, p squared, t squared, p times t, and of |p - t|"""


def sums(prediction: ArrayLike, truth: ArrayLike) -> NDArray[np.float64]:
    """[A, 7] of `SUMS`, from which `ccc_of`, `rmse_of` and `mae_of` follow; they add up over parts.

    Args:
        prediction: [n, A]
        truth: [n, A]; rows with a NaN are not scored

    Raises:
        ValueError: shapes differ
    """
    p, t = np.asarray(prediction, np.float64), np.asarray(truth, np.float64)
    if p.ndim != 2 or p.shape != t.shape:
        raise ValueError(f"predictions and truths must be one [n, A], not {p.shape} and {t.shape}")
    known = np.isfinite(t).all(axis=1)
    p, t = p[known], t[known]
    each = (np.ones_like(p), p, t, p * p, t * t, p * t, np.abs(p - t))
    return np.stack([column.sum(axis=0) for column in each], axis=-1)


def each_ccc(table: ArrayLike) -> NDArray[np.float64]:
    """CCC of each attribute [..., A] in -1 .. 1, from sums [..., A, 7].

    2 cov(p, t) / (var p + var t + (mean p - mean t)^2), variances over n (Lin, A concordance
    correlation coefficient to evaluate reproducibility, Biometrics 45, 1989). A constant prediction
    has 0, also where the truth is constant too, and even the same.
    """
    n, p, t, pp, tt, pt, _ = np.moveaxis(np.asarray(table, np.float64), -1, 0)
    n = np.maximum(n, 1.0)
    p, t = p / n, t / n
    var_p, var_t, cov = pp / n - p * p, tt / n - t * t, pt / n - p * t
    apart = np.maximum(var_p, 0.0) + np.maximum(var_t, 0.0) + (p - t) ** 2
    # a difference of sums of squares is exact to their last digits alone
    least = 1e-12 * (1.0 + (pp + tt) / n)
    flat = (var_p <= least) | (var_t <= least)
    ccc: NDArray[np.float64] = np.where(flat, 0.0, 2 * cov / np.where(flat, 1.0, apart))
    return ccc


def each_rmse(table: ArrayLike) -> NDArray[np.float64]:
    """Root of the mean squared error of each attribute [..., A], on its own scale."""
    n, _, _, pp, tt, pt, _ = np.moveaxis(np.asarray(table, np.float64), -1, 0)
    squares = np.maximum(pp + tt - 2 * pt, 0.0) / np.maximum(n, 1.0)
    return np.asarray(np.sqrt(squares))


def each_mae(table: ArrayLike) -> NDArray[np.float64]:
    """Mean absolute error of each attribute [..., A], on its own scale."""
    x = np.asarray(table, np.float64)
    return np.asarray(x[..., 6] / np.maximum(x[..., 0], 1.0))


def ccc_of(table: ArrayLike) -> NDArray[np.float64]:
    """Mean of `each_ccc` over the attributes [...]; the arguments of the others are alike.

    Example:
        >>> round(float(ccc_of(sums([[1.0], [2.0], [3.0]], [[1.0], [2.0], [4.0]]))), 4)
        0.8571
    """
    return np.asarray(each_ccc(table).mean(axis=-1))


def rmse_of(table: ArrayLike) -> NDArray[np.float64]:
    """Mean of `each_rmse` over the attributes [...]."""
    return np.asarray(each_rmse(table).mean(axis=-1))


def mae_of(table: ArrayLike) -> NDArray[np.float64]:
    """Mean of `each_mae` over the attributes [...]."""
    return np.asarray(each_mae(table).mean(axis=-1))
