"""By which rules a study takes labels from raters: the sections `votes` and `task`.

Each rule of a value, and each of values together, is written here and nowhere else: `study` tells
what is wrong with the words of a command line by them, and `corpora.load` what a caller gave.
"""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from raysearch.data.section import Anything, Section, key
from trainables.labels import Dominant, Outside, Partition, partition

_SIMULATION = ("raters", "pool", "accuracy", "spread", "ambiguous", "confusions", "bias", "seed")
"""fields of `Votes` that simulated raters alone have"""
TaskName = Literal["categories", "valence", "activation", "dominance"]
TASKS: tuple[str, ...] = get_args(TaskName)


class Votes(Section):
    """Raters' votes: where they come from, and how clips divide by them into S_A, S_B and S_C."""

    source: Literal["corpus", "simulate"] = key(
        "corpus",
        "where the votes come from: the corpus, or simulated raters where it has none",
        "corpus or simulate",
        "simulate",
    )
    labels: Literal["corpus", "votes"] = key(
        "corpus",
        "what a clip's label is: the corpus's own, or the class with most votes",
        "corpus or votes",
        "votes",
    )
    dominant: Dominant = key(
        "plurality",
        "which class of a clip is dominant: the one with most votes, the one with more than "
        "half of them, or the corpus's label",
        "one of plurality, majority, label",
        "majority",
    )
    outside: Outside = key(
        "count",
        "what votes for other classes than the study's do: they count among all votes, are "
        "ignored, or drop the clip",
        "one of count, ignore, drop",
        "ignore",
    )
    others: Literal["leave", "keep"] = key(
        "leave",
        "clips that are labelled with another class than the study's: leave them out, or "
        "keep those with votes for a class of the study, without a label",
        "leave or keep",
        "keep",
    )
    self_ratings: Literal["leave", "count"] = key(
        "leave",
        "speakers' ratings of their own clips: leave them out, or count them as votes",
        "leave or count",
        "count",
    )
    least: float = key(
        1, "the votes that a clip must have", "a number above 0", "3", gt=0, allow_inf_nan=False
    )
    raters: int = key(
        4, "how many simulated raters rate each clip", "a whole number of at least 1", "5", ge=1
    )
    pool: int = key(
        12, "how many simulated raters there are in all", "a whole number of at least 1", "20", ge=1
    )
    accuracy: float = key(
        0.75,
        "how often simulated raters choose the class that is expressed",
        "a number from 0 to 1",
        "0.8",
        ge=0,
        le=1,
    )
    spread: float = key(
        0.1,
        "how much simulated raters differ from each other in votes.accuracy",
        "a number from 0 to 1",
        "0.2",
        ge=0,
        le=1,
    )
    ambiguous: float = key(
        0.4,
        "the share of clips that lie between two classes, for simulated raters",
        "a number from 0 to 1",
        "0.2",
        ge=0,
        le=1,
    )
    confusions: Literal["near", "even"] | Anything = key(
        "near",
        "which classes simulated raters confuse: similar ones (near), all equally (even), "
        "or by weights",
        "near, even or a mapping of weights by class",
        "{angry: {disgust: 2, fearful: 1}}",
    )
    bias: float = key(
        0.0,
        "how strongly each simulated rater prefers some classes, in log-odds",
        "a number from 0 to 5",
        "1",
        ge=0,
        le=5,
    )
    seed: int = key(
        0, "the seed of the simulated raters", "a whole number of at least 0", "1", ge=0
    )

    def problems(self) -> list[str]:
        """What is wrong with these values together, a sentence each."""
        idle = [
            f"votes.{name}={getattr(self, name)} is a setting of simulated raters: set "
            "votes=simulate as well, or leave it out"
            for name in _SIMULATION
            if self.source == "corpus"
            and getattr(self, name) != type(self).model_fields[name].default
        ]
        few = (
            f"votes.raters={self.raters} hear each clip, of votes.pool={self.pool} in all: give a "
            "pool of at least as many"
        )
        return idle + [few] * (self.raters > self.pool)

    def divide(
        self,
        votes: NDArray[np.floating],
        outside: NDArray[np.floating] | None,
        label: NDArray[np.int64] | None,
    ) -> Partition:
        """S_A, S_B and S_C of votes [N, K]; see `trainables.labels.partition`."""
        return partition(
            votes,
            outside=outside,
            label=label,
            dominant=self.dominant,
            others=self.outside,
            least=self.least,
        )

    def sizes(self, sets: Partition) -> str:
        """The sets' sizes, and the rules that they follow, as part of a sentence."""
        a, b, c, none = sets.counts.values()
        return (
            f"S_A {a}, S_B {b}, S_C {c}, in none {none} (votes.dominant={self.dominant}, "
            f"votes.outside={self.outside}, votes.self_ratings={self.self_ratings}, "
            f"votes.least={self.least:g})"
        )


class Task(Section):
    """What the classes are: categories, or an attribute that raters gave, in three levels."""

    name: TaskName = key(
        "categories",
        "what the classes are: categories, or the levels low, middle and high of an "
        "attribute that raters gave",
        "one of categories, valence, activation, dominance",
        "valence",
    )
    low: float = key(
        3.0, "ratings of the attribute below this are low", "a number", "3", allow_inf_nan=False
    )
    high: float = key(
        3.0,
        "ratings of the attribute above this are high",
        "a number of at least task.low",
        "3",
        allow_inf_nan=False,
    )

    @property
    def graded(self) -> bool:
        """Whether the classes are levels of an attribute."""
        return self.name != "categories"

    def problems(self) -> list[str]:
        """What is wrong with these values together, a sentence each."""
        if self.low <= self.high:
            return []
        return [
            f"task.low={self.low:g} and task.high={self.high:g} leave nothing in the middle: "
            "`low <= high` must hold"
        ]
