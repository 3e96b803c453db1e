"""What a study asks of its corpora: the sections `corpus`, `labels`, `votes`, `task` and `raters`.

Each rule of a value, and each of values together, is written here and nowhere else: `study` tells
what is wrong with the words of a command line by them, and `corpora.load` what a caller gave.
"""

from __future__ import annotations

from typing import Annotated, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from pydantic import BeforeValidator, Field

from raysearch.data.section import Anything, ConfigSection, Names, Texts, Tree, key, names
from trainables.labels import Dominant, Outside, Partition, partition

_SIMULATION = ("raters", "pool", "accuracy", "spread", "ambiguous", "confusions", "bias", "seed")
"""fields of `Votes` that simulated raters alone have"""
TaskName = Literal["categories", "valence", "activation", "dominance"]
TASKS: tuple[str, ...] = get_args(TaskName)
ATTRIBUTES = TASKS[1:]
"""what raters give on a scale"""
OTHER_NAMES = {"arousal": "activation"}
"""what others call an attribute"""


def _task_names(value: object) -> object:
    """A task's name or several, arousal being activation."""
    if isinstance(value, str):
        return OTHER_NAMES.get(value, value)
    several = names(value)
    if not isinstance(several, tuple):
        return value
    several = tuple(OTHER_NAMES.get(name, name) for name in several)
    return several[0] if len(several) == 1 else several


TaskNames = Annotated[
    TaskName | Annotated[tuple[TaskName, ...], Field(min_length=2)], BeforeValidator(_task_names)
]
"""one name, or several attributes"""


class CorpusConfig(ConfigSection):
    """Which speech, and which classes of it."""

    name: Names = key(
        ("demo",),
        "the corpus, or several: python -m raysearch corpora lists them",
        "a corpus or a list of them",
        "emodb",
        min_length=1,
    )
    root: Texts = key(
        {},
        "the folder of the corpus; of several, corpus.root.NAME=DIR for each",
        "a folder, or a folder for each corpus",
        "DIR",
    )
    classes: Names | None = key(
        None,
        "the classes to keep, by common names; the others are left out",
        "a list of two or more different classes, or null",
        "[neutral,happy,sad,angry]",
        min_length=2,
    )
    unlabelled: Names = key(
        (),
        "further corpora whose speech is used without its labels",
        "a corpus or a list of them",
        "[demo-plain]",
    )
    on_bad: Literal["stop", "skip"] = key(
        "stop",
        "what to do about bad clips: stop before anything runs, or skip them",
        "stop or skip",
        "skip",
    )
    options: Anything = key(
        {},
        "options of one corpus; python -m raysearch corpora lists them",
        "a mapping of options",
        "{csv: table.csv}",
    )


class Votes(ConfigSection):
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


class LabelNoise(ConfigSection):
    """Wrong labels, planted in what is learnt from: which label strategy survives them."""

    flip: float = key(
        0.0,
        "the share of labels that are made wrong on purpose, in training and validation; test "
        "clips, and those of validation.select, keep the corpus's",
        "a number of at least 0 and below 1",
        "0.2",
        ge=0,
        lt=1,
        allow_inf_nan=False,
    )
    kind: Literal["uniform", "confusable"] = key(
        "uniform",
        "what a wrong label is: any other class alike (uniform), or one that labels.confusion "
        "names (confusable)",
        "uniform or confusable",
        "confusable",
    )
    confusion: Anything = key(
        {},
        "for labels.kind=confusable: by class, the class that it is taken for, a list of such "
        "classes, or their weights; classes that are not listed keep their labels",
        "a mapping from classes to classes, lists or weights",
        "{happy: angry, sad: [neutral, bored]}",
    )
    seed: int = key(
        0,
        "the seed of the wrong labels, which do not change with the study's",
        "a whole number of at least 0",
        "1",
        ge=0,
    )

    def problems(self) -> list[str]:
        """What is wrong with these values together, a sentence each."""
        idle = [
            f"labels.{name}={getattr(self, name)} is of wrong labels, and labels.flip=0 plants "
            "none: set labels.flip=0.2, say, or leave it out"
            for name in ("kind", "confusion", "seed")
            if not self.flip and getattr(self, name) != type(self).model_fields[name].default
        ]
        if idle or (self.kind == "confusable") == bool(self.confusion):
            return idle
        if self.confusion:
            return [
                "labels.confusion says what classes are taken for, but labels.kind=uniform takes "
                "every other class alike: set labels.kind=confusable, or leave it out"
            ]
        return [
            "labels.kind=confusable needs labels.confusion, which says what classes are taken "
            "for, as in labels.confusion='{happy: angry}'"
        ]


class Task(ConfigSection):
    """What is predicted: classes, or attributes that raters gave, as levels or as numbers."""

    name: TaskNames = key(
        "categories",
        "what is predicted: categories, or an attribute that raters gave (arousal is another "
        "word for activation); several attributes under task.kind=continuous",
        "one of categories, valence, activation (or arousal), dominance, or a list of different "
        "attributes",
        "valence",
    )
    kind: Literal["classes", "continuous"] = key(
        "classes",
        "how an attribute is predicted: as the levels low, middle and high (classes), or as a "
        "number, the mean of the raters (continuous)",
        "classes or continuous",
        "continuous",
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
    def names(self) -> tuple[str, ...]:
        """The attributes of the task; none where it is of categories."""
        every = (self.name,) if isinstance(self.name, str) else self.name
        return tuple(name for name in every if name != "categories")

    @property
    def continuous(self) -> bool:
        """Whether numbers are predicted."""
        return self.kind == "continuous"

    @property
    def identity(self) -> Tree:
        """What makes it another task; that of levels is as it was before there were numbers."""
        if self.continuous:
            return {"name": list(self.names), "kind": self.kind}
        return {"name": self.name, "low": self.low, "high": self.high}

    @property
    def graded(self) -> bool:
        """Whether the classes are levels of an attribute."""
        return bool(self.names) and not self.continuous

    def problems(self) -> list[str]:
        """What is wrong with these values together, a sentence each."""
        words = list(self.names if isinstance(self.name, str) else self.name)
        found = []
        if "categories" in words or len(set(words)) < len(words):
            found.append(f"task.name=[{','.join(words)}] must name different attributes")
        if self.continuous and not self.names:
            found.append(
                "task.kind=continuous needs an attribute: task={name: valence, kind: continuous}, "
                f"or {', '.join(ATTRIBUTES[1:])}"
            )
        if not self.continuous and len(words) > 1:
            found.append(
                f"task.name=[{','.join(words)}] are several attributes, which are predicted as "
                "numbers alone: set task.kind=continuous, or name one"
            )
        if self.low > self.high:
            found.append(
                f"task.low={self.low:g} and task.high={self.high:g} leave nothing in the middle: "
                "`low <= high` must hold"
            )
        return found


class RatersConfig(ConfigSection):
    """Whose perception is learnt, by a method that learns one rater's."""

    targets: Names | None = key(
        None,
        "the raters whose perception is learnt, by methods that learn one rater's; none "
        "given: all with enough ratings",
        "a rater or a list of different ones, or null",
        "[A-E1,A-E2]",
        min_length=1,
    )
    least: int = key(
        100,
        "the clips that a rater must have rated to be learnt",
        "a whole number of at least 2",
        "100",
        ge=2,
    )
    most: int | None = key(
        None,
        "learn at most this many raters, those with most ratings",
        "a whole number of at least 1, or null",
        "4",
        ge=1,
    )
