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
        "the corpus's votes, or simulated ones where it has none",
        "corpus or simulate",
        "simulate",
    )
    labels: Literal["corpus", "votes"] = key(
        "corpus",
        "the corpus's labels, or the class that leads the votes",
        "corpus or votes",
        "votes",
    )
    dominant: Dominant = key(
        "plurality",
        "what makes a class dominant: most votes, more than half of them, or the corpus's label",
        "one of plurality, majority, label",
        "majority",
    )
    outside: Outside = key(
        "count",
        "votes for classes that the study has not: they count, are ignored, or drop the clip",
        "one of count, ignore, drop",
        "ignore",
    )
    others: Literal["leave", "keep"] = key(
        "leave",
        "clips labelled with such a class: left out, or kept without a label if voted for",
        "leave or keep",
        "keep",
    )
    self_ratings: Literal["leave", "count"] = key(
        "leave", "speakers' ratings of their own clips", "leave or count", "count"
    )
    least: float = key(
        1, "votes that a clip needs", "a number above 0", "3", gt=0, allow_inf_nan=False
    )
    raters: int = key(4, "simulated raters a clip", "a whole number of at least 1", "5", ge=1)
    pool: int = key(12, "simulated raters in all", "a whole number of at least 1", "20", ge=1)
    accuracy: float = key(
        0.75, "how often they hear what is expressed", "a number from 0 to 1", "0.8", ge=0, le=1
    )
    spread: float = key(
        0.1, "how far raters differ in that", "a number from 0 to 1", "0.2", ge=0, le=1
    )
    ambiguous: float = key(
        0.4, "share of clips between two classes", "a number from 0 to 1", "0.2", ge=0, le=1
    )
    confusions: Literal["near", "even"] | Anything = key(
        "near",
        "what simulated raters confuse: near classes, any alike, or weights by class",
        "near, even or a mapping of weights by class",
        "{angry: {disgust: 2, fearful: 1}}",
    )
    bias: float = key(
        0.0,
        "how far each simulated rater leans to classes of its own, in log-odds",
        "a number from 0 to 5",
        "1",
        ge=0,
        le=5,
    )
    seed: int = key(0, "of the simulated raters", "a whole number of at least 0", "1", ge=0)

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
        "classes are categories, or low, middle and high of an attribute that raters gave",
        "one of categories, valence, activation, dominance",
        "valence",
    )
    low: float = key(3.0, "ratings below are low", "a number", "3", allow_inf_nan=False)
    high: float = key(
        3.0, "ratings above are high", "a number of at least task.low", "3", allow_inf_nan=False
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
