"""Label strategies for attributes as numbers: from single ratings to targets and weights of rows.

Plain functions of numpy arrays. `STRATEGIES_OF_NUMBERS` names them, so that a space can search the
strategy.
"""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import NDArray

from trainables.fitting import equals
from trainables.labels import means_of
from trainables.stage import Param, Part, Setting

Numbers = NDArray[np.float32]
STRATEGIES_OF_NUMBERS = {
    "mean": "the mean of the clip's raters",
    "shrunk": "that mean, moved towards the mean of the training part",
    "sampled": "one rater's rating, drawn anew for each epoch",
    "spread_weighted": "the mean of the raters, and clips on which they differ weigh less",
}
TARGETS_OF_NUMBERS: dict[str, Param] = {
    "strategy": Param(
        "mean",
        "label strategy: " + "; ".join(f"{n}: {what}" for n, what in STRATEGIES_OF_NUMBERS.items()),
        tuple(STRATEGIES_OF_NUMBERS),
    ),
    "shrinkage": Param(
        0.1,
        "share of the training part's mean in a target; for shrunk",
        low=0.0,
        high=1.0,
        matters=equals("strategy", "shrunk"),
    ),
    "spread_power": Param(
        1.0,
        "how strongly a spread lowers a clip's weight; for spread_weighted",
        low=0.0,
        high=10.0,
        matters=equals("strategy", "spread_weighted"),
    ),
}


def spreads_of(annotations: Numbers) -> Numbers:
    """[n, A] the standard deviation (over R - 1) of each clip's ratings; NaN below two of them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return np.asarray(np.nanstd(annotations, axis=1, ddof=1), dtype=np.float32)


def annotations_of_part(part: Part, name: str = "training") -> Numbers:
    """[n, R, A] of a part.

    Raises:
        ValueError: it has no clips, or they have no ratings
    """
    if part.annotations is None or not len(part):
        raise ValueError(
            f"a training needs rated clips in its {name} part: this method predicts numbers, and "
            "wants task={name: valence, kind: continuous}"
        )
    return part.annotations


def shrunk(means: Numbers, share: float) -> Numbers:
    """(1 - share) y + share * mean(y): [n, A] -> [n, A]; share in 0 .. 1.

    Label smoothing (eq. 9 of Ahn et al. 2024) with the training mean in place of 1/K.
    """
    return np.asarray((1 - share) * means + share * means.mean(axis=0), dtype=np.float32)


def sampled(annotations: Numbers, rng: np.random.Generator) -> Numbers:
    """[n, A] of each clip and attribute one of its ratings [n, R, A], each as likely."""
    there = np.isfinite(annotations)
    order = np.where(there, rng.random(annotations.shape), -1.0)
    drawn = np.take_along_axis(annotations, order.argmax(axis=1)[:, None], axis=1)[:, 0]
    return np.asarray(drawn, dtype=np.float32)


def spread_weights(annotations: Numbers, power: float) -> Numbers:
    """[n] (1 + s_i^2 / mean s^2)^-power, divided by its mean; s_i the spread over the attributes.

    A clip of one rating has the mean spread. power 0, or raters who always agree: ones.
    """
    squares = means_of(spreads_of(annotations)[..., None] ** 2)[:, 0]
    known = np.isfinite(squares)
    mean = float(squares[known].mean()) if known.any() else 0.0
    if mean == 0:
        return np.ones(len(annotations), np.float32)
    weights = (1 + np.where(known, squares, mean) / mean) ** -power
    return np.asarray(weights / weights.mean(), dtype=np.float32)


def settle_numbers(own: Setting) -> dict[str, object]:
    """The strategy, as the simplest that gives the same targets and weights."""
    idle = (own["strategy"] == "shrunk" and own["shrinkage"] == 0) or (
        own["strategy"] == "spread_weighted" and own["spread_power"] == 0
    )
    return {**own, "strategy": "mean"} if idle else dict(own)
