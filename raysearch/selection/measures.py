"""What predictions are worth: figures from counts of clips, and from class probabilities.

Counts are [..., k, k]: clips of class r (row) that were taken for class c (column); any leading
axes. The rule for absent classes is that of `trainables.metrics`: a mean over classes is over those
that occur, and a class that is predicted but does not occur is none of them.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from raysearch.selection.intervals import Matrix

BINS = 15
"""of confidence, as in Guo et al. 2017"""
_LEAST = 1e-12
"""a probability below it counts as it, so that one clip cannot cost infinitely much"""


# -- from counts -----------------------------------------------------------------------------------
def class_recalls(counts: ArrayLike) -> Matrix:
    """Recall of each class [..., k] in 0 .. 1, NaN for one without a clip."""
    x = np.asarray(counts, dtype=np.float64)
    totals = x.sum(axis=-1)
    hits = np.diagonal(x, axis1=-2, axis2=-1)
    return np.divide(hits, totals, out=np.full(totals.shape, np.nan), where=totals > 0)


def ua_of(counts: ArrayLike) -> Matrix:
    """Unweighted accuracy [...], the mean recall of the classes that occur; NaN without a clip."""
    return _mean(class_recalls(counts))


def wa_of(counts: ArrayLike) -> Matrix:
    """Weighted accuracy [...], the share of the clips that are right; NaN without a clip."""
    x = np.asarray(counts, dtype=np.float64)
    return _ratio(np.trace(x, axis1=-2, axis2=-1), x.sum(axis=(-2, -1)))


def class_f1(counts: ArrayLike) -> Matrix:
    """F1 of each class [..., k] in 0 .. 1, NaN for one without a clip.

    F1 = 2 TP / (2 TP + FP + FN), the harmonic mean of precision and recall (van Rijsbergen,
    Information Retrieval, 1979, chapter 7).
    """
    x = np.asarray(counts, dtype=np.float64)
    hits, totals = np.diagonal(x, axis1=-2, axis2=-1), x.sum(axis=-1)
    f1 = _ratio(2 * hits, totals + x.sum(axis=-2))
    return np.where(totals > 0, f1, np.nan)


def macro_f1_of(counts: ArrayLike) -> Matrix:
    """Mean F1 of the classes that occur [...], in 0 .. 1; NaN without a clip."""
    return _mean(class_f1(counts))


def kappa_of(counts: ArrayLike) -> Matrix:
    """Cohen's kappa [...], in -1 .. 1: the agreement beyond chance of predictions and labels.

    kappa = (p_o - p_e) / (1 - p_e), p_o the share that is right and p_e what the two margins would
    give by chance (Cohen, A Coefficient of Agreement for Nominal Scales, 1960, eq. 1). Where all
    clips and all predictions are of one class, p_e = 1 and chance explains everything: 0.
    """
    x = np.asarray(counts, dtype=np.float64)
    n = x.sum(axis=(-2, -1))
    chance = _ratio((x.sum(axis=-1) * x.sum(axis=-2)).sum(axis=-1), n**2)
    beyond = wa_of(x) - chance
    kappa = np.divide(beyond, 1 - chance, out=np.zeros(n.shape), where=chance < 1)
    return np.where(n > 0, kappa, np.nan)


def _ratio(a: Matrix, b: Matrix) -> Matrix:
    """a / b; NaN where b is 0."""
    ratio: Matrix = np.divide(a, b, out=np.full(np.shape(b), np.nan), where=np.asarray(b) > 0)
    return ratio


def _mean(x: Matrix) -> Matrix:
    """Mean over the last axis of what is there; NaN where nothing is."""
    there = np.isfinite(x)
    return _ratio(np.where(there, x, 0.0).sum(axis=-1), there.sum(axis=-1))


# -- from probabilities ----------------------------------------------------------------------------
def distributions(probabilities: ArrayLike) -> Matrix:
    """Rows [n, k] that sum to 1, of scores that are not negative.

    A method whose classes do not exclude each other gives scores that sum to anything. A row of
    zeros says nothing, so all its classes are equally likely.
    """
    p = np.asarray(probabilities, dtype=np.float64)
    total = p.sum(axis=1, keepdims=True)
    uniform = np.full(p.shape, 1.0 / p.shape[1])
    return np.divide(p, total, out=uniform, where=total > 0)


def nll_of(probabilities: ArrayLike, y: NDArray[np.int64]) -> float:
    """Negative log likelihood, the mean of -ln p of the label, in nats; 0 is perfect.

    Args:
        probabilities: [n, k], as of `distributions`.
        y: [n] class indices.
    """
    p = np.asarray(probabilities, dtype=np.float64)
    return float(-np.log(np.maximum(p[np.arange(len(y)), y], _LEAST)).mean())


def brier_of(probabilities: ArrayLike, y: NDArray[np.int64]) -> float:
    """Brier score, the mean of sum_c (p_c - 1[c = label])^2, in 0 .. 2; 0 is perfect.

    G. W. Brier, Verification of Forecasts Expressed in Terms of Probability, 1950, eq. 2: over all
    classes, not half of it as is usual for two. Arguments as for `nll_of`.
    """
    p = np.asarray(probabilities, dtype=np.float64)
    return float(((p - np.eye(p.shape[1])[y]) ** 2).sum(axis=1).mean())


def reliability(probabilities: ArrayLike, y: NDArray[np.int64]) -> Matrix:
    """By bin of confidence [BINS, 3]: clips, the sum of their confidence, and how many are right.

    The confidence of a clip is the probability of its likeliest class; bin m of M holds those in
    ((m-1)/M, m/M] (Guo et al., On Calibration of Modern Neural Networks, 2017, section 2). Tables
    of several folds may be added. Arguments as for `nll_of`.
    """
    p = np.asarray(probabilities, dtype=np.float64)
    confidence, right = p.max(axis=1), p.argmax(axis=1) == y
    # the inner edges as they are divided, so that 3/15 is 0.2 here and there
    place = np.searchsorted(np.arange(1, BINS) / BINS, confidence, side="left")
    columns = (np.ones(len(p)), confidence, right.astype(np.float64))
    return np.stack([np.bincount(place, one, minlength=BINS) for one in columns], axis=1)


def ece_of(bins: ArrayLike) -> float:
    """Expected calibration error, in 0 .. 1, from a table [BINS, 3] of `reliability`.

    ECE = sum_m n_m/n |right_m - confidence_m| (Guo et al. 2017, eq. 3). NaN without a clip.
    """
    count, confidence, right = np.asarray(bins, dtype=np.float64).T
    n = count.sum()
    return float(np.abs(right - confidence).sum() / n) if n else float("nan")


_COLDEST, _HOTTEST = 0.05, 20.0
"""temperatures that a fit keeps to: few clips that are all right would make every answer certain"""


def scaled(probabilities: ArrayLike, temperature: float) -> Matrix:
    """Probabilities [n, k] at another temperature: p_c^(1/T) / sum_j p_j^(1/T).

    It is softmax(z/T) of logits z (Guo et al. 2017, eq. 9), as ln p are logits too. The likeliest
    class stays the same.

    Args:
        probabilities: [n, k], as of `distributions`.
        temperature: T > 0; above 1 answers become less certain.
    """
    return _softmax(_logits(probabilities) / temperature)


def _logits(probabilities: ArrayLike) -> Matrix:
    logits: Matrix = np.log(np.maximum(np.asarray(probabilities, dtype=np.float64), _LEAST))
    return logits


def _softmax(z: Matrix) -> Matrix:
    powers = np.exp(z - z.max(axis=1, keepdims=True))
    softmax: Matrix = powers / powers.sum(axis=1, keepdims=True)
    return softmax


def fit_temperature(probabilities: ArrayLike, y: NDArray[np.int64]) -> float:
    """The temperature of least negative log likelihood, in 0.05 .. 20.

    The loss is convex in 1/T, so its slope, mean_i(sum_c p_ic(T) z_ic - z_i,label) with z = ln p,
    is bisected for its zero. Arguments as for `nll_of`.
    """
    z = _logits(probabilities)
    own = z[np.arange(len(y)), y].mean()
    low, high = 1 / _HOTTEST, 1 / _COLDEST
    for _ in range(40):
        middle = (low * high) ** 0.5
        slope = float((_softmax(z * middle) * z).sum(axis=1).mean() - own)
        low, high = (middle, high) if slope < 0 else (low, middle)
    return float(1 / (low * high) ** 0.5)
