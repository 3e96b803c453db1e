"""Votes for a corpus that has none: simulated raters, drawn from a stated confusion model.

The model (`votes=simulate`; every number is a setting of `votes`):

- There are `pool` raters; `raters` different ones, drawn for each clip, hear it.
- A share `ambiguous` of the clips lies between two classes: such a clip has, besides its true
  class, a second one, and each of its raters takes the one or the other for what is expressed, with
  equal chances. Other clips express their true class alone.
- Rater r names the expressed class with the chance p_r, drawn once for the rater, evenly within
  `spread` of `accuracy`. Otherwise the rater confuses it with another class of the corpus.
- With `bias` above 0 rater r has a leaning of its own: the chance of each class k is multiplied by
  exp(o_rk), o_rk ~ N(0, bias^2) drawn once for the rater, and the chances normalised again. 0 is
  nobody's leaning.
- Where attributes are asked for (`task=valence` and the like), who names a class also says its
  valence and activation: 3 + 2 x, x its place in `PLANE`, moved by the rater's own offset ~
  N(0, bias^2) and by N(0, 0.5^2) for the clip, rounded and cut to 1 .. 5. Classes that are not in
  `PLANE` get none.
- The second class of a clip, and what a class is confused with, are drawn by the weights
  `confusions`: "near" is exp(-d^2 / (2 * 0.6^2)), d the distance of the two classes in the plane of
  valence and activation (`PLANE`, a rough circumplex after Russell 1980; a class that is not in it
  has the weight of the mean pair with every other); "even" is 1 for every pair; a mapping
  {angry: {disgust: 2, fearful: 1}} gives the weights of the classes that it lists, all others in
  such a row being 0, and leaves the others near.

A clip's votes follow from `seed`, its id, its label and its corpus's classes, not from what else is
loaded. The votes are for the corpus's own classes, so that a study of some of them meets votes
for others, as with real raters. No result on such votes says anything about people's judgements.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from raysearch.data.corpora.agreement import count_votes
from raysearch.data.corpora.corpus import Raw
from raysearch.data.corpora.names import common_name, in_order
from raysearch.data.corpora.readers import (
    RatingRow,
    rating_table,
)
from raysearch.data.rules import Votes
from raysearch.errors import BadInput, near

VERSION = 1  # raise it whenever the votes change
WIDTH = 0.6  # of "near", in the units of PLANE

NOISE = 0.5  # of a rater's valence and activation from clip to clip, on the scale of 1 to 5

PLANE: Mapping[str, tuple[float, float]] = {
    "neutral": (0.0, 0.0),
    "calm": (0.4, -0.5),
    "happy": (0.8, 0.4),
    "excited": (0.7, 0.8),
    "sad": (-0.7, -0.5),
    "angry": (-0.7, 0.7),
    "frustrated": (-0.6, 0.3),
    "fearful": (-0.6, 0.6),
    "disgust": (-0.7, 0.2),
    "surprised": (0.2, 0.8),
    "bored": (-0.3, -0.7),
    "contempt": (-0.6, 0.1),
}
"""class -> (valence, activation), each in -1 .. 1"""


def confusions(classes: Sequence[str], votes: Votes) -> NDArray[np.float64]:
    """float64 [K, K]: how readily each class (row) is taken for another; the diagonal is 0.

    Raises:
        BadInput: a mapping has unknown classes, weights below 0, or a row without any weight.
    """
    k = len(classes)
    weights = np.ones((k, k))
    if votes.confusions != "even":
        for i, one in enumerate(classes):
            for j, other in enumerate(classes):
                if one in PLANE and other in PLANE:
                    far = np.subtract(PLANE[one], PLANE[other])
                    weights[i, j] = np.exp(-(far @ far) / (2 * WIDTH**2))
        inside = [i for i, name in enumerate(classes) if name in PLANE]
        foreign = [i for i in range(k) if i not in inside]
        if foreign and len(inside) > 1:
            block = weights[np.ix_(inside, inside)]
            mean = float((block.sum() - len(inside)) / (len(inside) * (len(inside) - 1)))
            weights[foreign, :] = weights[:, foreign] = mean
    if isinstance(votes.confusions, Mapping):
        _set(weights, classes, votes.confusions)
    np.fill_diagonal(weights, 0.0)
    return weights


def _set(
    weights: NDArray[np.float64], classes: Sequence[str], table: Mapping[str, Mapping[str, float]]
) -> None:
    index = {name: i for i, name in enumerate(classes)}
    problems = []
    for word, row in table.items():
        one = common_name(str(word))
        for name in (one, *(common_name(str(other)) for other in row)):
            if name not in index:
                problems.append(
                    f"votes.confusions names {name!r}, which the corpus has not"
                    f"{near(name, classes)}: its classes are {', '.join(classes)}."
                )
        values = [value for other, value in row.items() if common_name(str(other)) != one]
        good = all(isinstance(v, int | float) and 0 <= v < np.inf for v in values)
        if not good or not sum(values) > 0:
            problems.append(
                f"votes.confusions.{word} must give numbers of 0 or more to other classes, one of "
                f"them above 0, but got {dict(row)}."
            )
        if not problems:
            weights[index[one]] = 0.0
            for other, value in row.items():
                weights[index[one], index[common_name(str(other))]] = value
    if problems:
        raise BadInput(list(dict.fromkeys(problems)))


def rater_accuracies(votes: Votes) -> NDArray[np.float64]:
    """float64 [pool]: each rater's chance to name the class that a clip expresses, in 0 .. 1."""
    draws = np.random.default_rng([VERSION, votes.seed]).uniform(-1.0, 1.0, votes.pool)
    return np.clip(votes.accuracy + votes.spread * draws, 0.0, 1.0)


def leanings(votes: Votes, k: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Each rater's own: log-odds float64 [pool, k] towards classes, offsets [pool, 2] in what it
    says of valence and activation."""
    draw = [np.random.default_rng([VERSION, votes.seed, number]) for number in (1, 2)]
    return (
        votes.bias * draw[0].standard_normal((votes.pool, k)),
        votes.bias * draw[1].standard_normal((votes.pool, 2)),
    )


def simulated(name: str, raw: Raw, votes: Votes, attributes: bool = False) -> Raw:
    """The corpus with simulated votes and ratings; its labelled clips get them.

    Args:
        name: of the corpus.
        raw: the corpus as it was read.
        votes: how raters hear.
        attributes: raters also say valence and activation.

    Raises:
        BadInput: the corpus has votes already, or fewer than two classes.
    """
    if raw.votes is not None and raw.votes.to_numpy().any():
        raise BadInput(
            f"votes=simulate draws raters for a corpus that has no votes, but {name} has votes"
            f"{' (simulated ones)' if 'votes' in raw.simulated else ' of real raters'}: leave "
            "votes= out to use them."
        )
    table = raw.table
    labelled = table[table["label"] != ""]
    classes = in_order(labelled["label"])
    if not classes:
        return raw
    if len(classes) < 2:
        raise BadInput(
            f"votes=simulate needs a corpus of two classes or more, but {name} has only "
            f"{classes[0]}: choose another corpus."
        )
    weights = confusions(classes, votes)
    shares = weights / weights.sum(axis=1, keepdims=True)
    accuracy = rater_accuracies(votes)
    index = {label: i for i, label in enumerate(classes)}
    odds, offsets = leanings(votes, len(classes))
    places = 3 + 2 * np.array([PLANE.get(label, (np.nan, np.nan)) for label in classes])
    rows = []
    for clip, label in zip(labelled["id"], labelled["label"], strict=True):
        for rater, vote, noise in _hear(clip, index[label], shares, accuracy, votes, odds):
            values = np.full(2, np.nan)
            if attributes:
                values = np.clip(np.rint(places[vote] + offsets[rater] + NOISE * noise), 1, 5)
            rows.append(
                RatingRow(clip, f"sim{rater + 1:02d}", classes[vote], 1.0, *values.tolist())
            )
    ratings = rating_table(rows)
    custom = isinstance(votes.confusions, Mapping)
    leaning = f"a bias of {votes.bias:g} each, " if votes.bias else ""
    note = (
        f"{name}: the votes are simulated (votes=simulate): {votes.raters} of {votes.pool} raters "
        f"a clip, accuracy {votes.accuracy:g} ± {votes.spread:g}, {votes.ambiguous:.0%} of the "
        f"clips between two classes, {'given' if custom else votes.confusions} confusions, "
        f"{leaning}seed {votes.seed}. No person has rated these clips."
    )
    return replace(
        raw,
        votes=count_votes(ratings, table),
        ratings=ratings,
        notes=(*raw.notes, note),
        simulated=raw.simulated | {"votes"},
    )


def with_attributes(name: str, raw: Raw, seed: int) -> Raw:
    """The corpus whose simulated raters also say valence and activation; others as they are.

    What a rater says lies around the place of the class that the rater heard (`PLANE`), on 1 to 5.
    """
    ratings = raw.ratings
    if ratings is None or "votes" not in raw.simulated or ratings["valence"].notna().any():
        return raw
    middle = (np.nan, np.nan)
    places = 3 + 2 * np.array([PLANE.get(label, middle) for label in ratings["label"]])
    noise = []
    for clip, rater in zip(ratings["id"], ratings["rater"], strict=True):
        digest = hashlib.sha256(f"{clip}\0{rater}".encode()).digest()
        rng = np.random.default_rng([VERSION, seed, int.from_bytes(digest[:8], "little")])
        noise.append(rng.standard_normal(2))
    values = np.clip(np.rint(places + NOISE * np.array(noise)), 1, 5)
    note = (
        f"{name}: the ratings of valence and activation are simulated, from the simulated votes: "
        "no person has rated these clips."
    )
    ratings = ratings.assign(valence=values[:, 0], activation=values[:, 1])
    return replace(raw, ratings=ratings, notes=(*raw.notes, note))


def _hear(
    clip: str,
    true: int,
    shares: NDArray[np.float64],
    accuracy: NDArray[np.float64],
    votes: Votes,
    odds: NDArray[np.float64],
) -> list[tuple[int, int, NDArray[np.float64]]]:
    """(rater, class, noise [2]) of those who hear a clip."""
    digest = hashlib.sha256(clip.encode()).digest()
    rng = np.random.default_rng([VERSION, votes.seed, int.from_bytes(digest[:8], "little")])
    k = len(shares)
    # every draw is made, used or not: one setting then changes only what it is about
    raters = np.sort(rng.permutation(votes.pool)[: votes.raters])
    between = rng.random() < votes.ambiguous
    second = int(rng.choice(k, p=shares[true]))
    takes_second = rng.random(votes.raters) < 0.5
    right = rng.random(votes.raters)
    slips = rng.random(votes.raters)
    noise = rng.standard_normal((votes.raters, 2))
    hearings = []
    for place, rater in enumerate(raters):
        expressed = second if between and takes_second[place] else true
        vote = expressed
        if votes.bias:
            chances = (1 - accuracy[rater]) * shares[expressed]
            chances[expressed] = accuracy[rater]
            vote = _draw(chances * np.exp(odds[rater]), slips[place])
        elif right[place] >= accuracy[rater]:
            vote = _draw(shares[expressed], slips[place])
        hearings.append((int(rater), min(vote, k - 1), noise[place]))
    return hearings


def _draw(weights: NDArray[np.float64], where: float) -> int:
    """The class at `where`, in [0, 1), of the weights laid end to end."""
    steps = np.cumsum(weights)
    return int(np.searchsorted(steps, where * steps[-1], side="right"))
